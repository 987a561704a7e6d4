/* SPDX-License-Identifier: MIT */
/* The lives of connections: limits on accepting, one a peer, idle close.
 *
 * CONNECTING --link is up--> UPGRADING --muxed--> OPEN --error, idle, doomed--> ENDED, and freed
 *
 * Which of two connections to one peer is kept must be the same at both ends, without a word between them: those that the peer with the
 * smaller id dialled beat the others. Among equals the dialler decides: it keeps its oldest and closes the rest; the listener follows
 * with its newest. Streams on a surplus connection end there in peace: it is closed once it has had none for a while. */
#include "host/host_impl.h"

/* ---- which one is kept ---- */

static bool smaller_id_dialled(const struct skep_conn *conn)
{
    skep_bytes self = skep_peer_id_view(&conn->host->options.identity->id);
    bool we_are_smaller = skep_bytes_compare(self, skep_peer_id_view(&conn->peer->id)) < 0;

    return conn->is_dialer == we_are_smaller;
}

static bool is_better(const struct skep_conn *a, const struct skep_conn *b)
{
    bool a_leaves = a->doomed || skep_yamux_going_away(a->mux),
         b_leaves = b->doomed || skep_yamux_going_away(b->mux);

    if (a_leaves != b_leaves)
        return b_leaves;
    if (a->is_dialer != b->is_dialer)
        return smaller_id_dialled(a);
    return a->is_dialer ? a->opened_order < b->opened_order : a->opened_order > b->opened_order;
}

static void arm(struct skep_conn *conn);

static void choose_best(struct skep_host_peer *peer)
{
    struct skep_conn *best = NULL;

    SKEP_LIST_EACH(&peer->conns, node, after)
    {
        struct skep_conn *conn = SKEP_LIST_ITEM(node, struct skep_conn, peer_entry);

        if (!best || is_better(conn, best))
            best = conn;
    }
    peer->best = best;
    SKEP_LIST_EACH(&peer->conns, node, after)
    {
        struct skep_conn *conn = SKEP_LIST_ITEM(node, struct skep_conn, peer_entry);

        assert(best);
        /* Of two that the peer dialled it is the peer's to close one. */
        conn->surplus = conn != best && (conn->is_dialer || best->is_dialer);
        if (conn->surplus)
            arm(conn);
    }
}

/* ---- time ---- */

static uint64_t idle_deadline_us(const struct skep_conn *conn)
{
    if (conn->stream_count > 0)
        return SKEP_NEVER_US;
    return conn->idle_since_us +
           (conn->surplus ? SKEP_CONNECTION_LINGER_US : conn->host->options.idle_us);
}

/* Deadlines that traffic moves out are not moved here: the timer finds out when it fires. */
static void arm(struct skep_conn *conn)
{
    uint64_t at_us = SKEP_MIN(idle_deadline_us(conn), skep_yamux_deadline_us(conn->mux));

    if (at_us == SKEP_NEVER_US)
        skep_env_stop(conn->host->env, &conn->timer);
    else
        (void)skep_timer_start(conn->host->env->timers, &conn->timer, at_us);
}

void skep_conn_deadline_came_nearer(struct skep_conn *conn)
{
    if (skep_yamux_deadline_us(conn->mux) < conn->timer.deadline_us)
        arm(conn);
}

static void on_time(struct skep_timer *timer)
{
    struct skep_conn *conn = SKEP_CONTAINER_OF(timer, struct skep_conn, timer);
    uint64_t now_us = skep_env_now_us(conn->host->env);
    int rc;

    if (conn->state != CONN_OPEN) {
        skep_conn_end(conn, SKEP_ETIMEDOUT);
        return;
    }
    if (idle_deadline_us(conn) <= now_us) {
        skep_conn_end(conn, 0);
        return;
    }
    rc = skep_yamux_on_time(conn->mux, now_us);
    if (rc < 0) {
        skep_conn_end(conn, rc);
        return;
    }
    arm(conn);
}

