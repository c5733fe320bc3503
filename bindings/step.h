/* step.h -- the step of a task, as the loop's turns have it in themselves.
 *
 * A coroutine that waits comes back to lua_resume by longjmp, which no processor foresees:
 * each return from there on, up to whoever runs the next step, costs some 20 cycles.  So
 * the step is inlined where the loop takes the next callback (run.c), with what is rare out
 * of the way in task.c. */
#ifndef LOOPHOST_L_STEP_H
#define LOOPHOST_L_STEP_H

#include "bindings/task.h"

/* The step has ended in a wait that is a cancelled task's, or in no wait at all. */
void l_step_after_odd_yield(lua_State *L, struct l_task *task, int values);

/* The coroutine has ended with this status of lua_resume. */
void l_step_ended(struct l_loop *loop, struct l_task *task, int status);

/* A step that is the task's first, is to raise a cancellation or cannot, or is watched. */
void l_step_carefully(struct l_loop *loop, struct l_task *task);

/* Runs the coroutine until it yields or ends: a status of lua_resume. */
static inline __attribute__((always_inline)) int l_step_resume(lua_State *L, struct l_task *task,
                                                               int arguments) {
    struct l_runtime *rt = task->future.rt;
    lua_State *coroutine = task->coroutine;
    int values;
    rt->current = task;
    rt->coroutine = coroutine;
    rt->immediate = 0;
#ifdef LOOPHOST_STRESS
    lua_gc(L, LUA_GCCOLLECT);
#endif
    int status = lua_resume(coroutine, L, arguments, &values);
    rt->current = NULL;
    rt->coroutine = NULL;
    if (status != LUA_YIELD) return status;
    if (!rt->passing || task->must_cancel) {
        l_step_after_odd_yield(L, task, values);
        return status;
    }
    rt->passing = false;
    if (task->wait == NULL) l_task_schedule(L, task); /* for the next turn only */
    return status;
}

/* Asks the memory for what the next step begins with, while this one runs: so many tasks do not fit
 * into the cache, and nothing else tells the processor which is next. */
enum { L_MANY_TASKS = 4096, L_COROUTINE_SIZE = 224, L_CACHE_LINE = 64 };
static inline __attribute__((always_inline)) void l_step_prefetch(const struct loop *loop) {
    const struct handle *next = loop->ready.head.next;
    if (next->run != l_task_step) return;
    const struct l_task *task = container_of(next, struct l_task, timer.handle);
    const char *coroutine = (const char *)task->coroutine;
    for (int at = 0; at < L_COROUTINE_SIZE; at += L_CACHE_LINE) __builtin_prefetch(coroutine + at);
    __builtin_prefetch(next->next); /* and the task after it, if it is one */
    __builtin_prefetch(&container_of(next->next, struct l_task, timer.handle)->future.loop);
}

/* The step whose handle has left the ready queue, in the loop's frame. */
static inline __attribute__((always_inline)) void l_step(struct handle *handle) {
    struct l_task *task = container_of(handle, struct l_task, timer.handle);
    struct l_loop *loop = task->future.loop;
    if (task->must_cancel || task->unbegun || task->deaf || loop->debug) {
        l_step_carefully(loop, task);
        return;
    }
    if (loop->tasks >= L_MANY_TASKS) l_step_prefetch(&loop->loop);
    int status = l_step_resume(loop->L, task, 0);
    if (status != LUA_YIELD) l_step_ended(loop, task, status);
}

#endif
