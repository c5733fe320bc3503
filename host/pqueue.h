/* pqueue.h -- a min-heap of nodes that live inside the caller's own structs.
 *
 * Nodes come out by key, and those with equal keys in the order they went in.
 * The queue owns no memory: push, pop and remove never allocate, never fail.
 * push and peek are O(1), pop and remove O(log n) amortised (a pairing heap). */
#ifndef LOOPHOST_PQUEUE_H
#define LOOPHOST_PQUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pqueue_node {
    struct pqueue_node *child; /* first of the children */
    struct pqueue_node *next;  /* next sibling */
    struct pqueue_node *prev;  /* previous sibling; of a first child: the parent */
    int64_t key;
    uint64_t order; /* of arrival; 0 while in no queue */
};

struct pqueue {
    struct pqueue_node *root;
    uint64_t arrivals;
    size_t count;
};

static inline void pqueue_init(struct pqueue *queue) {
    queue->root = NULL;
    queue->arrivals = 0;
    queue->count = 0;
}

static inline void pqueue_node_init(struct pqueue_node *node) {
    node->order = 0;
}

static inline bool pqueue_contains(const struct pqueue_node *node) {
    return node->order != 0;
}

/* The node that pop would return, or NULL. */
static inline struct pqueue_node *pqueue_peek(const struct pqueue *queue) {
    return queue->root;
}

/* Adds a node that is in no queue. */
void pqueue_push(struct pqueue *queue, struct pqueue_node *node, int64_t key);

/* Takes out the smallest node, or returns NULL. */
struct pqueue_node *pqueue_pop(struct pqueue *queue);

/* Takes out a node that is in this queue. */
void pqueue_remove(struct pqueue *queue, struct pqueue_node *node);

#endif
