/* SPDX-License-Identifier: MIT */
/* What a session sends and tells for each thing that its peer and its user may do. Spec: libp2p yamux r0; docs/wire.md a.4, g. */
#include "mux/one_session.h"

#include "base/map.h"

enum {
    DATA = SKEP_YAMUX_DATA,
    WINDOW = SKEP_YAMUX_WINDOW_UPDATE,
    PING = SKEP_YAMUX_PING,
    AWAY = SKEP_YAMUX_GO_AWAY
};
enum { SYN = SKEP_YAMUX_SYN, ACK = SKEP_YAMUX_ACK, FIN = SKEP_YAMUX_FIN, RST = SKEP_YAMUX_RST };

static struct one_session one;

static void a_call_opens_its_stream_with_its_first_data_frame(void **state)
{
    (void)state;
    one_start(&one, true);
    struct seen *s = one_open(&one);

    assert_int_equal(one.outputs, 1);
    one_write(s, 100);
    one_write(s, 20);
    assert_int_equal(one.outputs, 1);
    assert_string_equal(one_sent(&one), "data S 1 120;");
    assert_int_equal(one_get(&one, DATA, ACK, 1, 30), 0);
    assert_int_equal(s->data_len, 30);
    skep_yamux_close_write(s->stream);
    assert_string_equal(one_sent(&one), "window F 1 0;");
    assert_int_equal(one_get(&one, WINDOW, FIN, 1, 0), 0);
    assert_int_equal(s->eofs, 1);
    assert_int_equal(s->closes, 1);
    assert_int_equal(s->rc, 0);
    assert_int_equal(skep_yamux_stream_count(one.session), 0);
    one_end(&one);
}

static void a_call_after_the_first_costs_no_allocation(void **state)
{
    size_t before = 0;

    (void)state;
    one_start(&one, true);
    for (unsigned i = 0; i < 100; i++) {
        struct seen *s = one_open(&one);

        one_write(s, 200);
        one_sent(&one);
        assert_int_equal(one_get(&one, DATA, ACK, 2 * i + 1, 100), 0);
        skep_yamux_close_write(s->stream);
        one_sent(&one);
        assert_int_equal(one_get(&one, WINDOW, FIN, 2 * i + 1, 0), 0);
        if (i == 0)
            before = one.mem.allocations;
    }
    assert_int_equal(one.mem.allocations, before);
    one_end(&one);
}

static void a_stream_without_data_is_opened_by_a_window_update(void **state)
{
    (void)state;
    one_start(&one, false);
    struct seen *s = one_open(&one);

    assert_string_equal(one_sent(&one), "window S 2 0;");
    one_write(s, 1);
    assert_string_equal(one_sent(&one), "data 2 1;");
    one_end(&one);
}

static void the_ack_rides_on_the_answer_or_follows_the_acceptance(void **state)
{
    (void)state;
    one_start(&one, false);
    assert_int_equal(one_get(&one, DATA, SYN, 1, 10), 0);
    assert_string_equal(one_sent(&one), "");
    one_write(&one.seen[0], 5);
    assert_string_equal(one_sent(&one), "data A 1 5;");
    skep_yamux_accept(one.seen[0].stream);
    assert_string_equal(one_sent(&one), "");
    assert_int_equal(one_get(&one, WINDOW, SYN, 3, 0), 0);
    skep_yamux_accept(one.seen[1].stream);
    assert_string_equal(one_sent(&one), "window A 3 0;");
    assert_int_equal(one_get(&one, WINDOW, SYN, 5, 0), 0);
    skep_yamux_close_write(one.seen[2].stream);
    assert_string_equal(one_sent(&one), "window A 5 0;window F 5 0;");
    one_end(&one);
}

static void the_fin_is_an_empty_frame_behind_the_data(void **state)
{
    (void)state;
    one_start(&one, true);
    struct seen *s = one_open(&one);

    one_write(s, 70000);
    skep_yamux_close_write(s->stream);
    assert_int_equal(skep_yamux_write(s->stream, skep_bytes_str("x")), SKEP_ECLOSED);
    assert_string_equal(one_sent(&one), "data S 1 65507;data 1 4493;window F 1 0;");
    one_end(&one);
}

