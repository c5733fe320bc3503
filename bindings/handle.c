/* handle.c -- what a script schedules: functions with arguments, now, later, urgently.
 *
 * A handle is one userdata: the core's struct inside, the function and its arguments
 * as user values.  The loop anchors it from the moment it is scheduled until it has
 * run or is cancelled. */
#include "bindings/handle.h"

#include "bindings/call.h"
#include "bindings/context.h"
#include "bindings/inventory.h"
#include "bindings/task.h"
#include "bindings/wanted.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_ARGUMENTS = 60000 }; /* a userdata has less than 65536 user values */

static void handle_run(struct handle *core) {
    struct l_handle *handle = container_of(core, struct l_handle, timer.handle);
    struct l_loop *loop = handle->loop;
    lua_State *L = loop->L;
    int slot = handle->slot;
    bool is_last = handle->kind != L_SIGNAL;
    l_anchored(loop, slot);
    int self = lua_gettop(L);
    if (is_last) handle->loop = NULL;
    if (handle->arguments > L_FEW_ARGUMENTS) {
        lua_checkstack(L, handle->arguments + LUA_MINSTACK); /* held since l_handle_new */
    }
    int context = l_handle_context(handle);
    bool has_entered = l_context_enter(L, loop->rt, self, context);
    for (int i = 1; i <= handle->arguments + 1; i++) lua_getiuservalue(L, self, i);
    if (is_last && !has_entered) {
        l_loop_call_anchored(loop, handle->arguments, "handle", slot, true);
    } else {
        l_loop_call(loop, handle->arguments, "Exception in callback", "handle", self);
        if (has_entered) l_context_leave(L, loop->rt);
        if (!is_last && context != 0) lua_setiuservalue(L, self, context);
    }
    if (is_last) l_unanchor(loop, slot);
    lua_settop(L, self - 1);
}

struct l_handle *l_handle_of(struct handle *core) {
    return core->run == handle_run ? container_of(core, struct l_handle, timer.handle) : NULL;
}

static void check_callback_slowly(lua_State *L, int arg) {
    int type = lua_type(L, arg);
    if (type != LUA_TNIL && type != LUA_TNONE && luaL_getmetafield(L, arg, "__call") != LUA_TNIL) {
        lua_pop(L, 1);
        return;
    }
    l_type_error(L, arg, "function");
}

void l_check_callback(lua_State *L, int arg) {
    if (lua_type(L, arg) != LUA_TFUNCTION) check_callback_slowly(L, arg);
}

/* Whether a handle of this kind waits in a heap, for its time or by its priority. */
static bool has_node(enum l_handle_kind kind) {
    return kind == L_AT || kind == L_PRIORITY;
}

/* Leaves the new handle on top of the function, which is checked, and its arguments. */
static struct l_handle *push_handle(lua_State *L, struct l_runtime *rt, enum l_handle_kind kind,
                                    int first) {
    int arguments = lua_gettop(L) - first;
    if (arguments > L_FEW_ARGUMENTS) luaL_checkstack(L, LUA_MINSTACK, "too many arguments");
    if (arguments >= MAX_ARGUMENTS) luaL_error(L, "too many arguments");
    size_t size = has_node(kind) ? sizeof(struct l_handle) : offsetof(struct l_handle, timer.node);
    struct l_handle *handle = l_newobject(L, rt, kind == L_AT ? L_TIMER_HANDLE : L_HANDLE, size,
                                          arguments + 1 + rt->context_set);
    handle->has_context = l_context_keep(L, rt, arguments + 2);
    handle->kind = (unsigned char)kind;
    handle->arguments = arguments;
    handle_init(&handle->timer.handle, handle_run);
    if (has_node(kind)) timer_init(&handle->timer, handle_run);
    for (int i = 0; i <= arguments; i++) {
        lua_pushvalue(L, first + i);
        lua_setiuservalue(L, -2, i + 1);
    }
    l_inventory_place(L, rt);
    return handle;
}

struct l_handle *l_handle_new(lua_State *L, struct l_runtime *rt, enum l_handle_kind kind,
                              int first) {
    luaL_checkstack(L, LUA_MINSTACK, "too many arguments");
    l_check_callback(L, first);
    struct l_handle *handle = push_handle(L, rt, kind, first);
    lua_replace(L, first);
    lua_settop(L, first);
    return handle;
}

void l_handle_attach(lua_State *L, struct l_handle *handle, int loop_index, struct l_loop *loop) {
    handle->slot = l_anchor(L, -1, loop_index, loop);
    handle->loop = loop;
}

