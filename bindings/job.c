/* job.c -- the pools of a Lua state, and the jobs that tasks wait for.
 *
 * Jobs under way whose objects are Lua's are kept alive by a table, by the address of the
 * job.  A job may outlive the loop it was started on: then nobody is told when it is done,
 * and who next wants to use the object finds out. */
#include "bindings/job.h"

/* ---- pools ---- */

static const struct {
    const char *name; /* among the shared objects */
    int limit, most;  /* threads at work; with those whose files, pipes say, keep them waiting */
    int64_t patience_ns;
} pools[L_POOL_COUNT] = {
    [L_POOL_FILES] = {"file_pool", 4, 256, (int64_t)60e9},
    [L_POOL_WORKERS] = {"worker_pool", 32, 32, (int64_t)1e9},
};

/* ---- anchors ---- */

static void push_anchors(lua_State *L, struct l_runtime *rt) {
    l_pushshared(L, rt, L_SHARED_JOBS);
}

static void anchor(lua_State *L, struct l_job *job, int object) {
    push_anchors(L, job->rt);
    lua_pushvalue(L, object);
    lua_rawsetp(L, -2, job);
    lua_pop(L, 1);
    job->anchored = true;
}

static void unanchor(lua_State *L, struct l_job *job) {
    if (!job->anchored) return;
    job->anchored = false;
    lua_checkstack(L, LUA_MINSTACK);
    push_anchors(L, job->rt);
    lua_pushnil(L);
    lua_rawsetp(L, -2, job);
    lua_pop(L, 1);
}

/* ---- the end of a job ---- */

static struct l_task *take_waiter(struct l_job *job) {
    struct l_task *task = job->waiter;
    if (task != NULL) job->loop->loop.outstanding--;
    job->waiter = NULL;
    return task;
}

void l_job_abandon(lua_State *L, struct l_job *job) {
    struct l_task *task = take_waiter(job);
    if (task != NULL) l_task_wake(L, task);
}

static void end(lua_State *L, struct l_job *job, bool worked) {
    handle_unlink(&job->place);
    job->job.state = THREADPOOL_IDLE;
    job->done(job, worked);
    l_job_abandon(L, job);
    job->loop = NULL;
    unanchor(L, job);
}

static void job_done(struct handle *handle) {
    struct l_job *job =
        container_of(container_of(handle, struct threadpool_job, handle), struct l_job, job);
    end(job->loop->L, job, true);
}

void l_job_leave(struct l_task *task) {
    struct l_job *job = task->wait_on;
    struct threadpool *pool = job->rt->pools[job->pool];
    take_waiter(job);
    if (pool != NULL && threadpool_take_back(pool, &job->job)) end(task->coroutine, job, false);
}

void l_job_loop_closing(struct l_loop *loop) {
    struct l_runtime *rt = loop->rt;
    for (int which = 0; which < L_POOL_COUNT; which++) {
        if (rt->pools[which] != NULL) threadpool_leave(rt->pools[which], &loop->loop);
    }
}

void l_job_loop_closed(lua_State *L, struct l_loop *loop) {
    struct handle_queue *jobs = &loop->rt->jobs;
    for (struct handle *next, *at = jobs->head.next; at != &jobs->head; at = next) {
        struct l_job *job = container_of(at, struct l_job, place);
        next = at->next;
        if (job->loop != loop) continue;
        job->waiter = NULL; /* forgotten, like all tasks of the loop */
        job->loop = NULL;
        struct threadpool *pool = loop->rt->pools[job->pool];
        enum threadpool_state state =
            pool != NULL ? threadpool_state(pool, &job->job) : job->job.state;
        if (state != THREADPOOL_RUNNING) end(L, job, state == THREADPOOL_DONE);
    }
}

/* ---- for those who have jobs ---- */

void l_job_init(struct l_job *job, struct l_runtime *rt, enum l_pool pool,
                const struct l_wait *wait, threadpool_fn *work,
                void (*done)(struct l_job *job, bool worked)) {
    threadpool_job_init(&job->job, work, job_done);
    handle_init(&job->place, NULL);
    job->rt = rt;
    job->pool = pool;
    job->wait = wait;
    job->done = done;
}

