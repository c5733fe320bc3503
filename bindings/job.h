/* job.h -- work in a thread of a pool, for which a task waits.
 *
 * A job lives inside the struct of whoever has something to be done in a thread, and is
 * under way until `done` is called in the loop's thread: right before the task that waits
 * goes on, or, when that was cancelled meanwhile, all the same.  So a wait ends at once when
 * it is cancelled, and what the thread works on stays valid until it is through.
 *
 * Only a job for which a task waits counts as outstanding. */
#ifndef LOOPHOST_L_JOB_H
#define LOOPHOST_L_JOB_H

#include "bindings/task.h"
#include "host/threadpool.h"

struct l_job {
    struct threadpool_job job;
    struct l_runtime *rt;
    enum l_pool pool;
    const struct l_wait *wait;
    /* In the loop's thread; `worked` is false if the job was taken back before it had begun.
     * `waiter` is still there, if it was not cancelled.  Must not raise, nor free the job. */
    void (*done)(struct l_job *job, bool worked);
    struct l_task *waiter; /* or NULL */
    struct l_loop *loop;   /* that is told when it is done; NULL: it was closed */
    struct handle place;   /* among those under way */
    bool anchored;         /* the object is kept alive meanwhile */
};

/* Makes the pool now if there is none, so that it outlives what is made after it. */
void l_job_open_pool(lua_State *L, struct l_runtime *rt, enum l_pool which);

void l_job_init(struct l_job *job, struct l_runtime *rt, enum l_pool pool,
                const struct l_wait *wait, threadpool_fn *work,
                void (*done)(struct l_job *job, bool worked));

/* Starts the job on the task's loop; `object`, if not 0, is the index of the userdata that
 * holds it.  0, or -errno: EAGAIN.  May raise out of memory, having done nothing. */
int l_job_start(lua_State *L, struct l_job *job, struct l_task *task, int object);

/* Suspends the running task until the job, which is under way, is over; `return` it.  The
 * continuation begins with l_task_resumed. */
int l_job_wait(lua_State *L, struct l_job *job, struct l_task *task, lua_KContext context,
               lua_KFunction continuation);

/* Has the task that waits, if any, go on now. */
void l_job_abandon(lua_State *L, struct l_job *job);

static inline bool l_job_under_way(const struct l_job *job) {
    return handle_queued(&job->place);
}

/* Blocks until the job, which is under way, is over and calls `done`. */
void l_job_finish(lua_State *L, struct l_job *job);

/* For an l_wait: the waiter is cancelled. */
void l_job_leave(struct l_task *task);

/* The job, whose thread is through with it or was given up, is under way no more, and `done`
 * will not be called. */
void l_job_forget(struct l_job *job);

/* Before, and after, a loop's core is closed: its jobs that have not begun, or are done, are
 * over; those that run go on, for nobody. */
void l_job_loop_closing(struct l_loop *loop);
void l_job_loop_closed(lua_State *L, struct l_loop *loop);

#endif
