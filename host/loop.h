/* loop.h -- one turn after another: wait, I/O, timers, run.
 *
 * A turn (loop_run_once) does four things, in this order:
 *   1. waits for I/O: not at all if a callback is ready, else until the next timer;
 *   2. queues the callbacks of ready descriptors and signals;
 *   3. queues the timers that are due, by deadline, equal ones as they were started;
 *   4. runs priority callbacks, then ready ones: as many as stood there when step 4
 *      began.  What they queue runs in a later turn, so nothing starves I/O or timers;
 *      but an urgent callback overtakes ready ones that wait, each for one turn at most.
 *
 * The loop owns no callback: handles, timers and watches live in their owners'
 * structs and must outlive their stay in the loop.  It never allocates after
 * loop_init but for the poller's table, so queueing cannot fail.  A loop belongs to
 * one thread; only loop_call_soon_threadsafe may be called from others. */
#ifndef LOOPHOST_LOOP_H
#define LOOPHOST_LOOP_H

#include "host/choice.h"
#include "host/clock.h"
#include "host/handle.h"
#include "host/metrics.h"
#include "host/poller.h"
#include "host/signals.h"
#include "host/timer.h"
#include "host/trace.h"

#include <stdatomic.h>
#include <sys/types.h>

struct loop {
    struct handle_queue ready;
    struct pqueue priority;
    struct pqueue timers;
    struct clock clock;
    int64_t now_ns;         /* the last time that was read; never ahead of the clock */
    uint64_t looked_ticks;  /* when the kernel and the clock were last asked */
    int64_t held_ns;        /* real time that the next timer of a virtual clock was held back */
    uint32_t held_timer;    /* which timer that was, by order of arrival */
    struct handle turn_end; /* stands behind the last callback of the turn */
    bool plain;             /* the ready queue alone says what runs next: see loop_next_counted */
    size_t budget, reserved, urgent; /* what else counts there */
    struct choice choice;            /* the order of what is left open */
    struct handle_queue idle;        /* run when nothing is ready any more, before time jumps */
    int64_t idle_hold_ns;            /* for so long real work may keep them */
    bool frozen;                     /* a virtual clock that does not jump by itself */
    struct poller poller;
    struct signals signals;
    _Atomic(struct handle *) inbox; /* from other threads, the last one first */
    struct watch inbox_watch;       /* an eventfd that ends a wait */
    atomic_size_t pushing;          /* calls of loop_call_soon_threadsafe under way */
    size_t outstanding; /* real work under way that will wake us: virtual time waits for it */
    size_t listening;   /* what might wake us, but virtual time does not wait for */
    struct handle_queue closers; /* of what lives as long as the loop */
    struct metrics metrics;
    int64_t made_ns;     /* when the loop was made, */
    uint64_t made_ticks; /* and the same as clock_ticks counts it */
    struct trace trace;
    pid_t owner; /* a forked child must not touch its parent's epoll set */
    bool running, stopping;
};

/* -errno: EMFILE, ENFILE, ENOMEM. */
int loop_init(struct loop *loop, enum clock_kind clock);

/* Calls the closers, takes every other handle out of the loop, uncalled, and closes its
 * descriptors.  Waits for calls of loop_call_soon_threadsafe under way; none may begin
 * afterwards.  From inside a callback only if that never returns.  Harmless a second time, after a
 * loop_init that failed, and to the parent if called in a forked child. */
void loop_close(struct loop *loop);

/* The time of the loop's clock. */
static inline int64_t loop_now(struct loop *loop) {
    return loop->now_ns = clock_now(&loop->clock);
}

/* Runs the handle in the next turn. */
static inline void loop_call_soon(struct loop *loop, struct handle *handle) {
    handle_push(&loop->ready, handle);
}

/* As loop_call_soon, but before all that is ready and has a larger priority or none.
 * The timer's node holds the priority until it runs.  False: no memory, nothing is done. */
__attribute__((warn_unused_result)) static inline bool
loop_call_priority(struct loop *loop, struct timer *timer, int64_t priority) {
    return pqueue_push(&loop->priority, &timer->node, priority);
}

/* Runs the timer's handle once the clock has reached when_ns.  False: no memory, nothing is
 * done. */
__attribute__((warn_unused_result)) static inline bool
loop_call_at(struct loop *loop, struct timer *timer, int64_t when_ns) {
    return pqueue_push(&loop->timers, &timer->node, when_ns);
}

