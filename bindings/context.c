/* context.c -- where the current context is kept. */
#include "bindings/context.h"

#include "bindings/task.h"

enum { CALLBACK_CONTEXT = 1 }; /* in the scratch table */

void l_context_push(lua_State *L, struct l_runtime *rt) {
    if (rt->current != NULL) {
        l_task_push(L, rt->current);
        l_future_getextra(L, -1, L_EXTRA_CONTEXT);
        lua_remove(L, -2);
        return;
    }
    l_pushshared(L, rt, L_SHARED_SCRATCH);
    lua_rawgeti(L, -1, CALLBACK_CONTEXT);
    lua_remove(L, -2);
}

void l_context_swap(lua_State *L, struct l_runtime *rt) {
    l_pushshared(L, rt, L_SHARED_SCRATCH);
    lua_rawgeti(L, -1, CALLBACK_CONTEXT);
    lua_pushvalue(L, -3);
    lua_rawseti(L, -3, CALLBACK_CONTEXT);
    lua_replace(L, -3);
    lua_pop(L, 1);
}

void l_context_push_kept(lua_State *L, int self, int index) {
    if (index != 0) {
        lua_getiuservalue(L, self, index);
    } else {
        lua_pushboolean(L, false);
    }
}

bool l_context_enter(lua_State *L, struct l_runtime *rt, int self, int index) {
    if (!rt->context_set) return false;
    l_context_push_kept(L, self, index);
    l_context_swap(L, rt);
    return true;
}

/* context() -> the current one, nil or false if none was ever set */
static int get_context(lua_State *L) {
    l_context_push(L, l_runtime(L));
    return 1;
}

void l_context_set(lua_State *L, struct l_runtime *rt) {
    if (rt->current != NULL) {
        l_task_push(L, rt->current);
        lua_insert(L, -2);
        l_future_setextra(L, -2, L_EXTRA_CONTEXT);
    } else {
        l_context_swap(L, rt);
    }
    lua_pop(L, 1);
}

static int set_context(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    rt->context_set = true;
    l_context_set(L, rt);
    return 0;
}

void l_context_open(lua_State *L, struct l_runtime *rt) {
    static const luaL_Reg hooks[] = {
        {"context", get_context}, {"set_context", set_context}, {NULL, NULL}};
    l_pushshared(L, rt, L_SHARED_SCRATCH);
    lua_pushboolean(L, 0);
    lua_rawseti(L, -2, CALLBACK_CONTEXT);
    l_pushshared(L, rt, L_SHARED_HOOKS);
    l_setfuncs(L, rt, hooks);
    lua_pop(L, 2);
}
