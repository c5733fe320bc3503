/* limit.h -- what every limit needs: its arguments, the clocks, one line of results.
 *
 * A limit is the cheapest C that does the thing a workload is about. It takes the number of
 * operations and a size (tasks, timers ...), and prints what it measured as name=value. */
#ifndef TESTS_BENCH_LIMIT_H
#define TESTS_BENCH_LIMIT_H

#include <lua5.4/lauxlib.h>
#include <lua5.4/lua.h>
#include <lua5.4/lualib.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline int64_t limit_clock_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static inline int64_t limit_cpu_ns(void) {
    return limit_clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

static inline int64_t limit_wall_ns(void) {
    return limit_clock_ns(CLOCK_MONOTONIC);
}

/* The argument as a number; 1 if it is not there or less. */
static inline int64_t limit_argument(int argc, char **argv, int index) {
    int64_t number = index < argc ? strtoll(argv[index], NULL, 10) : 1;
    return number < 1 ? 1 : number;
}

static inline void limit_report(int64_t ops, int64_t cpu_ns) {
    printf("ops=%lld cpu_ns=%lld\n", (long long)ops, (long long)cpu_ns);
}

/* Pushes the function that the chunk returns when called with a C function that yields. */
static inline int limit_yield(lua_State *L) {
    return lua_yield(L, 0);
}

static inline void limit_push_body(lua_State *L, const char *chunk) {
    if (luaL_loadstring(L, chunk) != LUA_OK) abort();
    lua_pushcfunction(L, limit_yield);
    lua_call(L, 1, 1);
}

#endif
