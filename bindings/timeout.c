/* timeout.c -- a deadline for a block: `local t <close> = lh.timeout(seconds)`.
 *
 * As asyncio.timeout of CPython 3.12. A timer cancels the task; leaving the block turns
 * that CancelledError into a TimeoutError, unless somebody else has cancelled the task,
 * too: the counts of cancelling() tell. All happens in one task, so whatever was finished
 * in the block is finished, and nothing that was taken is lost.
 *
 * The timer is inside the userdata, which the loop anchors while it is armed; on a loop
 * that overrides how timers are made it is a handle of that loop's making, in a user
 * value.  What wait_for makes no script gets to see: the loop keeps some for the next ones. */
#include "bindings/error.h"
#include "bindings/handle.h"
#include "bindings/open.h"
#include "bindings/task.h"
#include "bindings/timeout.h"

#include <math.h>
#include <stdio.h>

enum { HOLDS = 1, HANDLE, USERVALUES = HANDLE };
enum { MOST_KEPT = 64 };
enum { BY_METHOD = L_OVERRIDE_TIME | L_OVERRIDE_CALL_AT | L_OVERRIDE_CALL_SOON };

enum state { ACTIVE, EXPIRING, EXPIRED, FINISHED };
static const char *const state_names[] = {"active", "expiring", "expired", "finished"};

struct l_timeout {
    struct l_object object;
    struct timer timer;
    struct l_loop *loop; /* while armed by a timer of our own: it anchors us in the slot */
    struct l_task *task; /* HOLDS is that, or its coroutine, until the block is over */
    struct l_timeout *next_spare;
    int slot;
    int cancelling; /* what task:cancelling() was when the block began */
    enum state state;
    bool has_handle; /* armed by way of the loop's methods */
    bool is_hidden;  /* made by wait_for */
    lua_Number when; /* seconds of the loop's clock; NaN: never */
};

static struct l_timeout *check_timeout(lua_State *L) {
    return l_check(L, 1, L_TIMEOUT);
}

void l_timeout_forget(lua_State *L, int index, const struct l_loop *loop) {
    struct l_timeout *timeout = l_test(L, index, L_TIMEOUT);
    if (timeout != NULL && timeout->loop == loop) timeout->loop = NULL;
}

/* ---- arming ---- */

/* timeout -> its task is cancelled */
static int expire(lua_State *L) {
    struct l_timeout *timeout = lua_touserdata(L, 1);
    timeout->state = EXPIRING;
    timeout->has_handle = false;
    if (timeout->task->future.state != L_PENDING) return 0; /* it has left the block behind */
    lua_settop(L, 1);
    lua_pushnil(L);
    if (lua_getiuservalue(L, 1, HOLDS) != LUA_TUSERDATA) { /* but its coroutine */
        lua_pop(L, 1);
        l_task_push(L, timeout->task);
    }
    l_task_cancel(L, timeout->task);
    return 0;
}

static void deadline_passed(struct handle *handle) {
    struct l_timeout *timeout = container_of(handle, struct l_timeout, timer.handle);
    struct l_loop *loop = timeout->loop;
    lua_State *L = loop->L;
    timeout->loop = NULL;
    lua_pushcfunction(L, expire);
    l_anchored(loop, timeout->slot);
    l_unanchor(loop, timeout->slot);
    l_loop_call(loop, 1, "Exception in callback", NULL, 0);
}

/* Pushes what loop:method(...) returns; the loop is at the index, n arguments on top. */
static void call_loop(lua_State *L, int loop_index, const char *method, int n) {
    lua_getfield(L, loop_index, method);
    lua_pushvalue(L, loop_index);
    lua_rotate(L, -n - 2, 2);
    lua_call(L, n + 1, 1);
}

static void arm_by_method(lua_State *L, int index, int loop_index) {
    struct l_timeout *timeout = lua_touserdata(L, index);
    call_loop(L, loop_index, "time", 0);
    bool is_due = timeout->when <= lua_tonumber(L, -1);
    lua_pop(L, 1);
    if (!is_due) lua_pushnumber(L, timeout->when);
    lua_pushcfunction(L, expire);
    lua_pushvalue(L, index);
    call_loop(L, loop_index, is_due ? "call_soon" : "call_at", is_due ? 2 : 3);
    lua_setiuservalue(L, index, HANDLE);
    timeout->has_handle = true;
}

