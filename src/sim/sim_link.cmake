# SPDX-License-Identifier: MIT
# The in-memory byte links as a target of their own: the tests of the lower layers use them without the rest of sim/.
if(NOT TARGET skep_sim_link)
  add_library(skep_sim_link STATIC ${CMAKE_SOURCE_DIR}/src/sim/sim_link.c)
  target_link_libraries(skep_sim_link PUBLIC skep_flags skep_base skep_env skep_peer)
endif()
