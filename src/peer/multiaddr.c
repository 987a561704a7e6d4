/* SPDX-License-Identifier: MIT */
/* Multiaddrs. Spec: multiformats/multiaddr, protocols.csv. Left out: resolving dnsaddr, and dialling anything but TCP. */
#include "peer/multiaddr.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "base/varint.h"

enum {
    CODE_IP4 = 4,
    CODE_TCP = 6,
    CODE_IP6 = 41,
    CODE_DNS = 53,
    CODE_DNS4 = 54,
    CODE_DNS6 = 55,
    CODE_P2P = 421,
};

enum { LEN_PREFIXED = -1 };

/* How long each protocol's value is. */
static const struct protocol {
    uint16_t code;
    int16_t len;
} protocols[] = {
    {CODE_IP4, 4},
    {CODE_TCP, 2},
    {33, 2 /* dccp */},
    {CODE_IP6, 16},
    {42, LEN_PREFIXED /* ip6zone */},
    {43, 1 /* ipcidr */},
    {CODE_DNS, LEN_PREFIXED},
    {CODE_DNS4, LEN_PREFIXED},
    {CODE_DNS6, LEN_PREFIXED},
    {56, LEN_PREFIXED /* dnsaddr */},
    {132, 2 /* sctp */},
    {273, 2 /* udp */},
    {275, 0 /* p2p-webrtc-star */},
    {276, 0 /* p2p-webrtc-direct */},
    {277, 0 /* p2p-stardust */},
    {280, 0 /* webrtc-direct */},
    {281, 0 /* webrtc */},
    {290, 0 /* p2p-circuit */},
    {301, 0 /* udt */},
    {302, 0 /* utp */},
    {400, LEN_PREFIXED /* unix */},
    {CODE_P2P, LEN_PREFIXED},
    {443, 0 /* https */},
    {444, 12 /* onion */},
    {445, 37 /* onion3 */},
    {446, LEN_PREFIXED /* garlic64 */},
    {447, LEN_PREFIXED /* garlic32 */},
    {448, 0 /* tls */},
    {449, LEN_PREFIXED /* sni */},
    {454, 0 /* noise */},
    {460, 0 /* quic */},
    {461, 0 /* quic-v1 */},
    {465, 0 /* webtransport */},
    {466, LEN_PREFIXED /* certhash */},
    {477, 0 /* ws */},
    {478, 0 /* wss */},
    {479, 0 /* p2p-websocket-star */},
    {480, 0 /* http */},
    {481, LEN_PREFIXED /* http-path */},
    {777, LEN_PREFIXED /* memory */},
};

struct part {
    uint64_t code;
    skep_bytes value;
};

/* @return 1 with a part; 0 at the end; SKEP_EMULTIADDR: malformed, or of a protocol whose length nobody told us. */
static int next_part(skep_bytes *in, struct part *part)
{
    uint64_t len = 0;

    if (in->len == 0)
        return 0;
    if (skep_varint_decode(in, &part->code) <= 0)
        return SKEP_EMULTIADDR;
    for (size_t i = 0; i < SKEP_COUNT_OF(protocols); i++) {
        if (protocols[i].code != part->code)
            continue;
        if (protocols[i].len != LEN_PREFIXED)
            len = (uint64_t)protocols[i].len;
        else if (skep_varint_decode(in, &len) <= 0)
            return SKEP_EMULTIADDR;
        if (len > in->len)
            return SKEP_EMULTIADDR;
        part->value = skep_bytes_take(in, (size_t)len);
        return 1;
    }
    return SKEP_EMULTIADDR;
}

bool skep_multiaddr_valid(skep_bytes binary)
{
    struct part part;
    int rc = binary.len > 0 ? 1 : SKEP_EMULTIADDR;

    while (rc == 1)
        rc = next_part(&binary, &part);
    return rc == 0;
}

/* Letters, digits, "-", "_" and dots: the name goes to the resolver and into logs. */
static int set_name(struct skep_multiaddr *out, enum skep_addr_kind kind, skep_bytes name)
{
    if (name.len == 0 || name.len > SKEP_DNS_NAME_MAX || name.data[0] == '.')
        return SKEP_EMULTIADDR;
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.data[i];

        if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
            c != '-' && c != '_' && c != '.')
            return SKEP_EMULTIADDR;
    }
    out->kind = kind;
    skep_bytes_copy(out->name, name);
    return 0;
}

