/* SPDX-License-Identifier: MIT */
/* Validators that a program adds, and hivemind's signed records as one of them. See include/skep/dht.h; docs/wire.md c.6. */
#include "api/api.h"

#include "crypto/sign.h"
#include "dht/rsa_validator.h"

skep_bytes skep_api_pack_bytes(const skep_pack *pack);

enum { RSA_BITS = 2048 };

struct api_validator {
    struct skep_list entry; /* node->validators */
    struct skep_validator inner;
    struct skep_validator_class class;
    skep_record_validator user;
    /* hivemind's own kind */
    bool is_rsa;
    struct skep_rsa_validator rsa;
    struct skep_private_key *key;
};

static struct api_validator *validator_of(struct skep_validator *inner)
{
    return SKEP_CONTAINER_OF(inner, struct api_validator, inner);
}

static skep_record record_out(const struct skep_dht_signable *record)
{
    skep_record out = {.subkey = api_view(record->subkey),
                       .value = api_view(record->value),
                       .expiration_unix_s = record->expiration_unix_s};

    memcpy(&out.key, record->key.data, SKEP_MIN(record->key.len, sizeof out.key));
    return out;
}

static int on_validate(struct skep_validator *inner, const struct skep_dht_signable *signable)
{
    struct api_validator *validator = validator_of(inner);
    skep_record record = record_out(signable);

    return validator->user.validate(validator->user.user_data, &record) ? 0 : SKEP_EPEER_AUTH;
}

static int change(struct api_validator *validator, const struct skep_dht_signable *signable,
                  struct skep_buf *out,
                  int (*fn)(void *user_data, const skep_record *record, skep_pack *out))
{
    skep_record record = record_out(signable);
    skep_pack *pack = skep_pack_new();
    int rc;

    if (!pack)
        return SKEP_ENOMEM;
    if ((rc = fn(validator->user.user_data, &record, pack)) == 0) {
        skep_buf_put_bytes(out, skep_api_pack_bytes(pack));
        rc = out->rc < 0 ? out->rc : 1;
    }
    skep_pack_free(pack);
    return rc < 0 && rc != SKEP_ENOMEM ? SKEP_ECRYPTO : rc;
}

static int on_sign(struct skep_validator *inner, const struct skep_dht_signable *record,
                   struct skep_buf *out)
{
    struct api_validator *validator = validator_of(inner);

    return change(validator, record, out, validator->user.sign);
}

static int on_strip(struct skep_validator *inner, const struct skep_dht_signable *record,
                    struct skep_buf *out)
{
    struct api_validator *validator = validator_of(inner);

    return change(validator, record, out, validator->user.strip);
}

static void validator_free(struct api_validator *validator)
{
    if (validator->is_rsa)
        skep_rsa_validator_fini(&validator->rsa);
    skep_private_key_free(validator->key);
    skep_mem_free(API_MEM, validator);
}

/* On the loop. A validator that one of hivemind's kind has taken in is still ours to free. */
static int add(skep_node *node, void *arg)
{
    struct api_validator *validator = arg;
    int rc;

    if (node->closing)
        return SKEP_ECLOSED;
    rc = skep_validators_add(skep_dht_validators(node->dht),
                             validator->is_rsa ? &validator->rsa.base : &validator->inner);
    if (rc >= 0)
        skep_list_push_back(&node->validators, &validator->entry);
    return SKEP_MIN(rc, 0);
}

static int hand_over(skep_node *node, struct api_validator *validator)
{
    int rc = skep_api_call(node->core, add, validator);

    if (rc == 0)
        return 0;
    validator_free(validator);
    return skep_api_fail(rc, "cannot add the validator: %s", skep_strerror(rc));
}

int skep_dht_add_validator(skep_node *node, const skep_record_validator *user)
{
    struct api_validator *validator;

    if (skep_api_need(node, "node") < 0)
        return SKEP_EINVAL;
    if (!node->dht)
        return skep_api_fail(SKEP_EINVAL, "the node has no DHT (options.no_dht)");
    if (!user || !user->validate)
        return skep_api_fail(SKEP_EINVAL, "the validator has no validate function");
    if (!(validator = skep_mem_zalloc(API_MEM, 1, sizeof *validator)))
        return skep_api_fail(SKEP_ENOMEM, "out of memory");
    validator->user = *user;
    validator->class = (struct skep_validator_class){.name = "program",
                                                     .priority = user->priority,
                                                     .validate = on_validate,
                                                     .sign = user->sign ? on_sign : NULL,
                                                     .strip = user->strip ? on_strip : NULL};
    validator->inner.class = &validator->class;
    return hand_over(node, validator);
}

static int make_key(struct api_validator *validator, skep_view pem)
{
    if (pem.len > 0)
        return skep_private_key_from_pem(&validator->key, API_MEM, api_bytes(pem));
    return skep_private_key_new_rsa(&validator->key, API_MEM, RSA_BITS);
}

int skep_dht_add_rsa_validator(skep_node *node, skep_view pem, char **owner)
{
    struct api_validator *validator;
    skep_bytes mark;
    int rc;

    if (owner)
        *owner = NULL;
    if ((rc = skep_api_need(node, "node")) < 0 || (rc = skep_api_need_bytes(pem, "PEM")) < 0)
        return rc;
    if (!node->dht)
        return skep_api_fail(SKEP_EINVAL, "the node has no DHT (options.no_dht)");
    if (!(validator = skep_mem_zalloc(API_MEM, 1, sizeof *validator)))
        return skep_api_fail(SKEP_ENOMEM, "out of memory");
    if ((rc = make_key(validator, pem)) < 0 ||
        (rc = skep_rsa_validator_init(&validator->rsa, API_MEM, validator->key)) < 0) {
        validator_free(validator);
        return skep_api_fail(rc, "not a usable RSA key in PEM: %s", skep_strerror(rc));
    }
    validator->is_rsa = true;
    mark = skep_rsa_validator_owner_mark(&validator->rsa);
    if (owner && (*owner = skep_mem_zalloc(API_MEM, 1, mark.len + 1)))
        skep_bytes_copy(*owner, mark);
    if ((owner && !*owner) || (rc = hand_over(node, validator)) < 0) {
        if (owner && !*owner)
            validator_free(validator);
        else if (owner)
            skep_free(*owner);
        if (owner)
            *owner = NULL;
        return rc < 0 ? rc : skep_api_fail(SKEP_ENOMEM, "out of memory");
    }
    return 0;
}

void skep_api_validators_close(skep_node *node)
{
    while (!skep_list_empty(&node->validators)) {
        struct api_validator *validator =
            SKEP_LIST_ITEM(node->validators.next, struct api_validator, entry);

        skep_list_remove(&validator->entry);
        if (!validator->is_rsa && validator->user.release)
            validator->user.release(validator->user.user_data);
        validator_free(validator);
    }
}
