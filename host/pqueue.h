/* pqueue.h -- a min-heap of nodes that live inside the caller's own structs.
 *
 * Nodes come out by key, and those with equal keys in the order they went in.  The heap is an
 * array of keys and nodes, 16 bytes for each node that is in it: to find the next one it
 * need not look at the nodes themselves, which may be far apart.  push, pop and remove are
 * O(log n), a push at the end of time and a remove near it O(1); one push in four thousand
 * millions numbers all nodes anew and sorts them.  Only push may allocate; the queue owns the
 * array, which shrinks with it. */
#ifndef LOOPHOST_PQUEUE_H
#define LOOPHOST_PQUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pqueue_node {
    int64_t key;
    uint32_t order; /* of arrival; 0 while in no queue */
    uint32_t place; /* in the array */
};

struct pqueue_entry {
    int64_t key;
    struct pqueue_node *node;
};

struct pqueue {
    struct pqueue_entry *entries;
    size_t count, room;
    uint32_t arrivals; /* the last order given */
    char *memory;      /* in which the entries are */
};

static inline void pqueue_init(struct pqueue *queue) {
    *queue = (struct pqueue){.count = 0};
}

static inline void pqueue_node_init(struct pqueue_node *node) {
    node->order = 0;
}

static inline bool pqueue_contains(const struct pqueue_node *node) {
    return node->order != 0;
}

static inline bool pqueue_empty(const struct pqueue *queue) {
    return queue->count == 0;
}

/* The node that pop would return, or NULL. */
static inline struct pqueue_node *pqueue_peek(const struct pqueue *queue) {
    return queue->count == 0 ? NULL : queue->entries[0].node;
}

/* Of a queue that is not empty: the largest key up to `last`, if that many nodes have such; else
 * the smallest.  Both as far as the uppermost nodes tell. */
enum { PQUEUE_CROWD = 5 };
int64_t pqueue_crowd(const struct pqueue *queue, int64_t last);

/* Adds a node that is in no queue; false: no memory, and nothing has changed. */
__attribute__((warn_unused_result)) bool pqueue_push(struct pqueue *queue, struct pqueue_node *node,
                                                     int64_t key);

/* Takes out the smallest node, or returns NULL. */
struct pqueue_node *pqueue_pop(struct pqueue *queue);

/* Takes out a node that is in this queue. */
void pqueue_remove(struct pqueue *queue, struct pqueue_node *node);

/* Takes out all nodes, in no order, and frees the array. */
void pqueue_clear(struct pqueue *queue);

#endif
