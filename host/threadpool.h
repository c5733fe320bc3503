/* threadpool.h -- a few threads for work that would block the loop.
 *
 * A job lives inside the caller's own struct, which must stay where it is until the job is
 * over.  `work` runs in one of the pool's threads; when it is done, the job's handle runs
 * on the loop that was named, as any other callback.  Jobs begin in the order in which
 * they were started; one that has not begun can be taken back.
 *
 * Threads are started when jobs wait and nobody is free, up to the limit, and end when
 * they were idle for a while.  One whose job only waits for the kernel, for as long as that may
 * take, can say so: then another may be started in its place.  All signals are blocked in them,
 * so that handlers and signalfds stay where they are.
 *
 * A pool belongs to one thread, which alone calls these functions; the threads themselves
 * call nothing but `work`.  A forked child has none of the threads: there every job stays
 * as it was when the process was forked, and closing the pool only forgets it.
 *
 * Starting a job costs a lock and a wake; being done, the same and an eventfd's write. */
#ifndef LOOPHOST_THREADPOOL_H
#define LOOPHOST_THREADPOOL_H

#include "host/loop.h"

struct threadpool;

enum threadpool_state {
    THREADPOOL_IDLE,
    THREADPOOL_PENDING, /* started, but not begun */
    THREADPOOL_RUNNING,
    THREADPOOL_DONE, /* until the owner makes it idle again */
};

struct threadpool_job;
typedef void threadpool_fn(struct threadpool_job *job);

struct threadpool_job {
    struct handle handle; /* runs on the loop; in the pool, it is the place in a queue */
    threadpool_fn *work;
    struct loop *loop;           /* NULL: nobody is told */
    struct threadpool *pool;     /* where it was started last */
    enum threadpool_state state; /* under the pool's lock while PENDING or RUNNING */
};

/* A pool of at most `limit` threads, `most` with those that only wait, none of them started;
 * NULL: ENOMEM. */
struct threadpool *threadpool_new(int limit, int most);

/* Takes back what has not begun, waits until the threads have ended, and frees the pool.
 * A thread that has not ended when patience_ns are over is left alone, with the pool and
 * whatever it uses, which then must never be freed: false.  Our code then stays mapped. */
bool threadpool_close(struct threadpool *pool, int64_t patience_ns);

/* Whether this process made it: no in a forked child. */
bool threadpool_is_ours(const struct threadpool *pool);

static inline void threadpool_job_init(struct threadpool_job *job, threadpool_fn *work,
                                       handle_fn *done) {
    handle_init(&job->handle, done);
    job->work = work;
    job->loop = NULL;
    job->pool = NULL;
    job->state = THREADPOOL_IDLE;
}

/* Starts an idle job.  -errno when not even one thread could be started: EAGAIN; EPERM in
 * a forked child. */
int threadpool_start(struct threadpool *pool, struct threadpool_job *job, struct loop *loop);

/* For the thread that does the job, from its `work`: from now on it only waits; it works on. */
void threadpool_begin_wait(struct threadpool_job *job);
void threadpool_end_wait(struct threadpool_job *job);

/* Makes a job idle that has not begun; false if it has. */
bool threadpool_take_back(struct threadpool *pool, struct threadpool_job *job);

/* How far the job is. */
enum threadpool_state threadpool_state(struct threadpool *pool, const struct threadpool_job *job);

/* From now on another loop is told; false if the job is done, or idle. */
bool threadpool_redirect(struct threadpool *pool, struct threadpool_job *job, struct loop *loop);

/* The loop is about to be closed: its jobs that have not begun become idle, and those that
 * run will tell nobody. */
void threadpool_leave(struct threadpool *pool, const struct loop *loop);

/* Blocks until the job does not run any more, for at most timeout_ns (< 0: for ever); one
 * that has not begun is waited for, too.  Whether it is over.  In a forked child a job that
 * was under way never will be: false at once. */
bool threadpool_wait(struct threadpool *pool, struct threadpool_job *job, int64_t timeout_ns);

/* Sends the signal to the thread in which the job runs, if it does. */
void threadpool_signal(struct threadpool *pool, struct threadpool_job *job, int signal);

/* How many threads there are, for tests and people. */
int threadpool_threads(struct threadpool *pool);

#endif
