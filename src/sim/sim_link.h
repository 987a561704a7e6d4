/* SPDX-License-Identifier: MIT */
/* Byte links in memory: the simulated side of transport.h, for the whole stack (Noise and yamux included) in one process, with tens
 * of nodes. Bytes arrive in order, later by a random delay, cut at random places; connections are lost by chance or by command.
 *
 * One net belongs to one env, whose clock and timers move it. Everything random comes from the seed, so a run can be replayed. */
#ifndef SKEP_SIM_LINK_H
#define SKEP_SIM_LINK_H

#include "transport/transport.h"

struct skep_sim_net;

struct skep_sim_net_options {
    uint64_t seed;
    uint64_t delay_us_min, delay_us_max; /* one way; the order of bytes is kept */
    size_t chunk_max;                    /* most bytes in one on_data; 0: as many as there are */
    size_t in_flight_max;                /* a write above it waits for on_drained; 0: 1 MiB */
    uint32_t cut_ppm;                    /* chance that a write loses the connection */
};

int skep_sim_net_new(struct skep_sim_net **out, struct skep_env *env,
                     const struct skep_sim_net_options *options);

/** All links and listeners must be closed. */
void skep_sim_net_free(struct skep_sim_net *net);

/** The transport of the machine with this address, made if need be; the net's. NULL: no memory. */
struct skep_transport *skep_sim_net_transport(struct skep_sim_net *net, const uint8_t ip[4]);

/** Lose all connections between two machines, now. @return how many. */
size_t skep_sim_net_cut(struct skep_sim_net *net, const uint8_t a[4], const uint8_t b[4]);

/** A machine that is unreachable: dials to it get no answer until it is reachable again or the dialler gives up. */
void skep_sim_net_set_reachable(struct skep_sim_net *net, const uint8_t ip[4], bool reachable);

/** What `from` sends to `to` on the connections they have now is swallowed, for good: a machine that vanished without a word. */
void skep_sim_net_mute(struct skep_sim_net *net, const uint8_t from[4], const uint8_t to[4]);

/** Links that are open or opening, for checks that nothing leaks. */
size_t skep_sim_net_link_count(const struct skep_sim_net *net);

#endif
