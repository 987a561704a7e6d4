/* SPDX-License-Identifier: MIT */
/* The prefixes that a search has looked at, and the gets for those that are not at home. See search.h. */
#include "base/limits.h"
#include "moe/search.h"

enum { SLOTS_MIN = 64 };

/* A multi-get under way; it outlives its search when that ends early, and so warms the cache. */
struct fetch {
    struct skep_dht_get get;
    struct skep_beam *beam;
    struct search *search; /* NULL: left to itself */
    struct skep_list link;
    uint32_t rounds; /* that the search had waited for when it began */
    size_t count;
    uint32_t *slots;
    struct skep_dht_id ids[];
};

struct mark_store {
    struct skep_dht_store store;
    struct skep_beam *beam;
    struct skep_list link;
};

/* ---- slots ---- */

int skep_frontier_init(struct search *s)
{
    s->slots = skep_arena_alloc(&s->arena, SLOTS_MIN, sizeof *s->slots);
    s->table = skep_arena_alloc(&s->arena, (size_t)2 * SLOTS_MIN, sizeof *s->table);
    if (!s->slots || !s->table)
        return SKEP_ENOMEM;
    s->slot_cap = SLOTS_MIN;
    s->table_mask = 2 * SLOTS_MIN - 1;
    memset(s->table, 0xff, (size_t)2 * SLOTS_MIN * sizeof *s->table); /* SLOT_NONE everywhere */
    /* The root has the place 0 and cannot be found by any key. */
    s->slots[SLOT_ROOT] = (struct slot){.node = s->beam->tree.root, .state = SLOT_KNOWN};
    s->slots[SLOT_ROOT].node->pins++;
    s->slot_count = 1;
    return 0;
}

static uint32_t place_of(const struct search *s, uint64_t key)
{
    uint64_t mixed = (key ^ s->beam->seed) * UINT64_C(0x9e3779b97f4a7c15);

    mixed = (mixed ^ mixed >> 32) * UINT64_C(0xd6e8feb86659fd93);
    return (uint32_t)(mixed >> 32) & s->table_mask;
}

static void enter(struct search *s, uint32_t slot)
{
    uint32_t place = place_of(s, s->slots[slot].key);

    while (s->table[place] != SLOT_NONE)
        place = (place + 1) & s->table_mask;
    s->table[place] = slot;
}

static int grow(struct search *s)
{
    uint32_t cap = s->slot_cap * 2;
    struct slot *slots;
    uint32_t *table;

    if (cap > UINT32_MAX / 4)
        return SKEP_ENOMEM;
    slots = skep_arena_alloc(&s->arena, cap, sizeof *slots);
    table = skep_arena_alloc(&s->arena, (size_t)cap * 2, sizeof *table);
    if (!slots || !table)
        return SKEP_ENOMEM;
    memcpy(slots, s->slots, s->slot_count * sizeof *slots);
    memset(table, 0xff, (size_t)cap * 2 * sizeof *table);
    s->slots = slots;
    s->slot_cap = cap;
    s->table = table;
    s->table_mask = cap * 2 - 1;
    for (uint32_t i = 1; i < s->slot_count; i++)
        enter(s, i);
    return 0;
}

/* Takes over the pin of `node`. */
static uint32_t add_slot(struct search *s, uint64_t key, struct skep_prefix_node *node)
{
    uint32_t slot = s->slot_count;
    struct slot fresh = {.key = key, .node = node};
    int rc;

    if (!node)
        return SLOT_NONE;
    if (slot == s->slot_cap && grow(s) < 0) {
        skep_prefix_tree_unpin(&s->beam->tree, node);
        return SLOT_NONE;
    }
    rc = skep_prefix_tree_look(&s->beam->tree, node, s->now_unix_s, &fresh.found);
    if (rc < 0) {
        skep_prefix_tree_unpin(&s->beam->tree, node);
        return SLOT_NONE;
    }
    if (rc > 0 && fresh.found->spoiled && !s->timed_out) {
        skep_successors_unref(fresh.found); /* others may have it whole */
        fresh.found = NULL;
        rc = 0;
    }
    fresh.state = rc > 0 ? SLOT_KNOWN : s->timed_out ? SLOT_UNANSWERED : SLOT_UNKNOWN;
    s->slots[s->slot_count++] = fresh;
    enter(s, slot);
    return slot;
}

