/* SPDX-License-Identifier: MIT */
/* The grammar of uids: what it accepts is what a plain reading of hivemind's patterns accepts, the number it counts is the number of dots, and a
 * uid is put together again from what it is split into. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "moe/uid.h"

#define REQUIRE(fact)                                                                              \
    do {                                                                                           \
        if (!(fact))                                                                               \
            abort();                                                                               \
    } while (0)

/* ^[^.]+([.](0|[1-9][0-9]*))+$ as a table of states. */
static bool plain_reading(const uint8_t *data, size_t len, bool prefix)
{
    enum { START, NAME, DOT, ZERO, DIGITS } state = START;

    for (size_t i = 0; i < len; i++) {
        uint8_t c = data[i];
        bool digit = c >= '0' && c <= '9';

        switch (state) {
        case START:
            if (c == '.')
                return false;
            state = NAME;
            break;
        case NAME: state = c == '.' ? DOT : NAME; break;
        case DOT:
            if (!digit)
                return false;
            state = c == '0' ? ZERO : DIGITS;
            break;
        case ZERO:
            if (c != '.')
                return false;
            state = DOT;
            break;
        case DIGITS:
            if (c != '.' && !digit)
                return false;
            state = c == '.' ? DOT : DIGITS;
            break;
        }
    }
    return prefix ? state == DOT : state == ZERO || state == DIGITS;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    skep_bytes text = skep_bytes_of(data, len), head;
    bool utf8 = skep_utf8_valid(text), fits = len <= SKEP_UID_LEN_MAX;
    bool uid = plain_reading(data, len, false), prefix = plain_reading(data, len, true);
    char why[SKEP_UID_WHY_MAX];
    size_t numbers = 0, dots = 0;
    uint64_t number;

    REQUIRE((skep_uid_check(text, why, sizeof why) == 0) == (uid && utf8 && fits));
    REQUIRE((why[0] == '\0') == (uid && utf8 && fits));
    REQUIRE((skep_prefix_check(text, why, sizeof why) == 0) == (prefix && utf8 && fits));
    REQUIRE(skep_uid_valid(text, &numbers) == (uid && fits));
    for (size_t i = 0; i < len; i++)
        dots += data[i] == '.';
    if (uid && fits) {
        REQUIRE(numbers == dots && skep_uid_number_count(text) == dots);
        REQUIRE(skep_uid_split(text, &head, &number));
        if (number < UINT64_MAX) {
            char tail[32];
            int tail_len = snprintf(tail, sizeof tail, "%" PRIu64, number);

            REQUIRE(head.len + (size_t)tail_len == len &&
                    memcmp(data + head.len, tail, (size_t)tail_len) == 0);
        }
        REQUIRE(plain_reading(head.data, head.len, true));
    }
    return 0;
}
