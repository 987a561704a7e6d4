/* SPDX-License-Identifier: MIT */
/* Two sessions against each other with random pieces, from seeds. Property: each byte arrives once and in order, nobody's window is
 * exceeded (the receiver would fail), both queues drain, and every stream ends the same on both sides. */
#include "support/test.h"

#include "mux/yamux_session.h"

enum { STREAMS_MAX = 64, WIRE_MAX = 1 << 20, TURNS_MAX = 200000 };

struct party;

/* One end of a stream: it writes `to_send` bytes of a pattern and expects another's whole. */
struct end {
    struct party *party;
    struct skep_yamux_stream *stream;
    uint64_t to_send, sent, received, unconsumed;
    bool eof, closed, will_reset;
    uint32_t id;
    int rc;
};

struct party {
    struct skep_yamux *session;
    struct skep_prng *prng;
    struct end ends[STREAMS_MAX];
    size_t end_count;
    uint8_t wire[WIRE_MAX]; /* on its way to the other */
    size_t wire_len;
    uint64_t *now_us;
};

static uint8_t pattern(uint32_t id, bool inbound_writes, uint64_t at)
{
    return (uint8_t)(id * 31 + at * 7 + (at >> 8) + (inbound_writes ? 128 : 0));
}

static void on_data(void *user, struct skep_yamux_stream *stream, skep_bytes data)
{
    struct end *end = user;
    bool theirs = !skep_yamux_stream_inbound(stream);

    assert_false(end->eof);
    for (size_t i = 0; i < data.len; i++)
        assert_int_equal(data.data[i],
                         pattern(skep_yamux_stream_id(stream), theirs, end->received + i));
    end->received += data.len;
    end->unconsumed += data.len;
}

static void on_eof(void *user, struct skep_yamux_stream *stream)
{
    (void)stream;
    ((struct end *)user)->eof = true;
}

static void on_close(void *user, struct skep_yamux_stream *stream, int rc)
{
    struct end *end = user;

    (void)stream;
    assert_false(end->closed);
    end->closed = true;
    end->rc = rc;
}

static const struct skep_yamux_stream_events stream_events = {on_data, NULL, on_eof, on_close};

static struct end *new_end(struct party *party)
{
    struct end *end = &party->ends[party->end_count++];

    assert_true(party->end_count <= STREAMS_MAX);
    *end = (struct end){.party = party};
    end->to_send = skep_prng_below(party->prng, 2) ? skep_prng_below(party->prng, 400)
                                                   : skep_prng_below(party->prng, 900000);
    end->will_reset = skep_prng_below(party->prng, 8) == 0;
    return end;
}

static void on_stream(void *user, struct skep_yamux_stream *stream)
{
    struct end *end = new_end(user);

    end->stream = stream;
    end->id = skep_yamux_stream_id(stream);
    skep_yamux_stream_use(stream, &stream_events, end, 4096);
    if (skep_prng_below(end->party->prng, 2))
        skep_yamux_accept(stream);
}

static uint64_t now_us(void *user)
{
    return *((struct party *)user)->now_us;
}

static const struct skep_yamux_events events = {on_stream, NULL, now_us};

static void write_some(struct end *end)
{
    static uint8_t bytes[100000];
    uint64_t left = end->to_send - end->sent,
             most = skep_prng_below(end->party->prng, sizeof bytes);
    size_t n = (size_t)SKEP_MIN(left, most);
    uint32_t id = skep_yamux_stream_id(end->stream);

    if (end->sent == end->to_send || skep_yamux_queued(end->stream) > 300000)
        return;
    for (size_t i = 0; i < n; i++)
        bytes[i] = pattern(id, skep_yamux_stream_inbound(end->stream), end->sent + i);
    assert_int_equal(skep_yamux_write(end->stream, skep_bytes_of(bytes, n)), 0);
    end->sent += n;
    if (end->sent == end->to_send)
        skep_yamux_close_write(end->stream);
}

static void use_end(struct end *end)
{
    size_t n;

    if (end->closed)
        return;
    if (end->to_send == 0 && end->sent == 0)
        skep_yamux_close_write(end->stream);
    write_some(end);
    n = (size_t)skep_prng_below(end->party->prng, end->unconsumed + 1);
    if (skep_prng_below(end->party->prng, 2))
        n = (size_t)end->unconsumed;
    skep_yamux_consume(end->stream, n);
    end->unconsumed -= n;
    skep_yamux_accept(end->stream);
    if (end->will_reset && skep_prng_below(end->party->prng, 20) == 0) {
        skep_yamux_reset(end->stream);
        end->closed = true;
        end->rc = SKEP_ECANCELED;
    }
}

