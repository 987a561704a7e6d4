/* SPDX-License-Identifier: MIT */
#include "lab/malice.h"

#include "base/msgpack.h"
#include "base/prng.h"
#include "dht/message.h"
#include "dht/protocol.h"
#include "dht/routing.h"
#include "dht/value.h"

enum {
    NAMED = 20,        /* nodes that it names in an answer */
    MET_MAX = 64,      /* nodes that it remembers, and greets */
    GREETINGS_MAX = 8, /* under way */
    LIES_MAX = 256,    /* records that it forges */
    NONSENSE_MAX = 64,
};
/* Some of its lies live longer than anybody believes, some just long enough to win. */
#define DAYS_S 86400.0
#define GREETING_TIMEOUT_US ((uint64_t)5000000)

/* A greeting under way. */
struct greeting {
    struct skep_rpc_call call;
    struct skep_lab_malice *malice;
};

/* A record that it was to keep, and what it makes of it. */
struct lie {
    struct skep_dht_id key;
    struct skep_dht_value *value;
};

struct skep_lab_malice {
    struct skep_env *env;
    struct skep_rpc *rpc;
    struct skep_dht_id node_id;
    enum skep_lab_vice vice;
    struct skep_prng prng;
    const struct skep_peer_id *accomplices;
    size_t accomplice_count;
    struct skep_routing_node met[MET_MAX]; /* honest for all it knows */
    size_t met_count, greeted;             /* met[0 … greeted) were greeted */
    struct greeting greetings[GREETINGS_MAX];
    struct lie lies[LIES_MAX];
    size_t lie_count;
    struct skep_buf message;
    struct skep_lab_malice_stats stats;
};

/* ---- whom it knows ---- */

static bool knows(const struct skep_lab_malice *m, const struct skep_peer_id *peer)
{
    for (size_t i = 0; i < m->met_count; i++)
        if (skep_peer_id_equal(&m->met[i].peer, peer))
            return true;
    return skep_peer_id_equal(&m->rpc->self, peer);
}

static void meet(struct skep_lab_malice *m, const struct skep_dht_sender *sender,
                 const struct skep_peer_id *peer)
{
    if (sender->has_id && m->met_count < MET_MAX && !knows(m, peer))
        m->met[m->met_count++] = (struct skep_routing_node){.id = sender->id, .peer = *peer};
}

static void greet_more(struct skep_lab_malice *m);

static void on_greeted(struct skep_rpc_call *call, int rc, skep_bytes reply)
{
    struct skep_lab_malice *m = SKEP_CONTAINER_OF(call, struct greeting, call)->malice;
    struct skep_dht_find_response response;
    struct skep_dht_find_result result;
    skep_bytes bytes, id, peer_bytes;

    if (rc == 0 && skep_dht_find_response_decode(&response, reply) == 0 &&
        skep_dht_next_bytes(&response.results, &bytes) &&
        skep_dht_find_result_decode(&result, bytes) == 0) {
        while (skep_dht_next_bytes(&result.node_ids, &id) &&
               skep_dht_next_bytes(&result.peer_ids, &peer_bytes)) {
            struct skep_dht_sender named = {.has_id = true};
            struct skep_peer_id peer;

            if (skep_dht_id_from_wire(&named.id, id) == 0 &&
                skep_peer_id_from_bytes(&peer, peer_bytes) == 0)
                meet(m, &named, &peer);
        }
    }
    greet_more(m);
}

static bool greet(struct skep_lab_malice *m, const struct skep_peer_id *peer)
{
    for (size_t i = 0; i < GREETINGS_MAX; i++) {
        struct greeting *g = &m->greetings[i];

        if (g->call.state)
            continue;
        g->malice = m;
        g->call.done = on_greeted;
        skep_buf_clear(&m->message);
        skep_dht_find_request_encode(&m->message, &m->node_id, &m->node_id, 1);
        return m->message.rc == 0 &&
               skep_rpc_call_start(m->rpc, &g->call, peer, SKEP_DHT_RPC_FIND,
                                   skep_buf_view(&m->message), GREETING_TIMEOUT_US) == 0;
    }
    return false;
}

static void greet_more(struct skep_lab_malice *m)
{
    while (m->greeted < m->met_count && greet(m, &m->met[m->greeted].peer))
        m->greeted++;
}

