/* SPDX-License-Identifier: MIT */
/* Multiaddrs, as text and in binary. Spec: multiformats/multiaddr and its protocol table.
 *
 * skep dials /ip4, /ip6, /dns, /dns4, /dns6 with /tcp and an optional /p2p; any other multiaddr that peers tell is carried as bytes
 * where its length can be known, and skipped where it cannot. */
#ifndef SKEP_PEER_MULTIADDR_H
#define SKEP_PEER_MULTIADDR_H

#include "peer/peer_id.h"

enum { SKEP_MULTIADDR_LEN_MAX = 320, SKEP_MULTIADDR_TEXT_MAX = 512, SKEP_DNS_NAME_MAX = 253 };

enum skep_addr_kind { SKEP_ADDR_IP4, SKEP_ADDR_IP6, SKEP_ADDR_DNS, SKEP_ADDR_DNS4, SKEP_ADDR_DNS6 };

/** What we can dial or listen on, plus the peer expected there. */
struct skep_multiaddr {
    enum skep_addr_kind kind;
    uint8_t ip[16]; /* network order; 4 bytes for IP4 */
    char name[SKEP_DNS_NAME_MAX + 1];
    uint16_t port;
    struct skep_peer_id peer; /* len 0: none given */
};

/** @return 0; SKEP_EMULTIADDR: malformed, or not TCP over one of the kinds above. */
int skep_multiaddr_parse(struct skep_multiaddr *out, const char *text);

/** Is it a row of parts whose lengths we know, so that it can be told on, whether or not we can dial it? */
bool skep_multiaddr_valid(skep_bytes binary);

/** Binary form, without or with /p2p. @return 0; SKEP_EMULTIADDR. */
int skep_multiaddr_decode(struct skep_multiaddr *out, skep_bytes binary);

/** Binary form; the /p2p part only if with_peer and there is one. @return the length; `out` has SKEP_MULTIADDR_LEN_MAX. */
size_t skep_multiaddr_encode(uint8_t *out, const struct skep_multiaddr *addr, bool with_peer);

/** Text with /p2p where there is one, terminated; `out` has SKEP_MULTIADDR_TEXT_MAX. @return `out`. */
char *skep_multiaddr_text(char *out, const struct skep_multiaddr *addr);

/** Same transport address (the peer is not compared)? */
bool skep_multiaddr_same(const struct skep_multiaddr *a, const struct skep_multiaddr *b);

#endif
