/* SPDX-License-Identifier: MIT */
#include "dht/traverse.h"

#include "dht/beam.h"
#include "dht/cover.h"
#include "dht/decide.h"
#include "dht/names.h"
#include "dht/plan.h"

/* Room behind the beam for those that move in when one of it fails. */
#define BEAM_SLACK 12
/* What the answers to one request should weigh in all: half of what a message may. */
#define ANSWER_BYTES_AIM ((size_t)2 << 20)
/* An answer so large may have left keys out for want of room. */
#define ANSWER_BYTES_CUT ((size_t)2 << 20)
/* A handshake, of four round trips, with most of the world. */
#define FIRST_CONTACT_US ((uint64_t)1200000)
/* hivemind's own size of a request: what we fall back to after a failure. */
#define CHUNK_SAFE 16
/* A table with so much of the swarm knows of a node how many are nearer. */
#define WHOLE_SHARE 0.9

/* One rpc_find in flight. */
struct find {
    struct skep_dht_request request;
    struct skep_list entry; /* lookup->finds */
    struct skep_dht_lookup *lookup;
    struct skep_timer patience; /* until it is overdue, then until it is late */
    uint64_t rtt_us, sent_us;   /* what was known of the round trip; 0: nothing */
    bool overdue, late, is_hedge;
    uint32_t node, count;
    uint16_t round;
    uint32_t keys[];
};

static void advance(struct skep_dht_lookup *l);

/* ---- life ---- */

static void on_kick(struct skep_timer *timer)
{
    advance(SKEP_CONTAINER_OF(timer, struct skep_dht_lookup, kick));
}

int skep_dht_lookup_new(struct skep_dht_lookup **out, struct skep_dht *dht, uint32_t count,
                        bool want_values)
{
    struct skep_dht_lookup *l = skep_mem_zalloc(dht->mem, 1, sizeof *l);

    *out = NULL;
    if (!l)
        return SKEP_ENOMEM;
    l->dht = dht;
    skep_list_init(&l->entry);
    skep_list_init(&l->finds);
    l->kick.fire = on_kick;
    l->want_values = want_values;
    l->exhaustive = dht->options.exhaustive_lookups;
    l->beam = (uint16_t)dht->options.bucket_size;
    l->beam_cap = (uint16_t)(l->beam + BEAM_SLACK);
    l->chunk = SKEP_MAX(dht->options.chunk_size, 1);
    l->key_count = count;
    l->keys = skep_mem_zalloc(dht->mem, count, sizeof *l->keys);
    l->ready = skep_mem_alloc(dht->mem, count * sizeof *l->ready);
    l->beams = skep_mem_zalloc(dht->mem, (size_t)count * l->beam_cap, sizeof *l->beams);
    if (!l->keys || !l->ready || !l->beams) {
        l->key_count = 0;
        skep_dht_lookup_free(l);
        return SKEP_ENOMEM;
    }
    for (uint32_t i = 0; i < count; i++) {
        l->keys[i].beam = l->beams + (size_t)i * l->beam_cap;
        l->keys[i].source = SKEP_DHT_NO_NODE;
        l->keys[i].eager = !want_values;
        skep_list_init(&l->keys[i].waiters);
    }
    *out = l;
    return 0;
}

static void free_find(struct find *f)
{
    struct skep_dht_lookup *l = f->lookup;

    skep_env_stop(l->dht->env, &f->patience);
    skep_list_remove(&f->entry);
    l->find_count--;
    skep_mem_free(l->dht->mem, f);
}

static void cancel_finds(struct skep_dht_lookup *l)
{
    SKEP_LIST_EACH(&l->finds, entry, after)
    {
        struct find *f = SKEP_LIST_ITEM(entry, struct find, entry);

        skep_dht_request_cancel(&f->request);
        free_find(f);
    }
}

void skep_dht_lookup_free(struct skep_dht_lookup *l)
{
    const struct skep_mem *mem = l->dht->mem;

    if (l->on_free)
        l->on_free(l);
    cancel_finds(l);
    skep_env_stop(l->dht->env, &l->kick);
    skep_list_remove(&l->entry);
    skep_names_fini(l);
    skep_mem_free(mem, l->keys);
    skep_mem_free(mem, l->ready);
    skep_mem_free(mem, l->beams);
    skep_mem_free(mem, l->nodes);
    skep_mem_free(mem, l->node_table);
    skep_mem_free(mem, l->plan);
    skep_mem_free(mem, l->touched);
    skep_mem_free(mem, l);
}

