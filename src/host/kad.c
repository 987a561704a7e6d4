/* SPDX-License-Identifier: MIT */
/* /ipfs/kad/1.0.0 as far as it turns peer ids into addresses: FIND_NODE, served and asked. Spec: libp2p kad-dht; docs/wire.md a.7.
 *
 * A lookup first asks the peer that named the target to us, alone, since that one has likely just spoken to it; then it walks towards the
 * target, 10 questions in flight, until someone names it with an address or the 20 nearest have all been asked. */
#include "host/host_impl.h"

/* ---- served ---- */

struct serving {
    struct skep_host *host;
    struct skep_host_peer *peer;
    struct skep_stream *stream;
    struct skep_buf in;
    struct skep_timer timer;
    struct skep_list entry; /* host->kad_streams */
};

static void serving_free(struct serving *serving)
{
    skep_env_stop(serving->host->env, &serving->timer);
    skep_list_remove(&serving->entry);
    skep_stream_service_end(serving->peer);
    skep_buf_fini(&serving->in);
    skep_mem_free(serving->host->env->mem, serving);
}

/** Append a peer with what the book knows of it; one without addresses is of no use to the asker. */
static bool put_known(struct skep_host *host, struct skep_buf *out, const struct skep_peer_id *id)
{
    struct skep_multiaddr addrs[SKEP_ADDRESSES_PER_PEER_MAX];
    const struct skep_host_peer *connected = skep_host_peer_find(host, id);
    struct skep_kad_peer peer = {
        .id = *id, .addrs = addrs, .connected = connected && connected->best};

    peer.addr_count = skep_address_book_get(host->book, id, skep_env_now_us(host->env), addrs,
                                            SKEP_ADDRESSES_PER_PEER_MAX);
    if (peer.addr_count == 0)
        return false;
    skep_kad_put_peer(out, &peer);
    return true;
}

static void put_self(struct skep_host *host, struct skep_buf *out)
{
    struct skep_multiaddr addrs[SKEP_HOST_ADDRESSES_MAX];
    struct skep_kad_peer peer = {.id = host->options.identity->id, .addrs = addrs};

    peer.addr_count = SKEP_MIN(skep_host_own_addresses(host, addrs, SKEP_HOST_ADDRESSES_MAX),
                               SKEP_HOST_ADDRESSES_MAX);
    skep_kad_put_peer(out, &peer);
}

static void put_nearest(struct skep_host *host, struct skep_buf *out, skep_bytes key,
                        const struct skep_peer_id *asker)
{
    struct skep_kad_entry
        nearest[SKEP_KAD_PEERS_MAX + 1]; /* one more: the asker may be among them */
    uint8_t hash[SKEP_SHA256_LEN];
    struct skep_peer_id target;
    bool has_target =
        skep_peer_id_from_bytes(&target, key) < 0 || skep_peer_id_equal(&target, asker);
    size_t count, put = 0;

    skep_sha256(hash, key);
    count = skep_kad_table_nearest(&host->kad, hash, nearest, SKEP_COUNT_OF(nearest));
    for (size_t i = 0; i < count && put < SKEP_KAD_PEERS_MAX; i++) {
        if (skep_peer_id_equal(&nearest[i].id, asker))
            continue;
        if (put_known(host, out, &nearest[i].id))
            put++;
        has_target |= skep_bytes_equal(skep_peer_id_view(&nearest[i].id), key);
    }
    if (!has_target)
        put_known(host, out, &target);
}

static int answer(struct serving *serving, skep_bytes body)
{
    struct skep_host *host = serving->host;
    skep_bytes key;
    struct skep_buf out;
    size_t mark;
    int rc = skep_kad_read_request(body, &key);

    if (rc < 0)
        return rc;
    skep_buf_init(&out, host->env->mem);
    mark = skep_kad_begin_answer(&out);
    if (skep_bytes_equal(key, skep_peer_id_view(&host->options.identity->id)))
        put_self(host, &out);
    else
        put_nearest(host, &out, key, skep_stream_peer(serving->stream));
    skep_kad_end_answer(&out, mark);
    rc = out.rc < 0 ? out.rc : skep_stream_write(serving->stream, skep_buf_view(&out));
    skep_buf_fini(&out);
    return rc;
}