static int set_host(struct skep_multiaddr *out, const struct part *part)
{
    switch (part->code) {
    case CODE_IP4: out->kind = SKEP_ADDR_IP4; break;
    case CODE_IP6: out->kind = SKEP_ADDR_IP6; break;
    case CODE_DNS: return set_name(out, SKEP_ADDR_DNS, part->value);
    case CODE_DNS4: return set_name(out, SKEP_ADDR_DNS4, part->value);
    case CODE_DNS6: return set_name(out, SKEP_ADDR_DNS6, part->value);
    default: return SKEP_EMULTIADDR;
    }
    skep_bytes_copy(out->ip, part->value);
    return 0;
}

static int decode_parts(struct skep_multiaddr *out, skep_bytes binary)
{
    struct part part;
    int rc;

    if (next_part(&binary, &part) != 1 || set_host(out, &part) < 0)
        return SKEP_EMULTIADDR;
    if (next_part(&binary, &part) != 1 || part.code != CODE_TCP)
        return SKEP_EMULTIADDR;
    out->port = skep_get_be16(part.value.data);
    rc = next_part(&binary, &part);
    if (rc == 0)
        return 0;
    if (rc < 0 || part.code != CODE_P2P || binary.len > 0 ||
        skep_peer_id_from_bytes(&out->peer, part.value) < 0)
        return SKEP_EMULTIADDR;
    return 0;
}

int skep_multiaddr_decode(struct skep_multiaddr *out, skep_bytes binary)
{
    int rc;

    memset(out, 0, sizeof *out);
    rc = decode_parts(out, binary);
    if (rc < 0)
        memset(out, 0, sizeof *out);
    return rc;
}

static const struct {
    const char *name;
    uint8_t code, len;
} hosts[] = {
    [SKEP_ADDR_IP4] = {"ip4", CODE_IP4, 4},    [SKEP_ADDR_IP6] = {"ip6", CODE_IP6, 16},
    [SKEP_ADDR_DNS] = {"dns", CODE_DNS, 0},    [SKEP_ADDR_DNS4] = {"dns4", CODE_DNS4, 0},
    [SKEP_ADDR_DNS6] = {"dns6", CODE_DNS6, 0},
};

static bool is_ip(const struct skep_multiaddr *addr)
{
    return addr->kind == SKEP_ADDR_IP4 || addr->kind == SKEP_ADDR_IP6;
}

_Static_assert(SKEP_MULTIADDR_LEN_MAX >= 3 + SKEP_DNS_NAME_MAX + 3 + 3 + SKEP_PEER_ID_LEN_MAX,
               "the longest we write");
_Static_assert(SKEP_MULTIADDR_TEXT_MAX >= 6 + SKEP_DNS_NAME_MAX + 10 + 5 + SKEP_PEER_ID_TEXT_MAX,
               "the longest we write");

size_t skep_multiaddr_encode(uint8_t *out, const struct skep_multiaddr *addr, bool with_peer)
{
    size_t n = 0, name_len = is_ip(addr) ? 0 : strlen(addr->name);

    out[n++] = hosts[addr->kind].code;
    if (is_ip(addr)) {
        memcpy(out + n, addr->ip, hosts[addr->kind].len);
        n += hosts[addr->kind].len;
    } else {
        n += skep_varint_encode(out + n, name_len);
        memcpy(out + n, addr->name, name_len);
        n += name_len;
    }
    out[n++] = CODE_TCP;
    skep_put_be16(out + n, addr->port);
    n += 2;
    if (with_peer && addr->peer.len > 0) {
        n += skep_varint_encode(out + n, CODE_P2P);
        n += skep_varint_encode(out + n, addr->peer.len);
        memcpy(out + n, addr->peer.bytes, addr->peer.len);
        n += addr->peer.len;
    }
    return n;
}