uint32_t skep_frontier_child(struct search *s, uint32_t parent, uint32_t coordinate)
{
    uint64_t key = (uint64_t)parent << 32 | coordinate;

    for (uint32_t place = place_of(s, key); s->table[place] != SLOT_NONE;
         place = (place + 1) & s->table_mask) {
        if (s->slots[s->table[place]].key == key)
            return s->table[place];
    }
    return add_slot(s, key,
                    skep_prefix_tree_child(&s->beam->tree, s->slots[parent].node, coordinate));
}

uint32_t skep_frontier_prefix(struct search *s, skep_bytes prefix, bool *fresh)
{
    struct skep_prefix_node *node = skep_prefix_tree_loose(&s->beam->tree, prefix);
    uint64_t key;

    *fresh = false;
    if (!node)
        return SLOT_NONE;
    key = skep_get_be64(node->id.bytes);
    for (uint32_t place = place_of(s, key); s->table[place] != SLOT_NONE;
         place = (place + 1) & s->table_mask) {
        const struct skep_prefix_node *other = s->slots[s->table[place]].node;

        if (skep_bytes_equal(prefix, skep_bytes_of(other->text, other->text_len))) {
            skep_prefix_tree_unpin(&s->beam->tree, node);
            return s->table[place];
        }
    }
    *fresh = true;
    return add_slot(s, key, node);
}

void skep_frontier_need(struct search *s, uint32_t slot)
{
    if (s->slots[slot].state >= SLOT_KNOWN)
        skep_frontier_used(s, slot);
    else if (!s->slots[slot].needed) {
        s->slots[slot].needed = true;
        s->needed++;
    }
}

void skep_frontier_used(struct search *s, uint32_t slot)
{
    struct slot *at = &s->slots[slot];

    s->rounds = SKEP_MAX(s->rounds, at->rounds);
    s->user->stats.guesses_used += at->guessed && at->state == SLOT_KNOWN;
    at->guessed = false;
}

static int list_add(struct search *s, struct slot_list *list, uint32_t slot)
{
    if (list->count == list->cap) {
        size_t cap = SKEP_MAX((size_t)SLOTS_MIN, list->cap * 2);
        uint32_t *slots = skep_arena_alloc(&s->arena, cap, sizeof *slots);

        if (!slots)
            return SKEP_ENOMEM;
        if (list->count > 0)
            memcpy(slots, list->slots, list->count * sizeof *slots);
        list->slots = slots;
        list->cap = cap;
    }
    list->slots[list->count++] = slot;
    return 0;
}

int skep_frontier_guess(struct search *s, uint32_t slot)
{
    if (s->slots[slot].state != SLOT_UNKNOWN)
        return 0;
    if (list_add(s, &s->guesses, slot) < 0)
        return SKEP_ENOMEM;
    s->slots[slot].state = SLOT_GUESSED;
    return 0;
}

int skep_frontier_want(struct search *s, uint32_t slot)
{
    struct slot *at = &s->slots[slot];

    if (at->state >= SLOT_WANTED)
        return 0;
    s->keys++;
    if (at->state == SLOT_GUESSED) {
        at->state = SLOT_ASKED;
        skep_dht_get_insist(s->beam->dht, &at->fetch->get, at->place);
        return 0;
    }
    /* The lists first: a slot that is in none would never be decided. */
    if (list_add(s, at->state == SLOT_EARLY ? &s->early : &s->wanted, slot) < 0)
        return SKEP_ENOMEM;
    at->state = SLOT_WANTED;
    return 0;
}

