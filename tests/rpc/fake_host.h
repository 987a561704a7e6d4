/* SPDX-License-Identifier: MIT */
/* Hosts without connections: every skep_host and skep_stream function that the call layer uses, over queues in memory.
 * Linked instead of the host layer. Events come from a timer of the test's environment, in chunks of a chosen size. */
#ifndef SKEP_FAKE_HOST_H
#define SKEP_FAKE_HOST_H

#include "host/host.h"
#include "support/test.h"

struct fake_net {
    struct test_env env;
    struct skep_host *hosts[4];
    size_t host_count;
    size_t chunk;    /* bytes of one on_data; 0: all there is */
    size_t window;   /* bytes in flight before consume; 0: no limit */
    size_t open_max; /* streams a host may have open at once before SKEP_ELIMIT; 0: no limit */
    size_t room;     /* bytes that skep_stream_has_room() allows; 0: no limit */
    size_t resets, opens;
    size_t most_in_flight; /* of unconsumed bytes on one stream */
    struct skep_timer timer;
};

void fake_net_init(struct fake_net *net, uint64_t seed);
/** Frees the hosts too. */
void fake_net_fini(struct fake_net *net);
struct skep_host *fake_host_new(struct fake_net *net, uint8_t name);
const struct skep_peer_id *fake_host_id(const struct skep_host *host);
/** Let events happen for so long. */
void fake_net_run(struct fake_net *net, uint64_t us);
/** A bare stream to a host, as a peer that does not follow the rules would open it. */
struct skep_stream *fake_stream_open(struct skep_host *from, struct skep_host *to,
                                     const char *protocol, const struct skep_stream_events *events,
                                     void *user);
/** All streams of a host are lost. */
void fake_host_lose(struct skep_host *host);

#endif
