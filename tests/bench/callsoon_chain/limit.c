/* The limit of call_soon: a loop of lua_call on an anchored function. Arguments: calls. */
#include "tests/bench/limit.h"

int main(int argc, char **argv) {
    int64_t ops = limit_argument(argc, argv, 1);
    lua_State *L = luaL_newstate();
    lua_pushinteger(L, ops);
    lua_setglobal(L, "n");
    limit_push_body(L, "local left = n  return function() left = left - 1 end");
    int function = luaL_ref(L, LUA_REGISTRYINDEX);
    int64_t began = limit_cpu_ns();
    for (int64_t i = 0; i < ops; i++) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, function);
        lua_call(L, 0, 0);
    }
    limit_report(ops, limit_cpu_ns() - began);
    return 0;
}