static void free_if_over(struct skep_dht_lookup *l)
{
    if (l->busy == 0 && !l->starting && l->unfinished == 0 && (l->find_count == 0 || l->abandoned))
        skep_dht_lookup_free(l);
}

void skep_dht_lookup_drop(struct skep_dht_lookup *l, struct skep_dht_lookup_key *key)
{
    if (key->finished)
        return;
    key->finished = true;
    l->unfinished--;
    free_if_over(l);
}

void skep_dht_lookup_cancel(struct skep_dht_lookup *l)
{
    for (uint32_t i = 0; i < l->key_count; i++)
        l->keys[i].finished = true;
    l->unfinished = 0;
    l->abandoned = true;
    free_if_over(l);
}

void skep_lookup_make_ready(struct skep_dht_lookup *l, struct skep_dht_lookup_key *key)
{
    if (key->queued || key->finished)
        return;
    key->queued = true;
    l->ready[l->ready_count++] = (uint32_t)(key - l->keys);
}

/* ---- who is ready ---- */

static void finish(struct skep_dht_lookup *l, struct skep_dht_lookup_key *key)
{
    if (key->finished)
        return;
    key->finished = true;
    l->unfinished--;
    l->cost.rounds = SKEP_MAX(l->cost.rounds, key->rounds);
    skep_lookup_learn_size(l, key);
    if (l->on_key)
        l->on_key(l, key);
}

/* Look at every ready key once. @return how many stay for want of workers. */
static uint32_t plan_ready(struct skep_dht_lookup *l)
{
    uint32_t kept = 0, count = l->ready_count;

    for (uint32_t i = 0; i < count; i++) {
        uint32_t index = l->ready[i];
        struct skep_dht_lookup_key *key = &l->keys[index];

        if (!key->finished && !skep_lookup_plan_key(l, key)) {
            l->ready[kept++] = index;
            continue;
        }
        key->queued = false;
        if (!key->finished && !l->starting && skep_lookup_is_decided(l, key))
            finish(l, key);
        else if (!key->finished && l->starting && key->in_flight == 0)
            key->queued = true; /* decided at once; told on the next turn */
        if (key->queued)
            l->ready[kept++] = index;
    }
    /* What on_key may do to this lookup is drop keys, never make one ready. */
    assert(l->ready_count == count);
    l->ready_count = kept;
    return kept;
}

/* ---- asking ---- */

static void on_found(struct skep_dht_request *request, int rc, skep_bytes reply);
static void on_patience(struct skep_timer *timer);

static size_t chunk_of(const struct skep_dht_lookup *l)
{
    size_t fit = ANSWER_BYTES_AIM / SKEP_MAX(l->dht->key_bytes, 1);

    return SKEP_MAX(SKEP_MIN(SKEP_MIN(l->chunk, fit), (size_t)SKEP_DHT_FIND_KEYS_MAX), 1);
}

static void encode_find(struct skep_dht_lookup *l, const struct find *f, struct skep_buf *out)
{
    struct skep_dht_id *ids = NULL;

    skep_buf_clear(out);
    if (l->terse)
        skep_pb_put_varint(out, SKEP_DHT_FIND_TERSE_FIELD, 1);
    for (uint32_t i = 0; i < f->count; i++)
        skep_pb_put_bytes(out, 2, skep_bytes_of(l->keys[f->keys[i]].id.bytes, SKEP_DHT_ID_LEN));
    skep_dht_find_request_encode(out, l->dht->told_id, ids, 0); /* the sender */
}

/* The clock of a request runs from when it left, not from when it got in line: else a full line would make itself longer. */
static void on_sent(struct skep_dht_request *request)
{
    struct find *f = SKEP_CONTAINER_OF(request, struct find, request);
    struct skep_dht *dht = f->lookup->dht;

    f->sent_us = skep_env_now_us(dht->env);
    /* Without memory for the timer it is just never late. */
    (void)skep_env_after(dht->env, &f->patience,
                         skep_patience_overdue_us(&dht->patience, f->rtt_us, f->count));
}

