# What PINION_CUDA means where nvcc does not work: /bin/false stands for a toolkit that does not
# take the compiler of the build. SOURCE is the repository, WORK a folder for the trials.

# expect(<name> <status: 0 or 1> <pattern> <cmake option>...)
function(expect name wanted pattern)
  file(REMOVE_RECURSE "${WORK}/${name}")
  execute_process(
    COMMAND "${CMAKE_COMMAND}" -S "${CMAKE_CURRENT_LIST_DIR}" -B "${WORK}/${name}"
            "-DSOURCE=${SOURCE}" "-DCMAKE_CXX_COMPILER=${COMPILER}" -G "${GENERATOR}" ${ARGN}
    RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  string(REGEX REPLACE "[ \n]+" " " output "${output}")
  if(status)
    set(status 1)
  endif()
  if(NOT status EQUAL wanted OR NOT output MATCHES "${pattern}")
    message(FATAL_ERROR "${name}: status ${status}, expected ${wanted} and '${pattern}' in:\n"
                        "${output}")
  endif()
endfunction()

set(broken -DPINION_NVCC=/bin/false)
expect(off 0 "PINION_HAS_CUDA is FALSE" -DPINION_CUDA=OFF)
expect(auto 0 "No GPUs are built for: .*PINION_HAS_CUDA is FALSE" ${broken})
expect(on 1 "PINION_CUDA is ON, but " -DPINION_CUDA=ON ${broken})
expect(word 1 "PINION_CUDA is 'MAYBE'; it must be OFF, AUTO or ON" -DPINION_CUDA=MAYBE)
expect(all 1 "PINION_CUDA_ARCHITECTURES has 'all'" -DPINION_CUDA_ARCHITECTURES=all ${broken})