static void decide(struct search *s, struct slot *slot, enum slot_state state)
{
    slot->state = state;
    if (slot->needed) {
        slot->needed = false;
        s->needed--;
        skep_frontier_used(s, (uint32_t)(slot - s->slots));
    }
}

void skep_frontier_settle(struct search *s)
{
    for (size_t i = 0; i < s->early.count; i++)
        decide(s, &s->slots[s->early.slots[i]], SLOT_KNOWN);
    s->early.count = 0;
}

/* A get has come to its end, or never began, without an answer for this one. */
static void give_up(struct search *s, struct slot *slot)
{
    if (slot->state == SLOT_GUESSED)
        slot->state = SLOT_UNKNOWN;
    else
        decide(s, slot, SLOT_UNANSWERED);
}

/* ---- gets ---- */

static void go_on(struct search *s)
{
    if (!s->running && (s->needed == 0 || s->rc < 0))
        skep_search_run(s);
}

/* Else it was given up as a guess, and asked for again since. */
static bool is_asked_by(const struct slot *slot, const struct fetch *fetch)
{
    return (slot->state == SLOT_ASKED || slot->state == SLOT_GUESSED) && slot->fetch == fetch;
}

static void on_value(struct skep_dht_get *get, size_t index, const struct skep_dht_value *value,
                     bool answered)
{
    struct fetch *fetch = SKEP_CONTAINER_OF(get, struct fetch, get);
    struct search *s = fetch->search;
    struct slot *slot;

    if (!s)
        return;
    slot = &s->slots[fetch->slots[index]];
    if (!is_asked_by(slot, fetch))
        return;
    slot->rounds = (uint16_t)SKEP_MIN(fetch->rounds + get->rounds, (uint32_t)UINT16_MAX);
    if (value) {
        int rc =
            skep_prefix_tree_learn(&s->beam->tree, slot->node, value, s->now_unix_s, &slot->found);

        if (rc < 0)
            s->rc = rc;
        answered = rc == 0;
    }
    if (answered && slot->state == SLOT_GUESSED)
        slot->state = SLOT_EARLY;
    else if (answered)
        decide(s, slot, SLOT_KNOWN);
    else
        give_up(s, slot);
    go_on(s);
}

static void account(struct search *s, const struct fetch *fetch)
{
    struct skep_dht_cost *sum = &s->user->stats.cost;

    sum->calls += fetch->get.cost.calls;
    sum->keys += fetch->get.cost.keys;
}

static void on_done(struct skep_dht_get *get, int rc)
{
    struct fetch *fetch = SKEP_CONTAINER_OF(get, struct fetch, get);
    struct search *s = fetch->search;

    skep_list_remove(&fetch->link);
    if (s) {
        account(s, fetch);
        for (size_t i = 0; i < fetch->count; i++) {
            if (is_asked_by(&s->slots[fetch->slots[i]], fetch))
                give_up(s, &s->slots[fetch->slots[i]]);
        }
        if (rc == SKEP_ECANCELED || rc == SKEP_ENOMEM)
            s->rc = rc;
    } else {
        fetch->beam->left_count--;
    }
    skep_mem_free(fetch->beam->mem, fetch);
    if (s)
        go_on(s);
}

