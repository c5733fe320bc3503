/* loopobject.c -- the loop as scripts see it: its life, its methods.
 *
 * Each loop has a metatable of its own, whose __index is the loop's class
 * (scripts/loophost/eventloop.lua), until the loop is given a field of its own: from then
 * on it is the table of those, which inherits from the class.  So a method call on a plain
 * loop is one table look-up, and what a loop overrides can be read off by comparing its
 * methods with the base's. */
#include "bindings/call.h"
#include "bindings/handle.h"
#include "bindings/inventory.h"
#include "bindings/job.h"
#include "bindings/main_task.h"
#include "bindings/overrides.h"
#include "bindings/process.h"
#include "bindings/recycle.h"
#include "bindings/task.h"
#include "bindings/timeout.h"

#include <errno.h>
#include <string.h>

/* ---- life ---- */

/* The loop's first field: loop, key, value */
static int first_field(lua_State *L) {
    l_loop_check(L, 1);
    lua_settop(L, 3);
    if (lua_isnil(L, 2)) return luaL_error(L, "table index is nil");
    if (!lua_rawequal(L, 2, 2)) return luaL_error(L, "table index is NaN");
    lua_getmetatable(L, 1);
    lua_newtable(L); /* fields */
    lua_createtable(L, 0, 1);
    lua_getfield(L, 4, "__index");
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, 5);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 3);
    lua_rawset(L, 5);
    lua_pushvalue(L, 5);
    lua_setfield(L, 4, "__index");
    lua_pushvalue(L, 5);
    lua_setfield(L, 4, "__newindex");
    return 0;
}

