/* SPDX-License-Identifier: MIT */
#include "dht/rsa_validator.h"

#include "base/msgpack.h"

static const char owner_open[] = "[owner:", signature_open[] = "[signature:";

/* memmem of C: the first place of `needle` in `hay`, or NULL. */
static const uint8_t *find(skep_bytes hay, skep_bytes needle)
{
    while (hay.len >= needle.len) {
        const uint8_t *at = memchr(hay.data, needle.data[0], hay.len - needle.len + 1);

        if (!at)
            return NULL;
        if (memcmp(at, needle.data, needle.len) == 0)
            return at;
        skep_bytes_take(&hay, (size_t)(at - hay.data) + 1);
    }
    return NULL;
}

bool skep_rsa_next_mark(skep_bytes *in, const char *open, skep_bytes *whole, skep_bytes *content)
{
    skep_bytes opening = skep_bytes_str(open);
    const uint8_t *start;

    while (in->len > 0 && (start = find(*in, opening))) {
        size_t i;

        skep_bytes_take(in, (size_t)(start - in->data) + opening.len);
        /* At least one character that is no newline, then the first bracket. */
        for (i = 0; i < in->len && in->data[i] != '\n' && (i == 0 || in->data[i] != ']'); i++)
            ;
        if (i < in->len && in->data[i] == ']') {
            *content = skep_bytes_take(in, i);
            skep_bytes_take(in, 1);
            *whole = skep_bytes_of(start, opening.len + i + 1);
            return true;
        }
        if (i == in->len) {
            /* No bracket to the end: none for any later opening on this line either. */
            *in = (skep_bytes){in->data + in->len, 0};
        } else {
            skep_bytes_take(
                in, i); /* up to the newline, which no mark that opened before it can cross */
        }
    }
    return false;
}

/* The owner of a record. @return 1 with *owner set; 0 it is free for all; SKEP_EPEER_AUTH: several owners. */
static int find_owner(const struct skep_dht_signable *record, skep_bytes *owner)
{
    skep_bytes places[2] = {record->key, record->subkey}, whole, content;
    int found = 0;

    for (size_t i = 0; i < SKEP_COUNT_OF(places); i++)
        while (skep_rsa_next_mark(&places[i], owner_open, &whole, &content)) {
            if (found && !skep_bytes_equal(*owner, content))
                return SKEP_EPEER_AUTH;
            *owner = content;
            found = 1;
        }
    return found;
}

/* What is signed: msgpack of the tuple (key, subkey, value, expiration). */
static void put_signed(struct skep_buf *out, const struct skep_dht_signable *record,
                       skep_bytes value)
{
    struct skep_buf tuple;

    skep_buf_init(&tuple, out->mem);
    skep_msgpack_put_array(&tuple, 4);
    skep_msgpack_put_bin(&tuple, record->key);
    skep_msgpack_put_bin(&tuple, record->subkey);
    skep_msgpack_put_bin(&tuple, value);
    skep_msgpack_put_float(&tuple, record->expiration_unix_s);
    skep_msgpack_put_ext(out, SKEP_EXT_TUPLE, (uint32_t)tuple.len);
    skep_buf_put_bytes(out, skep_buf_view(&tuple));
    if (tuple.rc < 0)
        out->rc = tuple.rc;
    skep_buf_fini(&tuple);
}

/* The value without its signatures. @return how many there were; *signature is the last. */
static size_t cut_signatures(struct skep_buf *out, skep_bytes value, skep_bytes *signature)
{
    skep_bytes rest = value, whole;
    const uint8_t *from = value.data;
    size_t count = 0;

    while (skep_rsa_next_mark(&rest, signature_open, &whole, signature)) {
        skep_buf_put(out, from, (size_t)(whole.data - from));
        from = whole.data + whole.len;
        count++;
    }
    if (count > 0)
        skep_buf_put(out, from, value.len - (size_t)(from - value.data));
    return count;
}

