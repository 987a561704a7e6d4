/* SPDX-License-Identifier: MIT */
/* Who the experts of each sample are: what a search found, each expert once, and which of them are chosen. See mixture_parts.h. */
#include "moe/mixture_parts.h"

#include "base/map.h"
#include "moe/uid.h"

/* ---- each expert once ---- */

/* Experts by uid and peer: open addressing, at most half full. */
struct seen {
    uint32_t *slots; /* indices of experts, SKEP_MIXER_NONE */
    size_t mask;
};

static int seen_init(struct seen *seen, const struct skep_mem *mem, size_t most)
{
    size_t size = 16;

    while (size < 2 * most)
        size *= 2;
    if (!(seen->slots = skep_mem_zalloc(mem, size, sizeof *seen->slots)))
        return SKEP_ENOMEM;
    memset(seen->slots, 0xff, size * sizeof *seen->slots);
    seen->mask = size - 1;
    return 0;
}

static bool is_expert(const struct skep_mixer_expert *expert, const struct skep_beam_expert *hit)
{
    return expert->uid_len == hit->uid_len && memcmp(expert->uid, hit->uid, hit->uid_len) == 0 &&
           expert->peer.len == hit->peer.len &&
           memcmp(expert->peer.bytes, hit->peer.bytes, hit->peer.len) == 0;
}

/* The slot of a hit: its index, or SKEP_MIXER_NONE where it is new. */
static uint32_t *slot_of(const struct seen *seen, const struct skep_mixer_expert *experts,
                         const struct skep_beam_expert *hit)
{
    size_t at = skep_map_hash(hit->uid, hit->uid_len) & seen->mask;

    while (seen->slots[at] != SKEP_MIXER_NONE && !is_expert(&experts[seen->slots[at]], hit))
        at = (at + 1) & seen->mask;
    return &seen->slots[at];
}

static int read_coordinates(uint32_t *out, const struct skep_gate *gate, skep_bytes rest)
{
    for (size_t d = gate->dims; d-- > 0;) {
        uint64_t number;

        if (!skep_uid_split(rest, &rest, &number) || number >= gate->sizes[d])
            return SKEP_EPEER_PROTO;
        out[d] = (uint32_t)number;
    }
    return 0;
}

/* Grown to twice, so that memory is as large as what was found, not as the batch times k. */
static int grow(struct mix_experts *experts, size_t *cap)
{
    size_t more = *cap > 0 ? *cap * 2 : 32;
    void *grown = skep_mem_resize(experts->mem, experts->experts, more * sizeof *experts->experts);

    if (!grown)
        return SKEP_ENOMEM;
    experts->experts = grown;
    grown = skep_mem_resize(experts->mem, experts->coordinates,
                            more * experts->dims * sizeof *experts->coordinates);
    if (!grown)
        return SKEP_ENOMEM;
    experts->coordinates = grown;
    *cap = more;
    return 0;
}

static int add_expert(struct mix_experts *experts, size_t *cap, const struct skep_gate *gate,
                      const struct skep_beam_expert *hit)
{
    int rc;

    if (experts->expert_count == *cap && (rc = grow(experts, cap)) < 0)
        return rc;
    experts->experts[experts->expert_count] =
        (struct skep_mixer_expert){.uid = hit->uid, .uid_len = hit->uid_len, .peer = hit->peer};
    rc = read_coordinates(experts->coordinates + experts->expert_count * experts->dims, gate,
                          skep_bytes_of(hit->uid, hit->uid_len));
    experts->expert_count += rc == 0;
    return rc;
}

