# Every package that we link. All but CUDA's are Debian packages: deploy/install-deps.sh installs them.

find_package(Threads REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(absl CONFIG REQUIRED)
find_package(Protobuf REQUIRED)
find_package(gRPC CONFIG REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED)
find_package(spdlog CONFIG REQUIRED)
find_package(yaml-cpp CONFIG REQUIRED)
find_package(nlohmann_json CONFIG REQUIRED)
find_package(GTest CONFIG REQUIRED)
find_package(hwy CONFIG REQUIRED)
find_package(Gloo CONFIG REQUIRED)
find_package(rapidcheck CONFIG REQUIRED)
find_package(Eigen3 CONFIG REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(ZLIB REQUIRED)
find_package(CURL REQUIRED)
find_package(OpenSSL REQUIRED)
pkg_check_modules(zstd REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(sentencepiece REQUIRED IMPORTED_TARGET sentencepiece)
find_path(CLI11_INCLUDE_DIR CLI/CLI.hpp REQUIRED)
if(POLYMOE_CUDA)
  find_package(CUDAToolkit REQUIRED)  # the runtime, linked statically: a program needs nothing more on its machine than the driver
  # NVIDIA's package, or the wheel nvidia-nccl-cu13 with NCCL_ROOT=.../site-packages/nvidia/nccl, which has only the library's soname.
  find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${NCCL_ROOT}/include)
  find_library(NCCL_LIBRARY NAMES nccl libnccl.so.2 HINTS ${NCCL_ROOT}/lib)
  if(NCCL_INCLUDE_DIR AND NCCL_LIBRARY)
    set(POLYMOE_NCCL ON)
    add_library(polymoe_nccl_sdk INTERFACE)
    target_include_directories(polymoe_nccl_sdk SYSTEM INTERFACE ${NCCL_INCLUDE_DIR})
    target_link_libraries(polymoe_nccl_sdk INTERFACE ${NCCL_LIBRARY})
  else()
    message(STATUS "NCCL was not found: worker/parallel/nccl_group is not built (NCCL_ROOT names its folder)")
  endif()
endif()

# Its products run on the caller's thread: who wants more shares whole matrices over threads.
target_compile_definitions(Eigen3::Eigen INTERFACE EIGEN_DONT_PARALLELIZE)

# Debian builds a static rapidcheck without position-independent code and without a GTest target.
add_library(polymoe_rapidcheck INTERFACE)
target_link_libraries(polymoe_rapidcheck INTERFACE rapidcheck)
