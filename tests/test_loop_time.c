/* test_loop_time.c -- when a loop waits and for how long: virtual, real and foreign time,
 * and the moment from which nothing can happen any more. */
#include "tests/job.h"
#include "tests/kernel.h"

#include <stdlib.h>
#include <sys/timerfd.h>

enum { MS = 1000000 };

/* A loop and jobs for it, and a kernel timer that stands for the outside world: its
 * watch writes 'w' and has consumed the event then. */
struct fixture {
    struct loop loop;
    struct log log;
    struct job a, b, c, d;
    struct watch world;
    int fd;
};

static struct fixture *f; /* of the test that runs */

static void world_ready(struct handle *handle) {
    uint64_t count;
    assert_int_equal(read(container_of(handle, struct watch, handle)->fd, &count, 8), 8);
    log_add(&f->log, 'w');
}

static int set_up_loop(void **state, enum clock_kind kind) {
    f = calloc(1, sizeof *f);
    *state = f;
    if (f == NULL || loop_init(&f->loop, kind) < 0) return -1;
    struct job *jobs[] = {&f->a, &f->b, &f->c, &f->d};
    for (int i = 0; i < 4; i++) {
        job_init(jobs[i], (char)('a' + i), &f->log);
        jobs[i]->loop = &f->loop;
    }
    watch_init(&f->world, world_ready);
    f->fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    if (f->fd < 0 || poller_start(&f->loop.poller, &f->world, f->fd, POLL_READ) < 0) return -1;
    kernel = (struct kernel){.creates = 0};
    return 0;
}

static int set_up_virtual(void **state) {
    return set_up_loop(state, CLOCK_KIND_VIRTUAL);
}

static int set_up_real(void **state) {
    return set_up_loop(state, CLOCK_KIND_MONOTONIC);
}

static int tear_down(void **state) {
    loop_close(&f->loop);
    close(f->fd);
    free(*state);
    return 0;
}

