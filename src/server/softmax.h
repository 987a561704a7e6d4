/* SPDX-License-Identifier: MIT */
/* Softmax over rows, with some columns left out, and its gradient. */
#ifndef SKEP_SERVER_SOFTMAX_H
#define SKEP_SERVER_SOFTMAX_H

#include <stddef.h>
#include <stdint.h>

/** @param left_out  [columns]: where it is not 0 the result is. A row of which everything is left out becomes zeros (torch's would be NaN). */
void skep_softmax(float *v, const uint8_t *left_out, size_t rows, size_t columns);

/** grad: of the results, then of what softmax was given. @param softmax  the results. */
void skep_softmax_backward(float *grad, const float *softmax, size_t rows, size_t columns);

#endif
