/* SPDX-License-Identifier: MIT */
/* A subcommand's node: opened by the common options, joined, waited on until the command's deadline. */
#ifndef SKEP_CMD_SESSION_H
#define SKEP_CMD_SESSION_H

#include <signal.h>
#include <skep/dht.h>
#include <skep/p2p.h>

#include "cmd/cmd.h"

struct skep_session {
    skep_node *node;
    uint64_t deadline_us; /* monotonic; SKEP_FOREVER: none */
};

enum skep_session_kind {
    SKEP_SESSION_CALLS,  /* only peers and calls */
    SKEP_SESSION_CLIENT, /* uses the DHT, serves nothing; runs on this thread */
    SKEP_SESSION_PEER    /* a full peer on a thread of its own */
};

/** The node options that the common options say. */
void skep_session_options(skep_node_options *options, enum skep_session_kind kind);

/** All here give SKEP_EXIT_DONE, or an exit code with the error printed. */
int skep_session_open(struct skep_session *session, enum skep_session_kind kind);
int skep_session_open_with(struct skep_session *session, const skep_node_options *options);
/** As hivemind does, a peer makes the identity file that is not there yet; NULL: none is wanted. */
int skep_session_make_identity(const char *path);
int skep_session_join(struct skep_session *session);

/** A client needs somebody to join: open and join in one. */
int skep_session_start(struct skep_session *session);
void skep_session_close(struct skep_session *session);

/** Wait for an operation that a call has started with rc. @param what  names it in the error. */
int skep_session_wait(struct skep_session *session, int rc, skep_op *op, const char *what);

/** As above, without a word: @return rc, SKEP_EDEADLINE when the command's time is up (the operation is then cancelled). */
int skep_session_wait_quietly(struct skep_session *session, int rc, skep_op *op);

/** Say why a call that gave rc failed. @return the exit code. */
int skep_session_failed(int rc, const skep_op *op, const char *what);

/** How much of the command's time is left; 0: no limit, and never 0 otherwise. For timeouts of operations. */
uint64_t skep_session_time_left(const struct skep_session *session);

/** From now on SIGINT and SIGTERM only end skep_session_stopped(). Before the first node: its thread inherits that. */
void skep_session_block_signals(void);
/** Wait for a signal, at most so long. @return whether one came. */
bool skep_session_stopped(uint64_t wait_us);

/** Print the visible multiaddrs, one a line, or as one line of JSON with the peer id and `more` (taken over, may be NULL). */
bool skep_session_print_addresses(skep_node *const *nodes, size_t count, json_t *more);

#endif
