/* SPDX-License-Identifier: MIT */
/* The names of experts' folders: RFC 3986, 2.1, "Percent-Encoding", in one way only, so that a uid has one name and a name one uid. */
#include "moe/uid.h"
#include "server/checkpoint.h"

static bool stays(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' ||
           c == '.' || c == '-';
}

/* Names that are the folder itself, or the one above. */
static bool is_special(skep_bytes name)
{
    return skep_bytes_equal(name, skep_bytes_str(".")) ||
           skep_bytes_equal(name, skep_bytes_str(".."));
}

int skep_checkpoint_folder(char *out, size_t out_len, skep_bytes uid)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t room = SKEP_MIN(out_len, (size_t)SKEP_CHECKPOINT_FOLDER_MAX), len = 0;
    bool special = is_special(uid);

    for (size_t i = 0; i < uid.len; i++) {
        uint8_t c = uid.data[i];
        bool plain = stays(c) && !special;

        if (len + (plain ? 1 : 3) >= room)
            return SKEP_ESIZE;
        if (plain) {
            out[len++] = (char)c;
            continue;
        }
        out[len++] = '%';
        out[len++] = digits[c >> 4];
        out[len++] = digits[c & 15];
    }
    if (len >= room)
        return SKEP_ESIZE;
    out[len] = '\0';
    return (int)len;
}

/* @return the byte of two digits, or -1. */
static int byte_of(const char *digits)
{
    int v = 0;

    for (int i = 0; i < 2; i++) {
        char c = digits[i];

        if (c >= '0' && c <= '9')
            v = v << 4 | (c - '0');
        else if (c >= 'A' && c <= 'F')
            v = v << 4 | (c - 'A' + 10);
        else
            return -1;
    }
    return v;
}

int skep_checkpoint_uid(char *out, size_t out_len, const char *folder)
{
    char again[SKEP_CHECKPOINT_FOLDER_MAX];
    size_t len = 0;
    int c;

    for (const char *at = folder; *at != '\0'; at++) {
        c = (uint8_t)*at;
        if (*at == '%') {
            c = byte_of(at + 1); /* never past the end: '\0' is no digit */
            at += 2;
        }
        if (c < 0)
            return SKEP_EVALUE;
        if (len + 1 >= out_len)
            return SKEP_ESIZE;
        out[len++] = (char)c;
    }
    if (len == out_len)
        return SKEP_ESIZE;
    out[len] = '\0';
    if (skep_uid_check(skep_bytes_of(out, len), NULL, 0) < 0 ||
        skep_checkpoint_folder(again, sizeof again, skep_bytes_of(out, len)) < 0 ||
        strcmp(again, folder) != 0)
        return SKEP_EVALUE;
    return (int)len;
}
