/* taskobject.c -- the task as scripts see it: its methods, and what it tells of itself. */
#include "bindings/error.h"
#include "bindings/handle.h"
#include "bindings/open.h"
#include "bindings/recycle.h"
#include "bindings/waitq.h"

#include <string.h>

static struct l_task *check_task(lua_State *L) {
    return l_check(L, 1, L_TASK);
}

/* ---- methods ---- */

void l_task_pushname(lua_State *L, int index, struct l_task *task) {
    l_future_getextra(L, index, L_EXTRA_NAME);
    if (!lua_isnil(L, -1)) return;
    lua_pop(L, 1);
    lua_pushfstring(L, "Task-%I", (lua_Integer)task->number);
}

static int task_get_name(lua_State *L) {
    l_task_pushname(L, 1, check_task(L));
    return 1;
}

static int task_set_name(lua_State *L) {
    check_task(L);
    luaL_checkany(L, 2);
    luaL_tolstring(L, 2, NULL);
    l_future_setextra(L, 1, L_EXTRA_NAME);
    return 0;
}

static int task_cancelling(lua_State *L) {
    lua_pushinteger(L, check_task(L)->cancelling);
    return 1;
}

static int task_uncancel(lua_State *L) {
    struct l_task *task = check_task(L);
    if (task->cancelling > 0) task->cancelling--;
    lua_pushinteger(L, task->cancelling);
    return 1;
}

static int task_get_coro(lua_State *L) {
    struct l_task *task = check_task(L);
    l_recycle_pushown(L, 1, task);
    if (lua_isnil(L, -1)) { /* it is another task's now */
        lua_pop(L, 1);
        lua_newthread(L); /* dead, too */
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, 1, L_TASK_COROUTINE);
    }
    task->exposed = true;
    return 1;
}

/* set_priority(n or nil): the steps run as call_soon_with_priority(n) would */
static int task_set_priority(lua_State *L) {
    struct l_task *task = check_task(L);
    bool has_priority = !lua_isnoneornil(L, 2);
    if (has_priority) task->priority = l_checkpriority(L, 2);
    task->has_priority = has_priority;
    return 0;
}

/* ---- what it tells ---- */

/* current_task([loop]) -> the task that runs (in that loop), or nil */
static int current_task(lua_State *L) {
    struct l_task *task = l_runtime(L)->current;
    struct l_loop *loop = lua_isnoneornil(L, 1) ? NULL : l_loop_check(L, 1);
    if (task == NULL || (loop != NULL && task->future.loop != loop)) {
        lua_pushnil(L);
        return 1;
    }
    l_task_bind_main(L, task);
    l_task_push(L, task);
    return 1;
}

static int isfuture(lua_State *L) {
    lua_pushboolean(L, l_future_test(L, 1) != NULL);
    return 1;
}

static int istask(lua_State *L) {
    lua_pushboolean(L, l_test(L, 1, L_TASK) != NULL);
    return 1;
}

static int issleep(lua_State *L) {
    lua_pushboolean(L, l_test(L, 1, L_SLEEP) != NULL);
    return 1;
}

static int task_number(lua_State *L) {
    lua_pushinteger(L, check_task(L)->number);
    return 1;
}

/* task_waits(task) -> what it waits for or nil, where or nil, the future it awaits or nil, the
 * lock, queue or the like in whose line it stands or nil */
static int task_waits(lua_State *L) {
    struct l_task *task = check_task(L);
    if (task->wait == NULL || task->future.state != L_PENDING) return 0;
    lua_pushstring(L, task->wait->name);
    lua_State *leaf = l_task_leaf(task), *coroutine = leaf;
    do {
        lua_settop(L, 2);
        if (!l_push_script_line(L, coroutine)) lua_pushnil(L);
        coroutine = l_task_outer(coroutine);
    } while (lua_isnil(L, 3) && coroutine != NULL);
    lua_pushnil(L);
    if (task->wait_on != NULL && l_task_awaits_future(task) && lua_checkstack(leaf, 1)) {
        lua_pushvalue(leaf, 1);
        lua_xmove(leaf, L, 1);
        lua_replace(L, 4);
    }
    if (l_waitq_waits_in_line(task) && lua_checkstack(leaf, 1)) {
        lua_pushvalue(leaf, 1);
        lua_xmove(leaf, L, 1);
        return 4;
    }
    return 3;
}

/* running_task() -> the task that runs, or nil; as current_task, but the main task is on no
 * loop afterwards if it was on none */
static int running_task(lua_State *L) {
    struct l_task *task = l_runtime(L)->current;
    if (task == NULL) return 0;
    l_task_push(L, task);
    return 1;
}

/* main_place() -> "file:line" where the host's main task waits, or nil */
static int main_place(lua_State *L) {
    struct l_task *task = l_runtime(L)->main;
    if (task == NULL || task->wait == NULL) return 0;
    if (!l_push_script_line(L, task->leaf)) lua_pushnil(L);
    return 1;
}

/* task_created(task) -> "file:line" or nil */
static int task_created(lua_State *L) {
    l_task_pushcreated(L, 1, check_task(L));
    return 1;
}