static void a_fin_that_nobody_waits_for_rides_with_the_next_frames(void **state)
{
    (void)state;
    one_start(&one, true);
    struct seen *first = one_open(&one), *second;

    one_write(first, 10);
    assert_string_equal(one_sent(&one), "data S 1 10;");
    assert_int_equal(one_get(&one, DATA, ACK, 1, 30), 0);
    assert_int_equal(one_get(&one, WINDOW, FIN, 1, 0), 0);
    skep_yamux_close_write_late(first->stream);
    assert_false(skep_yamux_has_output(one.session));
    assert_string_equal(one_sent(&one), "");
    assert_int_equal(first->closes, 0);
    second = one_open(&one);
    one_write(second, 10);
    assert_string_equal(one_sent(&one), "data S 3 10;window F 1 0;");
    assert_int_equal(first->closes, 1);
    one_end(&one);
}

static void a_fin_that_waits_leaves_at_its_deadline(void **state)
{
    uint64_t at;

    (void)state;
    one_start(&one, true);
    struct seen *s = one_open(&one);

    one_write(s, 10);
    assert_string_equal(one_sent(&one), "data S 1 10;");
    assert_int_equal(one_get(&one, DATA, ACK, 1, 30), 0);
    skep_yamux_close_write_late(s->stream);
    at = skep_yamux_deadline_us(one.session);
    assert_true(at <= 1000 + SKEP_YAMUX_LATE_FIN_US);
    assert_int_equal(skep_yamux_on_time(one.session, at - 1), 0);
    assert_string_equal(one_sent(&one), "");
    assert_int_equal(skep_yamux_on_time(one.session, at), 0);
    assert_string_equal(one_sent(&one), "window F 1 0;");
    assert_true(skep_yamux_deadline_us(one.session) >= SKEP_YAMUX_KEEPALIVE_US);
    one_end(&one);
}

static void data_that_is_queued_takes_a_late_fin_along(void **state)
{
    (void)state;
    one_start(&one, true);
    struct seen *s = one_open(&one);

    one_write(s, 10);
    skep_yamux_close_write_late(s->stream);
    assert_string_equal(one_sent(&one), "data S 1 10;window F 1 0;");
    one_end(&one);
}

static void the_fin_of_a_data_frame_comes_after_its_data(void **state)
{
    uint8_t frame[SKEP_YAMUX_HEADER_LEN + 4] = {0};

    (void)state;
    one_start(&one, false);
    skep_yamux_put_header(frame, SKEP_YAMUX_DATA, SYN | FIN, 1, 4);
    for (size_t i = 0; i < sizeof frame; i++) {
        assert_int_equal(one.seen[0].eofs, 0);
        assert_int_equal(skep_yamux_receive(one.session, skep_bytes_of(frame + i, 1), 1), 0);
    }
    assert_int_equal(one.seen[0].data_len, 4);
    assert_int_equal(one.seen[0].eofs, 1);
    one_end(&one);
}

static void nothing_is_sent_past_the_peers_window(void **state)
{
    (void)state;
    one_start(&one, true);
    struct seen *s = one_open(&one);

    one_write(s, 300000);
    assert_string_equal(one_sent(&one),
                        "data S 1 65507;data 1 65507;data 1 65507;data 1 65507;data 1 116;");
    assert_int_equal(skep_yamux_queued(s->stream), 300000 - SKEP_YAMUX_WINDOW);
    assert_int_equal(one_get(&one, WINDOW, ACK, 1, 1000), 0);
    assert_string_equal(one_sent(&one), "data 1 1000;");
    assert_int_equal(s->writables, 0);
    assert_int_equal(one_get(&one, WINDOW, 0, 1, 1 << 20), 0);
    assert_string_equal(one_sent(&one), "data 1 36856;");
    assert_int_equal(s->writables, 1);
    one_end(&one);
}

