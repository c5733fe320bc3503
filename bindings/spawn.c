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
 * something that is called; or a coroutine, which is pushed if it can be the task's own. */
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
    lua_pushvalue(L, index);
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
static void note_creator(lua_State *L, int index, struct l_task *task, int level) {
    lua_Debug info;
    while (lua_getstack(L, level++, &info)) {
        lua_getinfo(L, "fl", &info);
        if (info.currentline >= 0 && is_scripts(L, task->future.rt, &info)) {
            unsigned line = (unsigned)info.currentline;
            task->created_line = line & L_TASK_LAST_LINE;
            lua_setiuservalue(L, index, L_FUTURE_VALUE);
            return;
        }
        lua_pop(L, 1);
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

enum { FEW_ARGUMENTS = 8 }; /* which the stack of any function has room for */

struct l_task *l_task_new(lua_State *L, struct l_runtime *rt, int first, int caller) {
    luaL_checkany(L, first);
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    lua_State *coroutine = NULL;
    if (lua_type(L, first) != LUA_TFUNCTION) coroutine = body_of(L, rt, first);
    bool is_own = coroutine != NULL; /* its body is on its stack already */
    int arguments = lua_gettop(L) - first - is_own;
    if (!is_own) coroutine = l_recycle_push(L, rt);
    struct l_task *task = l_newobject(L, rt, L_TASK, sizeof *task, L_TASK_USERVALUES);
    task->future.rt = rt;
    task->exposed = is_own;
    task->unbegun = true;
    handle_queue_init(&task->future.callbacks);
    timer_init(&task->timer, l_task_step);
    task->number = (unsigned)++rt->tasks_named;
    if (caller != L_NO_CREATOR) note_creator(L, lua_gettop(L), task, caller);
    lua_insert(L, first);
    lua_insert(L, first + 1); /* task, coroutine, body, arguments */
    if (arguments > FEW_ARGUMENTS && !lua_checkstack(coroutine, arguments + LUA_MINSTACK)) {
        luaL_error(L, "too many arguments");
    }
    task->coroutine = coroutine;
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
    lua_setiuservalue(L, first, L_TASK_COROUTINE);
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
    if (!task->unbegun) return;
    if ((loop->overrides & (L_OVERRIDE_CALL_SOON | L_OVERRIDE_CALL_PRIORITY)) == 0) {
        l_task_schedule(L, task);
        return;
    }
    task->by_method = true;
    lua_pushcfunction(L, l_task_call_method);
    lua_pushvalue(L, -2);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) { /* as if there had been no task */
        loop->tasks--;
        task->by_method = false;
        l_unanchor_anywhere(L, loop, task->slot);
        lua_error(L);
    }
}

struct l_task *l_task_create(lua_State *L, struct l_runtime *rt, int loop_index, int first,
                             int caller) {
    struct l_task *task = l_task_new(L, rt, first, caller);
    struct l_loop *loop = lua_touserdata(L, loop_index);
    l_task_attach(L, task, loop_index, loop);
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
