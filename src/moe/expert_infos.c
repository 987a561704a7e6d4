/* SPDX-License-Identifier: MIT */
#include "moe/expert_infos.h"

#include "moe/expert_message.h"

struct skep_expert_kept_info {
    UT_hash_handle hh;
    struct skep_list use;            /* by_use, while KNOWN and not forgotten */
    struct skep_expert_infos *infos; /* only looked at while in its map */
    const struct skep_mem *mem;
    size_t refs; /* of the map, and of those that wait or hold */
    bool in_map, known;
    struct skep_list waiting; /* struct skep_expert_wait.entry */
    struct skep_rpc_call call;
    struct skep_expert_schema schema;
    size_t key_len;
    uint8_t key[];
};

void skep_expert_infos_init(struct skep_expert_infos *infos, struct skep_rpc *rpc)
{
    *infos = (struct skep_expert_infos){
        .rpc = rpc, .mem = rpc->env->mem, .infos_max = SKEP_EXPERT_INFOS_MAX};
    skep_list_init(&infos->by_use);
}

static void unref(struct skep_expert_kept_info *info)
{
    if (--info->refs > 0)
        return;
    if (info->known)
        skep_expert_schema_fini(&info->schema, info->mem);
    skep_mem_free(info->mem, info);
}

/* Out of the map; who waits or holds goes on with it. */
static void forget(struct skep_expert_kept_info *info)
{
    struct skep_expert_infos *infos = info->infos;

    if (!info->in_map)
        return;
    info->in_map = false;
    HASH_DEL(infos->infos, info);
    if (info->known) {
        skep_list_remove(&info->use);
        infos->known_count--;
    }
    unref(info);
}

void skep_expert_infos_fini(struct skep_expert_infos *infos)
{
    while (infos->infos) {
        assert(infos->infos->known);
        forget(infos->infos);
    }
}

static struct skep_expert_kept_info *add(struct skep_expert_infos *infos,
                                         const struct skep_expert_key *key)
{
    struct skep_expert_kept_info *info = skep_mem_zalloc(infos->mem, 1, sizeof *info + key->len);

    if (!info)
        return NULL;
    info->infos = infos;
    info->mem = infos->mem;
    info->key_len = key->len;
    memcpy(info->key, key->bytes, key->len);
    HASH_ADD_KEYPTR(hh, infos->infos, info->key, info->key_len, info);
    if (!info->hh.tbl) {
        skep_mem_free(infos->mem, info);
        return NULL;
    }
    skep_list_init(&info->use);
    skep_list_init(&info->waiting);
    info->in_map = true;
    info->refs = 1;
    return info;
}

/* ---- the answer ---- */

static int read_answer(struct skep_expert_kept_info *info, skep_bytes reply, char *why,
                       size_t why_len)
{
    skep_bytes text = {0};

    *why = '\0';
    if (reply.len > SKEP_EXPERT_INFO_MAX)
        return SKEP_EPEER_LIMIT;
    if (skep_expert_info_message_read(reply, &text) < 0)
        return SKEP_EPEER_FRAME;
    return skep_expert_info_read(&info->schema, info->mem, text, why, why_len);
}

static void keep(struct skep_expert_kept_info *info)
{
    struct skep_expert_infos *infos = info->infos;

    info->known = true;
    if (infos->known_count >= infos->infos_max)
        forget(SKEP_LIST_ITEM(infos->by_use.next, struct skep_expert_kept_info, use));
    skep_list_push_back(&infos->by_use, &info->use);
    infos->known_count++;
}

/* Those that wait may do anything as they are told: leave, forget, ask again. */
static void on_answer(struct skep_rpc_call *call, int rc, skep_bytes reply)
{
    struct skep_expert_kept_info *info =
        SKEP_CONTAINER_OF(call, struct skep_expert_kept_info, call);
    char why[SKEP_EXPERT_WHY_MAX] = "";
    skep_bytes text = rc == SKEP_EPEER_REMOTE ? reply : skep_bytes_str(why);

    info->refs++;
    if (rc == 0) {
        rc = read_answer(info, reply, why, sizeof why);
        text = skep_bytes_str(why);
    }
    if (rc == 0)
        keep(info);
    else
        forget(info);
    while (!skep_list_empty(&info->waiting)) {
        struct skep_expert_wait *wait =
            SKEP_LIST_ITEM(info->waiting.next, struct skep_expert_wait, entry);

        skep_list_remove(&wait->entry);
        wait->waiting = false;
        if (rc < 0) {
            wait->info = NULL;
            unref(info);
        }
        wait->done(wait, rc, text);
    }
    unref(info);
}

/* ---- those that want it ---- */

static int ask(struct skep_expert_kept_info *info, skep_bytes uid, const struct skep_peer_id *peer)
{
    struct skep_expert_infos *infos = info->infos;
    struct skep_buf request;
    int rc;

    skep_buf_init(&request, infos->mem);
    skep_expert_uid_write(&request, uid);
    info->call.done = on_answer;
    rc = request.rc;
    if (rc == 0)
        rc = skep_rpc_call_start(infos->rpc, &info->call, peer, "ConnectionHandler.rpc_info",
                                 skep_buf_view(&request), SKEP_NEVER_US);
    skep_buf_fini(&request);
    infos->asked += rc == 0;
    return rc;
}

int skep_expert_infos_get(struct skep_expert_infos *infos, struct skep_expert_wait *wait,
                          skep_bytes uid, const struct skep_peer_id *peer)
{
    struct skep_expert_kept_info *info;
    struct skep_expert_key key;
    int rc;

    assert(!wait->info);
    skep_expert_key_make(&key, uid, peer);
    HASH_FIND(hh, infos->infos, key.bytes, key.len, info);
    if (!info) {
        if (!(info = add(infos, &key)))
            return SKEP_ENOMEM;
        if ((rc = ask(info, uid, peer)) < 0) {
            forget(info);
            return rc;
        }
    }
    wait->info = info;
    info->refs++;
    if (info->known) {
        skep_list_remove(&info->use);
        skep_list_push_back(&infos->by_use, &info->use);
        return 1;
    }
    wait->waiting = true;
    skep_list_push_back(&info->waiting, &wait->entry);
    return 0;
}

void skep_expert_infos_leave(struct skep_expert_wait *wait)
{
    struct skep_expert_kept_info *info = wait->info;

    if (!info)
        return;
    wait->info = NULL;
    if (wait->waiting) {
        wait->waiting = false;
        skep_list_remove(&wait->entry);
        /* A call that is answered just now has ended: it is in nobody's way. */
        if (skep_list_empty(&info->waiting) && info->in_map && !info->known) {
            skep_rpc_call_cancel(info->infos->rpc, &info->call);
            forget(info);
        }
    }
    unref(info);
}

void skep_expert_infos_forget(const struct skep_expert_wait *wait)
{
    if (wait->info && wait->info->known)
        forget(wait->info);
}

const struct skep_expert_schema *skep_expert_infos_schema(const struct skep_expert_wait *wait)
{
    return wait->info && wait->info->known ? &wait->info->schema : NULL;
}
