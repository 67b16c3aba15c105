# One function a kind of target, so that every folder's CMakeLists.txt is a list of what it has and what it may include.

include(GoogleTest)

# polymoe_library(NAME SOURCES a.cc ... DEPS target ...): a static library; its dependencies are passed on.
function(polymoe_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PUBLIC ${arg_DEPS} PRIVATE polymoe_warnings)
endfunction()

# polymoe_program(NAME SOURCES ... DEPS ...): a program in <build>/bin.
function(polymoe_program name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${arg_DEPS} polymoe_warnings)
  install(TARGETS ${name} RUNTIME)
endfunction()

# polymoe_test(NAME SOURCES a_test.cc ... DEPS ...): one GoogleTest program in <build>/tests, each of its tests known to ctest.
# FOREIGN_THREADS marks a program whose threads meet inside gRPC or OpenMP: Debian's are not built with the thread sanitiser, which then
# sees races where there are none; the tsan preset leaves such programs out.
# Tests find their data through POLYMOE_SOURCE_DIR and the programs through POLYMOE_BIN_DIR (macros).
function(polymoe_test name)
  cmake_parse_arguments(arg "FOREIGN_THREADS" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_compile_definitions(
    ${name} PRIVATE POLYMOE_SOURCE_DIR="${PROJECT_SOURCE_DIR}" POLYMOE_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
  target_link_libraries(${name} PRIVATE ${arg_DEPS} GTest::gtest GTest::gmock GTest::gtest_main polymoe_warnings)
  set(label "")
  if(arg_FOREIGN_THREADS)
    set(label LABELS foreign_threads)
  endif()
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST PROPERTIES TIMEOUT 300 ${label})
endfunction()
