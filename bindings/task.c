/* task.c -- steps, waits, and how waits pass through coroutines of the script's own.
 *
 * Each coroutine that we resume has one word of its own in its extra space: a task's
 * own coroutine the task; one of a script's that waits, the coroutine that resumed it
 * (with a mark in the lowest bit); any other, nothing. */
#include "bindings/task.h"

#include "bindings/context.h"
#include "bindings/error.h"
#include "bindings/handle.h"
#include "bindings/recycle.h"
#include "bindings/step.h"

#include <string.h>

/* ---- the word in the extra space ---- */

bool l_task_owns(lua_State *coroutine) {
    uintptr_t owner = *l_task_owner(coroutine);
    return owner != 0 && owner != L_OWNER_DONE;
}

lua_State *l_task_outer(lua_State *coroutine) {
    uintptr_t owner = *l_task_owner(coroutine);
    if ((owner & L_OWNER_WAITS_INSIDE) == 0) return NULL;
    return (lua_State *)(owner - L_OWNER_WAITS_INSIDE); /* NOLINT(performance-no-int-to-ptr) */
}

/* ---- scheduling ---- */

struct l_task *l_task_of(struct handle *handle) {
    return handle->run == l_task_step ? container_of(handle, struct l_task, timer.handle) : NULL;
}

/* A step as a function, for loops that override call_soon. */
static int step_function(lua_State *L) {
    struct l_task *task = lua_touserdata(L, lua_upvalueindex(2));
    struct l_loop *loop = task->future.loop;
    if (!task->by_method || loop == NULL || loop->L != L) return 0;
    task->by_method = false;
    lua_settop(L, 0);
    l_loop_push(L, loop);
    l_loop_make_frame(L, loop);
    l_task_step(&task->timer.handle);
    return 0;
}

/* task -> loop:call_soon(step), or the same with its priority */
int l_task_call_method(lua_State *L) {
    struct l_task *task = lua_touserdata(L, 1);
    lua_getiuservalue(L, 1, L_FUTURE_LOOP);
    lua_getfield(L, 2, task->has_priority ? "call_soon_with_priority" : "call_soon");
    lua_pushvalue(L, 2);
    if (task->has_priority) lua_pushnumber(L, task->priority);
    lua_pushlightuserdata(L, task->future.rt);
    lua_pushvalue(L, 1);
    lua_pushcclosure(L, step_function, 2);
    lua_call(L, task->has_priority ? 3 : 2, 0);
    return 0;
}

static void schedule_by_method(lua_State *L, struct l_task *task) {
    struct l_runtime *rt = task->future.rt;
    struct l_loop *loop = task->future.loop;
    if (loop->closed) return; /* it has let go of its tasks, and calls nobody any more */
    lua_checkstack(L, LUA_MINSTACK);
    l_loop_push(L, loop);
    bool collected = lua_isnil(L, -1); /* we are in a finaliser: the task goes with its loop */
    lua_pop(L, 1);
    if (collected) return;
    task->by_method = true;
    lua_pushcfunction(L, l_task_call_method);
    l_task_push(L, task);
    if (lua_pcall(L, 1, 0, 0) == LUA_OK) return;
    task->by_method = false; /* the error must not lose the task */
    loop_call_soon(&loop->loop, &task->timer.handle);
    l_pushhook(L, rt, "report");
    l_loop_push(L, loop);
    lua_pushvalue(L, -3);
    lua_pushliteral(L, "Exception in call_soon()");
    if (lua_pcall(L, 3, 0, 0) != LUA_OK) lua_pop(L, 1);
    lua_pop(L, 1);
}

void l_task_schedule_otherwise(lua_State *L, struct l_task *task) {
    struct l_loop *loop = task->future.loop;
    if (loop->overrides & (L_OVERRIDE_CALL_SOON | L_OVERRIDE_CALL_PRIORITY)) {
        schedule_by_method(L, task);
    } else if (!task->has_priority ||
               !loop_call_priority(&loop->loop, &task->timer, l_priority_key(task->priority))) {
        loop_call_soon(&loop->loop, &task->timer.handle); /* without memory urgent ones too */
    }
}

