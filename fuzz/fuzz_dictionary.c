/* SPDX-License-Identifier: MIT */
/* Property: a packed dictionary that is accepted can be packed and read again with the same entries and the same bytes; each of its subkeys is found,
 * normal, and well-formed msgpack; merging it with itself changes nothing. */
#include <stdlib.h>

#include "base/msgpack.h"
#include "dht/value.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

static void check_entries(const struct skep_dht_value *value)
{
    struct skep_dht_entry entry, found;
    double latest = (double)-INFINITY, earliest = (double)INFINITY;
    size_t cursor = 0, count = 0;

    for (; skep_dht_value_next(value, &cursor, &entry); count++) {
        struct skep_buf normal;

        CHECK(skep_msgpack_valid(entry.subkey));
        skep_buf_init(&normal, &skep_mem_std);
        CHECK(skep_dht_subkey_normalise(&normal, entry.subkey) == 0);
        CHECK(skep_bytes_equal(skep_buf_view(&normal), entry.subkey));
        skep_buf_fini(&normal);
        CHECK(skep_dht_value_find(value, entry.subkey, &found));
        CHECK(found.value.data == entry.value.data && found.value.len == entry.value.len);
        latest = SKEP_MAX(latest, entry.expiration_unix_s);
        earliest = SKEP_MIN(earliest, entry.expiration_unix_s);
    }
    CHECK(count == value->count && latest == value->expiration_unix_s &&
          earliest == skep_dht_value_earliest(value));
}

static void check_same(struct skep_dht_value **a, struct skep_dht_value **b)
{
    skep_bytes packed_a, packed_b;

    CHECK(skep_dht_value_packed(a, &packed_a) == 0 && skep_dht_value_packed(b, &packed_b) == 0);
    CHECK(skep_bytes_equal(packed_a, packed_b));
    CHECK(packed_a.len == skep_dht_value_packed_len(*a));
    CHECK(skep_msgpack_valid(packed_a));
}

static void check_expiry(struct skep_dht_value *value)
{
    struct skep_dht_entry gone;
    size_t count = value->count;

    while (count > 0 && skep_dht_value_earliest(value) < (double)INFINITY) {
        double earliest = skep_dht_value_earliest(value);

        CHECK(
            !skep_dht_value_expire(value, earliest, &gone)); /* it lives through its last instant */
        if (nextafter(earliest, (double)INFINITY) == (double)INFINITY)
            break;
        CHECK(skep_dht_value_expire(value, nextafter(earliest, (double)INFINITY), &gone));
        CHECK(gone.expiration_unix_s == earliest && value->count == --count);
    }
    check_entries(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct skep_dht_value *value, *again, *merged;
    skep_bytes packed;

    if (skep_dht_value_decode(&value, &skep_mem_std, skep_bytes_of(data, len)) < 0)
        return 0;
    check_entries(value);
    CHECK(skep_dht_value_packed(&value, &packed) == 0);
    CHECK(skep_dht_value_decode(&again, &skep_mem_std, packed) == 0);
    check_entries(again);
    check_same(&value, &again);
    merged = skep_dht_value_ref(value);
    CHECK(skep_dht_value_merge(&merged, again) == 0 && merged == value);
    skep_dht_value_unref(merged);
    check_expiry(again);
    CHECK(skep_dht_value_merge(&again, value) >= 0);
    check_entries(again);
    CHECK(again->count == value->count);
    skep_dht_value_unref(again);
    skep_dht_value_unref(value);
    return 0;
}
