/* SPDX-License-Identifier: MIT */
/* One connection's bytes: a link upgraded to a muxed session, then carried. Spec: libp2p connections, "Connection upgrade";
 * docs/wire.md a.1, a.2.
 *
 * SECURITY --multistream agrees on /noise--> SHAKING --done, early muxer--> the connection is open
 *                                               \--done, no early muxer--> MUXER --multistream agrees on yamux--> open
 *
 * All connections of a host share one buffer for what was just read and one for what is about to be written: frames are opened and
 * sealed in place there, and an idle connection holds neither. What remains of a read, the start of a frame, waits in conn->rest. */
#include "host/host_impl.h"

enum upgrade_step { STEP_SECURITY, STEP_SHAKING, STEP_MUXER };

struct skep_upgrade {
    enum upgrade_step step;
    struct skep_multistream select;
    struct skep_buf out; /* ready for the link */
    uint64_t asked_us;   /* when the initiator sent its first message */
};

static const char *const security_protocols[] = {"/noise"};
static const char *const muxer_protocols[] = {"/yamux/1.0.0"};

static const char *lookup_security(void *user, skep_bytes protocol)
{
    (void)user;
    return skep_bytes_equal(protocol, skep_bytes_str(security_protocols[0])) ? security_protocols[0]
                                                                             : NULL;
}

static const char *lookup_muxer(void *user, skep_bytes protocol)
{
    (void)user;
    return skep_bytes_equal(protocol, skep_bytes_str(muxer_protocols[0])) ? muxer_protocols[0]
                                                                          : NULL;
}

int skep_upgrade_start(struct skep_conn *conn, const struct skep_peer_id *expected)
{
    struct skep_host *host = conn->host;
    struct skep_upgrade *upgrade = skep_mem_zalloc(host->env->mem, 1, sizeof *upgrade);
    int rc;

    if (!upgrade)
        return SKEP_ENOMEM;
    conn->upgrade = upgrade;
    conn->state = CONN_UPGRADING;
    skep_buf_init(&upgrade->out, host->env->mem);
    rc = skep_noise_new(&conn->noise, host->env, host->options.identity, conn->is_dialer, expected);
    if (rc < 0)
        return rc;
    if (conn->is_dialer) {
        skep_bytes none = {NULL, 0};

        skep_multistream_dial(&upgrade->select, host->env->mem, security_protocols, 1,
                              &upgrade->out);
        /* We have but one proposal, so the first message of the handshake may go along with it: it saves a round trip. */
        if ((rc = skep_noise_handshake(conn->noise, &none, &upgrade->out)) < 0)
            return rc;
        upgrade->asked_us = skep_env_now_us(host->env);
    } else {
        skep_multistream_listen(&upgrade->select, host->env->mem, lookup_security, NULL, true,
                                &upgrade->out);
    }
    if (upgrade->out.rc < 0)
        return upgrade->out.rc;
    skep_conn_want_flush(conn);
    return 0;
}

void skep_upgrade_free(struct skep_conn *conn)
{
    if (!conn->upgrade)
        return;
    skep_multistream_fini(&conn->upgrade->select);
    skep_buf_fini(&conn->upgrade->out);
    skep_mem_free(conn->host->env->mem, conn->upgrade);
    conn->upgrade = NULL;
}

/* ---- upgrading ---- */

/** Seal what was appended to out since `from` as one frame, where it is. */
static int seal_tail(struct skep_conn *conn, struct skep_buf *out, size_t from)
{
    size_t len = out->len - from;
    ptrdiff_t sealed;

    if (len == 0 || out->rc < 0)
        return out->rc;
    if (!skep_buf_reserve(out, SKEP_NOISE_OVERHEAD))
        return SKEP_ENOMEM;
    memmove(out->data + from + SKEP_NOISE_LENGTH_LEN, out->data + from, len);
    sealed = skep_noise_seal(conn->noise, out->data + from, len);
    if (sealed < 0)
        return (int)sealed;
    out->len = from + (size_t)sealed;
    return 0;
}

static int start_muxer(struct skep_conn *conn)
{
    struct skep_upgrade *upgrade = conn->upgrade;
    size_t from = upgrade->out.len;

    if (skep_noise_muxer(conn->noise)) {
        skep_conn_opened(conn);
        return 0;
    }
    skep_multistream_fini(&upgrade->select);
    upgrade->step = STEP_MUXER;
    if (conn->is_dialer)
        skep_multistream_dial(&upgrade->select, conn->host->env->mem, muxer_protocols, 1,
                              &upgrade->out);
    else
        skep_multistream_listen(&upgrade->select, conn->host->env->mem, lookup_muxer, NULL, true,
                                &upgrade->out);
    return seal_tail(conn, &upgrade->out, from);
}

