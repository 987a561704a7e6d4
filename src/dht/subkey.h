/* SPDX-License-Identifier: MIT */
/* Subkeys of dictionaries: msgpack values that Python takes as keys. docs/wire.md c.1, c.2; hivemind dht/protocol.py (rpc_store).
 *
 * Two subkeys are the same if Python says so: 1, 1.0 and True are one key, 's' and b's' are two. So a subkey has a normal form (what hivemind
 * would write) and an identity (the same with equal numbers made equal bytes); of nearly all subkeys both are the bytes as they came. */
#ifndef SKEP_DHT_SUBKEY_H
#define SKEP_DHT_SUBKEY_H

#include "dht/value.h"

struct skep_dht_subkey {
    skep_bytes normal, identity; /* views of the input or of `scratch` */
    uint32_t hash;               /* of the identity */
    struct skep_buf scratch;
};

/** @return 0, then skep_dht_subkey_fini() is due; SKEP_EPEER_FRAME, SKEP_EPEER_PROTO, SKEP_ENOMEM, then it is not. */
int skep_dht_subkey_init(struct skep_dht_subkey *subkey, const struct skep_mem *mem,
                         skep_bytes packed);
void skep_dht_subkey_fini(struct skep_dht_subkey *subkey);

/** Does `normal`, the normal form of another subkey with the same hash, mean the same key? @return 1, 0, SKEP_ENOMEM. */
int skep_dht_subkey_same(const struct skep_dht_subkey *subkey, skep_bytes normal);

/** As skep_dht_value_find() and skep_dht_value_put(), for a subkey that is prepared. @return of find: 1, 0, SKEP_ENOMEM. `replaced` is not NULL. */
int skep_dht_value_find_subkey(const struct skep_dht_value *value,
                               const struct skep_dht_subkey *subkey, struct skep_dht_entry *entry);
int skep_dht_value_put_subkey(struct skep_dht_value *value, const struct skep_dht_subkey *subkey,
                              const struct skep_dht_entry *entry, struct skep_dht_entry *replaced);

#endif
