/* SPDX-License-Identifier: MIT */
/* A class of experts: what an expert computes. skep's own (ffn, transformer, det_dropout, nop, nop_delay) are written against this header, and so is
 * yours: a shared object that defines `skep_expert_class_get` is loaded by `skep serve --class ./myexpert.so`. examples/expert_scale.c is one.
 *
 * A class says which tensors go in and out and which parameters there are; skep makes the parameters, draws their first values, keeps them in
 * checkpoints, forms batches, and trains them. The class only computes, on a worker thread: it must not block, and must not keep state between
 * calls beyond its parameters. One expert is never computed twice at the same time; different experts of a class may be. */
#ifndef SKEP_EXPERT_CLASS_H
#define SKEP_EXPERT_CLASS_H

#include <skep/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SKEP_CLASS_ABI = 1,
    SKEP_CLASS_TENSORS_MAX = 16, /* inputs of an expert, and outputs */
    SKEP_CLASS_PARAMETERS_MAX = 64,
    SKEP_PARAMETER_AXES_MAX = 4
};

/** First values of a parameter. */
typedef enum skep_init {
    SKEP_INIT_CONSTANT, /* init_value everywhere */
    SKEP_INIT_UNIFORM   /* uniform in [-init_value, init_value) */
} skep_init;

typedef struct skep_parameter_schema {
    const char *name; /* as torch names it: "ffn.weight"; checkpoints have "module.ffn.weight" */
    size_t axes;
    size_t shape[SKEP_PARAMETER_AXES_MAX];
    skep_init init;
    double init_value;
} skep_parameter_schema;

/** Filled by a class's open(): zeroed before. Texts must live as long as the class is loaded. Parameters are float32. */
typedef struct skep_class_schema {
    skep_tensor_schema inputs[SKEP_CLASS_TENSORS_MAX]; /* compression is the server's to say */
    size_t input_count; /* positional ones first, then those with a name, sorted by it */
    skep_tensor_schema outputs[SKEP_CLASS_TENSORS_MAX];
    size_t output_count;
    skep_parameter_schema parameters[SKEP_CLASS_PARAMETERS_MAX];
    size_t parameter_count;
    /** It runs on the network's thread: for what takes microseconds. */
    bool cheap;
    /** backward() has made sure that no gradient it hands out is NaN, infinite or above 1e18 before it hands out the first, and
     *  uses no parameter after it handed out its gradient: then skep applies each at once, while it is in the processor's cache. It hands out the
     *  pieces of a parameter in the order of their offsets, and does not fail once it has begun. */
    bool gradients_are_final;
    /** What it answers is sent so much later; nothing is blocked meanwhile. */
    uint64_t delay_us;
} skep_class_schema;

typedef struct skep_pass skep_pass;

/** One forward or backward of one expert over one batch. */
struct skep_pass {
    void *state;                    /* what open() gave */
    size_t rows;                    /* of the batch: at least 1 */
    const float *const *parameters; /* [parameter_count], in the order of the schema */
    uint64_t seed;                  /* fresh for each pass, for classes that draw */
    bool frozen; /* nothing is trained: gradients of parameters may be left out */
    /** Scratch memory, not initialised, aligned to 64 bytes, freed when the pass ends. @return NULL: there is none; return SKEP_ENOMEM then. */
    void *(*alloc)(skep_pass *pass, size_t len);
    /** C[m][n] = alpha * op(A) op(B) + beta * C, row-major, op 'N' or 'T'; lda, ldb, ldc: numbers from a row of the matrix as it is stored to its next. */
    void (*sgemm)(char op_a, char op_b, size_t m, size_t n, size_t k, float alpha, const float *a,
                  size_t lda, const float *b, size_t ldb, float beta, float *c, size_t ldc);
    /** Of backward(): the sum over the batch of a parameter's gradient, `count` numbers from `offset` on, each number once. What a backward hands out
     *  nothing for is zero. */
    void (*gradient)(skep_pass *pass, size_t parameter, size_t offset, const float *gradient,
                     size_t count);
};

typedef struct skep_expert_class {
    unsigned abi; /* SKEP_CLASS_ABI */
    const char *name;
    /** @param hidden   --hidden: the main dimension.
     *  @param options  --class-options: "dropout=0"; NULL or "" where there are none.
     *  @param state    what passes get; may be left NULL.
     *  @param why      one line on what is wrong with hidden or options.
     *  @return 0; SKEP_EINVAL, SKEP_ENOMEM. */
    int (*open)(size_t hidden, const char *options, skep_class_schema *schema, void **state,
                char *why, size_t why_len);
    void (*close)(void *state); /* may be NULL */
    /** inputs as the schema says, checked, `rows` of each. @param outputs  where each output's numbers go. @return 0; SKEP_ENOMEM, SKEP_EVALUE … */
    int (*forward)(skep_pass *pass, const skep_tensor *inputs, void *const *outputs);
    /** @param grad_outputs  one an output, of its shape and type.
     *  @param grad_inputs   where each input's gradient goes, of the input's type; NULL for inputs that are not floating point (theirs is zero). */
    int (*backward)(skep_pass *pass, const skep_tensor *inputs, const skep_tensor *grad_outputs,
                    void *const *grad_inputs);
} skep_expert_class;

/** What a shared object defines. */
typedef const skep_expert_class *skep_expert_class_get_fn(void);

#ifdef __cplusplus
}
#endif
#endif
