/* pqueue.c -- a pairing heap.
 *
 * The heap is one tree in which no node is smaller than its parent; the children
 * of a node are a list.  All work is "link": of two trees, the one with the larger
 * root becomes the first child of the other.  Push links once and puts the cost of
 * sorting off to pop, so that a timer which is cancelled early never pays it. */
#include "host/pqueue.h"

static bool before(const struct pqueue_node *a, const struct pqueue_node *b) {
    return a->key != b->key ? a->key < b->key : a->order < b->order;
}

/* Joins two trees; both roots are without siblings, neither is NULL. */
static struct pqueue_node *link_trees(struct pqueue_node *a, struct pqueue_node *b) {
    if (before(b, a)) {
        struct pqueue_node *smaller = b;
        b = a;
        a = smaller;
    }
    b->next = a->child;
    if (b->next != NULL) b->next->prev = b;
    b->prev = a;
    a->child = b;
    return a;
}

/* Joins a list of siblings into one tree: neighbours in pairs from left to right,
 * then the pairs from right to left, which is what keeps pop logarithmic. */
static struct pqueue_node *link_siblings(struct pqueue_node *first) {
    struct pqueue_node *pairs = NULL; /* a stack, linked by next */
    while (first != NULL) {
        struct pqueue_node *a = first, *b = first->next;
        first = b != NULL ? b->next : NULL;
        a->next = NULL;
        if (b != NULL) {
            b->next = NULL;
            a = link_trees(a, b);
        }
        a->next = pairs;
        pairs = a;
    }
    struct pqueue_node *tree = pairs;
    if (tree == NULL) return NULL;
    pairs = tree->next;
    tree->next = NULL;
    while (pairs != NULL) {
        struct pqueue_node *pair = pairs;
        pairs = pair->next;
        pair->next = NULL;
        tree = link_trees(tree, pair);
    }
    tree->prev = NULL;
    return tree;
}

void pqueue_push(struct pqueue *queue, struct pqueue_node *node, int64_t key) {
    node->child = node->next = node->prev = NULL;
    node->key = key;
    node->order = ++queue->arrivals;
    queue->root = queue->root == NULL ? node : link_trees(queue->root, node);
    queue->root->prev = NULL;
    queue->count++;
}

struct pqueue_node *pqueue_pop(struct pqueue *queue) {
    struct pqueue_node *smallest = queue->root;
    if (smallest != NULL) pqueue_remove(queue, smallest);
    return smallest;
}

void pqueue_remove(struct pqueue *queue, struct pqueue_node *node) {
    struct pqueue_node *children = link_siblings(node->child);
    if (node == queue->root) {
        queue->root = children;
    } else {
        if (node->prev->child == node) {
            node->prev->child = node->next;
        } else {
            node->prev->next = node->next;
        }
        if (node->next != NULL) node->next->prev = node->prev;
        if (children != NULL) {
            queue->root = link_trees(queue->root, children);
            queue->root->prev = NULL;
        }
    }
    node->order = 0;
    queue->count--;
}
