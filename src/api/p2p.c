/* SPDX-License-Identifier: MIT */
/* Peers: connecting, ping, identify, finding, waiting for them, and our own addresses. See include/skep/p2p.h. */
#include "api/api.h"

#include <stdio.h>

/* ---- operations over one host request ---- */

enum peer_verb { VERB_CONNECT, VERB_PING, VERB_IDENTIFY, VERB_FIND };

struct peer_op {
    skep_op op;
    struct skep_host_request request;
    enum peer_verb verb;
    bool running, has_peer, has_addr, described;
    struct skep_peer_id peer;
    struct skep_multiaddr addr;
    uint64_t timeout_us, end_us;
    skep_peer answered;
    uint64_t rtt_us;
    skep_peer_description description;
    void (*then)(struct peer_op *op, skep_node *node); /* the next step of more than one */
};

static struct peer_op *peer_op_of(skep_op *op)
{
    return SKEP_CONTAINER_OF(op, struct peer_op, op);
}

static const struct peer_op *const_peer_op_of(const skep_op *op)
{
    return (const struct peer_op *)(const void *)op;
}

static char *maddr_text(struct api_arena *arena, const struct skep_multiaddr *addr)
{
    char text[SKEP_MULTIADDR_TEXT_MAX];

    return skep_api_arena_str(arena, skep_bytes_str(skep_multiaddr_text(text, addr)));
}

static int describe_lists(struct peer_op *op, const struct skep_peer_info *info)
{
    struct api_arena *arena = &op->op.arena;
    const char **protocols =
        skep_api_arena_alloc(arena, info->protocol_count + 1, sizeof *protocols);
    const char **listen = skep_api_arena_alloc(arena, info->listen_addr_count + 1, sizeof *listen);

    if (!protocols || !listen)
        return SKEP_ENOMEM;
    for (size_t i = 0; i < info->protocol_count; i++)
        if (!(protocols[i] = skep_api_arena_str(arena, skep_bytes_str(info->protocols[i]))))
            return SKEP_ENOMEM;
    for (size_t i = 0; i < info->listen_addr_count; i++)
        if (!(listen[i] = maddr_text(arena, &info->listen_addrs[i])))
            return SKEP_ENOMEM;
    op->description.protocols = protocols;
    op->description.protocol_count = info->protocol_count;
    op->description.listen = listen;
    op->description.listen_count = info->listen_addr_count;
    return 0;
}

static bool has_address(const struct skep_multiaddr *addr)
{
    return addr->port != 0;
}

static int describe(struct peer_op *op, skep_node *node)
{
    skep_peer_description *to = &op->description;
    struct api_arena *arena = &op->op.arena;
    struct skep_peer_info info;
    int rc;

    if ((rc = skep_host_peer_info(node->host, &op->peer, &info)) < 0)
        return rc == SKEP_ENOTFOUND ? SKEP_ELOST : rc; /* gone again already */
    to->peer = api_peer_out(&op->peer);
    to->inbound = info.inbound;
    to->rtt_us = info.rtt_us;
    to->agent = skep_api_arena_str(arena, info.agent);
    to->protocol_version = skep_api_arena_str(arena, info.protocol_version);
    to->observed = has_address(&info.observed) ? maddr_text(arena, &info.observed) : "";
    to->remote = has_address(&info.remote) ? maddr_text(arena, &info.remote) : "";
    if (!to->agent || !to->protocol_version || !to->observed || !to->remote)
        return SKEP_ENOMEM;
    op->described = (rc = describe_lists(op, &info)) == 0;
    return rc;
}

static void on_request_done(struct skep_host_request *request, int rc);

static uint64_t time_left(const struct peer_op *op, skep_node *node)
{
    uint64_t now_us = skep_env_now_us(node->env);

    if (op->timeout_us == 0 || op->timeout_us == SKEP_FOREVER)
        return op->timeout_us;
    return op->end_us > now_us ? op->end_us - now_us : 1;
}

/* Each step embeds the same request anew. */
static void step(struct peer_op *op, skep_node *node, enum peer_verb verb)
{
    uint64_t left_us = time_left(op, node);
    int rc;

    op->request = (struct skep_host_request){.done = on_request_done};
    if (verb == VERB_FIND)
        rc = skep_host_find_peer(node->host, &op->request, &op->peer, left_us);
    else if (verb == VERB_CONNECT)
        rc = skep_host_connect(node->host, &op->request, op->has_peer ? &op->peer : NULL,
                               op->has_addr ? &op->addr : NULL, left_us);
    else if (verb == VERB_PING)
        rc = skep_host_ping(node->host, &op->request, &op->peer, left_us);
    else
        rc = skep_host_identify(node->host, &op->request, &op->peer, left_us);
    op->running = rc == 0;
    if (rc < 0)
        skep_api_op_end(&op->op, rc, skep_strerror(rc));
}