static void pull_some(struct party *party)
{
    size_t room = WIRE_MAX - party->wire_len,
           cap = 64 + (size_t)skep_prng_below(party->prng, 70000);

    if (room >= 64)
        party->wire_len +=
            skep_yamux_pull(party->session, party->wire + party->wire_len, SKEP_MIN(room, cap));
}

static bool deliver_some(struct party *from, struct party *to)
{
    uint64_t most = 1 + skep_prng_below(from->prng, skep_prng_below(from->prng, 4) ? 100000 : 20);
    size_t n = SKEP_MIN(from->wire_len, (size_t)most);

    if (n == 0)
        return false;
    assert_int_equal(skep_yamux_receive(to->session, skep_bytes_of(from->wire, n), *to->now_us), 0);
    from->wire_len -= n;
    memmove(from->wire, from->wire + n, from->wire_len);
    return true;
}

static bool all_closed(const struct party *party)
{
    for (size_t i = 0; i < party->end_count; i++)
        if (!party->ends[i].closed)
            return false;
    return true;
}

static void open_one(struct party *party)
{
    struct end *end = new_end(party);

    assert_int_equal(skep_yamux_open(party->session, &end->stream, &stream_events, end, 4096), 0);
    end->id = skep_yamux_stream_id(end->stream);
}

/* Both ends of a stream that nobody reset have all that the other wrote. @return how many such streams there are. */
static size_t compare_ends(const struct party *a, const struct party *b)
{
    size_t whole = 0;

    for (size_t i = 0; i < a->end_count; i++) {
        for (size_t j = 0; j < b->end_count; j++) {
            const struct end *x = &a->ends[i], *y = &b->ends[j];

            if (x->id != y->id || x->rc != 0 || y->rc != 0)
                continue;
            assert_true(x->sent == x->to_send && y->sent == y->to_send);
            assert_true(x->sent == y->received && y->sent == x->received);
            whole++;
        }
    }
    return whole;
}

static void run(uint64_t seed)
{
    static struct party a, b;
    struct skep_prng prng;
    struct test_mem mem;
    uint64_t now = 1000;
    size_t to_open = 16;

    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    test_mem_init(&mem);
    skep_prng_init(&prng, seed);
    a.prng = b.prng = &prng;
    a.now_us = b.now_us = &now;
    assert_int_equal(skep_yamux_new(&a.session, &mem.mem, true, &events, &a), 0);
    assert_int_equal(skep_yamux_new(&b.session, &mem.mem, false, &events, &b), 0);
    for (size_t turn = 0;; turn++) {
        bool moved;

        assert_true(turn < TURNS_MAX);
        now += skep_prng_below(&prng, 300);
        if (to_open > 0 && skep_prng_below(&prng, 3) == 0) {
            open_one(skep_prng_below(&prng, 2) ? &a : &b);
            to_open--;
        }
        for (size_t i = 0; i < a.end_count; i++)
            use_end(&a.ends[i]);
        for (size_t i = 0; i < b.end_count; i++)
            use_end(&b.ends[i]);
        pull_some(&a);
        pull_some(&b);
        moved = deliver_some(&a, &b);
        moved |= deliver_some(&b, &a);
        if (!moved && to_open == 0 && all_closed(&a) && all_closed(&b) &&
            !skep_yamux_has_output(a.session) && !skep_yamux_has_output(b.session))
            break;
    }
    assert_int_equal(skep_yamux_stream_count(a.session), 0);
    assert_int_equal(skep_yamux_stream_count(b.session), 0);
    assert_true(compare_ends(&a, &b) > 2);
    skep_yamux_free(a.session, 0);
    skep_yamux_free(b.session, 0);
    assert_int_equal(mem.live, 0);
}

static void every_byte_arrives_once_and_in_order(void **state)
{
    (void)state;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(30); seed++) {
        print_message("SKEP_SEED=%llu\n", (unsigned long long)seed);
        run(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_byte_arrives_once_and_in_order)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
