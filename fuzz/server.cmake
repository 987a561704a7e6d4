# SPDX-License-Identifier: MIT
skep_fuzz(fuzz_safetensors USES server LIBS PkgConfig::JANSSON)
