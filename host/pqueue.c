/* pqueue.c -- a heap with four children to a node, in an array.
 *
 * The children of place i are at 4 i + 1 to 4 i + 4, and the array lies so in memory that
 * the four share a cache line.  Only entries with equal keys ask their nodes, who came
 * first. */
#include "host/pqueue.h"

#include <stdlib.h>
#include <string.h>

enum { CHILDREN = 4, CACHE_LINE = 64, FIRST_ROOM = 16 };

static bool before(struct pqueue_entry a, struct pqueue_entry b) {
    return a.key != b.key ? a.key < b.key : a.node->order < b.node->order;
}

static void put(struct pqueue *queue, size_t place, struct pqueue_entry entry) {
    queue->entries[place] = entry;
    entry.node->place = (uint32_t)place;
}

/* Puts the entry at the place, or above it. */
static void rise(struct pqueue *queue, size_t place, struct pqueue_entry entry) {
    while (place > 0) {
        size_t parent = (place - 1) / CHILDREN;
        if (!before(entry, queue->entries[parent])) break;
        put(queue, place, queue->entries[parent]);
        place = parent;
    }
    put(queue, place, entry);
}

/* Puts the entry at the place, or below it. */
static void sink(struct pqueue *queue, size_t place, struct pqueue_entry entry) {
    const struct pqueue_entry *entries = queue->entries;
    for (;;) {
        size_t child = CHILDREN * place + 1;
        if (child >= queue->count) break;
        size_t end = child + CHILDREN < queue->count ? child + CHILDREN : queue->count;
        size_t least = child;
        for (size_t other = child + 1; other < end; other++) {
            if (before(entries[other], entries[least])) least = other;
        }
        if (!before(entries[least], entry)) break;
        put(queue, place, entries[least]);
        place = least;
    }
    put(queue, place, entry);
}

/* Has the array hold so many entries, not fewer than are in it; false: no memory. */
static bool resize(struct pqueue *queue, size_t room) {
    const size_t size = sizeof(struct pqueue_entry);
    size_t skipped = queue->memory == NULL ? 0 : (size_t)((char *)queue->entries - queue->memory);
    if (room > UINT32_MAX / 2) return false;
    char *memory = realloc(queue->memory, room * size + CACHE_LINE + size);
    if (memory == NULL) return false;
    /* the first child at the beginning of a line */
    size_t skip = CACHE_LINE - ((uintptr_t)memory + size) % CACHE_LINE;
    if (skip != skipped) memmove(memory + skip, memory + skipped, queue->count * size);
    queue->memory = memory;
    queue->entries = (void *)(memory + skip);
    queue->room = room;
    return true;
}

static int compare(const void *a, const void *b) {
    const struct pqueue_entry *first = a, *second = b;
    return before(*first, *second) ? -1 : 1;
}

/* There are no more orders to give: gives those that are in use anew.  What is sorted is a heap. */
static void renumber(struct pqueue *queue) {
    qsort(queue->entries, queue->count, sizeof queue->entries[0], compare);
    for (size_t i = 0; i < queue->count; i++) {
        put(queue, i, queue->entries[i]);
        queue->entries[i].node->order = (uint32_t)i + 1;
    }
    queue->arrivals = (uint32_t)queue->count;
}

bool pqueue_push(struct pqueue *queue, struct pqueue_node *node, int64_t key) {
    if (queue->count == queue->room &&
        !resize(queue, queue->room == 0 ? FIRST_ROOM : 2 * queue->room)) {
        return false;
    }
    if (queue->arrivals == UINT32_MAX) renumber(queue);
    node->key = key;
    node->order = ++queue->arrivals;
    rise(queue, queue->count++, (struct pqueue_entry){key, node});
    return true;
}

struct pqueue_node *pqueue_pop(struct pqueue *queue) {
    struct pqueue_node *smallest = pqueue_peek(queue);
    if (smallest != NULL) pqueue_remove(queue, smallest);
    return smallest;
}

void pqueue_remove(struct pqueue *queue, struct pqueue_node *node) {
    size_t place = node->place;
    struct pqueue_entry last = queue->entries[--queue->count];
    node->order = 0;
    if (place < queue->count) {
        if (place > 0 && before(last, queue->entries[(place - 1) / CHILDREN])) {
            rise(queue, place, last);
        } else {
            sink(queue, place, last);
        }
    }
    if (queue->room > FIRST_ROOM && queue->count < queue->room / 8) {
        resize(queue, queue->room / 4); /* if that fails, it stays as large as it is */
    }
}

int64_t pqueue_crowd(const struct pqueue *queue, int64_t last) {
    enum { UPPERMOST = 1 + CHILDREN + CHILDREN * CHILDREN };
    int64_t smallest = queue->entries[0].key, largest = smallest;
    int crowd = 0;
    for (size_t i = 0; i < queue->count && i < UPPERMOST; i++) {
        int64_t key = queue->entries[i].key;
        if (key > last) continue;
        if (key > largest) largest = key;
        crowd++;
    }
    return crowd < PQUEUE_CROWD ? smallest : largest;
}

void pqueue_clear(struct pqueue *queue) {
    for (size_t i = 0; i < queue->count; i++) queue->entries[i].node->order = 0;
    free(queue->memory);
    pqueue_init(queue);
}
