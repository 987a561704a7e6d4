/* SPDX-License-Identifier: MIT */
/* Arrays of floats from numpy's files: .npy 1.0 to 3.0, and the members of an .npz.
 * Source: numpy.lib.format, "Format Version 1.0"; PKWARE APPNOTE 6.3.10 for the archive. */
#ifndef SKEP_CMD_NPY_H
#define SKEP_CMD_NPY_H

#include "base/bytes.h"
#include "base/limits.h"
#include "cmd/why.h"

enum { SKEP_NPY_DIMS_MAX = 3, SKEP_NPZ_NAME_MAX = 128 };

/* One array, in C order and in this machine's byte order. */
struct skep_npy {
    bool is_float64; /* else float32 */
    size_t dim_count;
    size_t dims[SKEP_NPY_DIMS_MAX];
    size_t count; /* of items: the product of dims */
    void *data;   /* owned */
};

/** Read one whole .npy. @return 0; SKEP_EVALUE with the reason (what is wrong: magic, version, header, dtype, shape, length);
 *  SKEP_ENOMEM. On error `out` is empty. */
int skep_npy_parse(struct skep_npy *out, const struct skep_mem *mem, skep_bytes file,
                   struct skep_cmd_why *why);
void skep_npy_fini(struct skep_npy *npy, const struct skep_mem *mem);

struct skep_npz_member {
    char name[SKEP_NPZ_NAME_MAX]; /* without ".npy", escaped */
    struct skep_npy array;
};

struct skep_npz {
    struct skep_npz_member *members; /* [count], in the archive's order */
    size_t count;
};

/** Read a whole .npz of at most SKEP_GRID_DIMENSIONS_MAX members, stored or deflated, checksums checked.
 *  @return as skep_npy_parse(). */
int skep_npz_parse(struct skep_npz *out, const struct skep_mem *mem, skep_bytes file,
                   struct skep_cmd_why *why);
void skep_npz_fini(struct skep_npz *npz, const struct skep_mem *mem);

/** Who is told of an archive's members. */
struct skep_npz_visit {
    int (*begin)(void *user, size_t count); /* 0 or SKEP_ENOMEM */
    /** @param name  without ".npy", escaped. @param npy  the unpacked file, gone when this returns. */
    int (*member)(void *user, size_t index, const char *name, skep_bytes npy,
                  struct skep_cmd_why *why);
    void *user;
};

/** Unpack the members one by one, as above. @return also what `visit` returned. */
int skep_npz_walk(const struct skep_npz_visit *visit, const struct skep_mem *mem, skep_bytes file,
                  struct skep_cmd_why *why);

#endif
