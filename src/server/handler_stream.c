/* SPDX-License-Identifier: MIT */
/* Streamed forward and backward: a request in parts, an answer in parts, and their memory. docs/wire.md b.2, e.4; hivemind utils/streaming.py.
 *
 *   LINED_UP --room for a first part--> READING --end mark, all checked--> COMPUTING --done--> ANSWERING --last part--> ENDING --has left--> gone
 *                                       |     ^
 *            its first tensor begins, no room  `--room for all of it
 *                                       v     |
 *                                       GROWING
 *
 * A stream is paused from its first moment until it is let in, so that no more of it than the first window waits in the network. It is let in with what its first
 * part may take: one message, and what its window, which has grown meanwhile, may bring behind that (START_BYTES). The first tensor's first part tells
 * how large the batch is, and so how large all of the request and its answer will be: that is claimed at once. If there is no room, the stream is paused
 * again, and what still comes of its window is held as it is; budget.h says why it gets on in the end. Tensors whose form is not that of the first may
 * need more than was expected: that is claimed too, and the request is refused if there is none.
 *
 * Left out: parts are not given to the expert before the request is whole. */
#include "base/limits.h"
#include "server/expert_work.h"

enum {
    /* A window starts at 256 KiB and doubles when half of it was used up quickly: of a message of 4 MiB it is 8 MiB by the end. */
    WINDOW_BYTES = 8 << 20,
    START_BYTES = SKEP_EXPERT_MESSAGE_MAX + WINDOW_BYTES + sizeof(struct request),
    BACKLOG_MAX = 1 << 20,  /* answers are written on while less of them is queued */
    BACKLOG_LOW = 64 << 10, /* on_writable comes when what was above it falls below */
};
_Static_assert(START_BYTES <= SKEP_EXPERT_MEMORY_MIN / 2, "the first in line can always be let in");

/* A message that came while its stream was paused. */
struct held {
    struct skep_list entry;
    size_t len;
    uint8_t data[];
};

static const struct skep_rpc_ops *ops_of(const struct request *r)
{
    return r->handler->rpc->ops;
}

static uint64_t now_us(const struct skep_handler *handler)
{
    return skep_env_now_us(handler->rpc->env);
}

static size_t queued(const struct request *r)
{
    return ops_of(r)->stream_queued(r->stream);
}

/* ---- the end of one ---- */

void skep_stream_refuse(struct request *r, const struct skep_exception *exception)
{
    char text[SKEP_EXCEPTION_LEN_MAX];
    struct skep_rpc_stream *stream = r->stream;

    r->stream = NULL;
    ops_of(r)->stream_fail(stream, skep_bytes_str(skep_exception_str(exception, text)));
    skep_expert_work_end(r);
}

static void refuse(struct request *r, const struct skep_exception *exception)
{
    r->handler->stats.refused++;
    skep_stream_refuse(r, exception);
}

static void cancel(struct request *r)
{
    struct skep_rpc_stream *stream = r->stream;

    r->stream = NULL;
    ops_of(r)->stream_cancel(stream);
    skep_expert_work_end(r);
}

static void on_error(struct skep_rpc_stream *stream, void *user, int rc, skep_bytes text)
{
    struct request *r = user;

    (void)stream, (void)rc, (void)text;
    r->stream = NULL;
    r->handler->stats.canceled++;
    skep_expert_work_end(r);
}

/* ---- whose turn it is to do something ---- */

/* The peer has so long for the next step. */
static void watch(struct request *r)
{
    skep_list_remove(&r->line);
    r->moved_us = now_us(r->handler);
    r->moved_bytes = r->state == REQUEST_READING ? 0 : queued(r);
    skep_list_push_back(&r->handler->moving, &r->line);
    skep_handler_turn_at(r->handler, r->moved_us + SKEP_EXPERT_STREAM_IDLE_US);
}

static void unwatch(struct request *r)
{
    skep_list_remove(&r->line);
}

/* A peer that sends a byte now and then does not get on. */
static void count_progress(struct request *r, size_t bytes)
{
    r->moved_bytes += bytes;
    if (r->moved_bytes >= SKEP_EXPERT_PROGRESS_BYTES)
        watch(r);
}

