/* handle.h -- a callback that can be cancelled, and the queue in which it waits.
 *
 * A handle lives inside the caller's own struct and stands in at most one queue.
 * Nothing here allocates or fails; every operation is O(1).  A queue is a ring
 * with its head as sentinel, so a handle leaves whatever queue it is in without
 * knowing which one that is. */
#ifndef LOOPHOST_HANDLE_H
#define LOOPHOST_HANDLE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>

struct handle;
typedef void handle_fn(struct handle *handle);

struct handle {
    struct handle *next, *prev; /* both NULL while in no queue */
    handle_fn *run;             /* called once it has left its queue; may free the handle */
};

struct handle_queue {
    struct handle head;
};

/* The struct that embeds `member`, from a pointer to the member. */
#define container_of(pointer, type, member) \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

static inline void handle_init(struct handle *handle, handle_fn *run) {
    handle->next = handle->prev = NULL;
    handle->run = run;
}

static inline bool handle_queued(const struct handle *handle) {
    return handle->next != NULL;
}

static inline void handle_queue_init(struct handle_queue *queue) {
    queue->head.next = queue->head.prev = &queue->head;
    queue->head.run = NULL;
}

static inline bool handle_queue_empty(const struct handle_queue *queue) {
    return queue->head.next == &queue->head;
}

static inline struct handle *handle_queue_first(const struct handle_queue *queue) {
    return handle_queue_empty(queue) ? NULL : queue->head.next;
}

/* Appends a handle that is in no queue. */
static inline void handle_push(struct handle_queue *queue, struct handle *handle) {
    struct handle *last = queue->head.prev;
    handle->prev = last;
    handle->next = &queue->head;
    last->next = handle; /* NOLINT(clang-analyzer-core.NullDereference): a ring has no end */
    queue->head.prev = handle;
}

/* Puts a handle that is in no queue before all others. */
static inline void handle_push_front(struct handle_queue *queue, struct handle *handle) {
    struct handle *first = queue->head.next;
    handle->prev = &queue->head;
    handle->next = first;
    first->prev = handle;
    queue->head.next = handle;
}

/* Takes the handle out of the queue that it is in. */
static inline void handle_unlink(struct handle *handle) {
    assert(handle_queued(handle));
    handle->prev->next = handle->next;
    handle->next->prev = handle->prev;
    handle->next = handle->prev = NULL;
}

/* Takes the first handle out, or returns NULL. */
static inline struct handle *handle_pop(struct handle_queue *queue) {
    struct handle *first = handle_queue_first(queue);
    if (first != NULL) handle_unlink(first);
    return first;
}

#endif