static void on_request_data(struct skep_stream *stream, void *user, skep_bytes data)
{
    struct serving *serving = user;
    skep_bytes in, body;
    int rc = 0;

    skep_buf_put_bytes(&serving->in, data);
    in = skep_buf_view(&serving->in);
    if (serving->in.rc < 0)
        rc = serving->in.rc;
    while (rc == 0 && (rc = skep_kad_next(&in, &body)) == 1)
        rc = answer(serving, body);
    /* Who asks on without reading our answers is not served for ever. */
    if (rc < 0 || skep_stream_queued(stream) > SKEP_STREAM_HIGH_WATER) {
        serving_free(serving);
        skep_stream_reset(stream);
        return;
    }
    skep_buf_drop(&serving->in, serving->in.len - in.len);
    skep_stream_consume(stream, data.len);
    (void)skep_env_after(serving->host->env, &serving->timer, SKEP_KAD_IDLE_US);
}

static void on_request_eof(struct skep_stream *stream, void *user)
{
    serving_free(user);
    skep_stream_release(stream);
}

static void on_request_close(struct skep_stream *stream, void *user, int rc)
{
    (void)stream;
    (void)rc;
    serving_free(user);
}

static void on_request_idle(struct skep_timer *timer)
{
    struct serving *serving = SKEP_CONTAINER_OF(timer, struct serving, timer);
    struct skep_stream *stream = serving->stream;

    serving_free(serving);
    skep_stream_reset(stream);
}

static const struct skep_stream_events request_events = {
    .on_data = on_request_data, .on_eof = on_request_eof, .on_close = on_request_close};

static void on_stream(void *user, struct skep_stream *stream)
{
    struct skep_host *host = user;
    struct serving *serving = skep_mem_zalloc(host->env->mem, 1, sizeof *serving);

    if (!serving || !skep_stream_service_begin(stream)) {
        skep_mem_free(host->env->mem, serving);
        skep_stream_reset(stream);
        return;
    }
    serving->host = host;
    serving->peer = stream->peer;
    serving->stream = stream;
    serving->timer.fire = on_request_idle;
    skep_buf_init(&serving->in, host->env->mem);
    skep_list_push_back(&host->kad_streams, &serving->entry);
    (void)skep_env_after(host->env, &serving->timer, SKEP_KAD_IDLE_US);
    skep_stream_use(stream, &request_events, serving);
}

int skep_kad_serve(struct skep_host *host)
{
    return skep_host_serve(host, SKEP_PROTO_KAD, on_stream, host);
}

static bool is_live(void *user, const struct skep_peer_id *id)
{
    const struct skep_host_peer *peer = skep_host_peer_find(user, id);

    return peer && peer->best;
}

void skep_kad_identified(struct skep_host_peer *peer)
{
    struct skep_host *host = peer->best ? peer->best->host : NULL;

    if (host && peer->info->speaks_kad)
        (void)skep_kad_table_add(&host->kad, &peer->id, is_live, host);
    else if (host)
        skep_kad_table_remove(&host->kad, &peer->id);
}

/* ---- hints ---- */

void skep_host_hint(struct skep_host *host, const struct skep_peer_id *peer,
                    const struct skep_peer_id *via)
{
    struct skep_hint *hint = NULL;

    if (skep_peer_id_equal(peer, via) || skep_peer_id_equal(peer, &host->options.identity->id) ||
        is_live(host, peer))
        return;
    HASH_FIND(hh, host->hints, peer, sizeof *peer, hint);
    if (hint) {
        hint->via = *via;
        return;
    }
    if (HASH_CNT(hh, host->hints) >= SKEP_HINTS_MAX) {
        hint = host->hints; /* the oldest */
        HASH_DEL(host->hints, hint);
    } else {
        hint = skep_mem_zalloc(host->env->mem, 1, sizeof *hint);
    }
    if (!hint)
        return;
    hint->peer = *peer;
    hint->via = *via;
    HASH_ADD(hh, host->hints, peer, sizeof hint->peer, hint);
    if (!hint->hh.tbl)
        skep_mem_free(host->env->mem, hint);
}

