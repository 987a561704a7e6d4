/* SPDX-License-Identifier: MIT */
/* The calls of a pass, and when waiting for them ends. hivemind moe/client/moe.py, _collect_responses.
 *
 *   add --> WAITS --start--> RUNS --answer that is accepted--> ANSWERED
 *                                 --error, refused answer, time--> FAILED --failover, time left--> the samples' spares: add
 *
 * Waiting ends when no call runs; at the timeout; or, once every sample that has experts has k_min answers, a while after that. With k_min 0 that moment
 * never comes, as in hivemind, and all are waited for. The rows of an answer count one by one: one with NaN or infinity is a failure for its sample
 * only. With failover the experts first asked get half of the time, so that others can take their places. */
#include "moe/mixture_parts.h"

#include <stdarg.h>
#include <stdio.h>

#include "moe/codec.h"

enum {
    GRACE_US = 10000
}; /* calls end at the timeout by themselves, which marks experts as failing; then comes ours */

int mix_say(char *why, size_t why_len, int rc, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (why && why_len > 0)
        vsnprintf(why, why_len, format, args);
    va_end(args);
    return rc;
}

/* ---- tensors of rows ---- */

size_t mix_row_elements(const skep_tensor *tensor)
{
    size_t elements = 1;

    for (size_t a = 1; a < tensor->axes; a++)
        elements *= tensor->shape[a];
    return elements;
}

static bool row_is_finite(const struct mix_call *call, size_t row)
{
    for (size_t t = 0; t < call->answer_count; t++) {
        size_t elements = mix_row_elements(&call->answers[t]);
        const float *data = call->answers[t].data;
        const skep_tensor at = {.dtype = SKEP_FLOAT32,
                                .axes = 1,
                                .shape = {elements},
                                .data = elements > 0 ? data + row * elements : NULL};

        if (!skep_tensor_finite(&at))
            return false;
    }
    return true;
}

/* ---- life ---- */

static void on_timer(struct skep_timer *timer);

static size_t row_bytes(const skep_tensor *tensor)
{
    return mix_row_elements(tensor) * skep_dtype_size(tensor->dtype);
}

int mix_calls_init(struct mix_calls *calls)
{
    size_t batch = calls->experts->batch, cells = batch * calls->experts->columns, bytes = 1;

    for (size_t t = 0; t < calls->pattern_count; t++)
        bytes += row_bytes(&calls->patterns[t]);
    calls->rows_max = SKEP_MIN((size_t)SKEP_MIXTURE_CALL_ROWS, SKEP_MIXTURE_CALL_BYTES / bytes);
    calls->rows_max = SKEP_MAX(calls->rows_max, (size_t)1);
    calls->tail = &calls->first;
    calls->timer.fire = on_timer;
    calls->places = skep_mem_zalloc(calls->mem, cells + 1, sizeof *calls->places);
    calls->answered = skep_mem_zalloc(calls->mem, cells + 1, sizeof *calls->answered);
    calls->successes = skep_mem_zalloc(calls->mem, batch + 1, sizeof *calls->successes);
    return calls->places && calls->answered && calls->successes ? 0 : SKEP_ENOMEM;
}

static void drop_answers(struct mix_call *call)
{
    for (size_t t = 0; t < call->answer_count; t++)
        skep_mem_free(call->calls->mem, (void *)(uintptr_t)call->answers[t].data);
    skep_mem_free(call->calls->mem, call->answers);
    call->answers = NULL;
    call->answer_count = 0;
}

/* It has ended: what was borrowed from us is no longer. */
static void settle(struct mix_call *call, enum mix_call_state state)
{
    call->calls->running -= call->state == MIX_RUNS;
    call->state = state;
    skep_mem_free(call->calls->mem, call->tensors);
    call->tensors = NULL;
}

void mix_calls_stop(struct mix_calls *calls)
{
    if (!calls->mem)
        return;
    skep_env_stop(calls->env, &calls->timer);
    for (struct mix_call *call = calls->first; call; call = call->next) {
        if (call->state != MIX_WAITS && call->state != MIX_RUNS)
            continue;
        skep_expert_call_fini(&call->call);
        calls->failed_count += call->state == MIX_RUNS;
        settle(call, MIX_FAILED);
    }
}

void mix_calls_fini(struct mix_calls *calls)
{
    if (!calls->mem)
        return;
    while (calls->first) {
        struct mix_call *call = calls->first;

        calls->first = call->next;
        skep_expert_call_fini(&call->call);
        drop_answers(call);
        skep_mem_free(calls->mem, call->tensors);
        skep_mem_free(calls->mem, call);
    }
    skep_mem_free(calls->mem, calls->places);
    skep_mem_free(calls->mem, calls->answered);
    skep_mem_free(calls->mem, calls->successes);
    *calls = (struct mix_calls){0};
}

