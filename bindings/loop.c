/* loop.c -- the loop as a Lua object: running it, its anchors, its own methods.
 *
 * Each loop has a metatable of its own, whose __index is the table of the instance's
 * fields, which inherits from the loop's class (scripts/loophost/eventloop.lua).  So a
 * method call on a plain loop is two table look-ups, and what a loop overrides can be
 * read off by comparing its methods with the base's. */
#include "bindings/handle.h"
#include "bindings/task.h"

#include "bindings/error.h"
#include "bindings/main_task.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- finding a loop ---- */

struct l_loop *l_loop_test(lua_State *L, int index) {
    struct l_loop *loop = lua_touserdata(L, index);
    if (loop == NULL || !lua_getmetatable(L, index)) return NULL;
    bool is_loop = lua_rawgetp(L, -1, l_runtime(L)) == LUA_TBOOLEAN;
    lua_pop(L, 2);
    return is_loop ? loop : NULL;
}

struct l_loop *l_loop_check(lua_State *L, int index) {
    struct l_loop *loop = l_loop_test(L, index);
    if (loop == NULL) l_type_error(L, index, "EventLoop");
    return loop;
}

struct l_loop *l_loop_check_open(lua_State *L, int index) {
    struct l_loop *loop = l_loop_check(L, index);
    if (loop->closed) luaL_error(L, "Event loop is closed");
    return loop;
}

void l_loop_push(lua_State *L, struct l_loop *loop) {
    l_pushshared(L, loop->rt, L_SHARED_LOOPS);
    lua_rawgetp(L, -1, loop);
    lua_remove(L, -2);
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

/* ---- anchors: slot -> object; free slots are a list of numbers ---- */

int l_anchor(lua_State *L, int loop_index, struct l_loop *loop) {
    lua_getiuservalue(L, loop_index, L_LOOP_ANCHORS);
    lua_pushvalue(L, -2);
    int slot = loop->free_slot;
    if (slot != 0) {
        lua_rawgeti(L, -2, slot);
        loop->free_slot = (int)lua_tointeger(L, -1);
        lua_pop(L, 1);
        lua_rawseti(L, -2, slot);
    } else {
        slot = loop->slots + 1;
        lua_rawseti(L, -2, slot); /* may raise */
        loop->slots = slot;
    }
    lua_pop(L, 1);
    return slot;
}

void l_anchored(struct l_loop *loop, int slot) {
    lua_rawgeti(loop->L, L_FRAME_ANCHORS, slot);
}

static void free_slot(lua_State *L, int anchors, struct l_loop *loop, int slot) {
    lua_pushinteger(L, loop->free_slot);
    lua_rawseti(L, anchors, slot);
    loop->free_slot = slot;
}

void l_unanchor(struct l_loop *loop, int slot) {
    free_slot(loop->L, L_FRAME_ANCHORS, loop, slot);
}

void l_unanchor_at(lua_State *L, int loop_index, struct l_loop *loop, int slot) {
    lua_getiuservalue(L, loop_index, L_LOOP_ANCHORS);
    free_slot(L, lua_gettop(L), loop, slot);
    lua_pop(L, 1);
}

/* ---- calling scripts ---- */

/* The message handler of callbacks: keeps the traceback for the report. */
static int callback_error(lua_State *L) {
    l_keep_traceback(L, l_runtime(L));
    return 1;
}

/* error, source or nil, message, source_name -> the loop's exception handler */
static int report_error(lua_State *L) {
    l_pushhook(L, l_runtime(L), "report");
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 0);
    return 0;
}

void l_loop_report(struct l_loop *loop, const char *message, const char *source_name, int source) {
    lua_State *L = loop->L; /* the error is on top */
    int error = lua_gettop(L);
    l_pushfunction(L, loop->rt, report_error);
    lua_pushvalue(L, L_FRAME_LOOP);
    lua_pushvalue(L, error);
    lua_pushstring(L, message);
    lua_pushstring(L, source_name);
    if (source != 0) {
        lua_pushvalue(L, source);
    } else {
        lua_pushnil(L);
    }
    if (lua_pcall(L, 5, 0, 0) != LUA_OK) {
        /* not even the report could be made: the last resort must need nothing */
        const char *text = lua_tostring(L, -1);
        fprintf(stderr, "loophost: error in error handling (%s)\n",
                text != NULL ? text : luaL_typename(L, -1));
    }
    lua_settop(L, error - 1);
}