/* Starts the timer of what the loop anchors. */
static void start(lua_State *L, struct l_timeout *timeout, struct l_loop *loop, int64_t when_ns,
                  int64_t now_ns) {
    if (when_ns <= now_ns) {
        loop_call_soon(&loop->loop, &timeout->timer.handle);
    } else if (!loop_call_at(&loop->loop, &timeout->timer, when_ns)) {
        l_unanchor_anywhere(L, loop, timeout->slot);
        luaL_error(L, "not enough memory");
    }
    timeout->loop = loop;
}

static void arm(lua_State *L, int index, struct l_timeout *timeout, struct l_loop *loop,
                int64_t when_ns, int64_t now_ns) {
    timeout->slot = l_anchor(L, index, 0, loop);
    start(L, timeout, loop, when_ns, now_ns);
}

/* The loop lets go of what is disarmed, or keeps it for the next wait_for. */
static void release(lua_State *L, struct l_timeout *timeout, struct l_loop *loop) {
    if (timeout->state != FINISHED) {
        l_unanchor_anywhere(L, loop, timeout->slot);
    } else if (!timeout->is_hidden || loop->timeouts_kept == MOST_KEPT) {
        l_unanchor_later(L, loop, timeout->slot);
    } else {
        timeout->next_spare = loop->spare_timeout;
        loop->spare_timeout = timeout;
        loop->timeouts_kept++;
    }
}

static void disarm(lua_State *L, int index, struct l_timeout *timeout) {
    struct l_loop *loop = timeout->loop;
    if (loop != NULL) {
        timeout->loop = NULL;
        loop_cancel_timer(&loop->loop, &timeout->timer);
        release(L, timeout, loop);
    } else if (timeout->has_handle) {
        timeout->has_handle = false;
        lua_getiuservalue(L, index, HANDLE);
        lua_getfield(L, -1, "cancel");
        lua_insert(L, -2);
        lua_call(L, 1, 0);
    }
}

/* ---- beginning ---- */

/* A number of seconds at the index, or nil: whether there is one. */
static bool check_seconds(lua_State *L, int arg) {
    if (lua_isnoneornil(L, arg)) return false;
    lua_Number seconds = lua_tonumber(L, arg);
    if (lua_type(L, arg) != LUA_TNUMBER) l_type_error(L, arg, "number of seconds");
    luaL_argcheck(L, !isnan(seconds), arg, "number of seconds expected, got NaN");
    return true;
}

/* Sets the deadline of the timeout at the index, a moment or a delay from now on, on the current
 * loop if that times by methods of its own, or does not run yet. */
static void set_deadline_carefully(lua_State *L, int index, struct l_timeout *timeout,
                                   lua_Number seconds, bool is_delay) {
    int loop_index = l_loop_push_current(L, timeout->task->future.rt);
    struct l_loop *loop = l_loop_check_open(L, loop_index);
    int64_t now_ns = 0, when_ns = l_nanoseconds(seconds);
    lua_Number now;
    if (loop->overrides & L_OVERRIDE_TIME) {
        call_loop(L, loop_index, "time", 0);
        now = lua_tonumber(L, -1);
        lua_pop(L, 1);
    } else {
        now_ns = loop_now(&loop->loop);
        now = l_seconds(now_ns);
    }
    timeout->when = is_delay ? now + seconds : seconds;
    if (loop->overrides & BY_METHOD || loop->loop.trace.on) {
        arm_by_method(L, index, loop_index);
    } else {
        arm(L, index, timeout, loop, is_delay ? now_ns + when_ns : when_ns, now_ns);
    }
    lua_settop(L, loop_index - 1);
}

