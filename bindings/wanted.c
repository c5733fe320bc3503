/* wanted.c -- how many results a caller takes stands in the CallInfo that lua_getstack finds and
 * that lua.h names without showing it.  Where it stands in that is no part of Lua's interface;
 * so it is tried out when the library is opened, and if it stands elsewhere, every call counts as
 * one that wants its result. */
#include "bindings/wanted.h"

/* What Lua 5.4 has for a call. */
struct call_info {
    void *function, *top, *previous, *next;
    struct {
        lua_KFunction continuation;
        ptrdiff_t old_handler;
        lua_KContext context;
    } c;
    int transfer;
    short results; /* LUA_MULTRET: all of them */
    unsigned short status;
};

static int results_wanted(lua_State *L) {
    lua_Debug info;
    lua_getstack(L, 0, &info);
    return ((const struct call_info *)(const void *)info.i_ci)->results;
}

/* expected number, pointer to what is true as long as that is what is found */
static int probe(lua_State *L) {
    lua_Integer expected = lua_tointeger(L, 1);
    bool *found = lua_touserdata(L, 2);
    *found &= results_wanted(L) == (int)expected;
    return 0;
}

void l_wanted_open(lua_State *L, struct l_runtime *rt) {
    static const int tries[] = {0, 1, LUA_MULTRET, 0, 3};
    bool found = true;
    int top = lua_gettop(L);
    for (size_t i = 0; i < sizeof tries / sizeof tries[0]; i++) {
        lua_pushcfunction(L, probe);
        lua_pushinteger(L, tries[i]);
        lua_pushlightuserdata(L, &found);
        lua_call(L, 2, tries[i]);
        lua_settop(L, top);
    }
    rt->knows_wanted = found;
}

bool l_result_wanted(lua_State *L, const struct l_runtime *rt) {
    return !rt->knows_wanted || results_wanted(L) != 0;
}
