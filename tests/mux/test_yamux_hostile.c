/* SPDX-License-Identifier: MIT */
/* Peers that break the rules or try to make us grow: each ends in the error or the bound that is meant for it. */
#include "mux/one_session.h"

#include "base/map.h"

enum { DATA = SKEP_YAMUX_DATA, WINDOW = SKEP_YAMUX_WINDOW_UPDATE, PING = SKEP_YAMUX_PING };
enum { SYN = SKEP_YAMUX_SYN, ACK = SKEP_YAMUX_ACK, FIN = SKEP_YAMUX_FIN, RST = SKEP_YAMUX_RST };

static struct one_session one;

/* The session has failed with rc: it says go-away 1 and nothing else, and takes and opens nothing more. */
static void assert_failed(int rc)
{
    struct skep_yamux_stream *stream;

    assert_string_equal(one_sent(&one), "away 0 1;");
    assert_int_equal(one_get(&one, PING, SYN, 0, 1), rc);
    assert_int_equal(skep_yamux_open(one.session, &stream, &one_stream_events, NULL, 0),
                     SKEP_ECLOSED);
    assert_string_equal(one_sent(&one), "");
    one_end(&one);
}

static void data_past_the_window_ends_the_connection(void **state)
{
    (void)state;
    one_start(&one, false);
    one.hold_data = true;
    assert_int_equal(one_get(&one, DATA, SYN, 1, SKEP_YAMUX_WINDOW), 0); /* to the last byte */
    assert_int_equal(one.seen[0].data_len, SKEP_YAMUX_WINDOW);
    one_write(&one.seen[0], 10);
    assert_int_equal(one_get(&one, DATA, 0, 1, 1), SKEP_EPEER_LIMIT);
    assert_int_equal(one.seen[0].data_len, SKEP_YAMUX_WINDOW);
    assert_failed(SKEP_EPEER_LIMIT);
}

static void window_counts_only_once_the_grant_is_sent(void **state)
{
    (void)state;
    one_start(&one, false);
    one_get(&one, DATA, SYN, 1, SKEP_YAMUX_WINDOW / 2 + 7);
    assert_int_equal(one_get(&one, DATA, 0, 1, SKEP_YAMUX_WINDOW / 2), SKEP_EPEER_LIMIT);
    assert_failed(SKEP_EPEER_LIMIT);

    one_start(&one, false);
    one_get(&one, DATA, SYN, 1, SKEP_YAMUX_WINDOW / 2 + 7);
    assert_string_equal(one_sent(&one), "ping S 0 1;window A 1 131079;");
    assert_int_equal(one_get(&one, DATA, 0, 1, SKEP_YAMUX_WINDOW), 0);
    one_end(&one);
}

static void a_syn_of_the_wrong_parity_ends_the_connection(void **state)
{
    (void)state;
    one_start(&one, false);
    assert_int_equal(one_get(&one, WINDOW, SYN, 2, 0), SKEP_EPEER_PROTO);
    assert_failed(SKEP_EPEER_PROTO);
    one_start(&one, true);
    assert_int_equal(one_get(&one, WINDOW, SYN, 1, 0), SKEP_EPEER_PROTO);
    assert_failed(SKEP_EPEER_PROTO);
}

static void a_second_syn_for_a_live_stream_ends_the_connection(void **state)
{
    (void)state;
    one_start(&one, false);
    assert_int_equal(one_get(&one, WINDOW, SYN, 1, 0), 0);
    assert_int_equal(one_get(&one, DATA, SYN, 1, 5), SKEP_EPEER_PROTO);
    assert_failed(SKEP_EPEER_PROTO);
}

static void a_stream_frame_for_the_session_ends_the_connection(void **state)
{
    (void)state;
    one_start(&one, false);
    assert_int_equal(one_get(&one, DATA, 0, 0, 5), SKEP_EPEER_PROTO);
    assert_failed(SKEP_EPEER_PROTO);
    one_start(&one, true);
    assert_int_equal(one_get(&one, WINDOW, SYN, 0, 5), SKEP_EPEER_PROTO);
    assert_failed(SKEP_EPEER_PROTO);
}

static void unknown_versions_types_and_giant_lengths_end_the_connection(void **state)
{
    static const char *const bad[] = {"010000000000000100000000", "000400000000000100000000",
                                      "0000000000000001ffffffff"};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(bad); i++) {
        one_start(&one, false);
        assert_int_equal(skep_yamux_receive(one.session, test_unhex(bad[i]), 1), SKEP_EPEER_FRAME);
        assert_failed(SKEP_EPEER_FRAME);
    }
}

