/* test_loop.c -- who runs in which turn, and who does not.  When a loop runs, stops and is
 * closed is in test_loop_run.c, what time does in test_loop_time.c, what other threads do in
 * test_loop_threads.c. */
#include "tests/turns.h"

enum { MILLION = 1000000 };

/* ---- The order of a turn -------------------------------------------------------------------- */

LOOP_TEST(callbacks_run_in_the_order_of_their_calls) {
    soon(&f->c);
    soon(&f->a);
    soon(&f->b);
    assert_turn("cab");
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

LOOP_TEST(signals_stand_behind_descriptors_and_before_timers) {
    assert_int_equal(signals_start(&f->loop.signals, SIGUSR1, &f->c.timer.handle), 0);
    raise(SIGUSR1); /* its descriptor is ready before the other one */
    watch();
    at(&f->b, 0);
    soon(&f->a);
    assert_turn("arcb");
    assert_turn("r");
    signals_stop(&f->loop.signals, SIGUSR1);
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

LOOP_TEST(what_was_overtaken_once_holds_its_place_until_it_has_run) {
    f->a.then = f->b.then = hurry_other;
    f->a.other = f->b.other = &f->d;
    soon(&f->a);
    soon(&f->b);
    assert_turn("ad");
    f->d.then = hurry_other;
    f->d.other = &f->e;
    soon(&f->c);
    soon(&f->a);
    f->a.then = NULL;
    assert_turn("bde"); /* as many as stood there */
    assert_turn("ca");
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
        assert_true(loop_call_at(&f->loop, &timers[i], 1 + i * 7919 % MILLION));
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

int main(void) {
    return suite_run();
}