void l_loop_warn_if_slow(struct l_loop *loop, int64_t began_ns, int source) {
    lua_State *L = loop->L;
    int64_t took_ns = clock_monotonic() - began_ns;
    if (took_ns < loop->slow_ns) return;
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
        if (l_future_test(L, loop->rt, -1) == NULL) {
            luaL_error(L, "create_future() must return a Future");
        }
    } else {
        l_future_new(L, loop->rt, loop_index, loop);
    }
}

/* ---- running ---- */

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

/* Reads the loop's slow_callback_duration; what is no number of seconds is "never". */
static void refresh_slow(lua_State *L, int index, struct l_loop *loop) {
    lua_getfield(L, index, "slow_callback_duration");
    lua_Number seconds = lua_isnumber(L, -1) ? lua_tonumber(L, -1) : NAN;
    loop->slow_ns = seconds < 4e9 ? (int64_t)(fmax(seconds, 0) * 1e9) : INT64_MAX;
    lua_pop(L, 1);
}

/* Reads off what the loop at the index overrides. */
static void refresh_overrides(lua_State *L, int index, struct l_loop *loop) {
    unsigned overrides = 0;
    l_pushshared(L, loop->rt, L_SHARED_METHODS);
    for (size_t i = 0; i < sizeof overridable / sizeof overridable[0]; i++) {
        lua_getfield(L, -1, overridable[i].name);
        lua_getfield(L, index, overridable[i].name);
        if (!lua_rawequal(L, -1, -2)) overrides |= overridable[i].flag;
        lua_pop(L, 2);
    }
    lua_pop(L, 1);
    refresh_slow(L, index, loop);
    loop->overrides = overrides;
    /* a virtual clock goes on jumping, whatever time() makes of it */
    if ((overrides & L_OVERRIDE_TIME) && loop->loop.clock.kind != CLOCK_KIND_VIRTUAL) {
        loop->loop.clock =
            (struct clock){.kind = CLOCK_KIND_FOREIGN, .read = read_lua_clock, .arg = loop};
    }
}

void l_loop_push_frame(lua_State *L, struct l_loop *loop) {
    luaL_checkstack(L, LUA_MINSTACK * 2, NULL);
    l_loop_push(L, loop);
    lua_getiuservalue(L, 1, L_LOOP_ANCHORS);
    l_pushfunction(L, loop->rt, callback_error);
}

/* What running a loop changes, and puts back. */
struct run_frame {
    lua_State *L;
    struct l_task *current;
    lua_State *coroutine;
    struct l_loop *running;
    bool was_running;
};

static void enter_frame(lua_State *L, struct l_loop *loop, struct run_frame *frame) {
    struct l_runtime *rt = loop->rt;
    luaL_checkstack(L, LUA_MINSTACK * 2, NULL);
    lua_getiuservalue(L, L_FRAME_LOOP, L_LOOP_ANCHORS);
    l_pushfunction(L, rt, callback_error);
    lua_rotate(L, L_FRAME_ANCHORS, 2);
    refresh_overrides(L, L_FRAME_LOOP, loop);
    *frame = (struct run_frame){.L = loop->L,
                                .current = rt->current,
                                .coroutine = rt->coroutine,
                                .running = rt->running,
                                .was_running = loop->loop.running};
    loop->L = L;
    rt->current = NULL;
    rt->coroutine = NULL;
    rt->running = loop;
    loop->loop.running = true;
}

static void leave_frame(struct l_loop *loop, const struct run_frame *frame) {
    struct l_runtime *rt = loop->rt;
    loop->L = frame->L;
    rt->current = frame->current;
    rt->coroutine = frame->coroutine;
    rt->running = frame->running;
    loop->loop.running = frame->was_running;
}

static void check_may_run(lua_State *L, struct l_loop *loop) {
    if (loop->loop.running) luaL_error(L, "This event loop is already running");
    if (loop->rt->running != NULL) {
        luaL_error(L, "Cannot run the event loop while another loop is running");
    }
    if (loop->loop.owner != getpid()) {
        luaL_error(L, "This event loop belongs to another process: it was made before fork()");
    }
}

