/* runtime.c -- types, shared tables and units. */
#include "bindings/runtime.h"

#include <math.h>
#include <string.h>

struct l_runtime *l_runtime_open(lua_State *L) {
    static const char key; /* only its address is used */
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &key) == LUA_TUSERDATA) {
        struct l_runtime *found = lua_touserdata(L, -1);
        lua_pop(L, 1);
        return found;
    }
    lua_pop(L, 1);
    /* new coroutines get a copy of the main one's extra space: see task.c */
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    *(void **)lua_getextraspace(lua_tothread(L, -1)) = NULL;
    lua_pop(L, 1);
    struct l_runtime *rt = lua_newuserdatauv(L, sizeof *rt, L_SHARED_COUNT);
    memset(rt, 0, sizeof *rt);
    handle_queue_init(&rt->starved);
    handle_queue_init(&rt->jobs);
    for (int which = 0; which < L_SHARED_COUNT; which++) {
        lua_newtable(L);
        lua_setiuservalue(L, -2, which + 1);
    }
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &key);
    lua_rawsetp(L, LUA_REGISTRYINDEX, rt);
    return rt;
}

void l_pushshared(lua_State *L, struct l_runtime *rt, enum l_shared which) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, rt);
    lua_getiuservalue(L, -1, (int)which + 1);
    lua_remove(L, -2);
}

void l_pushhook(lua_State *L, struct l_runtime *rt, const char *name) {
    l_pushshared(L, rt, L_SHARED_HOOKS);
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
}

void l_pushfunction(lua_State *L, struct l_runtime *rt, lua_CFunction function) {
    lua_pushlightuserdata(L, rt);
    lua_pushcclosure(L, function, 1);
}

void l_setfuncs(lua_State *L, struct l_runtime *rt, const luaL_Reg *functions) {
    lua_pushlightuserdata(L, rt);
    luaL_setfuncs(L, functions, 1);
}

void l_newtype(lua_State *L, struct l_runtime *rt, enum l_type type, const char *name,
               const luaL_Reg *methods) {
    lua_newtable(L);
    lua_pushfstring(L, "loophost.%s", name);
    lua_setfield(L, -2, "__name");
    lua_newtable(L);
    l_setfuncs(L, rt, methods);
    lua_setfield(L, -2, "__index");
    rt->metatables[type] = lua_topointer(L, -1);
    rt->type_names[type] = name;
    l_pushshared(L, rt, L_SHARED_TYPES);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, (lua_Integer)type + 1);
    lua_pop(L, 1);
}

void *l_newobject(lua_State *L, struct l_runtime *rt, enum l_type type, size_t size,
                  int uservalues) {
    void *object = lua_newuserdatauv(L, size, uservalues);
    memset(object, 0, size);
    l_pushshared(L, rt, L_SHARED_TYPES);
    lua_rawgeti(L, -1, (lua_Integer)type + 1);
    lua_setmetatable(L, -3);
    lua_pop(L, 1);
    return object;
}

void *l_test(lua_State *L, const struct l_runtime *rt, int index, enum l_type type) {
    void *object = lua_touserdata(L, index);
    if (object == NULL || !lua_getmetatable(L, index)) return NULL;
    const void *metatable = lua_topointer(L, -1);
    lua_pop(L, 1);
    return metatable == rt->metatables[type] ? object : NULL;
}

void *l_check(lua_State *L, const struct l_runtime *rt, int index, enum l_type type) {
    void *object = l_test(L, rt, index, type);
    if (object == NULL) l_type_error(L, index, rt->type_names[type]);
    return object;
}

int l_type_error(lua_State *L, int arg, const char *expected) {
    const char *got = luaL_typename(L, arg);
    if (luaL_getmetafield(L, arg, "__name") == LUA_TSTRING) got = lua_tostring(L, -1);
    return luaL_argerror(L, arg, lua_pushfstring(L, "%s expected, got %s", expected, got));
}

int64_t l_checkseconds(lua_State *L, int arg) {
    lua_Number seconds = luaL_checknumber(L, arg);
    luaL_argcheck(L, !isnan(seconds), arg, "seconds must not be NaN");
    lua_Number ns = round(seconds * 1e9);
    if (ns >= (lua_Number)L_FOREVER_NS) return L_FOREVER_NS;
    if (ns <= -(lua_Number)L_FOREVER_NS) return -L_FOREVER_NS;
    return (int64_t)ns;
}
