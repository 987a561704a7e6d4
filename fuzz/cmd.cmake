# SPDX-License-Identifier: MIT
skep_fuzz(fuzz_npy USES cmd)
skep_fuzz(fuzz_npy_tensor USES cmd)
skep_fuzz(fuzz_json_value USES cmd)
