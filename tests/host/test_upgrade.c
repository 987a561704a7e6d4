/* SPDX-License-Identifier: MIT */
/* A peer whose handshake names no muxer: multistream-select runs once more, inside the cipher. docs/wire.md a.2, a.1.
 * Against the exchange of a live p2pd in vectors/transport.json, by a peer made of its parts, and between two hosts. */
#include "base/limits.h"
#include "host/host_impl.h"
#include "mux/yamux_frame.h"
#include "world.h"

/* ---- what was recorded ---- */

static const json_t *recording(void)
{
    return test_get(test_vectors("transport.json"), "live_dial_no_early_muxer");
}

/** What one side said inside the cipher before the muxer, in the pieces it was sent in. @return how many. */
static size_t recorded_select(const char *direction, skep_bytes pieces[4])
{
    const json_t *item;
    size_t index, count = 0;

    json_array_foreach(test_get(recording(), "socket"), index, item)
    {
        if (strcmp(test_str(item, "kind"), "multistream in noise") != 0 ||
            strcmp(test_str(item, "dir"), direction) != 0)
            continue;
        assert_true(count < 4);
        pieces[count++] = test_unhex(test_str(item, "bytes"));
    }
    assert_true(count > 0);
    return count;
}

/** The header of the first ping, or of its answer. */
static skep_bytes recorded_ping(const char *direction)
{
    const json_t *frame;
    size_t index;

    json_array_foreach(test_get(recording(), "frames"), index,
                       frame) if (strcmp(test_str(frame, "type"), "ping") == 0 &&
                                  strcmp(test_str(frame, "dir"), direction) ==
                                      0) return test_unhex(test_str(frame, "header"));
    fail();
    return (skep_bytes){NULL, 0};
}

/* ---- a peer made of its parts, without early muxer ---- */

struct raw {
    struct world *world;
    struct skep_identity identity;
    struct skep_link *link;
    struct skep_noise *noise;
    struct skep_multistream select;
    enum { SELECTING, SHAKING, INSIDE } step;
    struct skep_buf in, out, plain; /* plain: all that came inside the cipher */
    bool is_dialer, closed;
};

static const char *const noise_protocol[] = {"/noise"};

static const char *lookup_noise(void *user, skep_bytes protocol)
{
    (void)user;
    return skep_bytes_equal(protocol, skep_bytes_str("/noise")) ? "/noise" : NULL;
}

static void flush(struct raw *raw)
{
    if (raw->out.len > 0)
        assert_int_equal(skep_link_write(raw->link, skep_buf_view(&raw->out)), 1);
    skep_buf_clear(&raw->out);
}

static void start(struct raw *raw)
{
    const struct skep_mem *mem = raw->world->env.env.mem;

    assert_int_equal(
        skep_noise_new(&raw->noise, &raw->world->env.env, &raw->identity, raw->is_dialer, NULL), 0);
    skep_noise_no_extensions(raw->noise);
    if (raw->is_dialer)
        skep_multistream_dial(&raw->select, mem, noise_protocol, 1, &raw->out);
    else
        skep_multistream_listen(&raw->select, mem, lookup_noise, NULL, true, &raw->out);
    flush(raw);
}

static void shake(struct raw *raw)
{
    skep_bytes in = skep_buf_view(&raw->in);
    int rc = skep_noise_handshake(raw->noise, &in, &raw->out);

    assert_true(rc >= 0);
    skep_buf_drop(&raw->in, raw->in.len - in.len);
    if (rc == 1)
        raw->step = INSIDE;
    flush(raw);
}

static void open_frames(struct raw *raw)
{
    skep_bytes plaintext;
    ptrdiff_t used;

    while ((used = skep_noise_open(raw->noise, raw->in.data, raw->in.len, &plaintext)) > 0) {
        skep_buf_put_bytes(&raw->plain, plaintext);
        skep_buf_drop(&raw->in, (size_t)used);
    }
    assert_int_equal(used, 0);
}

static void raw_connected(struct skep_link *link, void *user)
{
    (void)link;
    start(user);
}

