/* SPDX-License-Identifier: MIT */
/* An intrusive circular list: membership costs no allocation and removal is O(1). */
#ifndef SKEP_BASE_LIST_H
#define SKEP_BASE_LIST_H

#include "base/error.h"

struct skep_list {
    struct skep_list *next, *prev;
};

static inline void skep_list_init(struct skep_list *list)
{
    list->next = list->prev = list;
}

static inline bool skep_list_empty(const struct skep_list *list)
{
    return list->next == list;
}

static inline void skep_list_push_back(struct skep_list *list, struct skep_list *node)
{
    node->next = list;
    node->prev = list->prev;
    list->prev->next = node;
    list->prev = node;
}

static inline void skep_list_push_front(struct skep_list *list, struct skep_list *node)
{
    skep_list_push_back(list->next, node);
}

/** The node is then on no list: removing it again is harmless. */
static inline void skep_list_remove(struct skep_list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    skep_list_init(node);
}

#define SKEP_LIST_ITEM(node, type, member) SKEP_CONTAINER_OF(node, type, member)

/** Walk a list; the current node may be removed inside. */
#define SKEP_LIST_EACH(list, node, after)                                                          \
    for (struct skep_list *node = (list)->next, *after = node->next; node != (list);               \
         node = after, after = node->next)

#endif
