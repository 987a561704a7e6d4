/* SPDX-License-Identifier: MIT */
#include "dht/message.h"

#include "dht/routing.h"

/* Field numbers, proto/dht.proto */
enum {
    AUTH = 1,
    NODE_ID = 1,
    PING_PEER = 2,
    PING_VALIDATE = 3,
    PING_DHT_TIME = 4,
    PING_AVAILABLE = 5,
    STORE_KEYS = 2,
    STORE_SUBKEYS = 3,
    STORE_VALUES = 4,
    STORE_EXPIRATIONS = 5,
    STORE_IN_CACHE = 6,
    STORE_PEER = 7,
    STORED_OK = 2,
    STORED_PEER = 3,
    FIND_KEYS = 2,
    FIND_PEER = 3,
    FOUND_RESULTS = 2,
    FOUND_PEER = 3,
    RESULT_TYPE = 1,
    RESULT_VALUE = 2,
    RESULT_EXPIRATION = 3,
    RESULT_NODE_IDS = 4,
    RESULT_PEER_IDS = 5,
};

/* ---- reading ---- */

struct reader {
    struct skep_pb_reader pb;
    skep_bytes at; /* where the current field starts */
    struct skep_pb_field field;
};

static struct reader read_message(skep_bytes in)
{
    return (struct reader){.pb = skep_pb_read(in)};
}

static bool next_field(struct reader *r)
{
    r->at = r->pb.in;
    return skep_pb_next(&r->pb, &r->field);
}

static void refuse(struct reader *r, int rc)
{
    if (r->pb.rc == 0)
        r->pb.rc = rc;
}

static skep_bytes field_bytes(struct reader *r)
{
    return skep_pb_bytes(&r->pb, &r->field);
}

static void read_sender(struct reader *r, struct skep_dht_sender *sender)
{
    struct reader info = read_message(field_bytes(r));

    while (next_field(&info)) {
        if (info.field.number != NODE_ID)
            continue;
        skep_bytes id = field_bytes(&info);

        sender->has_id = id.len > 0;
        refuse(&info, skep_dht_id_from_wire(&sender->id, id));
    }
    refuse(r, info.pb.rc);
}

/* The current field holds n more items of a list. */
static void add_items(struct reader *r, struct skep_dht_repeated *list, size_t n)
{
    if (list->left == 0)
        *list = (struct skep_dht_repeated){.rest = r->at, .number = r->field.number};
    if (n > SKEP_DHT_KEYS_PER_REQUEST_MAX - list->left) {
        refuse(r, SKEP_EPEER_LIMIT);
        return;
    }
    list->left += n;
}

static void add_bytes(struct reader *r, struct skep_dht_repeated *list)
{
    (void)field_bytes(r); /* refuses another type */
    add_items(r, list, 1);
}

static void add_doubles(struct reader *r, struct skep_dht_repeated *list)
{
    if (r->field.type == SKEP_PB_FIXED64) {
        add_items(r, list, 1);
        return;
    }
    if (field_bytes(r).len % 8 != 0)
        refuse(r, SKEP_EPEER_FRAME);
    add_items(r, list, r->field.bytes.len / 8);
}

static void add_bools(struct reader *r, struct skep_dht_repeated *list)
{
    skep_bytes packed;
    size_t count = 0;
    uint64_t v;

    if (r->field.type == SKEP_PB_VARINT) {
        add_items(r, list, 1);
        return;
    }
    packed = field_bytes(r);
    for (; packed.len > 0; count++)
        if (skep_varint_decode(&packed, &v) <= 0) {
            refuse(r, SKEP_EPEER_FRAME);
            return;
        }
    add_items(r, list, count);
}

static bool read_bool(struct reader *r)
{
    return skep_pb_varint(&r->pb, &r->field) != 0;
}

/* ---- walking ---- */

/* The next field of the list: the message has been checked, so there is one. */
static bool next_of_list(struct skep_dht_repeated *list, struct skep_pb_field *field)
{
    struct skep_pb_reader pb = skep_pb_read(list->rest);

    while (skep_pb_next(&pb, field))
        if (field->number == list->number) {
            list->rest = pb.in;
            return true;
        }
    return false; /* only if the caller went on with a message that was refused */
}

bool skep_dht_next_bytes(struct skep_dht_repeated *list, skep_bytes *out)
{
    struct skep_pb_field field;

    if (list->left == 0 || !next_of_list(list, &field))
        return false;
    list->left--;
    *out = field.bytes;
    return true;
}