static void a_window_that_passes_32_bits_ends_the_connection(void **state)
{
    (void)state;
    one_start(&one, true);
    one_open(&one);
    one_sent(&one);
    assert_int_equal(one_get(&one, WINDOW, ACK, 1, UINT32_MAX - SKEP_YAMUX_WINDOW), 0);
    assert_int_equal(one_get(&one, WINDOW, 0, 1, 1), SKEP_EPEER_PROTO);
    assert_failed(SKEP_EPEER_PROTO);
}

static void data_for_unknown_streams_is_drained_and_counted(void **state)
{
    (void)state;
    one_start(&one, false);
    assert_int_equal(one_get(&one, DATA, 0, 77, 1000000), 0);
    assert_int_equal(one_get(&one, WINDOW, ACK, 78, 1), 0);
    assert_int_equal(one_get(&one, DATA, SYN | FIN, 1, 9), 0);
    assert_int_equal(one_get(&one, DATA, 0, 1, 1000000), 0); /* after its FIN */
    assert_int_equal(one.seen[0].data_len, 9);
    assert_int_equal(one_stats(&one).unknown_stream_frames, 3);
    assert_string_equal(one_sent(&one), "");
    one_end(&one);
}

static void streams_beyond_the_backlog_are_reset_until_some_are_accepted(void **state)
{
    (void)state;
    one_start(&one, false);
    for (uint32_t i = 0; i <= SKEP_YAMUX_BACKLOG_MAX; i++)
        assert_int_equal(one_get(&one, WINDOW, SYN, 2 * i + 1, 0), 0);
    assert_int_equal(one.seen_count, SKEP_YAMUX_BACKLOG_MAX);
    assert_string_equal(one_sent(&one), "window R 513 0;");
    skep_yamux_accept(one.seen[0].stream);
    skep_yamux_reset(one.seen[1].stream);
    assert_string_equal(one_sent(&one), "window A 1 0;window R 3 0;");
    for (uint32_t i = 1; i <= 3; i++)
        assert_int_equal(one_get(&one, WINDOW, SYN, 513 + 2 * i, 0), 0);
    assert_int_equal(one.seen_count, SKEP_YAMUX_BACKLOG_MAX + 2);
    assert_string_equal(one_sent(&one), "window R 519 0;");
    assert_int_equal(one_stats(&one).streams_refused, 2);
    one_end(&one);
}

static void a_burst_of_100000_syns_costs_little_memory_and_each_is_told(void **state)
{
    static uint8_t out[4096];
    size_t resets = 0, n;

    (void)state;
    one_start(&one, false);
    skep_map_set_mem(&one.mem.mem);
    for (uint32_t i = 0; i < 100000; i++)
        assert_int_equal(one_get(&one, WINDOW, SYN, 2 * i + 1, 0), 0);
    assert_true(one.mem.live_bytes < 128 << 10);
    assert_int_equal(one_stats(&one).streams_refused, 100000 - SKEP_YAMUX_BACKLOG_MAX);
    assert_int_equal(one_stats(&one).refusals_dropped, 0);
    while ((n = skep_yamux_pull(one.session, out, sizeof out)) > 0)
        resets += n / SKEP_YAMUX_HEADER_LEN;
    assert_int_equal(resets, 100000 - SKEP_YAMUX_BACKLOG_MAX);
    one_end(&one);
    skep_map_set_mem(&skep_mem_std);
}

static void scattered_refusals_beyond_32_runs_are_dropped_and_counted(void **state)
{
    (void)state;
    one_start(&one, false);
    skep_yamux_go_away(one.session, 0);
    for (uint32_t i = 0; i <= SKEP_YAMUX_REFUSALS_MAX; i++)
        assert_int_equal(one_get(&one, WINDOW, SYN, 4 * i + 1, 0), 0);
    assert_int_equal(one_stats(&one).refusals_dropped, 1);
    assert_non_null(strstr(one_sent(&one), "window R 1 0;window R 5 0;"));
    one_end(&one);
}

static void live_streams_are_at_most_4096_whoever_opened_them(void **state)
{
    struct skep_yamux_stream *stream;

    (void)state;
    one_start(&one, false);
    one.auto_accept = true;
    one_open(&one);
    for (uint32_t i = 0; i < SKEP_YAMUX_STREAMS_MAX; i++)
        assert_int_equal(one_get(&one, WINDOW, SYN, 2 * i + 1, 0), 0);
    assert_int_equal(skep_yamux_stream_count(one.session), SKEP_YAMUX_STREAMS_MAX);
    assert_int_equal(one_stats(&one).streams_refused, 1);
    assert_int_equal(skep_yamux_open(one.session, &stream, &one_stream_events, NULL, 0),
                     SKEP_ELIMIT);
    /* a stream that waits for its RST to leave still counts, or resets would pile up behind a peer that does not read */
    skep_yamux_reset(one.seen[7].stream);
    assert_int_equal(skep_yamux_open(one.session, &stream, &one_stream_events, NULL, 0),
                     SKEP_ELIMIT);
    one_sent(&one);
    one_open(&one);
    one_end(&one);
}

