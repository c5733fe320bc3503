/* overrides.c -- compares a loop's methods with the base's, and gives it the clock that its
 * own time() is. */
#include "bindings/overrides.h"

#include <math.h>

static const struct {
    const char *name;
    unsigned flag;
} overridable[] = {
    {"time", L_OVERRIDE_TIME},
    {"call_soon", L_OVERRIDE_CALL_SOON},
    {"call_later", L_OVERRIDE_CALL_LATER},
    {"call_at", L_OVERRIDE_CALL_AT},
    {"call_soon_with_priority", L_OVERRIDE_CALL_PRIORITY},
    {"create_task", L_OVERRIDE_CREATE_TASK},
    {"create_future", L_OVERRIDE_CREATE_FUTURE},
    {"run_once", L_OVERRIDE_RUN_ONCE},
    {"add_reader", L_OVERRIDE_ADD_READER},
    {"add_writer", L_OVERRIDE_ADD_WRITER},
    {"call_exception_handler", L_OVERRIDE_CALL_EXCEPTION_HANDLER},
};

/* The clock of a loop that overrides time(). */
static int call_time(lua_State *L) {
    l_loop_push(L, lua_touserdata(L, 1));
    lua_getfield(L, -1, "time");
    lua_insert(L, -2);
    lua_call(L, 1, 1);
    return 1;
}

/* Reports the error on top, wherever on the loop's stack that is; leaves it there. */
static void report_clock(lua_State *L, struct l_loop *loop) {
    l_pushhook(L, loop->rt, "report");
    l_loop_push(L, loop);
    lua_pushvalue(L, -3);
    lua_pushliteral(L, "Exception in time()");
    if (lua_pcall(L, 3, 0, 0) != LUA_OK) lua_pop(L, 1);
}

static int64_t read_lua_clock(void *arg) {
    struct l_loop *loop = arg;
    lua_State *L = loop->L;
    if (L == NULL) return loop->loop.now_ns;
    lua_checkstack(L, LUA_MINSTACK);
    lua_pushcfunction(L, call_time);
    lua_pushlightuserdata(L, loop);
    int status = lua_pcall(L, 1, 1, 0);
    lua_Number seconds = status == LUA_OK ? lua_tonumber(L, -1) : NAN;
    if (status != LUA_OK) report_clock(L, loop);
    lua_settop(L, -2);
    return isnan(seconds) || fabs(seconds) > 4e9 ? loop->loop.now_ns
                                                 : (int64_t)round(seconds * 1e9);
}

void l_overrides_refresh(lua_State *L, int index, struct l_loop *loop) {
    unsigned overrides = 0;
    l_pushshared(L, loop->rt, L_SHARED_METHODS);
    for (size_t i = 0; i < sizeof overridable / sizeof overridable[0]; i++) {
        lua_getfield(L, -1, overridable[i].name);
        lua_getfield(L, index, overridable[i].name);
        if (!lua_rawequal(L, -1, -2)) overrides |= overridable[i].flag;
        lua_pop(L, 2);
    }
    lua_pop(L, 1);
    loop->overrides = overrides;
    /* a virtual clock goes on jumping, whatever time() makes of it */
    if ((overrides & L_OVERRIDE_TIME) && loop->loop.clock.kind != CLOCK_KIND_VIRTUAL) {
        loop->loop.clock =
            (struct clock){.kind = CLOCK_KIND_FOREIGN, .read = read_lua_clock, .arg = loop};
    }
}
