/* SPDX-License-Identifier: MIT */
/* What addresses peers were told to have, bounded a peer and in all; the least recently used peer is forgotten first. */
#ifndef SKEP_PEER_ADDRESS_BOOK_H
#define SKEP_PEER_ADDRESS_BOOK_H

#include "peer/multiaddr.h"

struct skep_address_book;

/** A book of up to peers_max peers and SKEP_ADDRESS_BOOK_BYTES_PER_PEER bytes for each of them on average. */
int skep_address_book_new(struct skep_address_book **out, const struct skep_mem *mem,
                          size_t peers_max);
void skep_address_book_free(struct skep_address_book *book);

/** Add one, good until expires_us (monotonic; later wins). addr->peer is ignored. Beyond SKEP_ADDRESSES_PER_PEER_MAX the one
 *  that expires first goes. @return 0 or SKEP_ENOMEM. */
int skep_address_book_add(struct skep_address_book *book, const struct skep_peer_id *peer,
                          const struct skep_multiaddr *addr, uint64_t expires_us);

/** Forget the addresses of a peer that are not confirmed anew (identify told a new list). */
void skep_address_book_clear(struct skep_address_book *book, const struct skep_peer_id *peer);

/** The addresses of a peer still good at now_us, most recently confirmed first.
 *  @return how many were written to out[0..cap). */
size_t skep_address_book_get(struct skep_address_book *book, const struct skep_peer_id *peer,
                             uint64_t now_us, struct skep_multiaddr *out, size_t cap);

/** What it holds, and how often a bound made it forget something. */
struct skep_address_book_stats {
    size_t peers, bytes;
    uint64_t peers_dropped, addresses_dropped;
};
struct skep_address_book_stats skep_address_book_stats(const struct skep_address_book *book);

#endif
