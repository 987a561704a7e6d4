/* SPDX-License-Identifier: MIT */
/* Secrets: compared in constant time, wiped on every exit. */
#ifndef SKEP_CRYPTO_SECRET_H
#define SKEP_CRYPTO_SECRET_H

#include "base/bytes.h"

bool skep_secret_equal(const void *a, const void *b, size_t len);
void skep_secret_wipe(void *secret, size_t len);

#endif
