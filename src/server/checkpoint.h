/* SPDX-License-Identifier: MIT */
/* Checkpoints of experts, in the safetensors format: DIR/<percent-encoded uid>/checkpoint_last.safetensors.
 *
 * Tensors module.<parameter>, optimizer.exp_avg.<parameter>, optimizer.exp_avg_sq.<parameter>; metadata format, step, class, hidden, uid. A file is written beside its place,
 * synced and renamed, so that a reader sees the old or the new one, whole. What is not ours, or torn, is refused and left as it is. */
#ifndef SKEP_SERVER_CHECKPOINT_H
#define SKEP_SERVER_CHECKPOINT_H

#include "server/backend.h"

enum { SKEP_CHECKPOINT_WHY_MAX = 512 };

/** @param uid  of the expert. Blocks on the disk: for a worker thread. @return 0; SKEP_EIO, SKEP_ENOMEM; `why` names the file and what is wrong. A file
 *  that is there and is not a checkpoint of this class and dimension is not overwritten: SKEP_EVALUE. */
int skep_checkpoint_save(const struct skep_backend *backend, skep_bytes uid, const char *dir,
                         char *why, size_t why_len);

/** @return 0; 1: there is none; SKEP_EIO; SKEP_EVALUE (torn, foreign, another class, dimension, shape or type); SKEP_ENOMEM. On an error the backend is as it was. */
int skep_checkpoint_load(struct skep_backend *backend, skep_bytes uid, const char *dir, char *why,
                         size_t why_len);

/** The uids that have a checkpoint in `dir`, sorted; other files are left out. @param out  one block of NULL-terminated pointers and their texts, freed with `mem`.
 *  @return 0; SKEP_EIO (no such directory …), SKEP_ENOMEM, SKEP_ELIMIT. */
int skep_checkpoint_list(char ***out, size_t *count, const struct skep_mem *mem, const char *dir,
                         char *why, size_t why_len);

/** The name of an expert's folder: percent-encoded. @return its length; SKEP_ESIZE. */
int skep_checkpoint_folder(char *out, size_t out_len, skep_bytes uid);

#endif
