/* test_timer.c -- deadlines become ready callbacks. */
#include "tests/job.h"

#include <stdlib.h>

enum { MILLION = 1000000 };

struct fixture {
    struct pqueue timers;
    struct handle_queue ready;
    struct log log;
    struct job a, b, c, d;
};

static void set_up(struct fixture *f) {
    *f = (struct fixture){.log.length = 0};
    pqueue_init(&f->timers);
    handle_queue_init(&f->ready);
    job_init(&f->a, 'a', &f->log);
    job_init(&f->b, 'b', &f->log);
    job_init(&f->c, 'c', &f->log);
    job_init(&f->d, 'd', &f->log);
}

static void start(struct fixture *f, struct job *job, int64_t when_ns) {
    assert_true(pqueue_push(&f->timers, &job->timer.node, when_ns));
}

TEST(expired_timers_are_queued_by_deadline) {
    struct fixture f;
    set_up(&f);
    start(&f, &f.a, 30);
    start(&f, &f.b, 10);
    start(&f, &f.c, 20);
    assert_int_equal(timers_expire(&f.timers, 100, &f.ready), 3);
    run_all(&f.ready);
    assert_logged(&f.log, "bca");
    pqueue_clear(&f.timers);
}

TEST(equal_deadlines_expire_in_the_order_of_their_start) {
    struct fixture f;
    set_up(&f);
    start(&f, &f.c, 10);
    start(&f, &f.a, 10);
    start(&f, &f.d, 9);
    start(&f, &f.b, 10);
    timers_expire(&f.timers, 10, &f.ready);
    run_all(&f.ready);
    assert_logged(&f.log, "dcab");
    pqueue_clear(&f.timers);
}

TEST(a_deadline_is_due_at_its_nanosecond_and_not_before) {
    struct fixture f;
    set_up(&f);
    int64_t late_ns = INT64_C(9000000000000000001); /* where a double has no nanoseconds */
    start(&f, &f.a, late_ns);
    start(&f, &f.b, late_ns + 1);
    assert_int_equal(timers_expire(&f.timers, late_ns - 1, &f.ready), 0);
    assert_int_equal(timers_expire(&f.timers, late_ns, &f.ready), 1);
    assert_true(timer_started(&f.b.timer));
    assert_int_equal(timers_expire(&f.timers, late_ns, &f.ready), 0);
    assert_int_equal(timers_expire(&f.timers, late_ns + 1, &f.ready), 1);
    run_all(&f.ready);
    assert_logged(&f.log, "ab");
    pqueue_clear(&f.timers);
}

TEST(the_extreme_deadlines_are_deadlines_like_others) {
    struct fixture f;
    set_up(&f);
    start(&f, &f.a, INT64_MAX);
    start(&f, &f.b, INT64_MIN);
    assert_int_equal(timers_expire(&f.timers, INT64_MIN, &f.ready), 1);
    assert_int_equal(timers_expire(&f.timers, INT64_MAX - 1, &f.ready), 0);
    assert_int_equal(timers_expire(&f.timers, INT64_MAX, &f.ready), 1);
    run_all(&f.ready);
    assert_logged(&f.log, "ba");
    pqueue_clear(&f.timers);
}

TEST(expired_timers_stand_behind_what_was_ready) {
    struct fixture f;
    set_up(&f);
    start(&f, &f.a, 1);
    handle_push(&f.ready, &f.b.timer.handle);
    timers_expire(&f.timers, 1, &f.ready);
    run_all(&f.ready);
    assert_logged(&f.log, "ba");
    pqueue_clear(&f.timers);
}

TEST(a_timer_is_started_until_it_expires) {
    struct fixture f;
    set_up(&f);
    assert_false(timer_started(&f.a.timer));
    start(&f, &f.a, 7);
    assert_true(timer_started(&f.a.timer));
    assert_false(handle_queued(&f.a.timer.handle));
    assert_int_equal(timer_deadline_ns(&f.a.timer), 7);
    timers_expire(&f.timers, 7, &f.ready);
    assert_false(timer_started(&f.a.timer));
    assert_true(handle_queued(&f.a.timer.handle));
    assert_int_equal(timer_deadline_ns(&f.a.timer), 7);
    pqueue_clear(&f.timers);
}

TEST(a_million_stopped_timers_leave_nothing) {
    struct fixture f;
    set_up(&f);
    struct timer *timers = calloc(MILLION, sizeof *timers);
    assert_non_null(timers);
    for (int i = 0; i < MILLION; i++) {
        int64_t when_ns = i * INT64_C(7919) % MILLION;
        assert_true(pqueue_push(&f.timers, &timers[i].node, when_ns));
    }
    for (int i = 0; i < MILLION; i++) pqueue_remove(&f.timers, &timers[i].node);
    assert_int_equal(f.timers.count, 0);
    assert_null(pqueue_peek(&f.timers));
    free(timers); /* the sanitizer would see a node that is still linked */
    start(&f, &f.a, 1);
    assert_int_equal(timers_expire(&f.timers, INT64_MAX, &f.ready), 1);
    pqueue_clear(&f.timers);
}

int main(void) {
    return suite_run();
}
