/* SPDX-License-Identifier: MIT */
/* Mixtures of remote experts. See include/skep/mixture.h.
 *
 * A mixture is the loop's while it is listed, and memory until the last of its user, its node and its operations lets go of it: results, and the gate's
 * parameters that passes on worker threads read, outlive both. A backward's operation holds that of its forward. */
#include "api/api.h"

#include <math.h>

#include <skep/mixture.h>

#include "moe/mixture.h"
#include "moe/uid.h"

struct skep_mixture {
    struct api_core *core;
    atomic_uint refs;
    atomic_bool closed;
    struct skep_list entry; /* node->mixtures; the loop's, as what follows */
    struct skep_list ops;   /* struct pass_op.entry, while they run */
    struct skep_beam *beam; /* NULL: not listed any more */
    struct skep_mixer *mixer;
    struct api_job job;
};

/* A forward or a backward. */
struct pass_op {
    skep_op op;
    skep_mixture *mixture;
    struct skep_list entry;
    skep_tensor *tensors; /* inputs, or gradients of the outputs; the array is ours */
    size_t count;
    bool has_report;
    skep_mixture_report report;
    atomic_bool taken; /* forward: its backward has begun */
    struct skep_mixer_forward forward;
    /* backward */
    struct pass_op *of;
    double grad_loss;
    struct skep_mixer_backward backward;
    skep_mixture_gradients gradients;
};

static struct pass_op *pass_of(skep_op *op)
{
    return SKEP_CONTAINER_OF(op, struct pass_op, op);
}

/* ---- the mixture ---- */

static void mixture_unref(skep_mixture *mixture)
{
    if (atomic_fetch_sub_explicit(&mixture->refs, 1, memory_order_acq_rel) > 1)
        return;
    skep_mixer_free(mixture->mixer);
    skep_api_core_unref(mixture->core);
    skep_mem_free(API_MEM, mixture);
}

static skep_mixture *mixture_ref(skep_mixture *mixture)
{
    atomic_fetch_add_explicit(&mixture->refs, 1, memory_order_relaxed);
    return mixture;
}

/* On the loop, not from inside a search's end. */
static void unlist(skep_mixture *mixture)
{
    if (!mixture->beam)
        return;
    skep_list_remove(&mixture->entry);
    skep_beam_free(mixture->beam);
    mixture->beam = NULL;
    mixture_unref(mixture);
}

static void on_freed(struct api_job *job, skep_node *node)
{
    skep_mixture *mixture = SKEP_CONTAINER_OF(job, skep_mixture, job);

    if (node)
        unlist(mixture); /* else the node's close does */
    mixture_unref(mixture);
}

static int close_mixture(skep_node *node, void *arg)
{
    skep_mixture *mixture = arg;

    (void)node;
    atomic_store(&mixture->closed, true);
    while (!skep_list_empty(&mixture->ops)) {
        struct pass_op *op = SKEP_LIST_ITEM(mixture->ops.next, struct pass_op, entry);

        skep_op_cancel(&op->op);
    }
    return 0;
}

void skep_mixture_free(skep_mixture *mixture)
{
    if (!mixture)
        return;
    atomic_store(&mixture->closed, true);
    (void)skep_api_call(mixture->core, close_mixture, mixture);
    /* The searcher goes on the next turn: this may be inside the end of a search of it. */
    mixture->job.run = on_freed;
    if (skep_api_post(mixture->core, &mixture->job) < 0)
        mixture_unref(mixture);
}

void skep_api_mixtures_close(skep_node *node)
{
    while (!skep_list_empty(&node->mixtures)) {
        skep_mixture *mixture = SKEP_LIST_ITEM(node->mixtures.next, skep_mixture, entry);

        atomic_store(&mixture->closed, true);
        unlist(mixture);
    }
}

/* ---- its options ---- */

void skep_mixture_options_init_size(skep_mixture_options *options, size_t struct_size,
                                    enum skep_mixture_kind kind)
{
    bool is_switch = kind == SKEP_MIXTURE_SWITCH;

    if (!options)
        return;