void l_task_push(lua_State *L, struct l_task *task) {
    struct l_loop *loop = task->future.loop;
    lua_State *frame = loop != NULL ? l_loop_frame(loop, L) : NULL;
    lua_checkstack(L, LUA_MINSTACK);
    if (frame != NULL) {
        lua_rawgeti(frame, L_FRAME_ANCHORS, task->slot);
        lua_xmove(frame, L, 1);
        return;
    }
    if (task == task->future.rt->main) {
        l_pushshared(L, task->future.rt, L_SHARED_SCRATCH);
        lua_getfield(L, -1, "main");
        lua_remove(L, -2);
        return;
    }
    l_loop_push(L, task->future.loop);
    lua_getiuservalue(L, -1, L_LOOP_ANCHORS);
    lua_rawgeti(L, -1, task->slot);
    lua_replace(L, -3);
    lua_pop(L, 1);
}

/* ---- the end of a task ---- */

/* task -> settled, in protected mode: callbacks of scripts are to be anchored */
static int settle(lua_State *L) {
    struct l_task *task = lua_touserdata(L, 1);
    l_future_settle(L, 1, &task->future, task->outcome);
    return 0;
}

/* task, error -> kept, for an error that did not come through the body */
static int fail(lua_State *L) {
    l_task_keep_failure(L, lua_touserdata(L, 1));
    return 0;
}

static void finish(struct l_loop *loop, struct l_task *task, bool returned) {
    lua_State *L = loop->L;
    int slot = task->slot;
    *l_task_owner(task->coroutine) = L_OWNER_DONE;
    l_recycle_keep(loop, task, returned);
    l_task_leave_line(task); /* it still stands there only if it was broken off */
    if (task->future.functions == 0 && loop->overrides == 0) {
        l_future_settle(L, 0, &task->future, task->outcome);
    } else {
        lua_pushcfunction(L, settle);
        l_anchored(loop, slot);
        if (lua_pcall(L, 1, 0, L_FRAME_HANDLER) != LUA_OK) {
            l_future_settle_anyway(L, &task->future, task->outcome);
            l_loop_report(loop, "Exception at the end of a task", NULL, 0);
        }
    }
    loop->tasks--;
    if (task == loop->rt->main) loop->rt->main = NULL;
    l_unanchor(loop, slot);
}

/* lua_resume itself failed: out of memory, too deep in C, or a coroutine that somebody
 * closed; the error is on the coroutine. */
static void break_off(lua_State *L, struct l_task *task) {
    lua_pushcfunction(L, fail);
    l_task_push(L, task);
    lua_xmove(task->coroutine, L, 1);
    if (lua_pcall(L, 2, 0, 0) == LUA_OK) return;
    l_task_push(L, task); /* its story could not be kept: it fails with what came of that */
    lua_insert(L, -2);
    l_future_setvalue(L, -2, &task->future);
    lua_pop(L, 1);
    task->outcome = L_FAILED;
}

/* ---- steps ---- */

/* task, values...: the body yielded what is none of our waits.  A Sleep or a future is
 * waited for; anything else means "go on in the next turn". */
