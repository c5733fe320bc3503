/* task.c -- steps, waits, and how waits pass through coroutines of the script's own.
 *
 * The coroutine of a task runs task_main, which calls the body inside a lua_pcallk: an
 * error that leaves a coroutine without one would not run its <close> variables.
 *
 * Each coroutine that we resume has one word of its own in its extra space: a task's
 * own coroutine the task; one of a script's that waits, the coroutine that resumed it
 * (with a mark in the lowest bit); any other, nothing. */
#include "bindings/task.h"

#include "bindings/context.h"
#include "bindings/error.h"
#include "bindings/handle.h"

#include <string.h>

/* ---- the word in the extra space ---- */

enum { WAITS_INSIDE = 1, TASK_DONE = 2 };

static uintptr_t *owner_of(lua_State *coroutine) {
    return lua_getextraspace(coroutine);
}

bool l_task_owns(lua_State *coroutine) {
    uintptr_t owner = *owner_of(coroutine);
    return owner != 0 && owner != TASK_DONE;
}

lua_State *l_task_outer(lua_State *coroutine) {
    uintptr_t owner = *owner_of(coroutine);
    if ((owner & WAITS_INSIDE) == 0) return NULL;
    return (lua_State *)(owner - WAITS_INSIDE); /* NOLINT(performance-no-int-to-ptr) */
}

/* ---- scheduling ---- */

static void task_step(struct handle *handle);

struct l_task *l_task_of(struct handle *handle) {
    return handle->run == task_step ? container_of(handle, struct l_task, timer.handle) : NULL;
}

/* A step as a function, for loops that override call_soon. */
static int step_function(lua_State *L) {
    struct l_task *task = lua_touserdata(L, lua_upvalueindex(2));
    struct l_loop *loop = task->future.loop;
    if (!task->by_method || loop == NULL || loop->L != L) return 0;
    task->by_method = false;
    lua_settop(L, 0);
    l_loop_push_frame(L, loop);
    task_step(&task->timer.handle);
    return 0;
}

