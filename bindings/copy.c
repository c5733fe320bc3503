/* copy.c -- values from one Lua state to another. */
#include "bindings/copy.h"

#include <lua5.4/lauxlib.h>

/* Tables in tables: as deep as C may call C; and how many of them an error names. */
enum { DEEPEST = 190, TOLD = 4, SLOTS = 8 };

/* ---- what is refused ---- */

static bool refuses_at(lua_State *L, int index, int seen, int depth);

/* Pushes the reason on top with the field whose key is at the index. */
static void add_field(lua_State *L, int key) {
    if (lua_type(L, key) == LUA_TSTRING || lua_type(L, key) == LUA_TNUMBER) {
        lua_pushvalue(L, key); /* lua_tostring would change the key itself */
        lua_pushfstring(L, "%s in field '%s'", lua_tostring(L, -2), lua_tostring(L, -1));
    } else {
        lua_pushfstring(L, "%s in a field", lua_tostring(L, -1));
    }
}

static bool refuses_table(lua_State *L, int index, int seen, int depth) {
    if (lua_getmetatable(L, index)) {
        lua_pushliteral(L, "a table with a metatable");
        return true;
    }
    if (depth > DEEPEST) {
        lua_pushliteral(L, "tables nested too deeply");
        return true;
    }
    lua_pushvalue(L, index);
    if (lua_rawget(L, seen) != LUA_TNIL) return false;
    lua_pushvalue(L, index);
    lua_pushboolean(L, 1);
    lua_rawset(L, seen);
    lua_pushnil(L);
    while (lua_next(L, index)) {
        int value = lua_gettop(L), key = value - 1;
        if (refuses_at(L, key, seen, depth + 1)) {
            lua_pushfstring(L, "%s as a key", lua_tostring(L, -1));
            return true;
        }
        if (refuses_at(L, value, seen, depth + 1)) {
            lua_replace(L, value);
            lua_settop(L, value);
            if (depth < TOLD) add_field(L, key);
            return true;
        }
        lua_settop(L, key);
    }
    return false;
}

static bool refuses_at(lua_State *L, int index, int seen, int depth) {
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    switch (lua_type(L, index)) {
    case LUA_TNIL:
    case LUA_TBOOLEAN:
    case LUA_TNUMBER:
    case LUA_TSTRING:
    case LUA_TLIGHTUSERDATA: return false;
    case LUA_TTABLE: return refuses_table(L, index, seen, depth);
    default: lua_pushfstring(L, "a %s", luaL_typename(L, index)); return true;
    }
}

bool l_copy_refuses(lua_State *L, int index) {
    int top = lua_gettop(L);
    index = lua_absindex(L, index);
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    lua_newtable(L);
    bool refuses = refuses_at(L, index, top + 1, 0);
    if (refuses) lua_replace(L, top + 1);
    lua_settop(L, top + refuses);
    return refuses;
}

/* ---- copying ---- */

static void copy_at(lua_State *from, int index, lua_State *to, int memo);

static void copy_table(lua_State *from, int index, lua_State *to, int memo) {
    const void *address = lua_topointer(from, index);
    if (lua_rawgetp(to, memo, address) == LUA_TTABLE) return;
    lua_pop(to, 1);
    lua_createtable(to, (int)lua_rawlen(from, index), 0);
    lua_pushvalue(to, -1);
    lua_rawsetp(to, memo, address);
    int copy = lua_gettop(to);
    lua_pushnil(from);
    while (lua_next(from, index)) {
        int value = lua_gettop(from);
        copy_at(from, value - 1, to, memo);
        copy_at(from, value, to, memo);
        lua_rawset(to, copy);
        lua_settop(from, value - 1);
    }
}

static void copy_at(lua_State *from, int index, lua_State *to, int memo) {
    size_t length;
    luaL_checkstack(to, SLOTS, NULL);
    if (!lua_checkstack(from, SLOTS)) luaL_error(to, "not enough memory");
    switch (lua_type(from, index)) {
    case LUA_TBOOLEAN: lua_pushboolean(to, lua_toboolean(from, index)); break;
    case LUA_TNUMBER:
        if (lua_isinteger(from, index)) {
            lua_pushinteger(to, lua_tointeger(from, index));
        } else {
            lua_pushnumber(to, lua_tonumber(from, index));
        }
        break;
    case LUA_TSTRING: {
        const char *text = lua_tolstring(from, index, &length);
        lua_pushlstring(to, text, length);
        break;
    }
    case LUA_TLIGHTUSERDATA: lua_pushlightuserdata(to, lua_touserdata(from, index)); break;
    case LUA_TTABLE: copy_table(from, index, to, memo); break;
    default: lua_pushnil(to); break;
    }
}

void l_copy(lua_State *from, int first, int n, lua_State *to) {
    luaL_checkstack(to, n + SLOTS, "too many values");
    lua_newtable(to);
    int memo = lua_gettop(to);
    for (int i = 0; i < n; i++) copy_at(from, first + i, to, memo);
    lua_remove(to, memo);
}
