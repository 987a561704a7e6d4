/* SPDX-License-Identifier: MIT */
#include "dht/blacklist.h"

#include "base/limits.h"

struct skep_blacklisted {
    struct skep_peer_id peer;
    uint64_t until_us;
    double next_us; /* how long the next failure counts */
    struct skep_list age;
    UT_hash_handle hh;
    bool gone; /* nothing is at its address */
};

/* Longer than any node lives; keeps the doubling from running out of numbers. */
static const double ban_us_max = 365.0 * 86400.0 * 1e6;

void skep_blacklist_init(struct skep_blacklist *blacklist, const struct skep_mem *mem,
                         uint64_t base_us, double backoff)
{
    *blacklist = (struct skep_blacklist){.mem = mem,
                                         .base_us = base_us,
                                         .backoff = backoff >= 1 ? backoff : 1,
                                         .peers_max = SKEP_DHT_BLACKLIST_MAX};
    skep_list_init(&blacklist->by_age);
}

static void forget(struct skep_blacklist *blacklist, struct skep_blacklisted *b)
{
    HASH_DEL(blacklist->peers, b);
    skep_list_remove(&b->age);
    skep_mem_free(blacklist->mem, b);
}

void skep_blacklist_fini(struct skep_blacklist *blacklist)
{
    while (blacklist->peers)
        forget(blacklist, blacklist->peers);
}

static struct skep_blacklisted *find(const struct skep_blacklist *blacklist,
                                     const struct skep_peer_id *peer)
{
    struct skep_blacklisted *b;

    HASH_FIND(hh, blacklist->peers, peer, sizeof *peer, b);
    return b;
}

/* Only a look at the few that failed first: bans grow, so those are likely over. */
static void make_room(struct skep_blacklist *blacklist, uint64_t now_us)
{
    enum { LOOKS = 16 };
    struct skep_blacklisted *victim = NULL;
    size_t looks = 0;

    if (HASH_COUNT(blacklist->peers) < blacklist->peers_max)
        return;
    SKEP_LIST_EACH(&blacklist->by_age, node, after)
    {
        struct skep_blacklisted *b = SKEP_LIST_ITEM(node, struct skep_blacklisted, age);

        if (!victim || b->until_us <= now_us)
            victim = b;
        if (victim->until_us <= now_us || ++looks == LOOKS)
            break;
    }
    if (victim)
        forget(blacklist, victim);
}

static struct skep_blacklisted *add(struct skep_blacklist *blacklist,
                                    const struct skep_peer_id *peer, uint64_t now_us)
{
    struct skep_blacklisted *b;

    make_room(blacklist, now_us);
    b = skep_mem_zalloc(blacklist->mem, 1, sizeof *b);
    if (!b)
        return NULL;
    b->peer = *peer;
    b->next_us = (double)blacklist->base_us;
    HASH_ADD_KEYPTR(hh, blacklist->peers, &b->peer, sizeof b->peer, b);
    if (!b->hh.tbl) {
        skep_mem_free(blacklist->mem, b);
        return NULL;
    }
    skep_list_push_back(&blacklist->by_age, &b->age);
    return b;
}

int skep_blacklist_fail(struct skep_blacklist *blacklist, const struct skep_peer_id *peer,
                        uint64_t now_us)
{
    struct skep_blacklisted *b = find(blacklist, peer);

    if (blacklist->base_us == 0 || (b && now_us < b->until_us))
        return 0;
    if (!b && !(b = add(blacklist, peer, now_us)))
        return SKEP_ENOMEM;
    b->until_us = now_us + (uint64_t)b->next_us;
    b->next_us = SKEP_MIN(b->next_us * blacklist->backoff, ban_us_max);
    skep_list_remove(&b->age);
    skep_list_push_back(&blacklist->by_age, &b->age);
    return 0;
}

void skep_blacklist_doubt(struct skep_blacklist *blacklist, const struct skep_peer_id *peer,
                          uint64_t now_us)
{
    if (blacklist->base_us > 0 && !find(blacklist, peer))
        (void)add(blacklist, peer, now_us);
}

bool skep_blacklist_doubts(const struct skep_blacklist *blacklist, const struct skep_peer_id *peer)
{
    return find(blacklist, peer) != NULL;
}

void skep_blacklist_set_gone(struct skep_blacklist *blacklist, const struct skep_peer_id *peer,
                             bool gone)
{
    struct skep_blacklisted *b = find(blacklist, peer);

    if (b)
        b->gone = gone;
}

bool skep_blacklist_is_gone(const struct skep_blacklist *blacklist, const struct skep_peer_id *peer)
{
    const struct skep_blacklisted *b = find(blacklist, peer);

    return b && b->gone;
}

void skep_blacklist_succeed(struct skep_blacklist *blacklist, const struct skep_peer_id *peer)
{
    struct skep_blacklisted *b = find(blacklist, peer);

    if (b)
        forget(blacklist, b);
}

bool skep_blacklist_has(const struct skep_blacklist *blacklist, const struct skep_peer_id *peer,
                        uint64_t now_us)
{
    const struct skep_blacklisted *b = find(blacklist, peer);

    return b && now_us < b->until_us;
}

size_t skep_blacklist_count(const struct skep_blacklist *blacklist, uint64_t now_us)
{
    size_t count = 0;

    for (const struct skep_blacklisted *b = blacklist->peers; b; b = b->hh.next)
        count += now_us < b->until_us;
    return count;
}
