/* SPDX-License-Identifier: MIT */
/* Functions with straight loops over numbers, compiled for the vector units that the processor turns out to have. Results are the same on all:
 * no contraction, no reassociation. */
#ifndef SKEP_BASE_VECTOR_H
#define SKEP_BASE_VECTOR_H

#if defined __x86_64__ && defined __GNUC__ && !defined __clang__ &&                                \
    !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
#define SKEP_VECTOR                                                                                \
    __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), optimize("O3")))
#else
#define SKEP_VECTOR
#endif

#endif