static int add_hits(struct mix_experts *experts, const struct skep_gate *gate,
                    const struct skep_search *search, const struct seen *seen)
{
    size_t cap = 0;
    int rc;

    for (size_t i = 0; i < experts->batch; i++) {
        for (size_t j = 0; j < search->hits[i].count; j++) {
            const struct skep_beam_expert *hit = &search->hits[i].experts[j];
            uint32_t *slot = slot_of(seen, experts->experts, hit);

            if (*slot == SKEP_MIXER_NONE) {
                if ((rc = add_expert(experts, &cap, gate, hit)) < 0)
                    return rc;
                *slot = (uint32_t)experts->expert_count - 1;
            }
            experts->candidates[i * experts->width + j] = *slot;
            experts->scores[i * experts->width + j] = hit->score;
        }
        experts->counts[i] = (uint32_t)search->hits[i].count;
    }
    return 0;
}

/* The search's memory goes: the uids move. */
static int own_text(struct mix_experts *experts)
{
    size_t bytes = 0;
    char *at;

    for (size_t e = 0; e < experts->expert_count; e++)
        bytes += experts->experts[e].uid_len + 1;
    if (!(at = experts->text = skep_mem_alloc(experts->mem, bytes)))
        return SKEP_ENOMEM;
    for (size_t e = 0; e < experts->expert_count; e++) {
        struct skep_mixer_expert *expert = &experts->experts[e];

        memcpy(at, expert->uid, expert->uid_len + 1);
        expert->uid = at;
        at += expert->uid_len + 1;
    }
    return 0;
}

/* ---- the choice ---- */

/* A sample's candidates, best first: the best k that do not fail, failing ones only where there are no others; then the spares, in the same order. */
static void choose(struct mix_experts *experts, size_t sample, size_t k, const bool *failing,
                   uint32_t *moved, double *moved_scores)
{
    uint32_t *candidates = experts->candidates + sample * experts->width;
    double *scores = experts->scores + sample * experts->width;
    size_t count = experts->counts[sample], sound = 0, taken = 0, sound_taken = 0, spared = 0, left;

    for (size_t j = 0; j < count; j++)
        sound += !failing[candidates[j]];
    left = k > sound ? k - sound : 0; /* places for failing ones */
    for (size_t j = 0; j < count; j++) {
        bool fails = failing[candidates[j]];
        bool take = fails ? left > 0 : sound_taken < k;

        if (take) {
            experts->passed_over += taken < k && j >= k;
            left -= fails;
            sound_taken += !fails;
            candidates[taken] = candidates[j];
            scores[taken++] = scores[j];
        } else {
            moved[spared] = candidates[j];
            moved_scores[spared++] = scores[j];
        }
    }
    memcpy(candidates + taken, moved, spared * sizeof *moved);
    memcpy(scores + taken, moved_scores, spared * sizeof *moved_scores);
    experts->next[sample] = (uint32_t)taken;
    experts->columns = SKEP_MAX(experts->columns, taken);
}

static int choose_all(struct mix_experts *experts, size_t k_best, struct skep_expert_caller *caller)
{
    bool *failing = skep_mem_zalloc(experts->mem, experts->expert_count + 1, sizeof *failing);
    uint32_t *moved = skep_mem_zalloc(experts->mem, experts->width + 1, sizeof *moved);
    double *scores = skep_mem_zalloc(experts->mem, experts->width + 1, sizeof *scores);
    int rc = failing && moved && scores ? 0 : SKEP_ENOMEM;

    for (size_t e = 0; rc == 0 && caller && e < experts->expert_count; e++)
        failing[e] = skep_expert_failing(
            caller, skep_bytes_of(experts->experts[e].uid, experts->experts[e].uid_len),
            &experts->experts[e].peer);
    for (size_t i = 0; rc == 0 && i < experts->batch; i++)
        choose(experts, i, k_best, failing, moved, scores);
    skep_mem_free(experts->mem, failing);
    skep_mem_free(experts->mem, moved);
    skep_mem_free(experts->mem, scores);
    return rc;
}