void skep_lab_malice_greet(struct skep_lab_malice *m, const struct skep_peer_id *peer)
{
    (void)greet(m, peer);
}

void skep_lab_malice_conspire(struct skep_lab_malice *m, const struct skep_peer_id *peers,
                              size_t count)
{
    m->accomplices = peers;
    m->accomplice_count = count;
}

/* ---- wrong neighbours ---- */

/* The id that this peer would have near a key: all accomplices say the same. */
static struct skep_dht_id id_near(const struct skep_dht_id *key, const struct skep_peer_id *peer)
{
    struct skep_dht_id id = *key;

    for (size_t i = 0; i < peer->len; i++)
        id.bytes[12 + i % 8] ^= peer->bytes[i];
    return id;
}

static struct skep_dht_id made_up_near(struct skep_lab_malice *m, const struct skep_dht_id *key)
{
    struct skep_dht_id id = *key;

    skep_prng_fill(&m->prng, id.bytes + 12, 8);
    return id;
}

static const struct skep_peer_id *some_accomplice(struct skep_lab_malice *m)
{
    size_t i = (size_t)skep_prng_below(&m->prng, m->accomplice_count + 1);

    return i < m->accomplice_count ? &m->accomplices[i] : &m->rpc->self;
}

/* Of those it has met, the farther ones. */
static size_t name_far_ones(struct skep_lab_malice *m, const struct skep_dht_id *key,
                            const struct skep_routing_node **named)
{
    struct skep_dht_id far = *key;
    size_t count = 0;

    far.bytes[0] ^= 0x80;
    for (size_t i = 0; i < m->met_count && count < NAMED; i++)
        if (skep_dht_id_nearer(&far, &m->met[i].id, key) < 0)
            named[count++] = &m->met[i];
    return count;
}

static void answer_with_neighbours(struct skep_lab_malice *m, const struct skep_dht_id *key)
{
    struct skep_routing_node made_up[NAMED];
    const struct skep_routing_node *named[NAMED];
    size_t count = 0;

    if (m->vice == SKEP_LAB_VICE_NEIGHBOURS && skep_prng_below(&m->prng, 2) == 0)
        count = name_far_ones(m, key, named);
    for (; count < NAMED; count++) {
        const struct skep_peer_id *peer = some_accomplice(m);

        made_up[count] = (struct skep_routing_node){
            .id = m->vice == SKEP_LAB_VICE_CHAMELEON ? id_near(key, peer) : made_up_near(m, key),
            .peer = *peer};
        named[count] = &made_up[count];
    }
    skep_dht_find_result_encode(&m->message, SKEP_DHT_NOT_FOUND, (skep_bytes){0}, 0, named, count);
}

/* ---- garbage ---- */

static double some_day(struct skep_lab_malice *m)
{
    return skep_env_unix_s(m->env) + DAYS_S * (double)(1 + skep_prng_below(&m->prng, 30));
}

static void answer_with_dictionary(struct skep_lab_malice *m, struct skep_dht_value **value)
{
    skep_bytes packed;

    if (skep_dht_value_packed(value, &packed) == 0)
        skep_dht_find_result_encode(&m->message, SKEP_DHT_FOUND_DICTIONARY, packed,
                                    (*value)->expiration_unix_s, NULL, 0);
}

/* A value for a coordinate that is no expert of any prefix: nothing, a text, noise, or a pair from elsewhere. */
static void put_nonsense(struct skep_lab_malice *m, struct skep_dht_value *value,
                         uint64_t coordinate)
{
    static const uint8_t elsewhere[] = "\xc7\x0a\x40\x92\xa6junk.1\xa1x";
    uint8_t subkey[16], bytes[NONSENSE_MAX];
    struct skep_buf packed = {.data = subkey, .cap = sizeof subkey, .mem = m->env->mem};
    skep_bytes nonsense = skep_bytes_of(bytes, 1 + skep_prng_below(&m->prng, NONSENSE_MAX));

    skep_prng_fill(&m->prng, bytes, sizeof bytes);
    switch (skep_prng_below(&m->prng, 3)) {
    case 0: nonsense = skep_bytes_of("\xc0", 1); break;
    case 1: nonsense = skep_bytes_of(elsewhere, sizeof elsewhere - 1); break;
    default: break;
    }
    skep_msgpack_put_uint(&packed, coordinate);
    (void)skep_dht_value_put(value, skep_buf_view(&packed), nonsense, some_day(m), 0, NULL);
}

