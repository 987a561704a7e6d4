/* SPDX-License-Identifier: MIT */
/* What the two halves of the crawl share: crawl.c (rounds, calls, signs of life) and crawl_find.c (discovery). */
#ifndef SKEP_DHT_CRAWL_IMPL_H
#define SKEP_DHT_CRAWL_IMPL_H

#include "dht/crawl.h"
#include "dht/crawl_tiles.h"

/* IDLE --somebody is known, or the round's time has come--> ROUND --no tile left, cursor at the end--> IDLE */
enum { SKEP_CRAWL_COMMONS = 31 };

struct skep_crawl {
    struct skep_dht *dht;
    struct skep_onehop table;
    struct skep_timer timer;
    struct skep_list calls; /* of struct skep_crawl_call */
    size_t call_count;

    bool running, filled;
    uint64_t round_began_us, round_us, next_round_us;
    int64_t credit_us; /* a call costs CALL_US; a second try may overdraw it */
    uint64_t credit_at_us;
    struct skep_tiles tiles;
    uint32_t finds;                      /* calls that discovery has made in this round */
    uint32_t answers;                    /* to them, ever, and of the last … */
    uint8_t commons[SKEP_CRAWL_COMMONS]; /* … how many bits all they named shared with the node */
    struct skep_dht_id cursor;
    bool has_cursor; /* nodes up to `cursor` have been looked at in this round */

    uint64_t call_total, byte_total, rounds;
};

struct skep_crawl_call {
    struct skep_dht_request request;
    struct skep_list entry;
    struct skep_crawl *crawl;
    struct skep_dht_id id;  /* whom we called, as we knew it */
    struct skep_dht_id key; /* of a find */
    struct skep_tile tile;
    bool is_find;
    bool is_last; /* when it fails the node is dead: it was doubted before */
    uint64_t began_us;
};

/** May another call start now? */
bool skep_crawl_may_call(struct skep_crawl *crawl);

/** A find of `key` for a tile, or without one a ping. @return false: it could not be sent. */
bool skep_crawl_start_call(struct skep_crawl *crawl, struct skep_onehop_node *node,
                           const struct skep_tile *tile, const struct skep_dht_id *key);

/* ---- crawl_find.c ---- */

/** Ask for all tiles that begin up to here, as far as calls may start. */
void skep_crawl_ask(struct skep_crawl *crawl, uint32_t until);
/** A find was answered, or failed. */
void skep_crawl_found(struct skep_crawl *crawl, const struct skep_crawl_call *call,
                      const struct skep_dht_find_result *result);
void skep_crawl_not_found(struct skep_crawl *crawl, const struct skep_crawl_call *call);

#endif
