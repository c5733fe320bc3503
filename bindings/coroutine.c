/* coroutine.c -- Lua's coroutine library and pcall, so that waits pass through them.
 *
 * coroutine.resume and wrap pass a task's wait on to the task and come back to it when
 * the wait is over; what a script's coroutine yields itself stays between it and its
 * resumer.  pcall and xpcall are Python's `except Exception`: CancelledError passes. */
#include "bindings/error.h"
#include "bindings/open.h"
#include "bindings/recycle.h"
#include "bindings/task.h"

/* ---- resume ---- */

/* Moves the arguments over and checks that the coroutine can be resumed; NULL, or what
 * is wrong. */
static const char *prepare(lua_State *L, lua_State *coroutine, int arguments) {
    lua_Debug info;
    if (!lua_checkstack(coroutine, arguments)) return "too many arguments to resume";
    if (coroutine == L) return "cannot resume non-suspended coroutine";
    switch (lua_status(coroutine)) {
    case LUA_YIELD: break;
    case LUA_OK:
        if (lua_getstack(coroutine, 0, &info)) return "cannot resume non-suspended coroutine";
        if (lua_gettop(coroutine) == 0) return "cannot resume dead coroutine";
        break;
    default: return "cannot resume dead coroutine";
    }
    if (l_task_owns(coroutine)) {
        return l_task_outer(coroutine) != NULL ? "cannot resume non-suspended coroutine"
                                               : "cannot resume the coroutine of a task";
    }
    lua_xmove(L, coroutine, arguments);
    return NULL;
}

/* Takes the results over; 0, or -1 if they are too many. */
static int take_results(lua_State *L, lua_State *coroutine, int results) {
    if (!lua_checkstack(L, results + 1)) {
        lua_pop(coroutine, results);
        lua_pushliteral(L, "too many results to resume");
        return -1;
    }
    lua_xmove(coroutine, L, results);
    return 0;
}

/* coroutine, true or false is put before what it yielded, returned or failed with */
static int resume_done(lua_State *L, lua_State *coroutine, int status, int results) {
    bool ok = status == LUA_OK || status == LUA_YIELD;
    if (ok) ok = take_results(L, coroutine, results) == 0;
    if (!ok) {
        results = 1;
        if (status != LUA_OK && status != LUA_YIELD) lua_xmove(coroutine, L, 1);
        if (l_runtime(L)->current != NULL && l_is_cancelled(L, l_runtime(L), -1)) {
            lua_resetthread(coroutine);
            return lua_error(L);
        }
    }
    lua_pushboolean(L, ok);
    lua_insert(L, -results - 1);
    return results + 1;
}

static int resume_again(lua_State *L, int status, lua_KContext context);

static int resume_from(lua_State *L, int arguments) {
    lua_State *coroutine = lua_tothread(L, 1);
    int results = 0;
    int status = l_task_resume_nested(L, l_runtime(L), coroutine, arguments, &results);
    if (status == L_WAITS) return l_task_pass(L, 0, resume_again);
    return resume_done(L, coroutine, status, results);
}

static int resume_again(lua_State *L, int status, lua_KContext context) {
    (void)status, (void)context;
    return resume_from(L, 0);
}

static int coroutine_resume(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTHREAD);
    lua_State *coroutine = lua_tothread(L, 1);
    int arguments = lua_gettop(L) - 1;
    const char *problem = prepare(L, coroutine, arguments);
    if (problem != NULL) {
        lua_pushboolean(L, 0);
        lua_pushstring(L, problem);
        return 2;
    }
    return resume_from(L, arguments);
}

/* ---- wrap ---- */

/* The coroutine has failed with the error on top of it: raises that here, with the
 * position added to a message, as stock wrap does. */
static int raise_from(lua_State *L, lua_State *coroutine, int status) {
    struct l_runtime *rt = l_runtime(L);
    lua_pushvalue(coroutine, -1);
    lua_xmove(coroutine, L, 1);
    if (status == LUA_ERRMEM) return lua_error(L);
    bool has_kept = l_keep_inner_traceback(L, rt, coroutine);
    if (lua_resetthread(coroutine) != LUA_OK) { /* it runs __close: another error wins */
        lua_xmove(coroutine, L, 1);
    }
    if (lua_type(L, -1) == LUA_TSTRING) {
        luaL_where(L, 1);
        lua_insert(L, -2);
        lua_concat(L, 2);
        if (has_kept) l_keep_inner_error(L, rt);
    }
    return lua_error(L);
}

static int wrap_again(lua_State *L, int status, lua_KContext context);

static int wrap_from(lua_State *L, int arguments) {
    lua_State *coroutine = lua_tothread(L, lua_upvalueindex(2));
    int results = 0;
    int status = l_task_resume_nested(L, l_runtime(L), coroutine, arguments, &results);
    if (status == L_WAITS) return l_task_pass(L, 0, wrap_again);
    if (status != LUA_OK && status != LUA_YIELD) return raise_from(L, coroutine, status);
    if (take_results(L, coroutine, results) < 0) return lua_error(L);
    return results;
}

static int wrap_again(lua_State *L, int status, lua_KContext context) {
    (void)status, (void)context;
    return wrap_from(L, 0);
}

static int wrap_call(lua_State *L) {
    lua_State *coroutine = lua_tothread(L, lua_upvalueindex(2));
    int arguments = lua_gettop(L);
    const char *problem = prepare(L, coroutine, arguments);
    if (problem != NULL) return luaL_error(L, "%s", problem);
    return wrap_from(L, arguments);
}

static int coroutine_wrap(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_State *coroutine = lua_newthread(L);
    lua_pushvalue(L, 1);
    lua_xmove(L, coroutine, 1);
    lua_pushcclosure(L, wrap_call, 2);
    return 1;
}