static int foreign_yield(lua_State *L) {
    struct l_task *task = lua_touserdata(L, 1);
    struct l_runtime *rt = task->future.rt;
    if (task == rt->main && rt->running == NULL) l_task_bind_main(L, task);
    struct l_future *future = l_future_test(L, 2);
    const struct l_sleep *sleep = l_test(L, 2, L_SLEEP);
    if (future != NULL) {
        l_task_hold(L, task, 2);
        lua_pushvalue(L, 2); /* where a wait for it, and its results, will be looked for */
        lua_xmove(L, task->coroutine, 1);
    }
    if (sleep != NULL && sleep->delay_ns > 0) {
        task->leaf = task->coroutine;
        if (!l_task_start_sleep(task, sleep->delay_ns)) {
            l_task_schedule(L, task);
            return luaL_error(L, "not enough memory");
        }
    } else if (future != NULL && future->state == L_PENDING && future->loop == task->future.loop &&
               future != &task->future) {
        task->leaf = task->coroutine;
        l_task_start_await(task, future);
    } else {
        l_task_schedule(L, task);
        if (lua_gettop(L) > 1 && sleep == NULL && future == NULL && task->future.loop->debug) {
            l_pushhook(L, rt, "foreign_yield");
            lua_pushvalue(L, 1);
            lua_pushvalue(L, 2);
            lua_call(L, 2, 0);
        }
    }
    return 0;
}

static void after_foreign_yield(lua_State *L, struct l_task *task, int values) {
    int top = lua_gettop(L);
    lua_pushcfunction(L, foreign_yield);
    l_task_push(L, task);
    if (!lua_checkstack(L, values + LUA_MINSTACK)) {
        lua_pop(task->coroutine, values);
        values = 0;
    }
    lua_xmove(task->coroutine, L, values);
    if (lua_pcall(L, values + 1, 0, 0) != LUA_OK && task->future.loop != NULL) {
        l_loop_report(task->future.loop, "Exception while reporting a yield", NULL, 0);
    }
    lua_settop(L, top);
}

/* task -> the wait that it has just begun is cancelled, as it was to be already */
static int cancel_new_wait(lua_State *L) {
    struct l_task *task = lua_touserdata(L, 1);
    task->must_cancel = false;
    task->cancelling--; /* was counted when it was asked for */
    l_future_getextra(L, 1, L_EXTRA_MESSAGE);
    lua_insert(L, 1);
    l_task_cancel(L, task);
    return 0;
}

void l_step_after_odd_yield(lua_State *L, struct l_task *task, int values) {
    struct l_runtime *rt = task->future.rt;
    if (!rt->passing) {
        task->deaf = !task->yielded;
        task->yielded = false;
        after_foreign_yield(L, task, values);
    } else if (task->wait == NULL) {
        l_task_schedule(L, task);
    }
    rt->passing = false;
    if (task->must_cancel && task->wait != NULL) {
        lua_pushcfunction(L, cancel_new_wait);
        l_task_push(L, task);
        if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
    }
}

/* Runs the coroutine of a task that may not have begun: a status of lua_resume. */
static int begin_or_resume(lua_State *L, struct l_task *task) {
    if (!task->unbegun) return l_step_resume(L, task, 0);
    task->unbegun = false;
    int arguments = lua_gettop(task->coroutine) - 1;
    if (arguments >= 0) return l_step_resume(L, task, arguments);
    lua_pushliteral(task->coroutine, "cannot resume dead coroutine"); /* closed, by stock means */
    return LUA_ERRRUN;
}

void l_step_ended(struct l_loop *loop, struct l_task *task, int status) {
    if (status != LUA_OK) break_off(loop->L, task);
    finish(loop, task, status == LUA_OK);
}

static void cancel_unbegun(struct l_loop *loop, struct l_task *task) {
    lua_Debug info;
    lua_State *coroutine = task->coroutine;
    task->outcome = L_CANCELLED;
    task->must_cancel = false;
    l_anchored(loop, task->slot);
    l_future_getextra(loop->L, -1, L_EXTRA_MESSAGE);
    l_future_setvalue(loop->L, -2, &task->future);
    lua_pop(loop->L, 1);
    bool untouched = lua_status(coroutine) == LUA_OK && lua_getstack(coroutine, 0, &info) == 0;
    if (untouched) lua_settop(coroutine, 0); /* dead, and free of the arguments */
    finish(loop, task, untouched);
}