static void a_buffer_is_filled_with_whole_frames_control_first(void **state)
{
    uint8_t out[64];

    (void)state;
    one_start(&one, true);
    struct seen *s = one_open(&one);

    one_write(s, 100);
    assert_int_equal(one_get(&one, PING, SYN, 0, 7), 0);
    assert_int_equal(skep_yamux_pull(one.session, out, sizeof out), 12);
    assert_string_equal(test_hex(out, 12), "000200020000000000000007");
    assert_int_equal(skep_yamux_pull(one.session, out, sizeof out), 64);
    assert_string_equal(test_hex(out, 12), "000000010000000100000034");
    assert_int_equal(skep_yamux_pull(one.session, out, sizeof out), 60);
    assert_int_equal(skep_yamux_pull(one.session, out, sizeof out), 0);
    one_end(&one);
}

static void streams_take_turns(void **state)
{
    (void)state;
    one_start(&one, true);
    for (int i = 0; i < 3; i++)
        one_write(one_open(&one), i == 0 ? 200000 : 70000);
    assert_string_equal(
        one_sent(&one),
        "data S 1 65507;data S 3 65507;data S 5 65507;data 1 65507;data 3 4493;data 5 4493;"
        "data 1 56497;data 1 12489;");
    one_end(&one);
}

static void window_goes_back_when_half_of_it_is_consumed(void **state)
{
    (void)state;
    one_start(&one, false);
    assert_int_equal(one_get(&one, DATA, SYN, 1, 100), 0);
    one_write(&one.seen[0], 1);
    one_sent(&one);
    assert_int_equal(one_get(&one, DATA, 0, 1, SKEP_YAMUX_WINDOW / 2 - 101), 0);
    assert_string_equal(one_sent(&one), "");
    assert_int_equal(one_get(&one, DATA, 0, 1, 1), 0);
    assert_string_equal(one_sent(&one), "ping S 0 1;window 1 131072;");
    one_end(&one);
}

/* The peer answers our ping after 100 us and then sends half a window each time, `gap_us` apart. @return the last delta. */
static const char *deltas_after(uint64_t gap_us, size_t rounds)
{
    const char *sent = "";
    uint32_t half = SKEP_YAMUX_WINDOW / 2, delta;

    assert_int_equal(one_get(&one, WINDOW, SYN, 1, 0), 0);
    one_write(&one.seen[0], 1);
    one_sent(&one);
    assert_int_equal(one_get(&one, DATA, 0, 1, half), 0);
    assert_string_equal(one_sent(&one), "ping S 0 1;window 1 131072;");
    one.now_us += 100;
    assert_int_equal(one_get(&one, PING, ACK, 0, 1), 0);
    assert_int_equal(skep_yamux_rtt_us(one.session), 100);
    for (size_t i = 0; i < rounds; i++) {
        one.now_us += gap_us;
        for (uint32_t left = half; left > 0; left -= SKEP_MIN(left, 1u << 20))
            assert_int_equal(one_get(&one, DATA, 0, 1, SKEP_MIN(left, 1u << 20)), 0);
        sent = one_sent(&one);
        assert_int_equal(sscanf(sent, "window 1 %u;", &delta), 1);
        half = half + (delta - half) / 2;
    }
    return sent;
}

static void the_window_doubles_up_to_16_mib_for_a_quick_consumer(void **state)
{
    (void)state;
    one_start(&one, false);
    assert_string_equal(deltas_after(100, 1), "window 1 393216;"); /* 128 KiB used, 256 KiB more */
    one_end(&one);
    one_start(&one, false);
    assert_string_equal(deltas_after(100, 6), "window 1 12582912;"); /* from 8 MiB to 16 */
    one_end(&one);
    one_start(&one, false);
    assert_string_equal(deltas_after(100, 8), "window 1 8388608;");
    one_end(&one);
}

static void the_window_stays_for_a_slow_consumer(void **state)
{
    (void)state;
    one_start(&one, false);
    assert_string_equal(deltas_after(1000, 5), "window 1 131072;");
    one_end(&one);
}

