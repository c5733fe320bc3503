/* timer.h -- callbacks with a deadline.
 *
 * A timer lives inside the caller's struct; only its place in the queue may need memory when
 * it is started.  Stopping cannot fail and leaves no trace.  Deadlines are nanoseconds of the
 * loop's clock; equal deadlines expire in the order in which they were started. */
#ifndef LOOPHOST_TIMER_H
#define LOOPHOST_TIMER_H

#include "host/handle.h"
#include "host/pqueue.h"

struct timer {
    struct handle handle; /* queued when the deadline has passed */
    struct pqueue_node node;
};

static inline void timer_init(struct timer *timer, handle_fn *run) {
    handle_init(&timer->handle, run);
    pqueue_node_init(&timer->node);
}

static inline bool timer_started(const struct timer *timer) {
    return pqueue_contains(&timer->node);
}

static inline int64_t timer_deadline_ns(const struct timer *timer) {
    return timer->node.key;
}

/* Moves every timer whose deadline is not after now_ns to the end of `ready`;
 * returns how many. */
size_t timers_expire(struct pqueue *timers, int64_t now_ns, struct handle_queue *ready);

#endif
