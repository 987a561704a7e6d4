/* SPDX-License-Identifier: MIT */
/* Options, arguments and files of the subcommands; see cmd.h. popt has one table a subcommand, made of its own and the shared ones. */
#include <errno.h>
#include <skep/moe.h>
#include <stdlib.h>
#include <time.h>

#include "base/limits.h"
#include "cmd/cmd.h"
#include "peer/multiaddr.h"

enum { OPTION_HELP = 1000, READ_CHUNK = 65536 };

struct skep_cmd_common skep_cmd_common;
static poptContext context;
static const char **sorted; /* what context reads */

struct poptOption skep_cmd_output_options[] = {
    {"json", '\0', POPT_ARG_NONE, &skep_cmd_common.json, 0, "print JSON", NULL},
    {"timeout", '\0', POPT_ARG_STRING, &skep_cmd_common.timeout, 0,
     "give up after this time, with exit code 124", "DURATION"},
    {"verbose", 'v', POPT_ARG_NONE, NULL, 'v', "say more on stderr; twice: everything", NULL},
    {"help", 'h', POPT_ARG_NONE, NULL, OPTION_HELP, "show this help", NULL},
    POPT_TABLEEND};

struct poptOption skep_cmd_join_options[] = {
    {"join", 'j', POPT_ARG_ARGV, &skep_cmd_common.join, 0,
     "an initial peer; may be given several times", "MADDR"},
    {"identity", 'i', POPT_ARG_STRING, &skep_cmd_common.identity, 0,
     "private key file, ours or hivemind's; else a new key each time", "FILE"},
    {"max-ttl", '\0', POPT_ARG_STRING, &skep_cmd_common.max_ttl, 0,
     "refuse records that would live longer (7d)", "DURATION"},
    POPT_TABLEEND};

struct poptOption skep_cmd_listen_options[] = {
    {"listen", 'l', POPT_ARG_ARGV, &skep_cmd_common.listen, 0,
     "listen here (/ip4/0.0.0.0/tcp/0); may be given several times", "MADDR"},
    {"announce", '\0', POPT_ARG_ARGV, &skep_cmd_common.announce, 0,
     "tell others this address instead; may be given several times", "MADDR"},
    POPT_TABLEEND};

size_t skep_cmd_list_count(char *const *list)
{
    size_t count = 0;

    while (list && list[count])
        count++;
    return count;
}

static void print_help(const struct skep_cmd *cmd)
{
    char usage[256];

    printf("skep %s: %s\n\n", cmd->name, cmd->summary);
    snprintf(usage, sizeof usage, "%s%s[OPTION...]", cmd->arguments, *cmd->arguments ? " " : "");
    poptSetOtherOptionHelp(context, usage);
    poptPrintHelp(context, stdout, 0);
    if (*cmd->details)
        printf("\n%s\n", cmd->details);
    printf("\nExample:\n%s\n", cmd->example);
}

static bool check_common(void)
{
    struct skep_cmd_common *c = &skep_cmd_common;

    if (!skep_cmd_option_duration("--timeout", c->timeout, &c->timeout_us) ||
        !skep_cmd_option_duration("--max-ttl", c->max_ttl, &c->max_ttl_us))
        return false;
    if (c->timeout && c->timeout_us == 0) {
        skep_cmd_error("--timeout", "no time at all leaves nothing to do");
        return false;
    }
    return skep_cmd_check_maddrs("--join", c->join, true) &&
           skep_cmd_check_maddrs("--listen", c->listen, false) &&
           skep_cmd_check_maddrs("--announce", c->announce, false);
}

/* ---- negative numbers ---- */

/* The option of a table, or of one included in it, by its long name, or by its letter where `name` is NULL. */
static const struct poptOption *find_option(const struct poptOption *table, const char *name,
                                            size_t len, char letter)
{
    const struct poptOption *outer = NULL;

    for (const struct poptOption *o = table;; o++) {
        if (!o->longName && o->shortName == '\0' && !o->arg) { /* the end of a table */
            if (!outer)
                return NULL;
            o = outer;
            outer = NULL;
        } else if (o->argInfo == POPT_ARG_INCLUDE_TABLE) {
            outer = o;
            o = (const struct poptOption *)o->arg - 1;
        } else if (name ? o->longName && strlen(o->longName) == len &&
                              memcmp(o->longName, name, len) == 0
                        : o->shortName == letter) {
            return o;
        }
    }
}

