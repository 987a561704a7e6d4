# SPDX-License-Identifier: MIT
skep_fuzz(fuzz_noise USES secure)