static void answer_with_garbage(struct skep_lab_malice *m)
{
    static const uint8_t text[] = "\xa9"
                                  "rubbish..";
    uint8_t noise[NONSENSE_MAX];
    struct skep_dht_value *value;

    switch (skep_prng_below(&m->prng, 3)) {
    case 0:
        skep_prng_fill(&m->prng, noise, sizeof noise);
        skep_dht_find_result_encode(&m->message,
                                    (enum skep_dht_found)(1 + skep_prng_below(&m->prng, 2)),
                                    skep_bytes_of(noise, sizeof noise), some_day(m), NULL, 0);
        return;
    case 1:
        skep_dht_find_result_encode(&m->message, SKEP_DHT_FOUND_PLAIN,
                                    skep_bytes_of(text, sizeof text - 1), some_day(m), NULL, 0);
        return;
    default:
        if (skep_dht_value_new_dictionary(&value, m->env->mem) < 0)
            return;
        for (uint64_t i = 0; i < 16; i++)
            put_nonsense(m, value, i);
        answer_with_dictionary(m, &value);
        skep_dht_value_unref(value);
    }
}

/* ---- forgery ---- */

static struct lie *lie_of(struct skep_lab_malice *m, const struct skep_dht_id *key)
{
    for (size_t i = 0; i < m->lie_count; i++)
        if (skep_dht_id_equal(&m->lies[i].key, key))
            return &m->lies[i];
    return NULL;
}

/* The uid of a (uid, peer) tuple; empty where it is none. */
static skep_bytes uid_of(skep_bytes value)
{
    struct skep_msgpack_token t;
    skep_bytes in;

    if (skep_msgpack_next(&value, &t) != 1 || t.type != SKEP_MSGPACK_EXT)
        return (skep_bytes){0};
    in = t.bytes;
    if (skep_msgpack_next(&in, &t) != 1 || t.type != SKEP_MSGPACK_ARRAY ||
        skep_msgpack_next(&in, &t) != 1 || t.type != SKEP_MSGPACK_STR)
        return (skep_bytes){0};
    return t.bytes;
}

static void put_pair(struct skep_lab_malice *m, struct skep_buf *out, skep_bytes uid)
{
    char peer[SKEP_PEER_ID_TEXT_MAX];
    struct skep_buf pair;

    skep_buf_init(&pair, m->env->mem);
    skep_msgpack_put_array(&pair, 2);
    skep_msgpack_put_str(&pair, uid);
    skep_msgpack_put_str(&pair, skep_bytes_str(skep_peer_id_text(peer, &m->rpc->self)));
    skep_msgpack_put_ext(out, SKEP_EXT_TUPLE, (uint32_t)pair.len);
    skep_buf_put_bytes(out, skep_buf_view(&pair));
    skep_buf_fini(&pair);
}

/* "ffn.3.7" under "ffn.3." and 7: the same peer is said to serve "ffn.3.0", too, which may not exist. */
static void invent_neighbour(struct skep_lab_malice *m, struct skep_dht_value *value,
                             skep_bytes uid)
{
    static const uint8_t zero[1] = {0};
    struct skep_buf text, pair;

    skep_buf_init(&text, m->env->mem);
    skep_buf_init(&pair, m->env->mem);
    while (uid.len > 0 && uid.data[uid.len - 1] != '.')
        uid.len--;
    skep_buf_put_bytes(&text, uid);
    skep_buf_put_u8(&text, '0');
    put_pair(m, &pair, skep_buf_view(&text));
    if (text.rc == 0 && pair.rc == 0)
        (void)skep_dht_value_put(value, skep_bytes_of(zero, 1), skep_buf_view(&pair), some_day(m),
                                 0, NULL);
    skep_buf_fini(&pair);
    skep_buf_fini(&text);
}

/* Its place among the lies; a value of the kind must still be put there. */
static struct lie *new_lie(struct skep_lab_malice *m, const struct skep_dht_id *key)
{
    struct lie *lie = lie_of(m, key);

    if (lie || m->lie_count == LIES_MAX)
        return lie;
    lie = &m->lies[m->lie_count++];
    *lie = (struct lie){.key = *key};
    return lie;
}

