/* SPDX-License-Identifier: MIT */
/* Addresses are kept in their binary form, 7 bytes for most, since a peer's may be 32 and peers 65,536. */
#include "peer/address_book.h"

#include "base/limits.h"
#include "base/list.h"
#include "base/map.h"

struct address {
    struct skep_list link;
    uint64_t expires_us;
    uint16_t len;
    uint8_t binary[];
};

struct known_peer {
    UT_hash_handle hh;
    struct skep_list used;      /* in the book's list */
    struct skep_list addresses; /* most recently confirmed first */
    size_t count;
    struct skep_peer_id id;
};

struct skep_address_book {
    const struct skep_mem *mem;
    struct known_peer *peers;
    struct skep_list used; /* most recently used first */
    size_t peers_max, bytes, bytes_max;
    uint64_t peers_dropped, addresses_dropped;
};

int skep_address_book_new(struct skep_address_book **out, const struct skep_mem *mem,
                          size_t peers_max)
{
    struct skep_address_book *book = skep_mem_zalloc(mem, 1, sizeof *book);

    *out = book;
    if (!book)
        return SKEP_ENOMEM;
    assert(peers_max > 0);
    book->mem = mem;
    book->peers_max = peers_max;
    if (!skep_size_mul(peers_max, SKEP_ADDRESS_BOOK_BYTES_PER_PEER, &book->bytes_max))
        book->bytes_max = SIZE_MAX;
    skep_list_init(&book->used);
    return 0;
}

static size_t size_of(const struct address *address)
{
    return sizeof *address + address->len;
}

static void forget_address(struct skep_address_book *book, struct known_peer *peer,
                           struct address *address)
{
    skep_list_remove(&address->link);
    peer->count--;
    book->bytes -= size_of(address);
    skep_mem_free(book->mem, address);
}

static void forget_addresses(struct skep_address_book *book, struct known_peer *peer)
{
    SKEP_LIST_EACH(&peer->addresses, node, after)
    forget_address(book, peer, SKEP_LIST_ITEM(node, struct address, link));
}

static void forget_peer(struct skep_address_book *book, struct known_peer *peer)
{
    forget_addresses(book, peer);
    skep_list_remove(&peer->used);
    HASH_DEL(book->peers, peer);
    book->bytes -= sizeof *peer;
    skep_mem_free(book->mem, peer);
}

void skep_address_book_free(struct skep_address_book *book)
{
    if (!book)
        return;
    SKEP_LIST_EACH(&book->used, node, after)
    forget_peer(book, SKEP_LIST_ITEM(node, struct known_peer, used));
    skep_mem_free(book->mem, book);
}

static struct known_peer *find_peer(struct skep_address_book *book, const struct skep_peer_id *id)
{
    struct known_peer *peer;

    HASH_FIND(hh, book->peers, id->bytes, id->len, peer);
    if (peer) {
        skep_list_remove(&peer->used);
        skep_list_push_front(&book->used, &peer->used);
    }
    return peer;
}

static struct known_peer *add_peer(struct skep_address_book *book, const struct skep_peer_id *id)
{
    struct known_peer *peer = skep_mem_zalloc(book->mem, 1, sizeof *peer);

    if (!peer)
        return NULL;
    peer->id = *id;
    skep_list_init(&peer->addresses);
    HASH_ADD_KEYPTR(hh, book->peers, peer->id.bytes, peer->id.len, peer);
    if (!peer->hh.tbl) {
        skep_mem_free(book->mem, peer);
        return NULL;
    }
    skep_list_push_front(&book->used, &peer->used);
    book->bytes += sizeof *peer;
    return peer;
}

/* Forget the peers used least recently, but never the one that was just used. */
static void keep_bounds(struct skep_address_book *book)
{
    while (HASH_COUNT(book->peers) > book->peers_max || book->bytes > book->bytes_max) {
        struct known_peer *oldest = SKEP_LIST_ITEM(book->used.prev, struct known_peer, used);

        if (book->used.prev == book->used.next)
            return;
        forget_peer(book, oldest);
        book->peers_dropped++;
    }
}

static struct address *find_address(struct known_peer *peer, skep_bytes binary)
{
    SKEP_LIST_EACH(&peer->addresses, node, after)
    {
        struct address *address = SKEP_LIST_ITEM(node, struct address, link);

        if (skep_bytes_equal(skep_bytes_of(address->binary, address->len), binary))
            return address;
    }
    return NULL;
}

static void forget_first_to_expire(struct skep_address_book *book, struct known_peer *peer)
{
    struct address *first = NULL;

    SKEP_LIST_EACH(&peer->addresses, node, after)
    {
        struct address *address = SKEP_LIST_ITEM(node, struct address, link);

        if (!first ||
            address->expires_us <= first->expires_us) /* of equals the one confirmed longest ago */
            first = address;
    }
    if (first)
        forget_address(book, peer, first);
    book->addresses_dropped++;
}

int skep_address_book_add(struct skep_address_book *book, const struct skep_peer_id *id,
                          const struct skep_multiaddr *addr, uint64_t expires_us)
{
    uint8_t binary[SKEP_MULTIADDR_LEN_MAX];
    size_t len = skep_multiaddr_encode(binary, addr, false);
    struct known_peer *peer = find_peer(book, id);
    bool is_new = !peer;
    struct address *address;

    if (is_new && !(peer = add_peer(book, id)))
        return SKEP_ENOMEM;
    address = find_address(peer, skep_bytes_of(binary, len));
    if (address) {
        skep_list_remove(&address->link);
        address->expires_us = SKEP_MAX(address->expires_us, expires_us);
    } else {
        address = skep_mem_alloc(book->mem, sizeof *address + len);
        if (!address) {
            if (is_new)
                forget_peer(book, peer);
            return SKEP_ENOMEM;
        }
        address->expires_us = expires_us;
        address->len = (uint16_t)len;
        memcpy(address->binary, binary, len);
        peer->count++;
        book->bytes += size_of(address);
    }
    skep_list_push_front(&peer->addresses, &address->link);
    if (peer->count > SKEP_ADDRESSES_PER_PEER_MAX)
        forget_first_to_expire(book, peer);
    keep_bounds(book);
    return 0;
}

void skep_address_book_clear(struct skep_address_book *book, const struct skep_peer_id *id)
{
    struct known_peer *peer = find_peer(book, id);

    if (peer)
        forget_peer(book, peer);
}

size_t skep_address_book_get(struct skep_address_book *book, const struct skep_peer_id *id,
                             uint64_t now_us, struct skep_multiaddr *out, size_t cap)
{
    struct known_peer *peer = find_peer(book, id);
    size_t count = 0;

    if (!peer)
        return 0;
    SKEP_LIST_EACH(&peer->addresses, node, after)
    {
        struct address *address = SKEP_LIST_ITEM(node, struct address, link);

        if (address->expires_us <= now_us)
            forget_address(book, peer, address);
        else if (count < cap && skep_multiaddr_decode(
                                    &out[count], skep_bytes_of(address->binary, address->len)) == 0)
            count++;
    }
    if (peer->count == 0)
        forget_peer(book, peer);
    return count;
}

struct skep_address_book_stats skep_address_book_stats(const struct skep_address_book *book)
{
    return (struct skep_address_book_stats){HASH_COUNT(book->peers), book->bytes,
                                            book->peers_dropped, book->addresses_dropped};
}