void skep_conn_stream_ended(struct skep_conn *conn)
{
    conn->stream_count--;
    conn->idle_since_us = skep_env_now_us(conn->host->env);
    if (conn->state == CONN_OPEN && idle_deadline_us(conn) < conn->timer.deadline_us)
        arm(conn);
}

/* ---- beginning ---- */

static struct skep_conn *conn_new(struct skep_host *host, bool is_dialer, uint64_t timeout_us)
{
    struct skep_conn *conn = skep_mem_zalloc(host->env->mem, 1, sizeof *conn);

    if (!conn)
        return NULL;
    conn->host = host;
    conn->is_dialer = is_dialer;
    conn->started_us = skep_env_now_us(host->env);
    conn->timer.fire = on_time;
    if (skep_env_after(host->env, &conn->timer, timeout_us) < 0) {
        skep_mem_free(host->env->mem, conn);
        return NULL;
    }
    skep_list_init(&conn->peer_entry);
    skep_list_init(&conn->flush_entry);
    skep_list_init(&conn->dial_entry);
    skep_list_push_back(&host->conns, &conn->entry);
    host->conn_count++;
    return conn;
}

/** Is there a place for one more connection? All taken, the one that has been idle for longest gives its own up, but none that was
 *  used a moment ago: strangers who come and go must not push out those we talk to. */
static bool make_room(struct skep_host *host)
{
    struct skep_conn *idlest = NULL;

    if (host->conn_count < host->options.connections_max)
        return true;
    SKEP_LIST_EACH(&host->conns, node, after)
    {
        struct skep_conn *conn = SKEP_LIST_ITEM(node, struct skep_conn, entry);

        if (conn->state == CONN_OPEN && conn->stream_count == 0 && !conn->handling &&
            (!idlest || conn->idle_since_us < idlest->idle_since_us))
            idlest = conn;
    }
    if (!idlest || skep_env_now_us(host->env) - idlest->idle_since_us < SKEP_CONNECTION_SPARED_US)
        return false;
    skep_conn_end(idlest, 0);
    return true;
}

int skep_conn_dial(struct skep_host *host, struct skep_conn **out, struct skep_dial *dial,
                   const struct skep_multiaddr *addr)
{
    struct skep_conn *conn;
    int rc;

    *out = NULL;
    if (!make_room(host))
        return SKEP_ELIMIT;
    conn = conn_new(host, true, SKEP_HANDSHAKE_TIMEOUT_US);
    if (!conn)
        return SKEP_ENOMEM;
    host->stats.dials++;
    rc = skep_transport_dial(host->transport, &conn->link, addr);
    if (rc < 0) {
        conn->link = NULL;
        skep_conn_end(conn, rc);
        return rc;
    }
    skep_link_use(conn->link, &skep_conn_link_events, conn);
    conn->dial = dial;
    skep_list_push_back(&dial->attempts, &conn->dial_entry);
    *out = conn;
    return 0;
}

static void address_key(uint8_t key[9], const struct skep_multiaddr *remote)
{
    memset(key, 0, 9);
    key[0] = (uint8_t)remote->kind;
    memcpy(key + 1, remote->ip, remote->kind == SKEP_ADDR_IP4 ? 4 : 8);
}

/** Count one more for the remote's address. @return NULL: at the limit, or no memory. */
static struct skep_address_use *address_take(struct skep_host *host,
                                             const struct skep_multiaddr *remote)
{
    struct skep_address_use *use = NULL;
    uint8_t key[9];

    address_key(key, remote);
    HASH_FIND(hh, host->address_uses, key, sizeof key, use);
    if (!use) {
        use = skep_mem_zalloc(host->env->mem, 1, sizeof *use);
        if (!use)
            return NULL;
        memcpy(use->key, key, sizeof key);
        HASH_ADD(hh, host->address_uses, key, sizeof use->key, use);
        if (!use->hh.tbl) {
            skep_mem_free(host->env->mem, use);
            return NULL;
        }
    }
    if (use->count >= host->options.connections_per_address_max)
        return NULL;
    use->count++;
    return use;
}

