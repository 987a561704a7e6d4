# SPDX-License-Identifier: MIT
skep_fuzz(fuzz_multiaddr USES peer)
skep_fuzz(fuzz_peer_id USES peer)
skep_fuzz(fuzz_identity USES peer)