static void pings_are_answered_and_time_the_way(void **state)
{
    (void)state;
    one_start(&one, true);
    assert_int_equal(one_get(&one, PING, SYN, 0, 0), 0);
    assert_int_equal(one_get(&one, PING, SYN, 0, 4000000000u), 0);
    assert_string_equal(one_sent(&one), "ping A 0 0;ping A 0 4000000000;");
    assert_int_equal(one_get(&one, PING, ACK, 0, 1), 0); /* not asked for */
    assert_int_equal(skep_yamux_rtt_us(one.session), 0);
    one_end(&one);
}

static void a_silent_peer_is_pinged_and_then_given_up(void **state)
{
    uint64_t at = 1000 + SKEP_YAMUX_KEEPALIVE_US;

    (void)state;
    one_start(&one, true);
    assert_int_equal(skep_yamux_deadline_us(one.session), at);
    assert_int_equal(skep_yamux_on_time(one.session, at - 1), 0);
    assert_string_equal(one_sent(&one), "");
    assert_int_equal(skep_yamux_on_time(one.session, at), 0);
    assert_string_equal(one_sent(&one), "ping S 0 1;");
    at += SKEP_YAMUX_PING_TIMEOUT_US;
    assert_int_equal(skep_yamux_deadline_us(one.session), at);
    assert_int_equal(skep_yamux_on_time(one.session, at - 1), 0);
    assert_int_equal(skep_yamux_on_time(one.session, at), SKEP_ETIMEDOUT);
    one_end(&one);
}

static void a_peer_that_sends_but_answers_no_ping_lives(void **state)
{
    (void)state;
    one_start(&one, true);
    one.now_us += SKEP_YAMUX_KEEPALIVE_US;
    assert_int_equal(skep_yamux_on_time(one.session, one.now_us), 0);
    one_sent(&one);
    one.now_us += SKEP_YAMUX_PING_TIMEOUT_US - 5;
    assert_int_equal(one_get(&one, PING, SYN, 0, 1), 0);
    one.now_us += 5;
    assert_int_equal(skep_yamux_on_time(one.session, one.now_us), 0);
    assert_int_equal(skep_yamux_deadline_us(one.session), one.now_us - 5 + SKEP_YAMUX_KEEPALIVE_US);
    one_end(&one);
}

static void after_a_go_away_no_stream_is_opened(void **state)
{
    struct skep_yamux_stream *stream;

    (void)state;
    one_start(&one, true);
    one_open(&one);
    one_sent(&one);
    assert_int_equal(one_get(&one, AWAY, 0, 0, 0), 0);
    assert_true(skep_yamux_going_away(one.session));
    assert_int_equal(skep_yamux_open(one.session, &stream, &one_stream_events, NULL, 0),
                     SKEP_ECLOSED);
    assert_int_equal(one_get(&one, DATA, ACK, 1, 10), 0); /* the open one goes on */
    assert_int_equal(one.seen[0].data_len, 10);
    assert_int_equal(one_get(&one, AWAY, 0, 0, 1), SKEP_ELOST);
    assert_string_equal(one_sent(&one), "");
    one_end(&one);
}

static void our_go_away_refuses_the_peers_streams(void **state)
{
    struct skep_yamux_stream *stream;

    (void)state;
    one_start(&one, true);
    skep_yamux_go_away(one.session, SKEP_YAMUX_NORMAL);
    assert_string_equal(one_sent(&one), "away 0 0;");
    assert_int_equal(skep_yamux_open(one.session, &stream, &one_stream_events, NULL, 0),
                     SKEP_ECLOSED);
    assert_int_equal(one_get(&one, WINDOW, SYN, 2, 0), 0);
    assert_string_equal(one_sent(&one), "window R 2 0;");
    assert_int_equal(one.seen_count, 0);
    one_end(&one);
}