static const struct skep_peer_id *hint_of(struct skep_host *host, const struct skep_peer_id *peer)
{
    const struct skep_hint *hint = NULL;
    const struct skep_host_peer *via;

    HASH_FIND(hh, host->hints, peer, sizeof *peer, hint);
    via = hint ? skep_host_peer_find(host, &hint->via) : NULL;
    /* One that is not connected any more is no better than the others. */
    return via && via->best && !(via->info && !via->info->speaks_kad) ? &hint->via : NULL;
}

void skep_kad_forget_hints(struct skep_host *host)
{
    struct skep_hint *hint, *after;

    HASH_ITER(hh, host->hints, hint, after)
    {
        HASH_DEL(host->hints, hint);
        skep_mem_free(host->env->mem, hint);
    }
}

/* ---- asked ---- */

struct candidate {
    struct skep_kad_entry entry;
    enum { NEW, ASKED, ANSWERED, FAILED } state;
};

struct skep_kad_lookup {
    struct skep_host *host;
    struct skep_peer_id target;
    uint8_t hash[SKEP_SHA256_LEN];
    struct candidate candidates[SKEP_KAD_CANDIDATES_MAX]; /* nearest first */
    size_t count, asked, in_flight;
    bool walking; /* past the hint */
    bool found;
    struct skep_list wanting, queries;
    struct skep_list entry; /* host->lookups */
    struct skep_timer timer;
};

struct query {
    struct skep_kad_lookup *lookup;
    struct skep_peer_id peer;
    struct skep_stream *stream;
    struct skep_buf in;
    struct skep_timer timer;
    struct skep_list entry; /* lookup->queries */
};

static void step(struct skep_kad_lookup *lookup);

static void query_free(struct query *query)
{
    struct skep_kad_lookup *lookup = query->lookup;

    skep_env_stop(lookup->host->env, &query->timer);
    skep_list_remove(&query->entry);
    lookup->in_flight--;
    skep_buf_fini(&query->in);
    skep_mem_free(lookup->host->env->mem, query);
}

static void lookup_end(struct skep_kad_lookup *lookup, int rc)
{
    struct skep_host *host = lookup->host;
    struct skep_host_peer *peer;

    while (!skep_list_empty(&lookup->queries)) {
        struct query *query = SKEP_LIST_ITEM(lookup->queries.next, struct query, entry);
        struct skep_stream *stream = query->stream;

        query_free(query);
        skep_stream_reset(stream);
    }
    skep_env_stop(host->env, &lookup->timer);
    skep_list_remove(&lookup->entry);
    skep_requests_failed(&lookup->wanting, rc);
    peer = skep_host_peer_find(host, &lookup->target);
    skep_mem_free(host->env->mem, lookup);
    if (peer && !host->closing)
        skep_dial_found(peer, rc);
}

static struct candidate *candidate_of(struct skep_kad_lookup *lookup, const struct skep_peer_id *id)
{
    for (size_t i = 0; i < lookup->count; i++)
        if (skep_peer_id_equal(&lookup->candidates[i].entry.id, id))
            return &lookup->candidates[i];
    return NULL;
}

static void add_candidate(struct skep_kad_lookup *lookup, const struct skep_peer_id *id)
{
    struct candidate new = {.entry = {.id = *id}, .state = NEW};
    size_t at;

    if (candidate_of(lookup, id) || skep_peer_id_equal(id, &lookup->host->options.identity->id))
        return;
    skep_sha256(new.entry.hash, skep_peer_id_view(id));
    if (lookup->count == SKEP_KAD_CANDIDATES_MAX) {
        if (!skep_kad_nearer(new.entry.hash,
                             lookup->candidates[SKEP_KAD_CANDIDATES_MAX - 1].entry.hash,
                             lookup->hash))
            return;
        lookup->count--;
    }
    for (at = lookup->count;
         at > 0 &&
         skep_kad_nearer(new.entry.hash, lookup->candidates[at - 1].entry.hash, lookup->hash);
         at--)
        lookup->candidates[at] = lookup->candidates[at - 1];
    lookup->candidates[at] = new;
    lookup->count++;
}

