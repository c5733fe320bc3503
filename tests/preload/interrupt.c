/* interrupt.c -- SIGINT at a moment that a test chooses, to the nanosecond.
 *
 * It is not preloaded: a script gets its one function by package.loadlib.
 *
 *   interrupt(NS)   sends the process SIGINT, NS nanoseconds from now */
#include <lua5.4/lauxlib.h>
#include <lua5.4/lua.h>
#include <signal.h>
#include <time.h>

__attribute__((visibility("default"))) int interrupt(lua_State *L);
int interrupt(lua_State *L) {
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGINT};
    struct itimerspec when = {.it_value.tv_nsec = luaL_checkinteger(L, 1)};
    timer_t timer;
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) < 0 ||
        timer_settime(timer, 0, &when, NULL) < 0) {
        return luaL_error(L, "no timer");
    }
    return 0;
}
