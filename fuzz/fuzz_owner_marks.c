/* SPDX-License-Identifier: MIT */
/* Property: the marks found are those of the regular expression `\[owner:(.+?)\]`, here matched naively at each place; and a record without a valid signature
 * is accepted only if it has no owner. Stripping twice is stripping once, unless the pieces left make a new mark. */
#include <stdlib.h>

#include "dht/rsa_validator.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

static const char owner[] = "[owner:";

/* The length of a match that starts right here, or 0. */
static size_t match(skep_bytes text)
{
    size_t open = sizeof owner - 1;

    if (text.len < open || memcmp(text.data, owner, open) != 0)
        return 0;
    for (size_t i = open; i < text.len && text.data[i] != '\n'; i++)
        if (i > open && text.data[i] == ']')
            return i + 1;
    return 0;
}

static size_t check_marks(skep_bytes text)
{
    skep_bytes rest = text, whole, content;
    size_t count = 0, at = 0;

    while (at < text.len) {
        size_t n = match(skep_bytes_of(text.data + at, text.len - at));

        if (n == 0) {
            at++;
            continue;
        }
        CHECK(skep_rsa_next_mark(&rest, owner, &whole, &content));
        CHECK(whole.data == text.data + at && whole.len == n);
        CHECK(content.data == whole.data + sizeof owner - 1 && content.len == n - sizeof owner);
        at += n;
        count++;
    }
    CHECK(!skep_rsa_next_mark(&rest, owner, &whole, &content));
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct skep_dht_signable record = {.expiration_unix_s = 1};
    struct skep_rsa_validator rsa;
    struct skep_buf out;
    size_t cut = len > 0 ? data[0] % len : 0;
    skep_bytes all = skep_bytes_of(data, len);
    size_t owners;

    record.subkey = skep_bytes_take(&all, cut);
    record.value = all;
    owners = check_marks(record.subkey);
    (void)check_marks(record.value);
    CHECK(skep_rsa_validator_init(&rsa, &skep_mem_std, NULL) == 0);
    /* No fuzzer signs with a key of 2048 bits. */
    CHECK(rsa.base.class->validate(&rsa.base, &record) == (owners == 0 ? 0 : SKEP_EPEER_AUTH));
    skep_buf_init(&out, &skep_mem_std);
    if (rsa.base.class->strip(&rsa.base, &record, &out) == 1)
        CHECK(out.len < record.value.len);
    skep_buf_fini(&out);
    skep_rsa_validator_fini(&rsa);
    return 0;
}