static uint8_t *raw_room(struct skep_link *link, void *user, size_t *len)
{
    struct raw *raw = user;

    (void)link;
    *len = 4096;
    return skep_buf_reserve(&raw->in, *len);
}

static void raw_data(struct skep_link *link, void *user, size_t len)
{
    struct raw *raw = user;

    (void)link;
    raw->in.len += len;
    if (raw->step == SELECTING) {
        skep_bytes in = skep_buf_view(&raw->in);
        int rc = skep_multistream_next(&raw->select, &in, &raw->out);

        assert_true(rc >= 0);
        skep_buf_drop(&raw->in, raw->in.len - in.len);
        if (rc == 0) {
            flush(raw);
            return;
        }
        raw->step = SHAKING;
        if (raw->is_dialer) {
            shake(raw); /* the first message */
            return;
        }
        flush(raw);
    }
    if (raw->step == SHAKING && raw->in.len > 0)
        shake(raw);
    if (raw->step == INSIDE)
        open_frames(raw);
}

static void raw_drained(struct skep_link *link, void *user)
{
    (void)link;
    (void)user;
}

static void raw_closed(struct skep_link *link, void *user, int rc)
{
    struct raw *raw = user;

    (void)link;
    (void)rc;
    raw->link = NULL;
    raw->closed = true;
}

static const struct skep_link_events raw_events = {raw_connected, raw_room, raw_data, raw_drained,
                                                   raw_closed};

static void raw_accept(void *user, struct skep_link *link)
{
    struct raw *raw = user;

    raw->link = link;
    skep_link_use(link, &raw_events, raw);
    start(raw);
}

static void raw_init(struct raw *raw, struct world *world, bool is_dialer)
{
    uint8_t seed[32];

    memset(raw, 0, sizeof *raw);
    raw->world = world;
    raw->is_dialer = is_dialer;
    skep_prng_fill(&world->env.prng, seed, sizeof seed);
    assert_int_equal(skep_identity_from_seed(&raw->identity, world->env.env.mem, seed), 0);
    skep_buf_init(&raw->in, world->env.env.mem);
    skep_buf_init(&raw->out, world->env.env.mem);
    skep_buf_init(&raw->plain, world->env.env.mem);
}

static void raw_fini(struct raw *raw)
{
    if (raw->link)
        skep_link_close(raw->link);
    skep_noise_free(raw->noise);
    skep_multistream_fini(&raw->select);
    skep_identity_fini(&raw->identity);
    skep_buf_fini(&raw->in);
    skep_buf_fini(&raw->out);
    skep_buf_fini(&raw->plain);
}

/** One frame of the cipher. */
static void raw_send(struct raw *raw, skep_bytes data)
{
    uint8_t frame[256];
    ptrdiff_t sealed;

    assert_true(data.len + SKEP_NOISE_OVERHEAD <= sizeof frame);
    memcpy(frame + SKEP_NOISE_LENGTH_LEN, data.data, data.len);
    sealed = skep_noise_seal(raw->noise, frame, data.len);
    assert_true(sealed > 0);
    assert_int_equal(skep_link_write(raw->link, skep_bytes_of(frame, (size_t)sealed)), 1);
}

/** Take the recorded tokens off what came. */
static void assert_said(struct raw *raw, const skep_bytes *pieces, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_true(raw->plain.len >= pieces[i].len);
        assert_memory_equal(raw->plain.data, pieces[i].data, pieces[i].len);
        skep_buf_drop(&raw->plain, pieces[i].len);
    }
}

/** What came are frames of yamux, and the answer to the ping is among them. */
static void assert_muxed(const struct raw *raw)
{
    struct skep_yamux_parser parser = {0};
    struct skep_yamux_event event;
    skep_bytes in = skep_buf_view(&raw->plain), want = recorded_ping("send");
    bool answered = false;
    int rc;

    while ((rc = skep_yamux_next(&parser, &in, &event)) > 0) {
        uint8_t header[SKEP_YAMUX_HEADER_LEN];

        if (!event.is_header)
            continue;
        skep_yamux_put_header(header, event.frame.type, event.frame.flags, event.frame.stream_id,
                              event.frame.length);
        answered |= skep_bytes_equal(want, skep_bytes_of(header, sizeof header));
    }
    assert_int_equal(rc, 0);
    assert_true(answered);
}

