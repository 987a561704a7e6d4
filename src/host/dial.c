/* SPDX-License-Identifier: MIT */
/* Getting connected: the addresses of the book one after the other with a short stagger, the first to open wins; when they are used
 * up (or there are none) the peer is looked for once by kad, starting with whoever named it to us, and what is found is tried. */
#include "host/host_impl.h"

static void on_time(struct skep_timer *timer);
static void move_on(struct skep_dial *dial);

/** How much an error says about what is wrong: of several attempts' errors the most telling is reported. */
static int telling(int rc)
{
    switch (rc) {
    case 0: return 0;
    case SKEP_ENOTFOUND:
    case SKEP_EUNREACH: return 1;
    case SKEP_ETIMEDOUT: return 2;
    case SKEP_ERESOLVE: return 3;
    case SKEP_ELOST:
    case SKEP_EREFUSED: return 4;
    default: return 5;
    }
}

static struct skep_dial *dial_new(struct skep_host *host, uint64_t timeout_us)
{
    struct skep_dial *dial = skep_mem_zalloc(host->env->mem, 1, sizeof *dial);

    if (!dial)
        return NULL;
    dial->addrs = skep_mem_zalloc(host->env->mem, SKEP_DIAL_ADDRESSES_MAX, sizeof dial->addrs[0]);
    dial->host = host;
    dial->timer.fire = on_time;
    skep_list_init(&dial->attempts);
    skep_list_init(&dial->wanting);
    if (timeout_us == 0 || timeout_us == SKEP_NEVER_US)
        timeout_us = host->options.dial_timeout_us;
    dial->deadline_us = skep_env_now_us(host->env) + timeout_us;
    /* The first attempt starts on the next turn, so that nothing fails inside the caller's call. */
    if (!dial->addrs || skep_env_after(host->env, &dial->timer, 0) < 0) {
        skep_mem_free(host->env->mem, dial->addrs);
        skep_mem_free(host->env->mem, dial);
        return NULL;
    }
    skep_list_push_back(&host->dials, &dial->entry);
    return dial;
}

/** Let go of everything but the struct's users; attempts under way are closed. */
static void dial_free(struct skep_dial *dial)
{
    struct skep_host *host = dial->host;

    skep_env_stop(host->env, &dial->timer);
    skep_list_remove(&dial->entry);
    while (!skep_list_empty(&dial->attempts)) {
        struct skep_conn *conn = SKEP_LIST_ITEM(dial->attempts.next, struct skep_conn, dial_entry);

        skep_list_remove(&conn->dial_entry);
        conn->dial = NULL;
        /* It may be the one whose event we are in, opening as somebody else than expected: not from under it. */
        skep_conn_doom(conn, SKEP_ECANCELED);
    }
    if (dial->peer)
        dial->peer->dial = NULL;
    skep_mem_free(host->env->mem, dial->addrs);
    skep_mem_free(host->env->mem, dial);
}

static void fail(struct skep_dial *dial)
{
    struct skep_host *host = dial->host;
    struct skep_host_peer *peer = dial->peer;
    int rc = dial->rc < 0 ? dial->rc : SKEP_EUNREACH;
    struct skep_list wanting;

    host->stats.dials_failed++;
    skep_list_init(&wanting);
    while (!skep_list_empty(&dial->wanting)) {
        struct skep_list *entry = dial->wanting.next;

        skep_list_remove(entry);
        skep_list_push_back(&wanting, entry);
    }
    dial_free(dial);
    skep_requests_failed(&wanting, rc);
    if (!peer)
        return;
    peer->holds++;
    skep_requests_failed(&peer->wanting, rc);
    skep_stream_fail_waiting(peer, rc);
    peer->holds--;
    skep_host_peer_put(host, peer);
}

/** Add what the book knows and has not been tried. */
static size_t load_addresses(struct skep_dial *dial)
{
    struct skep_host *host = dial->host;
    struct skep_multiaddr *found =
        skep_mem_alloc(host->env->mem, SKEP_ADDRESSES_PER_PEER_MAX * sizeof *found);
    size_t count, before = dial->addr_count;

    if (!found)
        return 0;
    count = skep_address_book_get(host->book, &dial->peer->id, skep_env_now_us(host->env), found,
                                  SKEP_ADDRESSES_PER_PEER_MAX);
    for (size_t i = 0; i < count && dial->addr_count < SKEP_DIAL_ADDRESSES_MAX; i++) {
        bool tried = false;

        for (size_t j = 0; j < dial->addr_count && !tried; j++)
            tried = skep_multiaddr_same(&dial->addrs[j], &found[i]);
        if (!tried)
            dial->addrs[dial->addr_count++] = found[i];
    }
    skep_mem_free(host->env->mem, found);
    return dial->addr_count - before;
}

