# Finds hwloc 2.x, by pkg-config where that is, and defines the imported target Hwloc::Hwloc.
#
#   find_package(Hwloc 2.4 REQUIRED)
#
# Sets Hwloc_FOUND and Hwloc_VERSION. Needs nothing of the project around it: the installed package
# configuration uses the same file.
find_package(PkgConfig QUIET)
if(PKG_CONFIG_FOUND)
  pkg_check_modules(Hwloc_PKG QUIET hwloc)
endif()

find_path(
  Hwloc_INCLUDE_DIR
  NAMES hwloc.h
  HINTS ${Hwloc_PKG_INCLUDE_DIRS})
find_library(
  Hwloc_LIBRARY
  NAMES hwloc
  HINTS ${Hwloc_PKG_LIBRARY_DIRS})
mark_as_advanced(Hwloc_INCLUDE_DIR Hwloc_LIBRARY)
set(Hwloc_VERSION "${Hwloc_PKG_VERSION}")
# Where there is no pkg-config.
find_file(
  Hwloc_CONFIG_HEADER
  NAMES hwloc/autogen/config.h
  HINTS "${Hwloc_INCLUDE_DIR}" "${Hwloc_INCLUDE_DIR}/${CMAKE_LIBRARY_ARCHITECTURE}")
mark_as_advanced(Hwloc_CONFIG_HEADER)
if(NOT Hwloc_VERSION AND Hwloc_CONFIG_HEADER)
  file(STRINGS "${Hwloc_CONFIG_HEADER}" Hwloc_VERSION REGEX "^#define HWLOC_VERSION \"")
  string(REGEX REPLACE ".*\"([^\"]*)\".*" "\\1" Hwloc_VERSION "${Hwloc_VERSION}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  Hwloc
  REQUIRED_VARS Hwloc_LIBRARY Hwloc_INCLUDE_DIR
  VERSION_VAR Hwloc_VERSION)

if(Hwloc_FOUND AND NOT TARGET Hwloc::Hwloc)
  add_library(Hwloc::Hwloc UNKNOWN IMPORTED)
  set_target_properties(
    Hwloc::Hwloc PROPERTIES IMPORTED_LOCATION "${Hwloc_LIBRARY}"
                            INTERFACE_INCLUDE_DIRECTORIES "${Hwloc_INCLUDE_DIR}")
endif()
