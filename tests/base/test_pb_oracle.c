/* SPDX-License-Identifier: MIT */
/* protobuf-c and ours on the message with the most kinds of fields: what one writes the other reads, for random values. */
#include "support/test.h"

#include "base/pb.h"
#include "proto/dht.pb-c.h"
#include "proto/runtime.pb-c.h"

enum { ITEMS_MAX = 12, BYTES_MAX = 300 };

struct model {
    size_t count, node_id_len;
    uint8_t node_id[20];
    size_t key_len[ITEMS_MAX], value_len[ITEMS_MAX];
    uint8_t keys[ITEMS_MAX][BYTES_MAX], values[ITEMS_MAX][BYTES_MAX];
    double expirations[ITEMS_MAX];
    bool in_cache[ITEMS_MAX];
};

static void random_model(struct model *m, uint64_t seed)
{
    struct skep_prng prng;

    memset(m, 0, sizeof *m);
    skep_prng_init(&prng, seed);
    m->count = skep_prng_below(&prng, ITEMS_MAX + 1);
    m->node_id_len = skep_prng_below(&prng, 2) * 20;
    skep_prng_fill(&prng, m->node_id, m->node_id_len);
    for (size_t i = 0; i < m->count; i++) {
        m->key_len[i] = skep_prng_below(&prng, 21);
        m->value_len[i] = skep_prng_below(&prng, 4) ? skep_prng_below(&prng, 20)
                                                    : skep_prng_below(&prng, BYTES_MAX);
        skep_prng_fill(&prng, m->keys[i], m->key_len[i]);
        skep_prng_fill(&prng, m->values[i], m->value_len[i]);
        m->expirations[i] = skep_prng_unit(&prng) * 2e9;
        m->in_cache[i] = skep_prng_below(&prng, 2);
    }
}

static void write_ours(struct skep_buf *buf, const struct model *m)
{
    size_t mark;

    for (size_t i = 0; i < m->count; i++)
        skep_pb_put_bytes(buf, 2, skep_bytes_of(m->keys[i], m->key_len[i]));
    for (size_t i = 0; i < m->count; i++)
        skep_pb_put_bytes(buf, 4, skep_bytes_of(m->values[i], m->value_len[i]));
    if (m->count > 0) {
        skep_pb_put_header(buf, 5, m->count * 8);
        for (size_t i = 0; i < m->count; i++) {
            uint8_t bits[8];

            skep_put_le64(bits, skep_bits_of_double(m->expirations[i]));
            skep_buf_put(buf, bits, sizeof bits);
        }
        skep_pb_put_header(buf, 6, m->count);
        for (size_t i = 0; i < m->count; i++)
            skep_buf_put_u8(buf, m->in_cache[i]);
    }
    mark = skep_pb_begin(buf, 7);
    if (m->node_id_len > 0)
        skep_pb_put_bytes(buf, 1, skep_bytes_of(m->node_id, m->node_id_len));
    skep_pb_end(buf, mark);
}

static void write_theirs(struct skep_buf *buf, struct model *m)
{
    SkepDht__StoreRequest request = SKEP_DHT__STORE_REQUEST__INIT;
    SkepDht__NodeInfo peer = SKEP_DHT__NODE_INFO__INIT;
    ProtobufCBinaryData keys[ITEMS_MAX], values[ITEMS_MAX];
    protobuf_c_boolean in_cache[ITEMS_MAX];
    uint8_t *to;

    for (size_t i = 0; i < m->count; i++) {
        keys[i] = (ProtobufCBinaryData){m->key_len[i], m->keys[i]};
        values[i] = (ProtobufCBinaryData){m->value_len[i], m->values[i]};
        in_cache[i] = m->in_cache[i];
    }
    request.n_keys = request.n_values = request.n_expiration_time = request.n_in_cache = m->count;
    request.keys = keys;
    request.values = values;
    request.expiration_time = m->expirations;
    request.in_cache = in_cache;
    request.peer = &peer;
    peer.node_id = (ProtobufCBinaryData){m->node_id_len, m->node_id};
    to = skep_buf_reserve(buf, skep_dht__store_request__get_packed_size(&request) + 1);
    assert_non_null(to);
    buf->len += skep_dht__store_request__pack(&request, to);
}

static void both_write_the_same_bytes(void **state)
{
    (void)state;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(1000); seed++) {
        static struct model model;
        struct skep_buf ours, theirs;

        random_model(&model, seed);
        skep_buf_init(&ours, &skep_mem_std);
        skep_buf_init(&theirs, &skep_mem_std);
        write_ours(&ours, &model);
        write_theirs(&theirs, &model);
        if (!skep_bytes_equal(skep_buf_view(&ours), skep_buf_view(&theirs)))
            fail_msg("SKEP_SEED=%llu: %s\nnot %s", (unsigned long long)seed,
                     test_hex(ours.data, ours.len), test_hex(theirs.data, theirs.len));
        skep_buf_fini(&ours);
        skep_buf_fini(&theirs);
    }
}

