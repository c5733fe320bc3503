/* test_loop.c -- who runs in which turn, and who does not.  Time is virtual; what it
 * does is in test_loop_time.c, what other threads do in test_loop_threads.c. */
#include "tests/job.h"
#include "tests/kernel.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

enum { MILLION = 1000000 };

/* A loop in virtual time, jobs to put into it, and a descriptor that is always readable,
 * with a watch that writes 'r'. */
struct fixture {
    struct loop loop;
    struct log log;
    struct job a, b, c, d, e;
    struct watch r;
    int descriptors, fd;
};

static struct fixture *f; /* of the test that runs */

static void r_ready(struct handle *handle) {
    (void)handle;
    log_add(&f->log, 'r');
}

static int set_up(void **state) {
    f = calloc(1, sizeof *f);
    *state = f;
    if (f == NULL) return -1;
    f->descriptors = open_descriptors();
    if (loop_init(&f->loop, CLOCK_KIND_VIRTUAL) < 0) return -1;
    struct job *jobs[] = {&f->a, &f->b, &f->c, &f->d, &f->e};
    for (int i = 0; i < 5; i++) {
        job_init(jobs[i], (char)('a' + i), &f->log);
        jobs[i]->loop = &f->loop;
    }
    watch_init(&f->r, r_ready);
    f->fd = eventfd(1, EFD_NONBLOCK);
    kernel = (struct kernel){.creates = 0};
    return 0;
}

static int tear_down(void **state) {
    loop_close(&f->loop);
    close(f->fd);
    int leaked = open_descriptors() - f->descriptors;
    free(*state);
    return leaked;
}

#define LOOP_TEST(name) TEST_WITH(name, set_up, tear_down)

static void soon(struct job *job) {
    loop_call_soon(&f->loop, &job->timer.handle);
}

static void at(struct job *job, int64_t when_ns) {
    loop_call_at(&f->loop, &job->timer, when_ns);
}

static void urgent(struct job *job, int64_t priority) {
    loop_call_priority(&f->loop, &job->timer, priority);
}

static void watch(void) {
    assert_int_equal(poller_start(&f->loop.poller, &f->r, f->fd, POLL_READ), 0);
}

/* One turn, in which exactly these ran, in this order. */
#define assert_turn(names) \
    assert_int_equal(loop_run_once(&f->loop), 0), assert_logged(&f->log, (names))

/* ---- The order of a turn -------------------------------------------------------------------- */

LOOP_TEST(callbacks_run_in_the_order_of_their_calls) {
    soon(&f->c);
    soon(&f->a);
    soon(&f->b);
    assert_turn("cab");
}

static void push_other(struct job *job) {
    soon(job->other);
}

LOOP_TEST(what_a_callback_schedules_runs_in_the_next_turn) {
    f->a.then = push_other;
    f->a.other = &f->c;
    soon(&f->a);
    soon(&f->b);
    assert_turn("ab");
    assert_turn("c");
}

LOOP_TEST(a_callback_that_schedules_itself_runs_once_a_turn) {
    f->a.then = push_other;
    f->a.other = &f->a;
    soon(&f->a);
    soon(&f->b);
    assert_turn("ab");
    assert_turn("a");
    assert_turn("a");
}

LOOP_TEST(a_turn_is_what_was_ready_then_descriptors_then_timers) {
    watch();
    at(&f->b, 0);
    soon(&f->a);
    assert_turn("arb");
    soon(&f->a);
    assert_turn("ar");
}

LOOP_TEST(timers_run_by_deadline_and_equal_ones_in_order_of_start) {
    at(&f->a, 20);
    at(&f->b, 10);
    at(&f->c, 20);
    at(&f->d, 10);
    at(&f->e, 9);
    assert_turn("e");
    assert_turn("bd");
    assert_turn("ac");
}

static void restart_now(struct job *job) {
    at(job, 0);
}

LOOP_TEST(a_timer_that_starts_itself_anew_runs_in_the_next_turn) {
    f->a.then = restart_now;
    at(&f->a, 0);
    at(&f->b, 0);
    assert_turn("ab");
    soon(&f->b);
    assert_turn("ba");
}

LOOP_TEST(an_endless_chain_starves_neither_descriptors_nor_timers) {
    f->a.then = push_other;
    f->a.other = &f->a;
    soon(&f->a);
    watch();
    at(&f->b, 0);
    assert_turn("arb");
    assert_turn("ar");
}

/* ---- Priorities ------------------------------------------------------------------------------ */

