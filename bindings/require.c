/* require.c -- Lua's require, in which the searchers and the module itself may wait.
 *
 * What it does, and the words of its errors, are stock Lua's (loadlib.c); it differs in
 * its continuations, and in that a task first asks whether another one is loading the
 * same module (scripts/loophost/require.lua). */
#include "bindings/open.h"

/* What stands on its stack all along; PACKAGE is replaced by its searchers. */
enum { NAME = 1, LOADED, PACKAGE, LOADING, TRIED, SEARCHERS = PACKAGE };

/* ..., loader's data, module -> module, loader's data */
static int loaded(lua_State *L, int status, lua_KContext context) {
    (void)status, (void)context;
    if (!lua_isnil(L, -1)) {
        lua_setfield(L, LOADED, lua_tostring(L, NAME));
    } else {
        lua_pop(L, 1);
    }
    if (lua_getfield(L, LOADED, lua_tostring(L, NAME)) == LUA_TNIL) {
        lua_pop(L, 1);
        lua_pushboolean(L, 1);
        lua_pushvalue(L, -1);
        lua_setfield(L, LOADED, lua_tostring(L, NAME));
    }
    lua_insert(L, -2);
    return 2;
}

static int searched(lua_State *L, int status, lua_KContext i);

/* Asks the searchers from the i-th on. */
static int search(lua_State *L, lua_KContext i) {
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    if (lua_rawgeti(L, SEARCHERS, (lua_Integer)i) == LUA_TNIL) {
        return luaL_error(L, "module '%s' not found:%s", lua_tostring(L, NAME),
                          lua_tostring(L, TRIED));
    }
    lua_pushvalue(L, NAME);
    lua_callk(L, 1, 2, i, searched);
    return searched(L, LUA_OK, i);
}

/* ..., loader and data, or message, or neither */
static int searched(lua_State *L, int status, lua_KContext i) {
    (void)status;
    if (lua_isfunction(L, -2)) {
        lua_insert(L, -2); /* data, loader */
        lua_pushvalue(L, NAME);
        lua_pushvalue(L, -3);
        lua_callk(L, 2, 1, 0, loaded);
        return loaded(L, LUA_OK, 0);
    }
    lua_pop(L, 1);
    if (lua_isstring(L, -1)) {
        lua_pushfstring(L, "%s\n\t%s", lua_tostring(L, TRIED), lua_tostring(L, -1));
        lua_replace(L, TRIED);
    }
    lua_settop(L, TRIED);
    return search(L, i + 1);
}

static int load_module(lua_State *L) {
    lua_pushliteral(L, ""); /* TRIED */
    lua_getfield(L, PACKAGE, "searchers");
    if (!lua_istable(L, -1)) return luaL_error(L, "'package.searchers' must be a table");
    lua_replace(L, SEARCHERS);
    return search(L, 1);
}

static int may_load(lua_State *L, int status, lua_KContext context);

/* name, loaded, package: done if the module is there, else asks for leave to load it */
static int find_module(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    lua_settop(L, PACKAGE);
    lua_getfield(L, LOADED, lua_tostring(L, NAME));
    if (lua_toboolean(L, -1)) return 1;
    if (rt->current == NULL || L != rt->coroutine || !lua_isyieldable(L)) { /* cannot wait */
        lua_settop(L, LOADING);
        return load_module(L);
    }
    lua_pop(L, 1);
    l_pushhook(L, rt, "begin_loading");
    lua_pushvalue(L, NAME);
    lua_callk(L, 1, 1, 0, may_load);
    return may_load(L, LUA_OK, 0);
}

static int may_load(lua_State *L, int status, lua_KContext context) {
    (void)status, (void)context;
    if (lua_isnil(L, LOADING)) return find_module(L);
    lua_toclose(L, LOADING);
    return load_module(L);
}

static int l_require(lua_State *L) {
    luaL_checkstring(L, 1);
    lua_settop(L, 1);
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_pushvalue(L, lua_upvalueindex(2));
    return find_module(L);
}

void l_require_replace_global(lua_State *L, struct l_runtime *rt) {
    lua_pushlightuserdata(L, rt);
    lua_getglobal(L, "package");
    lua_pushcclosure(L, l_require, 2);
    lua_setglobal(L, "require");
}
