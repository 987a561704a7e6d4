/* SPDX-License-Identifier: MIT */
/* Which pairs of simulated nodes are connected: millions of them in a large swarm, so 16 bytes a pair.
 *
 * Open addressing. A node's epoch grows when it dies, so that a pair of an older epoch is never found; such pairs are dropped when the table is
 * full, and only then. An epoch counts to 65,536: a pair that was connected so many deaths ago, and not dropped since, would count again. */
#include "sim/sim_impl.h"

#define EPOCH(node) ((uint64_t)(uint16_t)(node)->epoch)
#define READY_US_MASK (((uint64_t)1 << 48) - 1) /* nine years */

/* lower index 24 | higher index 24 | epoch 16 of the lower; never 0, for the higher index is not: a slot with 0 is free
 * epoch 16 of the higher | since when, in microseconds 48 */
struct sim_link {
    uint64_t pair, ready;
};

static struct sim_link link_of(const struct sim_node *a, const struct sim_node *b)
{
    const struct sim_node *low = a->index < b->index ? a : b, *high = low == a ? b : a;

    return (struct sim_link){(uint64_t)low->index << 40 | (uint64_t)high->index << 16 | EPOCH(low),
                             EPOCH(high) << 48};
}

/* Its slot, or the free one that it would have; there is a free one. */
static struct sim_link *slot_of(const struct skep_sim_links *links, const struct sim_link *link)
{
    uint64_t hash = (link->pair ^ link->pair >> 29) * 0xbf58476d1ce4e5b9u;
    size_t at = (size_t)(hash ^ hash >> 32) & (links->cap - 1);

    while (links->slots[at].pair != 0 && (links->slots[at].pair != link->pair ||
                                          (links->slots[at].ready ^ link->ready) >> 48 != 0))
        at = (at + 1) & (links->cap - 1);
    return &links->slots[at];
}

/* Do both nodes live in the epochs that it was made in? */
static bool is_of_today(const struct skep_sim_net *net, const struct sim_link *link)
{
    const struct sim_node *low = net->nodes[link->pair >> 40];
    const struct sim_node *high = net->nodes[link->pair >> 16 & 0xffffff];

    return (link->pair & 0xffff) == EPOCH(low) && link->ready >> 48 == EPOCH(high);
}

static int make_room(struct skep_sim_net *net)
{
    struct skep_sim_links *links = &net->links, grown = {.cap = 64};
    size_t living = 0;

    if (links->count < links->cap / 3 * 2)
        return 0;
    for (size_t i = 0; i < links->cap; i++)
        living += links->slots[i].pair != 0 && is_of_today(net, &links->slots[i]);
    while (grown.cap / 3 * 2 <= living + living / 4)
        grown.cap *= 2;
    grown.slots = skep_mem_zalloc(net->mem, grown.cap, sizeof *grown.slots);
    if (!grown.slots)
        return SKEP_ENOMEM;
    for (size_t i = 0; i < links->cap; i++)
        if (links->slots[i].pair != 0 && is_of_today(net, &links->slots[i]))
            *slot_of(&grown, &links->slots[i]) = links->slots[i];
    grown.count = living;
    skep_mem_free(net->mem, links->slots);
    *links = grown;
    return 0;
}

uint64_t skep_sim_links_ready_us(const struct skep_sim_links *links, const struct sim_node *a,
                                 const struct sim_node *b)
{
    struct sim_link link = link_of(a, b);
    const struct sim_link *slot = links->cap > 0 ? slot_of(links, &link) : NULL;

    return slot && slot->pair != 0 ? slot->ready & READY_US_MASK : SKEP_NEVER_US;
}

int skep_sim_links_add(struct skep_sim_net *net, const struct sim_node *a, const struct sim_node *b,
                       uint64_t ready_us)
{
    struct sim_link link = link_of(a, b);
    struct sim_link *slot;

    if (make_room(net) < 0)
        return SKEP_ENOMEM;
    slot = slot_of(&net->links, &link);
    net->links.count += slot->pair == 0;
    link.ready |= ready_us & READY_US_MASK;
    *slot = link;
    return 0;
}

void skep_sim_links_fini(struct skep_sim_net *net)
{
    skep_mem_free(net->mem, net->links.slots);
    net->links = (struct skep_sim_links){.slots = NULL};
}
