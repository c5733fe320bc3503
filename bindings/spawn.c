/* spawn.c -- how a task begins: its coroutine, its body, its loop.
 *
 * The coroutine of a task runs task_main, which calls the body inside a lua_pcallk: an
 * error that leaves a coroutine without one would not run its <close> variables. */
#include "bindings/context.h"
#include "bindings/error.h"
#include "bindings/handle.h"
#include "bindings/recycle.h"
#include "bindings/task.h"

#include <string.h>

/* ---- the body ---- */

void l_task_keep_failure(lua_State *L, struct l_task *task) {
    struct l_runtime *rt = task->future.rt;
    int error = lua_gettop(L);
    enum l_future_state outcome = l_is_cancelled(L, rt, error) ? L_CANCELLED : L_FAILED;
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    l_pushhook(L, rt, "story");
    lua_pushvalue(L, 1);
    l_take_traceback(L, rt);
    l_take_cause(L, rt, error);
    lua_pushboolean(L, outcome == L_FAILED);
    lua_call(L, 4, 1);
    task->outcome = outcome;
    l_future_setextra(L, 1, L_EXTRA_STORY);
    lua_pushvalue(L, error);
    l_future_setvalue(L, 1, &task->future);
    if (outcome == L_FAILED) l_future_guard(L, 1, &task->future);
}

int l_task_body_done(lua_State *L, int status, lua_KContext context) {
    struct l_task *task = lua_touserdata(L, 1);
    (void)context;
    if (task->must_cancel && (status == LUA_OK || status == LUA_YIELD)) {
        task->outcome = L_CANCELLED; /* too late to raise it; its message is kept */
        l_future_getextra(L, 1, L_EXTRA_MESSAGE);
        l_future_setvalue(L, 1, &task->future);
    } else if (status == LUA_OK || status == LUA_YIELD) {
        task->outcome = L_FINISHED;
        l_future_store_results(L, 1, &task->future, lua_gettop(L) - 2);
    } else {
        l_task_keep_failure(L, task);
    }
    return 0;
}

static int body_error(lua_State *L) {
    struct l_task *task = (struct l_task *)*l_task_owner(L); /* NOLINT(performance-no-int-to-ptr) */
    lua_settop(L, 1);
    l_keep_traceback(L, task->future.rt);
    return 1;
}

/* task, message handler, body, arguments */
static int task_main(lua_State *L) {
    int status = lua_pcallk(L, lua_gettop(L) - 3, LUA_MULTRET, 2, 0, l_task_body_done);
    return l_task_body_done(L, status, 0);
}

/* ---- making ---- */

/* What the value at the index, which is no function, is to be: another one in its place,
 * something that is called; or the task's own coroutine, if it can be that. */
static lua_State *body_of(lua_State *L, struct l_runtime *rt, int index) {
    lua_Debug info;
    lua_State *coroutine = lua_tothread(L, index);
    if (coroutine == NULL) {
        if (luaL_getmetafield(L, index, "__call") == LUA_TNIL) {
            l_type_error(L, index, "function or coroutine");
        }
        lua_pop(L, 1);
        return NULL;
    }
    luaL_argcheck(L, !l_task_owns(coroutine), index, "coroutine belongs to a task already");
    if (lua_status(coroutine) == LUA_YIELD) { /* begun: a new one resumes it to its end */
        l_pushhook(L, rt, "drive");
        lua_insert(L, index);
        return NULL;
    }
    luaL_argcheck(L, coroutine != L && lua_getstack(coroutine, 0, &info) == 0, index,
                  "coroutine is running");
    luaL_argcheck(L, lua_status(coroutine) == LUA_OK && lua_gettop(coroutine) > 0, index,
                  "coroutine is dead");
    return coroutine;
}

/* Whether the function on top, of which `info` tells, is a script's and not the library's.
 * The last one found to be is remembered, weakly. */
static bool is_scripts(lua_State *L, struct l_runtime *rt, lua_Debug *info) {
    l_pushshared(L, rt, L_SHARED_CREATOR);
    lua_rawgeti(L, -1, 1);
    bool known = lua_rawequal(L, -1, -3);
    if (!known) {
        lua_pushvalue(L, -3);
        lua_getinfo(L, ">S", info);
        known = strncmp(info->source, "@loophost/", 10) != 0;
        if (known) {
            lua_pushvalue(L, -3);
            lua_rawseti(L, -3, 1);
        }
    }
    lua_pop(L, 2);
    return known;
}

/* The creator is the script's function nearest to the level, not the library's. */
static void note_creator(lua_State *L, int index, struct l_task *task, int caller) {
    lua_Debug info;
    bool is_known = caller == L_SCRIPT_CALLER;
    for (int level = is_known ? 1 : caller; lua_getstack(L, level, &info); level++) {
        lua_getinfo(L, "fl", &info);
        if (info.currentline >= 0 && (is_known || is_scripts(L, task->future.rt, &info))) {
            unsigned line = (unsigned)info.currentline;
            task->created_line = line & L_TASK_LAST_LINE;
            lua_setiuservalue(L, index, L_FUTURE_VALUE);
            return;
        }
        lua_pop(L, 1);
        is_known = false;
    }
}

void l_task_copy_creator(lua_State *L, struct l_task *task, int sibling) {
    const struct l_task *other = lua_touserdata(L, sibling);
    task->created_line = other->created_line;
    l_future_getvalue(L, sibling, &other->future);
    l_future_setvalue(L, -2, &task->future);
}

