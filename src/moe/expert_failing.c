/* SPDX-License-Identifier: MIT */
#include "moe/expert_failing.h"

struct failing_expert {
    UT_hash_handle hh;
    struct skep_list age;
    uint64_t until_us, backoff_us; /* how long the last failure counts */
    size_t key_len;
    uint8_t key[];
};

void skep_expert_key_make(struct skep_expert_key *key, skep_bytes uid,
                          const struct skep_peer_id *peer)
{
    assert(uid.len <= SKEP_UID_LEN_MAX);
    key->bytes[0] = peer->len;
    skep_bytes_copy(key->bytes + 1, skep_peer_id_view(peer));
    skep_bytes_copy(key->bytes + 1 + peer->len, uid);
    key->len = 1 + (size_t)peer->len + uid.len;
}

void skep_expert_failing_init(struct skep_expert_failing_table *table, const struct skep_mem *mem)
{
    *table = (struct skep_expert_failing_table){.mem = mem, .experts_max = SKEP_EXPERT_FAILING_MAX};
    skep_list_init(&table->by_age);
}

static void forget(struct skep_expert_failing_table *table, struct failing_expert *expert)
{
    HASH_DEL(table->experts, expert);
    skep_list_remove(&expert->age);
    table->count--;
    skep_mem_free(table->mem, expert);
}

void skep_expert_failing_fini(struct skep_expert_failing_table *table)
{
    while (table->experts)
        forget(table, table->experts);
}

static struct failing_expert *find(const struct skep_expert_failing_table *table,
                                   const struct skep_expert_key *key)
{
    struct failing_expert *expert = NULL;

    if (table->experts)
        HASH_FIND(hh, table->experts, key->bytes, key->len, expert);
    return expert;
}

static struct failing_expert *add(struct skep_expert_failing_table *table,
                                  const struct skep_expert_key *key)
{
    struct failing_expert *expert;

    if (table->count >= table->experts_max)
        forget(table, SKEP_LIST_ITEM(table->by_age.next, struct failing_expert, age));
    expert = skep_mem_zalloc(table->mem, 1, sizeof *expert + key->len);
    if (!expert)
        return NULL;
    expert->key_len = key->len;
    memcpy(expert->key, key->bytes, key->len);
    HASH_ADD_KEYPTR(hh, table->experts, expert->key, expert->key_len, expert);
    if (!expert->hh.tbl) {
        skep_mem_free(table->mem, expert);
        return NULL;
    }
    skep_list_init(&expert->age);
    table->count++;
    return expert;
}

void skep_expert_failing_add(struct skep_expert_failing_table *table,
                             const struct skep_expert_key *key, uint64_t now_us)
{
    struct failing_expert *expert = find(table, key);

    if (expert && now_us < expert->until_us)
        return;
    if (!expert && !(expert = add(table, key)))
        return;
    expert->backoff_us = expert->backoff_us == 0 ? SKEP_EXPERT_BACKOFF_US
                                                 : SKEP_MIN(2 * expert->backoff_us,
                                                            (uint64_t)SKEP_EXPERT_BACKOFF_MAX_US);
    expert->until_us = now_us + expert->backoff_us;
    skep_list_remove(&expert->age);
    skep_list_push_back(&table->by_age, &expert->age);
}

void skep_expert_failing_clear(struct skep_expert_failing_table *table,
                               const struct skep_expert_key *key)
{
    struct failing_expert *expert = find(table, key);

    if (expert)
        forget(table, expert);
}

bool skep_expert_failing_has(const struct skep_expert_failing_table *table,
                             const struct skep_expert_key *key, uint64_t now_us)
{
    const struct failing_expert *expert = find(table, key);

    return expert && now_us < expert->until_us;
}
