/* The limit of a sleeping task's memory: a coroutine, suspended in a C function that yields.
 * Arguments: coroutines. */
#include "tests/bench/limit.h"

#include <unistd.h>

static int64_t resident(void) {
    long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%*d %lld", &pages) != 1) abort();
    fclose(file);
    return pages * sysconf(_SC_PAGESIZE);
}

int main(int argc, char **argv) {
    int64_t ops = limit_argument(argc, argv, 1);
    lua_State *L = luaL_newstate();
    limit_push_body(L, "local yield = ...  return function() yield() end");
    lua_gc(L, LUA_GCCOLLECT);
    int64_t before = resident();
    lua_newtable(L);
    for (int64_t i = 0; i < ops; i++) {
        int results;
        lua_State *thread = lua_newthread(L);
        lua_rawseti(L, 2, i + 1);
        lua_pushvalue(L, 1);
        lua_xmove(L, thread, 1);
        if (lua_resume(thread, L, 0, &results) != LUA_YIELD) abort();
    }
    printf("ops=%lld bytes=%lld\n", (long long)ops, (long long)(resident() - before));
    return 0;
}
