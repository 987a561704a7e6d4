/* SPDX-License-Identifier: MIT */
/* Handshake messages from a hostile peer that knows Noise: the input damages what an honest peer would have sent, or replaces it.
 * Property: we are done only if nothing of what the honest peer sent was changed; and an error is for good.
 *
 * input: role 1 | message to damage 1 | mode 1 | bytes: XORed over that message (mode even) or put in its place (odd) */
#include <stdlib.h>

#include "base/prng.h"
#include "secure/noise.h"

static struct skep_prng prng;

static int entropy(struct skep_env *env, void *out, size_t len)
{
    (void)env;
    skep_prng_fill(&prng, out, len);
    return 0;
}

enum damage { UNTOUCHED, MORE_BEHIND, CHANGED };

/* MORE_BEHIND: the honest message whole, and then the start of a next one, which may spoil what honestly comes next. */
static enum damage damage(struct skep_buf *wire, bool replace, skep_bytes by)
{
    enum damage done = UNTOUCHED;

    if (replace) {
        skep_bytes start = by, first = skep_bytes_take(&start, wire->len);

        if (!skep_bytes_equal(skep_buf_view(wire), first))
            done = CHANGED;
        else if (start.len > 0)
            done = MORE_BEHIND;
        skep_buf_clear(wire);
        skep_buf_put_bytes(wire, by);
        return done;
    }
    for (size_t i = 0; i < wire->len && i < by.len; i++) {
        wire->data[i] ^= by.data[i];
        done = by.data[i] != 0 ? CHANGED : done;
    }
    return done;
}

/* @return 1 both done. */
static int shake_hands(struct skep_noise *first, struct skep_noise *second, unsigned at,
                       bool replace, skep_bytes by, enum damage *damaged)
{
    struct skep_noise *sides[2] = {first, second};
    struct skep_buf wire, answer;
    skep_bytes in = {0};
    int rc, done = 0;

    skep_buf_init(&wire, &skep_mem_std);
    skep_buf_init(&answer, &skep_mem_std);
    rc = skep_noise_handshake(first, &in, &wire);
    for (unsigned message = 0; rc >= 0 && message < 3; message++) {
        struct skep_noise *to = sides[(message + 1) % 2];

        if (message == at)
            *damaged = damage(&wire, replace, by);
        in = skep_buf_view(&wire);
        skep_buf_clear(&answer);
        rc = skep_noise_handshake(to, &in, &answer);
        done += rc == 1;
        if (rc < 0 && skep_noise_handshake(to, &in, &answer) != rc)
            abort();
        skep_buf_clear(&wire);
        skep_buf_put_bytes(&wire, skep_buf_view(&answer));
    }
    skep_buf_fini(&wire);
    skep_buf_fini(&answer);
    return done == 2;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const uint8_t seeds[2][SKEP_ED25519_LEN] = {{1}, {2}};
    struct skep_env env = {.mem = &skep_mem_std, .entropy = entropy};
    struct skep_identity identities[2];
    struct skep_noise *noise[2];
    enum damage damaged = UNTOUCHED;
    int done;

    if (len < 3)
        return 0;
    skep_prng_init(&prng, 7);
    for (int i = 0; i < 2; i++)
        if (skep_identity_from_seed(&identities[i], &skep_mem_std, seeds[i]) < 0)
            abort();
    for (int i = 0; i < 2; i++)
        if (skep_noise_new(&noise[i], &env, &identities[i], i == 0,
                           data[0] & 1 ? &identities[1 - i].id : NULL) < 0)
            abort();
    done = shake_hands(noise[0], noise[1], data[1] % 3, data[2] & 1,
                       skep_bytes_of(data + 3, len - 3), &damaged);
    if (done && damaged == CHANGED)
        abort();
    if (!done && damaged == UNTOUCHED)
        abort();
    for (int i = 0; i < 2; i++) {
        skep_noise_free(noise[i]);
        skep_identity_fini(&identities[i]);
    }
    return 0;
}