static int raise_failure(lua_State *L, struct l_loop *loop, int result) {
    if (result != -EDEADLK) return luaL_error(L, "cannot wait for events: %s", strerror(-result));
    l_pushhook(L, loop->rt, "deadlock");
    lua_pushvalue(L, L_FRAME_LOOP);
    lua_call(L, 1, 1);
    return lua_error(L);
}

/* One turn by the loop's own run_once(); 0, or 1 with the error on top. */
static int turn_by_method(lua_State *L) {
    lua_getfield(L, L_FRAME_LOOP, "run_once");
    lua_pushvalue(L, L_FRAME_LOOP);
    return lua_pcall(L, 1, 0, L_FRAME_HANDLER) != LUA_OK;
}

void l_loop_run_until(lua_State *L, struct l_loop *loop, bool (*done)(struct l_loop *loop)) {
    struct run_frame frame;
    int result = 0;
    bool failed = false;
    check_may_run(L, loop);
    enter_frame(L, loop, &frame);
    if (loop->overrides & L_OVERRIDE_RUN_ONCE) {
        do {
            failed = turn_by_method(L) != 0;
        } while (!failed && !loop->loop.stopping && (done == NULL || !done(loop)));
    } else {
        do {
            result = loop_run_once(&loop->loop);
        } while (result >= 0 && !loop->loop.stopping && (done == NULL || !done(loop)));
    }
    loop->loop.stopping = false;
    leave_frame(loop, &frame);
    if (failed) lua_error(L);
    if (loop->rt->interrupt_pending) l_main_raise(L, loop->rt);
    if (result < 0) raise_failure(L, loop, result);
}

/* Whether the time that give_up_after allows is over. */
static bool gives_up(struct l_loop *loop) {
    return loop->gave_up = loop_now(&loop->loop) >= loop->give_up_ns;
}

static int loop_run_forever(lua_State *L) {
    struct l_loop *loop = l_loop_check_open(L, 1);
    lua_settop(L, 1);
    l_loop_run_until(L, loop, loop->give_up_ns != 0 ? gives_up : NULL);
    return 0;
}

static int l_loop_run_once(lua_State *L) {
    struct l_loop *loop = l_loop_check_open(L, 1);
    struct run_frame frame;
    lua_settop(L, 1);
    /* an overridden run_once calls this one while run_forever runs, between its turns */
    bool inside = loop->loop.running && (loop->overrides & L_OVERRIDE_RUN_ONCE) &&
                  loop->rt->current == NULL && !loop->turning;
    if (!inside) check_may_run(L, loop);
    enter_frame(L, loop, &frame);
    loop->turning = true;
    int result = loop_run_once(&loop->loop);
    loop->turning = false;
    leave_frame(loop, &frame);
    if (!inside) loop->loop.stopping = false;
    if (result < 0) raise_failure(L, loop, result);
    return 0;
}

static void stop_running(struct handle *until) {
    loop_stop(&container_of(until, struct l_until, handle)->loop->loop);
}

static struct handle *free_until(struct l_loop *loop) {
    return &loop->until[handle_queued(&loop->until[0].handle)].handle;
}

/* loop, function or future, arguments -> the results */
static int run_until_complete(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    struct l_loop *loop = l_loop_check_open(L, 1);
    luaL_checkany(L, 2);
    check_may_run(L, loop);
    bool is_new = l_future_test(L, rt, 2) == NULL;
    refresh_overrides(L, 1, loop);
    l_pushhook(L, rt, "ensure_future");
    lua_insert(L, 2);
    lua_pushvalue(L, 1);
    lua_insert(L, 3);
    lua_call(L, lua_gettop(L) - 2, 1);
    struct l_future *future = l_future_check(L, 2);
    if (future->loop != loop) {
        return luaL_argerror(L, 2, "the future belongs to a different loop");
    }
    struct handle *until = free_until(loop);
    if (future->state == L_PENDING) {
        handle_push(&future->callbacks, until);
    } else {
        loop_call_soon(&loop->loop, until);
    }
    l_pushfunction(L, rt, loop_run_forever);
    lua_pushvalue(L, 1);
    bool failed = lua_pcall(L, 1, 0, 0) != LUA_OK;
    if (future->state == L_PENDING && handle_queued(until)) handle_unlink(until);
    if (failed) {
        if (is_new && future->state == L_FAILED) future->unretrieved = false;
        return lua_error(L);
    }
    if (future->state == L_PENDING) {
        return luaL_error(L, "Event loop stopped before Future completed.");
    }
    return l_future_results(L, 2, future);
}