static int send_find(struct skep_dht_lookup *l, struct find *f)
{
    struct skep_dht *dht = l->dht;
    struct skep_dht_lookup_node *node = &l->nodes[f->node];
    int rc;

    encode_find(l, f, &dht->message);
    if ((rc = dht->message.rc) < 0)
        return rc;
    if (!node->asked && node->via != SKEP_DHT_NO_NODE)
        skep_rpc_hint(dht->rpc, &node->peer, &l->nodes[node->via].peer);
    node->asked = true;
    f->request.done = on_found;
    f->request.sent = on_sent;
    f->patience.fire = on_patience;
    f->rtt_us = skep_dht_rtt_us(dht, &node->peer); /* before it pays for a handshake */
    rc = skep_dht_request_start(dht, &f->request, &node->peer, SKEP_DHT_RPC_FIND,
                                skep_buf_view(&dht->message));
    if (rc < 0)
        return rc;
    l->cost.calls++;
    if (!f->is_hedge)
        skep_patience_earn(&dht->patience);
    if (!skep_dht_request_waits(&f->request))
        on_sent(&f->request);
    return 0;
}

/* A request is no longer in flight for a key, whichever way it ended. */
static void land(const struct find *f, struct skep_dht_lookup_key *key)
{
    if (f->late)
        key->late--;
    else
        key->in_flight--;
    if (f->overdue && !f->late)
        key->overdue--;
    key->rounds = SKEP_MAX(key->rounds, f->round);
}

/* A node did not answer: out of the beams of the keys it was asked for, which look further. */
static void lose_node(struct skep_dht_lookup *l, const struct find *f)
{
    l->nodes[f->node].failed = true;
    if (f->count > CHUNK_SAFE)
        l->chunk = CHUNK_SAFE;
    for (uint32_t i = 0; i < f->count; i++) {
        struct skep_dht_lookup_key *key = &l->keys[f->keys[i]];
        struct skep_dht_candidate *candidate = skep_beam_find(key, f->node);

        land(f, key);
        key->eager = true;
        if (candidate)
            skep_beam_remove(l, key, candidate);
        skep_lookup_make_ready(l, key);
    }
}

/* Start one request for the first `count` keys of a node's plan. @return what is left of it. */
static uint32_t ask_some(struct skep_dht_lookup *l, uint32_t node, uint32_t head, uint32_t count,
                         bool is_hedge)
{
    struct find *f = skep_mem_alloc(l->dht->mem, sizeof *f + count * sizeof f->keys[0]);
    uint16_t rounds = 0;

    if (f)
        memset(f, 0, sizeof *f);
    for (uint32_t i = 0; i < count; i++, head = l->plan[head - 1].next) {
        struct skep_dht_lookup_key *key = &l->keys[l->plan[head - 1].key];

        rounds = SKEP_MAX(rounds, key->rounds);
        if (f) {
            f->keys[i] = l->plan[head - 1].key;
            continue;
        }
        l->nodes[node].failed = true;
        l->again = true;
        key->in_flight--;
        key->eager = true;
        skep_beam_remove(l, key, skep_beam_find(key, node));
        skep_lookup_make_ready(l, key);
    }
    if (!f)
        return head;
    f->lookup = l;
    f->node = node;
    f->count = count;
    f->is_hedge = is_hedge;
    f->round = (uint16_t)(rounds + 1);
    skep_list_push_back(&l->finds, &f->entry);
    l->find_count++;
    if (send_find(l, f) < 0) {
        l->again = true;
        lose_node(l, f);
        free_find(f);
    }
    return head;
}

static void ask_planned(struct skep_dht_lookup *l, bool are_hedges)
{
    size_t chunk = chunk_of(l);

    for (uint32_t t = 0; t < l->touched_count; t++) {
        struct skep_dht_lookup_node *node = &l->nodes[l->touched[t]];
        uint32_t head = node->plan_head, left = node->plan_count;

        node->plan_head = 0;
        node->plan_count = 0;
        while (left > 0) {
            uint32_t count = (uint32_t)SKEP_MIN(chunk, left);

            head = ask_some(l, l->touched[t], head, count, are_hedges);
            left -= count;
        }
    }
    l->touched_count = 0;
    l->plan_count = 0;
}

static void advance(struct skep_dht_lookup *l)
{
    l->busy++;
    do {
        l->again = false;
        plan_ready(l);
        ask_planned(l, false);
    } while (l->again &&
             !l->starting); /* some could not even be sent: their keys have one node less to ask */
    if (l->on_turn && !l->starting)
        l->on_turn(l);
    l->busy--;
    free_if_over(l);
}

/* ---- the slow ---- */

