/* SPDX-License-Identifier: MIT */
/* See class_load.h. The object runs with all the rights of this process: it is the user's own. What is checked here is that it was made for this skep. */
#include "api/class_load.h"

#include <dlfcn.h>
#include <stdio.h>

#include "base/bytes.h"

static const char symbol[] = "skep_expert_class_get";

static int refuse(char *why, size_t why_len, const char *path, const char *what)
{
    snprintf(why, why_len, "%s: %s", path, what);
    return SKEP_EINVAL;
}

/* dlerror() begins with the path, mostly. */
static int refuse_dl(char *why, size_t why_len, const char *path)
{
    const char *text = dlerror();
    size_t len = strlen(path);

    if (!text)
        text = "it cannot be loaded";
    if (strncmp(text, path, len) == 0 && text[len] == ':')
        text += len + 1;
    while (*text == ' ')
        text++;
    return refuse(why, why_len, path, text);
}

/* A function's address as dlsym() gives it: ISO C has no cast for this, POSIX promises that it works. */
static skep_expert_class_get_fn *function_of(void *address)
{
    skep_expert_class_get_fn *function;

    memcpy(&function, &address, sizeof function);
    return function;
}

static int check(const skep_expert_class *class, char *why, size_t why_len, const char *path)
{
    char what[128];

    if (!class)
        return refuse(why, why_len, path, "it gives no class");
    if (class->abi != SKEP_CLASS_ABI) { /* first: what follows it may lie elsewhere */
        snprintf(what, sizeof what,
                 "it is made for interface %u of <skep/expert_class.h>, this skep has %d",
                 class->abi, SKEP_CLASS_ABI);
        return refuse(why, why_len, path, what);
    }
    if (!class->name || class->name[0] == '\0' || !skep_utf8_valid(skep_bytes_str(class->name)))
        return refuse(why, why_len, path, "its class has no name");
    if (!class->open || !class->forward || !class->backward) {
        snprintf(what, sizeof what, "its class has no %s()",
                 !class->open      ? "open"
                 : !class->forward ? "forward"
                                   : "backward");
        return refuse(why, why_len, path, what);
    }
    return 0;
}

int skep_api_class_load(const skep_expert_class **out, void **handle, const char *path, char *why,
                        size_t why_len)
{
    const skep_expert_class *class;
    void *object, *address;
    int rc;

    *out = NULL;
    *handle = NULL;
    if (why_len > 0)
        why[0] = '\0';
    if (!strchr(path, '/'))
        return refuse(why, why_len, path,
                      "a class is loaded from a path with a '/', as in ./class.so");
    object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!object)
        return refuse_dl(why, why_len, path);
    address = dlsym(object, symbol);
    if (!address) {
        rc = refuse(why, why_len, path, "it defines no skep_expert_class_get()");
        goto fail;
    }
    class = function_of(address)();
    if ((rc = check(class, why, why_len, path)) < 0)
        goto fail;
    *out = class;
    *handle = object;
    return 0;
fail:
    dlclose(object);
    return rc;
}

void skep_api_class_unload(void *handle)
{
    if (handle)
        dlclose(handle);
}
