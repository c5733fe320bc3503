/* error.c -- error classes, and the two functions that ask about errors. */
#include "bindings/error.h"

static const char *const class_names[] = {
    "CancelledError", "TimeoutError",  "InvalidStateError",  "DeadlockError",  "QueueEmpty",
    "QueueFull",      "QueueShutDown", "BrokenBarrierError", "ExceptionGroup", NULL,
};

void l_error_new(lua_State *L, struct l_runtime *rt, const char *class_name) {
    lua_createtable(L, 0, 2);
    lua_pushstring(L, class_name);
    lua_setfield(L, -2, "name");
    lua_rotate(L, -2, 1); /* error, message */
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushliteral(L, "");
    }
    lua_setfield(L, -2, "message");
    l_pushshared(L, rt, L_SHARED_ERRORS);
    lua_getfield(L, -1, class_name);
    lua_getfield(L, -1, "metatable");
    lua_setmetatable(L, -4);
    lua_pop(L, 2);
}

int l_error_raise(lua_State *L, struct l_runtime *rt, const char *class_name, const char *message) {
    lua_pushstring(L, message);
    l_error_new(L, rt, class_name);
    return lua_error(L);
}

bool l_is_cancelled(lua_State *L, const struct l_runtime *rt, int index) {
    if (lua_type(L, index) != LUA_TTABLE || !lua_getmetatable(L, index)) return false;
    const void *metatable = lua_topointer(L, -1);
    lua_pop(L, 1);
    return metatable == rt->cancelled_error;
}

/* Class(message[, exceptions]); the class is the first argument of __call.  Upvalues: the runtime,
 * the class if it is that of groups, its name. */
static int class_call(lua_State *L) {
    lua_settop(L, 3);
    const char *name = lua_tostring(L, lua_upvalueindex(3));
    bool is_group = lua_rawequal(L, 1, lua_upvalueindex(2));
    if (is_group && !lua_istable(L, 3)) { /* not luaL_checktype: the class is no argument */
        const char *got = lua_isnil(L, 3) ? "no value" : luaL_typename(L, 3);
        return luaL_error(L, "bad argument #2 to '%s' (table expected, got %s)", name, got);
    }
    if (is_group && lua_rawlen(L, 3) == 0) {
        return luaL_error(L, "bad argument #2 to '%s' (at least one error expected)", name);
    }
    lua_pushvalue(L, 2);
    l_error_new(L, l_runtime(L), name);
    if (is_group) {
        lua_pushvalue(L, 3);
        lua_setfield(L, -2, "exceptions");
    }
    return 1;
}

static int error_tostring(lua_State *L) {
    lua_settop(L, 1);
    lua_getfield(L, 1, "name");
    lua_getfield(L, 1, "message");
    size_t length;
    const char *message = luaL_tolstring(L, -1, &length);
    lua_getfield(L, 1, "exceptions");
    if (lua_istable(L, -1)) {
        lua_Unsigned n = lua_rawlen(L, -1);
        lua_pushfstring(L, "%s: %s (%I sub-exception%s", lua_tostring(L, 2), message,
                        (lua_Integer)n, n == 1 ? "" : "s");
        for (lua_Unsigned i = 1; i <= n; i++) {
            lua_rawgeti(L, 5, (lua_Integer)i);
            const char *text = luaL_tolstring(L, -1, NULL);
            lua_pushfstring(L, "%s%s%s", lua_tostring(L, 6), i == 1 ? ": " : "; ", text);
            lua_replace(L, 6);
            lua_settop(L, 6);
        }
        lua_pushliteral(L, ")");
        lua_concat(L, 2);
        return 1;
    }
    if (length == 0) {
        lua_pushvalue(L, 2);
    } else {
        lua_pushfstring(L, "%s: %s", lua_tostring(L, 2), message);
    }
    return 1;
}

/* lh.iserror(value, class or name): is the value an error of that class? */
static int l_iserror(lua_State *L) {
    luaL_checkany(L, 1);
    if (lua_type(L, 2) == LUA_TSTRING) {
        l_pushshared(L, l_runtime(L), L_SHARED_ERRORS);
        lua_pushvalue(L, 2);
        luaL_argcheck(L, lua_rawget(L, -2) == LUA_TTABLE, 2, "no error class of this name");
        lua_replace(L, 2);
    } else if (!lua_istable(L, 2)) { /* nil, too: a class whose name was misspelt */
        l_type_error(L, 2, "error class");
    }
    if (lua_type(L, 1) != LUA_TTABLE || !lua_getmetatable(L, 1)) {
        lua_pushboolean(L, 0);
        return 1;
    }
    lua_getfield(L, 2, "metatable");
    lua_pushboolean(L, lua_rawequal(L, -1, -2));
    return 1;
}