void l_step_carefully(struct l_loop *loop, struct l_task *task) {
    lua_State *L = loop->L;
    bool debug = loop->debug;
    int64_t began_ns = debug ? clock_monotonic() : 0;
    if (task->must_cancel && task->unbegun) {
        cancel_unbegun(loop, task);
        return;
    }
    if (task->must_cancel && !task->deaf) {
        task->throwing = true;
        task->throwing_own = !task->cancel_woke;
        task->must_cancel = task->cancel_woke = false;
    }
    task->deaf = false;
    if (debug) l_anchored(loop, task->slot);
    if (debug && loop->loop.trace.on) {
        trace_add(&loop->loop.trace, loop_now(&loop->loop), "step", "name=Task-%u", task->number);
    }
    int status = begin_or_resume(L, task);
    if (status != LUA_YIELD) l_step_ended(loop, task, status);
    if (debug) {
        l_loop_warn_if_slow(loop, began_ns, lua_gettop(L));
        lua_pop(L, 1);
    }
}

void l_task_step(struct handle *handle) {
    l_step(handle);
}

void l_task_start_main(lua_State *L, struct l_task *task) {
    int status = begin_or_resume(L, task);
    if (status == LUA_YIELD) return;
    if (status != LUA_OK) break_off(L, task);
    *l_task_owner(task->coroutine) = L_OWNER_DONE;
    if (task->future.loop != NULL) {
        task->future.loop->tasks--;
        l_unanchor_anywhere(L, task->future.loop, task->slot);
    }
    task->future.rt->main = NULL;
    l_future_settle(L, lua_gettop(L), &task->future, task->outcome);
}

/* ---- waits ---- */

int l_task_wait(lua_State *L, struct l_task *task, const struct l_wait *wait, void *wait_on,
                lua_KFunction continuation) {
    return l_task_wait_k(L, task, wait, wait_on, 0, continuation);
}

int l_task_resumed_astray(lua_State *L) {
    return luaL_error(L, "the coroutine of a task was resumed, which its event loop has to do");
}

void l_task_resumed(lua_State *L, struct l_runtime *rt) {
    struct l_task *task = l_task_resumed_one(L, rt);
    if (!task->throwing) return;
    task->throwing = false;
    l_task_push(L, task);
    l_future_getextra(L, -1, task->throwing_own ? L_EXTRA_MESSAGE : L_EXTRA_WAIT_MESSAGE);
    l_error_new(L, rt, "CancelledError");
    lua_error(L);
}

/* ---- coroutines of scripts ---- */

int l_task_resume_nested(lua_State *L, struct l_runtime *rt, lua_State *coroutine, int arguments,
                         int *results) {
    lua_State *previous = rt->coroutine;
    rt->coroutine = previous == L && lua_isyieldable(L) ? coroutine : NULL;
    *l_task_owner(coroutine) = 0;
    int status = lua_resume(coroutine, L, arguments, results);
    rt->coroutine = previous;
    if (status != LUA_YIELD || !rt->passing) return status;
    *l_task_owner(coroutine) = (uintptr_t)L + L_OWNER_WAITS_INSIDE;
    return L_WAITS;
}

int l_task_pass(lua_State *L, lua_KContext context, lua_KFunction continuation) {
    return lua_yieldk(L, 0, context, continuation);
}

static int yield_done(lua_State *L, int status, lua_KContext context) {
    struct l_runtime *rt = l_runtime(L);
    struct l_task *task = rt->current;
    (void)status;
    if (task == NULL || task->coroutine != L) return lua_gettop(L);
    if (context != 0) return l_task_await_done(L, status, 0);
    l_task_resumed(L, rt);
    return lua_gettop(L);
}

int l_task_yield(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    struct l_task *task = rt->current;
    lua_KContext future = 0;
    if (task != NULL && task->coroutine == L) {
        struct l_future *awaited = l_future_test(L, 1);
        task->yielded = true;
        if (awaited != NULL) {
            if (awaited->state != L_PENDING) return l_future_results(L, 1, awaited);
            future = 1;
        }
    }
    return lua_yieldk(L, lua_gettop(L), future, yield_done);
}
