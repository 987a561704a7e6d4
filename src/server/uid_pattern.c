/* SPDX-License-Identifier: MIT */
/* See uid_pattern.h. */
#include "server/uid_pattern.h"

#include <inttypes.h>
#include <stdio.h>

/* Numbers above fit no block: an end is one more than the largest. */
static const uint32_t number_max = UINT32_MAX - 1;

/* @return up to the first `c`, and *rest is what is behind it; all of it, and *found is false, where there is none. */
static skep_bytes cut(skep_bytes text, char c, skep_bytes *rest, bool *found)
{
    const uint8_t *at = text.len > 0 ? memchr(text.data, c, text.len) : NULL;
    size_t len = at ? (size_t)(at - text.data) : text.len;

    *found = at != NULL;
    *rest = at ? skep_bytes_of(at + 1, text.len - len - 1) : skep_bytes_of(text.data + len, 0);
    return skep_bytes_of(text.data, len);
}

static bool has(skep_bytes text, char c)
{
    return text.len > 0 && memchr(text.data, c, text.len);
}

/* @return NULL, and *out; or what is wrong. */
static const char *read_number(uint32_t *out, skep_bytes digits)
{
    uint32_t v = 0;

    if (digits.len == 0)
        return "a number is missing";
    for (size_t i = 0; i < digits.len; i++) {
        uint8_t c = digits.data[i];

        if (c < '0' || c > '9')
            return "it is neither a number nor a range such as [0:16]";
        if (__builtin_mul_overflow(v, (uint32_t)10, &v) ||
            __builtin_add_overflow(v, (uint32_t)(c - '0'), &v) || v > number_max)
            return "a number is too large";
    }
    if (digits.len > 1 && digits.data[0] == '0')
        return "a number has a leading zero";
    *out = v;
    return NULL;
}

static const char *read_range(uint32_t *first, uint32_t *end, skep_bytes block)
{
    skep_bytes from, to;
    const char *problem;
    bool colon;

    if (block.len < 2 || block.data[0] != '[' || block.data[block.len - 1] != ']')
        return "it is neither a number nor a range such as [0:16]";
    from = cut(skep_bytes_of(block.data + 1, block.len - 2), ':', &to, &colon);
    if (!colon)
        return "a range has a colon in the middle, as in [0:16]";
    if ((problem = read_number(first, from)) || (problem = read_number(end, to)))
        return problem;
    return *first < *end ? NULL : "the range is empty";
}

static const char *read_block(uint32_t *first, uint32_t *end, skep_bytes block)
{
    const char *problem;

    if (has(block, '[') || has(block, ']'))
        return read_range(first, end, block);
    problem = read_number(first, block);
    *end = problem ? 0 : *first + 1;
    return problem;
}

static int refuse(char *why, size_t why_len, skep_bytes text, const char *what)
{
    char shown[SKEP_PEER_TEXT_MAX + 8];

    snprintf(why, why_len, "pattern \"%s\": %s", skep_text_escape(shown, sizeof shown, text), what);
    return SKEP_EINVAL;
}

static int refuse_block(char *why, size_t why_len, skep_bytes text, size_t number, skep_bytes block,
                        const char *what)
{
    char shown[80], sentence[SKEP_PEER_TEXT_MAX];

    snprintf(sentence, sizeof sentence, "block %zu, \"%s\": %s", number,
             skep_text_escape(shown, sizeof shown, block), what);
    return refuse(why, why_len, text, sentence);
}

/* The name, which is the first block. */
static int read_name(struct skep_uid_pattern *out, skep_bytes *rest, char *why, size_t why_len)
{
    bool dot;

    out->name = cut(out->text, '.', rest, &dot);
    if (out->name.len == 0)
        return refuse(why, why_len, out->text, "it begins with a name, as in ffn.[0:16]");
    if (has(out->name, '[') || has(out->name, ']'))
        return refuse_block(why, why_len, out->text, 1, out->name,
                            "the first block is a name, without brackets");
    if (!dot)
        return refuse(why, why_len, out->text,
                      "a number or range follows the name, as in ffn.[0:16]");
    return 0;
}