static void note_error(struct skep_dial *dial, int rc)
{
    if (telling(rc) >= telling(dial->rc))
        dial->rc = rc;
}

static void start_attempt(struct skep_dial *dial)
{
    struct skep_conn *conn;
    int rc = skep_conn_dial(dial->host, &conn, dial, &dial->addrs[dial->addr_next++]);

    if (rc < 0)
        note_error(dial, rc);
}

/** Start what can be started now and set the timer for what comes later; or fail. */
static void move_on(struct skep_dial *dial)
{
    struct skep_host *host = dial->host;
    uint64_t now_us = skep_env_now_us(host->env), next_us = dial->deadline_us;

    if (now_us >= dial->deadline_us) {
        note_error(dial, SKEP_ETIMEDOUT);
        fail(dial);
        return;
    }
    do {
        if (dial->addr_next < dial->addr_count)
            start_attempt(dial);
    } while (skep_list_empty(&dial->attempts) && dial->addr_next < dial->addr_count);
    if (dial->addr_next < dial->addr_count)
        next_us = SKEP_MIN(next_us, now_us + SKEP_DIAL_STAGGER_US);
    if (skep_list_empty(&dial->attempts) && !dial->finding) {
        dial->finding = dial->may_find && dial->peer;
        dial->may_find = false;
        /* The lookup's first step is on a later turn, too. */
        if (!dial->finding || skep_kad_find(host, &dial->peer->id, NULL) < 0) {
            fail(dial);
            return;
        }
        dial->deadline_us = now_us + SKEP_NEGOTIATE_TIMEOUT_US;
        next_us = dial->deadline_us;
    }
    (void)skep_timer_start(host->env->timers, &dial->timer, next_us);
}

static void on_time(struct skep_timer *timer)
{
    struct skep_dial *dial = SKEP_CONTAINER_OF(timer, struct skep_dial, timer);

    if (dial->peer && dial->reload)
        load_addresses(dial);
    dial->reload = false;
    move_on(dial);
}

int skep_dial_peer(struct skep_host *host, struct skep_host_peer *peer, bool may_find,
                   uint64_t timeout_us)
{
    struct skep_dial *dial = peer->dial;

    if (host->closing)
        return SKEP_ECANCELED;
    if (dial) {
        dial->may_find |= may_find && !dial->finding;
        dial->reload = true; /* the caller may have just added an address */
        return skep_env_after(host->env, &dial->timer, 0);
    }
    dial = dial_new(host, timeout_us);
    if (!dial)
        return SKEP_ENOMEM;
    dial->peer = peer;
    dial->may_find = may_find;
    dial->reload = true;
    peer->dial = dial;
    return 0;
}

int skep_dial_address(struct skep_host *host, struct skep_dial **out,
                      const struct skep_multiaddr *addr, uint64_t timeout_us)
{
    struct skep_dial *dial = host->closing ? NULL : dial_new(host, timeout_us);

    *out = dial;
    if (!dial)
        return SKEP_ENOMEM;
    dial->addrs[0] = *addr;
    dial->addr_count = 1;
    return 0;
}

void skep_dial_attempt_failed(struct skep_conn *conn, int rc)
{
    struct skep_dial *dial = conn->dial;

    skep_list_remove(&conn->dial_entry);
    conn->dial = NULL;
    note_error(dial, rc);
    if (dial->addr_next < dial->addr_count || skep_list_empty(&dial->attempts))
        move_on(dial);
}

void skep_dial_attempt_opened(struct skep_conn *conn)
{
    struct skep_dial *dial = conn->dial;
    struct skep_list wanting;

    skep_list_remove(&conn->dial_entry);
    conn->dial = NULL;
    skep_list_init(&wanting);
    while (!skep_list_empty(&dial->wanting)) {
        struct skep_list *entry = dial->wanting.next;

        skep_list_remove(entry);
        skep_list_push_back(&wanting, entry);
    }
    dial_free(dial);
    skep_requests_connected(&wanting, conn->peer);
}

void skep_dial_abandon(struct skep_dial *dial)
{
    dial_free(dial);
}

void skep_dial_found(struct skep_host_peer *peer, int rc)
{
    struct skep_dial *dial = peer->dial;

    if (!dial || !dial->finding)
        return;
    dial->finding = false;
    if (rc == 0 && load_addresses(dial) > 0)
        dial->deadline_us = skep_env_now_us(dial->host->env) + dial->host->options.dial_timeout_us;
    else
        note_error(dial, rc < 0 && rc != SKEP_ENOTFOUND ? rc : SKEP_EUNREACH);
    move_on(dial);
}
