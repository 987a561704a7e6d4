/* SPDX-License-Identifier: MIT */
#include "peer/key.h"

#include "base/pb.h"
#include "crypto/secret.h"

enum { FIELD_TYPE = 1, FIELD_DATA = 2 };

static void put_key_message(struct skep_buf *out, enum skep_key_type type, skep_bytes data)
{
    skep_pb_put_varint(out, FIELD_TYPE,
                       (uint64_t)type); /* required in proto2: written also when it is 0 */
    skep_pb_put_bytes(out, FIELD_DATA, data);
}

int skep_identity_init(struct skep_identity *identity, const struct skep_mem *mem,
                       struct skep_private_key *key)
{
    struct skep_buf data;
    int rc;

    *identity = (struct skep_identity){.key = key};
    skep_buf_init(&identity->public_key, mem);
    skep_buf_init(&data, mem);
    if ((rc = skep_private_key_public(key, &data)) < 0)
        goto out;
    put_key_message(&identity->public_key, skep_private_key_type(key), skep_buf_view(&data));
    if ((rc = identity->public_key.rc) < 0)
        goto out;
    skep_peer_id_from_public_key(&identity->id, skep_buf_view(&identity->public_key));
out:
    skep_buf_fini(&data);
    if (rc < 0)
        skep_identity_fini(identity);
    return rc;
}

int skep_identity_from_seed(struct skep_identity *identity, const struct skep_mem *mem,
                            const uint8_t seed[SKEP_ED25519_LEN])
{
    struct skep_private_key *key;
    int rc = skep_private_key_from_ed25519(&key, mem, seed);

    *identity = (struct skep_identity){0};
    return rc < 0 ? rc : skep_identity_init(identity, mem, key);
}

void skep_identity_fini(struct skep_identity *identity)
{
    skep_private_key_free(identity->key);
    skep_buf_fini(&identity->public_key);
    *identity = (struct skep_identity){0};
}

/* Seed ‖ public key, or the older form with the public key once more behind it (peer-ids, "Ed25519"). */
static int identity_of_ed25519(struct skep_identity *identity, const struct skep_mem *mem,
                               skep_bytes data)
{
    enum { LEN = SKEP_ED25519_LEN };
    uint8_t public_key[LEN];
    skep_bytes inside;
    int rc;

    if (data.len != (size_t)2 * LEN && data.len != (size_t)3 * LEN)
        return SKEP_EKEY;
    if (data.len == (size_t)3 * LEN &&
        memcmp(data.data + LEN, data.data + (size_t)2 * LEN, LEN) != 0)
        return SKEP_EKEY;
    if ((rc = skep_identity_from_seed(identity, mem, data.data)) < 0)
        return rc;
    /* A file whose halves disagree was damaged, and p2pd refuses it too. */
    inside = skep_buf_view(&identity->public_key);
    memcpy(public_key, inside.data + inside.len - LEN, LEN);
    if (!skep_secret_equal(public_key, data.data + LEN, LEN)) {
        skep_identity_fini(identity);
        return SKEP_EKEY;
    }
    return 0;
}

int skep_identity_parse(struct skep_identity *identity, const struct skep_mem *mem, skep_bytes file)
{
    struct skep_pb_reader reader = skep_pb_read(file);
    struct skep_pb_field field;
    struct skep_private_key *key;
    uint64_t type = UINT64_MAX;
    skep_bytes data = {0};
    int rc;

    *identity = (struct skep_identity){0};
    if (file.len > SKEP_IDENTITY_FILE_MAX)
        return SKEP_EKEY;
    while (skep_pb_next(&reader, &field)) {
        if (field.number == FIELD_TYPE)
            type = skep_pb_varint(&reader, &field);
        else if (field.number == FIELD_DATA)
            data = skep_pb_bytes(&reader, &field);
    }
    if (reader.rc < 0)
        return SKEP_EKEY;
    if (type == SKEP_KEY_ED25519)
        return identity_of_ed25519(identity, mem, data);
    if (type != SKEP_KEY_RSA)
        return SKEP_EKEY;
    if ((rc = skep_private_key_from_rsa_der(&key, mem, data)) < 0)
        return rc;
    return skep_identity_init(identity, mem, key);
}

int skep_identity_serialize(const struct skep_identity *identity, struct skep_buf *file)
{
    struct skep_buf data;
    int rc;

    skep_buf_init(&data, file->mem);
    if ((rc = skep_private_key_export(identity->key, &data)) == 0) {
        put_key_message(file, skep_private_key_type(identity->key), skep_buf_view(&data));
        rc = file->rc;
    }
    skep_secret_wipe(data.data, data.cap);
    skep_buf_fini(&data);
    return rc;
}

/* peer-ids, "Keys": the encoding is deterministic (both fields, in order, shortest varints, no others). We insist, because a
 * peer id hashes these bytes, and one key must not have two ids. */
int skep_public_key_parse(skep_bytes message, enum skep_key_type *type, skep_bytes *data)
{
    uint64_t len;
    size_t len_len;

    if (message.len > SKEP_PUBLIC_KEY_MESSAGE_MAX || message.len < 4)
        return SKEP_EPEER_AUTH;
    if (message.data[0] != 0x08 || message.data[1] > SKEP_KEY_ECDSA || message.data[2] != 0x12)
        return SKEP_EPEER_AUTH;
    *type = (enum skep_key_type)message.data[1];
    skep_bytes_take(&message, 3);
    len_len = message.len;
    if (skep_varint_decode(&message, &len) <= 0)
        return SKEP_EPEER_AUTH;
    len_len -= message.len;
    if (len_len != skep_varint_len(len) || len != message.len)
        return SKEP_EPEER_AUTH;
    *data = message;
    return 0;
}

int skep_public_key_verify(skep_bytes message, skep_bytes signed_data, skep_bytes signature)
{
    enum skep_key_type type;
    skep_bytes data;

    if (skep_public_key_parse(message, &type, &data) < 0)
        return SKEP_EPEER_AUTH;
    return skep_verify(type, data, signed_data, signature);
}