/** In the clear: multistream, then the handshake. @return 0 or the error that ends the connection. */
static int on_clear(struct skep_conn *conn, skep_bytes *in)
{
    struct skep_upgrade *upgrade = conn->upgrade;
    int rc;

    if (upgrade->step == STEP_SECURITY) {
        rc = skep_multistream_next(&upgrade->select, in, &upgrade->out);
        if (rc <= 0)
            return rc;
        upgrade->step = STEP_SHAKING;
    }
    if (in->len == 0)
        return 0;
    if (upgrade->asked_us != 0) {
        conn->handshake_rtt_us = SKEP_MAX(skep_env_now_us(conn->host->env) - upgrade->asked_us, 1);
        upgrade->asked_us = 0;
    }
    rc = skep_noise_handshake(conn->noise, in, &upgrade->out);
    return rc == 1 ? start_muxer(conn) : rc;
}

/** Inside the cipher, before the muxer: whatever follows the negotiation is the muxer's. */
static int on_muxer_select(struct skep_conn *conn, skep_bytes plaintext)
{
    struct skep_upgrade *upgrade = conn->upgrade;
    size_t from = upgrade->out.len;
    int rc = skep_multistream_next(&upgrade->select, &plaintext, &upgrade->out);
    int sealed = rc >= 0 ? seal_tail(conn, &upgrade->out, from) : 0;

    if (rc < 0 || sealed < 0)
        return rc < 0 ? rc : sealed;
    if (rc == 0)
        return 0;
    skep_conn_opened(conn);
    if (conn->doomed || plaintext.len == 0)
        return 0;
    return skep_yamux_receive(conn->mux, plaintext, skep_env_now_us(conn->host->env));
}

/* ---- receiving ---- */