/* ---- the tests ---- */

static void a_listener_without_early_muxer_is_asked_for_it_inside_the_cipher(void **state)
{
    const uint8_t ip[4] = {10, 9, 9, 9};
    skep_bytes said[4], heard[4];
    size_t said_count = recorded_select("send", said), heard_count = recorded_select("recv", heard);

    (void)state;
    for (size_t piece = 1; piece < 64;
         piece *= 4) { /* 1, 4 and 16 bytes, which cut tokens, a frame of the cipher */
        struct skep_listener *listener;
        struct skep_peer_info info;
        struct world world;
        struct node *a;
        struct raw raw;
        struct asked asked;
        struct skep_multiaddr addr = {.port = 4001};

        world_init(&world, piece, NULL);
        a = world_add(&world, NULL);
        raw_init(&raw, &world, false);
        memcpy(addr.ip, ip, sizeof ip);
        assert_int_equal(skep_transport_listen(skep_sim_net_transport(world.net, ip), &listener,
                                               &addr, raw_accept, &raw),
                         0);
        asked_init(&asked);
        assert_int_equal(skep_host_connect(a->host, &asked.request, &raw.identity.id, &addr, 0), 0);
        world_run(&world, 1 * SECOND);
        assert_int_equal(raw.step, INSIDE);
        assert_int_equal(asked.done, 0); /* no muxer yet */
        assert_said(&raw, said, said_count);
        assert_int_equal(raw.plain.len, 0);
        for (size_t i = 0; i < heard_count; i++)
            for (size_t at = 0; at < heard[i].len; at += piece)
                raw_send(&raw,
                         skep_bytes_of(heard[i].data + at, SKEP_MIN(piece, heard[i].len - at)));
        raw_send(&raw, recorded_ping("recv"));
        world_run(&world, 1 * SECOND);
        assert_int_equal(asked.done, 1);
        assert_int_equal(asked.rc, 0);
        assert_int_equal(skep_host_peer_info(a->host, &raw.identity.id, &info), 0);
        assert_muxed(&raw);
        raw_fini(&raw);
        skep_listener_close(listener);
        world_run(&world, 1 * SECOND);
        world_fini(&world);
    }
}

static void dial(struct raw *raw, struct world *world, const struct node *to)
{
    const uint8_t ip[4] = {10, 9, 9, 9};

    raw_init(raw, world, true);
    assert_int_equal(
        skep_transport_dial(skep_sim_net_transport(world->net, ip), &raw->link, &to->addr), 0);
    skep_link_use(raw->link, &raw_events, raw);
    world_run(world, 1 * SECOND);
    assert_int_equal(raw->step, INSIDE);
}

