/* SPDX-License-Identifier: MIT */
/* Hosts on one machine each, over the in-memory links, under a clock set by hand; and a user of streams that writes down what happens. */
#ifndef SKEP_TEST_WORLD_H
#define SKEP_TEST_WORLD_H

#include "host/host.h"
#include "sim/sim_link.h"
#include "support/test.h"

enum { WORLD_HOSTS_MAX = 32, MS = 1000, SECOND = 1000000 };

struct node {
    struct skep_identity identity;
    struct skep_host *host;
    struct skep_multiaddr addr; /* with its peer id */
    uint8_t ip[4];
};

struct world {
    struct test_env env;
    struct skep_sim_net *net;
    struct node nodes[WORLD_HOSTS_MAX];
    size_t count;
};

/** `options` may be NULL: delays of 1 to 3 ms, pieces of up to 700 bytes. */
void world_init(struct world *world, uint64_t seed, const struct skep_sim_net_options *options);
void world_fini(struct world *world);

/** A host that listens; kad_server unless `options` says otherwise. @return it, or NULL with *rc set (a failed allocation). */
struct node *world_add(struct world *world, const struct skep_host_options *options);
int world_try_add(struct world *world, const struct skep_host_options *options);

void world_run(struct world *world, uint64_t us);
void world_knows(struct node *who, const struct node *whom); /* puts its address in the book */

/** A request and its end. */
struct asked {
    struct skep_host_request request;
    int done, rc;
};
void asked_init(struct asked *asked);

/** Connect and wait. @return the request's rc. */
int world_connect(struct world *world, struct node *from, const struct node *to);

/** The user of a stream. */
struct user {
    struct skep_stream *stream;
    struct skep_buf got;
    const char *protocol;
    int opened, writable, eof, closed, rc;
    bool echo; /* writes back what it reads, and ends when the other does */
    bool hold; /* does not give window back */
};
void user_init(struct user *user);
void user_fini(struct user *user);
extern const struct skep_stream_events user_events;

/** A service that hands each new stream to `next[0]`, `next[1]`, … */
struct service {
    struct user users[64];
    size_t count;
    bool echo, hold, refuse, ignore; /* ignore: takes any number, and does nothing with them */
};
void service_fini(struct service *service);
void service_on_stream(void *service, struct skep_stream *stream);

int user_open(struct user *user, struct node *from, const struct node *to, const char *protocol);

#endif