    const skep_mixture_options all = {.struct_size = struct_size,
                                      .kind = kind,
                                      .k_best = is_switch ? 1 : 4,
                                      .k_min = is_switch ? 0 : 1,
                                      .backward_k_min = is_switch ? 0 : 1,
                                      .allow_zero_outputs = is_switch,
                                      .failover = true,
                                      .utilization_alpha = 0.9,
                                      .grid_dropout = 1,
                                      .jitter_eps = 0.01,
                                      .negative_caching = true,
                                      .cache_expiration_s = 300};

    memset(options, 0, struct_size);
    memcpy(options, &all, SKEP_MIN(struct_size, sizeof all));
}

static int check_grid(const skep_mixture_options *options)
{
    size_t outputs = 0, numbers;
    char why[SKEP_UID_WHY_MAX];

    if (!options->prefix)
        return skep_api_fail(SKEP_EPREFIX, "no prefix");
    if (skep_prefix_check(skep_bytes_str(options->prefix), why, sizeof why) < 0)
        return skep_api_fail(SKEP_EPREFIX, "prefix: %s", why);
    if (options->dimensions == 0 || !options->grid_size)
        return skep_api_fail(SKEP_EINVAL, "the grid has no dimensions");
    if (options->dimensions > SKEP_GRID_DIMENSIONS_MAX)
        return skep_api_fail(SKEP_EINVAL, "the grid has %zu dimensions; at most %d",
                             options->dimensions, SKEP_GRID_DIMENSIONS_MAX);
    for (size_t d = 0; d < options->dimensions; d++) {
        if (options->grid_size[d] == 0 || options->grid_size[d] > SKEP_GRID_SIZE_MAX)
            return skep_api_fail(SKEP_EINVAL, "grid: dimension %zu has size %zu; 1 to %d", d,
                                 options->grid_size[d], SKEP_GRID_SIZE_MAX);
        outputs += options->grid_size[d];
    }
    if (options->in_features == 0)
        return skep_api_fail(SKEP_EINVAL, "in_features is 0");
    if (!skep_size_mul(outputs, options->in_features, &numbers) ||
        numbers > SIZE_MAX / (4 * sizeof(float)))
        return skep_api_fail(SKEP_ELIMIT, "a gate of %zu by %zu numbers", outputs,
                             options->in_features);
    return 0;
}

static bool is_share(double number)
{
    return number >= 0 && number <= 1;
}

static int check_numbers(const skep_mixture_options *options)
{
    size_t spares = options->failover_spares;

    if (options->kind != SKEP_MIXTURE_SOFTMAX && options->kind != SKEP_MIXTURE_SWITCH)
        return skep_api_fail(SKEP_EINVAL, "kind %d is none", (int)options->kind);
    if (options->k_best == 0)
        return skep_api_fail(SKEP_EINVAL, "k_best is 0");
    if (options->k_best > SKEP_BEAM_SIZE_MAX / 2 || spares > SKEP_BEAM_SIZE_MAX / 2)
        return skep_api_fail(SKEP_ELIMIT, "k_best is %zu, with %zu spares; at most %d each",
                             options->k_best, spares, SKEP_BEAM_SIZE_MAX / 2);
    if (!is_share(options->utilization_alpha) || !is_share(options->grid_dropout) ||
        !is_share(options->jitter_eps))
        return skep_api_fail(
            SKEP_EINVAL, "utilization_alpha, grid_dropout and jitter_eps are shares from 0 to 1");
    if (!(options->cache_expiration_s > 0) || !isfinite(options->cache_expiration_s))
        return skep_api_fail(SKEP_EINVAL, "cache_expiration_s is not a number of seconds above 0");
    return 0;
}

static uint64_t timeout_in(uint64_t timeout_us)
{
    return timeout_us == 0 ? SKEP_NEVER_US : timeout_us;
}

/* ---- making one ---- */

struct making {
    const skep_mixture_options *options;
    uint32_t grid[SKEP_GRID_DIMENSIONS_MAX];
    skep_mixture *mixture;
    char why[SKEP_UID_WHY_MAX];
};

