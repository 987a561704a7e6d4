/* SPDX-License-Identifier: MIT */
/* A swarm of real DHT nodes over the simulated call seam, in virtual time, and the calls of it that block until they are done. */
#ifndef SKEP_TESTS_SWARM_H
#define SKEP_TESTS_SWARM_H

#include "dht/node.h"
#include "sim/sim_rpc.h"
#include "support/test.h"

enum { SWARM_NODES_MAX = 2048 };

struct swarm {
    struct skep_sim_clock clock;
    struct skep_sim_net *net;
    struct skep_dht *dht[SWARM_NODES_MAX]; /* NULL: none at this index of the net, or dead */
    struct skep_rpc *rpc[SWARM_NODES_MAX];
    size_t count;
    uint64_t seed;
    struct skep_prng prng; /* the test's own draws */
    char log[1024];        /* the last line */
};

/** What one key's get told. */
struct swarm_found {
    bool told, found, answered;
    double expiration_unix_s;
    char text[256]; /* a plain value as text, or "subkey=value;…" in hex */
    size_t entries;
    int rc;
    struct skep_dht_cost cost;
};

/** faults NULL: 1 ms round trips, no faults. */
void swarm_init(struct swarm *swarm, const struct skep_mem *mem, uint64_t seed,
                const struct skep_sim_faults *faults);
void swarm_fini(struct swarm *swarm);

/** A node; options NULL: the defaults. @return its index. */
uint32_t swarm_add(struct swarm *swarm, const struct skep_dht_options *options);
/** Die without a word, or close properly. */
void swarm_kill(struct swarm *swarm, uint32_t index);
/** Join by way of some other nodes. @return the join's rc; text (may be NULL) has 512 bytes. */
int swarm_join(struct swarm *swarm, uint32_t index, const uint32_t *via, size_t via_count,
               char *text);
/** `count` nodes, each joined by way of node `first` or one before it. */
void swarm_grow(struct swarm *swarm, size_t count, const struct skep_dht_options *options);

double swarm_now(struct swarm *swarm);
struct skep_dht_id swarm_key(const char *text);
struct skep_dht_record swarm_record(const char *key, const char *value, double expiration_unix_s);

/** @return on how many nodes it was accepted. */
unsigned swarm_store(struct swarm *swarm, uint32_t node, const struct skep_dht_record *record,
                     const struct skep_dht_store_options *options);
/** Many records in one store; accepted, answered [count] may be NULL. @return done's rc. */
int swarm_store_many(struct swarm *swarm, uint32_t node, const struct skep_dht_record *records,
                     size_t count, const struct skep_dht_store_options *options, unsigned *accepted,
                     unsigned *answered, struct skep_dht_cost *cost);

struct swarm_found swarm_get(struct swarm *swarm, uint32_t node, const char *key,
                             const struct skep_dht_get_options *options);
/** @return done's rc. */
int swarm_get_many(struct swarm *swarm, uint32_t node, const struct skep_dht_id *keys, size_t count,
                   const struct skep_dht_get_options *options, struct swarm_found *found);

struct skep_dht_stats swarm_stats(struct swarm *swarm, uint32_t node);

#endif
