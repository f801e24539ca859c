# Whether GPUs are built for, by CUDA: sets PINION_HAS_CUDA, and then defines the target
# CUDA::cudart_static and the function pinion_cuda_objects().
#
# nvcc is called by custom commands, and CMake's language CUDA is not used: it would make all that
# links the library need that language too, also strangers' projects, and CMake 3.25 does not know
# C++20 for nvcc.
include_guard(GLOBAL)

set(PINION_CUDA AUTO CACHE STRING "GPUs by CUDA: OFF, AUTO (where nvcc works) or ON")
set_property(CACHE PINION_CUDA PROPERTY STRINGS OFF AUTO ON)
set(PINION_CUDA_ARCHITECTURES "90-real;90-virtual"
    CACHE STRING "What kernels are built for: <number>-real for machine code, -virtual for PTX")
set(PINION_HAS_CUDA FALSE)

if(NOT PINION_CUDA MATCHES "^(OFF|AUTO|ON)$")
  message(FATAL_ERROR "PINION_CUDA is '${PINION_CUDA}'; it must be OFF, AUTO or ON")
endif()
if(PINION_CUDA STREQUAL "OFF")
  return()
endif()

find_program(PINION_NVCC nvcc PATHS "$ENV{CUDA_PATH}/bin" "$ENV{CUDA_HOME}/bin" /usr/local/cuda/bin
             DOC "The compiler of CUDA")
if(PINION_NVCC)
  get_filename_component(pinion_nvcc_root "${PINION_NVCC}" REALPATH)
  get_filename_component(pinion_nvcc_root "${pinion_nvcc_root}/../.." ABSOLUTE)
  if(NOT CUDAToolkit_ROOT)
    set(CUDAToolkit_ROOT "${pinion_nvcc_root}")
  endif()
  find_package(CUDAToolkit 12 QUIET)
endif()

set(pinion_nvcc_flags -std=c++20 -O3 -lineinfo "-Xcompiler=-fPIC,-fvisibility=hidden")
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  list(APPEND pinion_nvcc_flags -ccbin "${CMAKE_CXX_COMPILER}")
endif()
foreach(architecture IN LISTS PINION_CUDA_ARCHITECTURES)
  if(NOT architecture MATCHES "^([0-9]+[af]?)-(real|virtual)$")
    message(FATAL_ERROR "PINION_CUDA_ARCHITECTURES has '${architecture}'; expected a number with "
                        "-real or -virtual, as 90-real")
  endif()
  set(code "sm_${CMAKE_MATCH_1}")
  if(CMAKE_MATCH_2 STREQUAL "virtual")
    set(code "compute_${CMAKE_MATCH_1}")
  endif()
  list(APPEND pinion_nvcc_flags -gencode "arch=compute_${CMAKE_MATCH_1},code=${code}")
endforeach()

# Once for each set of flags: a toolkit may be there that does not take the compiler of this build.
set(pinion_cuda_missing "")
if(NOT PINION_NVCC)
  set(pinion_cuda_missing "nvcc is not in PATH, CUDA_PATH or /usr/local/cuda")
elseif(NOT TARGET CUDA::cudart_static)
  set(pinion_cuda_missing "${pinion_nvcc_root} has no toolkit of version 12 or later with a "
                          "static runtime")
elseif(NOT "${PINION_NVCC_TRIED}" STREQUAL "${PINION_NVCC};${pinion_nvcc_flags}")
  set(trial "${PROJECT_BINARY_DIR}/nvcc_trial")
  file(WRITE "${trial}.cu" "#include <span>\n__global__ void f(int* p) { *p = 1; }\n"
                           "std::size_t g(std::span<int> s) { return s.size(); }\n")
  execute_process(COMMAND "${PINION_NVCC}" ${pinion_nvcc_flags} -c "${trial}.cu" -o "${trial}.o"
                  RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(result EQUAL 0)
    set(PINION_NVCC_TRIED "${PINION_NVCC};${pinion_nvcc_flags}" CACHE INTERNAL "")
  else()
    string(STRIP "${output}" output)
    set(pinion_cuda_missing "${PINION_NVCC} does not compile a small program: ${output}")
  endif()
endif()
if(pinion_cuda_missing)
  string(REPLACE ";" "" pinion_cuda_missing "${pinion_cuda_missing}")
  if(PINION_CUDA STREQUAL "ON")
    message(FATAL_ERROR "PINION_CUDA is ON, but ${pinion_cuda_missing}")
  endif()
  message(STATUS "No GPUs are built for: ${pinion_cuda_missing}")
  return()
endif()
set(PINION_HAS_CUDA TRUE)
message(STATUS "GPUs are built for by CUDA ${CUDAToolkit_VERSION}: ${PINION_CUDA_ARCHITECTURES}")

# pinion_cuda_objects(<variable> SOURCES <file>... [INCLUDES <folder>...])
# The object files of .cu files, relative to the calling folder, to be listed among a target's
# sources; they see all public headers of core, numa and gpu. Who links them needs
# CUDA::cudart_static.
function(pinion_cuda_objects variable)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;INCLUDES")
  set(includes "")
  foreach(folder IN LISTS arg_INCLUDES)
    list(APPEND includes "-I${folder}")
  endforeach()
  foreach(module IN ITEMS core numa gpu)
    list(APPEND includes "-I${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../${module}/include")
  endforeach()
  set(warnings "-Xcompiler=-Wall,-Wextra")
  if(CMAKE_COMPILE_WARNING_AS_ERROR)
    list(APPEND warnings -Werror all-warnings)
  endif()
  set(objects "")
  foreach(source IN LISTS arg_SOURCES)
    get_filename_component(source "${source}" ABSOLUTE)
    file(RELATIVE_PATH name "${CMAKE_CURRENT_SOURCE_DIR}" "${source}")
    string(REPLACE "../" "" name "${name}")
    set(object "${CMAKE_CURRENT_BINARY_DIR}/${name}.o")
    get_filename_component(folder "${object}" DIRECTORY)
    file(MAKE_DIRECTORY "${folder}")
    add_custom_command(
      OUTPUT "${object}"
      COMMAND ${CMAKE_CXX_COMPILER_LAUNCHER} "${PINION_NVCC}" ${pinion_nvcc_flags} ${warnings}
              ${includes} -MD -MF "${object}.d" -c "${source}" -o "${object}"
      DEPENDS "${source}"
      DEPFILE "${object}.d"
      COMMENT "Building CUDA object ${name}.o"
      VERBATIM)
    list(APPEND objects "${object}")
  endforeach()
  set_source_files_properties(${objects} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
  set(${variable} "${objects}" PARENT_SCOPE)
endfunction()