static int make_beam(skep_node *node, struct making *making)
{
    const skep_mixture_options *options = making->options;
    struct skep_beam_options beam;

    skep_beam_options_default(&beam);
    beam.prefix = skep_bytes_str(options->prefix);
    beam.grid = making->grid;
    beam.dims = options->dimensions;
    beam.negative_caching = options->negative_caching;
    beam.cache_expiration_s = options->cache_expiration_s;
    beam.num_workers = options->num_workers;
    return skep_beam_new(&making->mixture->beam, node->dht, &beam, making->why, sizeof making->why);
}

static int make_mixer(skep_node *node, struct making *making, struct skep_expert_caller *experts)
{
    const skep_mixture_options *options = making->options;
    const struct skep_mixer_options mixer = {
        .is_switch = options->kind == SKEP_MIXTURE_SWITCH,
        .grid = making->grid,
        .dims = options->dimensions,
        .in_features = options->in_features,
        .k_best = options->k_best,
        .k_min = options->k_min,
        .backward_k_min = options->backward_k_min,
        .spares = !options->failover             ? 0
                  : options->failover_spares > 0 ? options->failover_spares
                                                 : options->k_best,
        .forward_timeout_us = timeout_in(options->forward_timeout_us),
        .backward_timeout_us = timeout_in(options->backward_timeout_us),
        .timeout_after_k_min_us = timeout_in(options->timeout_after_k_min_us),
        .detect_anomalies = options->detect_anomalies,
        .allow_zero_outputs = options->allow_zero_outputs,
        .utilization_alpha = options->utilization_alpha,
        .grid_dropout = options->grid_dropout,
        .jitter_eps = options->jitter_eps,
        .seed = options->seed,
        .search_budget_us = options->search_budget_us};

    return skep_mixer_new(&making->mixture->mixer, node->env, experts, making->mixture->beam,
                          &mixer);
}

static int make(skep_node *node, void *arg)
{
    struct making *making = arg;
    skep_mixture *mixture = making->mixture;
    struct skep_expert_caller *experts;
    int rc;

    if (node->closing)
        return SKEP_ECLOSED;
    if ((rc = skep_api_experts(node, &experts)) < 0 || (rc = make_beam(node, making)) < 0)
        return rc;
    if ((rc = make_mixer(node, making, experts)) < 0) {
        skep_beam_free(mixture->beam);
        mixture->beam = NULL;
        return rc;
    }
    skep_list_push_back(&node->mixtures, &mixture->entry);
    mixture_ref(mixture);
    return 0;
}

int skep_mixture_new(skep_mixture **out, skep_node *node, const skep_mixture_options *user)
{
    skep_mixture_options options;
    struct making making = {.options = &options};
    int rc;

    if (out)
        *out = NULL;
    if ((rc = skep_api_need(out, "place for the mixture")) < 0 ||
        (rc = skep_api_need(node, "node")) < 0)
        return rc;
    if (!user || user->struct_size < sizeof user->struct_size || user->struct_size > 1 << 16)
        return skep_api_fail(SKEP_EINVAL,
                             "no options, or skep_mixture_options_init() was not called");
    skep_mixture_options_init(&options, user->kind);
    memcpy(&options, user, SKEP_MIN(user->struct_size, sizeof options));
    if (!node->dht)
        return skep_api_fail(SKEP_EINVAL, "the node has no DHT (options.no_dht)");
    if ((rc = check_grid(&options)) < 0 || (rc = check_numbers(&options)) < 0)
        return rc;
    for (size_t d = 0; d < options.dimensions; d++)
        making.grid[d] = (uint32_t)options.grid_size[d];
    if (!(making.mixture = skep_mem_zalloc(API_MEM, 1, sizeof *making.mixture)))
        return skep_api_fail(SKEP_ENOMEM, "out of memory");
    making.mixture->core = skep_api_core_ref(node->core);
    atomic_init(&making.mixture->refs, 1);
    atomic_init(&making.mixture->closed, false);
    skep_list_init(&making.mixture->entry);
    skep_list_init(&making.mixture->ops);
    if ((rc = skep_api_call(node->core, make, &making)) < 0) {
        mixture_unref(making.mixture);
        return skep_api_fail(rc, "%s", *making.why ? making.why : skep_strerror(rc));
    }
    *out = making.mixture;
    return 0;
}

