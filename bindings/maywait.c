/* maywait.c -- whether a function may wait where it was called, and why not. */
#include "bindings/task.h"

#include <stdarg.h>
#include <string.h>

/* The name, as tracebacks give it, of the function at the level. */
static const char *function_name(lua_State *L, int level) {
    luaL_traceback(L, L, NULL, level);
    const char *name = luaL_gsub(L, lua_tostring(L, -1), "stack traceback:\n\t[C]: in ", "");
    return lua_pushlstring(L, name, strcspn(name, "\n"));
}

/* What keeps the coroutine from being suspended: a hook, a message handler, a metamethod, or the
 * innermost C function but for pcall and its like, which do not mind.  Without any of those it is
 * only there to run its <close> variables: coroutine.close, or an error that left it. */
static const char *culprit(lua_State *L) {
    lua_Debug info;
    for (int level = 1; lua_getstack(L, level, &info); level++) {
        lua_getinfo(L, "Snf", &info);
        bool is_handler = l_handles_message(L, -1);
        lua_pop(L, 1);
        if (is_handler) return "the message handler of xpcall";
        if (info.namewhat[0] == 'h') return "a hook";
        if (info.namewhat[0] == 'm' && info.name != NULL) {
            return lua_pushfstring(L, "metamethod '%s'", info.name);
        }
        if (info.what[0] != 'C') continue;
        const char *name = function_name(L, level);
        if (strcmp(name, "?") == 0) return "a C function";
        if (strstr(name, "pcall'") == NULL) return name;
    }
    return "a coroutine that is being closed";
}

/* Raises the message, at the script's line: what waits may have been called by Lua of ours. */
static void refuse(lua_State *L, const char *format, ...) {
    va_list arguments;
    if (l_push_script_line(L, L)) {
        lua_pushliteral(L, ": ");
    } else {
        lua_pushliteral(L, "");
        lua_pushliteral(L, "");
    }
    va_start(arguments, format);
    lua_pushvfstring(L, format, arguments);
    va_end(arguments);
    lua_concat(L, 3);
    lua_error(L);
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
            l_unanchor_anywhere(L, task->future.loop, task->slot);
            task->future.loop->tasks--;
        }
        l_task_push(L, task);
        l_task_attach(L, task, loop);
    }
    lua_settop(L, top);
}

void l_task_bind_main(lua_State *L, struct l_task *task) {
    if (task->future.loop == NULL) put_main_on_loop(L, task, NULL);
}

struct l_task *l_task_check_may_wait(lua_State *L, struct l_runtime *rt, const char *what,
                                     struct l_loop *loop) {
    struct l_task *task = rt->current;
    if (task == NULL) {
        refuse(L, "%s: only a task can wait, and none is running here", what);
        return NULL;
    }
    if (!lua_isyieldable(L)) {
        refuse(L, "%s: cannot wait inside %s, which cannot be suspended", what, culprit(L));
    }
    if (L != rt->coroutine) {
        refuse(L,
               "%s: cannot wait inside a coroutine that was resumed in a function which "
               "cannot be suspended, or by other means than loophost's coroutine library",
               what);
    }
    if (task == rt->main && rt->running == NULL) put_main_on_loop(L, task, loop);
    return task;
}

int l_task_wrong_loop(lua_State *L, const char *what, const char *object) {
    refuse(L, "%s: the %s belongs to a different loop", what, object);
    return 0;
}

struct l_task *l_task_may_wait_for(lua_State *L, struct l_runtime *rt, const char *what,
                                   const char *object, struct l_loop *loop) {
    struct l_task *task = l_task_may_wait(L, rt, what, loop);
    if (task->future.loop != loop) l_task_wrong_loop(L, what, object);
    return task;
}

struct l_loop *l_task_push_loop(lua_State *L, struct l_runtime *rt, const char *what) {
    if (rt->current != NULL) l_task_may_wait(L, rt, what, NULL);
    if (rt->running == NULL && rt->current == NULL) {
        refuse(L, "%s: no running event loop", what);
    }
    struct l_loop *loop = rt->current != NULL ? rt->current->future.loop : rt->running;
    l_loop_push(L, loop);
    return loop;
}