static void on_named(void *user, const struct skep_peer_id *id, const struct skep_multiaddr *addrs,
                     size_t addr_count)
{
    struct skep_kad_lookup *lookup = user;
    struct skep_host *host = lookup->host;
    uint64_t until_us = skep_env_now_us(host->env) + SKEP_ADDRESS_HEARD_TTL_US;

    if (addr_count == 0 || skep_peer_id_equal(id, &host->options.identity->id))
        return;
    for (size_t i = 0; i < addr_count; i++)
        (void)skep_address_book_add(host->book, id, &addrs[i], until_us);
    if (skep_peer_id_equal(id, &lookup->target))
        lookup->found = true;
    else
        add_candidate(lookup, id);
}

/** A question has ended; the stream is no longer ours. */
static void query_end(struct query *query, int rc)
{
    struct skep_kad_lookup *lookup = query->lookup;
    struct candidate *candidate = candidate_of(lookup, &query->peer);

    if (candidate)
        candidate->state = rc == 0 ? ANSWERED : FAILED;
    if (rc < 0 && !is_live(lookup->host, &query->peer))
        skep_kad_table_remove(&lookup->host->kad, &query->peer);
    query_free(query);
    if (lookup->found)
        lookup_end(lookup, 0);
    else
        step(lookup);
}

static void on_answer_data(struct skep_stream *stream, void *user, skep_bytes data)
{
    struct query *query = user;
    skep_bytes in, body;
    int rc;

    skep_buf_put_bytes(&query->in, data);
    skep_stream_consume(stream, data.len);
    in = skep_buf_view(&query->in);
    rc = query->in.rc < 0 ? query->in.rc : skep_kad_next(&in, &body);
    if (rc == 0)
        return;
    if (rc == 1)
        rc = skep_kad_read_answer(body, on_named, query->lookup);
    if (rc < 0)
        skep_stream_reset(stream);
    else
        skep_stream_release(stream);
    query_end(query, rc);
}

static void on_answer_eof(struct skep_stream *stream, void *user)
{
    skep_stream_reset(stream);
    query_end(user, SKEP_EPEER_FRAME);
}

static void on_answer_close(struct skep_stream *stream, void *user, int rc)
{
    (void)stream;
    query_end(user, rc == 0 ? SKEP_EPEER_FRAME : rc);
}

static void on_answer_late(struct skep_timer *timer)
{
    struct query *query = SKEP_CONTAINER_OF(timer, struct query, timer);

    skep_stream_reset(query->stream);
    query_end(query, SKEP_ETIMEDOUT);
}

static const struct skep_stream_events answer_events = {
    .on_data = on_answer_data, .on_eof = on_answer_eof, .on_close = on_answer_close};

/** Open the stream and write the question: both go out together. */
static int ask(struct query *query)
{
    struct skep_host *host = query->lookup->host;
    struct skep_host_peer *peer = skep_host_peer_get(host, &query->peer);
    int rc;

    if (!peer)
        return SKEP_ENOMEM;
    peer->holds++;
    rc = skep_stream_open(host, &query->stream, peer, NULL, SKEP_PROTO_KAD, false, &answer_events,
                          query);
    peer->holds--;
    if (rc < 0) {
        skep_host_peer_put(host, peer);
        return rc;
    }
    skep_buf_clear(&query->in);
    skep_kad_write_request(&query->in, &query->lookup->target);
    rc = query->in.rc < 0 ? query->in.rc
                          : skep_stream_write(query->stream, skep_buf_view(&query->in));
    skep_buf_clear(&query->in);
    if (rc == 0)
        rc = skep_env_after(host->env, &query->timer, SKEP_KAD_QUERY_TIMEOUT_US);
    if (rc < 0)
        skep_stream_reset(query->stream);
    return rc;
}

static void query_start(struct skep_kad_lookup *lookup, const struct skep_peer_id *peer)
{
    struct skep_host *host = lookup->host;
    struct query *query = skep_mem_zalloc(host->env->mem, 1, sizeof *query);
    struct candidate *candidate = candidate_of(lookup, peer);

    lookup->asked++;
    if (candidate)
        candidate->state = query ? ASKED : FAILED;
    if (!query)
        return;
    query->lookup = lookup;
    query->peer = *peer;
    query->timer.fire = on_answer_late;
    skep_buf_init(&query->in, host->env->mem);
    skep_list_push_back(&lookup->queries, &query->entry);
    lookup->in_flight++;
    if (ask(query) == 0)
        return;
    if (candidate)
        candidate->state = FAILED;
    query_free(query);
}

