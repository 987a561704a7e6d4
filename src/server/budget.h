/* SPDX-License-Identifier: MIT */
/* The memory of all requests in progress: who may have how much of it, so that the total never passes a bound and somebody always gets on.
 *
 * Most requests know at once what they need: they claim it, or are refused. A stream does not: it is admitted with what its first part may take, and only that part
 * tells how much the whole will need. Streams that do not know yet are called growing; the oldest of them is the head.
 *
 *   total   bytes that may be claimed
 *   kept    half of it: what one request can ever have, and what is always left to the head
 *
 * The rule: whoever is not the head gets something only if the head can still get `kept`. The head gets whatever is left of the total.
 *
 * Nobody waits for ever. Those that do not grow end by themselves, or because they are idle, and what they have comes back. Then only those remain that grow
 * or wait in line with a little; by the rule all of them but the head have at most total - kept. So the head, which needs at most `kept`, gets it,
 * grows no more, and the next is the head. With none that grows, the first in line becomes the head: it needs less than `kept` too. */
#ifndef SKEP_SERVER_BUDGET_H
#define SKEP_SERVER_BUDGET_H

#include "base/list.h"

struct skep_budget {
    size_t total, kept;
    size_t used, used_most;
    struct skep_list growing; /* struct skep_claim.entry, the head first */
};

/** What one request has. Embedded by it, set up by skep_claim_init(). */
struct skep_claim {
    struct skep_list entry; /* in budget.growing while it grows */
    size_t bytes;
};

static inline void skep_claim_init(struct skep_claim *claim)
{
    skep_list_init(&claim->entry);
    claim->bytes = 0;
}

void skep_budget_init(struct skep_budget *budget, size_t total);

/** Have so much from now on: more than before, or less, which always succeeds. @return false: there is no room, and it has what it had. */
bool skep_budget_set(struct skep_budget *budget, struct skep_claim *claim, size_t bytes);

/** The same for one that will grow: the last of them. */
bool skep_budget_admit(struct skep_budget *budget, struct skep_claim *claim, size_t bytes);

/** It knows what it needs and has it. */
void skep_budget_settle(struct skep_claim *claim);

/** Give all back. Once more is fine. */
void skep_budget_release(struct skep_budget *budget, struct skep_claim *claim);

/** How much a new claim that does not grow could have. */
size_t skep_budget_room(const struct skep_budget *budget);

#endif
