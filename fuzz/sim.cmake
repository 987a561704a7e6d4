# SPDX-License-Identifier: MIT
# Needs the simulated call seam, so it is listed with sim/.
skep_fuzz(fuzz_dht_protocol USES dht sim)