size_t skep_mixture_gate_outputs(const skep_mixture *mixture)
{
    return mixture ? skep_mixer_outputs(mixture->mixer) : 0;
}

float *skep_mixture_gate_weight(skep_mixture *mixture)
{
    return mixture ? skep_mixer_weight(mixture->mixer) : NULL;
}

float *skep_mixture_gate_bias(skep_mixture *mixture)
{
    return mixture ? skep_mixer_bias(mixture->mixer) : NULL;
}

const float *skep_mixture_utilization(const skep_mixture *mixture)
{
    return mixture ? skep_mixer_utilization(mixture->mixer) : NULL;
}

/* ---- a pass ---- */

static void free_pass(skep_op *base)
{
    struct pass_op *op = pass_of(base);

    skep_mixer_backward_fini(&op->backward);
    skep_mixer_forward_fini(&op->forward);
    if (op->of)
        skep_op_free(&op->of->op);
    mixture_unref(op->mixture);
}

static void *new_pass(skep_node *node, skep_mixture *mixture, const struct api_op_class *class,
                      const skep_tensor *tensors, size_t count, skep_op_cb *cb, void *user_data)
{
    struct pass_op *op = skep_api_op_new(node, class, cb, user_data, NULL);

    if (!op)
        return NULL;
    op->op.free = free_pass;
    op->mixture = mixture_ref(mixture);
    op->count = count;
    atomic_init(&op->taken, false);
    skep_list_init(&op->entry);
    if (!(op->tensors = skep_api_arena_copy(&op->op.arena, tensors, count * sizeof *tensors))) {
        skep_api_op_drop(&op->op);
        skep_api_fail(SKEP_ENOMEM, "out of memory");
        return NULL;
    }
    return op;
}

/* The tables of experts, as the public header has them. */
static int copy_experts(struct api_arena *arena, skep_mixture_report *to,
                        const struct skep_mixer_report *from)
{
    size_t cells = from->batch * from->columns;
    char **uids = skep_api_arena_alloc(arena, from->expert_count, sizeof *uids);
    skep_expert *experts = skep_api_arena_alloc(arena, cells, sizeof *experts);
    const skep_expert **places = skep_api_arena_alloc(arena, cells, sizeof *places);

    if (!uids || !experts || !places)
        return SKEP_ENOMEM;
    for (size_t e = 0; e < from->expert_count; e++) {
        const struct skep_mixer_expert *expert = &from->experts[e];

        uids[e] = skep_api_arena_str(arena, skep_bytes_of(expert->uid, expert->uid_len));
        if (!uids[e])
            return SKEP_ENOMEM;
    }
    for (size_t cell = 0; cell < cells; cell++) {
        uint32_t expert = from->cells[cell];

        if (expert == SKEP_MIXER_NONE)
            continue;
        experts[cell] = (skep_expert){.uid = uids[expert],
                                      .peer = api_peer_out(&from->experts[expert].peer),
                                      .score = from->scores[cell]};
        places[cell] = &experts[cell];
    }
    to->experts = places;
    return 0;
}

/* A forward that failed early has no masks or weights: none answered. */
static int copy_report(struct pass_op *op, const struct skep_mixer_report *from)
{
    struct api_arena *arena = &op->op.arena;
    skep_mixture_report *to = &op->report;
    size_t cells = from->batch * from->columns;

    *to = (skep_mixture_report){.batch_size = from->batch,
                                .experts_max = from->columns,
                                .answered = from->answered,
                                .weights = from->weights,
                                .calls = from->calls,
                                .failed = from->failed,
                                .replaced = from->replaced,
                                .balancing_loss = from->balancing_loss,
                                .search = {.rounds = from->search.cost.rounds,
                                           .keys = from->search.cost.keys,
                                           .calls = from->search.cost.calls,
                                           .elapsed_us = from->search.elapsed_us,
                                           .out_of_time = from->search_timed_out},
                                .elapsed_us = from->elapsed_us};
    if (!to->answered)
        to->answered = skep_api_arena_alloc(arena, cells, sizeof *to->answered);
    if (!to->weights)
        to->weights = skep_api_arena_alloc(arena, cells, sizeof *to->weights);
    if (!to->answered || !to->weights)
        return SKEP_ENOMEM;
    if (op->of)
        to->experts = op->of->report.experts; /* the forward lives as long as we do */
    return op->of ? 0 : copy_experts(arena, to, from);
}

