/* SPDX-License-Identifier: MIT */
/* The bytes of identify. Spec: libp2p identify; docs/wire.md a.5.
 *
 *   uvarint length ‖ Identify { 1 publicKey, 2 listenAddrs*, 3 protocols*, 4 observedAddr, 5 protocolVersion, 6 agentVersion }
 *
 * A sender may split itself over several messages, which the reader merges until the end of the stream. The public key is not read:
 * the handshake has proved it. Signed peer records (8) are neither sent nor read. */
#include "host/host_impl.h"

#include "base/pb.h"

enum {
    FIELD_PUBLIC_KEY = 1,
    FIELD_LISTEN_ADDR = 2,
    FIELD_PROTOCOL = 3,
    FIELD_OBSERVED_ADDR = 4,
    FIELD_PROTOCOL_VERSION = 5,
    FIELD_AGENT = 6,
    SPLIT_AT =
        4096 /* a message that grew past this is ended and the next begun, so that none comes near the reader's limit */
};

/* ---- writing ---- */

static void put_message(struct skep_buf *out, struct skep_buf *body)
{
    skep_buf_put_varint(out, body->len);
    skep_buf_put_bytes(out, skep_buf_view(body));
    if (body->rc < 0)
        out->rc = body->rc;
    skep_buf_clear(body);
}

void skep_identify_write(struct skep_buf *out, const struct skep_identify_self *self)
{
    uint8_t binary[SKEP_MULTIADDR_LEN_MAX];
    struct skep_buf body;

    skep_buf_init(&body, out->mem);
    skep_pb_put_bytes(&body, FIELD_PUBLIC_KEY, self->public_key);
    for (size_t i = 0; i < self->addr_count; i++)
        skep_pb_put_bytes(
            &body, FIELD_LISTEN_ADDR,
            skep_bytes_of(binary, skep_multiaddr_encode(binary, &self->addrs[i], false)));
    if (self->observed)
        skep_pb_put_bytes(
            &body, FIELD_OBSERVED_ADDR,
            skep_bytes_of(binary, skep_multiaddr_encode(binary, self->observed, false)));
    skep_pb_put_str(&body, FIELD_PROTOCOL_VERSION, "ipfs/0.1.0");
    skep_pb_put_str(&body, FIELD_AGENT, self->agent);
    for (size_t i = 0; i < self->protocol_count; i++) {
        if (body.len > SPLIT_AT)
            put_message(out, &body);
        skep_pb_put_str(&body, FIELD_PROTOCOL, self->protocols[i]);
    }
    put_message(out, &body);
    skep_buf_fini(&body);
}

/* ---- reading ---- */

void skep_identify_reader_init(struct skep_identify_reader *reader, const struct skep_mem *mem)
{
    skep_buf_init(&reader->message, mem);
    skep_buf_init(&reader->all, mem);
    reader->messages = 0;
}

void skep_identify_reader_fini(struct skep_identify_reader *reader)
{
    skep_buf_fini(&reader->message);
    skep_buf_fini(&reader->all);
}

/** A whole body: it must be well-formed by itself before it may be joined to the others. */
static int take_body(struct skep_identify_reader *reader, skep_bytes body)
{
    struct skep_pb_reader fields = skep_pb_read(body);
    struct skep_pb_field field;

    while (skep_pb_next(&fields, &field)) {
    }
    if (fields.rc < 0)
        return fields.rc;
    if (++reader->messages > SKEP_IDENTIFY_MESSAGES_MAX)
        return SKEP_EPEER_LIMIT;
    skep_buf_put_bytes(&reader->all, body);
    return reader->all.rc;
}

int skep_identify_feed(struct skep_identify_reader *reader, skep_bytes data)
{
    struct skep_buf *message = &reader->message;

    while (data.len > 0) {
        size_t room = SKEP_VARINT_LEN_MAX + SKEP_IDENTIFY_MESSAGE_MAX - message->len;
        skep_bytes in;

        skep_buf_put_bytes(message, skep_bytes_take(&data, room));
        if (message->rc < 0)
            return message->rc;
        for (in = skep_buf_view(message);;) {
            skep_bytes at = in;
            uint64_t len;
            int used = skep_varint_decode(&at, &len), rc;

            if (used < 0)
                return used;
            if (used > 0 && len > SKEP_IDENTIFY_MESSAGE_MAX)
                return SKEP_EPEER_LIMIT;
            if (used == 0 || at.len < len)
                break;
            if ((rc = take_body(reader, skep_bytes_take(&at, (size_t)len))) < 0)
                return rc;
            in = at;
        }
        skep_buf_drop(message, message->len - in.len);
    }
    return 0;
}