/* ---- cells into calls ---- */

enum { ALIGN = 64 };

static size_t aligned(size_t len)
{
    return (len + ALIGN - 1) / ALIGN * ALIGN;
}

/* A call of all the samples sends the inputs as they are: an expert is in a sample's row once, and rows keep their order. */
static bool is_direct(const struct mix_calls *calls, const struct mix_call *call, size_t tensor)
{
    return tensor < calls->input_count && call->rows == calls->experts->batch;
}

/* The tensors of a call and room for their numbers, in one block. */
static int reserve(struct mix_calls *calls, struct mix_call *call)
{
    size_t head = aligned(calls->pattern_count * sizeof *call->tensors), len = head;
    uint8_t *at;

    for (size_t t = 0; t < calls->pattern_count; t++)
        len += is_direct(calls, call, t) ? 0 : aligned(call->rows * row_bytes(&calls->patterns[t]));
    if (!(call->tensors = skep_mem_alloc(calls->mem, len)))
        return SKEP_ENOMEM;
    at = (uint8_t *)call->tensors + head;
    for (size_t t = 0; t < calls->pattern_count; t++) {
        skep_tensor *tensor = &call->tensors[t];

        *tensor = calls->patterns[t];
        tensor->shape[0] = call->rows;
        if (is_direct(calls, call, t))
            continue;
        tensor->data = at;
        at += aligned(call->rows * row_bytes(tensor));
    }
    return 0;
}

static int add_call(struct mix_calls *calls, uint32_t expert, const uint32_t *cells, size_t rows)
{
    struct mix_call *call = skep_mem_alloc(calls->mem, sizeof *call + rows * sizeof *call->cells);

    if (!call)
        return SKEP_ENOMEM;
    memset(call, 0, sizeof *call);
    call->calls = calls;
    call->expert = expert;
    call->state = MIX_WAITS;
    call->rows = rows;
    memcpy(call->cells, cells, rows * sizeof *cells);
    *calls->tail = call;
    calls->tail = &call->next;
    if (!calls->waits)
        calls->waits = call;
    return reserve(calls, call);
}

/* Cells in the order of their experts, each expert's in the order they came. @param starts  [experts + 1] gets where each expert's begin. */
static void sort_cells(const struct mix_experts *experts, const uint32_t *cells, size_t count,
                       uint32_t *sorted, uint32_t *starts)
{
    for (size_t i = 0; i < count; i++)
        starts[experts->cells[cells[i]] + 1]++;
    for (size_t e = 0; e < experts->expert_count; e++)
        starts[e + 1] += starts[e];
    for (size_t i = 0; i < count; i++)
        sorted[starts[experts->cells[cells[i]]]++] = cells[i];
    /* Each start has moved to its end, which is the next one's start. */
    memmove(starts + 1, starts, experts->expert_count * sizeof *starts);
    starts[0] = 0;
}

int mix_calls_add(struct mix_calls *calls, const uint32_t *cells, size_t count)
{
    const struct mix_experts *experts = calls->experts;
    uint32_t *sorted = skep_mem_zalloc(calls->mem, count + 1, sizeof *sorted);
    uint32_t *starts = skep_mem_zalloc(calls->mem, experts->expert_count + 1, sizeof *starts);
    int rc = sorted && starts ? 0 : SKEP_ENOMEM;

    if (rc == 0)
        sort_cells(experts, cells, count, sorted, starts);
    for (size_t e = 0; rc == 0 && e < experts->expert_count; e++) {
        for (size_t at = starts[e]; rc == 0 && at < starts[e + 1]; at += calls->rows_max)
            rc = add_call(calls, (uint32_t)e, sorted + at,
                          SKEP_MIN(starts[e + 1] - at, calls->rows_max));
    }
    skep_mem_free(calls->mem, sorted);
    skep_mem_free(calls->mem, starts);
    return rc;
}

double mix_calls_operations(const struct mix_calls *calls)
{
    double operations = 0;

    for (const struct mix_call *call = calls->first; call; call = call->next)
        for (size_t t = 0; t < calls->pattern_count; t++)
            operations += (double)skep_tensor_bytes(&call->tensors[t]) / 4;
    return operations;
}

static void gather_rows(const struct mix_call *call, const skep_tensor *from, void *to)
{
    size_t len = row_bytes(from), columns = call->calls->experts->columns;
    const uint8_t *data = from->data;
    uint8_t *out = to;

    for (size_t r = 0; r < call->rows && len > 0; r++)
        memcpy(out + r * len, data + call->cells[r] / columns * len, len);
}