LOOP_TEST(priorities_run_first_smaller_ones_sooner) {
    soon(&f->a);
    urgent(&f->b, 5);
    urgent(&f->c, -5);
    urgent(&f->d, INT64_MAX);
    urgent(&f->e, INT64_MIN);
    assert_turn("ecbda");
}

LOOP_TEST(equal_priorities_run_in_the_order_of_their_calls) {
    urgent(&f->c, 1);
    urgent(&f->a, 1);
    urgent(&f->d, 0);
    urgent(&f->b, 1);
    assert_turn("dcab");
}

static void hurry_other(struct job *job) {
    urgent(job->other, 0);
}

LOOP_TEST(a_priority_overtakes_what_waits_but_the_turn_does_not_grow) {
    f->a.then = hurry_other;
    f->a.other = &f->d;
    soon(&f->a);
    soon(&f->b);
    soon(&f->c);
    assert_turn("adb");
    assert_turn("c");
}

static void hurry_itself_less(struct job *job) {
    urgent(job, 1);
    job->then = NULL;
}

LOOP_TEST(a_priority_from_a_priority_is_picked_by_its_number) {
    f->a.then = hurry_itself_less;
    urgent(&f->a, 0);
    urgent(&f->b, 1);
    urgent(&f->c, 2);
    assert_turn("aba");
    assert_turn("c");
}

LOOP_TEST(an_endless_chain_of_priorities_holds_what_is_ready_for_one_turn_only) {
    f->a.then = hurry_other;
    f->a.other = &f->a;
    urgent(&f->a, 0);
    soon(&f->b);
    assert_turn("aa");
    soon(&f->c);
    watch();
    assert_turn("aaab"); /* polled; four stood there, and one was overtaken before */
    assert_turn("acr");
    assert_turn("aa");
    assert_turn("ar");
}

static void hurry_other_and_push_itself(struct job *job) {
    urgent(job->other, 0);
    soon(job);
}

LOOP_TEST(what_a_turn_did_not_reach_comes_first_in_the_next) {
    f->a.then = hurry_other_and_push_itself;
    f->a.other = &f->c;
    soon(&f->a);
    soon(&f->b);
    assert_turn("ac");
    f->a.then = NULL;
    assert_turn("ba");
}

LOOP_TEST(the_last_callback_of_a_turn_leaves_its_priority_for_the_next) {
    f->a.then = hurry_other;
    f->a.other = &f->b;
    soon(&f->a);
    assert_turn("a");
    soon(&f->c);
    assert_turn("bc");
}

/* ---- Cancelling ------------------------------------------------------------------------------ */

static void cancel_other(struct job *job) {
    loop_cancel_timer(&f->loop, &job->other->timer);
}

static void cancel_other_priority(struct job *job) {
    loop_cancel_priority(&f->loop, &job->other->timer);
}

LOOP_TEST(a_ready_callback_can_be_cancelled) {
    soon(&f->a);
    soon(&f->b);
    soon(&f->c);
    handle_unlink(&f->b.timer.handle);
    assert_turn("ac");
}

LOOP_TEST(a_timer_can_be_cancelled_before_its_deadline) {
    at(&f->a, 10);
    at(&f->b, 20);
    loop_cancel_timer(&f->loop, &f->a.timer);
    assert_false(timer_started(&f->a.timer));
    assert_turn("b");
    assert_int_equal(loop_now(&f->loop), 20);
}

LOOP_TEST(a_timer_can_be_cancelled_between_deadline_and_callback) {
    f->a.then = cancel_other;
    f->a.other = &f->b;
    at(&f->a, 10);
    at(&f->b, 10);
    at(&f->c, 10);
    assert_turn("ac");
    assert_false(handle_queued(&f->b.timer.handle));
}

LOOP_TEST(a_priority_can_be_cancelled_before_and_during_its_turn) {
    f->a.then = cancel_other_priority;
    f->a.other = &f->b;
    urgent(&f->a, 0);
    urgent(&f->b, 1);
    urgent(&f->c, 2);
    urgent(&f->d, -1);
    loop_cancel_priority(&f->loop, &f->d.timer);
    assert_turn("ac");
    assert_int_equal(f->loop.priority.count, 0);
}

