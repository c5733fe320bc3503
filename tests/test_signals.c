/* test_signals.c -- signals as callbacks, and what is left behind without them.
 *
 * `raise` makes a signal pend for this thread at once, so nothing here need wait. */
#include "tests/job.h"
#include "tests/kernel.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>

struct fixture {
    struct poller poller;
    struct handle_queue ready;
    struct signals signals;
    struct log log;
    struct job a, b;
    sigset_t mask; /* of the thread, before the test */
    int descriptors;
};

static struct fixture *f; /* of the test that runs */

static int set_up(void **state) {
    f = calloc(1, sizeof *f);
    *state = f;
    if (f == NULL || poller_init(&f->poller) < 0) return -1;
    handle_queue_init(&f->ready);
    signals_init(&f->signals, &f->poller, &f->ready);
    job_init(&f->a, 'a', &f->log);
    job_init(&f->b, 'b', &f->log);
    pthread_sigmask(SIG_SETMASK, NULL, &f->mask);
    kernel = (struct kernel){.creates = 0};
    f->descriptors = open_descriptors();
    return 0;
}

/* Each test must leave the mask and the descriptors as they were. */
static int tear_down(void **state) {
    signals_close(&f->signals);
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    int differing = 0;
    for (int signal = 1; signal < SIGNAL_LIMIT; signal++) {
        if (sigismember(&mask, signal) != sigismember(&f->mask, signal)) differing++;
    }
    int descriptors = open_descriptors() - f->descriptors;
    size_t watches = f->poller.watches;
    poller_close(&f->poller);
    free(*state);
    return differing == 0 && descriptors == 0 && watches == 0 ? 0 : -1;
}

#define SIGNAL_TEST(name) TEST_WITH(name, set_up, tear_down)

static void start(int signal, struct job *job) {
    assert_int_equal(signals_start(&f->signals, signal, &job->timer.handle), 0);
}

static struct job *stop(int signal) {
    struct handle *handle = signals_stop(&f->signals, signal);
    if (handle == NULL) return NULL;
    return container_of(container_of(handle, struct timer, handle), struct job, timer);
}

static void send(int signal) {
    assert_int_equal(raise(signal), 0);
}

/* Runs whatever the signals that came have queued, and compares. */
#define assert_ran(names) \
    assert_true(poller_wait(&f->poller, 0, &f->ready) >= 0), run_all(&f->ready), \
        assert_logged(&f->log, (names))

static bool is_blocked(int signal) {
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    return sigismember(&mask, signal) == 1;
}

SIGNAL_TEST(a_signal_runs_its_handle) {
    start(SIGUSR1, &f->a);
    assert_ran("");
    send(SIGUSR1);
    assert_ran("a");
    assert_ran("");
    send(SIGUSR1);
    assert_ran("a");
}

SIGNAL_TEST(two_signals_run_their_own_handles) {
    start(SIGUSR1, &f->a);
    start(SIGUSR2, &f->b);
    send(SIGUSR2);
    assert_ran("b");
    send(SIGUSR1);
    assert_ran("a");
    send(SIGUSR1);
    send(SIGUSR2);
    assert_ran("ab");
}

SIGNAL_TEST(one_handle_may_serve_two_signals) {
    start(SIGUSR1, &f->a);
    start(SIGUSR2, &f->a);
    send(SIGUSR1);
    send(SIGUSR2);
    assert_ran("a");
}

SIGNAL_TEST(signals_that_come_before_the_handle_runs_are_one) {
    start(SIGUSR1, &f->a);
    for (int i = 0; i < 3; i++) send(SIGUSR1);
    assert_ran("a");
    start(SIGRTMIN, &f->b); /* these the kernel keeps apart */
    for (int i = 0; i < 40; i++) send(SIGRTMIN);
    assert_ran("b");
    assert_ran("");
}

SIGNAL_TEST(the_highest_signal_is_one_like_others) {
    start(SIGRTMAX, &f->a);
    if (raise(SIGRTMAX) != 0) skip(); /* valgrind keeps it for itself */
    assert_ran("a");
}

SIGNAL_TEST(what_is_no_signal_is_refused) {
    const int refused[] = {0,         -1,      INT32_MIN, 65,
                           INT32_MAX, SIGKILL, SIGSTOP,   32 /* the C library's */};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        assert_int_equal(signals_start(&f->signals, refused[i], &f->a.timer.handle), -EINVAL);
        assert_null(stop(refused[i]));
    }
    assert_int_equal(f->signals.count, 0);
    assert_int_equal(open_descriptors(), f->descriptors);
}