static int l_loop_stop(lua_State *L) {
    loop_stop(&l_loop_check(L, 1)->loop);
    return 0;
}

/* ---- life ---- */

/* new_loop(class, clock name or nil) */
static int new_loop(lua_State *L) {
    static const char *const clocks[] = {"monotonic", "virtual", NULL};
    struct l_runtime *rt = l_runtime(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    int clock = luaL_checkoption(L, 2, "monotonic", clocks);
    lua_settop(L, 1);
    struct l_loop *loop = lua_newuserdatauv(L, sizeof *loop, L_LOOP_USERVALUES);
    memset(loop, 0, sizeof *loop);
    loop->closed = true; /* until it is open */
    loop->rt = rt;
    for (int i = 0; i < 2; i++) {
        handle_init(&loop->until[i].handle, stop_running);
        loop->until[i].loop = loop;
    }
    lua_newtable(L); /* anchors */
    lua_setiuservalue(L, 2, L_LOOP_ANCHORS);
    lua_newtable(L); /* metatable */
    lua_newtable(L); /* fields */
    lua_newtable(L); /* metatable of the fields */
    lua_pushvalue(L, 1);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__index");
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, 1);
    lua_rawsetp(L, -2, rt);
    lua_pushliteral(L, "loophost.EventLoop");
    lua_setfield(L, -2, "__name");
    l_pushhook(L, rt, "loop_gc");
    lua_setfield(L, -2, "__gc");
    l_pushhook(L, rt, "loop_tostring");
    lua_setfield(L, -2, "__tostring");
    lua_setmetatable(L, 2);
    l_pushshared(L, rt, L_SHARED_LOOPS);
    lua_pushvalue(L, 2);
    lua_rawsetp(L, -2, loop);
    lua_settop(L, 2);
    int result = loop_init(&loop->loop, clock == 0 ? CLOCK_KIND_MONOTONIC : CLOCK_KIND_VIRTUAL);
    if (result == -EMFILE || result == -ENFILE) { /* garbage may hold descriptors */
        lua_gc(L, LUA_GCCOLLECT);
        result = loop_init(&loop->loop, clock == 0 ? CLOCK_KIND_MONOTONIC : CLOCK_KIND_VIRTUAL);
    }
    if (result < 0) return luaL_error(L, "cannot make an event loop: %s", strerror(-result));
    loop->closed = false;
    refresh_overrides(L, 2, loop);
    return 1;
}

/* Lets go of everything that the loop could still reach. */
static void forget_all(lua_State *L, int anchors, struct l_loop *loop) {
    for (int slot = 1; slot <= loop->slots; slot++) {
        if (lua_rawgeti(L, anchors, slot) == LUA_TUSERDATA) {
            struct l_task *task = l_test(L, loop->rt, -1, L_TASK);
            struct l_handle *handle = l_test(L, loop->rt, -1, L_HANDLE);
            if (handle == NULL) handle = l_test(L, loop->rt, -1, L_TIMER_HANDLE);
            if (task != NULL) l_task_detach(task);
            if (handle != NULL) handle->loop = NULL;
        }
        lua_pop(L, 1);
        lua_pushnil(L);
        lua_rawseti(L, anchors, slot);
    }
    loop->slots = loop->free_slot = 0;
    loop->tasks = 0;
}

static void close_loop(lua_State *L, struct l_loop *loop) {
    loop->closed = true;
    lua_getiuservalue(L, 1, L_LOOP_ANCHORS);
    int anchors = lua_gettop(L);
    l_pushhook(L, loop->rt, "loop_closing");
    lua_pushvalue(L, 1);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
    forget_all(L, anchors, loop);
    for (int i = 0; i < 2; i++) {
        if (handle_queued(&loop->until[i].handle)) handle_unlink(&loop->until[i].handle);
    }
    loop->loop.now_ns = clock_now(&loop->loop.clock);
    loop_close(&loop->loop);
}

