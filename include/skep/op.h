/* SPDX-License-Identifier: MIT */
/* Operations: what every asynchronous call of skep returns.
 *
 * An operation has two references, the caller's and the node's. The caller's lasts until skep_op_free(), and until then
 * results, status and text can be read, also after the node is closed. wait, poll and cancel are legal from any thread. */
#ifndef SKEP_OP_H
#define SKEP_OP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <skep/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/** "No timeout" wherever a timeout is a number of microseconds. */
#define SKEP_FOREVER UINT64_MAX

typedef struct skep_op skep_op;

/** Runs exactly once, on the node's loop, never from inside the call that started the operation; also after a cancel, and
 *  when the node is closed. The operation has ended: its status and results can be read. `op` is good until this returns,
 *  and longer where the caller holds a reference. */
typedef void skep_op_cb(skep_op *op, void *user_data);

/**
 * Wait for the end. On a node that its caller drives this runs the loop meanwhile (see skep_node_run_until()).
 * @return the operation's status: 0 or a SKEP_E code; SKEP_EDEADLOCK when called from a callback on the node's own loop.
 */
SKEP_API int skep_op_wait(skep_op *op);

/** As skep_op_wait(), but at most timeout_us. @return also 1: it still runs. */
SKEP_API int skep_op_wait_for(skep_op *op, uint64_t timeout_us);

/** @return 1 while it runs, then its status: 0 or a SKEP_E code. Never waits. */
SKEP_API int skep_op_poll(const skep_op *op);

/** Ask for an early end. It ends with SKEP_ECANCELED unless its end was already under way; the callback runs in either case. */
SKEP_API void skep_op_cancel(skep_op *op);

/** Give the caller's reference back, with all results. Harmless while it runs: it goes on, and so does its callback. NULL is fine. */
SKEP_API void skep_op_free(skep_op *op);

/** @return what is to say about a failure beyond its code, escaped for terminals, or "" : which initial peers failed and why, the
 *  text of a remote error … Owned by the operation. "" while it runs. */
SKEP_API const char *skep_op_text(const skep_op *op);

#ifdef __cplusplus
}
#endif
#endif
