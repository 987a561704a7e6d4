# SPDX-License-Identifier: MIT
skep_fuzz(fuzz_uid USES moe)
skep_fuzz(fuzz_successors USES moe)
skep_fuzz(fuzz_codec USES moe LIBS m)
skep_fuzz(fuzz_expert_message USES moe)
skep_fuzz(fuzz_expert_answer USES moe)
if(SKEP_FUZZ) # over the seam whose other side is the test
  target_sources(fuzz_expert_answer PRIVATE ${CMAKE_SOURCE_DIR}/tests/moe/fake_rpc.c)
  target_include_directories(fuzz_expert_answer PRIVATE ${CMAKE_SOURCE_DIR}/tests)
endif()