static int read_blocks(struct skep_uid_pattern *out, skep_bytes rest, char *why, size_t why_len)
{
    bool more = true;

    while (more) {
        skep_bytes block = cut(rest, '.', &rest, &more);
        size_t at = out->blocks;
        const char *problem = at == SKEP_GRID_DIMENSIONS_MAX
                                  ? "there are too many blocks"
                                  : read_block(&out->first[at], &out->end[at], block);

        if (problem)
            return refuse_block(why, why_len, out->text, at + 2, block, problem);
        if (__builtin_mul_overflow(out->size, (uint64_t)(out->end[at] - out->first[at]),
                                   &out->size))
            out->size = UINT64_MAX;
        out->blocks++;
    }
    return 0;
}

/* A saturated product stays so: a further factor is at least 1, and above 1 it overflows again. */
int skep_uid_pattern_parse(struct skep_uid_pattern *out, const char *text, char *why,
                           size_t why_len)
{
    skep_bytes rest;
    int rc = 0;

    if (why_len > 0)
        why[0] = '\0';
    *out = (struct skep_uid_pattern){.text = skep_bytes_str(text), .size = 1};
    if (out->text.len > SKEP_UID_LEN_MAX) /* no uid is longer than its pattern */
        rc = refuse(why, why_len, out->text, "it is too long");
    else if (!skep_utf8_valid(out->text))
        rc = refuse(why, why_len, out->text, "it is not UTF-8");
    if (rc == 0)
        rc = read_name(out, &rest, why, why_len);
    if (rc == 0)
        rc = read_blocks(out, rest, why, why_len);
    if (rc < 0)
        *out = (struct skep_uid_pattern){.size = 0};
    return rc;
}

static int put_uid(const struct skep_uid_pattern *pattern, const uint32_t *numbers, char *out,
                   size_t out_len)
{
    size_t len = pattern->name.len;

    if (len >= out_len)
        return SKEP_ESIZE;
    skep_bytes_copy(out, pattern->name);
    for (size_t i = 0; i < pattern->blocks; i++) {
        len += (size_t)snprintf(out + len, out_len - len, ".%" PRIu32, numbers[i]);
        if (len >= out_len)
            return SKEP_ESIZE;
    }
    return (int)len;
}

int skep_uid_pattern_uid(const struct skep_uid_pattern *pattern, uint64_t index, char *out,
                         size_t out_len)
{
    uint32_t numbers[SKEP_GRID_DIMENSIONS_MAX];

    for (size_t i = pattern->blocks; i-- > 0;) {
        uint32_t width = pattern->end[i] - pattern->first[i];

        numbers[i] = pattern->first[i] + (uint32_t)(index % width);
        index /= width;
    }
    return put_uid(pattern, numbers, out, out_len);
}

int skep_uid_pattern_draw(const struct skep_uid_pattern *pattern, struct skep_prng *prng, char *out,
                          size_t out_len)
{
    uint32_t numbers[SKEP_GRID_DIMENSIONS_MAX];

    for (size_t i = 0; i < pattern->blocks; i++)
        numbers[i] = pattern->first[i] +
                     (uint32_t)skep_prng_below(prng, pattern->end[i] - pattern->first[i]);
    return put_uid(pattern, numbers, out, out_len);
}

bool skep_uid_pattern_has(const struct skep_uid_pattern *pattern, skep_bytes uid)
{
    bool more = true;
    skep_bytes rest, name = cut(uid, '.', &rest, &more);

    if (!skep_bytes_equal(name, pattern->name))
        return false;
    for (size_t i = 0; i < pattern->blocks; i++) {
        uint32_t number;

        if (!more || read_number(&number, cut(rest, '.', &rest, &more)) ||
            number < pattern->first[i] || number >= pattern->end[i])
            return false;
    }
    return !more;
}
