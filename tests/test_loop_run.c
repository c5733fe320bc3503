/* test_loop_run.c -- when a loop runs, stops and is closed, and how a turn goes on behind a
 * callback that does not return. */
#include "tests/turns.h"

#include <fcntl.h>
#include <setjmp.h>
#include <sys/wait.h>

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
    assert_true(loop_call_at(&other, &f->c.timer, 100));
    at(&f->d, 0);
    raise(SIGUSR2);
    assert_turn("rd");
    assert_int_equal(loop_run_once(&other), 0);
    assert_logged(&f->log, "rb");
    poller_stop(&other.poller, &same);
    assert_int_equal(loop_run_once(&other), 0);
    assert_logged(&f->log, "c");
    assert_int_equal(loop_now(&other), 100);
    assert_int_equal(loop_now(&f->loop), 0);
    loop_close(&other);
    assert_turn("r");
}

LOOP_TEST(a_signal_runs_its_handle_in_the_turn_that_finds_it) {
    assert_int_equal(signals_start(&f->loop.signals, SIGUSR1, &f->a.timer.handle), 0);
    raise(SIGUSR1);
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
    assert_turn("rab");
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