/* Scalars: in a packed field, or one a field. @return 1 `field` has one, 2 `list->packed` has some, 0 the end. */
static int next_scalar(struct skep_dht_repeated *list, struct skep_pb_field *field)
{
    if (list->left == 0)
        return 0;
    while (list->packed.len == 0) {
        if (!next_of_list(list, field))
            return 0;
        if (field->type != SKEP_PB_BYTES) {
            list->left--;
            return 1;
        }
        list->packed = field->bytes;
    }
    list->left--;
    return 2;
}

bool skep_dht_next_double(struct skep_dht_repeated *list, double *out)
{
    struct skep_pb_field field;

    switch (next_scalar(list, &field)) {
    case 0: return false;
    case 1: *out = skep_double_of_bits(field.value); return true;
    default:
        *out = skep_double_of_bits(skep_get_le64(skep_bytes_take(&list->packed, 8).data));
        return true;
    }
}

bool skep_dht_next_bool(struct skep_dht_repeated *list, bool *out)
{
    struct skep_pb_field field;
    uint64_t v = 0;

    switch (next_scalar(list, &field)) {
    case 0: return false;
    case 1: *out = field.value != 0; return true;
    default:
        (void)skep_varint_decode(&list->packed, &v);
        *out = v != 0;
        return true;
    }
}

bool skep_dht_store_request_next(struct skep_dht_store_request *request,
                                 struct skep_dht_store_item *item)
{
    if (request->count == 0)
        return false;
    request->count--;
    return skep_dht_next_bytes(&request->keys, &item->key) &&
           skep_dht_next_bytes(&request->subkeys, &item->subkey) &&
           skep_dht_next_bytes(&request->values, &item->value) &&
           skep_dht_next_double(&request->expirations, &item->expiration_unix_s) &&
           skep_dht_next_bool(&request->in_cache, &item->in_cache);
}

/* ---- messages in ---- */

int skep_dht_ping_request_decode(struct skep_dht_ping_request *out, skep_bytes in)
{
    struct reader r = read_message(in);

    *out = (struct skep_dht_ping_request){.validate = false};
    while (next_field(&r))
        switch (r.field.number) {
        case AUTH: out->auth = field_bytes(&r); break;
        case PING_PEER: read_sender(&r, &out->sender); break;
        case PING_VALIDATE: out->validate = read_bool(&r); break;
        default: break;
        }
    return r.pb.rc;
}

int skep_dht_ping_response_decode(struct skep_dht_ping_response *out, skep_bytes in)
{
    struct reader r = read_message(in);

    *out = (struct skep_dht_ping_response){.available = false};
    while (next_field(&r))
        switch (r.field.number) {
        case AUTH: out->auth = field_bytes(&r); break;
        case PING_PEER: read_sender(&r, &out->sender); break;
        case PING_DHT_TIME: out->dht_time = skep_pb_double(&r.pb, &r.field); break;
        case PING_AVAILABLE: out->available = read_bool(&r); break;
        default: break;
        }
    return r.pb.rc;
}

int skep_dht_store_request_decode(struct skep_dht_store_request *out, skep_bytes in)
{
    struct reader r = read_message(in);
    size_t n;

    *out = (struct skep_dht_store_request){.count = 0};
    while (next_field(&r))
        switch (r.field.number) {
        case AUTH: out->auth = field_bytes(&r); break;
        case STORE_KEYS: add_bytes(&r, &out->keys); break;
        case STORE_SUBKEYS: add_bytes(&r, &out->subkeys); break;
        case STORE_VALUES: add_bytes(&r, &out->values); break;
        case STORE_EXPIRATIONS: add_doubles(&r, &out->expirations); break;
        case STORE_IN_CACHE: add_bools(&r, &out->in_cache); break;
        case STORE_PEER: read_sender(&r, &out->sender); break;
        default: break;
        }
    n = out->keys.left;
    if (n != out->values.left || n != out->expirations.left || n != out->in_cache.left)
        refuse(&r, SKEP_EPEER_PROTO);
    out->count = SKEP_MIN(n, out->subkeys.left);
    return r.pb.rc;
}