void skep_identify_info_free(const struct skep_mem *mem, struct skep_identify_info *info)
{
    if (!info)
        return;
    skep_mem_free(mem, info->protocols);
    skep_mem_free(mem, info->addrs);
    skep_buf_fini(&info->text);
    skep_mem_free(mem, info);
}

struct counts {
    size_t protocols, addrs, text;
};

static bool is_protocol(const struct skep_pb_field *field)
{
    return field->number == FIELD_PROTOCOL && field->type == SKEP_PB_BYTES &&
           field->bytes.len > 0 && field->bytes.len < SKEP_NEGOTIATE_TOKEN_MAX &&
           !memchr(field->bytes.data, 0, field->bytes.len);
}

static struct counts count(skep_bytes all)
{
    struct skep_pb_reader fields = skep_pb_read(all);
    struct skep_pb_field field;
    struct counts counts = {0, 0, 0};

    while (skep_pb_next(&fields, &field)) {
        if (is_protocol(&field) && counts.protocols < SKEP_IDENTIFY_PROTOCOLS_MAX) {
            counts.protocols++;
            counts.text += field.bytes.len + 1;
        }
        counts.addrs +=
            field.number == FIELD_LISTEN_ADDR && counts.addrs < SKEP_ADDRESSES_PER_PEER_MAX ? 1 : 0;
    }
    return counts;
}

/** Copy text where it cannot move any more: the buffer was made large enough before. */
static skep_bytes keep_text(struct skep_identify_info *info, skep_bytes text)
{
    skep_bytes kept = {info->text.data + info->text.len, text.len};

    skep_buf_put_bytes(&info->text, text);
    skep_buf_put_u8(&info->text, 0);
    return kept;
}

static void keep_protocol(struct skep_identify_info *info, skep_bytes name)
{
    info->protocols[info->protocol_count++] = (const char *)keep_text(info, name).data;
    info->speaks_kad |= skep_bytes_equal(name, skep_bytes_str(SKEP_PROTO_KAD));
    info->takes_push |= skep_bytes_equal(name, skep_bytes_str(SKEP_PROTO_PUSH));
}

static void keep_fields(struct skep_identify_info *info, skep_bytes all,
                        const struct counts *counts)
{
    struct skep_pb_reader fields = skep_pb_read(all);
    struct skep_pb_field field;
    skep_bytes agent = {NULL, 0}, version = {NULL, 0};

    while (skep_pb_next(&fields, &field)) {
        if (is_protocol(&field) && info->protocol_count < counts->protocols) {
            keep_protocol(info, field.bytes);
        } else if (field.type != SKEP_PB_BYTES) {
            continue;
        } else if (field.number == FIELD_LISTEN_ADDR && info->addr_count < counts->addrs) {
            /* What we could not dial anyway (QUIC, circuits) is left out. */
            if (skep_multiaddr_decode(&info->addrs[info->addr_count], field.bytes) == 0)
                info->addr_count++;
        } else if (field.number == FIELD_OBSERVED_ADDR) {
            if (skep_multiaddr_decode(&info->observed, field.bytes) < 0)
                memset(&info->observed, 0, sizeof info->observed);
        } else if (field.number == FIELD_PROTOCOL_VERSION) {
            version =
                skep_bytes_of(field.bytes.data, SKEP_MIN(field.bytes.len, SKEP_PEER_TEXT_MAX));
        } else if (field.number == FIELD_AGENT) {
            agent = skep_bytes_of(field.bytes.data, SKEP_MIN(field.bytes.len, SKEP_PEER_TEXT_MAX));
        }
    }
    info->agent = keep_text(info, agent);
    info->protocol_version = keep_text(info, version);
}

int skep_identify_finish(struct skep_identify_reader *reader, struct skep_identify_info **out)
{
    const struct skep_mem *mem = reader->all.mem;
    skep_bytes all = skep_buf_view(&reader->all);
    struct counts counts = count(all);
    struct skep_identify_info *info;

    *out = NULL;
    if (reader->messages == 0 || reader->message.len > 0)
        return SKEP_EPEER_FRAME;
    info = skep_mem_zalloc(mem, 1, sizeof *info);
    if (!info)
        return SKEP_ENOMEM;
    skep_buf_init(&info->text, mem);
    info->protocols = skep_mem_zalloc(mem, counts.protocols + 1, sizeof info->protocols[0]);
    info->addrs = skep_mem_zalloc(mem, counts.addrs + 1, sizeof info->addrs[0]);
    if (!info->protocols || !info->addrs ||
        !skep_buf_reserve(&info->text, counts.text + (size_t)2 * (SKEP_PEER_TEXT_MAX + 1))) {
        skep_identify_info_free(mem, info);
        return SKEP_ENOMEM;
    }
    keep_fields(info, all, &counts);
    *out = info;
    return 0;
}
