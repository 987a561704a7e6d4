/* SPDX-License-Identifier: MIT */
/* FIND_NODE of /ipfs/kad/1.0.0 on the wire. Spec: libp2p kad-dht; docs/wire.md a.7.
 *
 *   uvarint length ‖ Message { 1 type, 2 key, 8 closerPeers* { 1 id, 2 addrs*, 3 connection }, 10 clusterLevelRaw }
 *
 * Values and providers are left out: skep asks kad only where a peer is. */
#include "host/host_impl.h"

#include "base/pb.h"

enum {
    FIELD_TYPE = 1,
    FIELD_KEY = 2,
    FIELD_CLOSER = 8,
    FIELD_CLUSTER_LEVEL = 10,
    PEER_ID = 1,
    PEER_ADDR = 2,
    PEER_CONNECTION = 3,
    CONNECTED = 1,
    LENGTH_ROOM = 3 /* uvarint of up to SKEP_KAD_MESSAGE_MAX */
};

/* ---- writing ---- */

void skep_kad_write_request(struct skep_buf *out, const struct skep_peer_id *target)
{
    size_t mark = skep_kad_begin_answer(out);

    skep_pb_put_bytes(out, FIELD_KEY, skep_peer_id_view(target));
    skep_kad_end_answer(out, mark);
}

size_t skep_kad_begin_answer(struct skep_buf *out)
{
    static const uint8_t room[LENGTH_ROOM];
    size_t mark = out->len;

    skep_buf_put(out, room, sizeof room);
    skep_pb_put_varint(out, FIELD_TYPE, SKEP_KAD_FIND_NODE);
    return mark;
}

void skep_kad_put_peer(struct skep_buf *out, const struct skep_kad_peer *peer)
{
    uint8_t binary[SKEP_MULTIADDR_LEN_MAX];
    size_t mark = skep_pb_begin(out, FIELD_CLOSER);

    skep_pb_put_bytes(out, PEER_ID, skep_peer_id_view(&peer->id));
    for (size_t i = 0; i < peer->addr_count; i++)
        skep_pb_put_bytes(
            out, PEER_ADDR,
            skep_bytes_of(binary, skep_multiaddr_encode(binary, &peer->addrs[i], false)));
    if (peer->connected)
        skep_pb_put_varint(out, PEER_CONNECTION, CONNECTED);
    skep_pb_end(out, mark);
}

void skep_kad_end_answer(struct skep_buf *out, size_t mark)
{
    uint8_t length[SKEP_VARINT_LEN_MAX];
    size_t len, body_len, spare;

    skep_pb_put_varint(out, FIELD_CLUSTER_LEVEL, 1); /* as p2pd has it */
    if (out->rc < 0)
        return;
    body_len = out->len - mark - LENGTH_ROOM;
    len = skep_varint_encode(length, body_len);
    assert(len <= LENGTH_ROOM);
    spare = LENGTH_ROOM - len;
    memmove(out->data + mark + len, out->data + mark + LENGTH_ROOM, body_len);
    memcpy(out->data + mark, length, len);
    out->len -= spare;
}

/* ---- reading ---- */

int skep_kad_next(skep_bytes *in, skep_bytes *body)
{
    skep_bytes at = *in;
    uint64_t len;
    int used = skep_varint_decode(&at, &len);

    if (used < 0)
        return used;
    if (used > 0 && len > SKEP_KAD_MESSAGE_MAX)
        return SKEP_EPEER_LIMIT;
    if (used == 0 || at.len < len)
        return 0;
    *body = skep_bytes_take(&at, (size_t)len);
    *in = at;
    return 1;
}

int skep_kad_read_request(skep_bytes body, skep_bytes *key)
{
    struct skep_pb_reader fields = skep_pb_read(body);
    struct skep_pb_field field;
    uint64_t type = 0;

    *key = skep_bytes_of(NULL, 0);
    while (skep_pb_next(&fields, &field)) {
        if (field.number == FIELD_TYPE)
            type = skep_pb_varint(&fields, &field);
        else if (field.number == FIELD_KEY)
            *key = skep_pb_bytes(&fields, &field);
    }
    if (fields.rc < 0)
        return fields.rc;
    return type == SKEP_KAD_FIND_NODE ? 0 : SKEP_EPEER_PROTO;
}

static int read_peer(skep_bytes body, struct skep_peer_id *id, struct skep_multiaddr *addrs,
                     size_t *addr_count)
{
    struct skep_pb_reader fields = skep_pb_read(body);
    struct skep_pb_field field;

    id->len = 0;
    *addr_count = 0;
    while (skep_pb_next(&fields, &field)) {
        if (field.number == PEER_ID &&
            skep_peer_id_from_bytes(id, skep_pb_bytes(&fields, &field)) < 0)
            id->len = 0;
        if (field.number == PEER_ADDR && *addr_count < SKEP_ADDRESSES_PER_PEER_MAX &&
            skep_multiaddr_decode(&addrs[*addr_count], skep_pb_bytes(&fields, &field)) == 0)
            (*addr_count)++;
    }
    return fields.rc;
}

int skep_kad_read_answer(skep_bytes body, skep_kad_on_peer *on_peer, void *user)
{
    struct skep_multiaddr addrs[SKEP_ADDRESSES_PER_PEER_MAX];
    struct skep_pb_reader fields = skep_pb_read(body);
    struct skep_pb_field field;
    size_t peers = 0;

    /* First the whole, then the peers: a message that breaks off must not be believed by half. */
    while (skep_pb_next(&fields, &field)) {
    }
    if (fields.rc < 0)
        return fields.rc;
    fields = skep_pb_read(body);
    while (peers < SKEP_KAD_PEERS_MAX + 1 && skep_pb_next(&fields, &field)) {
        struct skep_peer_id id;
        size_t addr_count;
        int rc;

        if (field.number != FIELD_CLOSER || field.type != SKEP_PB_BYTES)
            continue;
        if ((rc = read_peer(field.bytes, &id, addrs, &addr_count)) < 0)
            return rc;
        peers++;
        if (id.len > 0)
            on_peer(user, &id, addrs, addr_count);
    }
    return 0;
}
