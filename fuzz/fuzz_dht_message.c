/* SPDX-License-Identifier: MIT */
/* Property: a DHT message that is accepted holds as many items as its lists say, and once written by us it is read the same and written
 * the same. The first byte chooses the message. */
#include <stdlib.h>

#include "dht/message.h"
#include "dht/routing.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

enum { MESSAGES = 7, ITEMS_MAX = 256, NEAREST_MAX = 64 };

static const struct skep_dht_id *own_id_of(const struct skep_dht_sender *sender)
{
    return sender->has_id ? &sender->id : NULL;
}

static bool ping_request(skep_bytes in, struct skep_buf *out)
{
    struct skep_dht_ping_request m;

    if (skep_dht_ping_request_decode(&m, in) < 0)
        return false;
    skep_dht_ping_request_encode(out, own_id_of(&m.sender), m.validate);
    return true;
}

static bool ping_response(skep_bytes in, struct skep_buf *out)
{
    struct skep_dht_ping_response m;

    if (skep_dht_ping_response_decode(&m, in) < 0)
        return false;
    skep_dht_ping_response_encode(out, own_id_of(&m.sender), m.dht_time, m.available);
    return true;
}

static bool store_request(skep_bytes in, struct skep_buf *out)
{
    static struct skep_dht_store_item items[ITEMS_MAX];
    struct skep_dht_store_request m;
    size_t count, n = 0;

    if (skep_dht_store_request_decode(&m, in) < 0 || m.count > ITEMS_MAX)
        return false;
    for (count = m.count; n < count; n++)
        CHECK(skep_dht_store_request_next(&m, &items[n]));
    CHECK(m.count == 0);
    skep_dht_store_request_encode(out, own_id_of(&m.sender), items, count);
    return true;
}

static bool store_response(skep_bytes in, struct skep_buf *out)
{
    static bool ok[ITEMS_MAX];
    struct skep_dht_store_response m;
    bool more;
    size_t count, n = 0;

    if (skep_dht_store_response_decode(&m, in) < 0 || m.store_ok.left > ITEMS_MAX)
        return false;
    for (count = m.store_ok.left; n < count; n++)
        CHECK(skep_dht_next_bool(&m.store_ok, &ok[n]));
    CHECK(!skep_dht_next_bool(&m.store_ok, &more));
    skep_dht_store_response_encode(out, own_id_of(&m.sender), ok, count);
    return true;
}

static bool find_request(skep_bytes in, struct skep_buf *out)
{
    static struct skep_dht_id keys[ITEMS_MAX];
    struct skep_dht_find_request m;
    skep_bytes key;
    size_t count, n = 0;

    if (skep_dht_find_request_decode(&m, in) < 0 || m.keys.left > ITEMS_MAX)
        return false;
    for (count = m.keys.left; n < count; n++) {
        CHECK(skep_dht_next_bytes(&m.keys, &key));
        if (skep_dht_id_from_wire(&keys[n], key) < 0)
            return false;
    }
    skep_dht_find_request_encode(out, own_id_of(&m.sender), keys, count);
    return true;
}

static bool find_result(skep_bytes in, struct skep_buf *out)
{
    static struct skep_routing_node nodes[NEAREST_MAX];
    const struct skep_routing_node *nearest[NEAREST_MAX];
    struct skep_dht_find_result m;
    skep_bytes id, peer;
    size_t count, n = 0, before = out->len;

    if (skep_dht_find_result_decode(&m, in) < 0 || m.node_ids.left > NEAREST_MAX)
        return false;
    CHECK(m.node_ids.left == m.peer_ids.left);
    for (count = m.node_ids.left; n < count; n++) {
        CHECK(skep_dht_next_bytes(&m.node_ids, &id) && skep_dht_next_bytes(&m.peer_ids, &peer));
        if (skep_dht_id_from_wire(&nodes[n].id, id) < 0 || peer.len > SKEP_PEER_ID_LEN_MAX)
            return false;
        nodes[n].peer.len = (uint8_t)peer.len;
        skep_bytes_copy(nodes[n].peer.bytes, peer);
        nearest[n] = &nodes[n];
    }
    skep_dht_find_result_encode(out, m.type, m.value, m.expiration_unix_s, nearest, count);
    CHECK(out->len - before ==
          skep_dht_find_result_len(m.type, m.value, m.expiration_unix_s, nearest, count));
    return true;
}

static bool find_response(skep_bytes in, struct skep_buf *out)
{
    struct skep_dht_find_response m;
    skep_bytes result;
    size_t count, n = 0;

    if (skep_dht_find_response_decode(&m, in) < 0)
        return false;
    for (count = m.results.left; n < count; n++) {
        CHECK(skep_dht_next_bytes(&m.results, &result));
        if (!find_result(result, out))
            return false;
    }
    skep_dht_find_response_end(out, own_id_of(&m.sender));
    return true;
}

static bool (*const messages[MESSAGES])(skep_bytes in, struct skep_buf *out) = {
    ping_request, ping_response, store_request, store_response,
    find_request, find_response, find_response};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct skep_buf once, twice;

    if (len == 0)
        return 0;
    skep_buf_init(&once, &skep_mem_std);
    skep_buf_init(&twice, &skep_mem_std);
    if (messages[data[0] % MESSAGES](skep_bytes_of(data + 1, len - 1), &once)) {
        CHECK(messages[data[0] % MESSAGES](skep_buf_view(&once), &twice));
        CHECK(skep_bytes_equal(skep_buf_view(&once), skep_buf_view(&twice)));
    }
    skep_buf_fini(&once);
    skep_buf_fini(&twice);
    return 0;
}