static int l_loop_close(lua_State *L) {
    struct l_loop *loop = l_loop_check(L, 1);
    if (loop->loop.running) return luaL_error(L, "Cannot close a running event loop");
    lua_settop(L, 1);
    if (!loop->closed) close_loop(L, loop);
    return 0;
}

static int loop_gc(lua_State *L) {
    struct l_loop *loop = lua_touserdata(L, 1);
    if (!loop->closed) close_loop(L, loop);
    return 0;
}

static int loop_tostring(lua_State *L) {
    struct l_loop *loop = l_loop_check(L, 1);
    lua_pushfstring(L, "<EventLoop running=%s closed=%s debug=%s>",
                    loop->loop.running ? "true" : "false", loop->closed ? "true" : "false",
                    loop->debug ? "true" : "false");
    return 1;
}

/* ---- small methods ---- */

static int is_running(lua_State *L) {
    lua_pushboolean(L, l_loop_check(L, 1)->loop.running);
    return 1;
}

static int is_closed(lua_State *L) {
    lua_pushboolean(L, l_loop_check(L, 1)->closed);
    return 1;
}

static int get_time(lua_State *L) {
    struct l_loop *loop = l_loop_check(L, 1);
    if (loop->loop.clock.kind == CLOCK_KIND_FOREIGN) { /* the parent of an overridden time() */
        lua_pushnumber(L, l_seconds(clock_monotonic()));
    } else {
        lua_pushnumber(L, l_seconds(clock_now(&loop->loop.clock)));
    }
    return 1;
}

static int create_future(lua_State *L) {
    struct l_loop *loop = l_loop_check(L, 1);
    l_future_new(L, loop->rt, 1, loop);
    return 1;
}

static int create_task(lua_State *L) {
    struct l_loop *loop = l_loop_check_open(L, 1);
    struct l_task *task = l_task_new(L, loop->rt, 2, 1);
    l_task_attach(L, task, 1, loop);
    if (loop->loop.trace.on) {
        trace_add(&loop->loop.trace, loop_now(&loop->loop), "create_task", "name=Task-%u",
                  task->number);
    }
    return 1;
}

/* give_up_after(loop, seconds or nil): ends a run_until_complete that takes longer; returns
 * whether it has */
static int give_up_after(lua_State *L) {
    struct l_loop *loop = l_loop_check(L, 1);
    lua_pushboolean(L, loop->gave_up);
    loop->gave_up = false;
    loop->give_up_ns = lua_isnoneornil(L, 2) ? 0 : loop_now(&loop->loop) + l_checkseconds(L, 2);
    return 1;
}

static int set_debug(lua_State *L) {
    struct l_loop *loop = l_loop_check(L, 1);
    luaL_checkany(L, 2);
    loop->debug = lua_toboolean(L, 2);
    refresh_slow(L, 1, loop);
    return 0;
}

static int get_debug(lua_State *L) {
    lua_pushboolean(L, l_loop_check(L, 1)->debug);
    return 1;
}

static int set_trace(lua_State *L) {
    struct l_loop *loop = l_loop_check_open(L, 1);
    luaL_checkany(L, 2);
    if (!lua_toboolean(L, 2)) {
        trace_stop(&loop->loop.trace);
    } else if (!loop->loop.trace.on && trace_start(&loop->loop.trace, loop_now(&loop->loop)) < 0) {
        return luaL_error(L, "not enough memory");
    }
    return 0;
}