/* The same, as it is as a rule. */
static void set_deadline(lua_State *L, int index, struct l_timeout *timeout, lua_Number seconds,
                         bool is_delay) {
    struct l_loop *loop = timeout->task->future.rt->running;
    if (loop == NULL || loop->overrides != 0 || loop->loop.trace.on) {
        set_deadline_carefully(L, index, timeout, seconds, is_delay);
        return;
    }
    int64_t now_ns = loop_now(&loop->loop), when_ns = l_nanoseconds(seconds);
    timeout->when = is_delay ? l_seconds(now_ns) + seconds : seconds;
    arm(L, index, timeout, loop, is_delay ? now_ns + when_ns : when_ns, now_ns);
}

/* Pushes a timeout of the running task, without a deadline yet. */
static struct l_timeout *push_timeout(lua_State *L, struct l_runtime *rt) {
    struct l_task *task = rt->current;
    if (task == NULL) {
        luaL_error(L, "a timeout can only be used inside a task");
        return NULL;
    }
    l_task_bind_main(L, task);
    struct l_timeout *timeout = l_newobject(L, rt, L_TIMEOUT, sizeof *timeout, USERVALUES);
    timer_init(&timeout->timer, deadline_passed);
    timeout->task = task;
    timeout->cancelling = task->cancelling;
    timeout->when = NAN;
    l_task_push(L, task);
    lua_setiuservalue(L, -2, HOLDS);
    return timeout;
}

/* timeout(delay or nil), timeout_at(moment or nil) */
static int new_timeout(lua_State *L, bool is_delay) {
    bool has_deadline = check_seconds(L, 1);
    struct l_timeout *timeout = push_timeout(L, l_runtime(L));
    if (has_deadline) set_deadline(L, lua_gettop(L), timeout, lua_tonumber(L, 1), is_delay);
    return 1;
}

static int l_timeout_after(lua_State *L) {
    return new_timeout(L, true);
}

static int l_timeout_at(lua_State *L) {
    return new_timeout(L, false);
}

/* ---- the end ---- */

/* timeout, error or nil */
static int timeout_close(lua_State *L) {
    struct l_timeout *timeout = check_timeout(L);
    if (timeout->state == ACTIVE) {
        timeout->state = FINISHED;
        lua_pushnil(L);
        lua_setiuservalue(L, 1, HOLDS);
        disarm(L, 1, timeout);
    } else if (timeout->state == EXPIRING) {
        struct l_task *task = timeout->task;
        timeout->state = EXPIRED;
        if (task->cancelling > 0) task->cancelling--;
        if (task->cancelling <= timeout->cancelling && l_is_cancelled(L, l_runtime(L), 2)) {
            return l_error_raise(L, l_runtime(L), "TimeoutError", "timed out");
        }
    }
    return 0;
}

/* ---- methods ---- */

static int timeout_when(lua_State *L) {
    struct l_timeout *timeout = check_timeout(L);
    if (isnan(timeout->when)) {
        lua_pushnil(L);
    } else {
        lua_pushnumber(L, timeout->when);
    }
    return 1;
}

static int timeout_expired(lua_State *L) {
    struct l_timeout *timeout = check_timeout(L);
    lua_pushboolean(L, timeout->state == EXPIRING || timeout->state == EXPIRED);
    return 1;
}

/* reschedule(moment or nil): only while the block runs and has not expired */
static int timeout_reschedule(lua_State *L) {
    struct l_timeout *timeout = check_timeout(L);
    bool has_deadline = check_seconds(L, 2);
    if (timeout->state != ACTIVE) {
        return luaL_error(L, "Cannot change state of %s Timeout", state_names[timeout->state]);
    }
    lua_settop(L, 2);
    disarm(L, 1, timeout);
    timeout->when = NAN;
    if (has_deadline) {
        if (timeout->task->future.rt->running == NULL) luaL_error(L, "no running event loop");
        set_deadline(L, 1, timeout, lua_tonumber(L, 2), false);
    }
    return 0;
}

