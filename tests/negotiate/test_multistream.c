/* SPDX-License-Identifier: MIT */
/* multistream-select against bytes of the real thing (vectors/transport.json), cut at each byte, and against peers that break it. */
#include "support/test.h"

#include "base/limits.h"
#include "negotiate/multistream.h"

#define HEADER "\x13/multistream/1.0.0\n"
#define NOISE "\x07/noise\n"
#define TLS "\x0b/tls/1.0.0\n"
#define NA "\x03na\n"

static const char *const noise_only[] = {"/noise"};
static const char *const tls_then_noise[] = {"/tls/1.0.0", "/noise"};

static const char *lookup_noise(void *user, skep_bytes protocol)
{
    (void)user;
    return skep_bytes_equal(protocol, skep_bytes_str("/noise")) ? "/noise" : NULL;
}

static skep_bytes bytes_of(const char *text)
{
    return skep_bytes_str(text);
}

static void assert_sent(const struct skep_buf *out, const char *expected)
{
    assert_int_equal(out->rc, 0);
    assert_string_equal(test_hex(out->data, out->len), test_hex(expected, strlen(expected)));
}

/* One exchange seen from one side: what it gets, what it must have sent in all, how it ends. */
struct exchange {
    const char *in, *out;
    bool is_dialer, send_header;
    int rc;
    size_t left; /* bytes of `in` that are not the negotiation's */
    const char *chosen;
};

static const struct exchange exchanges[] = {
    {HEADER NOISE, HEADER NOISE, false, true, 1, 0, "/noise"},
    {HEADER NOISE, HEADER NOISE, false, false, 1, 0, "/noise"},
    {HEADER NOISE "rest", HEADER NOISE, false, false, 1, 4, "/noise"},
    {HEADER TLS NOISE "rest", HEADER NA NOISE, false, false, 1, 4, "/noise"},
    {HEADER "\x03ls\n" NOISE, HEADER NA NOISE, false, false, 1, 0, "/noise"},
    {HEADER "\x01\n" NOISE, HEADER NA NOISE, false, false, 1, 0, "/noise"},
    {HEADER "\x03na\n", HEADER NA, false, false, 0, 0, NULL},
    {HEADER, HEADER, false, false, 0, 0, NULL},
    {NOISE, "", false, false, SKEP_EPEER_PROTO, 0, NULL},
    {HEADER NOISE, HEADER NOISE, true, false, 1, 0, "/noise"},
    {HEADER NOISE "rest", HEADER NOISE, true, false, 1, 4, "/noise"},
    {HEADER NA, HEADER NOISE, true, false, SKEP_EPEER_UNSUPPORTED, 0, NULL},
    {HEADER TLS, HEADER NOISE, true, false, SKEP_EPEER_PROTO, 0, NULL},
    {HEADER HEADER NOISE, HEADER NOISE, true, false, SKEP_EPEER_PROTO, 8, NULL},
};

static void start(struct skep_multistream *ms, const struct exchange *e, const struct skep_mem *mem,
                  struct skep_buf *out)
{
    if (e->is_dialer)
        skep_multistream_dial(ms, mem, noise_only, 1, out);
    else
        skep_multistream_listen(ms, mem, lookup_noise, NULL, e->send_header, out);
}

static void an_exchange_ends_as_it_should_wherever_its_bytes_are_cut(void **state)
{
    struct test_mem mem;

    (void)state;
    test_mem_init(&mem);
    for (size_t i = 0; i < SKEP_COUNT_OF(exchanges); i++) {
        const struct exchange *e = &exchanges[i];

        for (size_t cut = 0; cut <= strlen(e->in); cut++) {
            skep_bytes all = bytes_of(e->in), first = skep_bytes_take(&all, cut);
            struct skep_multistream ms;
            struct skep_buf out;
            int rc;

            skep_buf_init(&out, &mem.mem);
            start(&ms, e, &mem.mem, &out);
            rc = skep_multistream_next(&ms, &first, &out);
            if (rc == 0) {
                assert_int_equal(first.len, 0);
                rc = skep_multistream_next(&ms, &all, &out);
            }
            assert_int_equal(rc, e->rc);
            assert_int_equal(first.len + all.len, e->left);
            assert_sent(&out, e->out);
            if (rc == 1)
                assert_string_equal(ms.chosen, e->chosen);
            skep_multistream_fini(&ms);
            skep_buf_fini(&out);
        }
    }
    assert_int_equal(mem.live, 0);
}