int skep_dht_store_response_decode(struct skep_dht_store_response *out, skep_bytes in)
{
    struct reader r = read_message(in);

    *out = (struct skep_dht_store_response){.auth = {0}};
    while (next_field(&r))
        switch (r.field.number) {
        case AUTH: out->auth = field_bytes(&r); break;
        case STORED_OK: add_bools(&r, &out->store_ok); break;
        case STORED_PEER: read_sender(&r, &out->sender); break;
        default: break;
        }
    return r.pb.rc;
}

int skep_dht_find_request_decode(struct skep_dht_find_request *out, skep_bytes in)
{
    struct reader r = read_message(in);

    *out = (struct skep_dht_find_request){.auth = {0}};
    while (next_field(&r))
        switch (r.field.number) {
        case AUTH: out->auth = field_bytes(&r); break;
        case FIND_KEYS: add_bytes(&r, &out->keys); break;
        case FIND_PEER: read_sender(&r, &out->sender); break;
        default: break;
        }
    return r.pb.rc;
}

int skep_dht_find_response_decode(struct skep_dht_find_response *out, skep_bytes in)
{
    struct reader r = read_message(in);

    *out = (struct skep_dht_find_response){.auth = {0}};
    while (next_field(&r))
        switch (r.field.number) {
        case AUTH: out->auth = field_bytes(&r); break;
        case FOUND_RESULTS: add_bytes(&r, &out->results); break;
        case FOUND_PEER: read_sender(&r, &out->sender); break;
        default: break;
        }
    return r.pb.rc;
}

int skep_dht_find_result_decode(struct skep_dht_find_result *out, skep_bytes in)
{
    struct reader r = read_message(in);
    uint64_t type = SKEP_DHT_NOT_FOUND;

    *out = (struct skep_dht_find_result){.type = SKEP_DHT_NOT_FOUND};
    while (next_field(&r))
        switch (r.field.number) {
        case RESULT_TYPE: type = skep_pb_varint(&r.pb, &r.field); break;
        case RESULT_VALUE: out->value = field_bytes(&r); break;
        case RESULT_EXPIRATION: out->expiration_unix_s = skep_pb_double(&r.pb, &r.field); break;
        case RESULT_NODE_IDS: add_bytes(&r, &out->node_ids); break;
        case RESULT_PEER_IDS: add_bytes(&r, &out->peer_ids); break;
        default: break;
        }
    if (type > SKEP_DHT_FOUND_DICTIONARY)
        refuse(&r, SKEP_EPEER_PROTO);
    else
        out->type = (enum skep_dht_found)type;
    out->node_ids.left = out->peer_ids.left = SKEP_MIN(out->node_ids.left, out->peer_ids.left);
    return r.pb.rc;
}

/* ---- messages out ---- */

static skep_bytes id_view(const struct skep_dht_id *id)
{
    return skep_bytes_of(id->bytes, SKEP_DHT_ID_LEN);
}

enum { NODE_INFO_LEN = 2 + SKEP_DHT_ID_LEN };

static void put_sender(struct skep_buf *out, uint32_t number, const struct skep_dht_id *own_id)
{
    skep_pb_put_header(out, number, own_id ? NODE_INFO_LEN : 0);
    if (own_id)
        skep_pb_put_bytes(out, NODE_ID, id_view(own_id));
}

void skep_dht_ping_request_encode(struct skep_buf *out, const struct skep_dht_id *own_id,
                                  bool validate)
{
    put_sender(out, PING_PEER, own_id);
    if (validate)
        skep_pb_put_varint(out, PING_VALIDATE, 1);
}

void skep_dht_ping_response_encode(struct skep_buf *out, const struct skep_dht_id *own_id,
                                   double dht_time, bool available)
{
    put_sender(out, PING_PEER, own_id);
    if (skep_bits_of_double(dht_time) != 0)
        skep_pb_put_double(out, PING_DHT_TIME, dht_time);
    if (available)
        skep_pb_put_varint(out, PING_AVAILABLE, 1);
}

void skep_dht_find_request_encode(struct skep_buf *out, const struct skep_dht_id *own_id,
                                  const struct skep_dht_id *keys, size_t count)
{
    if (!skep_buf_reserve(out, (count + 1) * (NODE_INFO_LEN + 2)))
        return;
    for (size_t i = 0; i < count; i++)
        skep_pb_put_bytes(out, FIND_KEYS, id_view(&keys[i]));
    put_sender(out, FIND_PEER, own_id);
}

static size_t bytes_field_len(size_t len)
{
    return 1 + skep_varint_len(len) + len; /* all our field numbers take one byte */
}

