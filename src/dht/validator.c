/* SPDX-License-Identifier: MIT */
#include "dht/validator.h"

void skep_validators_init(struct skep_validators *validators, const struct skep_mem *mem)
{
    *validators = (struct skep_validators){.mem = mem};
}

void skep_validators_fini(struct skep_validators *validators)
{
    skep_mem_free(validators->mem, validators->list);
    *validators = (struct skep_validators){.mem = validators->mem};
}

static size_t place_of(const struct skep_validators *validators,
                       const struct skep_validator *validator)
{
    size_t i = 0;

    while (i < validators->count && validators->list[i] != validator)
        i++;
    return i;
}

static bool merge(struct skep_validators *validators, struct skep_validator *validator)
{
    for (size_t i = 0; i < validators->count; i++) {
        struct skep_validator *here = validators->list[i];

        if (here->class->merge && here->class->merge(here, validator))
            return true;
    }
    return false;
}

int skep_validators_add(struct skep_validators *validators, struct skep_validator *validator)
{
    size_t at = validators->count;

    if (place_of(validators, validator) < validators->count)
        return SKEP_EEXIST;
    if (merge(validators, validator))
        return 0;
    if (validators->count == validators->cap) {
        size_t cap = validators->cap > 0 ? 2 * validators->cap : 4;
        void *grown =
            skep_mem_resize(validators->mem, validators->list, cap * sizeof *validators->list);

        if (!grown)
            return SKEP_ENOMEM;
        validators->list = grown;
        validators->cap = cap;
    }
    for (; at > 0 && validators->list[at - 1]->class->priority > validator->class->priority; at--)
        validators->list[at] = validators->list[at - 1];
    validators->list[at] = validator;
    validators->count++;
    return 1;
}

bool skep_validators_remove(struct skep_validators *validators,
                            const struct skep_validator *validator)
{
    size_t at = place_of(validators, validator);

    if (at == validators->count)
        return false;
    validators->count--;
    memmove(validators->list + at, validators->list + at + 1,
            (validators->count - at) * sizeof *validators->list);
    return true;
}

/* Each step writes into the writer that does not hold its input; they change places when it did. */
struct steps {
    struct skep_dht_signable record; /* `value` is what the steps so far made of it */
    struct skep_buf made, next;
};

static void steps_init(struct steps *steps, const struct skep_validators *validators,
                       const struct skep_dht_signable *record)
{
    steps->record = *record;
    skep_buf_init(&steps->made, validators->mem);
    skep_buf_init(&steps->next, validators->mem);
}

static void steps_fini(struct steps *steps)
{
    skep_buf_fini(&steps->made);
    skep_buf_fini(&steps->next);
}

typedef int change(struct skep_validator *validator, const struct skep_dht_signable *record,
                   struct skep_buf *out);

static int step(struct steps *steps, struct skep_validator *validator, change *apply)
{
    struct skep_buf made;
    int rc;

    if (!apply)
        return 0;
    skep_buf_clear(&steps->next);
    rc = apply(validator, &steps->record, &steps->next);
    if (rc >= 0 && steps->next.rc < 0)
        rc = steps->next.rc;
    if (rc <= 0)
        return rc;
    made = steps->made;
    steps->made = steps->next;
    steps->next = made;
    steps->record.value = skep_buf_view(&steps->made);
    return 0;
}

int skep_validators_validate(const struct skep_validators *validators,
                             const struct skep_dht_signable *record)
{
    struct steps steps;
    int rc = 0;

    steps_init(&steps, validators, record);
    for (size_t i = validators->count; i > 0 && rc == 0; i--) {
        struct skep_validator *validator = validators->list[i - 1];

        rc = validator->class->validate(validator, &steps.record);
        if (rc == 0 && i > 1)
            rc = step(&steps, validator, validator->class->strip);
    }
    steps_fini(&steps);
    return rc;
}

/* The result goes to the caller's writer, unless it is the record's own value still. */
static int hand_over(const struct steps *steps, const struct skep_dht_signable *record,
                     struct skep_buf *scratch, skep_bytes *value)
{
    *value = record->value;
    if (steps->record.value.data == record->value.data)
        return 0;
    skep_buf_clear(scratch);
    skep_buf_put_bytes(scratch, steps->record.value);
    *value = skep_buf_view(scratch);
    return scratch->rc;
}

int skep_validators_sign(const struct skep_validators *validators,
                         const struct skep_dht_signable *record, struct skep_buf *scratch,
                         skep_bytes *value)
{
    struct steps steps;
    int rc = 0;

    steps_init(&steps, validators, record);
    for (size_t i = 0; i < validators->count && rc == 0; i++)
        rc = step(&steps, validators->list[i], validators->list[i]->class->sign);
    if (rc == 0)
        rc = hand_over(&steps, record, scratch, value);
    steps_fini(&steps);
    return rc;
}

int skep_validators_strip(const struct skep_validators *validators,
                          const struct skep_dht_signable *record, struct skep_buf *scratch,
                          skep_bytes *value)
{
    struct steps steps;
    int rc = 0;

    steps_init(&steps, validators, record);
    for (size_t i = validators->count; i > 0 && rc == 0; i--)
        rc = step(&steps, validators->list[i - 1], validators->list[i - 1]->class->strip);
    if (rc == 0)
        rc = hand_over(&steps, record, scratch, value);
    steps_fini(&steps);
    return rc;
}