/* The slots of one get: wanted ones, then guesses. */
static int start_fetch(struct search *s, const uint32_t *wanted, size_t wanted_count,
                       const uint32_t *guesses, size_t guess_count)
{
    struct skep_beam *beam = s->beam;
    size_t count = wanted_count + guess_count;
    struct fetch *fetch =
        skep_mem_alloc(beam->mem, sizeof *fetch + count * (sizeof *fetch->ids + sizeof *wanted));
    int rc;

    if (!fetch)
        return SKEP_ENOMEM;
    *fetch = (struct fetch){.get = {.on_value = on_value, .done = on_done},
                            .beam = beam,
                            .search = s,
                            .rounds = s->rounds,
                            .count = count};
    fetch->slots =
        (uint32_t *)(void *)(fetch->ids + count); /* ids are 20 bytes, so this is aligned */
    for (size_t i = 0; i < count; i++) {
        struct slot *slot;

        fetch->slots[i] = i < wanted_count ? wanted[i] : guesses[i - wanted_count];
        slot = &s->slots[fetch->slots[i]];
        fetch->ids[i] = slot->node->id;
        slot->fetch = fetch;
        slot->place = (uint32_t)i;
        slot->guessed = i >= wanted_count;
        if (!slot->guessed)
            slot->state = SLOT_ASKED;
    }
    skep_list_push_back(&s->fetches, &fetch->link);
    s->user->stats.gets++;
    s->user->stats.guessed += (uint32_t)guess_count;
    rc = skep_dht_get_start(beam->dht, &fetch->get, fetch->ids, count,
                            &(struct skep_dht_get_options){.believes = skep_successors_believe,
                                                           .guesses = guess_count});
    if (rc == 0)
        return 0; /* it may be over, and gone */
    skep_list_remove(&fetch->link);
    for (size_t i = 0; i < count; i++)
        give_up(s, &s->slots[fetch->slots[i]]);
    skep_mem_free(beam->mem, fetch);
    return rc == SKEP_ENOMEM ? rc : 0; /* anything else: the node is too busy to ask */
}

int skep_frontier_ask(struct search *s)
{
    int rc = 0;

    for (size_t at = 0; at < s->wanted.count && rc == 0; at += SKEP_BEAM_GET_KEYS_MAX) {
        size_t count = SKEP_MIN(s->wanted.count - at, (size_t)SKEP_BEAM_GET_KEYS_MAX);
        size_t room = SKEP_BEAM_GET_KEYS_MAX - count;

        while (s->guesses.count > room) /* there are other things to do */
            s->slots[s->guesses.slots[--s->guesses.count]].state = SLOT_UNKNOWN;
        rc = start_fetch(s, s->wanted.slots + at, count, s->guesses.slots, s->guesses.count);
        s->guesses.count = 0;
    }
    s->wanted.count = 0;
    return rc;
}

/* The oldest get that nobody waits for makes room for a younger one. */
static void cancel_oldest(struct skep_beam *beam)
{
    struct fetch *fetch = SKEP_LIST_ITEM(beam->left.next, struct fetch, link);

    skep_dht_cancel(beam->dht, &fetch->get.op);
    skep_list_remove(&fetch->link);
    skep_mem_free(beam->mem, fetch);
    beam->left_count--;
}

static void leave_fetches(struct search *s)
{
    SKEP_LIST_EACH(&s->fetches, link, after)
    {
        struct fetch *fetch = SKEP_LIST_ITEM(link, struct fetch, link);

        account(s, fetch);
        skep_list_remove(&fetch->link);
        fetch->search = NULL;
        if (s->beam->left_count == SKEP_BEAM_LEFT_GETS_MAX)
            cancel_oldest(s->beam);
        skep_list_push_back(&s->beam->left, &fetch->link);
        s->beam->left_count++;
    }
}

int skep_frontier_leave(struct search *s)
{
    leave_fetches(s);
    s->wanted.count = s->guesses.count = 0;
    for (uint32_t i = 0; i < s->slot_count; i++) {
        struct slot *slot = &s->slots[i];
        int rc;

        if (slot->state == SLOT_EARLY)
            slot->state = SLOT_KNOWN;
        if (slot->state >= SLOT_KNOWN)
            continue;
        rc = skep_prefix_tree_look(&s->beam->tree, slot->node, s->now_unix_s, &slot->found);
        decide(s, slot, rc > 0 ? SLOT_KNOWN : SLOT_UNANSWERED);
        if (rc < 0)
            return rc;
    }
    return 0;
}