/* The record of an expert: the forger serves it. */
static void forge_plain(struct skep_lab_malice *m, struct lie *lie)
{
    char peer[SKEP_PEER_ID_TEXT_MAX];
    struct skep_buf text;

    skep_buf_init(&text, m->env->mem);
    skep_msgpack_put_str(&text, skep_bytes_str(skep_peer_id_text(peer, &m->rpc->self)));
    skep_dht_value_unref(lie->value);
    lie->value = NULL;
    if (text.rc == 0)
        (void)skep_dht_value_new_plain(&lie->value, m->env->mem, skep_buf_view(&text), some_day(m));
    skep_buf_fini(&text);
}

/* An entry of a prefix's record. */
static void forge_entry(struct skep_lab_malice *m, struct lie *lie, skep_bytes subkey,
                        skep_bytes uid)
{
    struct skep_buf pair;

    if (!lie->value && skep_dht_value_new_dictionary(&lie->value, m->env->mem) < 0)
        return;
    skep_buf_init(&pair, m->env->mem);
    put_pair(m, &pair, uid);
    if (pair.rc == 0)
        (void)skep_dht_value_put(lie->value, subkey, skep_buf_view(&pair), some_day(m), 0, NULL);
    skep_buf_fini(&pair);
    invent_neighbour(m, lie->value, uid);
}

static void forge(struct skep_lab_malice *m, const struct skep_dht_store_item *item)
{
    bool is_plain = item->subkey.len == 1 && item->subkey.data[0] == 0xc0;
    skep_bytes uid = uid_of(item->value);
    struct skep_dht_id key;
    struct lie *lie;

    if ((!is_plain && uid.len == 0) || item->subkey.len == 0 ||
        skep_dht_id_from_wire(&key, item->key) < 0 || !(lie = new_lie(m, &key)))
        return;
    if (is_plain)
        forge_plain(m, lie);
    else if (!lie->value || lie->value->is_dictionary)
        forge_entry(m, lie, item->subkey, uid);
}

static void answer_with_forgery(struct skep_lab_malice *m, const struct skep_dht_id *key)
{
    struct lie *lie = lie_of(m, key);
    struct skep_dht_value *value;

    if (lie && lie->value && lie->value->is_dictionary) {
        answer_with_dictionary(m, &lie->value);
        return;
    }
    if (lie && lie->value) {
        skep_dht_find_result_encode(&m->message, SKEP_DHT_FOUND_PLAIN, lie->value->plain,
                                    lie->value->expiration_unix_s, NULL, 0);
        return;
    }
    if (skep_dht_value_new_dictionary(&value, m->env->mem) < 0)
        return;
    (void)skep_dht_value_put(value, skep_bytes_of("\xff", 1), skep_bytes_of("\xc0", 1), some_day(m),
                             0, NULL);
    answer_with_dictionary(m, &value);
    skep_dht_value_unref(value);
}

/* ---- what it serves ---- */

static void reply(struct skep_lab_malice *m, struct skep_rpc_request *request)
{
    if (m->message.rc < 0)
        skep_rpc_fail(request, "MemoryError()");
    else
        skep_rpc_reply(request, skep_buf_view(&m->message));
}

static void serve_ping(void *user, struct skep_rpc_request *request)
{
    struct skep_lab_malice *m = user;
    struct skep_dht_ping_request ping;

    m->stats.pings++;
    if (skep_dht_ping_request_decode(&ping, request->data) == 0)
        meet(m, &ping.sender, request->peer);
    skep_buf_clear(&m->message);
    skep_dht_ping_response_encode(&m->message, &m->node_id, skep_env_unix_s(m->env), true);
    reply(m, request);
}

static void serve_store(void *user, struct skep_rpc_request *request)
{
    struct skep_lab_malice *m = user;
    struct skep_dht_store_request store;
    struct skep_dht_store_item item;
    size_t count;
    bool *ok;

    m->stats.stores++;
    if (skep_dht_store_request_decode(&store, request->data) < 0 ||
        !(ok = skep_mem_zalloc(m->env->mem, SKEP_MAX(store.count, (size_t)1), sizeof *ok))) {
        skep_rpc_fail(request, "AssertionError()");
        return;
    }
    count = store.count;
    for (size_t i = 0; skep_dht_store_request_next(&store, &item); i++) {
        ok[i] = m->vice != SKEP_LAB_VICE_REFUSING;
        if (m->vice == SKEP_LAB_VICE_FORGER)
            forge(m, &item);
    }
    skep_buf_clear(&m->message);
    skep_dht_store_response_encode(&m->message, &m->node_id, ok, count);
    skep_mem_free(m->env->mem, ok);
    reply(m, request);
}