static int get_trace(lua_State *L) {
    struct l_loop *loop = l_loop_check(L, 1);
    size_t count = trace_count(&loop->loop.trace);
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        const struct trace_event *event = trace_get(&loop->loop.trace, i);
        lua_createtable(L, 0, 3);
        lua_pushnumber(L, l_seconds(event->time_ns));
        lua_setfield(L, -2, "time");
        lua_pushstring(L, event->event);
        lua_setfield(L, -2, "event");
        lua_pushstring(L, event->details);
        lua_setfield(L, -2, "details");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static int get_metrics(lua_State *L) {
    struct l_loop *loop = l_loop_check(L, 1);
    const struct metrics *metrics = &loop->loop.metrics;
    const struct {
        const char *name;
        uint64_t value;
    } counts[] = {
        {"tasks_created", metrics->tasks_created},
        {"callbacks_executed", metrics->callbacks_executed},
        {"turns", metrics->turns},
        {"polls", metrics->polls},
        {"io_events", metrics->io_events},
        {"timers_fired", metrics->timers_fired},
        {"tasks_pending", loop->tasks},
        {"timers_pending", loop->closed ? 0 : loop->loop.timers.count},
    };
    lua_createtable(L, 0, 9);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        lua_pushinteger(L, (lua_Integer)counts[i].value);
        lua_setfield(L, -2, counts[i].name);
    }
    lua_pushnumber(L, l_seconds(metrics->io_wait_ns));
    lua_setfield(L, -2, "io_wait_time");
    return 1;
}

/* all_tasks(loop): those that are not done, in the order of their slots */
static int all_tasks(lua_State *L) {
    struct l_loop *loop = l_loop_check(L, 1);
    lua_Integer n = 0;
    lua_settop(L, 1);
    lua_getiuservalue(L, 1, L_LOOP_ANCHORS);
    lua_createtable(L, (int)loop->tasks, 0);
    for (int slot = 1; slot <= loop->slots; slot++) {
        if (lua_rawgeti(L, 2, slot) == LUA_TUSERDATA && l_test(L, loop->rt, -1, L_TASK) != NULL) {
            lua_rawseti(L, 3, ++n);
        } else {
            lua_pop(L, 1);
        }
    }
    return 1;
}

static int get_running_loop(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    if (rt->running == NULL) return luaL_error(L, "no running event loop");
    l_loop_push(L, rt->running);
    return 1;
}

/* running_loop(): as get_running_loop, but nil where there is none */
static int running_loop(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    if (rt->running == NULL) return 0;
    l_loop_push(L, rt->running);
    return 1;
}

void l_loop_open(lua_State *L, struct l_runtime *rt) {
    static const luaL_Reg methods[] = {{"call_soon", l_loop_call_soon},
                                       {"call_soon_threadsafe", l_loop_call_soon},
                                       {"call_later", l_loop_call_later},
                                       {"call_at", l_loop_call_at},
                                       {"call_soon_with_priority", l_loop_call_soon_with_priority},
                                       {"add_reader", l_loop_add_reader},
                                       {"add_writer", l_loop_add_writer},
                                       {"remove_reader", l_loop_remove_reader},
                                       {"remove_writer", l_loop_remove_writer},
                                       {"add_signal_handler", l_loop_add_signal_handler},
                                       {"remove_signal_handler", l_loop_remove_signal_handler},
                                       {"run_forever", loop_run_forever},
                                       {"run_until_complete", run_until_complete},
                                       {"run_once", l_loop_run_once},
                                       {"stop", l_loop_stop},
                                       {"close", l_loop_close},
                                       {"is_running", is_running},
                                       {"is_closed", is_closed},
                                       {"time", get_time},
                                       {"create_task", create_task},
                                       {"create_future", create_future},
                                       {"set_debug", set_debug},
                                       {"get_debug", get_debug},
                                       {"set_trace", set_trace},
                                       {"get_trace", get_trace},
                                       {"get_metrics", get_metrics},
                                       {NULL, NULL}};
    static const luaL_Reg hooks[] = {
        {"new_loop", new_loop},           {"loop_gc", loop_gc},
        {"loop_tostring", loop_tostring}, {"all_tasks", all_tasks},
        {"give_up_after", give_up_after}, {"get_running_loop", get_running_loop},
        {"running_loop", running_loop},   {NULL, NULL}};
    l_pushshared(L, rt, L_SHARED_METHODS);
    l_setfuncs(L, rt, methods);
    l_pushshared(L, rt, L_SHARED_HOOKS);
    l_setfuncs(L, rt, hooks);
    l_pushshared(L, rt, L_SHARED_LOOPS); /* by address, as long as somebody holds them */
    lua_newtable(L);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_pop(L, 3);
}
