/* SPDX-License-Identifier: MIT */
/* What a stream has still to send: a chain of chunks, filled at one end and emptied at the other, so that no byte is moved twice.
 * A pool a session keeps a few spare chunks, so that a small message costs no allocation. */
#ifndef SKEP_MUX_YAMUX_QUEUE_H
#define SKEP_MUX_YAMUX_QUEUE_H

#include "base/bytes.h"

struct skep_yamux_chunk;

struct skep_yamux_pool {
    const struct skep_mem *mem;
    struct skep_yamux_chunk *small, *big; /* spare ones */
    uint8_t small_count, big_count;
    size_t queued;        /* bytes in all queues of the session */
    size_t *queued_total; /* of all sessions that share it, or NULL */
};

struct skep_yamux_queue {
    struct skep_yamux_chunk *head, *tail;
    size_t len; /* bytes in all */
};

/** Copy data to the end: all of it or, with SKEP_ENOMEM, none. */
int skep_yamux_queue_put(struct skep_yamux_queue *queue, struct skep_yamux_pool *pool,
                         skep_bytes data);

/** Move n bytes, at most queue->len, off the front to `out`. */
void skep_yamux_queue_take(struct skep_yamux_queue *queue, struct skep_yamux_pool *pool,
                           uint8_t *out, size_t n);

void skep_yamux_queue_clear(struct skep_yamux_queue *queue, struct skep_yamux_pool *pool);

/** Give the spare chunks back. */
void skep_yamux_pool_trim(struct skep_yamux_pool *pool);

#endif
