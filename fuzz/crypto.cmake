# SPDX-License-Identifier: MIT
skep_fuzz(fuzz_public_key USES crypto)
