# SPDX-License-Identifier: MIT
skep_fuzz(fuzz_pb USES base)
skep_fuzz(fuzz_msgpack USES base)
