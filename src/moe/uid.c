/* SPDX-License-Identifier: MIT */
#include "moe/uid.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/limits.h"

enum problem {
    FINE,
    EMPTY,
    TOO_LONG,
    NOT_UTF8,
    NO_NAME,
    NO_NUMBER,
    NO_LAST_DOT,
    LAST_DOT,
    NUMBER_EMPTY,
    NUMBER_ZERO,
    NUMBER_DIGIT,
};

struct scan {
    enum problem problem;
    size_t numbers; /* read so far; of a bad one: those before it */
    size_t at;      /* where a bad number begins, or holds what is no digit */
};

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* One number at the front of `text`, up to the next dot or the end. @return its length. */
static size_t scan_number(skep_bytes text, struct scan *scan)
{
    size_t len = 0;

    while (len < text.len && is_digit(text.data[len]))
        len++;
    if (len < text.len && text.data[len] != '.') {
        scan->problem = NUMBER_DIGIT;
        scan->at += len;
    } else if (len == 0) {
        scan->problem = NUMBER_EMPTY;
    } else if (len > 1 && text.data[0] == '0') {
        scan->problem = NUMBER_ZERO;
    }
    return len;
}

/* name *( "." number ), of which a prefix has the last dot cut off already. */
static struct scan scan_path(skep_bytes text)
{
    struct scan scan = {FINE, 0, 0};
    const uint8_t *dot = text.len > 0 ? memchr(text.data, '.', text.len) : NULL;
    size_t name_len = dot ? (size_t)(dot - text.data) : text.len;

    if (name_len == 0) {
        scan.problem = NO_NAME;
        return scan;
    }
    scan.at = name_len;
    while (scan.at < text.len) { /* at a dot */
        size_t len;

        scan.at++;
        len = scan_number(skep_bytes_of(text.data + scan.at, text.len - scan.at), &scan);
        if (scan.problem != FINE)
            return scan;
        scan.at += len;
        scan.numbers++;
    }
    return scan;
}

static struct scan scan_text(skep_bytes text, bool prefix)
{
    struct scan scan = {FINE, 0, 0};

    if (text.len == 0)
        scan.problem = EMPTY;
    else if (text.len > SKEP_UID_LEN_MAX)
        scan.problem = TOO_LONG;
    else if (!skep_utf8_valid(text))
        scan.problem = NOT_UTF8;
    else if (prefix && text.data[text.len - 1] != '.')
        scan.problem = NO_LAST_DOT;
    else if (!prefix && text.len > 1 && text.data[text.len - 1] == '.')
        scan.problem = LAST_DOT;
    if (scan.problem != FINE)
        return scan;
    scan = scan_path(skep_bytes_of(text.data, prefix ? text.len - 1 : text.len));
    if (scan.problem == FINE && !prefix && scan.numbers == 0)
        scan.problem = NO_NUMBER;
    return scan;
}

static void explain(char *why, size_t why_len, skep_bytes text, const struct scan *scan)
{
    char shown[SKEP_PEER_TEXT_MAX + 8];
    const char *what = "";

    switch (scan->problem) {
    case FINE: return;
    case EMPTY: what = "it is empty"; break;
    case TOO_LONG: what = "it is too long"; break;
    case NOT_UTF8: what = "it is not UTF-8"; break;
    case NO_NAME: what = "there is no name before the first dot"; break;
    case NO_NUMBER: what = "a uid needs a number after its name, as in name.0"; break;
    case NO_LAST_DOT: what = "a prefix ends in a dot"; break;
    case LAST_DOT: what = "it ends in a dot, as prefixes do and uids do not"; break;
    case NUMBER_EMPTY: what = "is empty"; break;
    case NUMBER_ZERO: what = "has a leading zero"; break;
    case NUMBER_DIGIT: what = "has something in it that is no digit"; break;
    }
    skep_text_escape(shown, sizeof shown, text);
    if (scan->problem >= NUMBER_EMPTY)
        snprintf(why, why_len, "\"%s\": number %zu (at byte %zu) %s", shown, scan->numbers + 1,
                 scan->at, what);
    else
        snprintf(why, why_len, "\"%s\": %s", shown, what);
}

static int check(skep_bytes text, bool prefix, char *why, size_t why_len)
{
    struct scan scan = scan_text(text, prefix);

    if (why && why_len > 0) {
        why[0] = '\0';
        explain(why, why_len, text, &scan);
    }
    if (scan.problem == FINE)
        return 0;
    return prefix ? SKEP_EPREFIX : SKEP_EUID;
}

int skep_uid_check(skep_bytes uid, char *why, size_t why_len)
{
    return check(uid, false, why, why_len);
}

int skep_prefix_check(skep_bytes prefix, char *why, size_t why_len)
{
    return check(prefix, true, why, why_len);
}

bool skep_uid_valid(skep_bytes uid, size_t *numbers)
{
    struct scan scan;

    if (uid.len == 0 || uid.len > SKEP_UID_LEN_MAX)
        return false;
    scan = scan_path(uid);
    if (numbers)
        *numbers = scan.numbers;
    return scan.problem == FINE && scan.numbers > 0;
}

size_t skep_uid_number_count(skep_bytes text)
{
    size_t dots = 0;

    for (size_t i = 0; i < text.len; i++)
        dots += text.data[i] == '.';
    return text.len > 0 && text.data[text.len - 1] == '.' ? dots - 1 : dots;
}

bool skep_uid_split(skep_bytes text, skep_bytes *prefix, uint64_t *number)
{
    size_t end = text.len, begin;
    uint64_t v = 0;

    if (end > 0 && text.data[end - 1] == '.')
        end--;
    for (begin = end; begin > 0 && is_digit(text.data[begin - 1]);)
        begin--;
    if (begin == end || begin < 2 || text.data[begin - 1] != '.')
        return false; /* begin < 2: there is no name before the dot */
    for (size_t i = begin; i < end; i++) {
        if (__builtin_mul_overflow(v, (uint64_t)10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(text.data[i] - '0'), &v)) {
            v = UINT64_MAX;
            break;
        }
    }
    *prefix = skep_bytes_of(text.data, begin);
    *number = v;
    return true;
}