/* task -> loop:call_soon(step), or the same with its priority */
static int call_method(lua_State *L) {
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
    lua_checkstack(L, LUA_MINSTACK);
    l_loop_push(L, loop);
    bool collected = lua_isnil(L, -1); /* we are in a finaliser: the task goes with its loop */
    lua_pop(L, 1);
    if (collected) return;
    task->by_method = true;
    lua_pushcfunction(L, call_method);
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

static void schedule(lua_State *L, struct l_task *task) {
    struct l_loop *loop = task->future.loop;
    task->timer.handle.run = task_step;
    if (loop->overrides & (L_OVERRIDE_CALL_SOON | L_OVERRIDE_CALL_PRIORITY)) {
        schedule_by_method(L, task);
    } else if (task->has_priority) {
        loop_call_priority(&loop->loop, &task->timer, l_priority_key(task->priority));
    } else {
        loop_call_soon(&loop->loop, &task->timer.handle);
    }
}

void l_task_wake(lua_State *L, struct l_task *task) {
    task->wait = NULL;
    schedule(L, task);
}

void l_task_push(lua_State *L, struct l_task *task) {
    lua_checkstack(L, LUA_MINSTACK);
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

/* ---- the body ---- */

/* The body has failed with the error on top; the task is at index 1.  Its story: the
 * traceback, who awaited it, where it was created. */
static void keep_failure(lua_State *L, struct l_task *task) {
    struct l_runtime *rt = task->future.rt;
    int error = lua_gettop(L);
    lua_pushvalue(L, error);
    lua_setiuservalue(L, 1, L_FUTURE_RESULT);
    task->outcome = l_is_cancelled(L, rt, error) ? L_CANCELLED : L_FAILED;
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    l_pushhook(L, rt, "story");
    lua_pushvalue(L, 1);
    l_take_traceback(L, rt);
    l_take_cause(L, rt, error);
    lua_pushboolean(L, task->outcome == L_FAILED);
    lua_call(L, 4, 1);
    l_future_setextra(L, 1, L_EXTRA_STORY);
    if (task->outcome == L_FAILED) l_future_guard(L, 1, &task->future);
}

int l_task_body_done(lua_State *L, int status, lua_KContext context) {
    struct l_task *task = lua_touserdata(L, 1);
    (void)context;
    if (task->must_cancel && (status == LUA_OK || status == LUA_YIELD)) {
        task->outcome = L_CANCELLED; /* too late to raise it; its message is kept */
    } else if (status == LUA_OK || status == LUA_YIELD) {
        task->outcome = L_FINISHED;
        l_future_store_results(L, 1, &task->future, lua_gettop(L) - 2);
    } else {
        keep_failure(L, task);
    }
    return 0;
}

static int body_error(lua_State *L) {
    struct l_task *task = (struct l_task *)*owner_of(L); /* NOLINT(performance-no-int-to-ptr) */
    lua_settop(L, 1);
    l_keep_traceback(L, task->future.rt);
    return 1;
}

/* task, message handler, body, arguments */
static int task_main(lua_State *L) {
    int status = lua_pcallk(L, lua_gettop(L) - 3, LUA_MULTRET, 2, 0, l_task_body_done);
    return l_task_body_done(L, status, 0);
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
    keep_failure(L, lua_touserdata(L, 1));
    return 0;
}

static void finish(struct l_loop *loop, struct l_task *task) {
    lua_State *L = loop->L;
    int slot = task->slot;
    *owner_of(task->coroutine) = TASK_DONE;
    l_task_leave_line(task); /* it still stands there only if it was broken off */
    if (task->future.functions == 0 && loop->overrides == 0) {
        l_future_settle(L, 0, &task->future, task->outcome);
    } else {
        lua_pushcfunction(L, settle);
        l_anchored(loop, slot);
        if (lua_pcall(L, 1, 0, L_FRAME_HANDLER) != LUA_OK) {
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
    task->outcome = L_FAILED;
    lua_pushcfunction(L, fail);
    l_task_push(L, task);
    lua_xmove(task->coroutine, L, 1);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) lua_pop(L, 1);
}

/* ---- steps ---- */

/* task, values...: the body yielded what is none of our waits.  A Sleep or a future is
 * waited for; anything else means "go on in the next turn". */
static int foreign_yield(lua_State *L) {
    struct l_task *task = lua_touserdata(L, 1);
    struct l_runtime *rt = task->future.rt;
    if (task == rt->main && rt->running == NULL) l_task_bind_main(L, task);
    struct l_future *future = l_future_test(L, rt, 2);
    int64_t *sleep_ns = l_test(L, rt, 2, L_SLEEP);
    if (future != NULL) { /* where a wait for it, and its results, will be looked for */
        lua_pushvalue(L, 2);
        lua_xmove(L, task->coroutine, 1);
    }
    if (sleep_ns != NULL && *sleep_ns > 0) {
        l_task_start_sleep(task, *sleep_ns);
        task->leaf = task->coroutine;
    } else if (future != NULL && future->state == L_PENDING && future->loop == task->future.loop &&
               future != &task->future) {
        task->leaf = task->coroutine;
        l_task_start_await(task, future);
    } else {
        schedule(L, task);
        if (lua_gettop(L) > 1 && sleep_ns == NULL && future == NULL && task->future.loop->debug) {
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
    lua_getiuservalue(L, 1, L_FUTURE_RESULT);
    lua_insert(L, 1);
    l_task_cancel(L, task);
    return 0;
}

/* Runs the coroutine until it yields or ends: a status of lua_resume. */
static int resume(lua_State *L, struct l_task *task) {
    struct l_runtime *rt = task->future.rt;
    lua_State *coroutine = task->coroutine;
    int values, arguments = 0;
    if (!task->started) {
        task->started = true;
        arguments = lua_gettop(coroutine) - 1;
        if (arguments < 0) { /* somebody closed it, by stock means */
            lua_pushliteral(coroutine, "cannot resume dead coroutine");
            return LUA_ERRRUN;
        }
    }
    task->can_throw = false;
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
    if (!rt->passing) {
        after_foreign_yield(L, task, values);
    } else if (task->wait == NULL) {
        schedule(L, task); /* for the next turn only */
    }
    rt->passing = false;
    if (task->must_cancel && task->wait != NULL) {
        lua_pushcfunction(L, cancel_new_wait);
        l_task_push(L, task);
        if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
    }
    return status;
}

static void task_step(struct handle *handle) {
    struct l_task *task = container_of(handle, struct l_task, timer.handle);
    struct l_loop *loop = task->future.loop;
    lua_State *L = loop->L;
    int64_t began_ns = loop->debug ? clock_monotonic() : 0;
    if (task->must_cancel) {
        if (!task->started) {
            task->outcome = L_CANCELLED;
            task->must_cancel = false;
            finish(loop, task);
            return;
        }
        if (task->can_throw) {
            task->throwing = true;
            task->must_cancel = task->cancel_woke = false;
        }
    }
    bool debug = loop->debug;
    if (debug) l_anchored(loop, task->slot);
    int status = resume(L, task);
    if (status != LUA_YIELD) {
        if (status != LUA_OK) break_off(L, task);
        finish(loop, task);
    }
    if (debug) {
        l_loop_warn_if_slow(loop, began_ns, lua_gettop(L));
        lua_pop(L, 1);
    }
}

void l_task_start_main(lua_State *L, struct l_task *task) {
    int status = resume(L, task);
    if (status == LUA_YIELD) return;
    if (status != LUA_OK) break_off(L, task);
    *owner_of(task->coroutine) = TASK_DONE;
    if (task->future.loop != NULL) {
        task->future.loop->tasks--;
        l_loop_push(L, task->future.loop);
        l_unanchor_at(L, lua_gettop(L), task->future.loop, task->slot);
        lua_pop(L, 1);
    }
    task->future.rt->main = NULL;
    l_future_settle(L, lua_gettop(L), &task->future, task->outcome);
}

/* ---- making ---- */

/* Makes the thing at the index, a function or a coroutine, into the body of a coroutine
 * and leaves that on top. */
static lua_State *push_coroutine(lua_State *L, struct l_runtime *rt, int index) {
    lua_Debug info;
    lua_State *coroutine = lua_tothread(L, index);
    if (coroutine == NULL) {
        if (lua_type(L, index) != LUA_TFUNCTION) {
            if (luaL_getmetafield(L, index, "__call") == LUA_TNIL) {
                l_type_error(L, index, "function or coroutine");
            }
            lua_pop(L, 1);
        }
        coroutine = lua_newthread(L);
        lua_pushvalue(L, index);
        lua_xmove(L, coroutine, 1);
        return coroutine;
    }
    luaL_argcheck(L, !l_task_owns(coroutine), index, "coroutine belongs to a task already");
    if (lua_status(coroutine) == LUA_YIELD) { /* begun: a new one resumes it to its end */
        coroutine = lua_newthread(L);
        l_pushhook(L, rt, "drive");
        lua_pushvalue(L, index);
        lua_xmove(L, coroutine, 2);
        return coroutine;
    }
    luaL_argcheck(L, coroutine != L && lua_getstack(coroutine, 0, &info) == 0, index,
                  "coroutine is running");
    luaL_argcheck(L, lua_status(coroutine) == LUA_OK && lua_gettop(coroutine) > 0, index,
                  "coroutine is dead");
    lua_pushvalue(L, index);
    return coroutine;
}

/* The creator is the script's function nearest to the level, not the library's. */
static void note_creator(lua_State *L, int index, struct l_task *task, int level) {
    lua_Debug info;
    do {
        if (!lua_getstack(L, level++, &info)) return;
        lua_getinfo(L, "Sl", &info);
    } while (info.currentline < 0 || strncmp(info.source, "@loophost/", 10) == 0);
    lua_getinfo(L, "f", &info);
    task->created_line = info.currentline;
    lua_setiuservalue(L, index, L_TASK_CREATOR);
}

struct l_task *l_task_new(lua_State *L, struct l_runtime *rt, int first, int caller) {
    int arguments = lua_gettop(L) - first;
    luaL_checkany(L, first);
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    lua_State *coroutine = push_coroutine(L, rt, first);
    struct l_task *task = l_newobject(L, rt, L_TASK, sizeof *task, L_TASK_USERVALUES);
    task->future.rt = rt;
    task->future.is_task = true;
    handle_queue_init(&task->future.callbacks);
    timer_init(&task->timer, task_step);
    task->number = (unsigned)++rt->tasks_named;
    note_creator(L, lua_gettop(L), task, caller);
    lua_insert(L, first); /* task, body, arguments, coroutine */
    lua_setiuservalue(L, first, L_TASK_COROUTINE);
    task->coroutine = coroutine;
    if (!lua_checkstack(coroutine, arguments + LUA_MINSTACK)) luaL_error(L, "too many arguments");
    *owner_of(coroutine) = (uintptr_t)task;
    lua_pushcfunction(coroutine, task_main);
    lua_pushvalue(L, first);
    lua_xmove(L, coroutine, 1);
    lua_pushcfunction(coroutine, body_error);
    lua_rotate(coroutine, 1, 3); /* under the body */
    lua_xmove(L, coroutine, arguments);
    lua_settop(L, first);
    if (rt->context_set) {
        l_context_push(L, rt);
        l_future_setextra(L, first, L_EXTRA_CONTEXT);
    }
    return task;
}

void l_task_attach(lua_State *L, struct l_task *task, int loop_index, struct l_loop *loop) {
    loop_index = lua_absindex(L, loop_index);
    task->slot = l_anchor(L, loop_index, loop);
    task->future.loop = loop;
    lua_pushvalue(L, loop_index);
    lua_setiuservalue(L, -2, L_FUTURE_LOOP);
    loop->tasks++;
    loop->loop.metrics.tasks_created++;
    if (task->started) return;
    if ((loop->overrides & (L_OVERRIDE_CALL_SOON | L_OVERRIDE_CALL_PRIORITY)) == 0) {
        schedule(L, task);
        return;
    }
    task->by_method = true;
    lua_pushcfunction(L, call_method);
    lua_pushvalue(L, -2);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) { /* as if there had been no task */
        loop->tasks--;
        task->by_method = false;
        l_unanchor_at(L, loop_index, loop, task->slot);
        lua_error(L);
    }
}

void l_task_detach(struct l_task *task) {
    if (timer_started(&task->timer)) {
        struct loop *loop = &task->future.loop->loop;
        bool sleeping = task->wait == &l_sleep_wait;
        pqueue_remove(sleeping ? &loop->timers : &loop->priority, &task->timer.node);
    }
    if (handle_queued(&task->timer.handle)) handle_unlink(&task->timer.handle);
    l_task_leave_line(task);
    task->by_method = false;
    if (task == task->future.rt->main) task->future.loop = NULL;
}

/* ---- waits ---- */

/* The name, as tracebacks give it, of the function at the level. */
static const char *function_name(lua_State *L, int level) {
    luaL_traceback(L, L, NULL, level);
    const char *name = luaL_gsub(L, lua_tostring(L, -1), "stack traceback:\n\t[C]: in ", "");
    return lua_pushlstring(L, name, strcspn(name, "\n"));
}

/* What keeps the coroutine from being suspended: a metamethod, or the innermost C
 * function but for pcall and its like, which do not mind. */
static const char *culprit(lua_State *L) {
    lua_Debug info;
    for (int level = 1; lua_getstack(L, level, &info); level++) {
        lua_getinfo(L, "Sn", &info);
        if (info.namewhat[0] == 'm' && info.name != NULL) {
            return lua_pushfstring(L, "metamethod '%s'", info.name);
        }
        if (info.what[0] != 'C') continue;
        const char *name = function_name(L, level);
        if (strstr(name, "pcall'") == NULL) return name;
    }
    return "a C function";
}

/* The main task waits while no loop runs yet: from now on it belongs to this loop, or if
 * NULL to the current one, which the host will run. */
static void put_main_on_loop(lua_State *L, struct l_task *task, struct l_loop *loop) {
    int top = lua_gettop(L);
    if (loop != NULL) {
        l_loop_push(L, loop);
    } else {
        l_loop_push_current(L, task->future.rt);
    }
    loop = l_loop_check_open(L, top + 1);
    if (task->future.loop != loop) {
        if (task->future.loop != NULL) {
            l_loop_push(L, task->future.loop);
            l_unanchor_at(L, top + 2, task->future.loop, task->slot);
            task->future.loop->tasks--;
        }
        l_task_push(L, task);
        l_task_attach(L, task, top + 1, loop);
    }
    lua_settop(L, top);
}

void l_task_bind_main(lua_State *L, struct l_task *task) {
    if (task->future.loop == NULL) put_main_on_loop(L, task, NULL);
}

struct l_task *l_task_may_wait(lua_State *L, struct l_runtime *rt, const char *what,
                               struct l_loop *loop) {
    struct l_task *task = rt->current;
    if (task == NULL) {
        luaL_error(L, "%s: only a task can wait, and none is running here", what);
        return NULL;
    }
    if (!lua_isyieldable(L)) {
        luaL_error(L, "%s: cannot wait inside %s, which cannot be suspended", what, culprit(L));
    }
    if (L != rt->coroutine) {
        luaL_error(L,
                   "%s: cannot wait inside a coroutine that was resumed in a function which "
                   "cannot be suspended, or by other means than loophost's coroutine library",
                   what);
    }
    if (task == rt->main && rt->running == NULL) put_main_on_loop(L, task, loop);
    return task;
}

int l_task_wait_k(lua_State *L, struct l_task *task, const struct l_wait *wait, void *wait_on,
                  lua_KContext context, lua_KFunction continuation) {
    task->wait = wait;
    task->wait_on = wait_on;
    task->leaf = L;
    task->can_throw = true;
    task->future.rt->passing = true;
    return lua_yieldk(L, 0, context, continuation);
}

int l_task_wait(lua_State *L, struct l_task *task, const struct l_wait *wait, void *wait_on,
                lua_KFunction continuation) {
    return l_task_wait_k(L, task, wait, wait_on, 0, continuation);
}

int l_task_wait_turn(lua_State *L, struct l_task *task, lua_KFunction continuation) {
    return l_task_wait(L, task, NULL, NULL, continuation);
}

void l_task_resumed(lua_State *L, struct l_runtime *rt) {
    struct l_task *task = rt->current;
    if (!task->throwing) return;
    task->throwing = false;
    l_task_push(L, task);
    lua_getiuservalue(L, -1, L_FUTURE_RESULT);
    l_error_new(L, rt, "CancelledError");
    lua_error(L);
}

/* ---- coroutines of scripts ---- */

int l_task_resume_nested(lua_State *L, struct l_runtime *rt, lua_State *coroutine, int arguments,
                         int *results) {
    lua_State *previous = rt->coroutine;
    rt->coroutine = previous == L && lua_isyieldable(L) ? coroutine : NULL;
    *owner_of(coroutine) = 0;
    int status = lua_resume(coroutine, L, arguments, results);
    rt->coroutine = previous;
    if (status != LUA_YIELD || !rt->passing) return status;
    *owner_of(coroutine) = (uintptr_t)L + WAITS_INSIDE;
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
        struct l_future *awaited = l_future_test(L, rt, 1);
        task->can_throw = true;
        if (awaited != NULL) {
            if (awaited->state != L_PENDING) return l_future_results(L, 1, awaited);
            future = 1;
        }
    }
    return lua_yieldk(L, lua_gettop(L), future, yield_done);
}