static void we_wait_for_the_peer_after_256_streams_not_acknowledged(void **state)
{
    struct skep_yamux_stream *stream;

    (void)state;
    one_start(&one, true);
    for (uint32_t i = 0; i < SKEP_YAMUX_OPENING_MAX; i++)
        one_open(&one);
    assert_int_equal(skep_yamux_open(one.session, &stream, &one_stream_events, NULL, 0),
                     SKEP_ELIMIT);
    one_sent(&one);
    assert_int_equal(one_get(&one, WINDOW, ACK, 5, 0), 0);
    assert_int_equal(one_get(&one, WINDOW, ACK, 5, 0), 0);
    assert_int_equal(one_get(&one, WINDOW, RST, 7, 0), 0);
    one_open(&one);
    one_open(&one);
    assert_int_equal(skep_yamux_open(one.session, &stream, &one_stream_events, NULL, 0),
                     SKEP_ELIMIT);
    one_end(&one);
}

static void who_leaves_64_mib_unread_opens_no_more_streams(void **state)
{
    (void)state;
    one_start(&one, false);
    assert_int_equal(one_get(&one, WINDOW, SYN, 1, 0), 0);
    for (size_t i = 0; i < SKEP_YAMUX_QUEUED_MAX >> 20; i++)
        one_write(&one.seen[0], 1 << 20);
    assert_int_equal(one_get(&one, WINDOW, SYN, 3, 0), 0);
    assert_int_equal(one_stats(&one).streams_refused, 0);
    one_write(&one.seen[0], 1);
    assert_int_equal(one_get(&one, WINDOW, SYN, 5, 0), 0);
    assert_int_equal(one_stats(&one).streams_refused, 1);
    skep_yamux_reset(one.seen[0].stream);
    assert_int_equal(one_get(&one, WINDOW, SYN, 7, 0), 0);
    assert_int_equal(one_stats(&one).streams_refused, 1);
    one_end(&one);
}

static void above_256_mib_of_all_sessions_those_that_read_are_served_on(void **state)
{
    size_t total = 0;

    (void)state;
    one_start(&one, false);
    skep_yamux_share_queued(one.session, &total);
    assert_int_equal(one_get(&one, WINDOW, SYN, 1, 0), 0);
    one_write(&one.seen[0], SKEP_YAMUX_WINDOW);
    assert_int_equal(total, SKEP_YAMUX_WINDOW);
    total += SKEP_HOST_QUEUED_MAX; /* of others */
    assert_int_equal(one_get(&one, WINDOW, SYN, 3, 0), 0);
    assert_int_equal(one_stats(&one).streams_refused, 0);
    one_write(&one.seen[0], 1);
    assert_int_equal(one_get(&one, WINDOW, SYN, 5, 0), 0);
    assert_int_equal(one_stats(&one).streams_refused, 1);
    total = SKEP_HOST_QUEUED_MAX; /* the others' have left: this is no more than may be */
    assert_int_equal(one_get(&one, WINDOW, SYN, 7, 0), 0);
    assert_int_equal(one_stats(&one).streams_refused, 1);
    total = SKEP_YAMUX_WINDOW + 1;
    one_sent(&one); /* a window of it */
    assert_int_equal(total, 1);
    skep_yamux_reset(one.seen[0].stream);
    assert_int_equal(total, 0);
    one_end(&one);
}

static void a_flood_of_pings_keeps_16_answers(void **state)
{
    (void)state;
    one_start(&one, false);
    for (uint32_t i = 0; i <= SKEP_YAMUX_PINGS_MAX; i++)
        assert_int_equal(one_get(&one, PING, SYN, 0, i), 0);
    assert_int_equal(one_stats(&one).pings_dropped, 1);
    assert_string_equal(
        one_sent(&one),
        "ping A 0 1;ping A 0 2;ping A 0 3;ping A 0 4;ping A 0 5;ping A 0 6;ping A 0 7;"
        "ping A 0 8;ping A 0 9;ping A 0 10;ping A 0 11;ping A 0 12;ping A 0 13;"
        "ping A 0 14;ping A 0 15;ping A 0 16;");
    one_end(&one);
}

