/* SPDX-License-Identifier: MIT */
/* Quantile functions by table, with straight lines between; see sim_latency.h. */
#include "sim/sim_latency.h"

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

enum { Q = 16, ONE = 1 << Q, OCTAVES = 32, STEPS = 8 * OCTAVES, SHIFT_MAX = 20 };
#define HALF ((uint64_t)1 << 63)
#define LOG2_E_Q ((uint64_t)94548)

/* How many standard deviations above the mean the upper share p of a normal distribution begins, times 2^16, for p = 1/2 and then down to 2^-33 in
 * eighths of each octave, p = 2^-(e+1) (1 + s/8): the tail is long, so it gets as many steps as the middle. */
static const uint32_t normal_q[STEPS + 1] = {
    0,      5139,   10310,  15545,  20882,  26362,  32032,  37954,  44203,  47482,  50884,  54428,
    58140,  62048,  66191,  70616,  75389,  77933,  80600,  83408,  86377,  89536,  92917,  96565,
    100540, 102675, 104924, 107304, 109834, 112540, 115453, 118613, 122076, 123944, 125918, 128013,
    130248, 132646, 135235, 138055, 141156, 142834, 144610, 146500, 148519, 150691, 153042, 155608,
    158437, 159970, 161597, 163329, 165184, 167181, 169346, 171714, 174330, 175750, 177257, 178865,
    180588, 182445, 184462, 186670, 189113, 190440, 191851, 193356, 194971, 196714, 198608, 200683,
    202983, 204233, 205563, 206982, 208507, 210153, 211943, 213907, 216085, 217270, 218531, 219878,
    221325, 222888, 224590, 226458, 228531, 229660, 230861, 232145, 233525, 235017, 236642, 238426,
    240408, 241487, 242636, 243865, 245187, 246616, 248173, 249884, 251785, 252821, 253924, 255104,
    256374, 257747, 259244, 260890, 262719, 263716, 264779, 265915, 267138, 268462, 269905, 271492,
    273257, 274219, 275245, 276343, 277524, 278803, 280197, 281732, 283438, 284369, 285361, 286423,
    287567, 288805, 290155, 291642, 293295, 294197, 295159, 296189, 297298, 298499, 299809, 301252,
    302857, 303733, 304667, 305668, 306745, 307912, 309185, 310587, 312148, 313000, 313909, 314882,
    315930, 317065, 318305, 319670, 321190, 322019, 322904, 323852, 324873, 325980, 327188, 328519,
    330000, 330810, 331673, 332597, 333593, 334673, 335852, 337151, 338597, 339387, 340230, 341133,
    342105, 343160, 344312, 345580, 346994, 347766, 348590, 349472, 350423, 351454, 352581, 353822,
    355204, 355959, 356765, 357629, 358560, 359569, 360671, 361886, 363239, 363979, 364768, 365614,
    366526, 367514, 368594, 369784, 371111, 371835, 372609, 373438, 374331, 375300, 376359, 377526,
    378827, 379538, 380296, 381110, 381986, 382937, 383975, 385121, 386397, 387095, 387839, 388638,
    389498, 390431, 391451, 392576, 393829, 394514, 395245, 396029, 396875, 397791, 398793, 399898,
    401130, 401803, 402522, 403292, 404123, 405024, 406009, 407095, 408306, 408968, 409675, 410433,
    411250, 412136, 413105, 414173, 415364,
};

/* log2(1 + i / 64), times 2^16. */
static const uint32_t log2_q[65] = {
    0,     1466,  2909,  4331,  5732,  7112,  8473,  9814,  11136, 12440, 13727, 14996, 16248,
    17484, 18704, 19909, 21098, 22272, 23433, 24579, 25711, 26830, 27936, 29029, 30109, 31178,
    32234, 33279, 34312, 35334, 36346, 37346, 38336, 39316, 40286, 41246, 42196, 43137, 44068,
    44990, 45904, 46809, 47705, 48593, 49472, 50344, 51207, 52063, 52911, 53751, 54584, 55410,
    56229, 57040, 57845, 58643, 59434, 60219, 60997, 61769, 62534, 63294, 64047, 64794, 65536,
};

/* 2^(i / 32) - 1, times 2^20. */
static const uint32_t exp2_q20[33] = {
    0,      22961,  46424,  70402,  94904,  119943, 145530, 171678, 198398, 225703,  253606,
    282120, 311259, 341035, 371464, 402559, 434334, 466806, 499988, 533898, 568549,  603960,
    640146, 677124, 714912, 753527, 792988, 833313, 874521, 916631, 959664, 1003638, 1048576,
};

/* splitmix64's finisher: spreads a pair over 64 bits. */
static uint64_t mix(uint64_t v)
{
    v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9u;
    v = (v ^ v >> 27) * 0x94d049bb133111ebu;
    return v ^ v >> 31;
}

/* ---- quantiles ---- */

/* Standard deviations times 2^16 above which p / 2^64 lie, p at most one half. */
static uint32_t normal_tail_q(uint64_t p)
{
    unsigned octave;
    uint64_t rest, step;
    size_t at;

    if (p >= HALF)
        return 0;
    octave = (unsigned)__builtin_clzll(p | 1);
    if (octave > OCTAVES)
        return normal_q[STEPS];
    rest = p << octave << 1; /* without its highest bit: how far into the octave */
    at = (size_t)8 * octave - (size_t)(rest >> 61);
    step = normal_q[at] - normal_q[at - 1];
    return normal_q[at] - (uint32_t)(step * (rest << 3 >> 48) >> 16);
}

