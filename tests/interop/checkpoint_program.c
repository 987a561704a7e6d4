/* SPDX-License-Identifier: MIT */
/* Saves or loads one checkpoint, for tests that hold it against Python's safetensors.
 *
 *   checkpoint_program save DIR UID adam|sgd HIDDEN    numbers count up from 1: scale [hidden], bias [hidden, 2], then the moments
 *   checkpoint_program load DIR UID adam|sgd HIDDEN    prints "step N", then a line for each block: its name and its numbers
 *
 * Exit: 0, 2 (there is none), 1 with the reason on stderr. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "fake_backend.h"
#include "server/checkpoint.h"

static void print_block(const char *name, const float *numbers, size_t count)
{
    if (!numbers)
        return;
    printf("%s", name);
    for (size_t i = 0; i < count; i++)
        printf(" %.9g", (double)numbers[i]);
    printf("\n");
}

static void print_all(const struct skep_backend *backend)
{
    printf("step %" PRIu64 "\n", backend->step);
    print_block("module.scale", backend->parameters[0], backend->counts[0]);
    print_block("module.bias", backend->parameters[1], backend->counts[1]);
    print_block("optimizer.exp_avg.scale", backend->exp_avg[0], backend->counts[0]);
    print_block("optimizer.exp_avg.bias", backend->exp_avg[1], backend->counts[1]);
    print_block("optimizer.exp_avg_sq.scale", backend->exp_avg_sq[0], backend->counts[0]);
    print_block("optimizer.exp_avg_sq.bias", backend->exp_avg_sq[1], backend->counts[1]);
}

int main(int argc, char **argv)
{
    char why[SKEP_CHECKPOINT_WHY_MAX];
    struct fake_backend fake;
    bool load, adam;
    int rc;

    if (argc != 6)
        return 1;
    load = strcmp(argv[1], "load") == 0;
    adam = strcmp(argv[4], "adam") == 0;
    fake_backend_init(&fake, "fake", strtoul(argv[5], NULL, 10),
                      adam ? SKEP_OPTIMIZER_ADAM : SKEP_OPTIMIZER_SGD, load ? -1000.0f : 1.0f);
    rc = load ? skep_checkpoint_load(&fake.backend, skep_bytes_str(argv[3]), argv[2], why,
                                     sizeof why)
              : skep_checkpoint_save(&fake.backend, skep_bytes_str(argv[3]), argv[2], why,
                                     sizeof why);
    if (rc < 0)
        fprintf(stderr, "%s\n", why);
    else if (load && rc == 0)
        print_all(&fake.backend);
    fake_backend_fini(&fake);
    return rc < 0 ? 1 : rc == 1 ? 2 : 0;
}
