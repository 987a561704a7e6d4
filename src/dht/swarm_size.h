/* SPDX-License-Identifier: MIT */
/* How many nodes a swarm has, judged by how near the nearest ones are: ids are uniform, so within a distance d of any id there are N * d / 2^160 of them. Of the table,
 * around our own id, and of each lookup that ended, around its key; smoothed. Nobody is asked for it.
 *
 * It may be wrong by chance (a fifth, seldom twice) and by malice (nodes with chosen ids near one key make it too large). So nothing may depend on it but how
 * much is asked: traverse.h says what a wrong one does. */
#ifndef SKEP_DHT_SWARM_SIZE_H
#define SKEP_DHT_SWARM_SIZE_H

#include <stddef.h>
#include <stdint.h>

struct skep_dht;

struct skep_swarm_size {
    double nodes;             /* smoothed; 0: nothing known */
    uint64_t table_looked_us; /* when our own table was looked at last */
};

/** An estimate of the first `count` distances of nodes to some id, nearest first: the median over how many of them one looks at.
 *  @param heads  [count] first 8 bytes of the distances.
 *  @return 0: too few. */
double skep_swarm_size_of(const uint64_t *heads, size_t count);

/** The distances from a lookup: one more opinion. Counts at most four times, at least a quarter of what was thought before. */
void skep_swarm_size_learn(struct skep_swarm_size *size, const uint64_t *heads, size_t count);

/** What is thought now; at least 1. Looks at the table again when it has not for a while. */
double skep_dht_swarm_size(struct skep_dht *dht);
/** As that, but what is seen is not remembered. */
double skep_dht_swarm_size_now(const struct skep_dht *dht);

/** How many nodes lie nearer than this, in a swarm of `nodes`. */
static inline double skep_swarm_expected(double nodes, uint64_t head)
{
    return nodes * ((double)head * 0x1p-64);
}

/** How likely it is that fewer than `replicas` nodes lie nearer to a key than one of which `expected` are expected to, in 1/65536; at least 1. */
uint32_t skep_swarm_holds(double expected, size_t replicas);

#endif
