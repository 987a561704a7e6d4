/* SPDX-License-Identifier: MIT */
/* hivemind moe/server/layers/lr_schedule.py. Its LambdaLR is stepped after the optimizer, so the first step of a warmup has a rate of 0. */
#include "server/backend.h"

double skep_training_rate(const struct skep_training *training, uint64_t step)
{
    uint64_t warmup = training->warmup_steps, end = training->training_steps;

    if (training->schedule == SKEP_SCHEDULE_NONE)
        return training->learning_rate;
    if (step < warmup)
        return training->learning_rate * ((double)step / (double)warmup);
    if (step >= end)
        return 0;
    return training->learning_rate * ((double)(end - step) / (double)(end - warmup));
}