static int make_cells(struct mix_experts *experts)
{
    size_t columns = experts->columns;

    if (experts->batch > UINT32_MAX / SKEP_MAX(columns, (size_t)1))
        return SKEP_ELIMIT;
    experts->cells = skep_mem_zalloc(experts->mem, experts->batch * columns + 1, sizeof(uint32_t));
    experts->cell_scores =
        skep_mem_zalloc(experts->mem, experts->batch * columns + 1, sizeof(double));
    if (!experts->cells || !experts->cell_scores)
        return SKEP_ENOMEM;
    for (size_t i = 0; i < experts->batch; i++) {
        for (size_t j = 0; j < columns; j++) {
            bool is_there = j < experts->next[i];

            experts->cells[i * columns + j] =
                is_there ? experts->candidates[i * experts->width + j] : SKEP_MIXER_NONE;
            experts->cell_scores[i * columns + j] =
                is_there ? experts->scores[i * experts->width + j] : 0;
        }
    }
    return 0;
}

int mix_experts_init(struct mix_experts *experts, const struct skep_mem *mem,
                     const struct skep_gate *gate, const struct skep_search *search, size_t k_best,
                     struct skep_expert_caller *caller)
{
    struct seen seen = {0};
    size_t total = 0;
    int rc;

    *experts = (struct mix_experts){.mem = mem, .batch = search->hit_count, .dims = gate->dims};
    for (size_t i = 0; i < experts->batch; i++) {
        experts->width = SKEP_MAX(experts->width, search->hits[i].count);
        total += search->hits[i].count;
    }
    if (total >= UINT32_MAX || experts->batch > UINT32_MAX / SKEP_MAX(experts->width, (size_t)1))
        return SKEP_ELIMIT;
    experts->candidates =
        skep_mem_zalloc(mem, experts->batch * experts->width + 1, sizeof *experts->candidates);
    experts->scores =
        skep_mem_zalloc(mem, experts->batch * experts->width + 1, sizeof *experts->scores);
    experts->counts = skep_mem_zalloc(mem, experts->batch + 1, sizeof *experts->counts);
    experts->next = skep_mem_zalloc(mem, experts->batch + 1, sizeof *experts->next);
    rc = experts->candidates && experts->scores && experts->counts && experts->next ? 0
                                                                                    : SKEP_ENOMEM;
    if (rc == 0 && (rc = seen_init(&seen, mem, total)) == 0 &&
        (rc = add_hits(experts, gate, search, &seen)) == 0 && (rc = own_text(experts)) == 0 &&
        (rc = choose_all(experts, k_best, caller)) == 0)
        rc = make_cells(experts);
    skep_mem_free(mem, seen.slots);
    return rc;
}

void mix_experts_fini(struct mix_experts *experts)
{
    const struct skep_mem *mem = experts->mem;

    if (!mem)
        return;
    skep_mem_free(mem, experts->experts);
    skep_mem_free(mem, experts->coordinates);
    skep_mem_free(mem, experts->text);
    skep_mem_free(mem, experts->candidates);
    skep_mem_free(mem, experts->scores);
    skep_mem_free(mem, experts->counts);
    skep_mem_free(mem, experts->next);
    skep_mem_free(mem, experts->cells);
    skep_mem_free(mem, experts->cell_scores);
    *experts = (struct mix_experts){0};
}

bool mix_experts_replace(struct mix_experts *experts, size_t cell)
{
    size_t sample = cell / experts->columns, next = experts->next[sample];

    if (next >= experts->counts[sample])
        return false;
    experts->next[sample]++;
    experts->cells[cell] = experts->candidates[sample * experts->width + next];
    experts->cell_scores[cell] = experts->scores[sample * experts->width + next];
    return true;
}

void mix_experts_coordinates(const struct mix_experts *experts, uint32_t *out)
{
    for (size_t cell = 0; cell < experts->batch * experts->columns; cell++) {
        uint32_t expert = experts->cells[cell];

        for (size_t d = 0; d < experts->dims; d++)
            *out++ =
                expert == SKEP_MIXER_NONE ? 0 : experts->coordinates[expert * experts->dims + d];
    }
}
