/* SPDX-License-Identifier: MIT */
/* What yamux_session.c (frames in, the life of streams) and yamux_output.c (frames out) share. Nobody else includes it. */
#ifndef SKEP_MUX_YAMUX_INTERNAL_H
#define SKEP_MUX_YAMUX_INTERNAL_H

#include "base/map.h"
#include "mux/yamux_queue.h"
#include "mux/yamux_session.h"

/* open --FIN out--> write_closed, fin_sent      open --FIN in--> remote_closed      both: done
 * any --reset()--> gone, rst_due: out of the table, waits only for its RST to be pulled
 * any --RST in, done, session freed--> gone, then on_close, then its memory is spare */
struct skep_yamux_stream {
    struct skep_yamux *session;
    UT_hash_handle hh;
    uint32_t id;
    bool inbound : 1;
    bool accepted : 1;      /* inbound: no longer in the backlog */
    bool acked : 1;         /* outbound: the peer has answered in any way */
    bool open_flag_due : 1; /* our SYN or ACK is unsent */
    bool write_closed : 1, fin_sent : 1, remote_closed : 1;
    bool fin_may_wait : 1,
        waits : 1;      /* the peer needs not hear of our FIN soon; so it is in session->late */
    bool grant_due : 1; /* `pending` goes back to the peer */
    bool above_low_water : 1, writable_due : 1;
    bool rst_due : 1, gone : 1;
    struct skep_list control; /* in session->control: has a window update or a reset to send */
    struct skep_list
        ready; /* in session->ready: has data or a FIN to send; or in session->late: a FIN that may wait */
    struct skep_list
        deferred; /* in session->deferred: an event is to be called at the end of pull */
    const struct skep_yamux_stream_events *events;
    void *user;
    size_t low_water;
    struct skep_yamux_queue queue;
    uint32_t send_window; /* what they let us send */
    /* Ours: recv_left + what of the current frame has not come + unconsumed + pending == window. */
    uint32_t window, recv_left, unconsumed, pending;
    uint64_t grant_us; /* of the last grant; 0: none yet */
};

/* Refused streams whose RSTs are unsent: ids first, first + 2, … last. A burst of SYNs is one run. */
struct refusals {
    uint32_t first, last;
};

struct skep_yamux {
    const struct skep_mem *mem;
    const struct skep_yamux_events *events;
    void *user;
    bool is_client, pulling, signalled, freeing;
    bool remote_gone, local_gone; /* go-away in, out */
    bool go_away_due, ping_due, ping_outstanding, clock_started;
    bool reading_fin; /* the data frame being read carries FIN */
    int rc;           /* failed, for good */
    unsigned depth;   /* receive() frames on the stack */
    uint32_t go_away_code, next_id, ping_value;
    struct skep_yamux_parser parser;
    struct skep_yamux_stream *reading; /* whose data frame is being read; NULL: drained */
    struct skep_yamux_stream
        *streams; /* uthash by id; never empty, so that its table is not made anew for each call */
    struct skep_yamux_stream anchor; /* the entry that keeps it so: id 0 */
    struct skep_list control, ready, late, deferred;
    uint64_t late_us;       /* when what is in `late` leaves by itself */
    struct skep_list spare; /* streams to be used again, by `control` */
    size_t spare_count;
    struct skep_yamux_pool pool;
    size_t live, held; /* streams in the table; and those that wait for their RST */
    size_t backlog, opening;
    uint64_t window_sum;
    uint64_t now_us, last_received_us, ping_sent_us, rtt_us, rtt_at_us;
    uint32_t pings[SKEP_YAMUX_PINGS_MAX]; /* to be answered: a ring */
    uint8_t ping_first, ping_count;
    uint8_t refusal_first, refusal_count;
    struct refusals refusals[SKEP_YAMUX_REFUSALS_MAX]; /* a ring */
    struct skep_yamux_stats stats;
};

/** Put the stream on the lists of what it has to send, or take it off; no event. */
void skep_yamux_stream_schedule(struct skep_yamux_stream *stream);

/** What may wait goes with the next frames. */
void skep_yamux_release_late(struct skep_yamux *session);

uint64_t skep_yamux_now(const struct skep_yamux *session);

/** Tell the owner if there is something to pull. */
void skep_yamux_signal(struct skep_yamux *session);

/** Out of the table and all lists, its queue dropped. Afterwards only skep_yamux_stream_recycle(), or a wait for its RST. */
void skep_yamux_stream_detach(struct skep_yamux_stream *stream);
void skep_yamux_stream_recycle(struct skep_yamux_stream *stream);

/** Detach, on_close, recycle. */
void skep_yamux_stream_end(struct skep_yamux_stream *stream, int rc);

#endif
