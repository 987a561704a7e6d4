/* SPDX-License-Identifier: MIT */
/* Tables and records placed by a rule, where real joins and declarations would only cost time.
 *
 * Tables: of every subtree that a node is not in, up to `each` members drawn from all that are in it, and all of the smallest subtree that it is in. With `each` equal to
 * bucket_size that is what Kademlia promises. Records: those that real declarations make, each on the num_replicas members that
 * are truly nearest to its key. Only full members hold records; they, and those who pass for it, are in tables. */
#ifndef SKEP_LAB_PLACE_H
#define SKEP_LAB_PLACE_H

#include "lab/index.h"
#include "lab/swarm.h"
#include "lab/world.h"

/** Everybody full that is there, dead or alive, sorted. @return 0, SKEP_ENOMEM. */
int skep_lab_place_index(struct skep_lab_index *index, const struct skep_lab_swarm *swarm);

/** Fill the tables of the members [first, end) and let them count as joined. @return 0, SKEP_ENOMEM. */
int skep_lab_place_tables(struct skep_lab_swarm *swarm, const struct skep_lab_index *index,
                          uint32_t first, uint32_t end, size_t each);

/** Declare every expert of the world: expert i belongs to the member i % owners. @return 0, SKEP_ENOMEM. */
int skep_lab_place_records(struct skep_lab_swarm *swarm, const struct skep_lab_index *index,
                           const struct skep_lab_world *world, uint32_t owners, size_t replicas,
                           double expiration_unix_s);

#endif
