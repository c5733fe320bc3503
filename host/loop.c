/* loop.c -- one turn of the loop.  Read loop_run_once first, then loop.h, then upwards. */
#include "host/loop.h"

#include <errno.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Other threads push on a stack; we take it whole and turn it over.  What we do not see yet will
 * wake the next poll. */
static void drain_inbox(struct loop *loop) {
    if (atomic_load_explicit(&loop->inbox, memory_order_acquire) == NULL) return;
    struct handle *last = atomic_exchange(&loop->inbox, NULL);
    struct handle *first = NULL;
    while (last != NULL) {
        struct handle *next = last->next;
        last->next = first;
        first = last;
        last = next;
    }
    while (first != NULL) {
        struct handle *next = first->next;
        handle_push(&loop->ready, first);
        first = next;
    }
}

static void inbox_readable(struct handle *handle) {
    eventfd_t count;
    eventfd_read(container_of(handle, struct watch, handle)->fd, &count);
}

/* The handle may run, and end the loop, before we have written: hence `pushing`. */
void loop_call_soon_threadsafe(struct loop *loop, struct handle *handle) {
    atomic_fetch_add(&loop->pushing, 1);
    struct handle *last = atomic_load(&loop->inbox);
    do {
        handle->next = last;
    } while (!atomic_compare_exchange_weak(&loop->inbox, &last, handle));
    if (last == NULL) eventfd_write(loop->inbox_watch.fd, 1);
    atomic_fetch_sub(&loop->pushing, 1);
}

void loop_take_out(struct loop *loop, struct handle *handle) {
    drain_inbox(loop);
    if (handle_queued(handle)) handle_unlink(handle);
}

static int start_inbox(struct loop *loop) {
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0) return -errno;
    int result = poller_start(&loop->poller, &loop->inbox_watch, fd, POLL_READ);
    if (result < 0) close(fd);
    return result;
}

int loop_init(struct loop *loop, enum clock_kind clock) {
    *loop = (struct loop){.owner = getpid(),
                          .plain = true,
                          .budget = SIZE_MAX,
                          .made_ns = clock_monotonic(),
                          .made_ticks = clock_ticks()};
    handle_queue_init(&loop->ready);
    handle_queue_init(&loop->closers);
    handle_queue_init(&loop->idle);
    choice_init(&loop->choice);
    pqueue_init(&loop->priority);
    pqueue_init(&loop->timers);
    clock_init(&loop->clock, clock);
    handle_init(&loop->turn_end, NULL);
    trace_init(&loop->trace);
    watch_init(&loop->inbox_watch, inbox_readable);
    signals_init(&loop->signals, &loop->poller, &loop->ready);
    int result = poller_init(&loop->poller);
    if (result < 0) return result;
    result = start_inbox(loop);
    if (result < 0) poller_close(&loop->poller);
    return result;
}

void loop_close(struct loop *loop) {
    while (atomic_load(&loop->pushing) > 0) sched_yield();
    drain_inbox(loop);
    struct handle *closer;
    while ((closer = handle_pop(&loop->closers)) != NULL) closer->run(closer);
    while (handle_pop(&loop->ready) != NULL) continue;
    while (handle_pop(&loop->idle) != NULL) continue;
    choice_close(&loop->choice);
    pqueue_clear(&loop->priority);
    pqueue_clear(&loop->timers);
    signals_close(&loop->signals);
    if (watch_started(&loop->inbox_watch)) close(loop->inbox_watch.fd);
    poller_close(&loop->poller);
    trace_close(&loop->trace);
}

static void cancel_in(struct pqueue *queue, struct timer *timer) {
    if (timer_started(timer)) pqueue_remove(queue, &timer->node);
    if (handle_queued(&timer->handle)) handle_unlink(&timer->handle);
}

void loop_cancel_timer(struct loop *loop, struct timer *timer) {
    cancel_in(&loop->timers, timer);
}

void loop_cancel_priority(struct loop *loop, struct timer *timer) {
    cancel_in(&loop->priority, timer);
}

/* Reader and writer of one descriptor keep their order. */
static bool same_descriptor(const struct handle *first, const struct handle *second) {
    return container_of(first, struct watch, handle)->fd ==
           container_of(second, struct watch, handle)->fd;
}

static bool same_deadline(const struct handle *first, const struct handle *second) {
    return timer_deadline_ns(container_of(first, struct timer, handle)) ==
           timer_deadline_ns(container_of(second, struct timer, handle));
}

/* Queues what is ready: descriptors, mixed if their order is left open, then signals. */
static void queue_events(struct loop *loop, struct handle *last) {
    struct handle *signals = &loop->signals.watch.handle;
    bool signalled = handle_queued(signals);
    if (signalled) handle_unlink(signals);
    if (loop->choice.on) choice_mix_groups(&loop->choice, &loop->ready, last, same_descriptor);
    if (signalled) signals->run(signals);
}