static void a_reset_ends_both_directions_and_late_frames_are_harmless(void **state)
{
    (void)state;
    one_start(&one, true);
    struct seen *s = one_open(&one);

    one_write(s, 100);
    one_sent(&one);
    one_write(s, 100);
    skep_yamux_reset(s->stream);
    assert_int_equal(skep_yamux_stream_count(one.session), 0);
    assert_string_equal(one_sent(&one), "window R 1 0;");
    assert_int_equal(s->closes, 0); /* no event follows */
    assert_int_equal(one_get(&one, DATA, ACK, 1, 500000), 0);
    assert_int_equal(one_get(&one, WINDOW, FIN, 1, 5), 0);
    assert_int_equal(one_get(&one, WINDOW, RST, 1, 0), 0);
    assert_int_equal(one_stats(&one).unknown_stream_frames, 3);
    assert_string_equal(one_sent(&one), "");

    s = one_open(&one);
    one_sent(&one);
    assert_int_equal(one_get(&one, WINDOW, RST, 3, 0), 0);
    assert_int_equal(s->closes, 1);
    assert_int_equal(s->rc, SKEP_EPEER_RESET);
    assert_int_equal(one_stats(&one).resets_in, 1);
    assert_string_equal(one_sent(&one), "");
    one_end(&one);
}

static void a_stream_that_was_never_sent_is_reset_silently(void **state)
{
    (void)state;
    one_start(&one, true);
    skep_yamux_reset(one_open(&one)->stream);
    assert_string_equal(one_sent(&one), "");
    one_end(&one);
}

static void a_stream_may_be_reset_from_inside_its_own_events(void **state)
{
    (void)state;
    one_start(&one, false);
    assert_int_equal(one_get(&one, WINDOW, SYN, 1, 0), 0);
    one.seen[0].reset_on_data = true;
    assert_int_equal(one_get(&one, DATA, FIN, 1, 10), 0);
    assert_int_equal(one_get(&one, WINDOW, SYN, 3, 0), 0);
    one.seen[1].reset_on_eof = true;
    assert_int_equal(one_get(&one, DATA, FIN, 3, 10), 0);
    assert_string_equal(one_sent(&one), "window R 1 0;window R 3 0;");
    assert_int_equal(one.seen[0].eofs, 0);
    assert_int_equal(one.seen[1].eofs, 1);
    assert_int_equal(skep_yamux_stream_count(one.session), 0);
    one_end(&one);
}

static void a_stream_that_nobody_uses_is_reset(void **state)
{
    (void)state;
    one_start(&one, false);
    one.refuse = true;
    assert_int_equal(one_get(&one, DATA, SYN, 1, 10), 0);
    assert_string_equal(one_sent(&one), "window R 1 0;");
    one_end(&one);
}

static void freeing_a_session_closes_each_stream_once(void **state)
{
    (void)state;
    one_start(&one, true);
    for (int i = 0; i < 40; i++)
        one_write(one_open(&one), 100000);
    skep_yamux_reset(one.seen[3].stream);
    one_sent(&one);
    one_end(&one);
    for (size_t i = 0; i < 40; i++) {
        assert_int_equal(one.seen[i].closes, i != 3);
        assert_int_equal(one.seen[i].rc, i != 3 ? SKEP_ECANCELED : 0);
    }
}

/* What a live p2pd sent to a mini node (vectors: live_accept) is taken without a complaint, frame by frame. */
static void the_frames_of_a_live_p2pd_are_accepted(void **state)
{
    static const char *const runs[] = {"live_dial", "live_dial_no_early_muxer", "live_accept"};
    const json_t *frame;
    size_t i, accepted = 0;

    (void)state;
    for (size_t run = 0; run < SKEP_COUNT_OF(runs); run++) {
        bool is_client = strncmp(runs[run], "live_dial", 9) == 0;

        one_start(&one, is_client);
        one.auto_accept = true;
        json_array_foreach(test_get(test_get(test_vectors("transport.json"), runs[run]), "frames"),
                           i, frame)
        {
            skep_bytes header = test_unhex(test_str(frame, "header")),
                       body = test_unhex(test_str(frame, "body"));
            bool is_syn = (header.data[3] & SYN) != 0 && header.data[1] != SKEP_YAMUX_PING;

            if (strcmp(test_str(frame, "dir"), "recv") == 0) {
                assert_int_equal(skep_yamux_receive(one.session, header, 1), 0);
                assert_int_equal(skep_yamux_receive(one.session, body, 1), 0);
            } else if (is_syn) {
                one_open(&one);
            }
            one_sent(&one);
        }
        assert_true(i > 4);
        accepted += one.seen_count;
        assert_int_equal(one_stats(&one).unknown_stream_frames, 0);
        one_end(&one);
    }
    assert_true(accepted > 10);
}