static void the_windows_of_a_session_stop_growing_at_64_mib(void **state)
{
    uint64_t granted = 0;
    uint32_t delta;

    (void)state;
    one_start(&one, false);
    one.auto_accept = true;
    for (uint32_t id = 1; id < 20; id += 2) {
        uint32_t left = SKEP_YAMUX_WINDOW;

        assert_int_equal(one_get(&one, WINDOW, SYN, id, 0), 0);
        one_sent(&one);
        for (int i = 0; i < 40; i++) {
            uint32_t n = SKEP_MIN(left, 1u << 20);
            const char *sent;

            one.now_us += 1;
            assert_int_equal(one_get(&one, DATA, 0, id, n), 0);
            left -= n;
            sent = one_sent(&one);
            if (strncmp(sent, "ping S", 6) == 0) {
                one.now_us += 1000000; /* a slow way: every consumer looks quick */
                assert_int_equal(one_get(&one, PING, ACK, 0, (uint32_t)atoi(sent + 8)), 0);
                sent = strchr(sent, ';') + 1;
            }
            if (sscanf(sent, "window %*u %u;", &delta) == 1)
                left += delta;
        }
        granted += left;
    }
    assert_true(granted > 30 << 20);
    assert_true(granted <= SKEP_YAMUX_SESSION_WINDOW_MAX);
    one_end(&one);
}

static int live_with(const struct skep_mem *mem, void *user)
{
    static uint8_t out[4096];
    struct skep_yamux_stream *stream;
    struct skep_yamux *session;
    uint8_t frame[SKEP_YAMUX_HEADER_LEN + 5] = {0};
    int rc, worst = 0;

    (void)user;
    memset(&one, 0, sizeof one);
    skep_map_set_mem(mem);
    if ((rc = skep_yamux_new(&session, mem, false, &one_events, &one)) < 0)
        goto out;
    for (size_t i = 0; i < 30; i++) {
        struct seen *seen = one_new_seen(&one);

        rc = skep_yamux_open(session, &stream, &one_stream_events, seen, 100);
        if (rc == 0)
            rc = skep_yamux_write(stream, skep_bytes_of((uint8_t[3000]){0}, 3000));
        worst = SKEP_MIN(worst, rc);
        skep_yamux_put_header(frame, SKEP_YAMUX_DATA, SYN, (uint32_t)(2 * i + 1), 5);
        if ((rc = skep_yamux_receive(session, skep_bytes_of(frame, sizeof frame), 1)) < 0)
            fail_msg("a stream that finds no memory is refused; it is not the peer's fault: %s",
                     skep_error_name(rc));
    }
    while (skep_yamux_pull(session, out, sizeof out) > 0)
        ;
    skep_yamux_free(session, 0);
    rc = worst;
out:
    skep_map_set_mem(&skep_mem_std);
    return rc;
}

static void each_allocation_may_fail(void **state)
{
    (void)state;
    test_each_allocation_fails(live_with, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_past_the_window_ends_the_connection),
        cmocka_unit_test(window_counts_only_once_the_grant_is_sent),
        cmocka_unit_test(a_syn_of_the_wrong_parity_ends_the_connection),
        cmocka_unit_test(a_second_syn_for_a_live_stream_ends_the_connection),
        cmocka_unit_test(a_stream_frame_for_the_session_ends_the_connection),
        cmocka_unit_test(unknown_versions_types_and_giant_lengths_end_the_connection),
        cmocka_unit_test(a_window_that_passes_32_bits_ends_the_connection),
        cmocka_unit_test(data_for_unknown_streams_is_drained_and_counted),
        cmocka_unit_test(streams_beyond_the_backlog_are_reset_until_some_are_accepted),
        cmocka_unit_test(a_burst_of_100000_syns_costs_little_memory_and_each_is_told),
        cmocka_unit_test(scattered_refusals_beyond_32_runs_are_dropped_and_counted),
        cmocka_unit_test(live_streams_are_at_most_4096_whoever_opened_them),
        cmocka_unit_test(we_wait_for_the_peer_after_256_streams_not_acknowledged),
        cmocka_unit_test(who_leaves_64_mib_unread_opens_no_more_streams),
        cmocka_unit_test(above_256_mib_of_all_sessions_those_that_read_are_served_on),
        cmocka_unit_test(a_flood_of_pings_keeps_16_answers),
        cmocka_unit_test(the_windows_of_a_session_stop_growing_at_64_mib),
        cmocka_unit_test(each_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