/* Does this argument take the next one as its value? */
static bool takes_next(const struct poptOption *table, const char *arg)
{
    const struct poptOption *o;

    if (arg[1] == '-')
        o = strchr(arg, '=') ? NULL : find_option(table, arg + 2, strlen(arg + 2), '\0');
    else
        o = arg[2] == '\0' ? find_option(table, NULL, 0, arg[1]) : NULL;
    return o && o->argInfo != POPT_ARG_NONE;
}

/* popt takes "-3" for an option. So the arguments that are none go behind a "--": what is no option, and what looks like a number.
 * @return the new list, malloced; NULL: out of memory. */
static const char **sort_arguments(const struct poptOption *table, int argc, const char **argv,
                                   int *new_argc)
{
    const char **list = calloc((size_t)argc + 2, sizeof *list);
    bool options_ended = false;
    int n = 1;

    if (!list)
        return NULL;
    list[0] = argv[0];
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (argv[i][0] == '-' && argv[i][1] != '\0' && !(argv[i][1] >= '0' && argv[i][1] <= '9')) {
            list[n++] = argv[i];
            if (i + 1 < argc && takes_next(table, argv[i]))
                list[n++] = argv[++i];
        }
    }
    list[n++] = "--";
    for (int i = 1; i < argc; i++) {
        bool is_option = !options_ended && argv[i][0] == '-' && argv[i][1] != '\0' &&
                         !(argv[i][1] >= '0' && argv[i][1] <= '9');

        if (!options_ended && strcmp(argv[i], "--") == 0)
            options_ended = true;
        else if (is_option)
            i += i + 1 < argc && takes_next(table, argv[i]);
        else
            list[n++] = argv[i];
    }
    *new_argc = n;
    return list;
}

int skep_cmd_parse(const struct skep_cmd *cmd, struct poptOption *table, int argc,
                   const char **argv, size_t args_min, size_t args_max, struct skep_cmd_args *args)
{
    char name[64];
    int option;

    snprintf(name, sizeof name, "skep %s", cmd->name);
    argv[0] = name;
    sorted = sort_arguments(table, argc, argv, &argc);
    context = sorted ? poptGetContext(name, argc, sorted, table, 0) : NULL;
    if (!context) {
        skep_cmd_error(cmd->name, "out of memory");
        return SKEP_EXIT_FAILED;
    }
    while ((option = poptGetNextOpt(context)) > 0) {
        if (option == 'v')
            skep_cmd_common.verbose++;
        if (option == OPTION_HELP) {
            print_help(cmd);
            return SKEP_EXIT_DONE;
        }
    }
    if (option < -1) {
        skep_cmd_error(poptBadOption(context, POPT_BADOPTION_NOALIAS), "%s (see skep %s --help)",
                       poptStrerror(option), cmd->name);
        return SKEP_EXIT_USAGE;
    }
    args->items = poptGetArgs(context);
    args->count = 0;
    while (args->items && args->items[args->count])
        args->count++;
    if (args->count < args_min) {
        skep_cmd_error(cmd->name, "an argument is missing: skep %s %s", cmd->name, cmd->arguments);
        return SKEP_EXIT_USAGE;
    }
    if (args->count > args_max) {
        skep_cmd_error(args->items[args_max], "one argument too many: skep %s %s", cmd->name,
                       cmd->arguments);
        return SKEP_EXIT_USAGE;
    }
    return check_common() ? SKEP_CMD_GO_ON : SKEP_EXIT_USAGE;
}

static void free_list(char **list)
{
    for (size_t i = 0; list && list[i]; i++)
        free(list[i]);
    free(list);
}

void skep_cmd_parse_fini(void)
{
    struct skep_cmd_common *c = &skep_cmd_common;

    poptFreeContext(context);
    context = NULL;
    free(sorted);
    sorted = NULL;
    free_list(c->join);
    free_list(c->listen);
    free_list(c->announce);
    free(c->timeout);
    free(c->identity);
    free(c->max_ttl);
    *c = (struct skep_cmd_common){.json = 0};
}