SIGNAL_TEST(a_second_handler_replaces_the_first) {
    start(SIGUSR1, &f->a);
    start(SIGUSR1, &f->b);
    assert_int_equal(f->signals.count, 1);
    send(SIGUSR1);
    assert_ran("b");
    assert_ptr_equal(stop(SIGUSR1), &f->b);
    assert_null(stop(SIGUSR1));
}

/* Lets the signal's handle be queued, but not run. */
static void send_until_queued(int signal, struct job *job) {
    send(signal);
    assert_int_equal(poller_wait(&f->poller, 0, &f->ready), 1);
    struct handle *reader = handle_pop(&f->ready);
    reader->run(reader);
    assert_true(handle_queued(&job->timer.handle));
}

SIGNAL_TEST(a_replacement_answers_the_signal_that_had_come) {
    start(SIGUSR1, &f->a);
    send_until_queued(SIGUSR1, &f->a);
    start(SIGUSR1, &f->b);
    assert_false(handle_queued(&f->a.timer.handle));
    assert_ran("b");
    send_until_queued(SIGUSR1, &f->b);
    start(SIGUSR1, &f->b); /* by itself */
    assert_ran("b");
}

SIGNAL_TEST(a_stopped_signal_no_longer_runs_its_handle) {
    start(SIGUSR1, &f->a);
    start(SIGUSR2, &f->b);
    send_until_queued(SIGUSR1, &f->a);
    assert_ptr_equal(stop(SIGUSR1), &f->a);
    assert_ran("");
    send(SIGUSR2);
    assert_ran("b");
}

SIGNAL_TEST(stopping_restores_the_mask) {
    start(SIGUSR1, &f->a);
    start(SIGUSR2, &f->b);
    assert_true(is_blocked(SIGUSR1) && is_blocked(SIGUSR2));
    stop(SIGUSR1);
    assert_false(is_blocked(SIGUSR1));
    assert_true(is_blocked(SIGUSR2));
    stop(SIGUSR2);
    assert_false(is_blocked(SIGUSR2));
}

SIGNAL_TEST(a_signal_that_was_blocked_before_stays_blocked) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    start(SIGUSR1, &f->a);
    start(SIGUSR2, &f->b);
    sigset_t blocked;
    sigemptyset(&blocked);
    signals_add_blocked(&f->signals, &blocked);
    assert_int_equal(sigismember(&blocked, SIGUSR1), 0);
    assert_int_equal(sigismember(&blocked, SIGUSR2), 1);
    stop(SIGUSR1);
    send(SIGUSR1); /* stays for whoever blocked it */
    send(SIGUSR2);
    assert_ran("b");
    assert_int_equal(sigtimedwait(&set, NULL, &(struct timespec){0}), SIGUSR1);
    stop(SIGUSR2);
    assert_true(is_blocked(SIGUSR1));
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    start(SIGUSR1, &f->a); /* what was before is forgotten */
    stop(SIGUSR1);
    assert_false(is_blocked(SIGUSR1));
}

SIGNAL_TEST(what_was_blocked_is_known_for_children) {
    sigset_t blocked;
    start(SIGUSR1, &f->a);
    start(SIGTERM, &f->b);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGWINCH);
    signals_add_blocked(&f->signals, &blocked);
    for (int signal = 1; signal < SIGNAL_LIMIT; signal++) {
        int expected = signal == SIGUSR1 || signal == SIGTERM || signal == SIGWINCH;
        assert_int_equal(sigismember(&blocked, signal) == 1, expected);
    }
    assert_true(is_blocked(SIGUSR1));
}

static volatile sig_atomic_t delivered;

static void count_delivered(int signal) {
    (void)signal;
    delivered++;
}

SIGNAL_TEST(a_signal_that_pends_when_stopped_is_delivered_as_before) {
    struct sigaction action = {.sa_handler = count_delivered}, before;
    sigaction(SIGUSR1, &action, &before);
    delivered = 0;
    start(SIGUSR1, &f->a);
    send(SIGUSR1);
    assert_int_equal(delivered, 0);
    stop(SIGUSR1);
    assert_int_equal(delivered, 1);
    assert_ran("");
    send(SIGUSR1);
    assert_int_equal(delivered, 2);
    sigaction(SIGUSR1, &before, NULL);
}

SIGNAL_TEST(one_that_pends_when_the_other_stops_is_still_ours) {
    start(SIGUSR1, &f->a);
    start(SIGUSR2, &f->b);
    send(SIGUSR2);
    stop(SIGUSR1);
    assert_ran("b");
}

