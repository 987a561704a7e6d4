# SPDX-License-Identifier: MIT
skep_fuzz(fuzz_safetensors USES server LIBS PkgConfig::JANSSON)
skep_fuzz(fuzz_expert_request USES server sim)
if(TARGET fuzz_expert_request)
  target_sources(fuzz_expert_request PRIVATE ${CMAKE_SOURCE_DIR}/tests/server/fake_rpc.c)
  target_include_directories(fuzz_expert_request PRIVATE ${CMAKE_SOURCE_DIR}/tests)
endif()
