/* collector.c -- the pause that fits the heap.
 *
 * Lua begins a cycle when the heap has doubled.  A script that holds little and makes garbage
 * of some size, a server that echoes say, would have all it holds looked through again after a
 * few messages.  So a small heap may grow to SMALL_HEAP first, as in Go, but not to more
 * than a few times what it holds: the memory that is used anew would be out of the cache.
 *
 * An object that nobody holds has its finaliser called in each cycle, which says that one has
 * ended.  A finaliser cannot set the pause itself. */
#include "bindings/collector.h"

enum {
    SMALL_HEAP_KIB = 4096,
    /* in per cent of what is held; a multiple of 4, which is what Lua keeps */
    SHORTEST_PAUSE = 200,
    LONGEST_PAUSE = 600,
};

static int cycle_ended(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    if (rt->pause == 0 || !lua_getmetatable(L, 1)) return 0;
    rt->collected = true;
    lua_setmetatable(L, 1); /* to be finalised again */
    return 0;
}

void l_collector_adapt_slowly(lua_State *L, struct l_runtime *rt) {
    int held = lua_gc(L, LUA_GCCOUNT) + 1;
    int pause = (100 * SMALL_HEAP_KIB / held) & ~3;
    if (pause < SHORTEST_PAUSE) pause = SHORTEST_PAUSE;
    if (pause > LONGEST_PAUSE) pause = LONGEST_PAUSE;
    rt->collected = false;
    int previous = lua_gc(L, LUA_GCSETPAUSE, pause);
    if (previous != rt->pause) { /* a script has set it */
        lua_gc(L, LUA_GCSETPAUSE, previous);
        pause = 0;
    }
    rt->pause = pause;
}

void l_collector_open(lua_State *L, struct l_runtime *rt) {
    lua_newuserdatauv(L, 0, 0);
    lua_createtable(L, 0, 1);
    l_pushfunction(L, rt, cycle_ended);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
    lua_gc(L, LUA_GCSETPAUSE, LONGEST_PAUSE);
    rt->pause = LONGEST_PAUSE;
}

void l_collector_start(lua_State *L) {
    int held = lua_gc(L, LUA_GCCOUNT);
    lua_gc(L, LUA_GCRESTART);
    /* as much may be allocated, in KiB, before the first step */
    lua_gc(L, LUA_GCSTEP, -(LONGEST_PAUSE / 100 - 1) * held);
}