/* ---- the rest of the library: the stock functions, where no wait is involved ---- */

/* One that waits inside a task is not suspended for its script: it has a resumer. */
static int coroutine_status(lua_State *L) {
    lua_State *coroutine = lua_tothread(L, 1);
    if (coroutine != NULL && l_task_outer(coroutine) != NULL) {
        lua_pushliteral(L, "normal");
        return 1;
    }
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

static int coroutine_running(lua_State *L) {
    l_recycle_expose(L);
    lua_pushboolean(L, lua_pushthread(L));
    return 2;
}

static int coroutine_close(lua_State *L) {
    lua_State *coroutine = lua_tothread(L, 1);
    lua_Debug info;
    bool suspended = coroutine != NULL && coroutine != L &&
                     (lua_status(coroutine) == LUA_YIELD || !lua_getstack(coroutine, 0, &info));
    if (suspended && l_task_owns(coroutine)) {
        return luaL_error(L, l_task_outer(coroutine) != NULL
                                 ? "cannot close a normal coroutine"
                                 : "cannot close the coroutine of a task: cancel the task");
    }
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

/* ---- pcall ---- */

static int pcall_done(lua_State *L, int status, lua_KContext context) {
    if (status == LUA_OK || status == LUA_YIELD) return lua_gettop(L) - (int)context;
    if (l_is_cancelled(L, l_runtime(L), -1)) return lua_error(L);
    lua_pushboolean(L, 0);
    lua_insert(L, -2);
    return 2;
}

static int l_pcall(lua_State *L) {
    luaL_checkany(L, 1);
    lua_pushboolean(L, 1);
    lua_insert(L, 1);
    return pcall_done(L, lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, 0, pcall_done), 0);
}

/* The message handler of xpcall: CancelledError is none of the script's handler's. */
static int handle_message(lua_State *L) {
    if (l_is_cancelled(L, l_runtime(L), 1)) return 1;
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

/* The same if the script's handler is debug.traceback, with no frame of ours in what it
 * shows. */
static int handle_traceback(lua_State *L) {
    if (l_is_cancelled(L, l_runtime(L), 1)) return 1;
    if (!lua_isnil(L, 1) && !lua_isstring(L, 1)) return 1;
    luaL_traceback(L, L, lua_tostring(L, 1), 1);
    return 1;
}

bool l_handles_message(lua_State *L, int index) {
    return lua_tocfunction(L, index) == handle_message;
}

/* function, handler, arguments */
static int l_xpcall(lua_State *L) {
    int arguments = lua_gettop(L) - 2;
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, 2);
    bool is_traceback = lua_iscfunction(L, 2) && lua_tocfunction(L, 2) == l_runtime(L)->traceback;
    lua_pushcclosure(L, is_traceback ? handle_traceback : handle_message, 2);
    lua_replace(L, 2);
    lua_pushboolean(L, 1);
    lua_pushvalue(L, 1);
    lua_rotate(L, 3, 2); /* function, handler, true, function, arguments */
    return pcall_done(L, lua_pcallk(L, arguments, LUA_MULTRET, 2, 2, pcall_done), 2);
}

/* Leaves a copy of the stock coroutine library with our functions in it on top. */
static void push_library(lua_State *L, struct l_runtime *rt) {
    static const luaL_Reg functions[] = {{"resume", coroutine_resume},
                                         {"wrap", coroutine_wrap},
                                         {"yield", l_task_yield},
                                         {"running", coroutine_running},
                                         {NULL, NULL}};
    static const luaL_Reg wrappers[] = {
        {"status", coroutine_status}, {"close", coroutine_close}, {NULL, NULL}};
    lua_getglobal(L, "coroutine");
    lua_newtable(L);
    lua_pushnil(L);
    while (lua_next(L, -3)) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -4);
    }
    l_setfuncs(L, rt, functions);
    for (const luaL_Reg *wrapper = wrappers; wrapper->name != NULL; wrapper++) {
        lua_pushlightuserdata(L, rt);
        lua_getfield(L, -2, wrapper->name);
        lua_pushcclosure(L, wrapper->func, 2);
        lua_setfield(L, -2, wrapper->name);
    }
    lua_remove(L, -2);
}

void l_coroutine_open(lua_State *L, struct l_runtime *rt) {
    static const luaL_Reg functions[] = {{"pcall", l_pcall}, {"xpcall", l_xpcall}, {NULL, NULL}};
    l_pushshared(L, rt, L_SHARED_HOOKS);
    l_setfuncs(L, rt, functions);
    lua_getglobal(L, "pcall");
    lua_setfield(L, -2, "rawpcall");
    lua_getglobal(L, "xpcall");
    lua_setfield(L, -2, "rawxpcall");
    if (lua_getglobal(L, "debug") == LUA_TTABLE) {
        lua_getfield(L, -1, "traceback");
        rt->traceback = lua_tocfunction(L, -1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    push_library(L, rt);
    lua_setfield(L, -2, "coroutine");
    lua_pop(L, 1);
}

void l_coroutine_replace_globals(lua_State *L, struct l_runtime *rt) {
    l_pushfunction(L, rt, l_pcall); /* not lh.pcall itself: a traceback is to say 'pcall' */
    lua_setglobal(L, "pcall");
    l_pushfunction(L, rt, l_xpcall);
    lua_setglobal(L, "xpcall");
    l_pushshared(L, rt, L_SHARED_HOOKS);
    lua_getfield(L, -1, "coroutine");
    lua_getglobal(L, "coroutine"); /* in place: others may hold the table */
    lua_pushnil(L);
    while (lua_next(L, -3)) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -4);
    }
    lua_setfield(L, -3, "coroutine");
    lua_pop(L, 2);
    l_recycle_open(rt);
}
