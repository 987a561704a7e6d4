/* SPDX-License-Identifier: MIT */
/* Base58 in limbs of 32 bits and chunks of five digits (58^5 < 2^30): a peer id's 52 digits take 11 passes over ten limbs
 * rather than 52 over 38 bytes. Every search decodes hundreds of ids. */
#include "peer/base58.h"

enum { LIMBS = SKEP_BASE58_BYTES_MAX / 4 + 1, CHUNK = 5, POWER_5 = 656356768 };

static const char alphabet[] = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/* value + 1 of each character, 0 where it is none */
static const uint8_t value_of[128] = {
    ['1'] = 1,  ['2'] = 2,  ['3'] = 3,  ['4'] = 4,  ['5'] = 5,  ['6'] = 6,  ['7'] = 7,  ['8'] = 8,
    ['9'] = 9,  ['A'] = 10, ['B'] = 11, ['C'] = 12, ['D'] = 13, ['E'] = 14, ['F'] = 15, ['G'] = 16,
    ['H'] = 17, ['J'] = 18, ['K'] = 19, ['L'] = 20, ['M'] = 21, ['N'] = 22, ['P'] = 23, ['Q'] = 24,
    ['R'] = 25, ['S'] = 26, ['T'] = 27, ['U'] = 28, ['V'] = 29, ['W'] = 30, ['X'] = 31, ['Y'] = 32,
    ['Z'] = 33, ['a'] = 34, ['b'] = 35, ['c'] = 36, ['d'] = 37, ['e'] = 38, ['f'] = 39, ['g'] = 40,
    ['h'] = 41, ['i'] = 42, ['j'] = 43, ['k'] = 44, ['m'] = 45, ['n'] = 46, ['o'] = 47, ['p'] = 48,
    ['q'] = 49, ['r'] = 50, ['s'] = 51, ['t'] = 52, ['u'] = 53, ['v'] = 54, ['w'] = 55, ['x'] = 56,
    ['y'] = 57, ['z'] = 58,
};

static int digit(uint8_t c)
{
    return c < 128 ? value_of[c] - 1 : -1;
}

/* Limbs, least significant first; used counts those that are not zero. */
struct number {
    uint32_t limb[LIMBS];
    size_t used;
};

/* number = number * factor + add. @return false when that does not fit. */
static bool multiply_add(struct number *n, uint32_t factor, uint32_t add)
{
    uint64_t carry = add;

    for (size_t i = 0; i < n->used; i++) {
        carry += (uint64_t)n->limb[i] * factor;
        n->limb[i] = (uint32_t)carry;
        carry >>= 32;
    }
    if (carry == 0)
        return true;
    if (n->used == LIMBS)
        return false;
    n->limb[n->used++] = (uint32_t)carry;
    return true;
}

/* number = number / 58^5. @return the remainder. */
static uint32_t divide(struct number *n)
{
    uint64_t rest = 0;

    for (size_t i = n->used; i-- > 0;) {
        rest = rest << 32 | n->limb[i];
        n->limb[i] = (uint32_t)(rest / POWER_5);
        rest %= POWER_5;
    }
    while (n->used > 0 && n->limb[n->used - 1] == 0)
        n->used--;
    return (uint32_t)rest;
}

static bool read_number(struct number *n, skep_bytes text)
{
    while (text.len > 0) {
        skep_bytes chunk = skep_bytes_take(&text, CHUNK);
        uint32_t factor = 1, v = 0;

        for (size_t i = 0; i < chunk.len; i++) {
            int d = digit(chunk.data[i]);

            if (d < 0)
                return false;
            v = v * 58 + (uint32_t)d;
            factor *= 58;
        }
        if (!multiply_add(n, factor, v))
            return false;
    }
    return true;
}

ptrdiff_t skep_base58_decode(uint8_t *out, size_t cap, skep_bytes text)
{
    struct number n = {.used = 0};
    size_t zeros = 0, len;

    if (text.len > SKEP_BASE58_TEXT_MAX)
        return -1;
    while (zeros < text.len && text.data[zeros] == '1')
        zeros++;
    if (!read_number(&n, skep_bytes_of(text.data + zeros, text.len - zeros)))
        return -1;
    len = n.used * 4;
    while (len > 0 && (uint8_t)(n.limb[(len - 1) / 4] >> 8 * ((len - 1) % 4)) == 0)
        len--;
    if (zeros > cap || len > cap - zeros)
        return -1;
    memset(out, 0, zeros);
    for (size_t i = 0; i < len; i++)
        out[zeros + len - 1 - i] = (uint8_t)(n.limb[i / 4] >> 8 * (i % 4));
    return (ptrdiff_t)(zeros + len);
}

size_t skep_base58_encode(char *out, skep_bytes bytes)
{
    struct number n = {.used = 0};
    char digits[SKEP_BASE58_TEXT_MAX + CHUNK]; /* least significant first */
    size_t zeros = 0, count = 0;

    assert(bytes.len <= SKEP_BASE58_BYTES_MAX);
    while (zeros < bytes.len && bytes.data[zeros] == 0)
        zeros++;
    for (size_t i = zeros; i < bytes.len; i++)
        n.limb[(bytes.len - 1 - i) / 4] |= (uint32_t)bytes.data[i] << 8 * ((bytes.len - 1 - i) % 4);
    n.used = (bytes.len - zeros + 3) / 4;
    while (n.used > 0) {
        uint32_t rest = divide(&n);

        for (size_t i = 0; i < CHUNK; i++, rest /= 58)
            digits[count++] = alphabet[rest % 58];
    }
    while (count > 0 && digits[count - 1] == '1') /* of the last chunk */
        count--;
    memset(out, '1', zeros);
    for (size_t i = 0; i < count; i++)
        out[zeros + i] = digits[count - 1 - i];
    out[zeros + count] = '\0';
    return zeros + count;
}
