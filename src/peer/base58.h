/* SPDX-License-Identifier: MIT */
/* Base58 with Bitcoin's alphabet ("base58btc" of multibase), for texts as short as peer ids. */
#ifndef SKEP_PEER_BASE58_H
#define SKEP_PEER_BASE58_H

#include "base/bytes.h"

enum { SKEP_BASE58_BYTES_MAX = 64, SKEP_BASE58_TEXT_MAX = 88 };

/** Into out[0..cap). @return the number of bytes, or -1: not base58, longer than SKEP_BASE58_TEXT_MAX or than fits. */
ptrdiff_t skep_base58_decode(uint8_t *out, size_t cap, skep_bytes text);

/** Of up to SKEP_BASE58_BYTES_MAX bytes, terminated; `out` holds SKEP_BASE58_TEXT_MAX + 1. @return the length. */
size_t skep_base58_encode(char *out, skep_bytes bytes);

#endif
