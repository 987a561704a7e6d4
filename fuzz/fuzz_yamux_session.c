/* SPDX-License-Identifier: MIT */
/* A session between a hostile peer and a busy user. Properties: it never breaks a bound, each stream is told of its end at most once,
 * what it sends are whole frames, and all memory comes back. (That it keeps to windows is tests/mux/test_yamux_pair.c's to show.)
 *
 * input: a byte a step; high bits choose: a frame from the peer made of the next bytes, or something the user does */
#include <stdlib.h>

#include "base/map.h"
#include "mux/yamux_session.h"

enum { SLOTS = 32 };

struct slot {
    struct skep_yamux_stream *stream;
    size_t unconsumed;
};

struct world {
    struct skep_yamux *session;
    struct slot slots[SLOTS];
    skep_bytes script;
    uint64_t now_us;
    struct skep_yamux_parser sent; /* of what we send */
};

static uint8_t next_byte(struct world *world)
{
    skep_bytes got = skep_bytes_take(&world->script, 1);

    return got.len > 0 ? got.data[0] : 0;
}

static struct world the_world;

static void on_data(void *user, struct skep_yamux_stream *stream, skep_bytes data)
{
    struct slot *slot = user;
    uint8_t choice = next_byte(&the_world);

    if (slot->stream != stream)
        abort();
    slot->unconsumed += data.len;
    if (choice % 8 == 0) {
        slot->stream = NULL;
        skep_yamux_reset(stream);
    } else if (choice % 8 == 1) {
        skep_yamux_write(stream, data);
    } else if (choice % 8 != 2) {
        skep_yamux_consume(stream, slot->unconsumed);
        slot->unconsumed = 0;
    }
}

static void on_eof(void *user, struct skep_yamux_stream *stream)
{
    struct slot *slot = user;
    uint8_t choice = next_byte(&the_world);

    if (choice % 4 == 0) {
        slot->stream = NULL;
        skep_yamux_reset(stream);
    } else if (choice % 4 == 1) {
        skep_yamux_close_write(stream);
    }
}

static void on_writable(void *user, struct skep_yamux_stream *stream)
{
    struct slot *slot = user;

    if (slot->stream != stream)
        abort();
    if (next_byte(&the_world) % 4 == 0) {
        slot->stream = NULL;
        skep_yamux_reset(stream);
    }
}

static void on_close(void *user, struct skep_yamux_stream *stream, int rc)
{
    struct slot *slot = user;

    (void)rc;
    if (slot->stream != stream)
        abort();
    slot->stream = NULL;
}

static const struct skep_yamux_stream_events stream_events = {on_data, on_writable, on_eof,
                                                              on_close};

static struct slot *free_slot(struct world *world)
{
    for (size_t i = 0; i < SLOTS; i++)
        if (!world->slots[i].stream) {
            world->slots[i].unconsumed = 0;
            return &world->slots[i];
        }
    return NULL;
}

static void on_stream(void *user, struct skep_yamux_stream *stream)
{
    struct world *world = user;
    struct slot *slot = free_slot(world);

    if (!slot)
        return;
    slot->stream = stream;
    skep_yamux_stream_use(stream, &stream_events, slot, 100);
    if (next_byte(world) % 2)
        skep_yamux_accept(stream);
}

static const struct skep_yamux_events events = {.on_stream = on_stream};

static void pull(struct world *world, size_t cap)
{
    static uint8_t out[4096];
    struct skep_yamux_event event;
    size_t n = skep_yamux_pull(world->session, out, cap);
    skep_bytes in = skep_bytes_of(out, n);

    if (n > cap)
        abort();
    while (skep_yamux_next(&world->sent, &in, &event) > 0)
        ;
    if (world->sent.state != SKEP_YAMUX_EXPECT_HEADER || world->sent.header_len != 0)
        abort();
}

static void peer_sends(struct world *world, uint8_t step)
{
    static const uint32_t lengths[] = {0, 1, 20, 1000, 65535, 131072, 262144, 0xffffffff};
    static uint8_t frame[SKEP_YAMUX_HEADER_LEN + 2000];
    uint32_t length = lengths[next_byte(world) % 8];
    size_t body = (step & 3) == SKEP_YAMUX_DATA ? SKEP_MIN((size_t)length, 2000) : 0;

    skep_yamux_put_header(frame, (enum skep_yamux_type)(step & 3), next_byte(world) & 15,
                          next_byte(world) % 40, length);
    skep_yamux_receive(world->session, skep_bytes_of(frame, SKEP_YAMUX_HEADER_LEN + body),
                       ++world->now_us);
    for (size_t left = (step & 3) == SKEP_YAMUX_DATA ? length - body : 0;
         left > 0 && length <= 262144;) {
        size_t n = SKEP_MIN(left, sizeof frame);

        skep_yamux_receive(world->session, skep_bytes_of(frame, n), world->now_us);
        left -= n;
    }
}

static void user_acts(struct world *world, uint8_t step)
{
    struct slot *slot = &world->slots[next_byte(world) % SLOTS], *fresh = free_slot(world);
    static const uint8_t bytes[4000];

    if (step % 8 == 0 && fresh &&
        skep_yamux_open(world->session, &fresh->stream, &stream_events, fresh, 100) < 0 &&
        fresh->stream)
        abort();
    if (step % 8 == 1)
        pull(world, 64 + next_byte(world) * 15u);
    if (step % 8 == 2)
        skep_yamux_on_time(world->session, world->now_us += 5000000);
    if (step % 8 == 3 && next_byte(world) == 9)
        skep_yamux_go_away(world->session, 0);
    if (!slot->stream)
        return;
    switch (step % 8) {
    case 4: skep_yamux_write(slot->stream, skep_bytes_of(bytes, next_byte(world) * 15u)); break;
    case 5: skep_yamux_close_write(slot->stream); break;
    case 6: {
        struct skep_yamux_stream *stream = slot->stream;

        slot->stream = NULL;
        skep_yamux_reset(stream);
        break;
    }
    case 7:
        skep_yamux_accept(slot->stream);
        skep_yamux_consume(slot->stream, slot->unconsumed);
        slot->unconsumed = 0;
        break;
    default: break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct world *world = &the_world;

    *world = (struct world){.script = skep_bytes_of(data, len)};
    if (skep_yamux_new(&world->session, &skep_mem_std, len % 2, &events, world) < 0)
        abort();
    while (world->script.len > 0) {
        uint8_t step = next_byte(world);

        if (step & 0x80)
            peer_sends(world, step);
        else
            user_acts(world, step);
    }
    if (skep_yamux_stream_count(world->session) > SLOTS)
        abort();
    skep_yamux_free(world->session, SKEP_ECANCELED);
    for (size_t i = 0; i < SLOTS; i++)
        if (world->slots[i].stream)
            abort();
    return 0;
}
