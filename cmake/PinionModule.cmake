# pinion_add_module(<module>
#   HEADERS <file>...     public headers, relative to include/pinion/<module>/
#   SOURCES <file>...     private sources, relative to src/
#   REQUIRES <module>...  pinion modules whose headers appear in our headers
#   USES <module>...      pinion modules used only inside src/
#   LINKS <target>...     third-party targets used only inside src/
# )
#
# Creates the library target pinion_<module> and its alias pinion::<module>. The public headers form
# one header set rooted at include/, so the same line `#include <pinion/<module>/x.hpp>` works in
# the build tree and once installed. Refuses a dependency that the layer table does not allow.
include_guard(GLOBAL)

set(PINION_LAYERS_core "")
set(PINION_LAYERS_numa core)
set(PINION_LAYERS_shm core numa)
set(PINION_LAYERS_ucx core)
set(PINION_LAYERS_gpu core numa)
set(PINION_LAYERS_dag core)
set(PINION_LAYERS_shard core dag)
set(PINION_LAYERS_runtime core numa shm ucx gpu dag shard)

function(pinion_add_module module)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "HEADERS;SOURCES;REQUIRES;USES;LINKS")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "pinion_add_module(${module}): unknown ${arg_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT DEFINED PINION_LAYERS_${module})
    message(FATAL_ERROR "pinion_add_module(${module}): the layer table has no such module. See "
                        "ARCHITECTURE.md, section Layers.")
  endif()
  foreach(dependency IN LISTS arg_REQUIRES arg_USES)
    if(NOT dependency IN_LIST PINION_LAYERS_${module})
      message(FATAL_ERROR "${module} may not use ${dependency}. Allowed: "
                          "${PINION_LAYERS_${module}}. See ARCHITECTURE.md, section Layers.")
    endif()
  endforeach()

  set(target pinion_${module})
  list(TRANSFORM arg_HEADERS PREPEND "include/pinion/${module}/")
  list(TRANSFORM arg_SOURCES PREPEND "src/")
  list(TRANSFORM arg_REQUIRES PREPEND "pinion::")
  list(TRANSFORM arg_USES PREPEND "pinion::")

  add_library(${target} STATIC)
  add_library(pinion::${module} ALIAS ${target})
  target_sources(
    ${target}
    PRIVATE ${arg_SOURCES}
    PUBLIC FILE_SET HEADERS BASE_DIRS include FILES ${arg_HEADERS})
  target_include_directories(${target} PRIVATE src)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_link_libraries(${target} PUBLIC ${arg_REQUIRES} PRIVATE ${arg_USES} ${arg_LINKS})
  set_target_properties(
    ${target}
    PROPERTIES EXPORT_NAME ${module}
               POSITION_INDEPENDENT_CODE ON
               VERIFY_INTERFACE_HEADER_SETS ON
               CXX_VISIBILITY_PRESET hidden
               VISIBILITY_INLINES_HIDDEN ON)
  set_property(GLOBAL APPEND PROPERTY PINION_MODULES ${target})
endfunction()
