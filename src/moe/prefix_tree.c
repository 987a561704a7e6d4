/* SPDX-License-Identifier: MIT */
#include "moe/prefix_tree.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/limits.h"

static struct skep_prefix_node *new_node(struct skep_prefix_tree *tree, skep_bytes head,
                                         const char *tail)
{
    size_t tail_len = strlen(tail), len = sizeof(struct skep_prefix_node) + head.len + tail_len + 1;
    struct skep_prefix_node *node = skep_mem_zalloc(tree->mem, 1, len);

    if (!node)
        return NULL;
    node->serial = ++tree->serials;
    node->bytes = len;
    node->pins = 1;
    node->text_len = head.len + tail_len;
    skep_bytes_copy(node->text, head);
    memcpy(node->text + head.len, tail, tail_len + 1);
    skep_dht_id_from_str(&node->id, skep_bytes_of(node->text, node->text_len));
    skep_list_init(&node->lru);
    return node;
}

static void drop_found(struct skep_prefix_tree *tree, struct skep_prefix_node *node)
{
    if (!node->found)
        return;
    if (!node->loose)
        tree->bytes -= node->found->bytes;
    skep_successors_unref(node->found);
    node->found = NULL;
}

static void free_node(struct skep_prefix_tree *tree, struct skep_prefix_node *node)
{
    drop_found(tree, node);
    skep_mem_free(tree->mem, node);
}

int skep_prefix_tree_init(struct skep_prefix_tree *tree, struct skep_dht *dht, skep_bytes prefix,
                          size_t bytes_max)
{
    *tree = (struct skep_prefix_tree){
        .dht = dht, .mem = skep_dht_env(dht)->mem, .bytes_max = bytes_max};
    skep_list_init(&tree->lru);
    tree->texts = skep_peer_texts_new(tree->mem);
    if (!tree->texts)
        return SKEP_ENOMEM;
    tree->root = new_node(tree, prefix, "");
    if (!tree->root) {
        skep_peer_texts_free(tree->mem, tree->texts);
        tree->texts = NULL;
        return SKEP_ENOMEM;
    }
    return 0;
}

static void evict(struct skep_prefix_tree *tree, struct skep_prefix_node *node)
{
    HASH_DELETE(hh, tree->nodes, node);
    skep_list_remove(&node->lru);
    node->parent->children--;
    tree->bytes -= node->bytes;
    free_node(tree, node);
}

void skep_prefix_tree_fini(struct skep_prefix_tree *tree)
{
    while (!skep_list_empty(&tree->lru)) {
        struct skep_prefix_node *node =
            SKEP_LIST_ITEM(tree->lru.prev, struct skep_prefix_node, lru);

        assert(node->pins == 0 && node->children == 0);
        evict(tree, node);
    }
    if (tree->root)
        free_node(tree, tree->root);
    skep_peer_texts_free(tree->mem, tree->texts);
    tree->root = NULL;
    tree->texts = NULL;
}

void skep_prefix_tree_trim(struct skep_prefix_tree *tree)
{
    struct skep_list *at = tree->lru.prev;

    while (tree->bytes > tree->bytes_max && at != &tree->lru) {
        struct skep_prefix_node *node = SKEP_LIST_ITEM(at, struct skep_prefix_node, lru);

        at = at->prev;
        if (node->pins == 0 && node->children == 0)
            evict(tree, node);
    }
}

/* The node becomes the youngest but for its ancestors, which come before it. */
static void touch(struct skep_prefix_tree *tree, struct skep_prefix_node *node)
{
    for (; node->parent; node = node->parent) {
        skep_list_remove(&node->lru);
        skep_list_push_front(&tree->lru, &node->lru);
    }
}

struct skep_prefix_node *skep_prefix_tree_child(struct skep_prefix_tree *tree,
                                                struct skep_prefix_node *parent,
                                                uint32_t coordinate)
{
    struct skep_prefix_key key = {parent->serial, coordinate};
    struct skep_prefix_node *node;
    char tail[16];

    HASH_FIND(hh, tree->nodes, &key, sizeof key, node);
    if (node) {
        node->pins++;
        touch(tree, node);
        return node;
    }
    snprintf(tail, sizeof tail, "%" PRIu32 ".", coordinate);
    node = new_node(tree, skep_bytes_of(parent->text, parent->text_len), tail);
    if (!node)
        return NULL;
    node->key = key;
    HASH_ADD_KEYPTR(hh, tree->nodes, &node->key, sizeof node->key, node);
    if (!node->hh.tbl) {
        free_node(tree, node);
        return NULL;
    }
    node->parent = parent;
    parent->children++;
    tree->bytes += node->bytes;
    touch(tree, node);
    return node;
}