static int timeout_tostring(lua_State *L) {
    struct l_timeout *timeout = check_timeout(L);
    lua_pushfstring(L, "<Timeout [%s]", state_names[timeout->state]);
    if (timeout->state == ACTIVE && !isnan(timeout->when)) {
        char when[400];
        snprintf(when, sizeof when, " when=%.3f", timeout->when);
        lua_pushstring(L, when);
        lua_concat(L, 2);
    }
    lua_pushliteral(L, ">");
    lua_concat(L, 2);
    return 1;
}

/* ---- wait_for ---- */

static int return_all(lua_State *L, int status, lua_KContext base) {
    (void)status;
    return lua_gettop(L) - (int)base;
}

/* Pushes a timeout, armed, that no script gets to see: a spare one of the loop's, if that is as
 * loops are as a rule. */
static void push_hidden(lua_State *L, struct l_runtime *rt, lua_Number seconds) {
    struct l_task *task = rt->current;
    struct l_loop *loop = task->future.loop;
    struct l_timeout *timeout = loop != NULL ? loop->spare_timeout : NULL;
    lua_State *frame = timeout != NULL ? l_loop_frame(loop, L) : NULL;
    if (frame == NULL || task->coroutine != L || loop->overrides != 0 || loop->loop.trace.on) {
        push_timeout(L, rt)->is_hidden = true;
        set_deadline(L, lua_gettop(L), lua_touserdata(L, -1), seconds, true);
        return;
    }
    int64_t now_ns = loop_now(&loop->loop);
    loop->spare_timeout = timeout->next_spare;
    loop->timeouts_kept--;
    timeout->task = task;
    timeout->cancelling = task->cancelling;
    timeout->state = ACTIVE;
    timeout->when = l_seconds(now_ns) + seconds;
    lua_rawgeti(frame, L_FRAME_ANCHORS, timeout->slot);
    lua_xmove(frame, L, 1);
    lua_pushthread(L); /* holds the task as long as this block is open */
    lua_setiuservalue(L, -2, HOLDS);
    start(L, timeout, loop, now_ns + l_nanoseconds(seconds), now_ns);
}

/* wait_for(function or future, seconds): with time left, in a block of its own; all the
 * rest, mistakes too, is the Lua half's. */
static int wait_for(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    bool is_function = lua_type(L, 1) == LUA_TFUNCTION;
    lua_Number seconds = lua_type(L, 2) == LUA_TNUMBER ? lua_tonumber(L, 2) : NAN;
    if (!(seconds > 0) || rt->current == NULL || (!is_function && l_future_test(L, 1) == NULL)) {
        l_pushhook(L, rt, "careful_wait_for");
        lua_insert(L, 1);
        lua_callk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, return_all);
        return lua_gettop(L);
    }
    if (lua_gettop(L) > 2) lua_settop(L, 2);
    push_hidden(L, rt, seconds);
    lua_toclose(L, 3);
    if (!is_function) lua_pushvalue(L, lua_upvalueindex(2));
    lua_pushvalue(L, 1);
    lua_callk(L, !is_function, LUA_MULTRET, 3, return_all);
    return lua_gettop(L) - 3;
}

void l_timeout_open(lua_State *L, struct l_runtime *rt) {
    static const luaL_Reg methods[] = {{"when", timeout_when},
                                       {"expired", timeout_expired},
                                       {"reschedule", timeout_reschedule},
                                       {NULL, NULL}};
    static const luaL_Reg metamethods[] = {
        {"__close", timeout_close}, {"__tostring", timeout_tostring}, {NULL, NULL}};
    static const luaL_Reg hooks[] = {
        {"timeout", l_timeout_after}, {"timeout_at", l_timeout_at}, {NULL, NULL}};
    l_newtype(L, rt, L_TIMEOUT, "Timeout", methods);
    l_setfuncs(L, rt, metamethods);
    l_pushshared(L, rt, L_SHARED_HOOKS);
    l_setfuncs(L, rt, hooks);
    lua_pushlightuserdata(L, rt);
    lua_getfield(L, -2, "await");
    lua_pushcclosure(L, wait_for, 2);
    lua_setfield(L, -2, "wait_for");
    lua_pop(L, 2);
}
