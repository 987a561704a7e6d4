/* SPDX-License-Identifier: MIT */
/* multistream-select 1.0: which protocol a stream of bytes speaks. Spec: libp2p connections, "multistream-select"; docs/wire.md a.1.
 *
 *   token = uvarint(length) | text | '\n'        the length counts the newline
 *
 *   dialler                            listener
 *   /multistream/1.0.0  ------------>
 *   /first              ------------>
 *                       <------------  /multistream/1.0.0
 *                       <------------  na
 *   /second             ------------>
 *                       <------------  /second          from here on the bytes are the protocol's
 *
 * Left out: `ls`, which is refused with `na` like any name that is not served, and simultaneous open. */
#include "negotiate/multistream.h"

#include "base/varint.h"

static const char header_text[] = "/multistream/1.0.0";
static const char refusal_text[] = "na";

enum { TOKEN_PREFIX_MAX = 2 }; /* a uvarint of up to SKEP_NEGOTIATE_TOKEN_MAX */

void skep_multistream_put(struct skep_buf *out, const char *text)
{
    size_t len = strlen(text);

    skep_buf_put_varint(out, len + 1);
    skep_buf_put(out, text, len);
    skep_buf_put_u8(out, '\n');
}

void skep_multistream_dial(struct skep_multistream *ms, const struct skep_mem *mem,
                           const char *const *protocols, size_t protocol_count,
                           struct skep_buf *out)
{
    assert(protocol_count > 0);
    *ms = (struct skep_multistream){.is_dialer = true,
                                    .header_sent = true,
                                    .mem = mem,
                                    .protocols = protocols,
                                    .protocol_count = protocol_count};
    skep_multistream_put(out, header_text);
    skep_multistream_put(out, protocols[0]);
}

void skep_multistream_listen(struct skep_multistream *ms, const struct skep_mem *mem,
                             const char *(*lookup)(void *user, skep_bytes protocol), void *user,
                             bool send_header, struct skep_buf *out)
{
    *ms = (struct skep_multistream){
        .header_sent = send_header, .mem = mem, .lookup = lookup, .user = user};
    if (send_header)
        skep_multistream_put(out, header_text);
}

void skep_multistream_fini(struct skep_multistream *ms)
{
    if (ms->token)
        skep_mem_free(ms->mem, ms->token);
    ms->token = NULL;
    ms->token_len = 0;
}

/* The token at the front of `bytes`: its text without the newline.
 * @return bytes it takes in all; 0 when it is cut, with *need set to how many bytes are known to belong to it. */
static int read_token(skep_bytes bytes, skep_bytes *text, size_t *need)
{
    skep_bytes rest = bytes;
    uint64_t len;
    int prefix;

    /* Two bytes hold every length that we take, so a longer prefix is never waited for. */
    if (bytes.len >= TOKEN_PREFIX_MAX && (bytes.data[0] & bytes.data[1] & 0x80) != 0)
        return SKEP_EPEER_LIMIT;
    prefix = skep_varint_decode(&rest, &len);
    if (prefix < 0)
        return prefix;
    *need = bytes.len + 1;
    if (prefix == 0)
        return 0;
    if (len > SKEP_NEGOTIATE_TOKEN_MAX)
        return SKEP_EPEER_LIMIT;
    if (len == 0)
        return SKEP_EPEER_PROTO;
    *need = (size_t)prefix + (size_t)len;
    if (rest.len < len)
        return 0;
    if (rest.data[len - 1] != '\n')
        return SKEP_EPEER_PROTO;
    *text = skep_bytes_of(rest.data, (size_t)len - 1);
    return (int)*need;
}