LOOP_TEST(cancelling_what_is_nowhere_is_harmless) {
    loop_cancel_timer(&f->loop, &f->a.timer);
    loop_cancel_priority(&f->loop, &f->a.timer);
    at(&f->a, 0);
    loop_cancel_timer(&f->loop, &f->a.timer);
    loop_cancel_timer(&f->loop, &f->a.timer);
    at(&f->b, 0);
    assert_turn("b");
    loop_cancel_timer(&f->loop, &f->b.timer);
    assert_int_equal(loop_run_once(&f->loop), -EDEADLK);
}

LOOP_TEST(a_callback_may_cancel_itself_the_one_before_and_the_one_after) {
    f->b.then = cancel_other;
    struct job *others[] = {&f->a, &f->b, &f->c};
    const char *expected[] = {"abcd", "abcd", "abd"};
    for (int i = 0; i < 3; i++) {
        f->b.other = others[i];
        soon(&f->a);
        soon(&f->b);
        soon(&f->c);
        soon(&f->d);
        assert_turn(expected[i]);
    }
}

LOOP_TEST(the_last_one_of_a_turn_may_be_cancelled_in_it) {
    f->a.then = cancel_other;
    f->a.other = &f->b;
    soon(&f->a);
    soon(&f->b);
    assert_turn("a");
    assert_int_equal(loop_run_once(&f->loop), -EDEADLK);
}

static void cancel_and_push_again(struct job *job) {
    loop_cancel_timer(&f->loop, &job->other->timer);
    soon(job->other);
}

LOOP_TEST(one_that_is_cancelled_and_scheduled_again_runs_in_the_next_turn) {
    f->a.then = cancel_and_push_again;
    f->a.other = &f->b;
    soon(&f->a);
    soon(&f->b);
    soon(&f->c);
    assert_turn("ac");
    assert_turn("b");
}

LOOP_TEST(a_cancelled_timer_may_start_again_with_another_deadline) {
    at(&f->a, 10);
    at(&f->b, 20);
    loop_cancel_timer(&f->loop, &f->a.timer);
    at(&f->a, 30);
    assert_turn("b");
    assert_turn("a");
    assert_int_equal(loop_now(&f->loop), 30);
}

LOOP_TEST(a_cancelled_one_does_not_lengthen_the_turn) {
    f->a.then = cancel_and_push_again;
    f->a.other = &f->b;
    f->c.then = hurry_other;
    f->c.other = &f->d;
    soon(&f->a);
    soon(&f->b);
    soon(&f->c);
    assert_int_equal(loop_run_once(&f->loop), 0);
    assert_true(f->log.length <= 3);
    log_clear(&f->log);
    assert_int_equal(loop_run_once(&f->loop), 0);
    assert_null(handle_queue_first(&f->loop.ready));
}

static void stop_watch(struct job *job) {
    (void)job;
    poller_stop(&f->loop.poller, &f->r);
}

LOOP_TEST(a_watch_stopped_in_its_turn_does_not_run) {
    f->a.then = stop_watch;
    watch();
    soon(&f->a);
    soon(&f->b);
    assert_turn("ab");
    assert_int_equal(loop_run_once(&f->loop), -EDEADLK);
}

LOOP_TEST(a_million_cancelled_timers_leave_nothing) {
    struct timer *timers = calloc(MILLION, sizeof *timers);
    assert_non_null(timers);
    for (int64_t i = 0; i < MILLION; i++) {
        loop_call_at(&f->loop, &timers[i], 1 + i * 7919 % MILLION);
    }
    at(&f->a, 5);
    for (int i = 0; i < MILLION; i++) loop_cancel_timer(&f->loop, &timers[i]);
    free(timers); /* the sanitizer would see a node that is still linked */
    assert_int_equal(f->loop.timers.count, 1);
    assert_turn("a");
    assert_int_equal(loop_now(&f->loop), 5);
    assert_int_equal(f->loop.metrics.timers_fired, 1);
    assert_int_equal(loop_run_once(&f->loop), -EDEADLK);
}

static void free_job(struct job *job) {
    free(job);
}

LOOP_TEST(a_callback_may_free_itself) {
    for (int i = 0; i < 3; i++) {
        struct job *job = malloc(sizeof *job);
        assert_non_null(job);
        job_init(job, (char)('x' + i), &f->log);
        job->then = free_job;
        if (i == 0) soon(job);
        if (i == 1) at(job, 0);
        if (i == 2) urgent(job, 0);
    }
    assert_turn("zxy");
}

/* ---- Running, stopping, closing -------------------------------------------------------------- */

static void stop_loop(struct job *job) {
    loop_stop(job->loop);
}

