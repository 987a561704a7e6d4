/* SPDX-License-Identifier: MIT */
/* What the tests of the public API share: nodes on loopback, with threads of their own or driven by the test. */
#ifndef SKEP_API_TEST_H
#define SKEP_API_TEST_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <skep/dht.h>
#include <skep/moe.h>
#include <skep/p2p.h>

enum { SECOND_US = 1000000, PATIENCE_US = 20 * SECOND_US };

static const char loopback[] = "/ip4/127.0.0.1/tcp/0";

static inline void options_for_test(skep_node_options *options, const char **listen,
                                    const char **join)
{
    skep_node_options_init(options);
    options->listen = listen;
    options->listen_count = 1;
    options->initial_peers = join;
    options->initial_peer_count = *join ? 1 : 0;
}

static inline void finish_ok(skep_op *op)
{
    int rc = skep_op_wait_for(op, PATIENCE_US);

    if (rc != 0)
        fail_msg("%s: %s", rc == 1 ? "still running" : skep_error_name(rc), skep_op_text(op));
}

/* A joined node with a thread of its own. */
static inline skep_node *node_on_thread(const char *join)
{
    const char *listen = loopback;
    skep_node_options options;
    skep_node *node;
    skep_op *op;

    options_for_test(&options, &listen, &join);
    assert_int_equal(skep_node_new(&node, &options), 0);
    assert_int_equal(skep_dht_join(&op, node, NULL, NULL), 0);
    finish_ok(op);
    skep_op_free(op);
    return node;
}

/* Its first address, the caller's to skep_free(). */
static inline char **addresses_of(skep_node *node)
{
    size_t count;
    char **addresses = skep_p2p_addresses(node, &count);

    assert_non_null(addresses);
    assert_true(count > 0);
    return addresses;
}

static inline skep_peer peer_of(const skep_node *node)
{
    skep_peer peer;

    skep_node_peer(node, &peer);
    return peer;
}

static inline void connect_nodes(skep_node *from, skep_node *to)
{
    char **addresses = addresses_of(to);
    skep_op *op;

    assert_int_equal(skep_p2p_connect(&op, from, addresses[0], 0, NULL, NULL), 0);
    finish_ok(op);
    skep_op_free(op);
    skep_free(addresses);
}

static inline skep_view view_of(const char *text)
{
    return (skep_view){text, strlen(text)};
}

static inline bool view_is(skep_view view, const char *text)
{
    return view.len == strlen(text) && memcmp(view.data, text, view.len) == 0;
}

#endif