static bool has_progressed(const struct request *r)
{
    return r->state != REQUEST_READING && queued(r) < r->moved_bytes;
}

static uint64_t drop_idle(struct skep_handler *handler)
{
    struct skep_exception exception;

    while (!skep_list_empty(&handler->moving)) {
        struct request *r = SKEP_LIST_ITEM(handler->moving.next, struct request, line);
        uint64_t deadline_us = r->moved_us + SKEP_EXPERT_STREAM_IDLE_US;

        if (deadline_us > now_us(handler))
            return deadline_us;
        if (has_progressed(r)) {
            watch(r);
        } else if (r->state == REQUEST_READING) {
            skep_exception_set(&exception, "TimeoutError", "the request did not go on for %d s",
                               SKEP_EXPERT_STREAM_IDLE_US / 1000000);
            refuse(r, &exception);
        } else {
            cancel(r);
        }
    }
    return SKEP_NEVER_US;
}

/* ---- answering ---- */

static void end_when_it_has_left(struct request *r)
{
    struct skep_rpc_stream *stream = r->stream;

    if (queued(r) > BACKLOG_LOW) {
        watch(r);
        return;
    }
    r->stream = NULL;
    ops_of(r)->stream_end(stream);
    skep_expert_work_end(r);
}

static void write_on(struct request *r)
{
    while (queued(r) < BACKLOG_MAX) {
        skep_bytes head, body;
        int rc = skep_expert_writer_next(&r->writer, &head, &body);

        if (rc == 0) {
            r->state = REQUEST_ENDING;
            end_when_it_has_left(r);
            return;
        }
        if (rc < 0 || ops_of(r)->stream_send(r->stream, head, body) < 0) {
            cancel(r); /* half an answer: only a reset can say that it is none */
            return;
        }
    }
    watch(r);
}

static void on_writable(struct skep_rpc_stream *stream, void *user)
{
    struct request *r = user;

    (void)stream;
    if (r->state == REQUEST_ANSWERING)
        write_on(r);
    else if (r->state == REQUEST_ENDING)
        end_when_it_has_left(r);
}

static void finish(struct request *r, const struct skep_exception *exception)
{
    size_t bytes;

    if (exception) {
        skep_stream_refuse(r, exception);
        return;
    }
    bytes = sizeof *r + skep_expert_work_output_bytes(r) + skep_expert_work_writing_bytes(r);
    skep_expert_reader_fini(&r->reader);
    (void)skep_budget_set(&r->handler->budget, &r->claim, bytes); /* not more than it has */
    skep_handler_turn_at(r->handler, now_us(r->handler));
    skep_expert_writer_init(&r->writer, r->mem, SKEP_EXPERT_RESPONSE, (skep_bytes){NULL, 0},
                            r->task.outputs, skep_expert_work_compressions(r),
                            r->task.output_count);
    r->writing = true;
    r->state = REQUEST_ANSWERING;
    write_on(r);
}

/* ---- reading ---- */

static int compute(struct request *r, struct skep_exception *exception)
{
    int rc;

    if (skep_expert_reader_end(&r->reader) < 0)
        return skep_expert_work_reader_failed(r, exception);
    if (!r->expert)
        return skep_exception_set_key(exception, (skep_bytes){NULL, 0});
    if ((rc = skep_expert_work_check(r, true, exception)) < 0 ||
        (rc = skep_expert_work_claim(r, skep_expert_work_writing_bytes(r), exception)) < 0)
        return rc;
    skep_budget_settle(&r->claim);
    r->state = REQUEST_COMPUTING;
    return skep_expert_work_submit(r, exception);
}

static void on_whole(struct request *r)
{
    struct skep_exception exception;

    unwatch(r);
    if (compute(r, &exception) < 0)
        refuse(r, &exception);
}

static bool claim_all(struct request *r)
{
    if (!skep_budget_set(&r->handler->budget, &r->claim, r->need))
        return false;
    skep_budget_settle(&r->claim);
    skep_handler_turn_at(r->handler, now_us(r->handler)); /* the next is the head */
    r->grown = true;
    return true;
}

