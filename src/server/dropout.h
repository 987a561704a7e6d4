/* SPDX-License-Identifier: MIT */
/* torch.nn.Dropout: each number is zero with some probability, and the rest are scaled up. Which ones is a function of a key and of the place, so a backward drops
 * the same ones as its forward without anything kept in between. */
#ifndef SKEP_SERVER_DROPOUT_H
#define SKEP_SERVER_DROPOUT_H

#include <stddef.h>
#include <stdint.h>

/** A key for one place of a network in one pass. */
uint64_t skep_dropout_key(uint64_t seed, uint64_t place);

/** @param probability  in [0, 1); 0 leaves v as it is. */
void skep_dropout(float *v, size_t count, double probability, uint64_t key);

#endif
