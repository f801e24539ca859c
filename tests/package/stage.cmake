# Installs BUILD into the empty folder STAGE by way of another place, so that whatever remembers the
# place it was installed to is found out, and checks what lies there.
file(REMOVE_RECURSE "${STAGE}" "${STAGE}-first")
execute_process(COMMAND "${CMAKE_COMMAND}" --install "${BUILD}" --prefix "${STAGE}-first"
                OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
file(RENAME "${STAGE}-first" "${STAGE}")

file(GLOB_RECURSE texts "${STAGE}/*.cmake" "${STAGE}/*.pc" "${STAGE}/*.hpp")
foreach(text IN LISTS texts)
  file(READ "${text}" content)
  foreach(path IN ITEMS "${BUILD}" "${SOURCE}" "${STAGE}")
    string(FIND "${content}" "${path}" position)
    if(NOT position EQUAL -1)
      message(FATAL_ERROR "${text} names ${path}; an installed tree must not depend on where "
                          "it was built or first installed.")
    endif()
  endforeach()
endforeach()

# A public header is one that a module lists; a header set never holds those of src/.
file(GLOB_RECURSE headers RELATIVE "${STAGE}/include" "${STAGE}/include/*")
list(FILTER headers EXCLUDE REGEX "^pinion/((pinion|[a-z]+/[a-z_/]+)\\.hpp|gpu/[a-z_]+\\.cuh)$")
if(headers)
  message(FATAL_ERROR "installed under include/, but no public header of a module: ${headers}")
endif()

# The command, where it is part of the build, runs from the new place.
if(EXISTS "${STAGE}/bin/pinion")
  execute_process(COMMAND "${STAGE}/bin/pinion" --version
                  OUTPUT_VARIABLE version COMMAND_ERROR_IS_FATAL ANY)
  string(FIND "${version}" "${VERSION}" position)
  if(position EQUAL -1)
    message(FATAL_ERROR "pinion --version says '${version}'; expected ${VERSION}")
  endif()
endif()
