/* SPDX-License-Identifier: MIT */
#include "mux/yamux_queue.h"

#include "base/limits.h"

struct skep_yamux_chunk {
    struct skep_yamux_chunk *next;
    uint32_t start, end, cap; /* data[start..end) is to be sent */
    uint8_t data[];
};

enum {
    SMALL_CAP = 512 - sizeof(struct skep_yamux_chunk), /* a negotiation and a DHT request */
    BIG_CAP = 64 << 10,                                /* a whole frame */
    EXACT_MAX = 32 << 10,                              /* between: as large as what is written */
    SMALL_SPARE_MAX = 16,
    BIG_SPARE_MAX = 2,
};

static struct skep_yamux_chunk *pop(struct skep_yamux_chunk **list, uint8_t *count)
{
    struct skep_yamux_chunk *chunk = *list;

    if (chunk) {
        *list = chunk->next;
        (*count)--;
    }
    return chunk;
}

static struct skep_yamux_chunk *new_chunk(struct skep_yamux_pool *pool, size_t want)
{
    size_t cap = want <= SMALL_CAP ? (size_t)SMALL_CAP : want <= EXACT_MAX ? want : (size_t)BIG_CAP;
    struct skep_yamux_chunk *chunk = NULL;

    if (cap == SMALL_CAP)
        chunk = pop(&pool->small, &pool->small_count);
    else if (cap == BIG_CAP)
        chunk = pop(&pool->big, &pool->big_count);
    if (!chunk)
        chunk = skep_mem_alloc(pool->mem, sizeof *chunk + cap);
    if (chunk) {
        chunk->next = NULL;
        chunk->start = chunk->end = 0;
        chunk->cap = (uint32_t)cap;
    }
    return chunk;
}

static void free_chunk(struct skep_yamux_pool *pool, struct skep_yamux_chunk *chunk)
{
    if (chunk->cap == SMALL_CAP && pool->small_count < SMALL_SPARE_MAX) {
        chunk->next = pool->small;
        pool->small = chunk;
        pool->small_count++;
    } else if (chunk->cap == BIG_CAP && pool->big_count < BIG_SPARE_MAX) {
        chunk->next = pool->big;
        pool->big = chunk;
        pool->big_count++;
    } else {
        skep_mem_free(pool->mem, chunk);
    }
}

static void free_chain(struct skep_yamux_pool *pool, struct skep_yamux_chunk *chunk)
{
    while (chunk) {
        struct skep_yamux_chunk *next = chunk->next;

        free_chunk(pool, chunk);
        chunk = next;
    }
}

/* Empty chunks that hold `len` bytes together. @return false when memory ran out, and then *first is NULL. */
static bool new_chain(struct skep_yamux_pool *pool, size_t len, struct skep_yamux_chunk **first)
{
    struct skep_yamux_chunk **link = first;

    *first = NULL;
    while (len > 0) {
        struct skep_yamux_chunk *chunk = new_chunk(pool, len);

        if (!chunk) {
            free_chain(pool, *first);
            *first = NULL;
            return false;
        }
        *link = chunk;
        link = &chunk->next;
        len -= SKEP_MIN(len, (size_t)chunk->cap);
    }
    return true;
}

static void fill(struct skep_yamux_chunk *chunk, skep_bytes *data)
{
    skep_bytes got = skep_bytes_take(data, chunk->cap - chunk->end);

    skep_bytes_copy(chunk->data + chunk->end, got);
    chunk->end += (uint32_t)got.len;
}

static void count_queued(struct skep_yamux_queue *queue, struct skep_yamux_pool *pool, size_t more,
                         size_t less)
{
    queue->len += more - less;
    pool->queued += more - less;
    if (pool->queued_total)
        *pool->queued_total += more - less;
}

int skep_yamux_queue_put(struct skep_yamux_queue *queue, struct skep_yamux_pool *pool,
                         skep_bytes data)
{
    size_t room = queue->tail ? queue->tail->cap - queue->tail->end : 0;
    struct skep_yamux_chunk *fresh;

    if (!new_chain(pool, data.len - SKEP_MIN(data.len, room), &fresh))
        return SKEP_ENOMEM;
    count_queued(queue, pool, data.len, 0);
    if (queue->tail) {
        fill(queue->tail, &data);
        queue->tail->next = fresh;
    } else {
        queue->head = fresh;
    }
    for (; fresh; fresh = fresh->next) {
        fill(fresh, &data);
        queue->tail = fresh;
    }
    return 0;
}

void skep_yamux_queue_take(struct skep_yamux_queue *queue, struct skep_yamux_pool *pool,
                           uint8_t *out, size_t n)
{
    assert(n <= queue->len);
    count_queued(queue, pool, 0, n);
    while (n > 0) {
        struct skep_yamux_chunk *chunk = queue->head;
        size_t piece;

        assert(chunk);
        piece = SKEP_MIN(n, (size_t)(chunk->end - chunk->start));

        memcpy(out, chunk->data + chunk->start, piece);
        out += piece;
        n -= piece;
        chunk->start += (uint32_t)piece;
        if (chunk->start < chunk->end)
            break;
        queue->head = chunk->next;
        if (!queue->head)
            queue->tail = NULL;
        free_chunk(pool, chunk);
    }
}

void skep_yamux_queue_clear(struct skep_yamux_queue *queue, struct skep_yamux_pool *pool)
{
    free_chain(pool, queue->head);
    count_queued(queue, pool, 0, queue->len);
    *queue = (struct skep_yamux_queue){0};
}

void skep_yamux_pool_trim(struct skep_yamux_pool *pool)
{
    struct skep_yamux_chunk *chunk;

    while ((chunk = pop(&pool->small, &pool->small_count)))
        skep_mem_free(pool->mem, chunk);
    while ((chunk = pop(&pool->big, &pool->big_count)))
        skep_mem_free(pool->mem, chunk);
}
