/* The limit of a gather of functions that wait once: for each a new coroutine and two
 * lua_resumes. Arguments: functions, how many at a time. */
#include "tests/bench/limit.h"

int main(int argc, char **argv) {
    int64_t ops = limit_argument(argc, argv, 1), size = limit_argument(argc, argv, 2);
    lua_State *L = luaL_newstate();
    lua_State **threads = malloc((size_t)size * sizeof(*threads));
    limit_push_body(L, "local yield = ...  return function() yield() end");
    lua_createtable(L, (int)size, 0);
    int64_t rounds = ops / size, began = limit_cpu_ns();
    for (int64_t round = 0; round < rounds; round++) {
        int results;
        for (int64_t i = 0; i < size; i++) {
            threads[i] = lua_newthread(L);
            lua_pushvalue(L, 1);
            lua_xmove(L, threads[i], 1);
            lua_rawseti(L, 2, i + 1);
        }
        for (int64_t i = 0; i < size; i++)
            if (lua_resume(threads[i], L, 0, &results) != LUA_YIELD) abort();
        for (int64_t i = 0; i < size; i++)
            if (lua_resume(threads[i], L, 0, &results) != LUA_OK) abort();
    }
    limit_report(rounds * size, limit_cpu_ns() - began);
    return 0;
}
