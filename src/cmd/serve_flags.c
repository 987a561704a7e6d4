/* SPDX-License-Identifier: MIT */
/* hivemind-server's command line in popt's terms; see serve_flags.h. Left out: --config and argparse's abbreviations. */
#include "cmd/serve_flags.h"

#include <string.h>

static const struct flag {
    const char *theirs, *ours;
    bool several; /* argparse's nargs: values up to the next flag */
} flags_table[] = {{"expert-cls", "class", false},
                   {"hidden-dim", "hidden", false},
                   {"initial-peers", "join", true},
                   {"host-maddrs", "listen", true},
                   {"announce-maddrs", "announce", true},
                   {"identity-path", "identity", false},
                   {"expert-uids", "expert-uids", true},

                   {"allow-backward", "allow-backward", true}};

/* Where what is written goes; without `argv` it is only counted. */
struct writer {
    const char **argv;
    size_t argc;
    char *text;
    size_t len;
};

static void put_arg(struct writer *w, const char *arg)
{
    if (w->argv)
        w->argv[w->argc] = arg;
    w->argc++;
}

/* "--NAME", with `rest` ("=value") behind it. */
static void put_flag(struct writer *w, const char *name, size_t name_len, const char *rest)
{
    size_t rest_len = strlen(rest);

    if (w->argv) {
        char *to = w->text + w->len;

        put_arg(w, to);
        memcpy(to, "--", 2);
        for (size_t i = 0; i < name_len; i++)
            to[2 + i] = name[i] == '_' ? '-' : name[i];
        memcpy(to + 2 + name_len, rest, rest_len + 1);
    } else {
        w->argc++;
    }
    w->len += 2 + name_len + rest_len + 1;
}

static bool same_name(const char *known, const char *name, size_t len)
{
    if (strlen(known) != len)
        return false;
    for (size_t i = 0; i < len; i++)
        if (known[i] != (name[i] == '_' ? '-' : name[i]))
            return false;
    return true;
}

static const struct flag *find_flag(const char *name, size_t len)
{
    for (size_t i = 0; i < SKEP_COUNT_OF(flags_table); i++)
        if (same_name(flags_table[i].theirs, name, len))
            return &flags_table[i];
    return NULL;
}

static bool is_value(const char *arg)
{
    return arg && arg[0] != '-';
}

/* The flag at `i` and, where it takes several values, those. @return how many arguments that were. */
static int translate(struct writer *w, const char *const *argv, int argc, int i)
{
    const char *name = argv[i] + 2;
    size_t len = strcspn(name, "=");
    const struct flag *flag = find_flag(name, len);
    int used = 1;

    if (flag && flag->several && name[len] == '\0') {
        for (; i + used < argc && is_value(argv[i + used]); used++) {
            put_flag(w, flag->ours, strlen(flag->ours), "");
            put_arg(w, argv[i + used]);
        }
        return used; /* no value at all is an empty list */
    }
    if (flag)
        put_flag(w, flag->ours, strlen(flag->ours), name + len);
    else
        put_flag(w, name, len, name + len);
    return used;
}

static void translate_all(struct writer *w, int argc, const char *const *argv)
{
    int i = 0;

    while (i < argc) {
        if (strcmp(argv[i], "--") == 0)
            break;
        if (i > 0 && strncmp(argv[i], "--", 2) == 0)
            i += translate(w, argv, argc, i);
        else
            put_arg(w, argv[i++]);
    }
    while (i < argc)
        put_arg(w, argv[i++]);
}

int skep_serve_flags_init(struct skep_serve_flags *flags, const struct skep_mem *mem, int argc,
                          const char *const *argv)
{
    struct writer w = {.argv = NULL};

    *flags = (struct skep_serve_flags){.argv = NULL};
    translate_all(&w, argc, argv);
    flags->argv = skep_mem_zalloc(mem, w.argc + 1, sizeof *flags->argv);
    flags->text = skep_mem_zalloc(mem, w.len + 1, 1);
    if (!flags->argv || !flags->text) {
        skep_serve_flags_fini(flags, mem);
        return SKEP_ENOMEM;
    }
    w = (struct writer){.argv = flags->argv, .text = flags->text};
    translate_all(&w, argc, argv);
    flags->argc = (int)w.argc;
    return 0;
}

void skep_serve_flags_fini(struct skep_serve_flags *flags, const struct skep_mem *mem)
{
    skep_mem_free(mem, flags->argv);
    skep_mem_free(mem, flags->text);
    *flags = (struct skep_serve_flags){.argv = NULL};
}
