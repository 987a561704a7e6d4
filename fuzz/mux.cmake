# SPDX-License-Identifier: MIT
skep_fuzz(fuzz_yamux USES mux)
skep_fuzz(fuzz_yamux_session USES mux)
