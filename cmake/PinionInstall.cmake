# What `cmake --install` puts where: the modules with their public headers, the CMake package
# `pinion` with the target pinion::pinion, pinion.pc for pkg-config, the commands.
#
# The modules are static libraries, so whoever links them links what they link. That list is taken
# from the targets themselves; a third-party target without a row in the table below is refused.
include_guard(GLOBAL)
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

# pinion_third_party(<target> [PACKAGE <find_package name>] [PKG_CONFIG <name>] [LIBRARY <flag>])
# PACKAGE and PKG_CONFIG say how a user's build finds a library that it must link as well; LIBRARY
# is a plain linker flag for one without a .pc file. With none of the three the target is headers
# only, and a user of the installed library does not need it.
macro(pinion_third_party target)
  list(APPEND PINION_THIRD_PARTY ${target})
  cmake_parse_arguments("PINION_THIRD_PARTY_${target}" "" "PACKAGE;PKG_CONFIG;LIBRARY" "" ${ARGN})
endmacro()

pinion_third_party(Threads::Threads PACKAGE Threads LIBRARY -pthread)
pinion_third_party(TBB::tbb PACKAGE TBB PKG_CONFIG tbb)
# By its plain name: with --static, hwloc.pc asks for what only a static hwloc needs, and
# distributions do not install that with it.
pinion_third_party(Hwloc::Hwloc PACKAGE Hwloc LIBRARY -lhwloc)
# No .pc file comes with a toolkit, and its folder is in no linker's path.
pinion_third_party(
  CUDA::cudart_static PACKAGE CUDAToolkit
  LIBRARY "-L${CUDAToolkit_LIBRARY_DIR} -lcudart_static -lrt -ldl")
pinion_third_party(dl LIBRARY -ldl)
pinion_third_party(hwy::hwy PACKAGE hwy PKG_CONFIG libhwy)
pinion_third_party(hwy::hwy_contrib PACKAGE hwy PKG_CONFIG libhwy-contrib)
pinion_third_party(ZLIB::ZLIB PACKAGE ZLIB PKG_CONFIG zlib)
pinion_third_party(zstd::libzstd_shared PACKAGE zstd PKG_CONFIG libzstd)
pinion_third_party(fmt::fmt PACKAGE fmt PKG_CONFIG fmt)
pinion_third_party(Sodium::Sodium PACKAGE Sodium PKG_CONFIG libsodium)
pinion_third_party(spdlog::spdlog PACKAGE spdlog PKG_CONFIG spdlog)
pinion_third_party(tomlplusplus::tomlplusplus PACKAGE tomlplusplus PKG_CONFIG tomlplusplus)
pinion_third_party(flatbuffers::flatbuffers)
pinion_third_party(nlohmann_json::nlohmann_json)
pinion_third_party(CLI11::CLI11)
pinion_third_party(Boost::headers)
pinion_third_party(Boost::boost)

# Reads what `target` links, drops what is headers only from what it exports, and adds to
# PINION_FIND_DEPENDENCIES, PINION_PC_REQUIRES and PINION_PC_LIBRARIES in the caller.
function(pinion_collect_links target)
  get_target_property(links ${target} INTERFACE_LINK_LIBRARIES)
  set(kept "")
  foreach(link IN LISTS links)
    if(link MATCHES "^\\$<BUILD_INTERFACE:" OR link MATCHES "^(\\$<LINK_ONLY:)?pinion::")
      list(APPEND kept "${link}")
      continue()
    endif()
    string(REGEX REPLACE "^\\$<LINK_ONLY:(.*)>$" "\\1" name "${link}")
    if(NOT name IN_LIST PINION_THIRD_PARTY)
      message(FATAL_ERROR "${target} links ${name}, which cmake/PinionInstall.cmake does not know: "
                          "add a row that says how a user of the installed library finds it.")
    endif()
    set(row "PINION_THIRD_PARTY_${name}")
    if(NOT ${row}_PACKAGE AND NOT ${row}_LIBRARY)
      continue()
    endif()
    list(APPEND kept "${link}")
    list(APPEND PINION_FIND_DEPENDENCIES ${${row}_PACKAGE})
    list(APPEND PINION_PC_REQUIRES ${${row}_PKG_CONFIG})
    list(APPEND PINION_PC_LIBRARIES ${${row}_LIBRARY})
  endforeach()
  set_target_properties(${target} PROPERTIES INTERFACE_LINK_LIBRARIES "${kept}")
  foreach(list IN ITEMS PINION_FIND_DEPENDENCIES PINION_PC_REQUIRES PINION_PC_LIBRARIES)
    list(REMOVE_DUPLICATES ${list})
    set(${list} "${${list}}" PARENT_SCOPE)
  endforeach()