char *skep_multiaddr_text(char *out, const struct skep_multiaddr *addr)
{
    char host[SKEP_DNS_NAME_MAX + 1], peer[SKEP_PEER_ID_TEXT_MAX] = "";
    bool has_peer = addr->peer.len > 0;

    if (is_ip(addr))
        inet_ntop(addr->kind == SKEP_ADDR_IP4 ? AF_INET : AF_INET6, addr->ip, host, sizeof host);
    else
        memcpy(host, addr->name, sizeof host);
    if (has_peer)
        skep_peer_id_text(peer, &addr->peer);
    snprintf(out, SKEP_MULTIADDR_TEXT_MAX, "/%s/%s/tcp/%u%s%s", hosts[addr->kind].name, host,
             (unsigned)addr->port, has_peer ? "/p2p/" : "", peer);
    return out;
}

/* The text up to the next slash, which must be preceded by one. */
static bool next_word(skep_bytes *in, skep_bytes *word)
{
    const uint8_t *slash;

    if (in->len == 0 || in->data[0] != '/')
        return false;
    skep_bytes_take(in, 1);
    slash = in->len > 0 ? memchr(in->data, '/', in->len) : NULL;
    *word = skep_bytes_take(in, slash ? (size_t)(slash - in->data) : in->len);
    return word->len > 0;
}

static int parse_host(struct skep_multiaddr *out, skep_bytes kind, skep_bytes value)
{
    char text[INET6_ADDRSTRLEN];

    for (size_t i = 0; i < SKEP_COUNT_OF(hosts); i++) {
        if (!skep_bytes_equal(kind, skep_bytes_str(hosts[i].name)))
            continue;
        out->kind = (enum skep_addr_kind)i;
        if (!is_ip(out))
            return set_name(out, out->kind, value);
        if (value.len >= sizeof text)
            return SKEP_EMULTIADDR;
        memcpy(text, value.data, value.len);
        text[value.len] = '\0';
        return inet_pton(out->kind == SKEP_ADDR_IP4 ? AF_INET : AF_INET6, text, out->ip) == 1
                   ? 0
                   : SKEP_EMULTIADDR;
    }
    return SKEP_EMULTIADDR;
}

static int parse_port(struct skep_multiaddr *out, skep_bytes value)
{
    uint32_t port = 0;

    if (value.len > 5)
        return SKEP_EMULTIADDR;
    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] < '0' || value.data[i] > '9')
            return SKEP_EMULTIADDR;
        port = port * 10 + (value.data[i] - '0');
    }
    if (port > UINT16_MAX)
        return SKEP_EMULTIADDR;
    out->port = (uint16_t)port;
    return 0;
}

static int parse_parts(struct skep_multiaddr *out, skep_bytes text)
{
    skep_bytes kind, value;

    if (!next_word(&text, &kind) || !next_word(&text, &value) || parse_host(out, kind, value) < 0)
        return SKEP_EMULTIADDR;
    if (!next_word(&text, &kind) || !skep_bytes_equal(kind, skep_bytes_str("tcp")) ||
        !next_word(&text, &value) || parse_port(out, value) < 0)
        return SKEP_EMULTIADDR;
    if (text.len == 0)
        return 0;
    if (!next_word(&text, &kind) || !next_word(&text, &value) || text.len > 0)
        return SKEP_EMULTIADDR;
    /* "/ipfs" is what "/p2p" was called, and people still paste it. */
    if (!skep_bytes_equal(kind, skep_bytes_str("p2p")) &&
        !skep_bytes_equal(kind, skep_bytes_str("ipfs")))
        return SKEP_EMULTIADDR;
    return skep_peer_id_from_text(&out->peer, value) < 0 ? SKEP_EMULTIADDR : 0;
}

int skep_multiaddr_parse(struct skep_multiaddr *out, const char *text)
{
    int rc;

    memset(out, 0, sizeof *out);
    rc = parse_parts(out, skep_bytes_str(text));
    if (rc < 0)
        memset(out, 0, sizeof *out);
    return rc;
}

bool skep_multiaddr_same(const struct skep_multiaddr *a, const struct skep_multiaddr *b)
{
    if (a->kind != b->kind || a->port != b->port)
        return false;
    return is_ip(a) ? memcmp(a->ip, b->ip, hosts[a->kind].len) == 0 : strcmp(a->name, b->name) == 0;
}