SIGNAL_TEST(the_descriptor_is_open_only_while_there_is_a_handler) {
    assert_int_equal(open_descriptors(), f->descriptors);
    for (int i = 0; i < 3; i++) {
        start(SIGUSR1, &f->a);
        start(SIGUSR2, &f->b);
        assert_int_equal(open_descriptors(), f->descriptors + 1);
        assert_int_equal(fcntl(f->signals.watch.fd, F_GETFD), FD_CLOEXEC);
        send(SIGUSR1);
        assert_ran("a");
        stop(SIGUSR2);
        stop(SIGUSR1);
        assert_int_equal(open_descriptors(), f->descriptors);
        assert_int_equal(f->poller.watches, 0);
    }
}

static void stop_this(struct job *job) {
    (void)job;
    stop(SIGUSR1);
}

static void stop_both(struct job *job) {
    (void)job;
    stop(SIGUSR1);
    stop(SIGUSR2);
}

SIGNAL_TEST(a_callback_may_stop_its_own_signal_and_others) {
    start(SIGUSR1, &f->a);
    f->a.then = stop_this;
    send(SIGUSR1);
    assert_ran("a");
    assert_false(is_blocked(SIGUSR1));
    start(SIGUSR1, &f->a);
    start(SIGUSR2, &f->b);
    f->a.then = stop_both;
    send(SIGUSR1);
    send(SIGUSR2);
    assert_ran("a"); /* b stood behind it */
    assert_int_equal(f->signals.count, 0);
}

SIGNAL_TEST(a_start_that_fails_leaves_nothing) {
    struct rlimit limit = leave_descriptors(0);
    int result = signals_start(&f->signals, SIGUSR1, &f->a.timer.handle);
    setrlimit(RLIMIT_NOFILE, &limit);
    assert_int_equal(result, -EMFILE);
    kernel.fail_control = ENOMEM;
    result = signals_start(&f->signals, SIGUSR1, &f->a.timer.handle);
    assert_int_equal(result, -ENOMEM);
    assert_false(is_blocked(SIGUSR1));
    assert_int_equal(open_descriptors(), f->descriptors);
    assert_int_equal(f->signals.count, 0);
    start(SIGUSR2, &f->b);
    assert_int_equal(sigismember(&f->signals.watched, SIGUSR1), 0);
}

SIGNAL_TEST(closing_stops_all_and_may_come_twice) {
    start(SIGUSR1, &f->a);
    start(SIGUSR2, &f->b);
    send_until_queued(SIGUSR1, &f->a);
    signals_close(&f->signals);
    assert_false(is_blocked(SIGUSR1) || is_blocked(SIGUSR2));
    assert_int_equal(open_descriptors(), f->descriptors);
    signals_close(&f->signals);
    assert_ran("");
}

static void *send_to(void *thread) {
    pthread_kill(*(pthread_t *)thread, SIGUSR1);
    return NULL;
}

SIGNAL_TEST(a_signal_ends_a_wait) {
    start(SIGUSR1, &f->a);
    pthread_t self = pthread_self(), sender;
    assert_int_equal(pthread_create(&sender, NULL, send_to, &self), 0);
    assert_int_equal(poller_wait(&f->poller, -1, &f->ready), 1);
    run_all(&f->ready);
    assert_logged(&f->log, "a");
    pthread_join(sender, NULL);
}

static void nothing(int signal) {
    (void)signal;
}

SIGNAL_TEST(a_pause_lifts_our_blocks_and_loses_no_signal) {
    struct signals_pause pause;
    struct sigaction before = {.sa_handler = nothing}, after;
    sigset_t blocked;
    sigaction(SIGUSR2, &before, NULL);
    start(SIGUSR1, &f->a);
    start(SIGUSR2, &f->b);
    send(SIGUSR1);
    sigemptyset(&blocked);
    signals_add_blocked(&f->signals, &blocked);
    signals_pause(&pause, &blocked);
    assert_false(is_blocked(SIGUSR1));
    assert_false(is_blocked(SIGUSR2));
    send(SIGUSR2);
    assert_ran("");
    signals_resume(&pause);
    assert_true(is_blocked(SIGUSR1));
    assert_ran("ab");
    signals_pause(&pause, &blocked);
    signals_resume(&pause);
    assert_ran("");
    sigaction(SIGUSR2, NULL, &after);
    assert_ptr_equal(after.sa_handler, nothing);
    signal(SIGUSR2, SIG_DFL);
}

int main(void) {
    return suite_run();
}
