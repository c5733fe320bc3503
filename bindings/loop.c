/* loop.c -- finding a loop, its frame, the calls of scripts that it makes. */
#include "bindings/loop.h"

#include "bindings/error.h"
#include "bindings/future.h"

#include <stdio.h>

/* ---- finding a loop ---- */

int l_loop_closed_error(lua_State *L) {
    return luaL_error(L, "Event loop is closed");
}

void l_loop_push(lua_State *L, struct l_loop *loop) {
    lua_State *frame = l_loop_frame(loop, L);
    if (frame != NULL) {
        lua_pushvalue(frame, L_FRAME_LOOP);
        lua_xmove(frame, L, 1);
        return;
    }
    l_pushshared(L, loop->rt, L_SHARED_LOOPS);
    lua_rawgeti(L, -1, loop->number);
    lua_replace(L, -2);
}

void l_loop_push_alive(lua_State *L, struct l_loop *loop) {
    l_loop_push(L, loop);
    if (lua_isnil(L, -1)) luaL_error(L, "Event loop is closed");
}

int l_loop_push_current(lua_State *L, struct l_runtime *rt) {
    if (rt->running != NULL) {
        l_loop_push(L, rt->running);
    } else {
        l_pushhook(L, rt, "get_event_loop");
        lua_call(L, 0, 1);
    }
    return lua_gettop(L);
}

/* ---- calling scripts ---- */

/* The message handler of callbacks: keeps the traceback for the report. */
static int callback_error(lua_State *L) {
    l_keep_traceback(L, l_runtime(L));
    return 1;
}

/* What is to be reported, by whom: the names are C's. */
struct report {
    struct l_runtime *rt;
    const char *message, *source_name;
};

/* loop, error, source or nil, report -> the loop's exception handler.  A function without
 * upvalues, as making one with them may fail. */
static int report_error(lua_State *L) {
    const struct report *report = lua_touserdata(L, 4);
    lua_settop(L, 3);
    lua_pushstring(L, report->message);
    lua_pushstring(L, report->source_name);
    lua_rotate(L, 3, 2); /* in front of the source */
    l_pushhook(L, report->rt, "report");
    lua_insert(L, 1);
    lua_call(L, 5, 0);
    return 0;
}

void l_loop_report(struct l_loop *loop, const char *message, const char *source_name, int source) {
    lua_State *L = loop->L; /* the error is on top */
    int error = lua_gettop(L);
    struct report report = {loop->rt, message, source_name};
    lua_pushcfunction(L, report_error);
    lua_pushvalue(L, L_FRAME_LOOP);
    lua_pushvalue(L, error);
    if (source != 0) {
        lua_pushvalue(L, source);
    } else {
        lua_pushnil(L);
    }
    lua_pushlightuserdata(L, &report);
    if (lua_pcall(L, 4, 0, 0) != LUA_OK) {
        /* not even the report could be made: the last resort must need nothing */
        const char *text = lua_tostring(L, -1);
        fprintf(stderr, "loophost: error in error handling (%s)\n",
                text != NULL ? text : luaL_typename(L, -1));
    }
    lua_settop(L, error - 1);
}

/* Whether a callback that took so long is slow; slow_callback_duration may be changed at any
 * time, and what is no number of seconds is "never". */
static bool is_slow(lua_State *L, int64_t took_ns) {
    lua_getfield(L, L_FRAME_LOOP, "slow_callback_duration");
    bool slow = lua_isnumber(L, -1) && l_seconds(took_ns) >= lua_tonumber(L, -1);
    lua_pop(L, 1);
    return slow;
}

void l_loop_warn_if_slow(struct l_loop *loop, int64_t began_ns, int source) {
    lua_State *L = loop->L;
    int64_t took_ns = clock_monotonic() - began_ns;
    if (!is_slow(L, took_ns)) return;
    l_pushhook(L, loop->rt, "warn_slow");
    lua_pushvalue(L, L_FRAME_LOOP);
    if (source != 0) {
        lua_pushvalue(L, source);
    } else {
        lua_pushnil(L);
    }
    lua_pushnumber(L, l_seconds(took_ns));
    if (lua_pcall(L, 3, 0, 0) != LUA_OK) lua_pop(L, 1);
}

void l_loop_call(struct l_loop *loop, int n, const char *message, const char *source_name,
                 int source) {
    lua_State *L = loop->L;
    int64_t began_ns = loop->debug ? clock_monotonic() : 0;
    if (lua_pcall(L, n, 0, L_FRAME_HANDLER) != LUA_OK) {
        l_loop_report(loop, message, source_name, source);
    }
    if (loop->debug) l_loop_warn_if_slow(loop, began_ns, source);
}

void l_loop_push_future(lua_State *L, int loop_index, struct l_loop *loop) {
    if (loop->overrides & L_OVERRIDE_CREATE_FUTURE) {
        loop_index = lua_absindex(L, loop_index);
        lua_getfield(L, loop_index, "create_future");
        lua_pushvalue(L, loop_index);
        lua_call(L, 1, 1);
        if (l_future_test(L, -1) == NULL) {
            luaL_error(L, "create_future() must return a Future");
        }
    } else {
        l_future_new(L, loop->rt, loop_index, loop);
    }
}

void l_loop_make_frame(lua_State *L, struct l_loop *loop) {
    luaL_checkstack(L, LUA_MINSTACK * 2, NULL);
    lua_getiuservalue(L, L_FRAME_LOOP, L_LOOP_ANCHORS);
    l_pushfunction(L, loop->rt, callback_error);
    lua_rotate(L, L_FRAME_ANCHORS, 2);
}
