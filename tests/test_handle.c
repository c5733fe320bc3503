/* test_handle.c -- the ring of handles. */
#include "tests/job.h"

#include <stdlib.h>

struct line { /* a queue with three handles in it */
    struct handle_queue queue;
    struct job a, b, c;
    struct log log;
};

static void line_up(struct line *line) {
    *line = (struct line){.log.length = 0};
    handle_queue_init(&line->queue);
    job_init(&line->a, 'a', &line->log);
    job_init(&line->b, 'b', &line->log);
    job_init(&line->c, 'c', &line->log);
    handle_push(&line->queue, &line->a.timer.handle);
    handle_push(&line->queue, &line->b.timer.handle);
    handle_push(&line->queue, &line->c.timer.handle);
}

TEST(handles_leave_in_the_order_in_which_they_came) {
    struct line line;
    line_up(&line);
    run_all(&line.queue);
    assert_logged(&line.log, "abc");
}

TEST(who_is_put_in_front_leaves_first) {
    struct line line;
    line_up(&line);
    handle_unlink(&line.b.timer.handle);
    handle_push_front(&line.queue, &line.b.timer.handle);
    run_all(&line.queue);
    assert_logged(&line.log, "bac");
    handle_push_front(&line.queue, &line.c.timer.handle);
    assert_ptr_equal(handle_queue_first(&line.queue), &line.c.timer.handle);
    handle_push(&line.queue, &line.a.timer.handle);
    run_all(&line.queue);
    assert_logged(&line.log, "ca");
}

TEST(an_empty_queue_gives_null) {
    struct handle_queue queue;
    handle_queue_init(&queue);
    assert_true(handle_queue_empty(&queue));
    assert_null(handle_queue_first(&queue));
    assert_null(handle_pop(&queue));
}

TEST(the_first_is_shown_without_leaving) {
    struct line line;
    line_up(&line);
    assert_ptr_equal(handle_queue_first(&line.queue), &line.a.timer.handle);
    assert_ptr_equal(handle_pop(&line.queue), &line.a.timer.handle);
    assert_ptr_equal(handle_queue_first(&line.queue), &line.b.timer.handle);
}

TEST(a_handle_leaves_from_any_place) {
    const char *rest[] = {"bc", "ac", "ab"};
    for (int i = 0; i < 3; i++) {
        struct line line;
        line_up(&line);
        struct job *jobs[] = {&line.a, &line.b, &line.c};
        handle_unlink(&jobs[i]->timer.handle);
        run_all(&line.queue);
        assert_logged(&line.log, rest[i]);
    }
}

TEST(a_handle_knows_whether_it_waits) {
    struct line line;
    line_up(&line);
    assert_true(handle_queued(&line.b.timer.handle));
    handle_unlink(&line.b.timer.handle);
    assert_false(handle_queued(&line.b.timer.handle));
    assert_ptr_equal(handle_pop(&line.queue), &line.a.timer.handle);
    assert_false(handle_queued(&line.a.timer.handle));
    assert_true(handle_queued(&line.c.timer.handle));
    handle_unlink(&line.c.timer.handle);
    assert_true(handle_queue_empty(&line.queue));
}

TEST(a_handle_that_left_may_come_back_at_the_end) {
    struct line line;
    line_up(&line);
    handle_unlink(&line.a.timer.handle);
    handle_push(&line.queue, &line.a.timer.handle);
    run_all(&line.queue);
    assert_logged(&line.log, "bca");
}

TEST(a_handle_leaves_a_queue_that_it_does_not_know) {
    struct line left, right;
    line_up(&left);
    line_up(&right);
    handle_unlink(&left.b.timer.handle);
    handle_push(&right.queue, &left.b.timer.handle);
    handle_unlink(&left.b.timer.handle);
    run_all(&left.queue);
    run_all(&right.queue);
    assert_logged(&left.log, "ac");
    assert_logged(&right.log, "abc");
}

static void free_job(struct job *job) {
    free(job);
}

TEST(a_callback_may_free_its_handle) {
    struct handle_queue queue;
    handle_queue_init(&queue);
    struct log log = {.length = 0};
    for (int i = 0; i < 3; i++) {
        struct job *job = malloc(sizeof *job);
        assert_non_null(job);
        job_init(job, (char)('a' + i), &log);
        job->then = free_job;
        handle_push(&queue, &job->timer.handle);
    }
    run_all(&queue);
    assert_logged(&log, "abc");
}

int main(void) {
    return suite_run();
}