void l_task_pushcreated(lua_State *L, int index, const struct l_task *task) {
    lua_Debug info;
    if (task->outcome != L_PENDING) {
        lua_pushnil(L);
        return;
    }
    l_future_getvalue(L, index, &task->future);
    if (lua_isnil(L, -1)) return;
    lua_getinfo(L, ">S", &info);
    lua_pushfstring(L, "%s:%d", info.short_src, (int)task->created_line);
}

/* A task of the body at `first`, under which it is put; its coroutine, if that is its own. */
static struct l_task *new_task(lua_State *L, struct l_runtime *rt, int first, int caller) {
    lua_State *own = lua_type(L, first) == LUA_TFUNCTION ? NULL : body_of(L, rt, first);
    int uservalues = L_TASK_USERVALUES + !rt->recycles;
    struct l_task *task = l_newobject(L, rt, L_TASK, sizeof *task, uservalues);
    task->future.rt = rt;
    task->coroutine = own;
    task->exposed = own != NULL;
    task->unbegun = true;
    handle_queue_init(&task->future.callbacks);
    timer_init(&task->timer, l_task_step);
    task->number = (unsigned)++rt->tasks_named;
    if (caller != L_NO_CREATOR) note_creator(L, lua_gettop(L), task, caller);
    lua_insert(L, first);
    if (rt->context_set) {
        l_context_push(L, rt);
        l_future_setextra(L, first, L_EXTRA_CONTEXT);
    }
    return task;
}

/* The task at `first`, whose body and arguments are above, gets a coroutine of its own, if it has
 * none yet, and holds it. */
static void hold_coroutine(lua_State *L, struct l_task *task, int first) {
    int arguments = lua_gettop(L) - first - 1;
    if (task->coroutine != NULL) {
        lua_pushvalue(L, first + 1);
    } else {
        task->coroutine = lua_newthread(L);
    }
    lua_setiuservalue(L, first, L_TASK_COROUTINE);
    if (arguments > L_FEW_ARGUMENTS && !lua_checkstack(task->coroutine, arguments + LUA_MINSTACK)) {
        luaL_error(L, "too many arguments");
    }
}

/* Moves body and arguments into the coroutine, and leaves the task.  Cannot fail. */
static void load(lua_State *L, struct l_task *task, int first) {
    lua_State *coroutine = task->coroutine;
    int arguments = lua_gettop(L) - first - 1;
    bool is_own = lua_gettop(coroutine) > 0; /* its body is on its stack already */
    *l_task_owner(coroutine) = (uintptr_t)task;
    lua_pushcfunction(coroutine, task_main);
    lua_pushvalue(L, first);
    lua_xmove(L, coroutine, 1);
    lua_pushcfunction(coroutine, body_error);
    if (is_own) {
        lua_rotate(coroutine, 1, 3); /* under the body */
        lua_xmove(L, coroutine, arguments);
        lua_pop(L, 1);
    } else {
        lua_xmove(L, coroutine, arguments + 1);
    }
}

struct l_task *l_task_new(lua_State *L, struct l_runtime *rt, int first, int caller) {
    luaL_checkany(L, first);
    struct l_task *task = new_task(L, rt, first, caller);
    hold_coroutine(L, task, first);
    load(L, task, first);
    return task;
}

static void put_on_loop(lua_State *L, struct l_task *task, int index, struct l_loop *loop) {
    l_loop_push_alive(L, loop);
    task->slot = l_anchor(L, index, -1, loop);
    task->future.loop = loop;
    lua_setiuservalue(L, index, L_FUTURE_LOOP);
    loop->tasks++;
    loop->loop.metrics.tasks_created++;
}

/* The first step, of a task on a loop that overrides how it is scheduled. */
static void begin_by_method(lua_State *L, struct l_task *task, int index) {
    struct l_loop *loop = task->future.loop;
    task->by_method = true;
    lua_pushcfunction(L, l_task_call_method);
    lua_pushvalue(L, index);
    if (lua_pcall(L, 1, 0, 0) == LUA_OK) return;
    loop->tasks--; /* as if there had been no task */
    task->by_method = false;
    l_unanchor_anywhere(L, loop, task->slot);
    lua_error(L);
}

static void begin(lua_State *L, struct l_task *task, int index) {
    if (task->future.loop->overrides & (L_OVERRIDE_CALL_SOON | L_OVERRIDE_CALL_PRIORITY)) {
        begin_by_method(L, task, index);
    } else {
        l_task_schedule(L, task);
    }
}

void l_task_attach(lua_State *L, struct l_task *task, struct l_loop *loop) {
    int index = lua_gettop(L);
    put_on_loop(L, task, index, loop);
    if (task->unbegun) begin(L, task, index);
}

/* Between taking a kept coroutine and the first step nothing may fail, or it would be lost. */
struct l_task *l_task_create(lua_State *L, struct l_loop *loop, int first, int caller) {
    if (lua_type(L, first) != LUA_TFUNCTION) luaL_checkany(L, first);
    struct l_task *task = new_task(L, loop->rt, first, caller);
    bool recycled = task->coroutine == NULL && lua_gettop(L) - first - 1 <= L_FEW_ARGUMENTS &&
                    l_recycle_can(L, loop);
    if (!recycled) {
        hold_coroutine(L, task, first);
        l_recycle_prepare(L, loop);
    }
    put_on_loop(L, task, first, loop);
    if (recycled) l_recycle_take(loop, task);
    load(L, task, first);
    begin(L, task, first);
    if (loop->loop.trace.on) {
        trace_add(&loop->loop.trace, loop_now(&loop->loop), "create_task", "name=Task-%u",
                  task->number);
    }
    return task;
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
