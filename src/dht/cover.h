/* SPDX-License-Identifier: MIT */
/* The first asks of a get, of traverse.c: a few near peers that cover each key with one of its likely holders. */
#ifndef SKEP_DHT_COVER_H
#define SKEP_DHT_COVER_H

#include "dht/traverse.h"

/** Plan one ask for every key that has a likely holder and for which a request can be afforded. */
void skep_cover_keys(struct skep_dht_lookup *lookup);

#endif