static void one_byte_at_a_time_needs_one_allocation(void **state)
{
    struct skep_multistream ms;
    struct skep_buf out;
    struct test_mem mem;
    skep_bytes in = bytes_of(HEADER TLS NOISE "x");
    int rc = 0;

    (void)state;
    test_mem_init(&mem);
    skep_buf_init(&out, &skep_mem_std);
    skep_multistream_listen(&ms, &mem.mem, lookup_noise, NULL, false, &out);
    while (rc == 0) {
        skep_bytes one = skep_bytes_take(&in, 1);

        rc = skep_multistream_next(&ms, &one, &out);
    }
    assert_int_equal(rc, 1);
    assert_int_equal(in.len, 1);
    assert_int_equal(mem.allocations, 1);
    assert_int_equal(mem.live, 0);
    assert_sent(&out, HEADER NA NOISE);
    skep_buf_fini(&out);
}

static void whole_tokens_need_no_allocation(void **state)
{
    struct skep_multistream ms;
    struct skep_buf out;
    struct test_mem mem;
    skep_bytes in = bytes_of(HEADER NOISE "request");

    (void)state;
    test_mem_init(&mem);
    skep_buf_init(&out, &skep_mem_std);
    skep_multistream_listen(&ms, &mem.mem, lookup_noise, NULL, false, &out);
    assert_int_equal(skep_multistream_next(&ms, &in, &out), 1);
    assert_int_equal(mem.allocations, 0);
    assert_int_equal(in.len, 7);
    skep_buf_fini(&out);
}

static void a_dialler_proposes_the_next_after_a_refusal(void **state)
{
    struct skep_multistream ms;
    struct skep_buf out;
    skep_bytes in = bytes_of(HEADER NA);

    (void)state;
    skep_buf_init(&out, &skep_mem_std);
    skep_multistream_dial(&ms, &skep_mem_std, tls_then_noise, 2, &out);
    assert_sent(&out, HEADER TLS);
    assert_int_equal(skep_multistream_next(&ms, &in, &out), 0);
    assert_sent(&out, HEADER TLS NOISE);
    in = bytes_of(NOISE);
    assert_int_equal(skep_multistream_next(&ms, &in, &out), 1);
    assert_string_equal(ms.chosen, "/noise");
    skep_multistream_fini(&ms);
    skep_buf_fini(&out);
}

/* Replay of vectors/transport.json: what is marked "recv" goes in, and "send" must come out, byte for byte. */
static void replay(const char *name, bool is_dialer, int end)
{
    json_t *socket = test_get(test_get(test_vectors("transport.json"), name), "socket"), *step;
    struct skep_buf out, expected;
    struct skep_multistream ms;
    size_t i;
    int rc = 0;

    skep_buf_init(&out, &skep_mem_std);
    skep_buf_init(&expected, &skep_mem_std);
    if (is_dialer)
        skep_multistream_dial(&ms, &skep_mem_std, noise_only, 1, &out);
    else
        skep_multistream_listen(&ms, &skep_mem_std, lookup_noise, NULL, true, &out);
    json_array_foreach(socket, i, step)
    {
        skep_bytes bytes = test_unhex(test_str(step, "bytes"));

        if (strcmp(test_str(step, "kind"), "multistream") != 0)
            break;
        if (strcmp(test_str(step, "dir"), "send") == 0)
            skep_buf_put_bytes(&expected, bytes);
        else
            rc = skep_multistream_next(&ms, &bytes, &out);
    }
    assert_int_equal(rc, end);
    assert_string_equal(test_hex(out.data, out.len), test_hex(expected.data, expected.len));
    skep_multistream_fini(&ms);
    skep_buf_fini(&out);
    skep_buf_fini(&expected);
}

static void what_p2pd_was_seen_to_do_is_understood(void **state)
{
    (void)state;
    replay("live_dial", true, 1);
    replay("live_accept", false, 1);
}

static const char *lookup_nothing(void *user, skep_bytes protocol)
{
    (void)protocol;
    ++*(size_t *)user;
    return NULL;
}

static void what_p2pd_proposes_when_all_is_refused_is_answered_with_na(void **state)
{
    json_t *socket = test_get(test_get(test_vectors("transport.json"), "live_accept_noise_refused"),
                              "socket"),
           *step;
    struct skep_buf out, expected;
    struct skep_multistream ms;
    size_t i, asked = 0;

    (void)state;
    skep_buf_init(&out, &skep_mem_std);
    skep_buf_init(&expected, &skep_mem_std);
    skep_multistream_listen(&ms, &skep_mem_std, lookup_nothing, &asked, true, &out);
    json_array_foreach(socket, i, step)
    {
        skep_bytes bytes = test_unhex(test_str(step, "bytes"));

        if (strcmp(test_str(step, "dir"), "send") == 0)
            skep_buf_put_bytes(&expected, bytes);
        else
            assert_int_equal(skep_multistream_next(&ms, &bytes, &out), 0);
    }
    assert_int_equal(asked, 2);
    assert_string_equal(test_hex(out.data, out.len), test_hex(expected.data, expected.len));
    skep_multistream_fini(&ms);
    skep_buf_fini(&out);
    skep_buf_fini(&expected);
}