/* The first tensor of the request begins: now its size is known. @return 1; 0: there is no room for it yet. */
static int grow(struct request *r, const struct skep_expert_peek *peek,
                struct skep_exception *exception)
{
    size_t most = r->handler->budget.kept;
    int rc = skep_expert_work_check_tensor(r, 0, &peek->first, exception);

    if (rc < 0)
        return rc;
    r->need = skep_expert_work_estimate(r, peek, &r->reader_max);
    if (r->need > most)
        return skep_exception_set(
            exception, "ValueError",
            "the request and its answer take %zu bytes and this server has at most %zu for one",
            r->need, most);
    r->need += r->held_bytes;
    return claim_all(r);
}

/* Tensors that take more than the first let expect. */
static int expect_more(struct request *r, size_t needed, struct skep_exception *exception)
{
    size_t more = needed - SKEP_MIN(r->reader_max, needed);

    if (more == 0 || needed > SKEP_EXPERT_BYTES_MAX)
        return 0; /* the reader will say that it is too large */
    if (more > r->handler->budget.total ||
        !skep_budget_set(&r->handler->budget, &r->claim, r->claim.bytes + more))
        return skep_exception_set(
            exception, "MemoryError",
            "the request needs %zu bytes and the server has less than that for it now", needed);
    r->reader_max = needed;
    return 0;
}

/* @return 1: it was taken; 0: there is no room for it yet. */
static int take(struct request *r, skep_bytes message, struct skep_exception *exception)
{
    struct skep_expert_peek peek;
    int rc;

    if (message.len > SKEP_EXPERT_MESSAGE_MAX)
        return skep_exception_set(exception, "ValueError",
                                  "a message of a stream has at most %d bytes",
                                  SKEP_EXPERT_MESSAGE_MAX);
    if (!r->expert && (rc = skep_expert_work_find(r, message, &r->peer, exception)) < 0)
        return rc;
    skep_expert_reader_peek(&r->reader, message, &peek);
    if (peek.begun > 0 && !r->grown && (rc = grow(r, &peek, exception)) <= 0)
        return rc;
    if (r->grown && (rc = expect_more(r, peek.needed, exception)) < 0)
        return rc;
    r->reader.bytes_max = r->grown ? SKEP_MIN(r->reader_max, (size_t)SKEP_EXPERT_BYTES_MAX) : 0;
    if (skep_expert_reader_add(&r->reader, message) < 0)
        return skep_expert_work_reader_failed(r, exception);
    if ((rc = skep_expert_work_check(r, false, exception)) < 0)
        return rc;
    count_progress(r, message.len);
    return 1;
}

/* ---- messages that have to wait ---- */

void skep_stream_forget_held(struct request *r)
{
    while (!skep_list_empty(&r->held)) {
        struct held *held = SKEP_LIST_ITEM(r->held.next, struct held, entry);

        skep_list_remove(&held->entry);
        skep_mem_free(r->mem, held);
    }
}

/* What it is let in with is enough for what it may send meanwhile; in line it claims what it sends. */
static int hold(struct request *r, skep_bytes message, struct skep_exception *exception)
{
    size_t bytes = r->held_bytes + sizeof(struct held) + message.len;
    struct held *held;
    bool fits = r->state == REQUEST_LINED_UP
                    ? skep_budget_set(&r->handler->budget, &r->claim, bytes)
                    : bytes <= START_BYTES - sizeof *r;

    if (!fits)
        return skep_exception_set(exception, "MemoryError",
                                  "the server has no memory left for this request");
    if (!(held = skep_mem_alloc(r->mem, sizeof *held + message.len)))
        return skep_exception_set(exception, "MemoryError", "out of memory");
    held->len = message.len;
    skep_bytes_copy(held->data, message);
    skep_list_push_back(&r->held, &held->entry);
    r->held_bytes = bytes;
    return 0;
}

static void pause_growing(struct request *r)
{
    r->state = REQUEST_GROWING;
    ops_of(r)->stream_pause(r->stream, true);
    unwatch(r);
    r->handler->stats.waiting_streams++;
}

