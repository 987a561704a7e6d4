# SPDX-License-Identifier: MIT
# Every compiler flag of the project, on one INTERFACE target.
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
# Asserts stay on in every build: no NDEBUG.
set(CMAKE_C_FLAGS_RELEASE "-O2 -g")
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Release or Debug" FORCE)
endif()

option(SKEP_WERROR "Treat warnings as errors (CI)" OFF)
option(SKEP_FUZZ "Build the fuzz targets (clang with libFuzzer)" OFF)
set(SKEP_SANITIZE "" CACHE STRING "Sanitizers, as for -fsanitize=")

add_library(skep_flags INTERFACE)
target_compile_definitions(skep_flags INTERFACE _GNU_SOURCE SKEP_VERSION="${PROJECT_VERSION}")
target_compile_options(skep_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes
  -Wcast-qual -Wundef -Wvla -Wformat=2 -ffp-contract=off -fno-omit-frame-pointer)
target_include_directories(skep_flags INTERFACE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include)
if(SKEP_WERROR)
  target_compile_options(skep_flags INTERFACE -Werror)
endif()
if(SKEP_SANITIZE)
  set(sanitize ${SKEP_SANITIZE})
  target_link_options(skep_flags INTERFACE -fsanitize=${SKEP_SANITIZE})
  if(SKEP_FUZZ)
    set(sanitize ${SKEP_SANITIZE},fuzzer-no-link)
  endif()
  target_compile_options(skep_flags INTERFACE -fsanitize=${sanitize} -fno-sanitize-recover=all)
endif()
