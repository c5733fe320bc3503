/* job.h -- a callback that writes its name down: tests of order compare strings.
 *
 * A job is a timer, and so also a handle.  When it runs it adds its name to the log
 * and calls `then`, in which a test does what a callback may do. */
#ifndef LOOPHOST_TESTS_JOB_H
#define LOOPHOST_TESTS_JOB_H

#include "host/loop.h"
#include "tests/suite.h"

struct log {
    char text[256]; /* the names, in the order in which they ran */
    size_t length;
};

struct job {
    struct timer timer;
    char name;
    struct log *log;
    void (*then)(struct job *job);
    struct loop *loop;
    struct job *other; /* for `then` */
};

static inline void log_add(struct log *log, char name) {
    assert_true(log->length + 1 < sizeof log->text);
    log->text[log->length++] = name;
    log->text[log->length] = '\0';
}

static inline void log_clear(struct log *log) {
    *log = (struct log){.length = 0};
}

/* Compares what was logged, and begins anew. */
#define assert_logged(log, expected) assert_string_equal((log)->text, (expected)), log_clear(log)

static inline void job_run(struct handle *handle) {
    struct job *job = container_of(container_of(handle, struct timer, handle), struct job, timer);
    if (job->log != NULL) log_add(job->log, job->name);
    if (job->then != NULL) job->then(job);
}

static inline void job_init(struct job *job, char name, struct log *log) {
    *job = (struct job){.name = name, .log = log};
    timer_init(&job->timer, job_run);
}

/* Runs what stands in a queue, and what that adds. */
static inline void run_all(struct handle_queue *queue) {
    struct handle *handle;
    while ((handle = handle_pop(queue)) != NULL) handle->run(handle);
}

#endif