static void a_dialler_without_early_muxer_is_answered_as_p2pd_answers(void **state)
{
    skep_bytes said[4], heard[4];
    size_t said_count = recorded_select("send", said), heard_count = recorded_select("recv", heard);

    (void)state;
    assert_int_equal(said_count, 1); /* header and proposal together */
    for (int with_na = 0; with_na < 2; with_na++) {
        struct skep_peer_info info;
        struct world world;
        struct node *a;
        struct raw raw;
        struct skep_buf buf;

        world_init(&world, 1, NULL);
        a = world_add(&world, NULL);
        dial(&raw, &world, a);
        assert_said(&raw, heard, 1); /* its header comes by itself */
        assert_int_equal(skep_host_peer_info(a->host, &raw.identity.id, &info), SKEP_ENOTFOUND);
        skep_buf_init(&buf, &skep_mem_std);
        if (with_na) { /* another muxer first */
            skep_multistream_put(&buf, "/multistream/1.0.0");
            skep_multistream_put(&buf, "/mplex/6.7.0");
            raw_send(&raw, skep_buf_view(&buf));
            world_run(&world, 1 * SECOND);
            assert_int_equal(raw.plain.len, 4);
            assert_memory_equal(raw.plain.data, "\x03na\n", 4);
            skep_buf_clear(&raw.plain);
            skep_buf_clear(&buf);
            skep_multistream_put(&buf, "/yamux/1.0.0");
        } else {
            skep_buf_put_bytes(&buf, said[0]);
        }
        /* Whoever proposes need not wait: the muxer's first frame follows in the same frame of the cipher. */
        skep_buf_put_bytes(&buf, recorded_ping("recv"));
        raw_send(&raw, skep_buf_view(&buf));
        world_run(&world, 1 * SECOND);
        assert_said(&raw, heard + 1, heard_count - 1);
        assert_int_equal(skep_host_peer_info(a->host, &raw.identity.id, &info), 0);
        assert_muxed(&raw);
        skep_buf_fini(&buf);
        raw_fini(&raw);
        world_run(&world, 1 * SECOND);
        world_fini(&world);
    }
}

static void nonsense_instead_of_a_muxer_ends_the_connection(void **state)
{
    struct skep_host_stats stats;
    struct world world;
    struct node *a;
    struct raw raw;

    (void)state;
    world_init(&world, 1, NULL);
    a = world_add(&world, NULL);
    dial(&raw, &world, a);
    raw_send(&raw, recorded_ping("recv")); /* yamux without having agreed on it */
    world_run(&world, 1 * SECOND);
    assert_true(raw.closed);
    skep_host_stats(a->host, &stats);
    assert_int_equal(stats.handshakes_failed, 1);
    assert_int_equal(stats.connections, 0);
    raw_fini(&raw);
    world_fini(&world);
}

/** Make a host leave its extensions out on the connection that it has just accepted. */
static void without_extensions(struct world *world, struct node *node)
{
    struct skep_conn *conn = NULL;

    for (int i = 0; i < 10000 && !(conn && conn->noise); i++) {
        world_run(world, 10);
        if (!skep_list_empty(&node->host->conns))
            conn = SKEP_LIST_ITEM(node->host->conns.next, struct skep_conn, entry);
    }
    assert_non_null(conn);
    assert_int_equal(conn->state, CONN_UPGRADING);
    skep_noise_no_extensions(conn->noise);
}

static void two_hosts_without_early_muxer_understand_each_other(void **state)
{
    (void)state;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(12); seed++) {
        struct service service = {.echo = true};
        struct world world;
        struct node *a, *b;
        struct user user;

        world_init(&world, seed, NULL);
        a = world_add(&world, NULL);
        b = world_add(&world, NULL);
        skep_host_serve(b->host, "/echo", service_on_stream, &service);
        world_knows(a, b);
        user_init(&user);
        assert_int_equal(user_open(&user, a, b, "/echo"), 0);
        skep_stream_write(user.stream, skep_bytes_str("inside"));
        without_extensions(&world, b);
        world_run(&world, 1 * SECOND);
        assert_int_equal(user.got.len, 6);
        assert_null(
            skep_noise_muxer(SKEP_LIST_ITEM(a->host->conns.next, struct skep_conn, entry)->noise));
        assert_null(
            skep_noise_muxer(SKEP_LIST_ITEM(b->host->conns.next, struct skep_conn, entry)->noise));
        skep_stream_close_write(user.stream);
        world_run(&world, 1 * SECOND);
        assert_int_equal(user.closed, 1);
        assert_int_equal(user.rc, 0);
        user_fini(&user);
        world_fini(&world);
        service_fini(&service);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_listener_without_early_muxer_is_asked_for_it_inside_the_cipher),
        cmocka_unit_test(a_dialler_without_early_muxer_is_answered_as_p2pd_answers),
        cmocka_unit_test(nonsense_instead_of_a_muxer_ends_the_connection),
        cmocka_unit_test(two_hosts_without_early_muxer_understand_each_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