/* Slower than its like mostly are: its keys are asked of the next likely holder as well, and who has heard enough waits no longer. */
static void become_overdue(struct find *f)
{
    struct skep_dht_lookup *l = f->lookup;
    struct skep_dht *dht = l->dht;
    uint64_t late_us = skep_patience_late_us(&dht->patience, f->rtt_us, f->count),
             waited_us = skep_env_now_us(dht->env) - f->sent_us;

    /* A store goes to whom it finds: it gives first contacts the time that they take. */
    if (!l->want_values && f->rtt_us == 0)
        late_us = SKEP_MAX(late_us, FIRST_CONTACT_US);
    f->overdue = true;
    for (uint32_t i = 0; i < f->count; i++) {
        struct skep_dht_lookup_key *key = &l->keys[f->keys[i]];
        struct skep_dht_candidate *candidate = skep_beam_find(key, f->node);

        key->overdue++;
        if (candidate)
            candidate->state = SKEP_DHT_CAND_OVERDUE;
        skep_lookup_make_ready(l, key);
    }
    (void)skep_env_after(dht->env, &f->patience, late_us > waited_us ? late_us - waited_us : 0);
    if (dht->patience.earned_micro == 0)
        return;
    skep_lookup_plan_hedges(l, f->keys, f->count, chunk_of(l));
    ask_planned(l, true);
}

static void become_late(struct find *f)
{
    struct skep_dht_lookup *l = f->lookup;

    l->dht->stats.late++;
    skep_blacklist_doubt(&l->dht->blacklist, &f->request.peer, skep_env_now_us(l->dht->env));
    l->nodes[f->node].wait_us = 0;
    for (uint32_t i = 0; i < f->count; i++) {
        struct skep_dht_lookup_key *key = &l->keys[f->keys[i]];
        struct skep_dht_candidate *candidate = skep_beam_find(key, f->node);

        land(f, key);
        key->late++;
        key->eager = true;
        if (candidate)
            candidate->state = SKEP_DHT_CAND_LATE;
        skep_lookup_make_ready(l, key);
    }
    f->late = true;
}

static void on_patience(struct skep_timer *timer)
{
    struct find *f = SKEP_CONTAINER_OF(timer, struct find, patience);
    struct skep_dht_lookup *l = f->lookup;

    l->busy++;
    if (f->overdue)
        become_late(f);
    else
        become_overdue(f);
    l->busy--;
    advance(l);
}

/* ---- answers ---- */

/* One key's part of an answer. cut: there may have been no room for it, so that "not found" means nothing. */
static void take_result(struct skep_dht_lookup *l, const struct find *f,
                        struct skep_dht_lookup_key *key, const struct skep_dht_find_result *result,
                        bool cut)
{
    struct skep_dht_candidate *candidate = skep_beam_find(key, f->node);
    bool found = l->want_values && result->type != SKEP_DHT_NOT_FOUND;

    land(f, key);
    if (candidate)
        candidate->state = cut && !found ? SKEP_DHT_CAND_NEW : SKEP_DHT_CAND_ANSWERED;
    key->answers++;
    key->eager = true;
    if (found && l->on_found(l, key, f->node, result)) {
        finish(l, key);
        return;
    }
    if (key->finished)
        return;
    if (skep_names_heard(l, f->node) && !skep_beam_merge(l, key, f->node, result))
        key->wide = true;
    skep_lookup_make_ready(l, key);
}

static void take_answer(struct skep_dht_lookup *l, const struct find *f,
                        struct skep_dht_find_response *response, size_t len)
{
    struct skep_dht *dht = l->dht;
    bool cut = f->count > 1 && len > ANSWER_BYTES_CUT;
    size_t each = len / f->count;
    skep_bytes bytes;

    dht->key_bytes = each > dht->key_bytes ? each : (dht->key_bytes * 7 + each) / 8;
    if (cut)
        l->chunk = SKEP_MAX(f->count / 4, 1);
    for (uint32_t i = 0; i < f->count && skep_dht_next_bytes(&response->results, &bytes); i++) {
        struct skep_dht_find_result result;

        if (skep_dht_find_result_decode(&result, bytes) < 0) {
            dht->stats.bad_messages++;
            memset(&result, 0, sizeof result);
        }
        take_result(l, f, &l->keys[f->keys[i]], &result, cut);
    }
}

/* The peer is there but is not the node it was said to be: that one is forgotten, and the real one may be near as well. Who tells no id is no node:
 * else one peer under twenty made-up ids would be all of a key's neighbourhood. */