LOOP_TEST(a_stop_ends_the_run_after_the_turn_under_way) {
    f->a.then = stop_loop;
    f->b.then = push_other;
    f->b.other = &f->c;
    soon(&f->a);
    soon(&f->b);
    at(&f->d, 1);
    assert_int_equal(loop_run(&f->loop), 0);
    assert_logged(&f->log, "ab");
    assert_false(f->loop.running);
    f->d.then = stop_loop;
    assert_int_equal(loop_run(&f->loop), 0);
    assert_logged(&f->log, "cd");
}

LOOP_TEST(a_stop_before_the_run_leaves_one_turn_without_a_wait) {
    at(&f->a, 1);
    loop_stop(&f->loop);
    assert_int_equal(loop_run(&f->loop), 0); /* time stands: nobody waited */
    assert_logged(&f->log, "");
    soon(&f->b);
    at(&f->c, 0);
    watch();
    loop_stop(&f->loop);
    assert_int_equal(loop_run(&f->loop), 0);
    assert_logged(&f->log, "brc");
    assert_int_equal(loop_now(&f->loop), 0);
}

static void check_running(struct job *job) {
    assert_true(job->loop->running);
    loop_stop(job->loop);
}

LOOP_TEST(a_loop_knows_whether_it_runs) {
    f->a.then = check_running;
    soon(&f->a);
    assert_false(f->loop.running);
    assert_int_equal(loop_run(&f->loop), 0);
    assert_false(f->loop.running);
}

LOOP_TEST(a_run_ends_when_nothing_could_wake_it) {
    at(&f->a, 7);
    assert_int_equal(loop_run(&f->loop), -EDEADLK);
    assert_logged(&f->log, "a");
    assert_false(f->loop.running);
    soon(&f->b);
    assert_turn("b");
}

LOOP_TEST(an_error_of_the_kernel_ends_the_turn_and_loses_nothing) {
    watch();
    soon(&f->a);
    kernel.fail_wait = EBADF;
    assert_int_equal(loop_run_once(&f->loop), -EBADF);
    assert_logged(&f->log, "");
    assert_turn("ar");
}

LOOP_TEST(closing_takes_everything_out_uncalled) {
    soon(&f->a);
    at(&f->b, 10);
    urgent(&f->c, 0);
    watch();
    struct watch signalled;
    watch_init(&signalled, r_ready);
    assert_int_equal(signals_start(&f->loop.signals, SIGUSR1, &f->d.timer.handle), 0);
    loop_call_soon_threadsafe(&f->loop, &f->e.timer.handle);
    assert_int_equal(trace_start(&f->loop.trace, 0), 0);
    loop_close(&f->loop);
    assert_logged(&f->log, "");
    assert_false(handle_queued(&f->a.timer.handle));
    assert_false(timer_started(&f->b.timer));
    assert_false(timer_started(&f->c.timer));
    assert_false(handle_queued(&f->e.timer.handle));
    assert_false(watch_started(&f->r));
    assert_int_equal(open_descriptors(), f->descriptors + 1);
    loop_close(&f->loop);
    assert_int_equal(open_descriptors(), f->descriptors + 1);
}

LOOP_TEST(a_loop_that_cannot_be_made_leaves_nothing) {
    struct loop loop;
    int fds = open_descriptors();
    for (int spare = 0; spare < 2; spare++) {
        struct rlimit limit = leave_descriptors(spare);
        int result = loop_init(&loop, CLOCK_KIND_MONOTONIC);
        setrlimit(RLIMIT_NOFILE, &limit);
        assert_int_equal(result, -EMFILE);
        assert_int_equal(open_descriptors(), fds);
        loop_close(&loop); /* as a finaliser may do */
        assert_int_equal(open_descriptors(), fds);
    }
    kernel.fail_control = ENOMEM;
    assert_int_equal(loop_init(&loop, CLOCK_KIND_MONOTONIC), -ENOMEM);
    assert_int_equal(open_descriptors(), fds);
    loop_close(&loop);
    assert_int_equal(open_descriptors(), fds);
}