void mix_calls_gather(struct mix_calls *calls, const atomic_bool *stop)
{
    for (struct mix_call *call = calls->waits; call && !atomic_load(stop); call = call->next) {
        for (size_t t = 0; t < calls->pattern_count; t++) {
            void *to = (void *)(uintptr_t)call->tensors[t].data;

            if (t >= calls->input_count)
                calls->write(calls, call, t - calls->input_count, to);
            else if (!is_direct(calls, call, t))
                gather_rows(call, &calls->patterns[t], to);
        }
    }
}

/* ---- the end ---- */

static void end(struct mix_calls *calls)
{
    if (calls->running > 0 && !*calls->why)
        mix_say(calls->why, sizeof calls->why, 0, "%zu of %zu calls were not answered in time",
                calls->running, calls->call_count);
    mix_calls_stop(calls);
    calls->ended(calls);
}

static void on_timer(struct skep_timer *timer)
{
    end(SKEP_CONTAINER_OF(timer, struct mix_calls, timer));
}

static void set_timer(struct mix_calls *calls, uint64_t at_us)
{
    uint64_t now_us = skep_env_now_us(calls->env);

    if (at_us == SKEP_NEVER_US)
        return;
    if (skep_env_after(calls->env, &calls->timer, at_us > now_us ? at_us - now_us : 0) < 0)
        calls->rc = SKEP_ENOMEM;
}

/* Is it over? */
static void look(struct mix_calls *calls)
{
    if (calls->running == 0 || calls->rc < 0)
        end(calls);
}

/* Every sample that has experts has k_min answers: stragglers get so much longer. */
static void enough(struct mix_calls *calls)
{
    uint64_t now_us = skep_env_now_us(calls->env);

    if (calls->after_k_min_us >= SKEP_NEVER_US - now_us ||
        now_us + calls->after_k_min_us >= calls->finish_us)
        return;
    calls->finish_us = now_us + calls->after_k_min_us;
    set_timer(calls, calls->finish_us);
}

/* ---- answers ---- */

/* The samples' next best take over: their calls wait to be started. */
static void replace(struct mix_calls *calls, uint32_t *cells, size_t count)
{
    atomic_bool stop;
    size_t replaced = 0;

    atomic_init(&stop, false);
    if (!calls->failover || skep_env_now_us(calls->env) >= calls->finish_us || calls->rc < 0)
        return;
    for (size_t i = 0; i < count; i++)
        if (mix_experts_replace(calls->experts, cells[i]))
            cells[replaced++] = cells[i];
    if (replaced == 0)
        return;
    calls->replaced_count += replaced;
    if ((calls->rc = mix_calls_add(calls, cells, replaced)) < 0)
        return;
    mix_calls_gather(calls, &stop);
}

static void remember_why(struct mix_call *call, const char *what)
{
    struct mix_calls *calls = call->calls;
    const struct skep_mixer_expert *expert = &calls->experts->experts[call->expert];
    char uid[SKEP_PEER_TEXT_MAX + 1];

    if (!*calls->why)
        mix_say(calls->why, sizeof calls->why, 0, "%s: %s",
                skep_text_escape(uid, sizeof uid, skep_bytes_of(expert->uid, expert->uid_len)),
                what);
}

static void fail_call(struct mix_call *call, int rc, const char *text)
{
    struct mix_calls *calls = call->calls;

    skep_expert_call_fini(&call->call);
    settle(call, MIX_FAILED);
    calls->failed_count++;
    remember_why(call, *text ? text : skep_strerror(rc));
    if (rc == SKEP_ENOMEM)
        calls->rc = rc;
    replace(calls, call->cells, call->rows);
}

/* Take the tensors over, as float32. */
static int take_answers(struct mix_call *call)
{
    const struct skep_mem *mem = call->calls->mem;
    size_t count = call->call.output_count;
    skep_tensor *answers = skep_mem_zalloc(mem, count + 1, sizeof *answers);

    if (!answers)
        return SKEP_ENOMEM;
    memcpy(answers, call->call.outputs, count * sizeof *answers);
    skep_expert_call_steal(&call->call);
    call->answers = answers;
    call->answer_count = count;
    for (size_t t = 0; t < count; t++) {
        size_t elements = skep_tensor_elements(&answers[t]);
        float *numbers;

        if (answers[t].dtype == SKEP_FLOAT32)
            continue;
        if (!(numbers = skep_mem_zalloc(mem, elements + 1, sizeof *numbers)))
            return SKEP_ENOMEM;
        skep_numbers_to_float(numbers, answers[t].dtype, answers[t].data, elements);
        skep_mem_free(mem, (void *)(uintptr_t)answers[t].data);
        answers[t].data = numbers;
        answers[t].dtype = SKEP_FLOAT32;
    }
    return 0;
}

