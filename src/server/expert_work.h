/* SPDX-License-Identifier: MIT */
/* One request of an expert, unary or streamed, from its first byte to its answer; and the handler that has them all. What handler.c (life, unary calls),
 * handler_stream.c and expert_work.c (what both have in common: checks, memory, the task) share. */
#ifndef SKEP_SERVER_EXPERT_WORK_H
#define SKEP_SERVER_EXPERT_WORK_H

#include "moe/expert_message.h"
#include "server/budget.h"
#include "server/exception.h"
#include "server/handler.h"

/* A method that is served: what its handlers are given. */
struct method {
    struct skep_handler *handler;
    bool backward;
};

struct skep_handler {
    struct skep_rpc *rpc;
    const struct skep_mem *mem;
    struct skep_runtime *runtime;
    struct skep_handler_options options;
    struct method forward, backward;
    struct skep_buf info; /* what rpc_info answers for each of its experts */
    skep_compression as_outputs[SKEP_CLASS_TENSORS_MAX], as_inputs[SKEP_CLASS_TENSORS_MAX];
    struct skep_budget budget;
    struct skep_list requests; /* struct request.entry: all in progress */
    struct skep_list
        line; /* struct request.line: streams that wait to be let in, the first to come first */
    struct skep_list
        moving; /* struct request.line: streams whose peers are to do something, the least recently moved first */
    struct skep_timer turn; /* always runs: moving it cannot fail */
    bool draining, has_streams;
    void (*on_drained)(void *user);
    void *drained_user;
    struct skep_handler_stats stats;
};

struct request {
    struct skep_list entry;
    struct skep_handler *handler; /* NULL: it has gone */
    const struct skep_mem *mem;
    bool backward;
    struct skep_hosted *expert; /* NULL: not known yet */
    struct skep_expert_reader reader;
    struct skep_claim claim;
    struct skep_task task;
    bool submitted, abandoned; /* only the task's end is waited for */
    /** The task has ended; `exception` NULL: well. It ends the request. */
    void (*finish)(struct request *request, const struct skep_exception *exception);

    /* unary */
    struct skep_rpc_request *unary;

    /* streamed */
    struct skep_rpc_stream *stream;
    struct skep_peer_id peer;
    enum request_state {
        REQUEST_UNARY,
        REQUEST_LINED_UP, /* not let in: paused, in handler->line */
        REQUEST_READING,
        REQUEST_GROWING, /* its first tensor has begun and there is no room for the rest: paused */
        REQUEST_COMPUTING,
        REQUEST_ANSWERING,
        REQUEST_ENDING /* all is written, and leaves */
    } state;
    struct skep_list line;
    struct skep_list held; /* struct held.entry: messages that came while it was paused */
    size_t held_bytes;
    bool ended;        /* its caller has sent all */
    bool grown;        /* it has the memory for all of its tensors */
    size_t need;       /* GROWING: to have */
    size_t reader_max; /* of what it has, what its tensors may take before they are computed */
    uint64_t moved_us;
    size_t moved_bytes; /* that came since, or that were queued then */
    struct skep_expert_writer writer;
    bool writing;
};

/* ---- expert_work.c ---- */

struct request *skep_expert_work_new(struct skep_handler *handler, bool backward);
/** Its call has been ended: give back its memory. One that is being computed keeps it until that is over, and nobody is told. */
void skep_expert_work_end(struct request *request);
/** The handler goes before one that was ended while it was being computed. */
void skep_expert_work_orphan(struct request *request);

/** Which expert a message is for, and may this peer ask for it? */
int skep_expert_work_find(struct request *request, skep_bytes message,
                          const struct skep_peer_id *peer, struct skep_exception *exception);
/** What the reader says is wrong. */
int skep_expert_work_reader_failed(const struct request *request, struct skep_exception *exception);
/** One of its tensors, the i-th, alone. */
int skep_expert_work_check_tensor(const struct request *request, size_t i,
                                  const skep_tensor *tensor, struct skep_exception *exception);
/** All that have begun. @param whole  there will be no more. */
int skep_expert_work_check(const struct request *request, bool whole,
                           struct skep_exception *exception);

/** Bytes that it will take, now that its first tensor begins, if the others are of the same form. @param reader_max  receives those of its tensors. */
size_t skep_expert_work_estimate(const struct request *request, const struct skep_expert_peek *peek,
                                 size_t *reader_max);
/** Have a claim on what it takes to compute and answer it, now that it is whole and checked. */
int skep_expert_work_claim(struct request *request, size_t answer_bytes,
                           struct skep_exception *exception);
/** Type and shape of what it will be answered. @return how many. */
size_t skep_expert_work_outputs(const struct request *request,
                                skep_tensor outputs[SKEP_CLASS_TENSORS_MAX]);
/** Bytes of its answer as numbers, and what it takes to write it as a stream. */
size_t skep_expert_work_output_bytes(const struct request *request);
size_t skep_expert_work_writing_bytes(const struct request *request);
/** Types as the expert has them, no number that is none, into the pool. */
int skep_expert_work_submit(struct request *request, struct skep_exception *exception);

static inline const skep_compression *skep_expert_work_compressions(const struct request *request)
{
    return request->backward ? request->handler->as_inputs : request->handler->as_outputs;
}

/* ---- handler.c ---- */

/** Have a turn of the handler at `at_us` at the latest: memory came back, somebody may be idle. */
void skep_handler_turn_at(struct skep_handler *handler, uint64_t at_us);
/* ---- handler_stream.c ---- */

void skep_handler_on_stream(void *method, struct skep_rpc_stream *stream,
                            const struct skep_peer_id *peer);
/** Let in, let grow, drop who is idle. @return when there is something to do again; SKEP_NEVER_US. */
uint64_t skep_handler_streams_turn(struct skep_handler *handler);
/** End its call with an error, and it. */
void skep_stream_refuse(struct request *request, const struct skep_exception *exception);
void skep_stream_forget_held(struct request *request);

#endif