static int poll_events(struct loop *loop, int64_t timeout_ns) {
    struct handle *last = loop->ready.head.prev;
    uint64_t before = timeout_ns == 0 ? 0 : clock_ticks();
    int result = poller_wait(&loop->poller, timeout_ns, &loop->ready);
    if (timeout_ns != 0) {
        loop->looked_ticks = clock_ticks();
        loop->metrics.io_wait_ticks += loop->looked_ticks - before;
    }
    loop->metrics.polls++;
    if (result > 0) {
        loop->metrics.io_events += (uint64_t)result;
        queue_events(loop, last);
    }
    drain_inbox(loop);
    return result < 0 ? result : 0;
}

static bool anything_ready(const struct loop *loop) {
    return !handle_queue_empty(&loop->ready) || !pqueue_empty(&loop->priority);
}

/* A turn with work to do only looks at the kernel and the clock, and not even that
 * if no descriptor or timer stands or if it last did so less than 100 us ago.  Under
 * a virtual clock the order must not hang on real time: there every turn looks. */
static int look(struct loop *loop) {
    bool descriptors = loop->poller.watches > LOOP_OWN_WATCHES;
    if (loop->clock.kind == CLOCK_KIND_VIRTUAL) return descriptors ? poll_events(loop, 0) : 0;
    if (!descriptors && pqueue_empty(&loop->timers)) return 0;
    uint64_t ticks = clock_ticks();
    if (ticks - loop->looked_ticks < CLOCK_TICKS_100US) return 0;
    loop->looked_ticks = ticks;
    loop_now(loop);
    return descriptors ? poll_events(loop, 0) : 0;
}

static bool could_wake(const struct loop *loop) {
    return loop->outstanding > 0 || loop->listening > 0 || loop->signals.count > 0;
}

/* How long it is until a deadline, which may be any number. */
static int64_t time_until(int64_t when_ns, int64_t now_ns) {
    int64_t left_ns;
    if (when_ns <= now_ns) return 0;
    return __builtin_sub_overflow(when_ns, now_ns, &left_ns) ? INT64_MAX : left_ns;
}

/* How long to wait for the next timer, or for the last of a crowd of them: each by itself they
 * would keep the processor busy with falling asleep and waking up. */
static int64_t until_timers(struct loop *loop, int64_t next_ns) {
    int64_t now_ns = loop_now(loop), last_ns;
    bool is_crowd = loop->clock.kind == CLOCK_KIND_MONOTONIC && next_ns > now_ns &&
                    !__builtin_add_overflow(next_ns, LOOP_CROWD_NS, &last_ns);
    return time_until(is_crowd ? pqueue_crowd(&loop->timers, last_ns) : next_ns, now_ns);
}

static int wait_real(struct loop *loop) {
    struct pqueue_node *next = pqueue_peek(&loop->timers);
    if (next == NULL && !could_wake(loop)) return -EDEADLK;
    int64_t timeout_ns = next != NULL ? until_timers(loop, next->key) : -1;
    int result = poll_events(loop, timeout_ns);
    if (next != NULL) loop_now(loop);
    return result;
}

/* For how much more real time work under way may hold the next timer back. */
static int64_t hold_time(struct loop *loop, const struct pqueue_node *next) {
    if (loop->held_timer != next->order) loop->held_ns = 0;
    loop->held_timer = next->order;
    return time_until(time_until(next->key, loop_now(loop)), loop->held_ns);
}

/* Nothing is ready: those who wait for that are, unless real work under way holds them. */
static int wait_idle(struct loop *loop) {
    int64_t timeout_ns = loop->outstanding > 0 ? loop->idle_hold_ns : 0;
    if (timeout_ns > 0 || loop->poller.watches > LOOP_OWN_WATCHES) {
        int64_t before_ns = clock_monotonic();
        int result = poll_events(loop, timeout_ns);
        int64_t waited_ns = clock_monotonic() - before_ns;
        if (waited_ns < loop->idle_hold_ns) loop->idle_hold_ns -= waited_ns;
        if (result < 0 || anything_ready(loop) || waited_ns < timeout_ns) return result;
    }
    struct handle *handle;
    while ((handle = handle_pop(&loop->idle)) != NULL) handle_push(&loop->ready, handle);
    return 0;
}

/* Virtual time jumps to the next timer when no real work is under way.  While some is,
 * it stands still; but once the next timer was held back for as long in real time, it
 * comes all the same, so that a peer which never answers is timed out. */
