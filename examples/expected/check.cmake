# cmake -D EXPECTED=<file> -P check.cmake -- <command>...
# Runs the command; it must end well and print what the file holds.
set(command "")
set(found FALSE)
foreach(i RANGE ${CMAKE_ARGC})
  if(found AND i LESS CMAKE_ARGC)
    list(APPEND command "${CMAKE_ARGV${i}}")
  elseif("${CMAKE_ARGV${i}}" STREQUAL "--")
    set(found TRUE)
  endif()
endforeach()
execute_process(COMMAND ${command} RESULT_VARIABLE status OUTPUT_VARIABLE output
                                                          ERROR_VARIABLE errors)
file(READ "${EXPECTED}" expected)
if(NOT status EQUAL 0 OR NOT output STREQUAL expected)
  message(FATAL_ERROR "${command}\nended with ${status} and printed\n${output}\ninstead of\n"
                      "${expected}\nstandard error:\n${errors}")
endif()