void skep_frontier_cancel(struct search *s)
{
    SKEP_LIST_EACH(&s->fetches, link, after)
    {
        struct fetch *fetch = SKEP_LIST_ITEM(link, struct fetch, link);

        skep_list_remove(&fetch->link);
        skep_dht_cancel(s->beam->dht, &fetch->get.op);
        skep_mem_free(s->beam->mem, fetch);
    }
}

void skep_frontier_release(struct search *s)
{
    leave_fetches(s);
    for (uint32_t i = 0; i < s->slot_count; i++) {
        skep_successors_unref(s->slots[i].found);
        skep_prefix_tree_unpin(&s->beam->tree, s->slots[i].node);
    }
    s->slot_count = 0;
    skep_prefix_tree_trim(&s->beam->tree);
}

/* ---- negative marks, docs/wire.md d.4 ---- */

static void on_marked(struct skep_dht_store *store, size_t index, unsigned accepted,
                      unsigned answered)
{
    (void)store, (void)index, (void)accepted,
        (void)answered; /* a mark that is refused is one that was not needed */
}

static void on_marks_done(struct skep_dht_store *store, int rc)
{
    struct mark_store *marks = SKEP_CONTAINER_OF(store, struct mark_store, store);

    (void)rc;
    skep_list_remove(&marks->link);
    marks->beam->mark_count--;
    skep_mem_free(marks->beam->mem, marks);
}

static int store_marks(struct search *s, size_t count)
{
    static const uint8_t minus_one[] = {0xff}, nil[] = {0xc0};
    struct skep_beam *beam = s->beam;
    struct skep_dht_record *records = skep_mem_zalloc(beam->mem, count, sizeof *records);
    struct mark_store *marks = skep_mem_zalloc(beam->mem, 1, sizeof *marks);
    size_t at = 0;
    int rc = SKEP_ENOMEM;

    if (!records || !marks)
        goto out;
    for (uint32_t i = 1; i < s->slot_count; i++) {
        if (s->slots[i].marked) {
            records[at++] = (struct skep_dht_record){
                s->slots[i].node->id, skep_bytes_of(minus_one, sizeof minus_one),
                skep_bytes_of(nil, sizeof nil), s->now_unix_s + beam->cache_expiration_s};
        }
    }
    *marks =
        (struct mark_store){.store = {.on_stored = on_marked, .done = on_marks_done}, .beam = beam};
    skep_list_push_back(&beam->marks, &marks->link);
    beam->mark_count++;
    rc = skep_dht_store_start(beam->dht, &marks->store, records, at,
                              &(struct skep_dht_store_options){0});
    if (rc == 0) {
        s->user->stats.marked = (uint32_t)at;
        marks = NULL;
    } else {
        skep_list_remove(&marks->link);
        beam->mark_count--;
    }
out:
    skep_mem_free(beam->mem, marks);
    skep_mem_free(beam->mem, records);
    return rc;
}

void skep_frontier_write_marks(struct search *s)
{
    size_t count = 0;

    /* In a 1-d grid subkey -1 is the expert itself. */
    if (!s->beam->negative_caching || s->beam->grid.dims == 1 ||
        s->beam->mark_count >= SKEP_BEAM_MARK_STORES_MAX)
        return;
    for (uint32_t i = 1; i < s->slot_count; i++)
        count += s->slots[i].marked;
    /* Marks save others time; a search does not fail for want of them. */
    if (count > 0 && store_marks(s, count) < 0)
        skep_log(s->beam->env, SKEP_LOG_DEBUG, "moe: %zu negative marks could not be written",
                 count);
}

void skep_frontier_abandon(struct skep_beam *beam)
{
    while (beam->left_count > 0)
        cancel_oldest(beam);
    SKEP_LIST_EACH(&beam->marks, link, after)
    {
        struct mark_store *marks = SKEP_LIST_ITEM(link, struct mark_store, link);

        skep_list_remove(&marks->link);
        skep_dht_cancel(beam->dht, &marks->store.op);
        skep_mem_free(beam->mem, marks);
    }
    beam->mark_count = 0;
}
