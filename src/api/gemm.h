/* SPDX-License-Identifier: MIT */
/* Matrix products for experts, from libskep_gemm where it is found: loaded when the first server that multiplies starts, so that nothing else pays for it. */
#ifndef SKEP_API_GEMM_H
#define SKEP_API_GEMM_H

#include "server/backend.h"

struct skep_api_gemm {
    skep_sgemm_fn *sgemm;
    const char *name; /* "oneDNN 2.6.0" */
    const char *why;  /* the library was not found: what the loader says; NULL */
};

/** From any thread; always gives one. @param threads  of one product, from now on and for every caller. */
struct skep_api_gemm skep_api_gemm_load(unsigned threads);

#endif
