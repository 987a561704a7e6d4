# SPDX-License-Identifier: MIT
skep_fuzz(fuzz_multistream USES negotiate)
