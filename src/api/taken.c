/* SPDX-License-Identifier: MIT */
/* Does another running peer already use an identity? hivemind p2p/p2p_daemon.py, is_identity_taken.
 *
 * A second host with a key of its own, on the same loop, connects to the initial peers and then asks for the identity by its id. Whoever answers has
 * proved that it holds the key. It may be us, under an address that the swarm still knows: then our own host sees the second one. */
#include "api/api.h"

#include <stdio.h>

#include "crypto/secret.h"

struct dialled {
    struct skep_host_request request;
    struct api_taken *taken;
    char *maddr;
    struct skep_peer_id peer; /* who answered */
    bool running;
};

struct api_taken {
    skep_node *node;
    struct skep_peer_id id;
    struct skep_identity identity; /* of the second host */
    struct skep_host *host;
    struct skep_host_request ask;
    bool asking, finished, is_taken;
    int rc;
    uint64_t end_us;
    struct skep_timer timer; /* first for the initial peers, then to tell */
    size_t dial_count, pending, connected;
    struct skep_buf text; /* what went wrong with each */
    api_taken_done *done;
    void *user;
    struct dialled dials[];
};

static void on_finished(struct skep_timer *timer)
{
    struct api_taken *taken = SKEP_CONTAINER_OF(timer, struct api_taken, timer);

    skep_buf_put_u8(&taken->text, 0);
    taken->done(taken->user, taken->rc, taken->is_taken,
                taken->text.rc == 0 ? (const char *)taken->text.data : "");
}

/* On the next turn: whoever is told frees the second host, which must not be inside a callback of its own. */
static void finish(struct api_taken *taken, int rc, bool is_taken)
{
    if (taken->finished)
        return;
    taken->finished = true;
    taken->rc = rc;
    taken->is_taken = is_taken;
    taken->timer.fire = on_finished;
    (void)skep_env_after(taken->node->env, &taken->timer, 0); /* it ran before: cannot fail */
}

/* Identify has been through, so the other side, if it is us, has the connection as well. */
static void on_identified(struct skep_host_request *request, int rc)
{
    struct api_taken *taken = SKEP_CONTAINER_OF(request, struct api_taken, ask);
    struct skep_peer_info info;

    (void)rc;
    taken->asking = false;
    finish(taken, 0, skep_host_peer_info(taken->node->host, &taken->identity.id, &info) != 0);
}

static uint64_t left_us(const struct api_taken *taken)
{
    uint64_t now_us = skep_env_now_us(taken->node->env);

    return taken->end_us > now_us ? taken->end_us - now_us : 1;
}

/* Somebody holds the key. Who? */
static void on_found(struct api_taken *taken)
{
    taken->ask = (struct skep_host_request){.done = on_identified};
    taken->asking = skep_host_identify(taken->host, &taken->ask, &taken->id, left_us(taken)) == 0;
    if (!taken->asking)
        finish(taken, 0, true);
}

static void on_asked(struct skep_host_request *request, int rc)
{
    struct api_taken *taken = SKEP_CONTAINER_OF(request, struct api_taken, ask);

    taken->asking = false;
    if (rc == 0)
        on_found(taken);
    else
        finish(taken, 0, false);
}

static void ask(struct api_taken *taken)
{
    skep_env_stop(taken->node->env, &taken->timer);
    taken->ask = (struct skep_host_request){.done = on_asked};
    taken->asking =
        skep_host_connect(taken->host, &taken->ask, &taken->id, NULL, left_us(taken)) == 0;
    if (!taken->asking)
        finish(taken, 0, false);
}

static void note(struct api_taken *taken, const char *maddr, int rc)
{
    char line[1024];

    snprintf(line, sizeof line, "%s%s: %s", taken->text.len > 0 ? "; " : "", skep_api_quote(maddr),
             skep_strerror(rc));
    skep_buf_put_str(&taken->text, line);
}

static void settled(struct dialled *dialled, int rc)
{
    struct api_taken *taken = dialled->taken;

    dialled->running = false;
    taken->pending--;
    if (rc == 0) {
        taken->connected++;
        skep_host_hint(taken->host, &taken->id, &dialled->peer); /* it is asked first */
        if (skep_peer_id_equal(&dialled->peer, &taken->id) && !taken->asking && !taken->finished)
            on_found(taken); /* an initial peer itself */
    } else {
        note(taken, dialled->maddr, rc);
    }
    if (taken->pending > 0 || taken->asking || taken->finished)
        return;
    if (taken->connected > 0)
        ask(taken);
    else
        finish(taken, SKEP_EBOOTSTRAP, false);
}

