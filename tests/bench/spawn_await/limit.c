/* The limit of a task that is spawned and awaited: lua_newthread and lua_resume of a function
 * that returns. Arguments: tasks. */
#include "tests/bench/limit.h"

int main(int argc, char **argv) {
    int64_t ops = limit_argument(argc, argv, 1);
    lua_State *L = luaL_newstate();
    limit_push_body(L, "return function() end");
    int64_t began = limit_cpu_ns();
    for (int64_t i = 0; i < ops; i++) {
        int results;
        lua_State *thread = lua_newthread(L);
        lua_pushvalue(L, 1);
        lua_xmove(L, thread, 1);
        if (lua_resume(thread, L, 0, &results) != LUA_OK) abort();
        lua_settop(L, 1);
    }
    limit_report(ops, limit_cpu_ns() - began);
    return 0;
}