static void address_give(struct skep_host *host, struct skep_address_use *use)
{
    if (!use || --use->count > 0)
        return;
    HASH_DEL(host->address_uses, use);
    skep_mem_free(host->env->mem, use);
}

static void handshake_started(struct skep_conn *conn, struct skep_address_use *use)
{
    conn->address = use;
    use->handshakes++;
    conn->host->handshake_count++;
}

static void handshake_ended(struct skep_conn *conn)
{
    if (!conn->address) /* dialled */
        return;
    conn->address->handshakes--;
    conn->host->handshake_count--;
}

/** All places of handshakes are taken: the oldest of an address that has more than the newcomer's gives way, so that whoever connects and
 *  then says nothing keeps only itself out. */
static bool handshake_evict(struct skep_host *host, const struct skep_address_use *newcomer)
{
    SKEP_LIST_EACH(&host->conns, node, after)
    {
        struct skep_conn *conn = SKEP_LIST_ITEM(node, struct skep_conn, entry);

        if (conn->state != CONN_UPGRADING || !conn->address ||
            conn->address->handshakes <= newcomer->handshakes + 1)
            continue;
        skep_conn_end(conn, SKEP_ELIMIT);
        return true;
    }
    return false;
}

void skep_conn_accept(void *user, struct skep_link *link)
{
    struct skep_host *host = user;
    struct skep_address_use *use = !make_room(host) ? NULL : address_take(host, &link->remote);
    bool may = use && (host->handshake_count < SKEP_HANDSHAKES_MAX || handshake_evict(host, use));
    struct skep_conn *conn = may ? conn_new(host, false, SKEP_HANDSHAKE_TIMEOUT_US) : NULL;

    if (!conn) {
        address_give(host, use);
        host->stats.refused_accepts++;
        skep_link_close(link);
        return;
    }
    host->stats.accepted++;
    handshake_started(conn, use);
    conn->link = link;
    skep_link_use(link, &skep_conn_link_events, conn);
    if (skep_upgrade_start(conn, NULL) < 0)
        skep_conn_end(conn, SKEP_ENOMEM);
}

/* ---- open ---- */

/** Join the peer's connections. @return NULL where that cannot be. */
static struct skep_host_peer *join_peer(struct skep_conn *conn, const struct skep_peer_id *id)
{
    struct skep_host_peer *peer = skep_host_peer_get(conn->host, id);
    int rc;

    if (!peer)
        return NULL;
    rc = skep_yamux_new(&conn->mux, conn->host->env->mem, conn->is_dialer, &skep_conn_mux_events,
                        conn);
    if (rc < 0) {
        skep_host_peer_put(conn->host, peer);
        return NULL;
    }
    skep_yamux_share_queued(conn->mux, &conn->host->queued);
    conn->peer = peer;
    conn->opened_order = ++conn->host->conns_opened;
    skep_list_push_back(&peer->conns, &conn->peer_entry);
    return peer;
}

