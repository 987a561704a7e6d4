# SPDX-License-Identifier: MIT
skep_fuzz(fuzz_identify USES host)
skep_fuzz(fuzz_kad USES host)
