# SPDX-License-Identifier: MIT
skep_fuzz(fuzz_uid USES moe)
skep_fuzz(fuzz_successors USES moe)
skep_fuzz(fuzz_codec USES moe LIBS m)
skep_fuzz(fuzz_expert_message USES moe)
