# SPDX-License-Identifier: MIT
skep_fuzz(fuzz_dht_message USES dht)
skep_fuzz(fuzz_dictionary USES dht)
skep_fuzz(fuzz_storage USES dht)
skep_fuzz(fuzz_owner_marks USES dht)
