/* SPDX-License-Identifier: MIT */
/* One step of torch.optim.Adam or torch.optim.SGD, applied piece by piece. */
#ifndef SKEP_SERVER_OPTIMIZER_H
#define SKEP_SERVER_OPTIMIZER_H

#include "server/backend.h"

/** The numbers of one step, which are the same for all parameters. */
struct skep_step {
    enum skep_optimizer optimizer;
    float scale;     /* of gradients: what clipping makes of them; 1 */
    float step_size; /* learning rate; Adam: with the first moment's bias taken out */
    float bias_correction2_sqrt;
};

/** @param step  how many have been taken before. */
void skep_step_init(struct skep_step *out, const struct skep_training *training, uint64_t step);

/** torch.nn.utils.clip_grad_norm_: scale gradients so that their global norm is at most max_norm. */
void skep_step_clip(struct skep_step *step, double norm, double max_norm);

/** Move `count` numbers of a parameter. @param exp_avg, exp_avg_sq  not looked at without Adam. @param gradient  NULL: zeros. */
void skep_step_apply(const struct skep_step *step, float *parameter, float *exp_avg,
                     float *exp_avg_sq, const float *gradient, size_t count);

#endif