static void then_describe(struct peer_op *op, skep_node *node)
{
    int rc = describe(op, node);

    skep_api_op_end(&op->op, rc, rc < 0 ? skep_strerror(rc) : NULL);
}

static void then_identify(struct peer_op *op, skep_node *node)
{
    op->then = then_describe;
    step(op, node, VERB_IDENTIFY);
}

static void then_connect(struct peer_op *op, skep_node *node)
{
    op->then = then_identify;
    step(op, node, VERB_CONNECT);
}

static void on_request_done(struct skep_host_request *request, int rc)
{
    struct peer_op *op = SKEP_CONTAINER_OF(request, struct peer_op, request);
    void (*then)(struct peer_op *, skep_node *) = op->then;

    op->running = false;
    op->then = NULL;
    if (rc == 0 && then) {
        then(op, op->op.core->node);
        return;
    }
    if (rc == 0 && op->verb == VERB_CONNECT)
        op->answered = api_peer_out(&request->peer);
    op->rtt_us = rc == 0 ? request->rtt_us : 0;
    skep_api_op_end(&op->op, rc, rc < 0 ? skep_strerror(rc) : NULL);
}

static int peer_start(skep_op *base, skep_node *node)
{
    struct peer_op *op = peer_op_of(base);

    op->end_us = skep_env_now_us(node->env) + op->timeout_us;
    if (op->has_peer && skep_peer_id_equal(&op->peer, &node->identity.id))
        return skep_api_fail(SKEP_ESELF, "that is this node itself");
    if (op->verb == VERB_IDENTIFY)
        op->then = then_describe;
    else if (op->verb == VERB_FIND)
        op->then = then_connect;
    step(op, node, op->verb);
    return 0;
}

static void peer_cancel(skep_op *base, skep_node *node)
{
    struct peer_op *op = peer_op_of(base);

    if (op->running)
        skep_host_cancel(node->host, &op->request);
    op->running = false;
}

static const struct api_op_class peer_classes[] = {
    [VERB_CONNECT] = {sizeof(struct peer_op), peer_start, peer_cancel},
    [VERB_PING] = {sizeof(struct peer_op), peer_start, peer_cancel},
    [VERB_IDENTIFY] = {sizeof(struct peer_op), peer_start, peer_cancel},
    [VERB_FIND] = {sizeof(struct peer_op), peer_start, peer_cancel},
};

static int peer_begin(skep_op **out, skep_node *node, enum peer_verb verb, const skep_peer *peer,
                      const struct skep_multiaddr *addr, uint64_t timeout_us, skep_op_cb *cb,
                      void *user_data)
{
    struct peer_op *op;

    if (!(op = skep_api_op_new(node, &peer_classes[verb], cb, user_data, NULL)))
        return SKEP_ENOMEM;
    op->verb = verb;
    op->timeout_us = timeout_us;
    if (addr) {
        op->addr = *addr;
        op->has_addr = true;
        op->peer = addr->peer;
        op->has_peer = addr->peer.len > 0;
    } else {
        op->peer = api_peer_in(peer);
        op->has_peer = true;
    }
    return skep_api_op_begin(out, node, &op->op);
}

static int to_peer(skep_op **out, skep_node *node, enum peer_verb verb, const skep_peer *peer,
                   uint64_t timeout_us, skep_op_cb *cb, void *user_data)
{
    int rc;

    if (out)
        *out = NULL;
    if ((rc = skep_api_need(node, "node")) < 0)
        return rc;
    rc = skep_api_bad_peer(peer);
    return rc < 0 ? rc : peer_begin(out, node, verb, peer, NULL, timeout_us, cb, user_data);
}

static int parse_maddr(struct skep_multiaddr *addr, const char *maddr)
{
    if (!maddr || skep_multiaddr_parse(addr, maddr) < 0)
        return skep_api_fail(SKEP_EMULTIADDR, "\"%s\" is not a multiaddr that skep can use",
                             skep_api_quote(maddr));
    return 0;
}

int skep_p2p_connect(skep_op **out, skep_node *node, const char *maddr, uint64_t timeout_us,
                     skep_op_cb *cb, void *user_data)
{
    struct skep_multiaddr addr = {0};
    int rc;

    if (out)
        *out = NULL;
    if ((rc = skep_api_need(node, "node")) < 0 || (rc = parse_maddr(&addr, maddr)) < 0)
        return rc;
    return peer_begin(out, node, VERB_CONNECT, NULL, &addr, timeout_us, cb, user_data);
}