static int listen_to(const void *bytes, size_t len)
{
    struct skep_multistream ms;
    struct skep_buf out;
    skep_bytes in = skep_bytes_of(bytes, len), again = bytes_of(NOISE);
    int rc;

    skep_buf_init(&out, &skep_mem_std);
    skep_multistream_listen(&ms, &skep_mem_std, lookup_noise, NULL, false, &out);
    rc = skep_multistream_next(&ms, &in, &out);
    if (rc < 0)
        assert_int_equal(skep_multistream_next(&ms, &again, &out), rc); /* an error is for good */
    skep_multistream_fini(&ms);
    skep_buf_fini(&out);
    return rc;
}

static void a_token_above_1024_bytes_is_refused(void **state)
{
    struct skep_buf in;

    (void)state;
    for (size_t len = SKEP_NEGOTIATE_TOKEN_MAX; len <= SKEP_NEGOTIATE_TOKEN_MAX + 1; len++) {
        skep_buf_init(&in, &skep_mem_std);
        skep_multistream_put(&in, "/multistream/1.0.0");
        skep_buf_put_u8(&in, (uint8_t)(len | 0x80));
        skep_buf_put_u8(&in, (uint8_t)(len >> 7));
        for (size_t i = 0; i + 1 < len; i++)
            skep_buf_put_u8(&in, 'a');
        skep_buf_put_u8(&in, '\n');
        assert_int_equal(listen_to(in.data, in.len),
                         len > SKEP_NEGOTIATE_TOKEN_MAX ? SKEP_EPEER_LIMIT : 0);
        /* the length alone is enough to refuse it */
        assert_int_equal(listen_to(in.data, 22),
                         len > SKEP_NEGOTIATE_TOKEN_MAX ? SKEP_EPEER_LIMIT : 0);
        skep_buf_fini(&in);
    }
    assert_int_equal(listen_to("\xff\xff", 2), SKEP_EPEER_LIMIT);
}

static void a_token_that_is_empty_or_has_no_newline_is_refused(void **state)
{
    (void)state;
    assert_int_equal(listen_to("\0", 1), SKEP_EPEER_PROTO);
    assert_int_equal(listen_to("\x13/multistream/1.0.0 ", 20), SKEP_EPEER_PROTO);
}

static void a_peer_may_propose_64_times_and_no_more(void **state)
{
    struct skep_multistream ms;
    struct skep_buf out;
    skep_bytes header = bytes_of(HEADER);
    size_t asked = 0;

    (void)state;
    skep_buf_init(&out, &skep_mem_std);
    skep_multistream_listen(&ms, &skep_mem_std, lookup_nothing, &asked, false, &out);
    assert_int_equal(skep_multistream_next(&ms, &header, &out), 0);
    for (size_t i = 0; i <= SKEP_NEGOTIATE_PROPOSALS_MAX; i++) {
        skep_bytes in = bytes_of(NOISE);

        assert_int_equal(skep_multistream_next(&ms, &in, &out),
                         i < SKEP_NEGOTIATE_PROPOSALS_MAX ? 0 : SKEP_EPEER_LIMIT);
    }
    skep_multistream_fini(&ms);
    skep_buf_fini(&out);
}

static int negotiate_in_pieces(const struct skep_mem *mem, void *user)
{
    struct skep_multistream ms;
    struct skep_buf out;
    skep_bytes in = bytes_of(HEADER NOISE);
    int rc = 0;

    (void)user;
    skep_buf_init(&out, mem);
    skep_multistream_listen(&ms, mem, lookup_noise, NULL, false, &out);
    while (rc == 0) {
        skep_bytes piece = skep_bytes_take(&in, 3);

        rc = skep_multistream_next(&ms, &piece, &out);
    }
    skep_multistream_fini(&ms);
    skep_buf_fini(&out);
    return rc == 1 ? 0 : rc;
}

static void each_allocation_may_fail(void **state)
{
    (void)state;
    test_each_allocation_fails(negotiate_in_pieces, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_exchange_ends_as_it_should_wherever_its_bytes_are_cut),
        cmocka_unit_test(one_byte_at_a_time_needs_one_allocation),
        cmocka_unit_test(whole_tokens_need_no_allocation),
        cmocka_unit_test(a_dialler_proposes_the_next_after_a_refusal),
        cmocka_unit_test(what_p2pd_was_seen_to_do_is_understood),
        cmocka_unit_test(what_p2pd_proposes_when_all_is_refused_is_answered_with_na),
        cmocka_unit_test(a_token_above_1024_bytes_is_refused),
        cmocka_unit_test(a_token_that_is_empty_or_has_no_newline_is_refused),
        cmocka_unit_test(a_peer_may_propose_64_times_and_no_more),
        cmocka_unit_test(each_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