LOOP_TEST(a_loops_descriptors_are_not_inherited_by_programs) {
    assert_int_equal(fcntl(f->loop.poller.epoll_fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fcntl(f->loop.inbox_watch.fd, F_GETFD), FD_CLOEXEC);
}

LOOP_TEST(two_loops_live_in_one_process) {
    struct loop other;
    assert_int_equal(loop_init(&other, CLOCK_KIND_VIRTUAL), 0);
    struct watch same;
    watch_init(&same, r_ready);
    watch();
    assert_int_equal(poller_start(&other.poller, &same, f->fd, POLL_READ), 0);
    assert_int_equal(signals_start(&f->loop.signals, SIGUSR1, &f->a.timer.handle), 0);
    assert_int_equal(signals_start(&other.signals, SIGUSR2, &f->b.timer.handle), 0);
    loop_call_at(&other, &f->c.timer, 100);
    at(&f->d, 0);
    raise(SIGUSR2);
    assert_turn("rd");
    assert_int_equal(loop_run_once(&other), 0);
    assert_logged(&f->log, "r");
    assert_int_equal(loop_run_once(&other), 0);
    assert_logged(&f->log, "br");
    poller_stop(&other.poller, &same);
    assert_int_equal(loop_run_once(&other), 0);
    assert_logged(&f->log, "c");
    assert_int_equal(loop_now(&other), 100);
    assert_int_equal(loop_now(&f->loop), 0);
    loop_close(&other);
    assert_turn("r");
}

LOOP_TEST(a_signal_runs_its_handle_within_two_turns) {
    assert_int_equal(signals_start(&f->loop.signals, SIGUSR1, &f->a.timer.handle), 0);
    raise(SIGUSR1);
    assert_turn("");
    assert_turn("a");
    signals_stop(&f->loop.signals, SIGUSR1);
    assert_int_equal(loop_run_once(&f->loop), -EDEADLK);
}

LOOP_TEST(a_forked_child_may_close_its_copy_and_the_parent_does_not_notice) {
    watch();
    assert_int_equal(signals_start(&f->loop.signals, SIGUSR1, &f->a.timer.handle), 0);
    assert_int_equal(signals_start(&f->loop.signals, SIGUSR2, &f->b.timer.handle), 0);
    pid_t child = fork();
    if (child == 0) {
        int result = signals_start(&f->loop.signals, SIGHUP, &f->c.timer.handle);
        loop_close(&f->loop);
        _exit(result == -EBADF ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    raise(SIGUSR1);
    raise(SIGUSR2);
    assert_turn("r");
    assert_turn("abr");
    loop_call_soon_threadsafe(&f->loop, &f->c.timer.handle);
    assert_turn("cr");
}

/* ---- A callback that does not return ---------------------------------------------------------- */

static jmp_buf left;

static void push_other_and_leave(struct job *job) {
    soon(job->other);
    longjmp(left, 1);
}

LOOP_TEST(a_turn_goes_on_behind_a_callback_that_left) {
    f->a.then = push_other_and_leave;
    f->a.other = &f->e;
    soon(&f->a);
    soon(&f->b);
    if (setjmp(left) == 0) loop_run_once(&f->loop);
    assert_logged(&f->log, "a");
    soon(&f->d);
    assert_turn("b");
    assert_turn("ed");
    assert_int_equal(f->loop.metrics.turns, 2);
}

LOOP_TEST(a_turn_of_urgent_callbacks_goes_on_as_well) {
    f->a.then = push_other_and_leave;
    f->a.other = &f->e;
    urgent(&f->a, 1);
    urgent(&f->b, 2);
    soon(&f->c);
    if (setjmp(left) == 0) loop_run_once(&f->loop);
    assert_logged(&f->log, "a");
    assert_turn("bc");
    assert_turn("e");
}

LOOP_TEST(a_loop_may_be_closed_behind_a_callback_that_left) {
    f->a.then = push_other_and_leave;
    f->a.other = &f->e;
    soon(&f->a);
    soon(&f->b);
    if (setjmp(left) == 0) loop_run_once(&f->loop);
    assert_logged(&f->log, "a");
    loop_close(&f->loop);
    assert_false(handle_queued(&f->b.timer.handle));
    assert_false(handle_queued(&f->e.timer.handle));
}

LOOP_TEST(what_happens_is_counted) {
    soon(&f->a);
    at(&f->b, 0);
    at(&f->c, 10);
    urgent(&f->d, 0);
    watch();
    assert_turn("darb");
    poller_stop(&f->loop.poller, &f->r);
    assert_turn("c");
    assert_int_equal(f->loop.metrics.turns, 2);
    assert_int_equal(f->loop.metrics.callbacks_executed, 5);
    assert_int_equal(f->loop.metrics.timers_fired, 2);
    assert_int_equal(f->loop.metrics.io_events, 1);
    assert_int_equal(f->loop.metrics.polls, kernel.waits);
}

int main(void) {
    return suite_run();
}
