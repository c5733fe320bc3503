/* thread.c -- to_thread: the task waits, the worker runs.  What may be given to it is the
 * Lua half's to say (scripts/loophost/thread.lua). */
#include "bindings/error.h"
#include "bindings/inventory.h"
#include "bindings/open.h"
#include "bindings/copy.h"
#include "bindings/worker.h"

#include <string.h>

/* refuses(values...) -> the number of the first that cannot be copied to a worker, and why; nil if
 * all can */
static int refuses(lua_State *L) {
    for (int i = 1, n = lua_gettop(L); i <= n; i++) {
        if (!l_copy_refuses(L, i)) continue;
        lua_pushinteger(L, i);
        lua_insert(L, -2);
        return 2;
    }
    return 0;
}

/* worker -> results; or false, error, traceback.  Protected, so that the worker is let go. */
static int take_results(lua_State *L) {
    struct l_worker *worker = lua_touserdata(L, 1);
    int n;
    lua_settop(L, 0);
    lua_pushboolean(L, worker->status == LUA_OK);
    n = l_worker_results(L, worker);
    return 1 + (n < 0 ? 2 : n);
}

static int call_over(lua_State *L, int status, lua_KContext context) {
    struct l_worker *worker = (struct l_worker *)context; /* NOLINT(performance-no-int-to-ptr) */
    struct l_runtime *rt = l_runtime(L);
    struct l_task *task = l_task_resumed_one(L, rt);
    (void)status;
    if (task->throwing) { /* while it waited, and left; or just before it got the results */
        bool had_results = handle_queue_first(&worker->owner) == &task->place;
        if (had_results) {
            l_task_leave_line(task);
            l_worker_release(worker);
        }
    }
    l_task_resumed(L, rt);
    l_task_leave_line(task);
    lua_settop(L, 0);
    lua_pushcfunction(L, take_results);
    lua_pushlightuserdata(L, worker);
    int result = lua_pcall(L, 1, LUA_MULTRET, 0);
    l_worker_release(worker);
    if (result != LUA_OK) return lua_error(L);
    if (lua_toboolean(L, 1)) return lua_gettop(L) - 1;
    if (lua_isstring(L, 3)) l_keep_worker_traceback(L, rt, 2, 3);
    lua_settop(L, 2);
    return lua_error(L);
}

/* to_worker(code, text, arguments...) -> what the call returns; raises what it raises */
static int to_worker(lua_State *L) {
    static const char *const codes[] = {"name", "text", "dump", NULL};
    struct l_runtime *rt = l_runtime(L);
    int code = luaL_checkoption(L, 1, NULL, codes);
    luaL_checkstring(L, 2);
    luaL_checkstack(L, LUA_MINSTACK, "too many arguments");
    struct l_task *task = l_task_may_wait(L, rt, "to_thread", NULL);
    struct l_worker *worker = l_worker_take(L, rt);
    lua_pushlightuserdata(L, worker);
    l_inventory_place(L, rt);
    lua_pop(L, 1);
    l_worker_load(L, worker, (enum l_worker_code)code, 2, 3, lua_gettop(L) - 2);
    int result = l_job_start(L, &worker->job, task, 0);
    if (result < 0) {
        l_worker_release(worker);
        return luaL_error(L, "cannot start a thread: %s", strerror(-result));
    }
    handle_push(&worker->owner, &task->place);
    return l_job_wait(L, &worker->job, task, (lua_KContext)worker, call_over);
}

void l_thread_open(lua_State *L, struct l_runtime *rt) {
    static const luaL_Reg hooks[] = {
        {"to_worker", to_worker}, {"copy_refuses", refuses}, {NULL, NULL}};
    l_pushshared(L, rt, L_SHARED_HOOKS);
    l_setfuncs(L, rt, hooks);
    lua_pop(L, 1);
}
