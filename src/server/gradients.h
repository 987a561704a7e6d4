/* SPDX-License-Identifier: MIT */
/* Whole gradients of all parameters of an expert, added up over chunks of a batch in scratch memory and handed out at the end. */
#ifndef SKEP_SERVER_GRADIENTS_H
#define SKEP_SERVER_GRADIENTS_H

#include <skep/expert_class.h>

struct skep_gradients {
    skep_pass *pass;
    size_t count;
    size_t counts[SKEP_CLASS_PARAMETERS_MAX];
    float *of[SKEP_CLASS_PARAMETERS_MAX];
    bool begun[SKEP_CLASS_PARAMETERS_MAX]; /* something has been added */
};

/** @param counts  [count] numbers of each parameter. @return 0 or SKEP_ENOMEM. */
int skep_gradients_init(struct skep_gradients *gradients, skep_pass *pass, const size_t *counts,
                        size_t count);

/** Add left^T right, the gradient of a weight [m][n]: left is [rows][m], right [rows][n]. */
void skep_gradients_add_product(struct skep_gradients *gradients, size_t parameter,
                                const float *left, size_t m, const float *right, size_t n,
                                size_t rows);

/** Add the sums of the columns of v, the gradient of a bias. */
void skep_gradients_add_columns(struct skep_gradients *gradients, size_t parameter, const float *v,
                                size_t rows);

/** For loops that add themselves. @return where. */
float *skep_gradients_vector(struct skep_gradients *gradients, size_t parameter);

/** @return 0; SKEP_EVALUE and nothing is handed out: one of them is NaN, infinite or too large. */
int skep_gradients_hand_out(const struct skep_gradients *gradients);

#endif