static void an_idle_session_is_small_and_so_is_an_idle_stream(void **state)
{
    size_t empty, with_streams;

    (void)state;
    one_start(&one, false);
    skep_map_set_mem(&one.mem.mem);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(one_get(&one, DATA, SYN | FIN, 2 * i + 1, 100), 0);
    for (size_t i = 0; i < 5; i++) {
        one_write(&one.seen[i], 3000);
        skep_yamux_close_write(one.seen[i].stream);
    }
    one_sent(&one);
    assert_int_equal(one.seen[4].closes, 1);
    assert_int_equal(skep_yamux_on_time(one.session, 1000 + SKEP_YAMUX_KEEPALIVE_US), 0);
    empty = one.mem.live_bytes;
    assert_true(empty < 2048);
    one.auto_accept = true;
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(one_get(&one, WINDOW, SYN, 2 * i + 11, 0), 0);
    one_sent(&one);
    with_streams = one.mem.live_bytes;
    assert_true((with_streams - empty) / 1000 < 300);
    one_end(&one);
    skep_map_set_mem(&skep_mem_std);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_opens_its_stream_with_its_first_data_frame),
        cmocka_unit_test(a_call_after_the_first_costs_no_allocation),
        cmocka_unit_test(a_stream_without_data_is_opened_by_a_window_update),
        cmocka_unit_test(the_ack_rides_on_the_answer_or_follows_the_acceptance),
        cmocka_unit_test(the_fin_is_an_empty_frame_behind_the_data),
        cmocka_unit_test(a_fin_that_nobody_waits_for_rides_with_the_next_frames),
        cmocka_unit_test(a_fin_that_waits_leaves_at_its_deadline),
        cmocka_unit_test(data_that_is_queued_takes_a_late_fin_along),
        cmocka_unit_test(the_fin_of_a_data_frame_comes_after_its_data),
        cmocka_unit_test(nothing_is_sent_past_the_peers_window),
        cmocka_unit_test(a_buffer_is_filled_with_whole_frames_control_first),
        cmocka_unit_test(streams_take_turns),
        cmocka_unit_test(window_goes_back_when_half_of_it_is_consumed),
        cmocka_unit_test(the_window_doubles_up_to_16_mib_for_a_quick_consumer),
        cmocka_unit_test(the_window_stays_for_a_slow_consumer),
        cmocka_unit_test(pings_are_answered_and_time_the_way),
        cmocka_unit_test(a_silent_peer_is_pinged_and_then_given_up),
        cmocka_unit_test(a_peer_that_sends_but_answers_no_ping_lives),
        cmocka_unit_test(after_a_go_away_no_stream_is_opened),
        cmocka_unit_test(our_go_away_refuses_the_peers_streams),
        cmocka_unit_test(a_reset_ends_both_directions_and_late_frames_are_harmless),
        cmocka_unit_test(a_stream_that_was_never_sent_is_reset_silently),
        cmocka_unit_test(a_stream_may_be_reset_from_inside_its_own_events),
        cmocka_unit_test(a_stream_that_nobody_uses_is_reset),
        cmocka_unit_test(freeing_a_session_closes_each_stream_once),
        cmocka_unit_test(the_frames_of_a_live_p2pd_are_accepted),
        cmocka_unit_test(an_idle_session_is_small_and_so_is_an_idle_stream),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