/* task_traceback(task) -> the traceback of a task that is suspended, from the innermost
 * coroutine outwards; of the running one, from here */
static int task_traceback(lua_State *L) {
    struct l_task *task = check_task(L);
    struct l_runtime *rt = l_runtime(L);
    if (task == rt->current) {
        luaL_traceback(L, L, NULL, 1);
        return 1;
    }
    if (task->future.state != L_PENDING) return 0;
    lua_State *coroutine = task->wait != NULL ? l_task_leaf(task) : task->coroutine;
    luaL_traceback(L, coroutine, NULL, 0);
    while ((coroutine = l_task_outer(coroutine)) != NULL) {
        lua_pushliteral(L, "\n(in a coroutine resumed from)\n");
        luaL_traceback(L, coroutine, NULL, 0);
        lua_concat(L, 3);
    }
    return 1;
}

/* task_awaiters(future) -> the tasks that wait for it, first come first */
static int task_awaiters(lua_State *L) {
    struct l_future *future = l_future_check(L, 1);
    lua_Integer n = 0;
    lua_settop(L, 1);
    lua_newtable(L);
    if (future->loop == NULL) return 1;
    lua_getiuservalue(L, 1, L_FUTURE_LOOP); /* theirs too, and it may be being collected */
    lua_getiuservalue(L, -1, L_LOOP_ANCHORS);
    for (struct handle *handle = future->callbacks.head.next; handle != &future->callbacks.head;
         handle = handle->next) {
        struct l_task *task = l_task_of(handle);
        if (task == NULL) continue;
        lua_rawgeti(L, -1, task->slot);
        lua_rawseti(L, 2, ++n);
    }
    lua_settop(L, 2);
    return 1;
}

static const char *const extra_names[] = {"callbacks", "guard", "story",   "cause",
                                          "cancel",    "name",  "context", NULL};

static enum l_future_extra check_extra(lua_State *L) {
    return (enum l_future_extra)(L_EXTRA_CALLBACKS + luaL_checkoption(L, 2, NULL, extra_names));
}

/* get(future, key), set(future, key, value): what the Lua half keeps with a future */
static int get_extra(lua_State *L) {
    l_future_check(L, 1);
    l_future_getextra(L, 1, check_extra(L));
    return 1;
}

static int set_extra(lua_State *L) {
    l_future_check(L, 1);
    enum l_future_extra key = check_extra(L);
    lua_settop(L, 3);
    l_future_setextra(L, 1, key);
    return 0;
}

/* name_tasks(n) -> the number of the newest task until now; the next one is Task-(n+1) */
static int name_tasks(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    lua_Integer next = luaL_checkinteger(L, 1), last = rt->tasks_named;
    rt->tasks_named = next;
    lua_pushinteger(L, last);
    return 1;
}

static int take_traceback(lua_State *L) {
    l_take_traceback(L, l_runtime(L));
    return 1;
}

/* detach(task): its loop forgets it; it will never run again */
static int detach(lua_State *L) {
    struct l_task *task = check_task(L);
    struct l_loop *loop = task->future.loop;
    if (task->future.state != L_PENDING || loop == NULL || loop->closed) return 0;
    l_recycle_leave(L, 1, task);
    l_task_detach(task);
    loop->tasks--;
    l_unanchor_anywhere(L, loop, task->slot);
    return 0;
}

/* take_cause(error): the future whose error this is, if it was raised by a wait */
static int take_cause(lua_State *L) {
    l_take_cause(L, l_runtime(L), 1);
    return 1;
}

void l_taskobject_open(lua_State *L, struct l_runtime *rt) {
    static const luaL_Reg methods[] = {{"get_name", task_get_name},
                                       {"set_name", task_set_name},
                                       {"cancelling", task_cancelling},
                                       {"uncancel", task_uncancel},
                                       {"get_coro", task_get_coro},
                                       {"set_priority", task_set_priority},
                                       {NULL, NULL}};
    static const luaL_Reg hooks[] = {{"current_task", current_task},
                                     {"isfuture", isfuture},
                                     {"istask", istask},
                                     {"issleep", issleep},
                                     {"task_number", task_number},
                                     {"name_tasks", name_tasks},
                                     {"task_waits", task_waits},
                                     {"running_task", running_task},
                                     {"main_place", main_place},
                                     {"task_created", task_created},
                                     {"task_traceback", task_traceback},
                                     {"task_awaiters", task_awaiters},
                                     {"get", get_extra},
                                     {"set", set_extra},
                                     {"take_traceback", take_traceback},
                                     {"take_cause", take_cause},
                                     {"detach", detach},
                                     {NULL, NULL}};
    l_pushshared(L, rt, L_SHARED_CREATOR);
    l_make_weak(L);
    lua_pop(L, 1);
    l_newtype(L, rt, L_TASK, "Task", l_future_methods);
    lua_getfield(L, -1, "__index");
    l_setfuncs(L, rt, methods);
    l_pushshared(L, rt, L_SHARED_HOOKS);
    l_setfuncs(L, rt, hooks);
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, "task_methods");
    lua_pop(L, 2);
    l_future_settype(L, rt);
}
