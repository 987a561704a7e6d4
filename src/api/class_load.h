/* SPDX-License-Identifier: MIT */
/* A user's own class of experts, out of a shared object. */
#ifndef SKEP_API_CLASS_LOAD_H
#define SKEP_API_CLASS_LOAD_H

#include <skep/expert_class.h>

enum { SKEP_API_CLASS_WHY_MAX = 1024 };

/** @param path    has a '/': nothing is looked for in the folders of libraries.
 *  @param handle  Receives what skep_api_class_unload() takes, once nothing of the class is used any more.
 *  @return 0; SKEP_EINVAL, and `why` names the path and what is wrong with it. */
int skep_api_class_load(const skep_expert_class **out, void **handle, const char *path, char *why,
                        size_t why_len);

/** NULL is fine. */
void skep_api_class_unload(void *handle);

#endif
