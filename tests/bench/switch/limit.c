/* The limit of a task switch: lua_resume, in turn, of coroutines that call a C function which
 * yields. Arguments: switches, coroutines. */
#include "tests/bench/limit.h"

int main(int argc, char **argv) {
    int64_t ops = limit_argument(argc, argv, 1), tasks = limit_argument(argc, argv, 2);
    lua_State *L = luaL_newstate();
    lua_State **threads = malloc((size_t)tasks * sizeof(*threads));
    limit_push_body(L, "local yield = ...  return function() while true do yield() end end");
    lua_newtable(L);
    for (int64_t i = 0; i < tasks; i++) {
        threads[i] = lua_newthread(L);
        lua_pushvalue(L, 1);
        lua_xmove(L, threads[i], 1);
        lua_rawseti(L, 2, i + 1);
    }
    int64_t rounds = ops / tasks, began = limit_cpu_ns();
    for (int64_t round = 0; round < rounds; round++) {
        for (int64_t i = 0; i < tasks; i++) {
            int results;
            if (lua_resume(threads[i], L, 0, &results) != LUA_YIELD) abort();
        }
    }
    limit_report(rounds * tasks, limit_cpu_ns() - began);
    return 0;
}