int l_job_start(lua_State *L, struct l_job *job, struct l_task *task, int object) {
    l_job_open_pool(L, job->rt, job->pool);
    if (object != 0) anchor(L, job, object);
    job->loop = task->future.loop;
    int result = threadpool_start(job->rt->pools[job->pool], &job->job, &job->loop->loop);
    if (result < 0) {
        unanchor(L, job);
    } else {
        handle_push(&job->rt->jobs, &job->place);
    }
    return result;
}

int l_job_wait(lua_State *L, struct l_job *job, struct l_task *task, lua_KContext context,
               lua_KFunction continuation) {
    struct threadpool *pool = job->rt->pools[job->pool];
    struct l_loop *loop = task->future.loop;
    if (!threadpool_is_ours(pool) ||
        (job->loop == NULL && !threadpool_redirect(pool, &job->job, &loop->loop))) {
        l_job_finish(L, job); /* it is done, but nobody was told */
        return l_task_wait_k(L, task, NULL, NULL, context, continuation);
    }
    if (job->loop == NULL) job->loop = loop;
    if (job->loop != loop) luaL_error(L, "it is in use on another event loop");
    job->waiter = task;
    loop->loop.outstanding++;
    return l_task_wait_k(L, task, job->wait, job, context, continuation);
}

void l_job_forget(struct l_job *job) {
    handle_unlink(&job->place);
    if (job->loop != NULL) loop_take_out(&job->loop->loop, &job->job.handle);
    job->loop = NULL;
}

void l_job_finish(lua_State *L, struct l_job *job) {
    struct threadpool *pool = job->rt->pools[job->pool];
    /* else, in a forked child, what was under way is lost with the threads */
    bool ours = pool != NULL && threadpool_is_ours(pool);
    if (ours) threadpool_wait(pool, &job->job, -1);
    l_job_abandon(L, job);
    if (job->loop != NULL) loop_take_out(&job->loop->loop, &job->job.handle);
    end(L, job, ours);
}

/* ---- pools in use ---- */

struct pool_guard {
    enum l_pool which;
    struct threadpool *pool;
};

/* The last user of a pool at the end of the state. */
static int pool_gc(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    const struct pool_guard *guard = lua_touserdata(L, 1);
    if (guard->pool == NULL || rt->pools[guard->which] != guard->pool) return 0;
    rt->pools[guard->which] = NULL;
    threadpool_close(guard->pool, pools[guard->which].patience_ns);
    return 0;
}

/* We are a forked child: what was under way is lost, as its threads are; the pool is our
 * parent's. */
static void lose_jobs(lua_State *L, struct l_runtime *rt, enum l_pool which) {
    for (struct handle *next, *at = rt->jobs.head.next; at != &rt->jobs.head; at = next) {
        struct l_job *job = container_of(at, struct l_job, place);
        next = at->next;
        if (job->pool == which) l_job_finish(L, job);
    }
    rt->pools[which] = NULL;
}

void l_job_open_pool(lua_State *L, struct l_runtime *rt, enum l_pool which) {
    if (rt->pools[which] != NULL && threadpool_is_ours(rt->pools[which])) return;
    if (rt->pools[which] != NULL) lose_jobs(L, rt, which);
    l_pushshared(L, rt, L_SHARED_SCRATCH);
    struct pool_guard *guard = lua_newuserdatauv(L, sizeof *guard, 0);
    *guard = (struct pool_guard){which, NULL};
    lua_createtable(L, 0, 1);
    l_pushfunction(L, rt, pool_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_setfield(L, -2, pools[which].name); /* before it guards: what is garbage must not */
    lua_pop(L, 1);
    guard->pool = threadpool_new(pools[which].limit, pools[which].most);
    if (guard->pool == NULL) luaL_error(L, "not enough memory");
    rt->pools[which] = guard->pool;
}