/* new_loop(class, clock name or nil) */
static int new_loop(lua_State *L) {
    static const char *const clocks[] = {"monotonic", "virtual", NULL};
    struct l_runtime *rt = l_runtime(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    int clock = luaL_checkoption(L, 2, "monotonic", clocks);
    lua_settop(L, 1);
    struct l_loop *loop = lua_newuserdatauv(L, sizeof *loop, L_LOOP_USERVALUES);
    memset(loop, 0, sizeof *loop);
    loop->object.kind = &l_kinds[L_LOOP];
    loop->closed = true; /* until it is open */
    loop->rt = rt;
    l_loop_init_until(loop);
    l_anchors_open(L, 2, loop);
    lua_createtable(L, 0, 5); /* metatable */
    lua_pushvalue(L, 1);
    lua_setfield(L, -2, "__index");
    l_pushfunction(L, rt, first_field);
    lua_setfield(L, -2, "__newindex");
    lua_pushliteral(L, "loophost.EventLoop");
    lua_setfield(L, -2, "__name");
    l_pushhook(L, rt, "loop_gc");
    lua_setfield(L, -2, "__gc");
    l_pushhook(L, rt, "loop_tostring");
    lua_setfield(L, -2, "__tostring");
    lua_setmetatable(L, 2);
    l_pushshared(L, rt, L_SHARED_LOOPS);
    lua_pushvalue(L, 2);
    loop->number = ++rt->loops_made;
    lua_rawseti(L, -2, loop->number);
    lua_settop(L, 2);
    int result = loop_init(&loop->loop, clock == 0 ? CLOCK_KIND_MONOTONIC : CLOCK_KIND_VIRTUAL);
    if (result == -EMFILE || result == -ENFILE) { /* garbage may hold descriptors */
        lua_gc(L, LUA_GCCOLLECT);
        result = loop_init(&loop->loop, clock == 0 ? CLOCK_KIND_MONOTONIC : CLOCK_KIND_VIRTUAL);
    }
    if (result < 0) return luaL_error(L, "cannot make an event loop: %s", strerror(-result));
    loop->closed = false;
    l_overrides_refresh(L, 2, loop);
    l_inventory_add(L, rt, "event loop", 0);
    return 1;
}

/* Lets go of everything that the loop could still reach. */
static void forget_all(lua_State *L, int anchors, struct l_loop *loop) {
    for (int slot = 0; l_next_anchored(L, anchors, loop, &slot); lua_pop(L, 1)) {
        if (lua_type(L, -1) != LUA_TUSERDATA) continue;
        struct l_task *task = l_test(L, -1, L_TASK);
        struct l_process *process = l_test(L, -1, L_PROCESS);
        struct l_handle *handle = l_test(L, -1, L_HANDLE);
        if (handle == NULL) handle = l_test(L, -1, L_TIMER_HANDLE);
        if (task != NULL) {
            l_recycle_leave(L, -1, task);
            l_task_detach(task);
        }
        l_timeout_forget(L, -1, loop);
        if (process != NULL) l_process_abandon(L, process);
        if (handle != NULL) handle->loop = NULL;
    }
    l_unanchor_all(L, anchors, loop);
    loop->tasks = 0;
    loop->coroutines = NULL;
    loop->spare_timeout = NULL;
    loop->timeouts_kept = 0;
}

static void close_loop(lua_State *L, struct l_loop *loop) {
    loop->closed = true;
    lua_getiuservalue(L, 1, L_LOOP_ANCHORS);
    int anchors = lua_gettop(L);
    l_pushhook(L, loop->rt, "loop_closing");
    lua_pushvalue(L, 1);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
    forget_all(L, anchors, loop);
    lua_pushnil(L);
    lua_setiuservalue(L, 1, L_LOOP_COROUTINES);
    for (int i = 0; i < 2; i++) {
        if (handle_queued(&loop->until[i].handle)) handle_unlink(&loop->until[i].handle);
    }
    loop->loop.now_ns = clock_now(&loop->loop.clock);
    l_job_loop_closing(loop);
    loop_close(&loop->loop);
    l_call_free(loop);
    l_main_loop_closed(loop->rt, loop);
    l_job_loop_closed(L, loop);
    l_inventory_remove(L, loop->rt, loop);
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

static int stop(lua_State *L) {
    loop_stop(&l_loop_check(L, 1)->loop);
    return 0;
}

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
    l_task_create(L, loop, 2, 1);
    return 1;
}

/* create_task(function or coroutine, arguments): on the loop that runs, else the current one.
 * For scripts only. */
static int create_task_somewhere(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    int type = lua_type(L, 1);
    if (type != LUA_TFUNCTION && type != LUA_TTHREAD) {
        if (type == LUA_TNONE || luaL_getmetafield(L, 1, "__call") == LUA_TNIL) {
            return l_type_error(L, 1, "function");
        }
        lua_pop(L, 1);
    }
    struct l_loop *loop = rt->running;
    if (loop != NULL && (loop->overrides & L_OVERRIDE_CREATE_TASK) == 0) {
        l_task_create(L, loop, 1, L_SCRIPT_CALLER);
        return 1;
    }
    l_loop_push_current(L, rt);
    lua_insert(L, 1);
    lua_getfield(L, 1, "create_task");
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
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
    lua_pushnumber(L, l_seconds(loop_io_wait_ns(&loop->loop)));
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
    for (int slot = 0; l_next_anchored(L, 2, loop, &slot);) {
        if (l_test(L, -1, L_TASK) != NULL) {
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

/* ---- the type ---- */

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
                                       {"run_forever", l_loop_run_forever},
                                       {"run_until_complete", l_loop_run_until_complete},
                                       {"run_once", l_loop_run_once},
                                       {"stop", stop},
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
    static const luaL_Reg hooks[] = {{"new_loop", new_loop},
                                     {"create_task", create_task_somewhere},
                                     {"loop_gc", loop_gc},
                                     {"loop_tostring", loop_tostring},
                                     {"all_tasks", all_tasks},
                                     {"give_up_after", give_up_after},
                                     {"get_running_loop", get_running_loop},
                                     {"running_loop", running_loop},
                                     {NULL, NULL}};
    rt->type_names[L_LOOP] = "EventLoop";
    l_pushshared(L, rt, L_SHARED_METHODS);
    l_setfuncs(L, rt, methods);
    l_pushshared(L, rt, L_SHARED_HOOKS);
    l_setfuncs(L, rt, hooks);
    l_pushshared(L, rt, L_SHARED_LOOPS);
    l_make_weak(L); /* by number, as long as somebody holds them */
    lua_pop(L, 3);
}