static void end_pass(struct pass_op *op, int rc, const char *text,
                     const struct skep_mixer_report *report)
{
    skep_list_remove(&op->entry);
    op->has_report = copy_report(op, report) == 0;
    if (!op->has_report && rc == 0)
        rc = SKEP_ENOMEM;
    skep_api_op_end(&op->op, rc, text);
}

static int started(struct pass_op *op, int rc, const char *why)
{
    if (rc == 0)
        return 0;
    skep_list_remove(&op->entry);
    return skep_api_fail(rc, "%s", *why ? why : skep_strerror(rc));
}

/* Before it begins, so that it is listed when it ends at once. */
static int list_pass(struct pass_op *op)
{
    if (atomic_load(&op->mixture->closed))
        return skep_api_fail(SKEP_ECLOSED, "the mixture is closed");
    skep_list_push_back(&op->mixture->ops, &op->entry);
    return 0;
}

/* ---- forward ---- */

static void on_forward_done(struct skep_mixer_forward *forward, int rc, const char *text)
{
    end_pass(SKEP_CONTAINER_OF(forward, struct pass_op, forward), rc, text, &forward->report);
}

static int forward_start(skep_op *base, skep_node *node)
{
    struct pass_op *op = pass_of(base);
    char why[SKEP_MIXTURE_WHY_MAX] = "";
    int rc = list_pass(op);

    (void)node;
    if (rc < 0)
        return rc;
    op->forward.done = on_forward_done;
    rc = skep_mixer_forward_start(&op->forward, op->mixture->mixer, op->tensors, op->count, why,
                                  sizeof why);
    return started(op, rc, why);
}

static void pass_cancel(skep_op *base, skep_node *node)
{
    struct pass_op *op = pass_of(base);

    (void)node;
    skep_list_remove(&op->entry);
    skep_mixer_backward_fini(&op->backward);
    skep_mixer_forward_fini(&op->forward);
}

static const struct api_op_class forward_class = {sizeof(struct pass_op), forward_start,
                                                  pass_cancel};

/* @return 0 and *node; SKEP_ECLOSED. */
static int node_of(skep_mixture *mixture, skep_node **node)
{
    pthread_mutex_lock(&mixture->core->mutex);
    *node = mixture->core->node;
    pthread_mutex_unlock(&mixture->core->mutex);
    if (!*node)
        return skep_api_fail(SKEP_ECLOSED, "the node is closed");
    return atomic_load(&mixture->closed) ? skep_api_fail(SKEP_ECLOSED, "the mixture is closed") : 0;
}

int skep_mixture_forward(skep_op **out, skep_mixture *mixture, const skep_tensor *inputs,
                         size_t count, skep_op_cb *cb, void *user_data)
{
    char why[SKEP_MIXTURE_WHY_MAX];
    struct pass_op *op;
    skep_node *node;
    int rc;

    if (out)
        *out = NULL;
    if ((rc = skep_api_need(mixture, "mixture")) < 0 ||
        (rc = skep_api_need(inputs, "inputs")) < 0 || (rc = node_of(mixture, &node)) < 0)
        return rc;
    if ((rc = skep_mixer_check_inputs(mixture->mixer, inputs, count, why, sizeof why)) < 0)
        return skep_api_fail(rc, "%s", why);
    if (!(op = new_pass(node, mixture, &forward_class, inputs, count, cb, user_data)))
        return SKEP_ENOMEM;
    return skep_api_op_begin(out, node, &op->op);
}