void l_handle_attach_briefly(lua_State *L, struct l_handle *handle, int loop_index,
                             struct l_loop *loop) {
    lua_pushvalue(L, -1);
    handle->slot = l_anchor_briefly(L, loop_index, loop);
    handle->loop = loop;
}

/* "script.lua:12" of the function at the index, for traces. */
static const char *where_defined(lua_State *L, int index, char *buffer, size_t size) {
    lua_Debug info;
    if (lua_type(L, index) != LUA_TFUNCTION) return "?";
    lua_pushvalue(L, index);
    lua_getinfo(L, ">S", &info);
    if (info.what[0] == 'C') return "[C]";
    snprintf(buffer, size, "%s:%d", info.short_src, info.linedefined);
    return buffer;
}

/* Records a call of the function at the index; a label says what `number` is. */
static void trace_call(lua_State *L, struct l_loop *loop, int index, const char *event,
                       const char *label, lua_Number number) {
    char place[LUA_IDSIZE + 16];
    if (!loop->loop.trace.on) return;
    const char *callback = where_defined(L, index, place, sizeof place);
    int64_t now_ns = loop_now(&loop->loop);
    if (label == NULL) {
        trace_add(&loop->loop.trace, now_ns, event, "callback=%s", callback);
    } else {
        trace_add(&loop->loop.trace, now_ns, event, "%s=%.14g, callback=%s", label, number,
                  callback);
    }
}

/* Whether call_soon's handle would be seen by nobody, and does not take what a call has not. */
static bool is_plain_call(lua_State *L, const struct l_loop *loop) {
    const struct l_runtime *rt = loop->rt;
    return lua_gettop(L) == 2 && lua_type(L, 2) == LUA_TFUNCTION && !l_result_wanted(L, rt) &&
           !rt->context_set && !rt->tracking && !loop->debug;
}

int l_loop_call_soon(lua_State *L) {
    struct l_loop *loop = l_loop_check_open(L, 1);
    bool is_plain = is_plain_call(L, loop);
    if (!is_plain) l_check_callback(L, 2);
    trace_call(L, loop, 2, "call_soon", NULL, 0);
    if (is_plain) {
        l_call_soon(L, loop);
        return 0;
    }
    struct l_handle *handle = push_handle(L, loop->rt, L_SOON, 2);
    l_handle_attach_briefly(L, handle, 1, loop);
    loop_call_soon(&loop->loop, &handle->timer.handle);
    return 1;
}

/* The loop could not take the handle, which it has anchored. */
static int no_memory(lua_State *L, struct l_handle *handle) {
    l_unanchor_anywhere(L, handle->loop, handle->slot);
    handle->loop = NULL;
    return luaL_error(L, "not enough memory");
}

static int call_at_ns(lua_State *L, struct l_loop *loop, int64_t when_ns) {
    struct l_handle *handle = push_handle(L, loop->rt, L_AT, 3);
    l_handle_attach(L, handle, 1, loop);
    if (!loop_call_at(&loop->loop, &handle->timer, when_ns)) return no_memory(L, handle);
    return 1;
}

int l_loop_call_at(lua_State *L) {
    struct l_loop *loop = l_loop_check_open(L, 1);
    int64_t when_ns = l_checkseconds(L, 2);
    l_check_callback(L, 3);
    trace_call(L, loop, 3, "call_at", "when", l_seconds(when_ns));
    return call_at_ns(L, loop, when_ns);
}

int l_loop_call_later(lua_State *L) {
    struct l_loop *loop = l_loop_check_open(L, 1);
    int64_t delay_ns = l_checkseconds(L, 2);
    l_check_callback(L, 3);
    trace_call(L, loop, 3, "call_later", "delay", l_seconds(delay_ns));
    if (loop->overrides & (L_OVERRIDE_CALL_AT | L_OVERRIDE_TIME)) {
        /* as asyncio: self.call_at(self.time() + delay, ...) */
        lua_getfield(L, 1, "time");
        lua_pushvalue(L, 1);
        lua_call(L, 1, 1);
        lua_Number now = luaL_checknumber(L, -1);
        lua_pop(L, 1);
        lua_pushnumber(L, now + l_seconds(delay_ns));
        lua_replace(L, 2);
        lua_getfield(L, 1, "call_at");
        lua_insert(L, 1);
        lua_call(L, lua_gettop(L) - 1, 1);
        return 1;
    }
    return call_at_ns(L, loop, loop_now(&loop->loop) + delay_ns);
}

