# SPDX-License-Identifier: MIT
# Tests of what a node knows and says: ids, values, storage, table, validators, messages. Those of what it does are in CMakeLists.txt.
skep_test(dht/test_dht_id LABELS unit USES dht)
skep_test(dht/test_value LABELS unit oom USES dht)
skep_test(dht/test_routing LABELS unit oom USES dht)
skep_test(dht/test_storage LABELS unit oom USES dht)
skep_test(dht/test_cache LABELS unit oom USES dht)
skep_test(dht/test_blacklist LABELS unit oom USES dht)
skep_test(dht/test_validator LABELS unit oom USES dht)
skep_test(dht/test_message LABELS unit oom USES dht)
if(TARGET skep_proto_oracle)
  skep_test(dht/test_message_oracle LABELS unit USES dht proto_oracle)
endif()