static void correct_node(struct skep_dht_lookup *l, const struct find *f,
                         const struct skep_dht_id *real)
{
    struct skep_peer_id peer = l->nodes[f->node].peer;
    uint32_t via = l->nodes[f->node].via;

    l->nodes[f->node].failed = true;
    skep_names_wrong(l, f->node, real);
    for (uint32_t i = 0; i < f->count; i++) {
        struct skep_dht_lookup_key *key = &l->keys[f->keys[i]];
        struct skep_dht_candidate *candidate = skep_beam_find(key, f->node);

        if (candidate && !key->finished)
            skep_beam_remove(l, key, candidate);
        if (!key->finished && real && !skep_dht_id_equal(real, &l->dht->node_id))
            skep_beam_add(l, key, real, &peer, via);
        if (!key->finished)
            skep_beam_refill(l, key);
        skep_lookup_make_ready(l, key);
    }
}

static void on_found(struct skep_dht_request *request, int rc, skep_bytes reply)
{
    struct find *f = SKEP_CONTAINER_OF(request, struct find, request);
    struct skep_dht_lookup *l = f->lookup;
    struct skep_dht *dht = l->dht;
    struct skep_dht_find_response response = {.auth = {0}};
    bool is_it;

    l->busy++;
    if (rc == 0) {
        rc = skep_dht_find_response_decode(&response, reply);
        if (rc == 0 && response.results.left != f->count)
            rc = SKEP_EPEER_PROTO;
        dht->stats.bad_messages += rc < 0;
    }
    if (rc < 0) {
        if (skep_dht_fault_is_theirs(rc)) {
            (void)skep_blacklist_fail(&dht->blacklist, &request->peer, skep_env_now_us(dht->env));
            skep_blacklist_set_gone(&dht->blacklist, &request->peer,
                                    rc == SKEP_EREFUSED || rc == SKEP_EUNREACH);
        }
        skep_dht_failed(dht, &request->peer, rc);
        lose_node(l, f);
    } else {
        skep_blacklist_succeed(&dht->blacklist, &request->peer);
        if (f->rtt_us == 0)
            skep_patience_learn(&dht->patience, skep_env_now_us(dht->env) - f->sent_us);
        else
            skep_patience_learn_slowness(&dht->patience, f->rtt_us,
                                         skep_env_now_us(dht->env) - f->sent_us);
        l->nodes[f->node].wait_us = 0; /* look again: more is known of it now */
        is_it =
            response.sender.has_id && skep_dht_id_equal(&response.sender.id, &l->nodes[f->node].id);
        if (response.sender.has_id && skep_names_introduced(l, f->node, is_it))
            skep_dht_met(dht, &response.sender.id, &request->peer);
        take_answer(l, f, &response, reply.len);
        if (!is_it)
            correct_node(l, f, response.sender.has_id ? &response.sender.id : NULL);
    }
    free_find(f);
    l->busy--;
    advance(l);
}

/* ---- the start ---- */

int skep_dht_lookup_start(struct skep_dht_lookup *l)
{
    int rc = 0;

    skep_list_push_back(&l->dht->lookups, &l->entry);
    l->unfinished = l->key_count;
    l->starting = true;
    l->swarm_size = skep_dht_swarm_size(l->dht);
    l->whole = (double)l->dht->table.node_count >= WHOLE_SHARE * (l->swarm_size - 1);
    for (uint32_t i = 0; i < l->key_count && rc == 0; i++)
        rc = skep_beam_seed(l, &l->keys[i]);
    if (rc == 0 && l->want_values)
        skep_cover_keys(l);
    else if (rc == 0 && !l->want_values && l->dht->table.node_count < l->beam)
        for (uint32_t i = 0; i < l->key_count; i++)
            l->keys[i].wide = true; /* a swarm smaller than one bucket: all at once */
    for (uint32_t i = 0; i < l->key_count; i++)
        if (l->keys[i].asks == 0)
            skep_lookup_make_ready(l, &l->keys[i]);
    if (rc == 0)
        advance(l);
    l->cost.keys = l->key_count;
    /* Keys with nobody to ask are told on the next turn. */
    if (rc == 0 && l->ready_count > 0)
        rc = skep_env_after(l->dht->env, &l->kick, 0);
    l->starting = false;
    if (rc < 0)
        skep_dht_lookup_free(l);
    return rc;
}