/* One more answer for a cell's sample. */
static void count_success(struct mix_calls *calls, struct mix_call *call, size_t row)
{
    uint32_t cell = call->cells[row];
    size_t sample = cell / calls->experts->columns;

    calls->places[cell] = (struct mix_place){call, (uint32_t)row};
    calls->answered[cell] = true;
    calls->answered_count++;
    if (++calls->successes[sample] == calls->k_min && --calls->waiting_samples == 0)
        enough(calls);
}

/* A call of which no row was good has failed; its rows are moved to the front of `bad`. */
static void count_rows(struct mix_call *call)
{
    struct mix_calls *calls = call->calls;
    uint32_t *bad = NULL;
    size_t count = 0;

    for (size_t r = 0; r < call->rows; r++) {
        if (!calls->detect_anomalies || row_is_finite(call, r)) {
            count_success(calls, call, r);
        } else {
            if (!bad && !(bad = skep_mem_zalloc(calls->mem, call->rows, sizeof *bad))) {
                calls->rc = SKEP_ENOMEM;
                break;
            }
            bad[count++] = call->cells[r];
        }
    }
    if (count > 0) {
        calls->failed_count += count == call->rows;
        remember_why(call, "its answer has NaN or infinity");
        replace(calls, bad, count);
    }
    skep_mem_free(calls->mem, bad);
}

/* ---- the start ---- */

/* What is left of the time; of those first asked, half of it where there are spares. */
static uint64_t timeout_of(const struct mix_calls *calls)
{
    const struct mix_experts *experts = calls->experts;
    uint64_t left_us;

    if (calls->finish_us == SKEP_NEVER_US)
        return SKEP_NEVER_US;
    left_us = calls->finish_us - skep_env_now_us(calls->env);
    return calls->starting && calls->failover && experts->width > experts->columns ? left_us / 2
                                                                                   : left_us;
}

static void on_done(struct skep_expert_call *inner, int rc, skep_bytes text);

static void start_call(struct mix_call *call)
{
    struct mix_calls *calls = call->calls;
    const struct skep_mixer_expert *expert = &calls->experts->experts[call->expert];
    const struct skep_expert_request request = {
        .kind = calls->kind,
        .uid = skep_bytes_of(expert->uid, expert->uid_len),
        .peer = expert->peer,
        .tensors = call->tensors,
        .count = calls->pattern_count,
        .input_count = calls->input_count,
        .timeout_us = timeout_of(calls),
    };
    char why[SKEP_EXPERT_WHY_MAX] = "";
    int rc;

    calls->call_count++;
    call->call.done = on_done;
    rc = skep_expert_call_start(&call->call, calls->caller, &request, why, sizeof why);
    if (rc < 0) {
        fail_call(call, rc, why);
    } else {
        call->state = MIX_RUNS;
        calls->running++;
    }
}

/* One that cannot be started may add others, behind it. */
static void start_waiting(struct mix_calls *calls)
{
    while (calls->waits && calls->rc == 0) {
        struct mix_call *call = calls->waits;

        calls->waits = call->next;
        start_call(call);
    }
}

static void on_done(struct skep_expert_call *inner, int rc, skep_bytes text)
{
    struct mix_call *call = SKEP_CONTAINER_OF(inner, struct mix_call, call);
    struct mix_calls *calls = call->calls;
    char why[SKEP_PEER_TEXT_MAX + 1];

    skep_text_escape(why, sizeof why, text);
    if (rc == 0 && (rc = calls->accept(calls, call, why, sizeof why)) == 0)
        rc = take_answers(call);
    if (rc < 0) {
        fail_call(call, rc, why);
    } else {
        skep_expert_call_fini(inner);
        settle(call, MIX_ANSWERED);
        count_rows(call);
    }
    start_waiting(calls);
    look(calls);
}

/* Samples that have experts. */
static size_t count_samples(const struct mix_calls *calls)
{
    const struct mix_experts *experts = calls->experts;
    uint32_t *seen = calls->successes; /* nothing is counted yet: borrowed as marks */
    size_t count = 0;

    for (const struct mix_call *call = calls->first; call; call = call->next)
        for (size_t r = 0; r < call->rows; r++)
            seen[call->cells[r] / experts->columns] = 1;
    for (size_t i = 0; i < experts->batch; i++) {
        count += seen[i];
        seen[i] = 0;
    }
    return count;
}

void mix_calls_start(struct mix_calls *calls)
{
    uint64_t now_us = skep_env_now_us(calls->env);

    calls->finish_us = calls->timeout_us >= SKEP_NEVER_US - GRACE_US - now_us
                           ? SKEP_NEVER_US
                           : now_us + calls->timeout_us;
    calls->waiting_samples = count_samples(calls);
    if (calls->finish_us != SKEP_NEVER_US)
        set_timer(calls, calls->finish_us + GRACE_US);
    calls->starting = true;
    start_waiting(calls);
    calls->starting = false;
    look(calls);
}