/* Now it is known whether the peer can be asked for others. */
static void on_introduced(struct skep_host_request *request, int rc)
{
    (void)rc;
    settled(SKEP_CONTAINER_OF(request, struct dialled, request), 0);
}

static void on_dialled(struct skep_host_request *request, int rc)
{
    struct dialled *dialled = SKEP_CONTAINER_OF(request, struct dialled, request);
    struct api_taken *taken = dialled->taken;

    dialled->peer = request->peer;
    if (rc == 0) {
        dialled->request = (struct skep_host_request){.done = on_introduced};
        rc = skep_host_identify(taken->host, &dialled->request, &dialled->peer, left_us(taken));
        if (rc == 0)
            return;
    }
    settled(dialled, rc);
}

/* Half of the time is for the initial peers. */
static void on_time(struct skep_timer *timer)
{
    struct api_taken *taken = SKEP_CONTAINER_OF(timer, struct api_taken, timer);

    for (size_t i = 0; i < taken->dial_count; i++) {
        if (taken->dials[i].running) {
            skep_host_cancel(taken->host, &taken->dials[i].request);
            taken->dials[i].running = false;
            note(taken, taken->dials[i].maddr, SKEP_ETIMEDOUT);
        }
    }
    taken->pending = 0;
    if (taken->asking)
        return;
    if (taken->connected > 0)
        ask(taken);
    else
        finish(taken, SKEP_EBOOTSTRAP, false);
}

void skep_api_taken_free(struct api_taken *taken)
{
    if (!taken)
        return;
    for (size_t i = 0; i < taken->dial_count; i++) {
        if (taken->dials[i].running)
            skep_host_cancel(taken->host, &taken->dials[i].request);
        skep_mem_free(API_MEM, taken->dials[i].maddr);
    }
    if (taken->asking)
        skep_host_cancel(taken->host, &taken->ask);
    skep_env_stop(taken->node->env, &taken->timer);
    skep_host_free(taken->host);
    skep_identity_fini(&taken->identity);
    skep_buf_fini(&taken->text);
    skep_mem_free(API_MEM, taken);
}

static int second_host(struct api_taken *taken)
{
    struct skep_host_options options = {.identity = &taken->identity,
                                        .agent = "skep/" SKEP_VERSION};
    uint8_t seed[SKEP_ED25519_LEN];
    int rc = taken->node->env->entropy(taken->node->env, seed, sizeof seed);

    if (rc == 0)
        rc = skep_identity_from_seed(&taken->identity, API_MEM, seed);
    skep_secret_wipe(seed, sizeof seed);
    if (rc == 0)
        rc = skep_host_new(&taken->host, taken->node->env, skep_uv_loop_tcp(taken->node->loop),
                           &options);
    return rc;
}

int skep_api_taken_start(struct api_taken **out, skep_node *node, const struct skep_peer_id *id,
                         const char *const *maddrs, size_t count, uint64_t timeout_us,
                         api_taken_done *done, void *user)
{
    struct api_taken *taken =
        skep_mem_zalloc(API_MEM, 1, sizeof *taken + count * sizeof taken->dials[0]);
    int rc;

    *out = NULL;
    if (!taken)
        return SKEP_ENOMEM;
    taken->node = node;
    taken->id = *id;
    taken->done = done;
    taken->user = user;
    taken->timer.fire = on_time;
    taken->end_us = skep_env_now_us(node->env) + timeout_us;
    skep_buf_init(&taken->text, API_MEM);
    if ((rc = second_host(taken)) < 0 ||
        (rc = skep_env_after(node->env, &taken->timer, timeout_us / 2)) < 0)
        goto fail;
    for (size_t i = 0; i < count; i++) {
        struct dialled *dialled = &taken->dials[i];
        struct skep_multiaddr addr;

        taken->dial_count = i + 1;
        dialled->taken = taken;
        dialled->request.done = on_dialled;
        if ((rc = skep_multiaddr_parse(&addr, maddrs[i])) < 0)
            goto fail;
        if (!(dialled->maddr = skep_mem_strdup(API_MEM, maddrs[i]))) {
            rc = SKEP_ENOMEM;
            goto fail;
        }
        rc = skep_host_connect(taken->host, &dialled->request,
                               addr.peer.len > 0 ? &addr.peer : NULL, &addr, 0);
        if (rc < 0)
            goto fail;
        dialled->running = true;
        taken->pending++;
    }
    *out = taken;
    return 0;
fail:
    skep_api_taken_free(taken);
    return rc;
}