endfunction()

get_property(modules GLOBAL PROPERTY PINION_MODULES)
set(pinion_cmake_dir "${CMAKE_INSTALL_LIBDIR}/cmake/pinion")

# What users link is pinion::pinion: runtime, and through it every module whose headers it shows. In
# the build tree that is an alias, which cannot be exported.
if(TARGET pinion_runtime)
  add_library(pinion_pinion INTERFACE)
  set_target_properties(pinion_pinion PROPERTIES EXPORT_NAME pinion)
  target_link_libraries(pinion_pinion INTERFACE pinion::runtime)
  install(TARGETS pinion_pinion EXPORT pinionTargets)
endif()

set(PINION_FIND_DEPENDENCIES "")
set(PINION_PC_REQUIRES "")
set(PINION_PC_LIBRARIES "")
set(archives "")
foreach(target IN LISTS modules)
  pinion_collect_links(${target})
  # A linker reads archives from left to right, and a module only uses those that came before it.
  list(PREPEND archives "-l${target}")
endforeach()

install(
  TARGETS ${modules}
  EXPORT pinionTargets
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
  FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(
  EXPORT pinionTargets
  NAMESPACE pinion::
  DESTINATION "${pinion_cmake_dir}")

list(TRANSFORM PINION_FIND_DEPENDENCIES REPLACE "(.+)" "find_dependency(\\1)")
list(JOIN PINION_FIND_DEPENDENCIES "\n" PINION_FIND_DEPENDENCIES)
configure_package_config_file(
  "${PROJECT_SOURCE_DIR}/cmake/pinionConfig.cmake.in" "${PROJECT_BINARY_DIR}/pinionConfig.cmake"
  INSTALL_DESTINATION "${pinion_cmake_dir}")
write_basic_package_version_file(
  "${PROJECT_BINARY_DIR}/pinionConfigVersion.cmake"
  VERSION "${PROJECT_VERSION}"
  COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/pinionConfig.cmake"
              "${PROJECT_BINARY_DIR}/pinionConfigVersion.cmake" DESTINATION "${pinion_cmake_dir}")
foreach(finder IN ITEMS FindHwloc.cmake FindSodium.cmake)
  if(EXISTS "${PROJECT_SOURCE_DIR}/cmake/${finder}")
    install(FILES "${PROJECT_SOURCE_DIR}/cmake/${finder}" DESTINATION "${pinion_cmake_dir}")
  endif()
endforeach()

# The prefix is said relative to the file, so an installed tree may be moved.
file(RELATIVE_PATH PINION_PC_PREFIX "/prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/prefix")
string(REGEX REPLACE "/$" "" PINION_PC_PREFIX "${PINION_PC_PREFIX}")
list(JOIN archives " " PINION_PC_ARCHIVES)
list(JOIN PINION_PC_REQUIRES ", " PINION_PC_REQUIRES)
list(JOIN PINION_PC_LIBRARIES " " PINION_PC_LIBRARIES)
configure_file("${PROJECT_SOURCE_DIR}/tools/packaging/pinion.pc.in"
               "${PROJECT_BINARY_DIR}/pinion.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/pinion.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")

if(TARGET pinion_cli)
  install(TARGETS pinion_cli RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
endif()
# The agent is started by the library and not by people, so it stays out of their PATH.
if(TARGET pinion_agent)
  install(TARGETS pinion_agent RUNTIME DESTINATION "${CMAKE_INSTALL_LIBEXECDIR}/pinion")
endif()
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" "${PROJECT_SOURCE_DIR}/README.md"
        DESTINATION "${CMAKE_INSTALL_DOCDIR}")