/* Keep what has come of a cut token, and complete it as more comes. @return 1 with *text (inside ms->token), 0, or an error. */
static int take_cut_token(struct skep_multistream *ms, skep_bytes *in, skep_bytes *text)
{
    if (!ms->token) {
        ms->token = skep_mem_alloc(ms->mem, SKEP_NEGOTIATE_TOKEN_MAX + TOKEN_PREFIX_MAX);
        if (!ms->token)
            return SKEP_ENOMEM;
    }
    for (;;) {
        size_t need;
        int used = read_token(skep_bytes_of(ms->token, ms->token_len), text, &need);
        skep_bytes got;

        if (used < 0)
            return used;
        if (used > 0) {
            ms->token_len = 0;
            return 1;
        }
        if (in->len == 0)
            return 0;
        got = skep_bytes_take(in, need - ms->token_len);
        skep_bytes_copy(ms->token + ms->token_len, got);
        ms->token_len = (uint16_t)(ms->token_len + got.len);
    }
}

/* @return 1 with *text good until the next call; 0: more is needed; an error. */
static int take_token(struct skep_multistream *ms, skep_bytes *in, skep_bytes *text)
{
    size_t need;
    int used;

    if (ms->token_len > 0)
        return take_cut_token(ms, in, text);
    if (in->len == 0)
        return 0;
    used = read_token(*in, text, &need);
    if (used < 0)
        return used;
    if (used == 0)
        return take_cut_token(ms, in, text);
    skep_bytes_take(in, (size_t)used);
    return 1;
}

/* Our proposal was answered. @return 1 agreed, 0 the next one is proposed, or an error. */
static int on_answer(struct skep_multistream *ms, skep_bytes text, struct skep_buf *out)
{
    if (skep_bytes_equal(text, skep_bytes_str(ms->protocols[ms->proposed]))) {
        ms->chosen = ms->protocols[ms->proposed];
        return 1;
    }
    if (!skep_bytes_equal(text, skep_bytes_str(refusal_text)))
        return SKEP_EPEER_PROTO;
    if (++ms->proposed == ms->protocol_count)
        return SKEP_EPEER_UNSUPPORTED;
    skep_multistream_put(out, ms->protocols[ms->proposed]);
    return 0;
}

static void send_header(struct skep_multistream *ms, struct skep_buf *out)
{
    if (!ms->header_sent)
        skep_multistream_put(out, header_text);
    ms->header_sent = true;
}

/* The peer proposes. @return 1 agreed, 0 refused, or an error. */
static int on_proposal(struct skep_multistream *ms, skep_bytes text, struct skep_buf *out)
{
    const char *name = ms->lookup(ms->user, text);

    if (++ms->proposals > SKEP_NEGOTIATE_PROPOSALS_MAX)
        return SKEP_EPEER_LIMIT;
    send_header(ms, out);
    skep_multistream_put(out, name ? name : refusal_text);
    ms->chosen = name;
    return name != NULL;
}

static int on_token(struct skep_multistream *ms, skep_bytes text, struct skep_buf *out)
{
    if (!ms->header_seen) {
        ms->header_seen = true;
        return skep_bytes_equal(text, skep_bytes_str(header_text)) ? 0 : SKEP_EPEER_PROTO;
    }
    return ms->is_dialer ? on_answer(ms, text, out) : on_proposal(ms, text, out);
}

int skep_multistream_next(struct skep_multistream *ms, skep_bytes *in, struct skep_buf *out)
{
    skep_bytes text;
    int rc = ms->rc;

    if (ms->done)
        return 1;
    while (rc == 0) {
        rc = take_token(ms, in, &text);
        if (rc <= 0)
            break;
        rc = on_token(ms, text, out);
    }
    /* Who sent its header alone may wait for ours before it proposes. */
    if (rc == 0 && ms->header_seen && ms->token_len == 0)
        send_header(ms, out);
    if (rc >= 0 && out->rc < 0)
        rc = out->rc;
    ms->done = rc == 1;
    ms->rc = SKEP_MIN(rc, 0);
    if (rc != 0)
        skep_multistream_fini(ms);
    return rc;
}
