/* SPDX-License-Identifier: MIT */
/* Loading libskep_gemm.so; see gemm.h. It stays loaded: its threads may outlive any server. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* dladdr() */
#endif
#include "api/gemm.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

enum { PATH_LEN = 4096 };

static const char library[] = SKEP_GEMM_LIBRARY; /* "libskep_gemm.so.0" */
static char load_error[512];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct skep_api_gemm found;
static void (*set_threads)(unsigned threads);

/* Beside what this code is part of: the command, or libskep. Then by the RUNPATH of that and the system's folders. */
static void *open_library(void)
{
    char path[PATH_LEN];
    Dl_info here;
    void *handle = NULL;
    const char *slash;

    if (dladdr(library, &here) != 0 && here.dli_fname &&
        (slash = strrchr(here.dli_fname, '/')) != NULL &&
        (size_t)(slash - here.dli_fname) < sizeof path - sizeof library - 1) {
        snprintf(path, sizeof path, "%.*s/%s", (int)(slash - here.dli_fname), here.dli_fname,
                 library);
        handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    }
    return handle ? handle : dlopen(library, RTLD_NOW | RTLD_LOCAL);
}

/* C has no cast from the void pointers of dlsym() to a function's. */
static bool symbol(void *to, void *handle, const char *name)
{
    void *address = dlsym(handle, name);

    memcpy(to, &address, sizeof address);
    return address != NULL;
}

static void load(void)
{
    const char *(*name)(void) = NULL;
    void *handle = open_library();

    if (handle && symbol(&found.sgemm, handle, "skep_gemm_sgemm") &&
        symbol(&set_threads, handle, "skep_gemm_set_threads") &&
        symbol(&name, handle, "skep_gemm_name")) {
        found.name = name();
        return;
    }
    snprintf(load_error, sizeof load_error, "%s", handle ? "it is another library" : dlerror());
    found = (struct skep_api_gemm){
        .sgemm = skep_sgemm_portable, .name = "portable C", .why = load_error};
    set_threads = NULL;
}

struct skep_api_gemm skep_api_gemm_load(unsigned threads)
{
    pthread_mutex_lock(&mutex);
    if (!found.sgemm)
        load();
    if (set_threads)
        set_threads(threads);
    pthread_mutex_unlock(&mutex);
    return found;
}
