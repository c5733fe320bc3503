/* heap.h -- a 4-ary heap of deadlines, as small and fast as C makes it: the limit of timers.
 *
 * A node knows its place, so that it can be removed. The array has room for all of them. */
#ifndef TESTS_BENCH_HEAP_H
#define TESTS_BENCH_HEAP_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

struct heap_node {
    size_t place;
};

struct heap_entry {
    int64_t when;
    struct heap_node *node;
};

struct heap {
    struct heap_entry *entries;
    size_t count;
};

static inline void heap_init(struct heap *heap, size_t room) {
    heap->entries = malloc((room + 1) * sizeof *heap->entries);
    if (!heap->entries) abort();
    heap->count = 0;
}

static inline void heap_put(struct heap *heap, size_t i, struct heap_entry entry) {
    heap->entries[i] = entry;
    entry.node->place = i;
}

static inline void heap_rise(struct heap *heap, size_t i, struct heap_entry entry) {
    while (i > 0) {
        size_t parent = (i - 1) / 4;
        if (heap->entries[parent].when <= entry.when) break;
        heap_put(heap, i, heap->entries[parent]);
        i = parent;
    }
    heap_put(heap, i, entry);
}

static inline void heap_sink(struct heap *heap, size_t i, struct heap_entry entry) {
    for (;;) {
        size_t child = 4 * i + 1;
        if (child >= heap->count) break;
        size_t end = child + 4 < heap->count ? child + 4 : heap->count;
        size_t least = child;
        for (size_t c = child + 1; c < end; c++)
            if (heap->entries[c].when < heap->entries[least].when) least = c;
        if (heap->entries[least].when >= entry.when) break;
        heap_put(heap, i, heap->entries[least]);
        i = least;
    }
    heap_put(heap, i, entry);
}

static inline void heap_push(struct heap *heap, int64_t when, struct heap_node *node) {
    heap_rise(heap, heap->count++, (struct heap_entry){when, node});
}

static inline void heap_remove(struct heap *heap, struct heap_node *node) {
    size_t i = node->place;
    struct heap_entry last = heap->entries[--heap->count];
    if (i == heap->count) return;
    if (i > 0 && last.when < heap->entries[(i - 1) / 4].when)
        heap_rise(heap, i, last);
    else
        heap_sink(heap, i, last);
}

static inline struct heap_node *heap_pop(struct heap *heap) {
    struct heap_node *node = heap->entries[0].node;
    heap_remove(heap, node);
    return node;
}

/* A timer as a library in C has it: allocated when it is created, as nobody knows how many there
 * will be, and freed when it is cancelled. */
struct heap_timer {
    struct heap_node node;
    void (*run)(void *argument);
    void *argument;
};

static inline struct heap_timer *heap_call_at(struct heap *heap, int64_t when,
                                              void (*run)(void *argument), void *argument) {
    struct heap_timer *timer = malloc(sizeof *timer);
    if (!timer) abort();
    timer->run = run;
    timer->argument = argument;
    heap_push(heap, when, &timer->node);
    return timer;
}

static inline void heap_cancel(struct heap *heap, struct heap_timer *timer) {
    heap_remove(heap, &timer->node);
    free(timer);
}

static inline void heap_nothing(void *argument) {
    (void)argument;
}

#endif
