/* SPDX-License-Identifier: MIT */
/* An expert of two parameters, scale [hidden] and bias [hidden, 2], whose numbers a test sets: nothing is computed. */
#ifndef SKEP_TEST_FAKE_BACKEND_H
#define SKEP_TEST_FAKE_BACKEND_H

#include "server/backend.h"

struct fake_backend {
    struct skep_backend backend;
    struct skep_class class;
    struct skep_training training;
    skep_expert_class expert_class;
};

/** @param first  the first number: they count up from there, over parameters, then both moments. Allocated with malloc. */
void fake_backend_init(struct fake_backend *fake, const char *class_name, size_t hidden,
                       enum skep_optimizer optimizer, float first);
void fake_backend_fini(struct fake_backend *fake);

/** Have both the same numbers, where both have them, and the same step? */
bool fake_backend_equal(const struct fake_backend *a, const struct fake_backend *b);

#endif