struct skep_prefix_node *skep_prefix_tree_loose(struct skep_prefix_tree *tree, skep_bytes prefix)
{
    struct skep_prefix_node *node = new_node(tree, prefix, "");

    if (node)
        node->loose = true;
    return node;
}

void skep_prefix_tree_unpin(struct skep_prefix_tree *tree, struct skep_prefix_node *node)
{
    assert(node->pins > 0);
    if (--node->pins == 0 && node->loose)
        free_node(tree, node);
}

/* Counted, and told once a decoding: that is once a version of the record. */
static void tell_dropped(struct skep_prefix_tree *tree, const struct skep_prefix_node *node,
                         const struct skep_successors_dropped *before)
{
    const struct skep_successors_dropped *now = &tree->dropped;
    uint64_t bad = now->subkeys - before->subkeys + now->values - before->values + now->uids -
                   before->uids + now->peer_ids - before->peer_ids;
    uint64_t strays = now->strays - before->strays, expired = now->expired - before->expired;
    struct skep_env *env = skep_dht_env(tree->dht);
    char shown[SKEP_PEER_TEXT_MAX + 8];

    if (bad + strays + expired == 0 || env->log_level < SKEP_LOG_DEBUG)
        return;
    skep_text_escape(shown, sizeof shown, skep_bytes_of(node->text, node->text_len));
    skep_log(env, SKEP_LOG_DEBUG,
             "moe: prefix \"%s\": dropped %" PRIu64 " malformed, %" PRIu64 " stray and %" PRIu64
             " expired entries",
             shown, bad, strays, expired);
}

static int decode(struct skep_prefix_tree *tree, const struct skep_prefix_node *node,
                  const struct skep_dht_value *value, double now_unix_s,
                  struct skep_moe_successors **out)
{
    struct skep_successors_dropped before = tree->dropped;
    int rc = skep_successors_decode(out, tree->mem, skep_bytes_of(node->text, node->text_len),
                                    value, now_unix_s, tree->texts, &tree->dropped);

    if (rc == 0)
        tell_dropped(tree, node, &before);
    return rc;
}

static void keep(struct skep_prefix_tree *tree, struct skep_prefix_node *node,
                 struct skep_moe_successors *found, uint64_t version)
{
    drop_found(tree, node);
    node->found = skep_successors_ref(found);
    node->version = version;
    if (!node->loose)
        tree->bytes += found->bytes;
}

/* Is this version of the record decoded already? */
static bool is_known(const struct skep_prefix_node *node, uint64_t version, double now_unix_s)
{
    return node->found && node->version == version && now_unix_s <= node->found->earliest_unix_s;
}

int skep_prefix_tree_look(struct skep_prefix_tree *tree, struct skep_prefix_node *node,
                          double now_unix_s, struct skep_moe_successors **out)
{
    uint64_t version;
    const struct skep_dht_value *value = skep_dht_peek(tree->dht, &node->id, &version);
    int rc;

    *out = NULL;
    if (!value || !(value->expiration_unix_s >= now_unix_s))
        return 0;
    if (is_known(node, version, now_unix_s)) {
        *out = skep_successors_ref(node->found);
        return 1;
    }
    rc = decode(tree, node, value, now_unix_s, out);
    if (rc < 0)
        return rc;
    skep_dht_peek_judged_by(tree->dht, &node->id, skep_successors_believe);
    keep(tree, node, *out, version);
    return 1;
}

int skep_prefix_tree_learn(struct skep_prefix_tree *tree, struct skep_prefix_node *node,
                           const struct skep_dht_value *value, double now_unix_s,
                           struct skep_moe_successors **out)
{
    uint64_t version;
    /* Values are immutable while shared, so the node's cache has just this content if it holds just this value. */
    bool is_home = skep_dht_peek(tree->dht, &node->id, &version) == value;
    int rc;

    if (is_home && is_known(node, version, now_unix_s)) {
        *out = skep_successors_ref(node->found);
        return 0;
    }
    rc = decode(tree, node, value, now_unix_s, out);
    if (rc == 0 && is_home)
        keep(tree, node, *out, version);
    return rc;
}