/** Whole frames of data[*used..len), in place. */
static int on_frames(struct skep_conn *conn, uint8_t *data, size_t len, size_t *used)
{
    uint64_t now_us = skep_env_now_us(conn->host->env);

    while (*used < len && !conn->doomed) {
        skep_bytes plaintext;
        ptrdiff_t taken = skep_noise_open(conn->noise, data + *used, len - *used, &plaintext);
        int rc;

        if (taken <= 0)
            return (int)taken;
        *used += (size_t)taken;
        if (plaintext.len == 0)
            continue;
        rc = conn->state == CONN_OPEN ? skep_yamux_receive(conn->mux, plaintext, now_us)
                                      : on_muxer_select(conn, plaintext);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int on_bytes(struct skep_conn *conn, uint8_t *data, size_t len, size_t *used)
{
    while (conn->state == CONN_UPGRADING && conn->upgrade->step != STEP_MUXER && *used < len) {
        skep_bytes in = {data + *used, len - *used};
        int rc = on_clear(conn, &in);
        size_t left = in.len;

        if (rc < 0 || conn->doomed)
            return rc;
        if (left == len - *used)
            return 0; /* not a whole message yet */
        *used = len - left;
    }
    return on_frames(conn, data, len, used);
}

static int keep_rest(struct skep_conn *conn, const uint8_t *data, size_t len)
{
    if (len == 0)
        return 0;
    if (len >= SKEP_HOST_FRAME_BYTES)
        return SKEP_EPEER_LIMIT;
    conn->rest = skep_mem_dup(conn->host->env->mem, data, len);
    conn->rest_len = conn->rest ? len : 0;
    return conn->rest ? 0 : SKEP_ENOMEM;
}

static uint8_t *on_room(struct skep_link *link, void *user, size_t *len)
{
    struct skep_conn *conn = user;

    (void)link;
    skep_bytes_copy(conn->host->receive, skep_bytes_of(conn->rest, conn->rest_len));
    *len = SKEP_HOST_READ_BYTES;
    return conn->host->receive + conn->rest_len;
}

static void on_data(struct skep_link *link, void *user, size_t len)
{
    struct skep_conn *conn = user;
    struct skep_host *host = conn->host;
    size_t total = conn->rest_len + len, used = 0;
    int rc;

    (void)link;
    host->stats.bytes_in += len;
    skep_mem_free(host->env->mem, conn->rest);
    conn->rest = NULL;
    conn->rest_len = 0;
    conn->handling = true;
    rc = on_bytes(conn, host->receive, total, &used);
    conn->handling = false;
    if (rc == 0 && !conn->doomed)
        rc = keep_rest(conn, host->receive + used, total - used);
    skep_conn_flush(conn); /* also when it fails: the go-away says why */
    if (rc < 0 || conn->doomed)
        skep_conn_end(conn, rc < 0 ? rc : conn->doom_rc);
}

/* ---- sending ---- */

void skep_conn_want_flush(struct skep_conn *conn)
{
    struct skep_host *host = conn->host;

    if (conn->handling || conn->blocked || conn->state == CONN_ENDED ||
        conn->flush_entry.next != &conn->flush_entry)
        return;
    if (skep_list_empty(&host->flushes) || !skep_timer_running(&host->flush_timer))
        (void)skep_env_after(host->env, &host->flush_timer, 0);
    skep_list_push_back(&host->flushes, &conn->flush_entry);
}

static bool send_bytes(struct skep_conn *conn, skep_bytes bytes)
{
    int rc = skep_link_write(conn->link, bytes);

    conn->host->stats.bytes_out += rc >= 0 ? bytes.len : 0;
    conn->blocked = rc != 1; /* on an error on_closed follows */
    return rc == 1;
}

/** Fill the shared buffer with sealed frames. @return its length; 0: nothing to send; an error. */
static ptrdiff_t fill_frames(struct skep_conn *conn)
{
    uint8_t *send = conn->host->send;
    size_t len = 0;

    while (len + SKEP_HOST_FRAME_BYTES <= SKEP_HOST_SEND_BYTES) {
        size_t plain = skep_yamux_pull(conn->mux, send + len + SKEP_NOISE_LENGTH_LEN,
                                       SKEP_NOISE_PLAINTEXT_MAX);
        ptrdiff_t sealed;

        if (plain == 0)
            break;
        sealed = skep_noise_seal(conn->noise, send + len, plain);
        if (sealed < 0)
            return sealed;
        len += (size_t)sealed;
    }
    return (ptrdiff_t)len;
}

void skep_conn_flush(struct skep_conn *conn)
{
    size_t sent = 0;

    skep_list_remove(&conn->flush_entry);
    if (conn->blocked || conn->state == CONN_ENDED || conn->state == CONN_CONNECTING)
        return;
    if (conn->upgrade && conn->upgrade->out.len > 0) {
        bool all = send_bytes(conn, skep_buf_view(&conn->upgrade->out));

        skep_buf_clear(&conn->upgrade->out);
        if (!all)
            return;
    }
    if (conn->state != CONN_OPEN)
        return;
    skep_upgrade_free(conn);
    if (conn == conn->peer->best)
        skep_stream_attach_waiting(conn->peer); /* acknowledgements may have come */
    while (sent < SKEP_HOST_FLUSH_BYTES) {
        ptrdiff_t len = fill_frames(conn);

        if (len < 0)
            skep_conn_doom(conn, (int)len);
        if (len == 0)
            skep_conn_deadline_came_nearer(conn);
        if (len <= 0)
            return;
        sent += (size_t)len;
        if (!send_bytes(conn, skep_bytes_of(conn->host->send, (size_t)len)))
            return;
    }
    skep_conn_want_flush(conn);
}

/** The end of a turn: everything that was written in it leaves, one write a connection; the doomed end here. */
void skep_host_flush_fire(struct skep_timer *timer)
{
    struct skep_host *host = SKEP_CONTAINER_OF(timer, struct skep_host, flush_timer);
    struct skep_list now;

    skep_list_init(&now);
    while (!skep_list_empty(&host->flushes)) {
        struct skep_list *entry = host->flushes.next;

        skep_list_remove(entry);
        skep_list_push_back(&now, entry);
    }
    while (!skep_list_empty(&now)) {
        struct skep_conn *conn = SKEP_LIST_ITEM(now.next, struct skep_conn, flush_entry);

        skep_conn_flush(conn);
        if (conn->doomed)
            skep_conn_end(conn, conn->doom_rc);
    }
}

static void on_drained(struct skep_link *link, void *user)
{
    struct skep_conn *conn = user;

    (void)link;
    conn->blocked = false;
    skep_conn_flush(conn);
    if (conn->doomed)
        skep_conn_end(conn, conn->doom_rc);
}

static void on_connected(struct skep_link *link, void *user);

static void on_closed(struct skep_link *link, void *user, int rc)
{
    struct skep_conn *conn = user;

    (void)link;
    conn->link = NULL;
    skep_conn_end(conn, rc == 0 ? SKEP_ELOST : rc);
}

const struct skep_link_events skep_conn_link_events = {on_connected, on_room, on_data, on_drained,
                                                       on_closed};

static void on_connected(struct skep_link *link, void *user)
{
    struct skep_conn *conn = user;
    struct skep_dial *dial = conn->dial;
    const struct skep_peer_id *expected = dial && dial->peer ? &dial->peer->id : NULL;
    int rc;

    (void)link;
    rc = skep_upgrade_start(conn, expected);
    if (rc < 0) {
        skep_conn_end(conn, rc);
        return;
    }
    skep_conn_flush(conn);
}
