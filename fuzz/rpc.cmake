# SPDX-License-Identifier: MIT
skep_fuzz(fuzz_unary USES rpc)
skep_fuzz(fuzz_rpc_stream USES rpc)