const skep_tensor *skep_mixture_forward_result(const skep_op *op, size_t *count)
{
    const struct pass_op *pass = (const struct pass_op *)(const void *)op;

    if (count)
        *count = 0;
    if (!api_op_ok(op, &forward_class))
        return NULL;
    if (count)
        *count = pass->forward.output_count;
    return pass->forward.outputs;
}

/* ---- backward ---- */

static void on_backward_done(struct skep_mixer_backward *backward, int rc, const char *text)
{
    struct pass_op *op = SKEP_CONTAINER_OF(backward, struct pass_op, backward);

    op->gradients = (skep_mixture_gradients){.inputs = backward->grad_inputs,
                                             .input_count = backward->input_count,
                                             .gate_weight = backward->grad_weight,
                                             .gate_bias = backward->grad_bias};
    end_pass(op, rc, text, &backward->report);
}

static int backward_start(skep_op *base, skep_node *node)
{
    struct pass_op *op = pass_of(base);
    char why[SKEP_MIXTURE_WHY_MAX] = "";
    int rc = list_pass(op);

    (void)node;
    if (rc < 0)
        return rc;
    op->backward.done = on_backward_done;
    rc = skep_mixer_backward_start(&op->backward, &op->of->forward, op->tensors, op->count,
                                   op->grad_loss, why, sizeof why);
    return started(op, rc, why);
}

static const struct api_op_class backward_class = {sizeof(struct pass_op), backward_start,
                                                   pass_cancel};

static int begin_backward(skep_op **out, struct pass_op *forward, const skep_tensor *grad_outputs,
                          size_t count, double grad_loss, skep_op_cb *cb, void *user_data)
{
    struct pass_op *op;
    skep_node *node;
    int rc;

    if ((rc = node_of(forward->mixture, &node)) < 0)
        return rc;
    if (!(op = new_pass(node, forward->mixture, &backward_class, grad_outputs, count, cb,
                        user_data)))
        return SKEP_ENOMEM;
    op->of = forward;
    op->grad_loss = grad_loss;
    atomic_fetch_add_explicit(&forward->op.refs, 1, memory_order_relaxed);
    return skep_api_op_begin(out, node, &op->op);
}

int skep_mixture_backward(skep_op **out, skep_op *forward, const skep_tensor *grad_outputs,
                          size_t grad_count, double grad_loss, skep_op_cb *cb, void *user_data)
{
    char why[SKEP_MIXTURE_WHY_MAX];
    struct pass_op *of;
    int rc;

    if (out)
        *out = NULL;
    if ((rc = skep_api_need(forward, "forward")) < 0 ||
        (rc = skep_api_need(grad_outputs, "gradients")) < 0)
        return rc;
    if (!api_op_ok(forward, &forward_class))
        return skep_api_fail(SKEP_EINVAL, "the operation is no forward that has ended well");
    of = pass_of(forward);
    if (atomic_exchange(&of->taken, true))
        return skep_api_fail(SKEP_EINVAL, "the forward was run backward before");
    rc = skep_mixer_check_gradients(&of->forward, grad_outputs, grad_count, why, sizeof why);
    if (rc < 0)
        skep_api_fail(rc, "%s", why);
    else if (!isfinite(grad_loss))
        rc = skep_api_fail(SKEP_EINVAL, "the gradient of the loss is no number");
    else
        rc = begin_backward(out, of, grad_outputs, grad_count, grad_loss, cb, user_data);
    if (rc < 0)
        atomic_store(&of->taken, false);
    return rc;
}

const skep_mixture_gradients *skep_mixture_backward_result(const skep_op *op)
{
    return api_op_ok(op, &backward_class) ? &((const struct pass_op *)(const void *)op)->gradients
                                          : NULL;
}

const skep_mixture_report *skep_mixture_get_report(const skep_op *op)
{
    const struct pass_op *pass = (const struct pass_op *)(const void *)op;

    if (!op || (op->class != &forward_class && op->class != &backward_class) ||
        skep_op_poll(op) == 1 || !pass->has_report)
        return NULL;
    return &pass->report;
}
