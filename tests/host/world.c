/* SPDX-License-Identifier: MIT */
#include "world.h"

static const struct skep_sim_net_options usual_net = {
    .delay_us_min = 1 * MS, .delay_us_max = 3 * MS, .chunk_max = 700};

void world_init(struct world *world, uint64_t seed, const struct skep_sim_net_options *options)
{
    struct skep_sim_net_options net = options ? *options : usual_net;

    memset(world, 0, sizeof *world);
    test_env_init(&world->env, seed);
    net.seed = net.seed != 0 ? net.seed : seed;
    assert_int_equal(skep_sim_net_new(&world->net, &world->env.env, &net), 0);
}

void world_fini(struct world *world)
{
    for (size_t i = 0; i < world->count; i++) {
        skep_host_free(world->nodes[i].host);
        skep_identity_fini(&world->nodes[i].identity);
    }
    assert_int_equal(skep_sim_net_link_count(world->net), 0);
    skep_sim_net_free(world->net);
    test_env_fini(&world->env);
}

int world_try_add(struct world *world, const struct skep_host_options *options)
{
    struct skep_host_options with =
        options ? *options : (struct skep_host_options){.kad_server = true};
    struct node *node = &world->nodes[world->count];
    struct skep_transport *transport;
    uint8_t seed[32];
    int rc;

    assert_true(world->count < WORLD_HOSTS_MAX);
    memset(node, 0, sizeof *node);
    skep_prng_fill(&world->env.prng, seed, sizeof seed);
    if ((rc = skep_identity_from_seed(&node->identity, world->env.env.mem, seed)) < 0)
        return rc;
    world->count++;
    node->ip[0] = 10;
    node->ip[3] = (uint8_t)world->count;
    transport = skep_sim_net_transport(world->net, node->ip);
    if (!transport)
        return SKEP_ENOMEM;
    with.identity = &node->identity;
    if ((rc = skep_host_new(&node->host, &world->env.env, transport, &with)) < 0)
        return rc;
    memcpy(node->addr.ip, node->ip, 4);
    node->addr.port = 4001;
    node->addr.peer = node->identity.id;
    return skep_host_listen(node->host, &node->addr);
}

struct node *world_add(struct world *world, const struct skep_host_options *options)
{
    assert_int_equal(world_try_add(world, options), 0);
    return &world->nodes[world->count - 1];
}

void world_run(struct world *world, uint64_t us)
{
    test_env_advance(&world->env, us);
}

void world_knows(struct node *who, const struct node *whom)
{
    skep_host_add_address(who->host, &whom->identity.id, &whom->addr);
}

static void on_done(struct skep_host_request *request, int rc)
{
    struct asked *asked = SKEP_CONTAINER_OF(request, struct asked, request);

    asked->done++;
    asked->rc = rc;
}

void asked_init(struct asked *asked)
{
    memset(asked, 0, sizeof *asked);
    asked->request.done = on_done;
}

int world_connect(struct world *world, struct node *from, const struct node *to)
{
    struct asked asked;
    int rc;

    asked_init(&asked);
    rc = skep_host_connect(from->host, &asked.request, &to->identity.id, &to->addr, 0);
    if (rc < 0)
        return rc;
    assert_int_equal(asked.done, 0);
    for (int i = 0; i < 20000 && !asked.done; i++)
        world_run(world, 1 * MS);
    assert_int_equal(asked.done, 1);
    return asked.rc;
}

/* ---- users of streams ---- */

void user_init(struct user *user)
{
    memset(user, 0, sizeof *user);
    skep_buf_init(&user->got, &skep_mem_std);
}

void user_fini(struct user *user)
{
    skep_buf_fini(&user->got);
}

static void on_open(struct skep_stream *stream, void *data)
{
    struct user *user = data;

    assert_ptr_equal(stream, user->stream);
    assert_int_equal(user->got.len, 0);
    user->opened++;
}

static void on_data(struct skep_stream *stream, void *data, skep_bytes bytes)
{
    struct user *user = data;

    assert_false(user->eof || user->closed);
    assert_true(bytes.len > 0);
    skep_buf_put_bytes(&user->got, bytes);
    if (user->echo)
        (void)skep_stream_write(stream, bytes);
    if (!user->hold)
        skep_stream_consume(stream, bytes.len);
}

static void on_writable(struct skep_stream *stream, void *data)
{
    struct user *user = data;

    assert_true(skep_stream_queued(stream) < SKEP_STREAM_LOW_WATER);
    user->writable++;
}

static void on_eof(struct skep_stream *stream, void *data)
{
    struct user *user = data;

    assert_int_equal(user->eof, 0);
    user->eof++;
    if (user->echo)
        skep_stream_close_write(stream);
}

static void on_close(struct skep_stream *stream, void *data, int rc)
{
    struct user *user = data;

    assert_int_equal(user->closed, 0);
    assert_ptr_equal(stream, user->stream);
    assert_true(skep_stream_peer(stream)->len > 0);
    user->closed++;
    user->rc = rc;
    user->stream = NULL;
}

const struct skep_stream_events user_events = {on_open, on_data, on_writable, on_eof, on_close};

int user_open(struct user *user, struct node *from, const struct node *to, const char *protocol)
{
    return skep_host_open(from->host, &user->stream, &to->identity.id, protocol, &user_events,
                          user);
}

static void ignore_data(struct skep_stream *stream, void *user, skep_bytes data)
{
    (void)user;
    skep_stream_consume(stream, data.len);
}

static void ignore_close(struct skep_stream *stream, void *user, int rc)
{
    (void)stream;
    (void)user;
    (void)rc;
}

static const struct skep_stream_events ignore_events = {.on_data = ignore_data,
                                                        .on_close = ignore_close};

void service_on_stream(void *data, struct skep_stream *stream)
{
    struct service *service = data;
    struct user *user;

    if (service->refuse) {
        skep_stream_reset(stream);
        return;
    }
    if (service->ignore) {
        skep_stream_use(stream, &ignore_events, NULL);
        return;
    }
    assert_true(service->count < SKEP_COUNT_OF(service->users));
    user = &service->users[service->count++];
    user_init(user);
    user->stream = stream;
    user->protocol = skep_stream_protocol(stream);
    user->echo = service->echo;
    user->hold = service->hold;
    skep_stream_use(stream, &user_events, user);
}

void service_fini(struct service *service)
{
    for (size_t i = 0; i < service->count; i++)
        user_fini(&service->users[i]);
    service->count = 0;
}
