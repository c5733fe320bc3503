/* runtime.c -- types, shared tables and units. */
#include "bindings/runtime.h"

#include "host/alloc.h"

#include <string.h>

const char l_kinds[L_TYPE_COUNT];

enum { EXPECTED_HOOKS = 128 }; /* so that their table need not grow while it is filled */

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
    struct l_runtime *rt = lua_newuserdatauv(L, sizeof *rt, 0);
    memset(rt, 0, sizeof *rt);
    void *arg;
    if (lua_getallocf(L, &arg) == alloc_resize) rt->alloc = arg;
    handle_queue_init(&rt->starved);
    handle_queue_init(&rt->jobs);
    handle_queue_init(&rt->files);
    for (int which = 0; which < L_SHARED_COUNT; which++) {
        lua_createtable(L, 0, which == L_SHARED_HOOKS ? EXPECTED_HOOKS : 0);
        rt->shared_refs[which] = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    lua_rawsetp(L, LUA_REGISTRYINDEX, &key);
    return rt;
}

void l_make_weak(lua_State *L) {
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
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
    int count = 0;
    while (methods[count].name != NULL) count++;
    lua_createtable(L, 0, 6);
    lua_pushfstring(L, "loophost.%s", name);
    lua_setfield(L, -2, "__name");
    lua_createtable(L, 0, count);
    l_setfuncs(L, rt, methods);
    lua_setfield(L, -2, "__index");
    rt->type_names[type] = name;
    lua_pushvalue(L, -1);
    rt->metatable_refs[type] = luaL_ref(L, LUA_REGISTRYINDEX);
}

void *l_newobject(lua_State *L, struct l_runtime *rt, enum l_type type, size_t size,
                  int uservalues) {
    struct l_object *object = lua_newuserdatauv(L, size, uservalues);
    memset(object, 0, size);
    object->kind = &l_kinds[type];
    lua_rawgeti(L, LUA_REGISTRYINDEX, rt->metatable_refs[type]);
    lua_setmetatable(L, -2);
    return object;
}

int l_object_error(lua_State *L, int index, enum l_type type) {
    return l_type_error(L, index, l_runtime(L)->type_names[type]);
}

int l_type_error(lua_State *L, int arg, const char *expected) {
    const char *got = luaL_typename(L, arg);
    if (luaL_getmetafield(L, arg, "__name") == LUA_TSTRING) got = lua_tostring(L, -1);
    return luaL_argerror(L, arg, lua_pushfstring(L, "%s expected, got %s", expected, got));
}

bool l_push_script_line(lua_State *L, lua_State *stack) {
    lua_Debug info;
    for (int level = 0; lua_getstack(stack, level, &info); level++) {
        lua_getinfo(stack, "Sl", &info);
        if (info.currentline <= 0 || strncmp(info.source, "@loophost/", 10) == 0) continue;
        lua_pushfstring(L, "%s:%d", info.short_src, info.currentline);
        return true;
    }
    return false;
}

int64_t l_checkseconds(lua_State *L, int arg) {
    int is_number;
    lua_Number seconds = lua_tonumberx(L, arg, &is_number);
    if (!is_number) luaL_checknumber(L, arg); /* raises */
    luaL_argcheck(L, !isnan(seconds), arg, "seconds must not be NaN");
    return l_nanoseconds(seconds);
}
