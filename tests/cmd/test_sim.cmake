# SPDX-License-Identifier: MIT
# The same seed gives the same run, byte for byte, whichever compiler and optimisation made it: two runs of this build against each other and
# against what other builds printed (tests/cmd/data/sim.json). cmake -DSKEP=… -P tests/cmd/test_sim.cmake
set(options sim --nodes 300 --experts 500 --grid 32x32x32 --queries 60 --seed 11 --loss 1% --dead 5% --slow 5%,200ms --skew 500ms --jitter 5ms --real
  --json --no-costs)
foreach(run 1 2)
  execute_process(COMMAND ${SKEP} ${options} OUTPUT_VARIABLE out${run} RESULT_VARIABLE code)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "skep sim ended with ${code}")
  endif()
endforeach()
if(NOT out1 STREQUAL out2)
  message(FATAL_ERROR "two runs of one seed differ:\n${out1}${out2}")
endif()
file(READ ${CMAKE_CURRENT_LIST_DIR}/data/sim.json golden)
if(NOT out1 STREQUAL golden)
  message(FATAL_ERROR "the run differs from the golden one; if skep asks otherwise by intent, write the new one there:\n${out1}")
endif()
