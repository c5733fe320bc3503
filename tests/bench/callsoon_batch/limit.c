/* The limit of a batch of call_soon: functions anchored in the slots of a table, then a loop of
 * lua_call on each. Arguments: calls, how many are in a batch. */
#include "tests/bench/limit.h"

int main(int argc, char **argv) {
    int64_t ops = limit_argument(argc, argv, 1), size = limit_argument(argc, argv, 2);
    lua_State *L = luaL_newstate();
    limit_push_body(L, "local done = 0  return function() done = done + 1 end");
    lua_createtable(L, (int)size, 0);
    int64_t rounds = ops / size, began = limit_cpu_ns();
    for (int64_t round = 0; round < rounds; round++) {
        for (int64_t i = 1; i <= size; i++) {
            lua_pushvalue(L, 1);
            lua_rawseti(L, 2, i);
        }
        for (int64_t i = 1; i <= size; i++) {
            lua_rawgeti(L, 2, i);
            lua_call(L, 0, 0);
        }
    }
    limit_report(rounds * size, limit_cpu_ns() - began);
    return 0;
}