static void read_items(const struct skep_pb_field *field, struct model *m, size_t *at)
{
    switch (field->number) {
    case 2:
        m->key_len[at[2]] = field->bytes.len;
        skep_bytes_copy(m->keys[at[2]++], field->bytes);
        break;
    case 4:
        m->value_len[at[4]] = field->bytes.len;
        skep_bytes_copy(m->values[at[4]++], field->bytes);
        break;
    case 5:
        for (skep_bytes in = field->bytes; in.len > 0; skep_bytes_take(&in, 8))
            m->expirations[at[5]++] = skep_double_of_bits(skep_get_le64(in.data));
        break;
    case 6:
        for (size_t i = 0; i < field->bytes.len; i++)
            m->in_cache[at[6]++] = field->bytes.data[i];
        break;
    default: fail_msg("field %u", field->number);
    }
}

static void we_read_what_they_write(void **state)
{
    (void)state;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(1000); seed++) {
        static struct model model, got;
        size_t at[8] = {0};
        struct skep_buf theirs;
        struct skep_pb_reader reader;
        struct skep_pb_field field;

        random_model(&model, seed);
        memset(&got, 0, sizeof got);
        skep_buf_init(&theirs, &skep_mem_std);
        write_theirs(&theirs, &model);
        reader = skep_pb_read(skep_buf_view(&theirs));
        while (skep_pb_next(&reader, &field)) {
            if (field.number == 7) {
                struct skep_pb_reader peer = skep_pb_read(skep_pb_bytes(&reader, &field));

                while (skep_pb_next(&peer, &field)) {
                    got.node_id_len = skep_pb_bytes(&peer, &field).len;
                    skep_bytes_copy(got.node_id, field.bytes);
                }
                assert_int_equal(peer.rc, 0);
            } else {
                read_items(&field, &got, at);
            }
        }
        assert_int_equal(reader.rc, 0);
        got.count = at[2];
        if (memcmp(&got, &model, sizeof model) != 0)
            fail_msg("SKEP_SEED=%llu", (unsigned long long)seed);
        skep_buf_fini(&theirs);
    }
}

/* Random changes to a message: what they take as a message, we read to its end. (They skip groups, which nobody sends.) */
static void what_they_take_we_take(void **state)
{
    size_t taken = 0;

    (void)state;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(20000); seed++) {
        static struct model model;
        struct skep_prng prng;
        struct skep_buf buf;
        struct skep_pb_reader reader;
        struct skep_pb_field field;
        SkepDht__StoreRequest *theirs;

        random_model(&model, seed % 50 + 1);
        skep_prng_init(&prng, seed);
        skep_buf_init(&buf, &skep_mem_std);
        write_ours(&buf, &model);
        for (uint64_t n = skep_prng_below(&prng, 3); n > 0; n--)
            buf.data[skep_prng_below(&prng, buf.len)] = (uint8_t)skep_prng_u64(&prng);
        reader = skep_pb_read(skep_buf_view(&buf));
        while (skep_pb_next(&reader, &field))
            ;
        theirs = skep_dht__store_request__unpack(NULL, buf.len, buf.data);
        if (theirs && reader.rc < 0)
            fail_msg("SKEP_SEED=%llu: %s", (unsigned long long)seed, test_hex(buf.data, buf.len));
        taken += theirs != NULL;
        if (theirs)
            skep_dht__store_request__free_unpacked(theirs, NULL);
        skep_buf_fini(&buf);
    }
    if (test_seed_first() == 1)
        assert_true(taken > 5000);
}

static void a_tensor_of_ours_is_a_tensor_of_theirs(void **state)
{
    static const uint64_t sizes[] = {3, 300, 70000};
    SkepRuntime__Tensor *tensor;
    struct skep_buf buf;
    size_t mark;

    (void)state;
    skep_buf_init(&buf, &skep_mem_std);
    skep_pb_put_str(&buf, 1, "data");
    mark = skep_pb_begin(&buf, 2);
    for (size_t i = 0; i < 3; i++)
        skep_buf_put_varint(&buf, sizes[i]);
    skep_pb_end(&buf, mark);
    skep_pb_put_varint(&buf, 3, 1);
    skep_pb_put_str(&buf, 4, "float32");
    skep_pb_put_varint(&buf, 5, 2);
    skep_pb_put_varint(&buf, 6, 7);
    tensor = skep_runtime__tensor__unpack(NULL, buf.len, buf.data);
    assert_non_null(tensor);
    assert_int_equal(tensor->n_size, 3);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(tensor->size[i], sizes[i]);
    assert_memory_equal(tensor->buffer.data, "data", 4);
    assert_string_equal(tensor->dtype, "float32");
    assert_int_equal(tensor->compression, SKEP_RUNTIME__COMPRESSION_TYPE__FLOAT16);
    assert_int_equal(tensor->chunks, 7);
    assert_true(tensor->requires_grad);
    skep_runtime__tensor__free_unpacked(tensor, NULL);
    skep_buf_fini(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_write_the_same_bytes),
        cmocka_unit_test(we_read_what_they_write),
        cmocka_unit_test(what_they_take_we_take),
        cmocka_unit_test(a_tensor_of_ours_is_a_tensor_of_theirs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
