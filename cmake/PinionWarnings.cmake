# Which warnings stay warnings where the presets make errors of them.
#
# Some of gcc's depend on what its optimiser sees. They differ from version to version, and are
# often false, in the standard library's own code. gcc 12, the oldest and the one that every change
# is built with, has none; later versions show them without stopping the build of a user.
include_guard(GLOBAL)

set(pinion_optimiser_warnings "")
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  set(pinion_optimiser_warnings array-bounds dangling-pointer free-nonheap-object
      maybe-uninitialized restrict stringop-overflow stringop-overread)
  if(CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 13)
    list(APPEND pinion_optimiser_warnings dangling-reference)
    foreach(warning IN LISTS pinion_optimiser_warnings)
      add_compile_options(-Wno-error=${warning})
    endforeach()
  endif()
endif()