bool skep_cmd_check_maddrs(const char *option, char *const *maddrs, bool need_peer)
{
    struct skep_multiaddr parsed;
    char escaped[SKEP_PEER_TEXT_MAX + 1];

    for (size_t i = 0; maddrs && maddrs[i]; i++) {
        skep_text_escape(escaped, sizeof escaped, skep_bytes_str(maddrs[i]));
        if (skep_multiaddr_parse(&parsed, maddrs[i]) < 0) {
            skep_cmd_error(option, "'%s' is no multiaddr such as /ip4/10.0.0.1/tcp/4001%s", escaped,
                           need_peer ? "/p2p/12D3KooW…" : "");
            return false;
        }
        if (need_peer && parsed.peer.len == 0) {
            skep_cmd_error(option, "'%s' does not end in /p2p/ and the id of the peer", escaped);
            return false;
        }
    }
    return true;
}

bool skep_cmd_option_duration(const char *option, const char *text, uint64_t *out_us)
{
    struct skep_cmd_why why;
    uint64_t us;

    if (!text)
        return true;
    if (skep_cmd_duration(&us, text, &why) < 0) {
        skep_cmd_error(option, "%s", why.text);
        return false;
    }
    *out_us = us;
    return true;
}

bool skep_cmd_option_count(const char *option, const char *text, uint64_t least, uint64_t most,
                           uint64_t *out)
{
    struct skep_cmd_why why;
    uint64_t v;

    if (!text)
        return true;
    if (skep_cmd_count(&v, text, least, most, &why) < 0) {
        skep_cmd_error(option, "%s", why.text);
        return false;
    }
    *out = v;
    return true;
}

static bool in_grammar(const char *text, bool fits, int rc)
{
    if (!fits)
        skep_cmd_error(text, "%s", skep_strerror(rc));
    return fits;
}

bool skep_cmd_check_uid(const char *uid)
{
    return in_grammar(uid, skep_is_uid(uid), SKEP_EUID);
}

bool skep_cmd_check_prefix(const char *prefix)
{
    return in_grammar(prefix, skep_is_prefix(prefix), SKEP_EPREFIX);
}

bool skep_cmd_read_file(struct skep_buf *out, const char *path)
{
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *file = is_stdin ? stdin : fopen(path, "rb");
    size_t got = 1;

    if (!file) {
        skep_cmd_error(path, "%s", strerror(errno));
        return false;
    }
    errno = 0;
    while (got > 0 && out->len <= SKEP_CMD_INPUT_MAX) {
        uint8_t *to = skep_buf_reserve(out, READ_CHUNK);

        got = to ? fread(to, 1, READ_CHUNK, file) : 0;
        out->len += got;
    }
    if (out->rc < 0)
        skep_cmd_error(path, "%s", skep_strerror(out->rc));
    else if (ferror(file))
        skep_cmd_error(path, "%s", strerror(errno));
    else if (out->len > SKEP_CMD_INPUT_MAX)
        skep_cmd_error(path, "it is longer than %zu MiB", (size_t)SKEP_CMD_INPUT_MAX >> 20);
    else
        got = 1;
    if (!is_stdin)
        fclose(file);
    return got == 1 && out->rc == 0 && out->len <= SKEP_CMD_INPUT_MAX;
}

int skep_cmd_exit_of(int rc)
{
    switch (rc) {
    case 0: return SKEP_EXIT_DONE;
    case SKEP_EDEADLINE: return SKEP_EXIT_DEADLINE;
    case SKEP_EINVAL:
    case SKEP_EUID:
    case SKEP_EPREFIX:
    case SKEP_EMULTIADDR:
    case SKEP_EPEERID:
    case SKEP_EKEY:
    case SKEP_EKEYMODE:
    case SKEP_ESIZE:
    case SKEP_EVALUE: return SKEP_EXIT_USAGE;
    default: return SKEP_EXIT_FAILED;
    }
}

uint64_t skep_cmd_now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}
