# Finds libsodium, by pkg-config where that is, and defines the imported target Sodium::Sodium.
#
#   find_package(Sodium REQUIRED)
#
# Sets Sodium_FOUND. Needs nothing of the project around it: the installed package configuration
# uses the same file.
find_package(PkgConfig QUIET)
if(PKG_CONFIG_FOUND)
  pkg_check_modules(Sodium_PKG QUIET libsodium)
endif()

find_path(
  Sodium_INCLUDE_DIR
  NAMES sodium.h
  HINTS ${Sodium_PKG_INCLUDE_DIRS})
find_library(
  Sodium_LIBRARY
  NAMES sodium
  HINTS ${Sodium_PKG_LIBRARY_DIRS})
mark_as_advanced(Sodium_INCLUDE_DIR Sodium_LIBRARY)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Sodium REQUIRED_VARS Sodium_LIBRARY Sodium_INCLUDE_DIR)

if(Sodium_FOUND AND NOT TARGET Sodium::Sodium)
  add_library(Sodium::Sodium UNKNOWN IMPORTED)
  set_target_properties(
    Sodium::Sodium PROPERTIES IMPORTED_LOCATION "${Sodium_LIBRARY}"
                              INTERFACE_INCLUDE_DIRECTORIES "${Sodium_INCLUDE_DIR}")
endif()
