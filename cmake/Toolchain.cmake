# How things are compiled: ccache and mold where installed, CUDA where there is nvcc, warnings as errors on our own code, optional
# sanitisers.

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE})
endif()

find_program(MOLD mold)
if(MOLD)
  add_link_options(-fuse-ld=mold)
endif()

# Debug information of headers that we only read costs most of the build's disk and link time; line tables are enough for a backtrace.
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O3 -g1")

include(CheckLanguage)
check_language(CUDA)
set(usable_nvcc OFF)
if(CMAKE_CUDA_COMPILER)
  execute_process(COMMAND ${CMAKE_CUDA_COMPILER} --version OUTPUT_VARIABLE nvcc_version)
  if(nvcc_version MATCHES "release ([0-9]+)" AND CMAKE_MATCH_1 GREATER_EQUAL 12)  # Debian 12's own 11.8 has no C++20
    set(usable_nvcc ON)
  endif()
endif()
option(POLYMOE_CUDA "Build kernels/cuda and its test; needs nvcc 12 or newer, no GPU" ${usable_nvcc})
if(NOT POLYMOE_CUDA)
  message(STATUS "CUDA is off: kernels/cuda is not built")
elseif(NOT usable_nvcc)
  unset(CMAKE_CUDA_COMPILER CACHE)  # look again next time
  message(FATAL_ERROR "POLYMOE_CUDA is ON, but there is no nvcc 12 or newer that works: put one on PATH, name it in CUDACXX, or set POLYMOE_CUDA=OFF")
else()
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90 CACHE STRING "GPUs to compile for: A100, H100, and newer ones through the PTX of the last")
  enable_language(CUDA)
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)  # Debian 12's CMake does not know that nvcc has it
  set(CMAKE_CUDA_FLAGS_RELWITHDEBINFO "-O3 -lineinfo -Xcompiler=-g1")
endif()

set(POLYMOE_SANITIZE "" CACHE STRING "Sanitisers for everything that is built here: address,undefined or thread")
if(POLYMOE_SANITIZE)
  # Not for nvcc: its code is linked uninstrumented. What a sanitiser can look into, the code of the rows, g++ compiles for cuda_test.
  add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${POLYMOE_SANITIZE};-fno-omit-frame-pointer;-fno-sanitize-recover=all>")
  add_link_options(-fsanitize=${POLYMOE_SANITIZE})
endif()
if(POLYMOE_SANITIZE MATCHES thread)
  # Debian's protobuf was built without the sanitiser; with this macro its headers would add members that the library does not know.
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-U__SANITIZE_THREAD__>)
endif()

set(warnings -Wall -Wextra -Wnon-virtual-dtor -Woverloaded-virtual -Wvla -Wno-missing-field-initializers)
if(POLYMOE_SANITIZE)
  list(APPEND warnings -w)  # GCC sees phantoms in instrumented code; the release build has the say
else()
  list(APPEND warnings -Werror)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # GCC 12 warns about its own std::string operator+ (GCC bug 105651).
  list(APPEND warnings -Wno-restrict)
endif()
list(JOIN warnings , host_warnings)
add_library(polymoe_warnings INTERFACE)
target_compile_options(polymoe_warnings INTERFACE
  "$<$<COMPILE_LANGUAGE:CXX>:${warnings}>"
  "$<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings;-Xcompiler=${host_warnings}>")