void skep_conn_opened(struct skep_conn *conn)
{
    struct skep_host *host = conn->host;
    struct skep_host_peer *peer;
    bool is_first;

    if (skep_peer_id_equal(skep_noise_peer(conn->noise), &host->options.identity->id)) {
        skep_conn_doom(conn, SKEP_ESELF);
        return;
    }
    peer = join_peer(conn, skep_noise_peer(conn->noise));
    if (!peer) {
        skep_conn_doom(conn, SKEP_ENOMEM);
        return;
    }
    handshake_ended(conn);
    conn->state = CONN_OPEN;
    conn->idle_since_us = skep_env_now_us(host->env);
    is_first = !peer->best;
    peer->holds++;
    if (conn->is_dialer)
        (void)skep_address_book_add(host->book, &peer->id, &conn->link->remote,
                                    conn->idle_since_us + SKEP_ADDRESS_TTL_US);
    choose_best(peer);
    arm(conn);
    skep_identify_start(conn);
    if (conn->dial && !conn->dial->peer)
        skep_dial_attempt_opened(conn);
    skep_list_remove(&conn->dial_entry);
    conn->dial = NULL;
    /* Whoever dialled: we have it. An attempt of ours that is not open here is not open there either, so both ends cannot drop both. */
    if (peer->dial)
        skep_dial_abandon(peer->dial);
    skep_stream_attach_waiting(peer);
    if (is_first)
        skep_host_tell(host, &peer->id, true);
    skep_requests_connected(&peer->wanting, peer);
    peer->holds--;
}

/* ---- end ---- */

void skep_conn_doom(struct skep_conn *conn, int rc)
{
    struct skep_host *host = conn->host;

    if (conn->doomed || conn->state == CONN_ENDED)
        return;
    conn->doomed = true;
    conn->doom_rc = rc;
    if (conn->peer)
        choose_best(conn->peer);
    skep_list_remove(&conn->flush_entry);
    skep_list_push_back(&host->flushes, &conn->flush_entry);
    (void)skep_env_after(host->env, &host->flush_timer, 0);
}

static void leave_peer(struct skep_conn *conn, int rc)
{
    struct skep_host *host = conn->host;
    struct skep_host_peer *peer = conn->peer;

    peer->holds++;
    skep_list_remove(&conn->peer_entry);
    if (skep_list_empty(&peer->conns)) {
        peer->best = NULL;
        peer->identify_ended = false;
        skep_identify_info_free(host->env->mem, peer->info);
        peer->info = NULL;
    } else {
        choose_best(peer);
    }
    skep_yamux_free(conn->mux, rc == 0 ? SKEP_ELOST : rc);
    conn->mux = NULL;
    if (peer->best) {
        skep_conn_want_flush(peer->best); /* it may have places for those in line */
    } else {
        if (!peer->dial)
            skep_stream_fail_waiting(peer, rc == 0 ? SKEP_ELOST : rc);
        skep_requests_identified(peer, SKEP_ELOST);
        skep_host_tell(host, &peer->id, false);
    }
    peer->holds--;
    skep_host_peer_put(host, peer);
}

void skep_conn_end(struct skep_conn *conn, int rc)
{
    struct skep_host *host = conn->host;
    bool was_open = conn->state == CONN_OPEN;

    if (conn->state == CONN_ENDED)
        return;
    conn->state = CONN_ENDED;
    skep_env_stop(host->env, &conn->timer);
    skep_list_remove(&conn->flush_entry);
    skep_list_remove(&conn->entry);
    host->conn_count--;
    if (!was_open)
        handshake_ended(conn);
    host->stats.handshakes_failed += was_open || conn->is_dialer ? 0 : 1;
    host->stats.peer_errors += rc <= -400 ? 1 : 0;
    if (conn->link)
        skep_link_close(conn->link);
    if (conn->peer)
        leave_peer(conn, rc);
    skep_upgrade_free(conn);
    skep_noise_free(conn->noise);
    address_give(host, conn->address);
    if (conn->dial)
        skep_dial_attempt_failed(conn, rc);
    skep_mem_free(host->env->mem, conn->rest);
    skep_mem_free(host->env->mem, conn);
}

void skep_host_disconnect(struct skep_host *host, const struct skep_peer_id *id)
{
    struct skep_host_peer *peer = skep_host_peer_find(host, id);

    if (!peer)
        return;
    SKEP_LIST_EACH(&peer->conns, node, after)
    skep_conn_doom(SKEP_LIST_ITEM(node, struct skep_conn, peer_entry), SKEP_ECANCELED);
}