int skep_p2p_connect_peer(skep_op **out, skep_node *node, const skep_peer *peer,
                          uint64_t timeout_us, skep_op_cb *cb, void *user_data)
{
    return to_peer(out, node, VERB_CONNECT, peer, timeout_us, cb, user_data);
}

const skep_peer *skep_p2p_connect_result(const skep_op *op)
{
    return api_op_ok(op, &peer_classes[VERB_CONNECT]) ? &const_peer_op_of(op)->answered : NULL;
}

int skep_p2p_ping(skep_op **out, skep_node *node, const skep_peer *peer, uint64_t timeout_us,
                  skep_op_cb *cb, void *user_data)
{
    return to_peer(out, node, VERB_PING, peer, timeout_us, cb, user_data);
}

uint64_t skep_p2p_ping_result(const skep_op *op)
{
    return api_op_ok(op, &peer_classes[VERB_PING]) ? const_peer_op_of(op)->rtt_us : 0;
}

int skep_p2p_identify(skep_op **out, skep_node *node, const skep_peer *peer, uint64_t timeout_us,
                      skep_op_cb *cb, void *user_data)
{
    return to_peer(out, node, VERB_IDENTIFY, peer, timeout_us, cb, user_data);
}

int skep_p2p_find_peer(skep_op **out, skep_node *node, const skep_peer *peer, uint64_t timeout_us,
                       skep_op_cb *cb, void *user_data)
{
    return to_peer(out, node, VERB_FIND, peer, timeout_us, cb, user_data);
}

const skep_peer_description *skep_p2p_identify_result(const skep_op *op)
{
    if (!api_op_ok(op, &peer_classes[VERB_IDENTIFY]) && !api_op_ok(op, &peer_classes[VERB_FIND]))
        return NULL;
    return &const_peer_op_of(op)->description;
}

/* ---- questions that need no waiting but for the loop ---- */

struct peer_and_addr {
    struct skep_peer_id peer;
    struct skep_multiaddr addr;
};

static int disconnect(skep_node *node, void *arg)
{
    skep_host_disconnect(node->host, arg);
    return 0;
}

int skep_p2p_disconnect(skep_node *node, const skep_peer *peer)
{
    struct skep_peer_id id;
    int rc;

    if ((rc = skep_api_need(node, "node")) < 0 || (rc = skep_api_bad_peer(peer)) < 0)
        return rc;
    id = api_peer_in(peer);
    return skep_api_call(node->core, disconnect, &id);
}

static int add_address(skep_node *node, void *arg)
{
    struct peer_and_addr *both = arg;

    skep_host_add_address(node->host, &both->peer, &both->addr);
    return 0;
}

int skep_p2p_add_address(skep_node *node, const skep_peer *peer, const char *maddr)
{
    struct peer_and_addr both;
    int rc;

    if ((rc = skep_api_need(node, "node")) < 0 || (rc = skep_api_bad_peer(peer)) < 0 ||
        (rc = parse_maddr(&both.addr, maddr)) < 0)
        return rc;
    both.peer = api_peer_in(peer);
    return skep_api_call(node->core, add_address, &both);
}

static int announce(skep_node *node, void *arg)
{
    int rc = skep_host_announce(node->host, arg);

    return rc < 0 ? skep_api_fail(rc, "cannot announce the address: %s", skep_strerror(rc)) : 0;
}

int skep_p2p_announce(skep_node *node, const char *maddr)
{
    struct skep_multiaddr addr;
    int rc;

    if ((rc = skep_api_need(node, "node")) < 0 || (rc = parse_maddr(&addr, maddr)) < 0)
        return rc;
    return skep_api_call(node->core, announce, &addr);
}

struct peer_list {
    skep_peer *peers;
    size_t cap, count;
};

static int list_peers(skep_node *node, void *arg)
{
    struct peer_list *list = arg;

    _Static_assert(sizeof(skep_peer) == sizeof(struct skep_peer_id), "written in place");
    list->count =
        skep_host_peers(node->host, (struct skep_peer_id *)(void *)list->peers, list->cap);
    return 0;
}

ptrdiff_t skep_p2p_peers(skep_node *node, skep_peer *peers, size_t cap)
{
    struct peer_list list = {.peers = peers, .cap = peers ? cap : 0};
    int rc = skep_api_need(node, "node");

    if (rc == 0)
        rc = skep_api_call(node->core, list_peers, &list);
    return rc < 0 ? rc : (ptrdiff_t)list.count;
}

struct address_list {
    struct skep_multiaddr *addrs;
    size_t count;
};

