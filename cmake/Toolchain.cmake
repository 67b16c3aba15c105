# How things are compiled: ccache and mold where installed, warnings as errors on our own code, optional sanitisers.

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()

find_program(MOLD mold)
if(MOLD)
  add_link_options(-fuse-ld=mold)
endif()

# Debug information of headers that we only read costs most of the build's disk and link time; line tables are enough for a backtrace.
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O3 -g1")

set(POLYMOE_SANITIZE "" CACHE STRING "Sanitisers for everything that is built here: address,undefined or thread")
if(POLYMOE_SANITIZE)
  add_compile_options(-fsanitize=${POLYMOE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${POLYMOE_SANITIZE})
  add_compile_options(-Wno-maybe-uninitialized)  # GCC sees phantoms in instrumented code of the standard library and fmt
endif()
if(POLYMOE_SANITIZE MATCHES thread)
  # Debian's protobuf was built without the sanitiser; with this macro its headers would add members that the library does not know.
  add_compile_options(-U__SANITIZE_THREAD__)
endif()

add_library(polymoe_warnings INTERFACE)
target_compile_options(polymoe_warnings INTERFACE -Wall -Wextra -Werror -Wnon-virtual-dtor -Woverloaded-virtual -Wvla -Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # GCC 12 warns about its own std::string operator+ (GCC bug 105651).
  target_compile_options(polymoe_warnings INTERFACE -Wno-restrict)
endif()
