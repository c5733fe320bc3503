/* execute.c -- os.execute and io.popen, whose children must not inherit our signal mask.
 *
 * A signal that has a handler is blocked in the loop's thread, and what the C library starts
 * inherits that: a child which SIGTERM cannot end.  So the blocks are lifted for the time of
 * the call; see signals_pause. */
#include "bindings/open.h"

#include "bindings/handle.h"

#include <string.h>

/* Calls the original, which is the second upvalue, with the arguments, now checked. */
static int call_original(lua_State *L) {
    sigset_t blocked;
    struct signals_pause pause;
    sigemptyset(&blocked);
    l_add_blocked_signals(L, l_runtime(L), &blocked);
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_insert(L, 1);
    signals_pause(&pause, &blocked);
    int status = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
    signals_resume(&pause);
    return status == LUA_OK ? lua_gettop(L) : lua_error(L);
}

static int os_execute(lua_State *L) {
    luaL_optstring(L, 1, NULL);
    return call_original(L);
}

static int io_popen(lua_State *L) {
    luaL_checkstring(L, 1);
    const char *mode = luaL_optstring(L, 2, "r");
    luaL_argcheck(L, strcmp(mode, "r") == 0 || strcmp(mode, "w") == 0, 2, "invalid mode");
    return call_original(L);
}

static void replace(lua_State *L, struct l_runtime *rt, const char *library, const char *name,
                    lua_CFunction function) {
    if (lua_getglobal(L, library) == LUA_TTABLE) {
        lua_pushlightuserdata(L, rt);
        lua_getfield(L, -2, name);
        lua_pushcclosure(L, function, 2);
        lua_setfield(L, -2, name);
    }
    lua_pop(L, 1);
}

void l_execute_replace_globals(lua_State *L, struct l_runtime *rt) {
    replace(L, rt, "os", "execute", os_execute);
    replace(L, rt, "io", "popen", io_popen);
}
