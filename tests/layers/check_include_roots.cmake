# A module sees the headers of what it links, and finds no others.
file(REMOVE_RECURSE "${WORK}")
execute_process(
  COMMAND "${CMAKE_COMMAND}" -G "${GENERATOR}" -S "${CMAKE_CURRENT_LIST_DIR}/include_roots" -B
          "${WORK}" -D "SOURCE=${SOURCE}" -D "CMAKE_CXX_COMPILER=${COMPILER}"
  OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)

execute_process(COMMAND "${CMAKE_COMMAND}" --build "${WORK}" --target own_header
                OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)

execute_process(
  COMMAND "${CMAKE_COMMAND}" --build "${WORK}" --target foreign_header
  RESULT_VARIABLE status
  OUTPUT_VARIABLE output
  ERROR_VARIABLE output)
if(status EQUAL 0)
  message(FATAL_ERROR "a header of shard was found by a target that links core alone")
endif()
if(NOT output MATCHES "pinion/shard/planner.hpp['\"]?:? .*(No such file|file not found)")
  message(FATAL_ERROR "the build failed, but not because the header was not found: ${output}")
endif()
