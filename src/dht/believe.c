/* SPDX-License-Identifier: MIT */
#include "dht/believe.h"

/* One sitting over one value. */
struct trial {
    struct skep_dht *dht;
    const struct skep_dht_id *key;
    double latest_unix_s; /* nothing is believed beyond this */
};

/* How long something is believed. A signature covers the expiration, so what is signed keeps its own. */
static double believed_until(const struct trial *t, skep_bytes subkey, skep_bytes value,
                             double expiration_unix_s)
{
    struct skep_dht_signable record = {.key = skep_bytes_of(t->key->bytes, SKEP_DHT_ID_LEN),
                                       .subkey = subkey,
                                       .value = value,
                                       .expiration_unix_s = t->latest_unix_s};

    if (expiration_unix_s <= t->latest_unix_s ||
        (t->dht->validators.count > 0 &&
         skep_validators_validate(&t->dht->validators, &record) < 0))
        return expiration_unix_s;
    return t->latest_unix_s;
}

static int keep_entries(const struct trial *t, const struct skep_dht_value *value,
                        const bool *believed, struct skep_dht_value **out)
{
    struct skep_dht_entry entry;
    size_t cursor = 0, i = 0;
    int rc = skep_dht_value_new_dictionary(out, t->dht->mem);

    for (; rc >= 0 && skep_dht_value_next(value, &cursor, &entry); i++)
        if (believed[i])
            rc = skep_dht_value_put(
                *out, entry.subkey, entry.value,
                believed_until(t, entry.subkey, entry.value, entry.expiration_unix_s), 0, NULL);
    return rc;
}

/* What is believed of a value, as a value of its own. @return NULL: without memory. */
static struct skep_dht_value *keep(const struct trial *t, const struct skep_dht_value *value,
                                   const bool *believed)
{
    static const uint8_t plain_subkey[1] = {0xc0};
    struct skep_dht_value *kept = NULL;
    int rc;

    if (value->is_dictionary)
        rc = keep_entries(t, value, believed, &kept);
    else
        rc = skep_dht_value_new_plain(&kept, t->dht->mem, value->plain,
                                      believed_until(t, skep_bytes_of(plain_subkey, 1),
                                                     value->plain, value->expiration_unix_s));
    if (rc >= 0)
        return kept;
    skep_dht_value_unref(kept);
    return NULL;
}

bool skep_dht_believe(struct skep_dht *dht, skep_dht_judge *judge, const struct skep_dht_id *key,
                      struct skep_dht_value **value)
{
    struct skep_dht_value *whole = *value;
    size_t count = whole->is_dictionary ? whole->count : 1, kept = 0;
    struct trial t = {dht, key, skep_env_unix_s(dht->env) + dht->options.ttl_max_s};
    bool *believed;

    if (!judge)
        return true;
    *value = NULL;
    believed = skep_mem_zalloc(dht->mem, SKEP_MAX(count, (size_t)1), sizeof *believed);
    if (believed) {
        judge(key, whole, believed);
        for (size_t i = 0; i < count; i++)
            kept += believed[i];
        dht->stats.disbelieved += count - kept;
    }
    if (kept > 0 && kept == count && whole->expiration_unix_s <= t.latest_unix_s)
        *value = skep_dht_value_ref(whole);
    else if (kept > 0)
        *value = keep(&t, whole, believed);
    skep_mem_free(dht->mem, believed);
    skep_dht_value_unref(whole);
    return *value != NULL;
}
