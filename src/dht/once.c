/* SPDX-License-Identifier: MIT */
#include "dht/once.h"

struct skep_once_peer {
    struct skep_peer_id peer;
    uint64_t last_us;
    struct skep_list age;
    UT_hash_handle hh;
};

void skep_once_init(struct skep_once *once, const struct skep_mem *mem, uint64_t interval_us,
                    size_t peers_max)
{
    *once = (struct skep_once){.mem = mem, .interval_us = interval_us, .peers_max = peers_max};
    skep_list_init(&once->by_age);
}

static void forget_oldest(struct skep_once *once)
{
    struct skep_once_peer *oldest = SKEP_LIST_ITEM(once->by_age.next, struct skep_once_peer, age);

    HASH_DEL(once->peers, oldest);
    skep_list_remove(&oldest->age);
    skep_mem_free(once->mem, oldest);
}

void skep_once_fini(struct skep_once *once)
{
    while (!skep_list_empty(&once->by_age))
        forget_oldest(once);
}

bool skep_once_take(struct skep_once *once, const struct skep_peer_id *peer, uint64_t now_us)
{
    struct skep_once_peer *known;

    HASH_FIND(hh, once->peers, peer, sizeof *peer, known);
    if (known) {
        if (now_us - known->last_us < once->interval_us)
            return false;
        known->last_us = now_us;
        skep_list_remove(&known->age);
        skep_list_push_back(&once->by_age, &known->age);
        return true;
    }
    if (HASH_COUNT(once->peers) >= once->peers_max)
        forget_oldest(once);
    known = skep_mem_zalloc(once->mem, 1, sizeof *known);
    if (!known)
        return false;
    known->peer = *peer;
    known->last_us = now_us;
    HASH_ADD_KEYPTR(hh, once->peers, &known->peer, sizeof known->peer, known);
    if (!known->hh.tbl) {
        skep_mem_free(once->mem, known);
        return false;
    }
    skep_list_push_back(&once->by_age, &known->age);
    return true;
}
