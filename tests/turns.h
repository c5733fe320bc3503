/* turns.h -- a loop in virtual time, whose turns a test makes one by one.  Include it in one
 * file of a program. */
#ifndef LOOPHOST_TESTS_TURNS_H
#define LOOPHOST_TESTS_TURNS_H

#include "tests/job.h"
#include "tests/kernel.h"

#include <stdlib.h>
#include <sys/eventfd.h>

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

static inline void r_ready(struct handle *handle) {
    (void)handle;
    log_add(&f->log, 'r');
}

static inline int set_up(void **state) {
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

static inline int tear_down(void **state) {
    loop_close(&f->loop);
    close(f->fd);
    int leaked = open_descriptors() - f->descriptors;
    free(*state);
    return leaked;
}

#define LOOP_TEST(name) TEST_WITH(name, set_up, tear_down)

static inline void soon(struct job *job) {
    loop_call_soon(&f->loop, &job->timer.handle);
}

static inline void at(struct job *job, int64_t when_ns) {
    assert_true(loop_call_at(&f->loop, &job->timer, when_ns));
}

static inline void urgent(struct job *job, int64_t priority) {
    assert_true(loop_call_priority(&f->loop, &job->timer, priority));
}

static inline void watch(void) {
    assert_int_equal(poller_start(&f->loop.poller, &f->r, f->fd, POLL_READ), 0);
}

/* What a job may do when it runs: have the other one run in the next turn. */
static inline void push_other(struct job *job) {
    soon(job->other);
}

/* One turn, in which exactly these ran, in this order. */
#define assert_turn(names) \
    assert_int_equal(loop_run_once(&f->loop), 0), assert_logged(&f->log, (names))

#endif