/** The nearest that has not been asked, among the 20 nearest that have not failed. */
static struct candidate *next_candidate(struct skep_kad_lookup *lookup)
{
    size_t good = 0;

    for (size_t i = 0; i < lookup->count && good < SKEP_KAD_BUCKET_SIZE; i++) {
        if (lookup->candidates[i].state == NEW)
            return &lookup->candidates[i];
        good += lookup->candidates[i].state != FAILED ? 1 : 0;
    }
    return NULL;
}

/* Who is connected but has not been identified yet is in no table, and may be the only one we know: it is asked too. */
static void add_newcomers(struct skep_kad_lookup *lookup, size_t count)
{
    struct skep_host_peer *peer, *after;

    HASH_ITER(hh, lookup->host->peers, peer, after)
    {
        if (count == SKEP_KAD_BUCKET_SIZE)
            return;
        if (!peer->best || peer->identify_ended)
            continue;
        add_candidate(lookup, &peer->id);
        count++;
    }
}

static void start_walking(struct skep_kad_lookup *lookup)
{
    struct skep_kad_entry nearest[SKEP_KAD_BUCKET_SIZE];
    size_t count =
        skep_kad_table_nearest(&lookup->host->kad, lookup->hash, nearest, SKEP_COUNT_OF(nearest));

    lookup->walking = true;
    for (size_t i = 0; i < count; i++)
        if (!skep_peer_id_equal(&nearest[i].id, &lookup->target))
            add_candidate(lookup, &nearest[i].id);
    add_newcomers(lookup, count);
}

static void step(struct skep_kad_lookup *lookup)
{
    if (!lookup->walking && lookup->in_flight == 0)
        start_walking(lookup);
    while (lookup->in_flight < SKEP_KAD_ALPHA && lookup->asked < SKEP_KAD_ASKED_MAX) {
        const struct candidate *next = next_candidate(lookup);
        struct skep_peer_id peer;

        if (!next)
            break;
        peer = next->entry.id;
        query_start(lookup, &peer);
    }
    if (lookup->in_flight == 0)
        lookup_end(lookup, SKEP_ENOTFOUND);
}

static void on_start(struct skep_timer *timer)
{
    struct skep_kad_lookup *lookup = SKEP_CONTAINER_OF(timer, struct skep_kad_lookup, timer);
    const struct skep_peer_id *hint = hint_of(lookup->host, &lookup->target);

    if (is_live(lookup->host, &lookup->target)) {
        lookup_end(lookup, 0); /* it is right here */
        return;
    }
    if (hint) {
        add_candidate(lookup, hint);
        query_start(lookup, hint);
        if (lookup->in_flight > 0)
            return;
    }
    step(lookup);
}

int skep_kad_find(struct skep_host *host, const struct skep_peer_id *id,
                  struct skep_request_state *state)
{
    struct skep_kad_lookup *lookup = NULL;

    SKEP_LIST_EACH(&host->lookups, node, after)
    {
        struct skep_kad_lookup *running = SKEP_LIST_ITEM(node, struct skep_kad_lookup, entry);

        if (skep_peer_id_equal(&running->target, id))
            lookup = running;
    }
    if (!lookup) {
        lookup = skep_mem_zalloc(host->env->mem, 1, sizeof *lookup);
        if (!lookup)
            return SKEP_ENOMEM;
        lookup->host = host;
        lookup->target = *id;
        lookup->timer.fire = on_start;
        if (skep_env_after(host->env, &lookup->timer, 0) < 0) {
            skep_mem_free(host->env->mem, lookup);
            return SKEP_ENOMEM;
        }
        skep_sha256(lookup->hash, skep_peer_id_view(id));
        skep_list_init(&lookup->wanting);
        skep_list_init(&lookup->queries);
        skep_list_push_back(&host->lookups, &lookup->entry);
    }
    if (state)
        skep_list_push_back(&lookup->wanting, &state->want_entry);
    return 0;
}

void skep_kad_close(struct skep_host *host)
{
    while (!skep_list_empty(&host->lookups))
        lookup_end(SKEP_LIST_ITEM(host->lookups.next, struct skep_kad_lookup, entry),
                   SKEP_ECANCELED);
}
