/* SPDX-License-Identifier: MIT */
/* A prefix's record, from its packed form: whatever it holds, each entry kept is a valid uid that is the prefix plus its coordinate, served by a peer
 * id; and what was decoded before changes nothing. The first byte chooses the prefix. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "moe/successors.h"
#include "moe/uid.h"

#define REQUIRE(fact)                                                                              \
    do {                                                                                           \
        if (!(fact))                                                                               \
            abort();                                                                               \
    } while (0)

static void check_entry(const struct skep_moe_successors *found,
                        const struct skep_moe_successor *entry, skep_bytes prefix)
{
    skep_bytes uid = skep_successor_uid(found, entry);
    char whole[128];
    size_t len, numbers;

    REQUIRE(skep_uid_valid(uid, &numbers));
    REQUIRE(found->text[entry->uid_at + entry->uid_len] == '\0');
    REQUIRE(numbers == skep_uid_number_count(prefix) + entry->number_count);
    REQUIRE(entry->peer < found->peer_count && found->peers[entry->peer].len > 0);
    if (entry->coordinate == SKEP_FLAT_EXPERT) {
        REQUIRE(skep_bytes_equal(uid, skep_bytes_of(prefix.data, prefix.len - 1)));
        return;
    }
    len = (size_t)snprintf(whole, sizeof whole, "%.*s%" PRId64, (int)prefix.len,
                           (const char *)prefix.data, entry->coordinate);
    REQUIRE(entry->coordinate >= 0 && uid.len >= len && memcmp(uid.data, whole, len) == 0);
    REQUIRE(uid.len == len || uid.data[len] == '.');
}

static bool same(const struct skep_moe_successors *a, const struct skep_moe_successors *b)
{
    if (a->count != b->count || a->marked != b->marked || a->bytes != b->bytes)
        return false;
    return memcmp(a->entries, b->entries, a->bytes - sizeof *a) == 0;
}

/* What is believed without being told the prefix is what is decoded with it: nothing else, marks apart. */
static void check_belief(const struct skep_dht_value *value, skep_bytes prefix, uint32_t decoded)
{
    bool *believed = calloc(value->count + 1, sizeof *believed);
    struct skep_dht_entry entry;
    struct skep_dht_id key;
    size_t cursor = 0, count = 0;

    REQUIRE(believed);
    skep_dht_id_from_str(&key, prefix);
    skep_successors_believe(&key, value, believed);
    for (size_t i = 0; skep_dht_value_next(value, &cursor, &entry); i++)
        count += believed[i] && entry.expiration_unix_s >= 100 &&
                 !(entry.value.len == 1 && entry.value.data[0] == 0xc0);
    REQUIRE(count <= decoded);
    free(believed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const char *const prefixes[] = {"ffn.3.", "ffn.", "e.0.1.", "\xc3\xa9.12."};
    static struct skep_peer_texts *texts;
    struct skep_moe_successors *fresh, *again;
    struct skep_dht_value *value;
    skep_bytes prefix;

    if (len == 0)
        return 0;
    if (!texts)
        texts = skep_peer_texts_new(&skep_mem_std);
    prefix = skep_bytes_str(prefixes[data[0] % SKEP_COUNT_OF(prefixes)]);
    if (skep_dht_value_decode(&value, &skep_mem_std, skep_bytes_of(data + 1, len - 1)) < 0)
        return 0;
    REQUIRE(skep_successors_decode(&fresh, &skep_mem_std, prefix, value, 100, NULL, NULL) == 0);
    REQUIRE(skep_successors_decode(&again, &skep_mem_std, prefix, value, 100, texts, NULL) == 0);
    REQUIRE(same(fresh, again));
    for (uint32_t i = 0; i < fresh->count; i++)
        check_entry(fresh, &fresh->entries[i], prefix);
    check_belief(value, prefix, fresh->count);
    skep_successors_unref(fresh);
    skep_successors_unref(again);
    skep_dht_value_unref(value);
    return 0;
}
