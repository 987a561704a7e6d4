# SPDX-License-Identifier: MIT
# Tests of what a node does. They need the simulated side of the call seam.
if(TARGET skep_sim)
  set(swarm ${CMAKE_SOURCE_DIR}/tests/sim/swarm.c)
  skep_test(dht/test_node LABELS unit USES dht sim SOURCES ${swarm})
  skep_test(dht/test_believe LABELS unit oom USES dht sim SOURCES ${swarm})
  skep_test(dht/test_guess LABELS unit USES dht sim SOURCES ${swarm})
  skep_test(dht/test_upkeep LABELS unit oom USES dht sim SOURCES ${swarm})
  skep_test(dht/test_protocol LABELS unit USES dht sim SOURCES ${swarm})
  skep_test(dht/test_bounds LABELS unit oom USES dht sim SOURCES ${swarm})
  skep_test(dht/test_crawl LABELS sim USES dht sim SOURCES ${swarm})
  skep_test(dht/test_crawl_crowd LABELS sim oom USES dht sim)
endif()