static int wait_virtual(struct loop *loop) {
    if (!handle_queue_empty(&loop->idle)) return wait_idle(loop);
    struct pqueue_node *next = loop->frozen ? NULL : pqueue_peek(&loop->timers);
    if (next == NULL) {
        if (!could_wake(loop)) return -EDEADLK;
        return poll_events(loop, -1);
    }
    int64_t timeout_ns = loop->outstanding > 0 ? hold_time(loop, next) : 0;
    if (timeout_ns > 0 || loop->poller.watches > LOOP_OWN_WATCHES) {
        int64_t before_ns = clock_monotonic();
        int result = poll_events(loop, timeout_ns);
        int64_t waited_ns = clock_monotonic() - before_ns;
        loop->held_ns += waited_ns;
        if (result < 0 || anything_ready(loop) || waited_ns < timeout_ns) return result;
    }
    loop->held_ns = 0;
    clock_jump(&loop->clock, next->key);
    loop_now(loop);
    return 0;
}

static int wait_for_events(struct loop *loop) {
    drain_inbox(loop);
    if (anything_ready(loop)) return look(loop);
    if (loop->stopping) {
        loop_now(loop);
        return poll_events(loop, 0);
    }
    return loop->clock.kind == CLOCK_KIND_VIRTUAL ? wait_virtual(loop) : wait_real(loop);
}

/* Queues what is due.  The real clock is not read here: a deadline that is not yet
 * reached by the last known time is found by the next look. */
static void expire_timers(struct loop *loop) {
    struct pqueue_node *next = pqueue_peek(&loop->timers);
    if (next == NULL) return;
    if (loop->clock.kind != CLOCK_KIND_MONOTONIC) loop_now(loop);
    if (next->key > loop->now_ns) return;
    struct handle *last = loop->ready.head.prev;
    loop->metrics.timers_fired += timers_expire(&loop->timers, loop->now_ns, &loop->ready);
    if (loop->choice.on) choice_mix_timers(&loop->choice, &loop->ready, last, same_deadline);
}

int loop_wait(struct loop *loop) {
    int result = wait_for_events(loop);
    if (result >= 0) expire_timers(loop);
    return result;
}

static size_t ready_this_turn(const struct loop *loop) {
    size_t count = 0;
    for (const struct handle *handle = loop->ready.head.next; handle != &loop->turn_end;
         handle = handle->next) {
        count++;
    }
    return count;
}

static struct handle *end_turn(struct loop *loop) {
    loop->reserved = ready_this_turn(loop);
    loop->budget = SIZE_MAX;
    loop->plain = loop->reserved == 0 && !loop->choice.on;
    handle_unlink(&loop->turn_end);
    if (loop->choice.on) choice_turn_done(&loop->choice, &loop->ready);
    loop->metrics.turns++;
    return NULL;
}

/* The turn's end is a mark in the ready queue.  Priority callbacks that come up during
 * the turn overtake what stands before the mark; the turn then ends before the mark, and
 * what was overtaken stays in front for the next turn, where it is not overtaken again:
 * `reserved` of that turn's callbacks are its.  All this is counted only in turns that
 * have priority callbacks; `budget` is then what the turn may still run. */
struct handle *loop_next_counted(struct loop *loop) {
    struct handle *handle = loop->ready.head.next;
    bool has_urgent = !pqueue_empty(&loop->priority);
    loop->plain = false;
    if (loop->choice.on) choice_source_done(&loop->choice, &loop->ready, &loop->turn_end);
    if (has_urgent && loop->budget == SIZE_MAX) {
        loop->budget = loop->urgent + ready_this_turn(loop);
    }
    if (loop->budget == 0) return end_turn(loop);
    if (has_urgent && (loop->budget > loop->reserved || handle == &loop->turn_end)) {
        struct pqueue_node *node = pqueue_pop(&loop->priority);
        handle = &container_of(node, struct timer, node)->handle;
    } else {
        if (handle == &loop->turn_end) return end_turn(loop);
        handle_unlink(handle);
        if (loop->reserved > 0) loop->reserved--;
    }
    if (loop->budget != SIZE_MAX) loop->budget--;
    loop->metrics.callbacks_executed++;
    return handle;
}

void loop_explore(struct loop *loop, uint64_t seed) {
    choice_start(&loop->choice, seed);
    loop->plain = false;
}

int loop_run_once(struct loop *loop) {
    int result = loop_in_turn(loop) ? 0 : loop_begin_turn(loop);
    struct handle *handle;
    if (result < 0) return result;
    while ((handle = loop_next(loop)) != NULL) handle->run(handle);
    return 0;
}

/* What a tick is, the whole life of the loop tells. */
int64_t loop_io_wait_ns(const struct loop *loop) {
    double ns = (double)(clock_monotonic() - loop->made_ns);
    double ticks = (double)(clock_ticks() - loop->made_ticks);
    return ticks > 0 ? (int64_t)((double)loop->metrics.io_wait_ticks * (ns / ticks)) : 0;
}

int loop_run(struct loop *loop) {
    int result;
    loop->running = true;
    do {
        result = loop_run_once(loop);
    } while (result >= 0 && !loop->stopping);
    loop->running = loop->stopping = false;
    return result;
}
