/* SPDX-License-Identifier: MIT */
/* Checkpoints of experts, in the safetensors format: DIR/<percent-encoded uid>/checkpoint_last.safetensors.
 *
 * Tensors module.<parameter>, optimizer.exp_avg.<parameter>, optimizer.exp_avg_sq.<parameter> (with Adam); metadata format ("skep-expert-1"), step, class,
 * hidden, optimizer ("adam", "sgd", "none"), uid. A file is written beside its place, synced and renamed, so that a reader sees the old or the new one,
 * whole. What is not ours, or torn, is refused and left as it is. The uid in the metadata is for people: a copied folder loads as another expert. */
#ifndef SKEP_SERVER_CHECKPOINT_H
#define SKEP_SERVER_CHECKPOINT_H

#include "server/backend.h"

enum {
    SKEP_CHECKPOINT_WHY_MAX = 512,
    SKEP_CHECKPOINT_PATH_MAX = 256,      /* of a path in a message; its front is left out */
    SKEP_CHECKPOINT_FOLDER_MAX = 255 + 1 /* what file systems allow for one name */
};

/** @param uid  of the expert. Blocks on the disk: for a worker thread. @return 0; SKEP_EIO, SKEP_ENOMEM; `why` names the file and what is wrong. A file
 *  that is there and is not a checkpoint of this class and dimension is not overwritten: SKEP_EVALUE. A uid whose folder's name is too long: SKEP_ESIZE.
 *  `dir` must exist; the expert's folder is made. */
int skep_checkpoint_save(const struct skep_backend *backend, skep_bytes uid, const char *dir,
                         char *why, size_t why_len);

/** The same in two parts, so that the expert can go on while the disk works: write needs the backend, commit does not. */
struct skep_checkpoint_file {
    int dir, folder, fd; /* -1: not open */
    char path[SKEP_CHECKPOINT_PATH_MAX];
};

/** As skep_checkpoint_save(), up to a whole file beside the old one. On an error nothing is left of it. */
int skep_checkpoint_write(struct skep_checkpoint_file *file, const struct skep_backend *backend,
                          skep_bytes uid, const char *dir, char *why, size_t why_len);

/** Sync and rename what was written. Ends `file`, whatever is returned: 0; SKEP_EIO, and the old checkpoint is in its place. */
int skep_checkpoint_commit(struct skep_checkpoint_file *file, char *why, size_t why_len);

/** Instead of committing: drop what was written. */
void skep_checkpoint_abandon(struct skep_checkpoint_file *file);

/** Moments are loaded where the backend has Adam and the file has them. A file without them begins Adam anew (moments and step are zero), if its step is
 *  zero or its optimizer was another one; else it lacks something, and is refused.
 *  @return 0; 1: there is none; SKEP_EIO; SKEP_EVALUE (torn, foreign, another class, dimension, shape or type); SKEP_ESIZE; SKEP_ENOMEM. On an error the
 *          backend is as it was. */
int skep_checkpoint_load(struct skep_backend *backend, skep_bytes uid, const char *dir, char *why,
                         size_t why_len);

/** The uids that have a checkpoint in `dir`, whatever is in it, sorted by their bytes; other files are left out. @param out  one block of NULL-terminated
 *  pointers and their texts, freed with `mem`. @return 0; SKEP_EIO (no such directory …), SKEP_ENOMEM, SKEP_ELIMIT (more than SKEP_CHECKPOINTS_MAX). */
int skep_checkpoint_list(char ***out, size_t *count, const struct skep_mem *mem, const char *dir,
                         char *why, size_t why_len);

/** The name of an expert's folder: every byte but A-Z a-z 0-9 _ . - as %XX, and the dots of "." and ".." too. @return its length; SKEP_ESIZE: it is longer
 *  than a name may be, or than `out`. checkpoint_name.c */
int skep_checkpoint_folder(char *out, size_t out_len, skep_bytes uid);

/** The uid of a folder. @return its length; SKEP_EVALUE: skep_checkpoint_folder() gives no such name (or not of a uid); SKEP_ESIZE. */
int skep_checkpoint_uid(char *out, size_t out_len, const char *folder);

#endif