static void new_class(lua_State *L, struct l_runtime *rt, const char *name) {
    lua_newtable(L); /* the class */
    lua_pushstring(L, name);
    lua_setfield(L, -2, "name");
    lua_newtable(L); /* of its errors */
    lua_pushfstring(L, "loophost.%s", name);
    lua_setfield(L, -2, "__name");
    l_pushfunction(L, rt, error_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_setfield(L, -2, "metatable");
    lua_newtable(L); /* of the class itself */
    lua_pushlightuserdata(L, rt);
    if (name[0] == 'E') {
        lua_pushvalue(L, -3);
    } else {
        lua_pushnil(L);
    }
    lua_pushstring(L, name);
    lua_pushcclosure(L, class_call, 3);
    lua_setfield(L, -2, "__call");
    lua_pushliteral(L, "loophost.ErrorClass");
    lua_setfield(L, -2, "__name");
    lua_setmetatable(L, -2);
}

void l_error_open(lua_State *L, struct l_runtime *rt) {
    l_pushshared(L, rt, L_SHARED_ERRORS);
    for (int i = 0; class_names[i] != NULL; i++) {
        new_class(L, rt, class_names[i]);
        lua_setfield(L, -2, class_names[i]);
    }
    lua_getfield(L, -1, "CancelledError");
    lua_getfield(L, -1, "metatable");
    rt->cancelled_error = lua_topointer(L, -1);
    lua_pop(L, 3);
    l_pushshared(L, rt, L_SHARED_HOOKS);
    l_pushfunction(L, rt, l_iserror);
    lua_setfield(L, -2, "iserror");
    lua_pop(L, 1);
}

void l_keep_traceback(lua_State *L, struct l_runtime *rt) {
    int error = lua_gettop(L);
    l_pushshared(L, rt, L_SHARED_SCRATCH);
    luaL_traceback(L, L, NULL, 1);
    lua_getfield(L, -2, "inner_error");
    if (!lua_isnil(L, -1) && lua_rawequal(L, -1, error)) {
        lua_pushvalue(L, -2);
        lua_getfield(L, -4, "inner_title");
        lua_getfield(L, -5, "inner_traceback");
        luaL_gsub(L, lua_tostring(L, -1), "stack traceback:", "");
        lua_remove(L, -2);
        lua_concat(L, 3);
        lua_replace(L, -3);
    }
    lua_pop(L, 1);
    lua_setfield(L, -2, "traceback");
    lua_settop(L, error);
}

bool l_keep_inner_traceback(lua_State *L, struct l_runtime *rt, lua_State *failed) {
    int error = lua_gettop(L);
    if (l_is_cancelled(L, rt, error)) return false;
    l_pushshared(L, rt, L_SHARED_SCRATCH);
    luaL_traceback(L, failed, NULL, 0);
    lua_setfield(L, -2, "inner_traceback");
    lua_pushliteral(L, "\nin the coroutine that raised it:");
    lua_setfield(L, -2, "inner_title");
    lua_pushvalue(L, error);
    lua_setfield(L, -2, "inner_error");
    lua_settop(L, error);
    return true;
}

void l_keep_worker_traceback(lua_State *L, struct l_runtime *rt, int error, int traceback) {
    int top = lua_gettop(L);
    l_pushshared(L, rt, L_SHARED_SCRATCH);
    lua_pushvalue(L, traceback);
    lua_setfield(L, -2, "inner_traceback");
    lua_pushliteral(L, "\nin the thread that raised it:");
    lua_setfield(L, -2, "inner_title");
    lua_pushvalue(L, error);
    lua_setfield(L, -2, "inner_error");
    lua_settop(L, top);
}

void l_take_traceback(lua_State *L, struct l_runtime *rt) {
    l_pushshared(L, rt, L_SHARED_SCRATCH);
    lua_getfield(L, -1, "traceback");
    lua_pushnil(L);
    lua_setfield(L, -3, "traceback");
    lua_pushnil(L);
    lua_setfield(L, -3, "inner_error");
    lua_remove(L, -2);
}

void l_keep_cause(lua_State *L, struct l_runtime *rt, int index) {
    int error = lua_gettop(L);
    l_pushshared(L, rt, L_SHARED_SCRATCH);
    lua_pushvalue(L, index);
    lua_setfield(L, -2, "cause");
    lua_pushvalue(L, error);
    lua_setfield(L, -2, "cause_error");
    rt->cause_task = rt->current;
    lua_settop(L, error);
}

void l_take_cause(lua_State *L, struct l_runtime *rt, int error) {
    error = lua_absindex(L, error);
    l_pushshared(L, rt, L_SHARED_SCRATCH);
    lua_getfield(L, -1, "cause");
    lua_getfield(L, -2, "cause_error");
    if (rt->cause_task != rt->current || !lua_rawequal(L, -1, error)) {
        lua_pushnil(L);
        lua_replace(L, -3);
    }
    lua_pushnil(L);
    lua_setfield(L, -4, "cause");
    lua_pushnil(L);
    lua_setfield(L, -4, "cause_error");
    lua_pop(L, 1);
    lua_remove(L, -2);
}

void l_keep_inner_error(lua_State *L, struct l_runtime *rt) {
    l_pushshared(L, rt, L_SHARED_SCRATCH);
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, "inner_error");
    lua_pop(L, 1);
}
