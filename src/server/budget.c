/* SPDX-License-Identifier: MIT */
#include "server/budget.h"

void skep_budget_init(struct skep_budget *budget, size_t total)
{
    *budget = (struct skep_budget){.total = total, .kept = total / 2};
    skep_list_init(&budget->growing);
}

static const struct skep_claim *head(const struct skep_budget *budget)
{
    return skep_list_empty(&budget->growing)
               ? NULL
               : SKEP_LIST_ITEM(budget->growing.next, struct skep_claim, entry);
}

/* What of the total is the head's to have, beyond what it has. */
static size_t reserved(const struct skep_budget *budget)
{
    size_t has = head(budget) ? head(budget)->bytes : 0;

    return budget->kept - SKEP_MIN(has, budget->kept);
}

static void change(struct skep_budget *budget, struct skep_claim *claim, size_t bytes)
{
    budget->used = budget->used - claim->bytes + bytes;
    claim->bytes = bytes;
    if (budget->used > budget->used_most)
        budget->used_most = budget->used;
}

static bool fits(const struct skep_budget *budget, const struct skep_claim *claim, size_t bytes,
                 bool as_head)
{
    size_t others = budget->used - claim->bytes;
    size_t may_be_used = budget->total - (as_head ? 0 : reserved(budget));

    return bytes <= may_be_used && others <= may_be_used - bytes;
}

bool skep_budget_set(struct skep_budget *budget, struct skep_claim *claim, size_t bytes)
{
    if (bytes > claim->bytes && !fits(budget, claim, bytes, claim == head(budget)))
        return false;
    change(budget, claim, bytes);
    return true;
}

bool skep_budget_admit(struct skep_budget *budget, struct skep_claim *claim, size_t bytes)
{
    if (!fits(budget, claim, bytes, !head(budget)))
        return false;
    change(budget, claim, bytes);
    skep_list_push_back(&budget->growing, &claim->entry);
    return true;
}

void skep_budget_settle(struct skep_claim *claim)
{
    skep_list_remove(&claim->entry);
}

void skep_budget_release(struct skep_budget *budget, struct skep_claim *claim)
{
    skep_list_remove(&claim->entry);
    change(budget, claim, 0);
}

size_t skep_budget_room(const struct skep_budget *budget)
{
    size_t may_be_used = budget->total - reserved(budget);

    return may_be_used - SKEP_MIN(budget->used, may_be_used);
}