#define VIRTUAL_TEST(name) TEST_WITH(name, set_up_virtual, tear_down)
#define REAL_TEST(name)    TEST_WITH(name, set_up_real, tear_down)
#define TEST_IN_BOTH(name) \
    static void name(void **state); \
    ADD_TEST(name, #name " (virtual)", set_up_virtual, tear_down) \
    __attribute__((constructor)) static void add_real_##name(void) { \
        suite_add(#name " (real)", name, set_up_real, tear_down); \
    } \
    static void name(__attribute__((unused)) void **state)

/* The world does something after real nanoseconds, and again in each interval. */
static void world_acts(int64_t after_ns, int64_t interval_ns) {
    struct itimerspec when = {
        .it_value = {.tv_sec = after_ns / NS_PER_S, .tv_nsec = after_ns % NS_PER_S},
        .it_interval = {.tv_sec = interval_ns / NS_PER_S, .tv_nsec = interval_ns % NS_PER_S}};
    assert_int_equal(timerfd_settime(f->fd, 0, &when, NULL), 0);
}

static void no_world(void) {
    poller_stop(&f->loop.poller, &f->world);
}

static void soon(struct job *job) {
    loop_call_soon(&f->loop, &job->timer.handle);
}

static void at(struct job *job, int64_t when_ns) {
    assert_true(loop_call_at(&f->loop, &job->timer, when_ns));
}

static int64_t now(void) {
    return loop_now(&f->loop);
}

/* One turn, in which exactly these ran, in this order. */
#define assert_turn(names) \
    assert_int_equal(loop_run_once(&f->loop), 0), assert_logged(&f->log, (names))

/* Turns until something ran. */
static void turn_until_something_ran(void) {
    while (f->log.length == 0) assert_int_equal(loop_run_once(&f->loop), 0);
}

/* ---- Virtual time ---------------------------------------------------------------------------- */

static void push_again(struct job *job) {
    if (job->loop->metrics.turns < 1000) soon(job);
}

VIRTUAL_TEST(virtual_time_stands_while_anything_is_ready) {
    f->a.then = push_again;
    f->a.log = NULL;
    soon(&f->a);
    at(&f->b, 1);
    for (int i = 0; i < 1000; i++) {
        assert_turn("");
        assert_int_equal(now(), 0);
    }
    loop_cancel_timer(&f->loop, &f->a.timer);
    assert_turn("b");
    assert_int_equal(now(), 1);
}

VIRTUAL_TEST(virtual_time_stands_while_a_priority_is_ready) {
    assert_true(loop_call_priority(&f->loop, &f->a.timer, 1));
    at(&f->b, 1);
    assert_turn("a");
    assert_int_equal(now(), 0);
}

VIRTUAL_TEST(virtual_time_jumps_to_the_next_timer_exactly) {
    no_world();
    const int64_t deadlines_ns[] = {1, 2, 7 * NS_PER_S, 7 * NS_PER_S + 1, INT64_MAX - 1, INT64_MAX};
    for (size_t i = 0; i < sizeof deadlines_ns / sizeof deadlines_ns[0]; i++) {
        at(&f->a, deadlines_ns[i]);
        assert_turn("a");
        assert_int_equal(now(), deadlines_ns[i]);
    }
    assert_int_equal(kernel.waits, 0);
}

VIRTUAL_TEST(a_deadline_in_the_past_does_not_turn_the_clock_back) {
    at(&f->a, 100);
    assert_turn("a");
    at(&f->a, 50);
    at(&f->b, INT64_MIN);
    assert_turn("ba");
    assert_int_equal(now(), 100);
}

static void jump_ahead(struct job *job) {
    clock_jump(&job->loop->clock, 500);
}

VIRTUAL_TEST(a_clock_that_its_owner_sets_is_obeyed_in_the_next_turn) {
    f->a.then = jump_ahead;
    soon(&f->a);
    at(&f->b, 500);
    at(&f->c, 501);
    assert_turn("a");
    soon(&f->d);
    assert_turn("db");
}

/* The order in which tests see I/O must not hang on how fast the machine is. */
VIRTUAL_TEST(in_virtual_time_every_turn_polls) {
    f->a.then = push_again;
    f->a.log = NULL;
    soon(&f->a);
    for (int i = 0; i < 900; i++) assert_turn("");
    assert_int_equal(kernel.waits, 900);
}

VIRTUAL_TEST(descriptors_that_are_ready_come_before_a_jump) {
    f->loop.listening = 1;
    at(&f->a, 1);
    world_acts(1, 0);
    while (kernel.events == 0) epoll_wait(f->loop.poller.epoll_fd, &(struct epoll_event){0}, 1, -1);
    assert_turn("w");
    assert_int_equal(now(), 0);
    assert_turn("a");
    assert_int_equal(now(), 1);
}

VIRTUAL_TEST(virtual_time_waits_for_real_work) {
    f->loop.outstanding = 1;
    at(&f->a, 3600 * NS_PER_S);
    world_acts(2 * MS, 0);
    turn_until_something_ran();
    assert_logged(&f->log, "w");
    assert_int_equal(now(), 0);
    f->loop.outstanding = 0;
    assert_turn("a");
    assert_int_equal(now(), 3600 * NS_PER_S);
}

VIRTUAL_TEST(virtual_time_does_not_wait_for_what_only_listens) {
    f->loop.listening = 1;
    at(&f->a, 3600 * NS_PER_S);
    assert_turn("a");
    assert_int_equal(now(), 3600 * NS_PER_S);
}

VIRTUAL_TEST(real_work_holds_a_timer_for_its_own_time_in_real_time) {
    f->loop.outstanding = 1;
    at(&f->a, 3 * MS);
    int64_t before_ns = clock_monotonic();
    turn_until_something_ran();
    assert_true(clock_monotonic() - before_ns >= 3 * MS);
    assert_logged(&f->log, "a");
    assert_int_equal(now(), 3 * MS);
}

VIRTUAL_TEST(work_that_goes_on_and_on_does_not_hold_a_timer_for_ever) {
    f->loop.outstanding = 1;
    at(&f->a, 20 * MS);
    world_acts(MS, MS);
    int64_t before_ns = clock_monotonic();
    for (;;) {
        assert_int_equal(loop_run_once(&f->loop), 0);
        bool timer_fired = strchr(f->log.text, 'a') != NULL;
        assert_int_equal(now(), timer_fired ? 20 * MS : 0);
        if (timer_fired) break;
        log_clear(&f->log);
    }
    assert_true(clock_monotonic() - before_ns >= 20 * MS);
}

/* The story: a hundred requests of 5 ms, each with a time-out of 100 ms.  The clock stands
 * meanwhile, so all the deadlines are alike; the wait for one request must not be charged
 * to the next, or the twentieth would time out at once. */
VIRTUAL_TEST(the_wait_for_one_timer_is_not_charged_to_the_next) {
    f->loop.outstanding = 1;
    for (int request = 0; request < 10; request++) {
        at(&f->a, 20 * MS);
        world_acts(5 * MS, 0);
        turn_until_something_ran();
        assert_logged(&f->log, "w");
        loop_cancel_timer(&f->loop, &f->a.timer);
    }
    assert_int_equal(now(), 0);
}

/* ---- Real time ------------------------------------------------------------------------------- */

static int64_t due_ns[100];
static struct timer due[100];
static int fired;

static void check_due(struct handle *handle) {
    int64_t now_ns = clock_monotonic();
    struct timer *timer = container_of(handle, struct timer, handle);
    assert_true(now_ns >= due_ns[timer - due]);
    assert_true(now_ns >= timer_deadline_ns(timer));
    fired++;
}

REAL_TEST(a_timer_is_never_early) {
    uint32_t random = 1;
    fired = 0;
    int64_t start_ns = clock_monotonic();
    for (int i = 0; i < 100; i++) {
        random = random * 1664525 + 1013904223;
        due_ns[i] = start_ns + (random >> 8) % (20 * MS);
        timer_init(&due[i], check_due);
        assert_true(loop_call_at(&f->loop, &due[i], due_ns[i]));
    }
    while (fired < 100) assert_int_equal(loop_run_once(&f->loop), 0);
}

REAL_TEST(a_timer_runs_in_the_turn_that_waited_for_it) {
    at(&f->a, now() + 2 * MS);
    assert_turn("a");
}

REAL_TEST(a_nanosecond_decides_the_order_of_real_timers) {
    int64_t when_ns = now() + MS;
    at(&f->a, when_ns + 2);
    at(&f->b, when_ns + 1);
    at(&f->c, when_ns + 2);
    at(&f->d, when_ns);
    while (f->log.length < 4) assert_int_equal(loop_run_once(&f->loop), 0);
    assert_logged(&f->log, "dbac");
}

REAL_TEST(a_crowd_of_timers_comes_in_one_turn) {
    enum { COUNT = 5, BETWEEN_NS = LOOP_CROWD_NS / COUNT };
    struct job crowd[COUNT];
    int64_t when_ns = now() + 2 * MS;
    for (int i = 0; i < COUNT; i++) {
        job_init(&crowd[i], (char)('1' + i), &f->log);
        at(&crowd[i], when_ns + i * BETWEEN_NS);
    }
    at(&f->a, when_ns + 2 * LOOP_CROWD_NS);
    while (f->log.length == 0) assert_int_equal(loop_run_once(&f->loop), 0);
    assert_true(clock_monotonic() >= timer_deadline_ns(&crowd[COUNT - 1].timer));
    assert_int_equal(strncmp(f->log.text, "12345", COUNT), 0);
}

REAL_TEST(the_earliest_deadline_is_due_at_once_and_the_latest_never) {
    at(&f->a, INT64_MAX);
    at(&f->b, INT64_MIN);
    assert_turn("b");
    at(&f->c, INT64_MIN + 1);
    at(&f->d, -1);
    assert_turn("cd");
    world_acts(5 * MS, 0);
    assert_turn("w"); /* one wait, until the world acts */
}

REAL_TEST(a_signal_in_a_wait_makes_no_timer_early) {
    at(&f->a, now() + MS);
    kernel.fail_pwait2 = EINTR;
    turn_until_something_ran();
    assert_true(clock_monotonic() >= timer_deadline_ns(&f->a.timer));
}

REAL_TEST(a_stopped_loop_still_runs_what_is_due) {
    at(&f->a, now() + 1);
    while (clock_monotonic() <= timer_deadline_ns(&f->a.timer)) continue;
    loop_stop(&f->loop);
    assert_int_equal(loop_run(&f->loop), 0);
    assert_logged(&f->log, "a");
}

REAL_TEST(a_loop_without_descriptors_and_timers_does_not_call_the_kernel) {
    no_world();
    f->a.then = push_again;
    f->a.log = NULL;
    soon(&f->a);
    for (int i = 0; i < 900; i++) assert_turn("");
    assert_int_equal(kernel.waits, 0);
    assert_int_equal(f->loop.looked_ticks, 0); /* nor look at the clock */
}

/* The counter is read on both sides of each turn, so that it is known of most turns
 * whether they had to look, however fast the machine is. */
REAL_TEST(a_busy_loop_looks_every_hundred_microseconds_and_not_more_often) {
    int looked = 0, put_off = 0;
    f->a.then = push_again;
    f->a.log = NULL;
    soon(&f->a);
    assert_turn("");
    for (int turn = 0; turn < 1000000 && (looked < 3 || put_off < 3); turn++) {
        uint64_t before = clock_ticks() - f->loop.looked_ticks, last = f->loop.looked_ticks;
        int waits = kernel.waits;
        f->loop.metrics.turns = 0;
        assert_turn("");
        uint64_t after = clock_ticks() - last;
        if (before >= CLOCK_TICKS_100US) {
            assert_int_equal(kernel.waits, waits + 1);
            looked++;
        } else if (after < CLOCK_TICKS_100US) {
            assert_int_equal(kernel.waits, waits);
            put_off++;
        }
    }
    assert_true(looked >= 3);
}

REAL_TEST(a_busy_loop_does_not_starve_timers_and_descriptors) {
    f->a.then = push_again;
    f->a.log = NULL;
    soon(&f->a);
    at(&f->b, now() + MS);
    world_acts(MS, 0);
    while (f->log.length < 2) {
        f->loop.metrics.turns = 0;
        assert_int_equal(loop_run_once(&f->loop), 0);
    }
    assert_non_null(strchr(f->log.text, 'w'));
    assert_non_null(strchr(f->log.text, 'b'));
}

REAL_TEST(time_in_the_kernel_is_counted) {
    int64_t began_ns = clock_monotonic();
    at(&f->a, now() + 20 * MS);
    turn_until_something_ran();
    assert_in_range(loop_io_wait_ns(&f->loop), 10 * MS, clock_monotonic() - began_ns + MS);
    assert_int_equal(f->loop.metrics.polls, kernel.waits);
}

/* ---- A foreign clock -------------------------------------------------------------------------- */

static int64_t foreign_ns;

static int64_t read_foreign(void *arg) {
    (void)arg;
    return foreign_ns;
}

static void advance_foreign(struct job *job) {
    (void)job;
    foreign_ns += 10;
    soon(&f->a);
}

REAL_TEST(a_foreign_clock_decides_what_is_due) {
    f->loop.clock.kind = CLOCK_KIND_FOREIGN;
    f->loop.clock.read = read_foreign;
    foreign_ns = -25;
    f->a.then = advance_foreign;
    soon(&f->a);
    at(&f->b, -5);
    at(&f->c, 0);
    at(&f->d, INT64_MAX);
    assert_turn("a");
    assert_turn("a");
    assert_turn("ab");
    assert_turn("ac");
    assert_int_equal(now(), 15);
}

/* From a time below zero the latest deadline is further away than a number can say. */
REAL_TEST(the_latest_deadline_of_a_negative_clock_is_far_away) {
    f->loop.clock.kind = CLOCK_KIND_FOREIGN;
    f->loop.clock.read = read_foreign;
    foreign_ns = -NS_PER_S;
    at(&f->a, INT64_MAX);
    world_acts(5 * MS, 0);
    assert_turn("w");
}

/* ---- Nothing can happen any more -------------------------------------------------------------- */

TEST_IN_BOTH(a_loop_that_nothing_can_wake_says_so) {
    assert_int_equal(loop_run_once(&f->loop), -EDEADLK); /* the watch alone does not count */
    soon(&f->a);
    assert_turn("a");
    assert_int_equal(loop_run_once(&f->loop), -EDEADLK);
    assert_true(loop_call_priority(&f->loop, &f->a.timer, 0));
    assert_turn("a");
    assert_int_equal(loop_run(&f->loop), -EDEADLK);
    at(&f->a, now() + 1);
    turn_until_something_ran();
    assert_int_equal(loop_run_once(&f->loop), -EDEADLK);
    loop_call_soon_threadsafe(&f->loop, &f->b.timer.handle);
    log_clear(&f->log);
    assert_turn("b");
    loop_stop(&f->loop);
    assert_int_equal(loop_run(&f->loop), 0);
    assert_int_equal(loop_run(&f->loop), -EDEADLK);
}

TEST_IN_BOTH(what_is_outstanding_or_listening_can_wake_it) {
    size_t *counters[] = {&f->loop.outstanding, &f->loop.listening};
    for (int i = 0; i < 2; i++) {
        *counters[i] = 1;
        world_acts(MS, 0);
        turn_until_something_ran();
        assert_logged(&f->log, "w");
        *counters[i] = 0;
        assert_int_equal(loop_run_once(&f->loop), -EDEADLK);
    }
}

TEST_IN_BOTH(a_signal_handler_can_wake_it) {
    assert_int_equal(signals_start(&f->loop.signals, SIGUSR1, &f->a.timer.handle), 0);
    raise(SIGUSR1);
    turn_until_something_ran();
    assert_logged(&f->log, "a");
    signals_stop(&f->loop.signals, SIGUSR1);
    assert_int_equal(loop_run_once(&f->loop), -EDEADLK);
}

TEST_IN_BOTH(after_a_deadlock_the_loop_can_go_on) {
    assert_int_equal(loop_run(&f->loop), -EDEADLK);
    at(&f->a, now() + 1);
    soon(&f->b);
    while (f->log.length < 2) assert_int_equal(loop_run_once(&f->loop), 0);
    assert_logged(&f->log, "ba");
}

int main(void) {
    return suite_run();
}