static int list_addresses(skep_node *node, void *arg)
{
    struct address_list *list = arg;

    list->count = skep_host_addresses(node->host, NULL, 0);
    if (!(list->addrs = skep_mem_zalloc(API_MEM, list->count + 1, sizeof *list->addrs)))
        return skep_api_fail(SKEP_ENOMEM, "out of memory");
    skep_host_addresses(node->host, list->addrs, list->count);
    return 0;
}

char **skep_p2p_addresses(skep_node *node, size_t *count)
{
    struct address_list list = {0};
    char **texts, *to;

    if (count)
        *count = 0;
    if (skep_api_need(node, "node") < 0 || skep_api_call(node->core, list_addresses, &list) < 0)
        return NULL;
    texts = skep_mem_zalloc(
        API_MEM, 1, (list.count + 1) * sizeof *texts + list.count * SKEP_MULTIADDR_TEXT_MAX);
    if (texts) {
        to = (char *)(texts + list.count + 1);
        for (size_t i = 0; i < list.count; i++, to += SKEP_MULTIADDR_TEXT_MAX)
            texts[i] = skep_multiaddr_text(to, &list.addrs[i]);
        if (count)
            *count = list.count;
    }
    skep_mem_free(API_MEM, list.addrs);
    return texts;
}

/* ---- waiting for peers ---- */

struct wait_op {
    skep_op op;
    struct skep_list waiting; /* node->waiting */
    struct skep_timer timer;
    size_t count;
    uint64_t timeout_us;
};

static void wait_stop(struct wait_op *op, skep_node *node)
{
    skep_list_remove(&op->waiting);
    skep_env_stop(node->env, &op->timer);
}

static struct wait_op *satisfied(skep_node *node, size_t count)
{
    SKEP_LIST_EACH(&node->waiting, entry, after)
    {
        struct wait_op *op = SKEP_LIST_ITEM(entry, struct wait_op, waiting);

        if (count >= op->count)
            return op;
    }
    return NULL;
}

static void on_peer(void *user, const struct skep_peer_id *peer, bool connected)
{
    skep_node *node = user;
    struct wait_op *op;

    (void)peer;
    /* From the start each time: a callback may end or begin others. */
    while (connected && (op = satisfied(node, skep_host_peers(node->host, NULL, 0)))) {
        wait_stop(op, node);
        skep_api_op_end(&op->op, 0, NULL);
    }
}

static void on_wait_timeout(struct skep_timer *timer)
{
    struct wait_op *op = SKEP_CONTAINER_OF(timer, struct wait_op, timer);
    skep_node *node = op->op.core->node;
    char text[128];

    snprintf(text, sizeof text, "connected to %zu of %zu peers",
             skep_host_peers(node->host, NULL, 0), op->count);
    wait_stop(op, node);
    skep_api_op_end(&op->op, SKEP_ETIMEDOUT, text);
}

static int wait_start(skep_op *base, skep_node *node)
{
    struct wait_op *op = SKEP_CONTAINER_OF(base, struct wait_op, op);
    int rc;

    skep_list_init(&op->waiting);
    if (skep_host_peers(node->host, NULL, 0) >= op->count) {
        skep_api_op_end(base, 0, NULL);
        return 0;
    }
    if (!node->observing && (rc = skep_host_observe(node->host, on_peer, node)) < 0)
        return skep_api_fail(rc, "cannot watch the connections: %s", skep_strerror(rc));
    node->observing = true;
    op->timer.fire = on_wait_timeout;
    if (op->timeout_us != SKEP_FOREVER &&
        (rc = skep_env_after(node->env, &op->timer, op->timeout_us)) < 0)
        return skep_api_fail(rc, "out of memory");
    skep_list_push_back(&node->waiting, &op->waiting);
    return 0;
}

static void wait_cancel(skep_op *base, skep_node *node)
{
    wait_stop(SKEP_CONTAINER_OF(base, struct wait_op, op), node);
}

static const struct api_op_class wait_class = {sizeof(struct wait_op), wait_start, wait_cancel};

int skep_p2p_wait_for_peers(skep_op **out, skep_node *node, size_t count, uint64_t timeout_us,
                            skep_op_cb *cb, void *user_data)
{
    struct wait_op *op;

    if (out)
        *out = NULL;
    if (skep_api_need(node, "node") < 0)
        return SKEP_EINVAL;
    if (!(op = skep_api_op_new(node, &wait_class, cb, user_data, NULL)))
        return SKEP_ENOMEM;
    op->count = count;
    op->timeout_us = timeout_us;
    return skep_api_op_begin(out, node, &op->op);
}

void skep_api_waiting_close(skep_node *node)
{
    if (node->observing)
        skep_host_unobserve(node->host, on_peer, node);
    node->observing = false;
}