size_t skep_dht_store_item_len(const struct skep_dht_store_item *item)
{
    return bytes_field_len(item->key.len) + bytes_field_len(item->subkey.len) +
           bytes_field_len(item->value.len) + 8 + 1;
}

void skep_dht_store_request_encode(struct skep_buf *out, const struct skep_dht_id *own_id,
                                   const struct skep_dht_store_item *items, size_t count)
{
    size_t len = 2 * (1 + SKEP_VARINT_LEN_MAX) + 2 + NODE_INFO_LEN;
    uint8_t *to;

    for (size_t i = 0; i < count; i++)
        len += skep_dht_store_item_len(&items[i]);
    if (!skep_buf_reserve(out, len))
        return;
    for (size_t i = 0; i < count; i++)
        skep_pb_put_bytes(out, STORE_KEYS, items[i].key);
    for (size_t i = 0; i < count; i++)
        skep_pb_put_bytes(out, STORE_SUBKEYS, items[i].subkey);
    for (size_t i = 0; i < count; i++)
        skep_pb_put_bytes(out, STORE_VALUES, items[i].value);
    if (count > 0) {
        skep_pb_put_header(out, STORE_EXPIRATIONS, 8 * count);
        to = out->data + out->len;
        for (size_t i = 0; i < count; i++)
            skep_put_le64(to + 8 * i, skep_bits_of_double(items[i].expiration_unix_s));
        out->len += 8 * count;
        skep_pb_put_header(out, STORE_IN_CACHE, count);
        for (size_t i = 0; i < count; i++)
            skep_buf_put_u8(out, items[i].in_cache);
    }
    put_sender(out, STORE_PEER, own_id);
}

void skep_dht_store_response_encode(struct skep_buf *out, const struct skep_dht_id *own_id,
                                    const bool *store_ok, size_t count)
{
    if (count > 0)
        skep_pb_put_header(out, STORED_OK, count);
    for (size_t i = 0; i < count; i++)
        skep_buf_put_u8(out, store_ok[i]);
    put_sender(out, STORED_PEER, own_id);
}

static size_t result_content_len(enum skep_dht_found type, skep_bytes value,
                                 double expiration_unix_s,
                                 const struct skep_routing_node *const *nearest,
                                 size_t nearest_count)
{
    size_t len = nearest_count * NODE_INFO_LEN;

    for (size_t i = 0; i < nearest_count; i++)
        len += bytes_field_len(nearest[i]->peer.len);
    if (type == SKEP_DHT_NOT_FOUND)
        return len;
    len += 2 + (value.len > 0 ? bytes_field_len(value.len) : 0);
    return len + (skep_bits_of_double(expiration_unix_s) != 0 ? 1 + 8 : 0);
}

size_t skep_dht_find_result_len(enum skep_dht_found type, skep_bytes value,
                                double expiration_unix_s,
                                const struct skep_routing_node *const *nearest,
                                size_t nearest_count)
{
    return bytes_field_len(
        result_content_len(type, value, expiration_unix_s, nearest, nearest_count));
}

void skep_dht_find_result_encode(struct skep_buf *out, enum skep_dht_found type, skep_bytes value,
                                 double expiration_unix_s,
                                 const struct skep_routing_node *const *nearest,
                                 size_t nearest_count)
{
    size_t len = result_content_len(type, value, expiration_unix_s, nearest, nearest_count);

    if (!skep_buf_reserve(out, bytes_field_len(len)))
        return;
    skep_pb_put_header(out, FOUND_RESULTS, len);
    if (type != SKEP_DHT_NOT_FOUND) {
        skep_pb_put_varint(out, RESULT_TYPE, (uint64_t)type);
        if (value.len > 0)
            skep_pb_put_bytes(out, RESULT_VALUE, value);
        if (skep_bits_of_double(expiration_unix_s) != 0)
            skep_pb_put_double(out, RESULT_EXPIRATION, expiration_unix_s);
    }
    for (size_t i = 0; i < nearest_count; i++)
        skep_pb_put_bytes(out, RESULT_NODE_IDS, id_view(&nearest[i]->id));
    for (size_t i = 0; i < nearest_count; i++)
        skep_pb_put_bytes(out, RESULT_PEER_IDS, skep_peer_id_view(&nearest[i]->peer));
}

void skep_dht_find_response_end(struct skep_buf *out, const struct skep_dht_id *own_id)
{
    put_sender(out, FOUND_PEER, own_id);
}