/* Whatever waited may go on: its messages, then its end. */
static void go_on(struct request *r)
{
    struct skep_exception exception;

    r->state = REQUEST_READING;
    r->handler->stats.waiting_streams--;
    ops_of(r)->stream_pause(r->stream, false);
    watch(r);
    while (!skep_list_empty(&r->held)) {
        struct held *held = SKEP_LIST_ITEM(r->held.next, struct held, entry);
        int rc = take(r, skep_bytes_of(held->data, held->len), &exception);

        if (rc == 0) {
            pause_growing(r);
            return;
        }
        if (rc < 0) {
            refuse(r, &exception);
            return;
        }
        r->held_bytes -= sizeof *held + held->len;
        skep_list_remove(&held->entry);
        skep_mem_free(r->mem, held);
    }
    if (r->ended)
        on_whole(r);
}

static bool may_be_let_in(struct request *r)
{
    return skep_budget_admit(&r->handler->budget, &r->claim, START_BYTES);
}

uint64_t skep_handler_streams_turn(struct skep_handler *handler)
{
    SKEP_LIST_EACH(&handler->budget.growing, node, after)
    {
        struct request *r = SKEP_LIST_ITEM(node, struct request, claim.entry);

        if (r->state == REQUEST_GROWING && claim_all(r))
            go_on(r);
    }
    while (!skep_list_empty(&handler->line)) {
        struct request *r = SKEP_LIST_ITEM(handler->line.next, struct request, line);

        if (!may_be_let_in(r))
            break;
        go_on(r);
    }
    return drop_idle(handler);
}

/* ---- events ---- */

static void on_message(struct skep_rpc_stream *stream, void *user, skep_bytes message)
{
    struct request *r = user;
    struct skep_exception exception;
    int rc = 0;

    if (r->state > REQUEST_GROWING)
        return; /* behind the end mark */
    ops_of(r)->stream_consume(stream,
                              message.len); /* whoever is paused gives no window back for it */
    if (r->state == REQUEST_READING && (rc = take(r, message, &exception)) > 0)
        return;
    if (rc == 0)
        rc = hold(r, message, &exception);
    if (rc < 0)
        refuse(r, &exception);
    else if (r->state == REQUEST_READING)
        pause_growing(r);
}

static void on_end(struct skep_rpc_stream *stream, void *user)
{
    struct request *r = user;

    (void)stream;
    r->ended = true;
    if (r->state == REQUEST_READING)
        on_whole(r);
}

static void line_up(struct request *r)
{
    struct skep_handler *handler = r->handler;

    r->state = REQUEST_LINED_UP;
    ops_of(r)->stream_pause(r->stream, true);
    handler->stats.waiting_streams++;
    if (skep_list_empty(&handler->line) && may_be_let_in(r))
        go_on(r);
    else
        skep_list_push_back(&handler->line, &r->line);
}

static void refuse_new(struct skep_handler *handler, struct skep_rpc_stream *stream,
                       const char *why)
{
    handler->stats.refused++;
    handler->rpc->ops->stream_fail(stream, skep_bytes_str(why));
}

void skep_handler_on_stream(void *user, struct skep_rpc_stream *stream,
                            const struct skep_peer_id *peer)
{
    static const struct skep_rpc_stream_events events = {.on_message = on_message,
                                                         .on_writable = on_writable,
                                                         .on_end = on_end,
                                                         .on_error = on_error};
    struct method *method = user;
    struct skep_handler *handler = method->handler;
    struct request *r;

    if (handler->draining) {
        refuse_new(handler, stream, "the server is being shut down");
    } else if (handler->stats.waiting_streams >= SKEP_EXPERT_STREAMS_WAITING_MAX) {
        refuse_new(handler, stream, "too many requests wait for memory");
    } else if (!(r = skep_expert_work_new(handler, method->backward))) {
        refuse_new(handler, stream, "out of memory");
    } else {
        r->stream = stream;
        r->peer = *peer;
        r->finish = finish;
        ops_of(r)->stream_use(stream, &events, r);
        line_up(r);
    }
}
