# Asks pinion_add_module for links between modules, one configure run each. The pairs are written
# out here once more, so that a change of the table is seen.
file(REMOVE_RECURSE "${WORK}")

# ask(<result variable> <module> <REQUIRES|USES> <other module>)
function(ask result module how other)
  execute_process(
    COMMAND "${CMAKE_COMMAND}" -S "${CMAKE_CURRENT_LIST_DIR}/table" -B "${WORK}" -D
            "SOURCE=${SOURCE}" -D "MODULE=${module}" -D "HOW=${how}" -D "OTHER=${other}"
    OUTPUT_VARIABLE output ERROR_VARIABLE output)
  string(REGEX REPLACE "[ \n]+" " " output "${output}")
  set(${result} "${output}" PARENT_SCOPE)
endfunction()

function(expect_refusal module how other)
  ask(output ${module} ${how} ${other})
  string(FIND "${output}" "${module} may not use ${other}." position)
  if(position EQUAL -1)
    message(SEND_ERROR "${module} ${how} ${other} should be refused, but: ${output}")
  endif()
endfunction()

function(expect_leave module how other)
  ask(output ${module} ${how} ${other})
  if(output MATCHES "may not use")
    message(SEND_ERROR "${module} ${how} ${other} should be allowed, but: ${output}")
  endif()
endfunction()

expect_refusal(core USES numa)
expect_refusal(core REQUIRES shard)
expect_refusal(numa USES shm)
expect_refusal(shm REQUIRES shard)
expect_refusal(ucx USES shm)
expect_refusal(gpu USES shm)
expect_refusal(dag USES shm)
expect_refusal(shard USES shm)
expect_refusal(shard REQUIRES ucx)
expect_refusal(shard USES runtime)
expect_refusal(runtime USES tools)

expect_leave(numa REQUIRES core)
expect_leave(shm USES numa)
expect_leave(gpu USES numa)
expect_leave(shard USES dag)
expect_leave(runtime USES shm)

ask(output network USES core)
if(NOT output MATCHES "the layer table has no such module")
  message(SEND_ERROR "a module without a row should be refused, but: ${output}")
endif()
