/* SPDX-License-Identifier: MIT */
/* When a key is decided. Whoever holds it is among the num_replicas nodes nearest to it, so it is enough to know for sure who these are. That takes not all of the
 * beam: when the nearest of it, MARGIN more than replicas, have answered,
 * - whoever any of them named as nearer was asked too, by the way a beam works;
 * - those that answered mostly name each other: they know the neighbourhood, and the same one;
 * - they lie within SPARSE times the distance at which so many nodes are expected. Else there is a hole where nodes should be, and we look further.
 * If the size of the swarm is thought too large the last one fails more often, and the whole beam is asked as before. If it is thought too small only the first
 * two decide. */
#include "dht/decide.h"

enum { MARGIN = 3 };
#define SPARSE 2.0
/* Of so many that are looked at one may be silent, of so many likely holders one overdue. */
#define ONE_SILENT_OF 4
#define ONE_OVERDUE_OF 4
/* How many nodes a guess asks at most. */
#define SHALLOW_ASKS 4

static size_t replicas(const struct skep_dht_lookup *l)
{
    return l->dht->options.num_replicas;
}

static size_t near_count(const struct skep_dht_lookup *l, const struct skep_dht_lookup_key *key)
{
    return SKEP_MIN((size_t)key->count + key->failed_near, replicas(l));
}

/* Likely holders that have not answered, or will not. */
static size_t silent_near(const struct skep_dht_lookup *l, const struct skep_dht_lookup_key *key)
{
    size_t silent = key->failed_near;

    for (size_t i = 0; i < key->count && i < replicas(l); i++)
        silent += key->beam[i].state != SKEP_DHT_CAND_ANSWERED;
    return silent;
}

bool skep_dht_lookup_answered(const struct skep_dht_lookup *l,
                              const struct skep_dht_lookup_key *key)
{
    size_t near = near_count(l, key);

    if (near == 0)
        return !l->dht->options.client_mode; /* alone in the world, or cut off */
    return key->answers > 0 && silent_near(l, key) * 2 < near;
}

/* How many of the nearest are looked at, and of them or of more have to answer. */
static size_t neighbours(const struct skep_dht_lookup *l)
{
    return SKEP_MIN(replicas(l) + MARGIN, (size_t)l->beam);
}

static size_t enough(const struct skep_dht_lookup *l)
{
    return neighbours(l) - neighbours(l) / ONE_SILENT_OF;
}

/* Each one beyond a few that are silent has the next one asked in its place. */
size_t skep_lookup_reach(const struct skep_dht_lookup *l, const struct skep_dht_lookup_key *key,
                         bool is_hedge)
{
    size_t hopeful = 0, i = 0;

    if (l->exhaustive || key->deep)
        return l->beam;
    for (; i < key->count && i < l->beam && (i < neighbours(l) || hopeful < enough(l)); i++)
        hopeful += key->beam[i].state != SKEP_DHT_CAND_LATE &&
                   !(is_hedge && key->beam[i].state == SKEP_DHT_CAND_OVERDUE);
    return i;
}

/* How many of the nearest it takes to have enough that answered, with nobody to wait for among them; 0: they have not. */
static size_t nearest_answered(const struct skep_dht_lookup *l,
                               const struct skep_dht_lookup_key *key)
{
    size_t heard = 0, overdue_near = 0, i = 0;

    for (; i < neighbours(l) || heard < enough(l); i++) {
        if (i == key->count || i == l->beam)
            return 0;
        switch (key->beam[i].state) {
        case SKEP_DHT_CAND_ANSWERED: heard++; break;
        case SKEP_DHT_CAND_LATE: break;
        case SKEP_DHT_CAND_OVERDUE:
            /* A store goes to whom it found, so it waits longer than a get, which has others to believe. */
            if (!l->want_values)
                return 0;
            overdue_near += i < replicas(l);
            break;
        default: return 0;
        }
    }
    return overdue_near * ONE_OVERDUE_OF <= replicas(l) && skep_dht_lookup_answered(l, key) ? i : 0;
}

/* Is each of the likely holders named by most of those that answered? */
static bool answers_agree(const struct skep_dht_lookup *l, const struct skep_dht_lookup_key *key)
{
    for (size_t i = 0; i < replicas(l); i++)
        if (key->beam[i].state == SKEP_DHT_CAND_ANSWERED &&
            key->beam[i].named * 2 + 1 < key->answers) /* it does not name itself */
            return false;
    return true;
}

/* A guess has cost enough: a likely holder has answered and had none, or it is not easily had. */
static bool is_guessed_out(const struct skep_dht_lookup *l, const struct skep_dht_lookup_key *key)
{
    for (size_t i = 0; i < key->count && i < replicas(l); i++)
        if (key->beam[i].state == SKEP_DHT_CAND_ANSWERED)
            return true;
    return key->in_flight == 0 && key->asks >= SHALLOW_ASKS;
}

bool skep_lookup_is_settled(const struct skep_dht_lookup *l, const struct skep_dht_lookup_key *key)
{
    size_t count = l->exhaustive || key->shallow ? 0 : nearest_answered(l, key);

    if (key->shallow)
        return is_guessed_out(l, key);
    return count > 0 &&
           skep_swarm_expected(l->swarm_size, key->beam[count - 1].head) <=
               SPARSE * (double)count &&
           answers_agree(l, key);
}

/* Nobody else is left to ask. Those who are late would not change the picture if most of the likely holders answered. If fewer did, but one of those left, and as many
 * others as make a neighbourhood, a get says that it does not know, sooner than the late ones time out. */
static bool heard_enough(const struct skep_dht_lookup *l, const struct skep_dht_lookup_key *key)
{
    size_t near = 0, all = 0;

    if (skep_dht_lookup_answered(l, key))
        return true;
    for (size_t i = 0; i < key->count; i++) {
        bool answered = key->beam[i].state == SKEP_DHT_CAND_ANSWERED;

        near += answered && i < replicas(l);
        all += answered;
    }
    return l->want_values && near > 0 && all >= enough(l);
}

bool skep_lookup_is_decided(const struct skep_dht_lookup *l, const struct skep_dht_lookup_key *key)
{
    if (skep_lookup_is_settled(l, key))
        return true;
    if (key->in_flight > 0)
        return false;
    for (size_t i = 0; i < key->count && i < l->beam; i++)
        if (key->beam[i].state == SKEP_DHT_CAND_NEW && key->asks < SKEP_DHT_LOOKUP_ASKS_MAX)
            return false;
    return key->late == 0 || heard_enough(l, key);
}

void skep_lookup_learn_size(struct skep_dht_lookup *l, const struct skep_dht_lookup_key *key)
{
    uint64_t heads[SKEP_DHT_BUCKET_SIZE_MAX];
    size_t count = 0;

    while (count < key->count && count < l->beam &&
           key->beam[count].state == SKEP_DHT_CAND_ANSWERED) {
        heads[count] = key->beam[count].head;
        count++;
    }
    if (count >= neighbours(l))
        skep_swarm_size_learn(&l->dht->swarm_size, heads, count);
}
