# SPDX-License-Identifier: MIT
# Each public header must compile alone, as C11 and as C++11, with every warning an error.
file(GLOB headers ${SOURCE_DIR}/include/skep/*.h)
foreach(header ${headers})
  get_filename_component(name ${header} NAME)
  foreach(language c c++)
    set(file ${WORK_DIR}/header_${name}.${language})
    file(WRITE ${file} "#include <skep/${name}>\n")
    if(language STREQUAL c)
      set(command ${C_COMPILER} -x c -std=c11 -Wstrict-prototypes)
    else()
      set(command ${C_COMPILER} -x c++ -std=c++11)
    endif()
    execute_process(
      COMMAND ${command} -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -fsyntax-only -I${SOURCE_DIR}/include ${file}
      RESULT_VARIABLE result ERROR_VARIABLE errors)
    if(NOT result EQUAL 0 AND NOT errors MATCHES "cc1plus|language c\\+\\+ not recognized")
      message(FATAL_ERROR "skep/${name} as ${language}:\n${errors}")
    endif()
  endforeach()
endforeach()