/* Any number as an integer with the same order: the bits of an IEEE double, turned
 * round for the negative ones. */
int64_t l_priority_key(lua_Number priority) {
    int64_t bits;
    priority += 0.0; /* -0 becomes 0 */
    memcpy(&bits, &priority, sizeof bits);
    return bits < 0 ? INT64_MIN - bits : bits;
}

lua_Number l_checkpriority(lua_State *L, int arg) {
    lua_Number priority = luaL_checknumber(L, arg);
    luaL_argcheck(L, !isnan(priority), arg, "priority must not be NaN");
    return priority;
}

int l_loop_call_soon_with_priority(lua_State *L) {
    struct l_loop *loop = l_loop_check_open(L, 1);
    lua_Number priority = l_checkpriority(L, 2);
    l_check_callback(L, 3);
    trace_call(L, loop, 3, "call_soon_with_priority", "priority", priority);
    struct l_handle *handle = push_handle(L, loop->rt, L_PRIORITY, 3);
    l_handle_attach_briefly(L, handle, 1, loop);
    if (!loop_call_priority(&loop->loop, &handle->timer, l_priority_key(priority))) {
        return no_memory(L, handle);
    }
    return 1;
}

static struct l_handle *check_handle(lua_State *L) {
    struct l_handle *handle = l_test_either(L, 1, L_TIMER_HANDLE, L_HANDLE);
    return handle != NULL ? handle : l_check(L, 1, L_HANDLE);
}

/* Takes the handle out of its loop. */
static int handle_cancel(lua_State *L) {
    struct l_handle *handle = check_handle(L);
    struct l_loop *loop = handle->loop;
    if (handle->cancelled) return 0;
    handle->cancelled = true;
    for (int i = 1; i <= handle->arguments + 1 + handle->has_context; i++) {
        lua_pushnil(L);
        lua_setiuservalue(L, 1, i);
    }
    if (loop == NULL) return 0;
    if (handle->kind == L_PRIORITY) {
        loop_cancel_priority(&loop->loop, &handle->timer);
    } else if (handle->kind == L_AT) {
        loop_cancel_timer(&loop->loop, &handle->timer);
    } else if (handle_queued(&handle->timer.handle)) {
        handle_unlink(&handle->timer.handle);
    }
    handle->loop = NULL;
    l_unanchor_later(L, loop, handle->slot);
    return 0;
}

static int handle_cancelled(lua_State *L) {
    lua_pushboolean(L, check_handle(L)->cancelled);
    return 1;
}

static int timer_handle_when(lua_State *L) {
    struct l_handle *handle = l_check(L, 1, L_TIMER_HANDLE);
    lua_pushnumber(L, l_seconds(timer_deadline_ns(&handle->timer)));
    return 1;
}

static int handle_tostring(lua_State *L) {
    struct l_handle *handle = check_handle(L);
    const char *what = handle->kind == L_AT ? "TimerHandle" : "Handle";
    if (handle->cancelled) {
        lua_pushfstring(L, "<%s cancelled>", what);
    } else {
        char place[LUA_IDSIZE + 16];
        lua_getiuservalue(L, 1, 1);
        lua_pushfstring(L, "<%s %s%s>", what, where_defined(L, -1, place, sizeof place),
                        handle->loop == NULL ? " done" : "");
    }
    return 1;
}

/* handle_of(function): the handle of a call that has run without one; see call.h */
static int handle_of(lua_State *L) {
    lua_settop(L, 1);
    push_handle(L, l_runtime(L), L_SOON, 1);
    return 1;
}

void l_handle_open(lua_State *L, struct l_runtime *rt) {
    static const luaL_Reg methods[] = {
        {"cancel", handle_cancel}, {"cancelled", handle_cancelled}, {NULL, NULL}};
    static const luaL_Reg timer_methods[] = {{"cancel", handle_cancel},
                                             {"cancelled", handle_cancelled},
                                             {"when", timer_handle_when},
                                             {NULL, NULL}};
    l_newtype(L, rt, L_HANDLE, "Handle", methods);
    l_pushfunction(L, rt, handle_tostring);
    lua_setfield(L, -2, "__tostring");
    l_newtype(L, rt, L_TIMER_HANDLE, "TimerHandle", timer_methods);
    l_pushfunction(L, rt, handle_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pop(L, 2);
    l_pushshared(L, rt, L_SHARED_HOOKS);
    l_pushfunction(L, rt, handle_of);
    lua_setfield(L, -2, "handle_of");
    lua_pop(L, 1);
}
