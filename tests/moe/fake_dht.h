/* SPDX-License-Identifier: MIT */
/* A DHT in one table: what moe/ uses of dht/node.h, linked instead of it. Values live "in the network" and, once fetched, "at home".
 * Answers come on the environment's timers, in a random order; a test can make keys unanswered, slow, or never decided. */
#ifndef FAKE_DHT_H
#define FAKE_DHT_H

#include "dht/node.h"

struct fake_dht_settings {
    bool no_cache;           /* what was fetched is not kept at home */
    bool sync;               /* keys in the network are answered from inside the start */
    uint64_t delay_us;       /* of an answer; each takes up to twice this */
    unsigned unanswered_ppm; /* keys that nobody answers for, chosen by their id */
    unsigned
        missed_ppm; /* guesses that are not found although they are there; of those that are not, as many are told to be surely nobody's */
    bool guesses_hang;    /* guesses are never answered, unless they are insisted on */
    bool hang;            /* nothing is ever answered */
    int get_rc, store_rc; /* what starts return, if not 0 */
};

struct fake_dht_counts {
    size_t gets, keys, guesses, insisted, peeks, stores, cancels, running;
};

struct skep_dht *fake_dht_new(struct skep_env *env, uint64_t seed);
void fake_dht_free(struct skep_dht *dht);
struct fake_dht_settings *fake_dht_settings(struct skep_dht *dht);
struct fake_dht_counts *fake_dht_counts(struct skep_dht *dht);

/** Into the network, past every check. Empty subkey: a plain value. */
void fake_dht_put(struct skep_dht *dht, const char *key, skep_bytes subkey, skep_bytes value,
                  double expiration_unix_s);
void fake_dht_put_expert(struct skep_dht *dht, const char *key, int64_t subkey, const char *uid,
                         const char *peer, double expiration_unix_s);
/** hivemind's records of an expert. */
void fake_dht_declare(struct skep_dht *dht, const char *uid, const char *peer,
                      double expiration_unix_s);
/** What is in the network; NULL: nothing. */
const struct skep_dht_value *fake_dht_at(struct skep_dht *dht, skep_bytes key);
/** Forget what is at home. */
void fake_dht_forget(struct skep_dht *dht);
/** Everything in the network is at home, too. */
void fake_dht_fetch_all(struct skep_dht *dht);
/** Everything goes from the network. */
void fake_dht_clear(struct skep_dht *dht);

#endif