static void answer_key(struct skep_lab_malice *m, const struct skep_dht_id *key)
{
    switch (m->vice) {
    case SKEP_LAB_VICE_NEIGHBOURS:
    case SKEP_LAB_VICE_CHAMELEON: answer_with_neighbours(m, key); break;
    case SKEP_LAB_VICE_GARBAGE: answer_with_garbage(m); break;
    case SKEP_LAB_VICE_FORGER: answer_with_forgery(m, key); break;
    default:
        skep_dht_find_result_encode(&m->message, SKEP_DHT_NOT_FOUND, (skep_bytes){0}, 0, NULL, 0);
    }
}

/* @return the id that it says it has. */
static struct skep_dht_id answer_keys(struct skep_lab_malice *m, struct skep_dht_find_request *find)
{
    struct skep_dht_id told = m->node_id, key;
    bool first = true;
    skep_bytes raw;

    while (skep_dht_next_bytes(&find->keys, &raw)) {
        if (skep_dht_id_from_wire(&key, raw) < 0)
            continue;
        if (first && m->vice == SKEP_LAB_VICE_CHAMELEON)
            told = id_near(&key, &m->rpc->self);
        first = false;
        answer_key(m, &key);
    }
    return told;
}

static void serve_find(void *user, struct skep_rpc_request *request)
{
    struct skep_lab_malice *m = user;
    struct skep_dht_find_request find;
    struct skep_dht_id told;

    m->stats.finds++;
    if (skep_dht_find_request_decode(&find, request->data) < 0) {
        skep_rpc_fail(request, "ValueError('malformed FindRequest')");
        return;
    }
    meet(m, &find.sender, request->peer);
    skep_buf_clear(&m->message);
    told = m->node_id;
    switch (m->vice == SKEP_LAB_VICE_REFUSING ? skep_prng_below(&m->prng, 3) : 2) {
    case 0: skep_rpc_fail(request, "KeyError('no')"); return;
    case 1: break; /* no results at all */
    default: told = answer_keys(m, &find);
    }
    skep_dht_find_response_end(&m->message, &told);
    reply(m, request);
}

/* ---- life ---- */

static const struct {
    const char *method;
    skep_rpc_handler *handler;
} served[] = {{SKEP_DHT_RPC_PING, serve_ping},
              {SKEP_DHT_RPC_STORE, serve_store},
              {SKEP_DHT_RPC_FIND, serve_find}};

int skep_lab_malice_new(struct skep_lab_malice **out, struct skep_env *env, struct skep_rpc *rpc,
                        const struct skep_dht_id *node_id, enum skep_lab_vice vice, uint64_t seed)
{
    struct skep_lab_malice *m = skep_mem_zalloc(env->mem, 1, sizeof *m);

    *out = NULL;
    if (!m)
        return SKEP_ENOMEM;
    m->env = env;
    m->rpc = rpc;
    m->node_id = *node_id;
    m->vice = vice;
    skep_prng_init(&m->prng, seed);
    skep_buf_init(&m->message, env->mem);
    for (size_t i = 0; i < SKEP_COUNT_OF(served); i++) {
        int rc = skep_rpc_serve(rpc, served[i].method, served[i].handler, m);

        if (rc < 0) {
            while (i-- > 0)
                skep_rpc_unserve(rpc, served[i].method);
            skep_mem_free(env->mem, m);
            return rc;
        }
    }
    *out = m;
    return 0;
}

void skep_lab_malice_free(struct skep_lab_malice *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < SKEP_COUNT_OF(served); i++)
        skep_rpc_unserve(m->rpc, served[i].method);
    for (size_t i = 0; i < GREETINGS_MAX; i++)
        skep_rpc_call_cancel(m->rpc, &m->greetings[i].call);
    for (size_t i = 0; i < m->lie_count; i++)
        skep_dht_value_unref(m->lies[i].value);
    skep_buf_fini(&m->message);
    skep_mem_free(m->env->mem, m);
}

const struct skep_lab_malice_stats *skep_lab_malice_stats(const struct skep_lab_malice *m)
{
    return &m->stats;
}