static int verify(const struct skep_mem *mem, const struct skep_dht_signable *record,
                  skep_bytes owner, skep_bytes plain, skep_bytes base64)
{
    struct skep_buf message, signature;
    int rc;

    skep_buf_init(&message, mem);
    skep_buf_init(&signature, mem);
    put_signed(&message, record, plain);
    rc = skep_base64_decode(&signature, base64);
    if (message.rc < 0 || signature.rc < 0)
        rc = SKEP_ENOMEM;
    else if (rc < 0)
        rc = SKEP_EPEER_AUTH;
    else
        rc = skep_verify_pss(owner, skep_buf_view(&message), skep_buf_view(&signature));
    skep_buf_fini(&message);
    skep_buf_fini(&signature);
    return rc;
}

static int validate(struct skep_validator *validator, const struct skep_dht_signable *record)
{
    const struct skep_rsa_validator *v =
        SKEP_CONTAINER_OF(validator, struct skep_rsa_validator, base);
    skep_bytes owner, signature;
    struct skep_buf plain;
    size_t signatures;
    int rc = find_owner(record, &owner);

    if (rc <= 0)
        return rc;
    skep_buf_init(&plain, v->mem);
    signatures = cut_signatures(&plain, record->value, &signature);
    if (plain.rc < 0)
        rc = plain.rc;
    else if (signatures != 1)
        rc = SKEP_EPEER_AUTH;
    else
        rc = verify(v->mem, record, owner, skep_buf_view(&plain), signature);
    skep_buf_fini(&plain);
    return rc;
}

static int sign_message(const struct skep_rsa_validator *v, const struct skep_dht_signable *record,
                        struct skep_buf *signature)
{
    struct skep_buf message;
    int rc;

    skep_buf_init(&message, v->mem);
    put_signed(&message, record, record->value);
    rc = message.rc < 0 ? message.rc : skep_sign_pss(v->key, skep_buf_view(&message), signature);
    skep_buf_fini(&message);
    return rc;
}

static int sign(struct skep_validator *validator, const struct skep_dht_signable *record,
                struct skep_buf *out)
{
    const struct skep_rsa_validator *v =
        SKEP_CONTAINER_OF(validator, struct skep_rsa_validator, base);
    skep_bytes mark = skep_buf_view(&v->owner_mark);
    struct skep_buf signature;
    int rc;

    if (!v->key || (!find(record->key, mark) && !find(record->subkey, mark)))
        return 0;
    skep_buf_init(&signature, v->mem);
    rc = sign_message(v, record, &signature);
    if (rc == 0) {
        skep_buf_put_bytes(out, record->value);
        skep_buf_put_str(out, signature_open);
        skep_base64_encode(out, skep_buf_view(&signature));
        skep_buf_put_u8(out, ']');
        rc = out->rc < 0 ? out->rc : 1;
    }
    skep_buf_fini(&signature);
    return rc;
}

static int strip(struct skep_validator *validator, const struct skep_dht_signable *record,
                 struct skep_buf *out)
{
    skep_bytes signature;

    (void)validator;
    if (cut_signatures(out, record->value, &signature) == 0)
        return 0;
    return out->rc < 0 ? out->rc : 1;
}

static const struct skep_validator_class rsa_class;

/* A second one would check the same again. */
static bool merge(struct skep_validator *validator, const struct skep_validator *other)
{
    (void)validator;
    return other->class == &rsa_class;
}

static const struct skep_validator_class rsa_class = {.name = "rsa",
                                                      .priority = 10,
                                                      .validate = validate,
                                                      .sign = sign,
                                                      .strip = strip,
                                                      .merge = merge};

int skep_rsa_validator_init(struct skep_rsa_validator *v, const struct skep_mem *mem,
                            const struct skep_private_key *key)
{
    int rc = 0;

    *v = (struct skep_rsa_validator){.base = {&rsa_class}, .mem = mem, .key = key};
    skep_buf_init(&v->owner_mark, mem);
    if (!key)
        return 0;
    if (skep_private_key_type(key) != SKEP_KEY_RSA)
        return SKEP_EKEY;
    skep_buf_put_str(&v->owner_mark, owner_open);
    rc = skep_private_key_openssh(key, &v->owner_mark);
    skep_buf_put_u8(&v->owner_mark, ']');
    if (rc == 0)
        rc = v->owner_mark.rc;
    if (rc < 0)
        skep_buf_fini(&v->owner_mark);
    return rc;
}

void skep_rsa_validator_fini(struct skep_rsa_validator *v)
{
    skep_buf_fini(&v->owner_mark);
}