/* From now on what is left open is decided by the seed: see choice.h. */
void loop_explore(struct loop *loop, uint64_t seed);

/* Takes a timer out of the loop, wherever in it it stands; harmless if nowhere. */
void loop_cancel_timer(struct loop *loop, struct timer *timer);
void loop_cancel_priority(struct loop *loop, struct timer *timer);

/* Runs the handle when the loop is closed, before anything in it is taken apart. */
static inline void loop_call_at_close(struct loop *loop, struct handle *handle) {
    handle_push(&loop->closers, handle);
}

/* Under a virtual clock: runs the handle as soon as nothing is ready and no real work is under
 * way, or if that takes longer, after hold_ns of real time; before time goes on. */
static inline void loop_call_idle(struct loop *loop, struct handle *handle, int64_t hold_ns) {
    handle_push(&loop->idle, handle);
    loop->idle_hold_ns = hold_ns;
}

/* From any thread or a signal handler: runs the handle soon.  Until it runs, nobody
 * may push it again or take it out.  Wakes the loop if it waits. */
void loop_call_soon_threadsafe(struct loop *loop, struct handle *handle);

/* Takes out a handle that another thread has pushed and that has not run; harmless if it is
 * nowhere. */
void loop_take_out(struct loop *loop, struct handle *handle);

/* One turn.  0, or -EDEADLK when nothing is ready and nothing could ever wake the
 * loop: no timer, no signal handler, nothing `outstanding` or `listening` (a watch
 * alone does not count, its owner says which of the two it is); or another -errno of
 * the kernel's.  Not from inside a callback; but if one has not returned, as it left by
 * longjmp, this goes on with its turn, behind it. */
int loop_run_once(struct loop *loop);

/* Of what loop_run_once consists, for who would call the callbacks himself: whether a turn is
 * under way; beginning one, 0 or -errno; taking its next callback out, which is then to be
 * run, or NULL when the turn is over. */
static inline bool loop_in_turn(const struct loop *loop) {
    return handle_queued(&loop->turn_end);
}

enum { LOOP_OWN_WATCHES = 1 };    /* the inbox */
enum { LOOP_CROWD_NS = 250000 };  /* timers this close, five or more, are due in one turn */
int loop_wait(struct loop *loop); /* steps 1 to 3 */
static inline bool loop_only_callbacks(const struct loop *loop) {
    return !handle_queue_empty(&loop->ready) && pqueue_empty(&loop->timers) &&
           loop->poller.watches <= LOOP_OWN_WATCHES &&
           atomic_load_explicit(&loop->inbox, memory_order_relaxed) == NULL;
}

static inline int loop_begin_turn(struct loop *loop) {
    int result = loop_only_callbacks(loop) ? 0 : loop_wait(loop);
    if (result < 0) return result;
    loop->urgent = loop->priority.count;
    handle_push(&loop->ready, &loop->turn_end);
    return 0;
}

/* A whole turn, if it consists of but one callback, which is taken out; else NULL.  Such a turn is
 * over, as loop_in_turn sees it, when its callback begins. */
static inline struct handle *loop_only_one(struct loop *loop) {
    struct handle *handle = loop->ready.head.next;
    if (handle->next != &loop->ready.head || handle == &loop->turn_end || !loop->plain ||
        !loop_only_callbacks(loop) || !pqueue_empty(&loop->priority)) {
        return NULL;
    }
    handle_unlink(handle);
    loop->metrics.turns++;
    loop->metrics.callbacks_executed++;
    return handle;
}

struct handle *loop_next_counted(struct loop *loop);
static inline struct handle *loop_next(struct loop *loop) {
    struct handle *handle = loop->ready.head.next;
    if (!loop->plain || !pqueue_empty(&loop->priority)) return loop_next_counted(loop);
    handle_unlink(handle);
    if (handle == &loop->turn_end) {
        loop->metrics.turns++;
        return NULL;
    }
    loop->metrics.callbacks_executed++;
    return handle;
}

/* The real time that the loop has spent blocked in epoll. */
int64_t loop_io_wait_ns(const struct loop *loop);

/* Turns until loop_stop; the result of the last. */
int loop_run(struct loop *loop);

/* Ends loop_run after the turn under way, or after one turn if it is not running. */
static inline void loop_stop(struct loop *loop) {
    loop->stopping = true;
}

#endif