/* us * 2^(power / 2^16), or divided by it. */
static uint64_t scaled(uint64_t us, uint64_t power_q, bool down)
{
    uint64_t whole = power_q >> Q, slot = power_q % ONE >> 11, rest = power_q & 2047;
    uint64_t factor_q20 =
        (1 << 20) + exp2_q20[slot] + ((exp2_q20[slot + 1] - exp2_q20[slot]) * rest >> 11);

    if (whole >= SHIFT_MAX)
        return down ? us >> SHIFT_MAX : us << SHIFT_MAX;
    return down ? (us << 20) / factor_q20 >> whole : us * factor_q20 >> 20 << whole;
}

uint64_t skep_sim_lognormal_us(uint64_t median_us, uint32_t sigma_milli, uint64_t draw)
{
    uint64_t sigma = SKEP_MIN(sigma_milli, SKEP_SIM_SIGMA_MILLI_MAX);
    uint64_t z_q = normal_tail_q(draw < HALF ? draw : 0 - draw);
    uint64_t us = scaled(SKEP_MIN(median_us, SKEP_SIM_MEDIAN_US_MAX),
                         z_q * sigma * LOG2_E_Q / ONE / 1000, draw < HALF);

    return SKEP_MAX(us, 1u);
}

/* median * log2(1 / p): where half are below the median, and half of the rest below twice that. */
static uint64_t exponential_us(uint64_t median_us, uint64_t p)
{
    uint64_t us = SKEP_MIN(median_us, SKEP_SIM_MEDIAN_US_MAX);
    unsigned octave = (unsigned)__builtin_clzll(p | 1);
    uint64_t rest = (p | 1) << octave << 1, slot = rest >> 58, step;
    uint64_t log_q;

    step = log2_q[slot + 1] - log2_q[slot];
    log_q = ((uint64_t)(octave + 1) << Q) - log2_q[slot] - (step * (rest << 6 >> 48) >> 16);
    return us * (log_q >> Q) + (us * (log_q % ONE) >> Q);
}

/* ---- round trips ---- */

struct skep_sim_latency skep_sim_latency_constant(uint64_t us)
{
    return (struct skep_sim_latency){.kind = SKEP_SIM_CONSTANT, .median_us = us};
}

struct skep_sim_latency skep_sim_latency_uniform(uint64_t min_us, uint64_t max_us)
{
    return (struct skep_sim_latency){.kind = SKEP_SIM_UNIFORM, .min_us = min_us, .max_us = max_us};
}

struct skep_sim_latency skep_sim_latency_lognormal(uint64_t median_us, uint32_t sigma_milli)
{
    return (struct skep_sim_latency){
        .kind = SKEP_SIM_LOGNORMAL, .median_us = median_us, .sigma_milli = sigma_milli};
}

struct skep_sim_latency skep_sim_latency_matrix(const uint32_t *matrix_us, uint32_t places)
{
    assert(places > 0);
    return (struct skep_sim_latency){
        .kind = SKEP_SIM_MATRIX, .matrix_us = matrix_us, .places = places};
}

uint32_t skep_sim_latency_place(uint64_t seed, uint32_t index, uint32_t places)
{
    return (uint32_t)(mix(mix(seed) + index) % places);
}

static uint64_t matrix_us(const struct skep_sim_latency *latency, uint64_t seed, uint32_t a,
                          uint32_t b)
{
    uint32_t at = skep_sim_latency_place(seed, a, latency->places);
    uint32_t to = skep_sim_latency_place(seed, b, latency->places);

    return latency->matrix_us[(size_t)SKEP_MIN(at, to) * latency->places + SKEP_MAX(at, to)];
}

uint64_t skep_sim_latency_us(const struct skep_sim_latency *latency, uint64_t seed, uint32_t a,
                             uint32_t b)
{
    uint64_t pair = (uint64_t)SKEP_MIN(a, b) << 32 | SKEP_MAX(a, b);

    switch (latency->kind) {
    case SKEP_SIM_CONSTANT: return latency->median_us;
    case SKEP_SIM_UNIFORM:
        return latency->min_us + mix(pair + mix(seed)) % (latency->max_us - latency->min_us + 1);
    case SKEP_SIM_LOGNORMAL:
        return skep_sim_lognormal_us(latency->median_us, latency->sigma_milli,
                                     mix(pair + mix(seed)));
    case SKEP_SIM_MATRIX: return matrix_us(latency, seed, a, b);
    }
    SKEP_UNREACHABLE();
}

/* ---- sessions ---- */

uint64_t skep_sim_session_us(struct skep_prng *prng, const struct skep_sim_session *session)
{
    uint64_t draw = skep_prng_u64(prng);

    if (session->kind == SKEP_SIM_SESSION_LOGNORMAL)
        return skep_sim_lognormal_us(session->median_us, session->sigma_milli, draw);
    draw = exponential_us(session->median_us, draw);
    return SKEP_MAX(draw, 1u);
}
