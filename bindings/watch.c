/* watch.c -- add_reader, add_writer, add_signal_handler: the world calls a function. */
#include "bindings/context.h"
#include "bindings/handle.h"
#include "bindings/inventory.h"
#include "bindings/open.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void watch_run(struct handle *core) {
    struct l_watch *watch =
        container_of(container_of(core, struct watch, handle), struct l_watch, watch);
    struct l_loop *loop = watch->loop;
    lua_State *L = loop->L;
    l_anchored(loop, watch->slot);
    int self = lua_gettop(L);
    if (watch->arguments > L_FEW_ARGUMENTS) {
        lua_checkstack(L, watch->arguments + LUA_MINSTACK); /* held since add_watch */
    }
    int context = watch->has_context ? watch->arguments + 2 : 0;
    bool has_entered = l_context_enter(L, loop->rt, self, context);
    for (int i = 1; i <= watch->arguments + 1; i++) lua_getiuservalue(L, self, i);
    if (!has_entered) {
        l_loop_call_anchored(loop, watch->arguments, NULL, watch->slot, false);
    } else {
        l_loop_call(loop, watch->arguments, "Exception in callback", NULL, 0);
        l_context_leave(L, loop->rt);
        if (context != 0) lua_setiuservalue(L, self, context);
    }
    lua_settop(L, self - 1);
}

/* A descriptor: a number, a Lua file, or anything with a method fileno or getfd
 * (LuaSocket). */
int l_checkfd(lua_State *L, int arg) {
    if (lua_type(L, arg) == LUA_TNUMBER) { /* LuaSocket's are floats */
        lua_Integer fd = luaL_checkinteger(L, arg);
        luaL_argcheck(L, fd >= 0 && fd <= INT32_MAX, arg, "invalid file descriptor");
        return (int)fd;
    }
    luaL_Stream *file = luaL_testudata(L, arg, LUA_FILEHANDLE);
    if (file != NULL) {
        luaL_argcheck(L, file->closef != NULL, arg, "attempt to use a closed file");
        return fileno(file->f);
    }
    static const char *const methods[] = {"fileno", "getfd"};
    int type = lua_type(L, arg);
    for (int i = 0; i < 2 && (type == LUA_TUSERDATA || type == LUA_TTABLE); i++) {
        if (lua_getfield(L, arg, methods[i]) != LUA_TNIL) {
            lua_pushvalue(L, arg);
            lua_call(L, 1, 1);
            int is_number = 0;
            lua_Integer fd = lua_tointegerx(L, -1, &is_number);
            luaL_argcheck(L, is_number && fd >= 0 && fd <= INT32_MAX, arg,
                          "invalid file descriptor");
            lua_pop(L, 1);
            return (int)fd;
        }
        lua_pop(L, 1);
    }
    return l_type_error(L, arg, "file descriptor");
}

/* Stops the watch and lets go of it; the loop is at index 1. */
static void drop_watch(lua_State *L, struct l_loop *loop, struct l_watch *watch) {
    if (handle_queued(&watch->watch.handle)) handle_unlink(&watch->watch.handle);
    poller_stop(&loop->loop.poller, &watch->watch);
    l_unanchor_anywhere(L, loop, watch->slot);
    if (watch->owner == NULL) loop->loop.outstanding--;
}

static struct l_watch *find_watch(struct l_loop *loop, int fd, enum poll_direction direction) {
    struct watch *found = poller_find(&loop->loop.poller, fd, direction);
    if (found == NULL || found->handle.run != watch_run) return NULL;
    return container_of(found, struct l_watch, watch);
}

static int add_watch(lua_State *L, enum poll_direction direction, const char *event) {
    struct l_loop *loop = l_loop_check_open(L, 1);
    int fd = l_checkfd(L, 2);
    l_check_callback(L, 3);
    int arguments = lua_gettop(L) - 3;
    luaL_checkstack(L, LUA_MINSTACK, "too many arguments");
    luaL_argcheck(L, arguments < 60000, 4, "too many arguments");
    struct l_runtime *rt = loop->rt;
    struct l_watch *watch =
        l_newobject(L, rt, L_WATCH, sizeof *watch, arguments + 1 + rt->context_set);
    watch->has_context = l_context_keep(L, rt, arguments + 2);
    l_inventory_place(L, rt);
    lua_insert(L, 3);
    for (int i = arguments + 1; i >= 1; i--) lua_setiuservalue(L, 3, i);
    watch->loop = loop;
    watch->arguments = arguments;
    watch_init(&watch->watch, watch_run);
    watch->slot = l_anchor(L, -1, 1, loop);
    struct l_watch *old = find_watch(loop, fd, direction);
    if (old != NULL) drop_watch(L, loop, old);
    int result = poller_start(&loop->loop.poller, &watch->watch, fd, direction);
    if (result < 0) {
        l_unanchor_anywhere(L, loop, watch->slot);
        const char *what =
            result == -EEXIST ? "in use by a stream, server or the like" : strerror(-result);
        return luaL_argerror(L, 2, lua_pushfstring(L, "%s (descriptor %d)", what, fd));
    }
    loop->loop.outstanding++;
    if (loop->loop.trace.on) {
        trace_add(&loop->loop.trace, loop_now(&loop->loop), event, "fd=%d", fd);
    }
    return 0;
}

static int remove_watch(lua_State *L, enum poll_direction direction, const char *event) {
    struct l_loop *loop = l_loop_check(L, 1);
    int fd = l_checkfd(L, 2);
    struct l_watch *watch = find_watch(loop, fd, direction);
    if (watch != NULL) drop_watch(L, loop, watch);
    if (loop->loop.trace.on) {
        trace_add(&loop->loop.trace, loop_now(&loop->loop), event, "fd=%d", fd);
    }
    lua_pushboolean(L, watch != NULL);
    return 1;
}

int l_loop_add_reader(lua_State *L) {
    return add_watch(L, POLL_READ, "add_reader");
}

int l_loop_add_writer(lua_State *L) {
    return add_watch(L, POLL_WRITE, "add_writer");
}

int l_loop_remove_reader(lua_State *L) {
    return remove_watch(L, POLL_READ, "remove_reader");
}

int l_loop_remove_writer(lua_State *L) {
    return remove_watch(L, POLL_WRITE, "remove_writer");
}

/* ---- descriptors of the runtime, on loops with an add_reader or add_writer of the script's ---- */

/* The upvalues of watch_is_ready, behind the runtime. */
enum { OWNER = 2, WATCH, DESCRIPTOR, DIRECTION, ITS_LOOP };

/* What add_reader is given: it counts once. */
static int watch_is_ready(lua_State *L) {
    struct watch *watch = lua_touserdata(L, lua_upvalueindex(WATCH));
    struct l_loop *loop = lua_touserdata(L, lua_upvalueindex(ITS_LOOP));
    int fd = (int)lua_tointeger(L, lua_upvalueindex(DESCRIPTOR));
    enum poll_direction direction =
        (enum poll_direction)lua_tointeger(L, lua_upvalueindex(DIRECTION));
    if (l_runtime(L)->running != loop) return 0;
    struct l_watch *by_method = find_watch(loop, fd, direction);
    if (by_method != NULL && by_method->owner == watch) drop_watch(L, loop, by_method);
    watch->edges |= direction == POLL_READ ? EDGE_READ | EDGE_END : EDGE_WRITE; /* maybe an end */
    if (!handle_queued(&watch->handle)) loop_call_soon(&loop->loop, &watch->handle);
    return 0;
}

bool l_watch_by_method(lua_State *L, struct l_loop *loop, int owner, struct watch *watch, int fd,
                       enum poll_direction direction) {
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    owner = lua_absindex(L, owner);
    l_loop_push(L, loop);
    lua_getfield(L, -1, direction == POLL_READ ? "add_reader" : "add_writer");
    lua_insert(L, -2);
    lua_pushinteger(L, fd);
    lua_pushlightuserdata(L, loop->rt);
    lua_pushvalue(L, owner);
    lua_pushlightuserdata(L, watch);
    lua_pushinteger(L, fd);
    lua_pushinteger(L, direction);
    lua_pushlightuserdata(L, loop);
    lua_pushcclosure(L, watch_is_ready, ITS_LOOP);
    if (lua_pcall(L, 3, 0, 0) != LUA_OK) return false;
    struct l_watch *by_method = find_watch(loop, fd, direction);
    if (by_method != NULL && by_method->owner == NULL) {
        by_method->owner = watch;
        loop->loop.outstanding--;
    }
    return true;
}

static void unwatch_by_method(lua_State *L, struct l_loop *loop, int fd) {
    static const enum poll_direction directions[] = {POLL_READ, POLL_WRITE};
    for (int i = 0; i < 2; i++) {
        struct l_watch *watch = find_watch(loop, fd, directions[i]);
        if (watch != NULL) drop_watch(L, loop, watch);
    }
}

void l_unwatch(lua_State *L, struct l_loop *loop, struct watch *watch, int fd, bool by_method) {
    if (by_method && !loop->closed) unwatch_by_method(L, loop, fd);
    if (watch_started(watch)) poller_stop(&loop->loop.poller, watch);
    if (handle_queued(&watch->handle)) handle_unlink(&watch->handle);
}

/* ---- signals ---- */

int l_checksignal(lua_State *L, int arg) {
    if (lua_isinteger(L, arg)) {
        lua_Integer number = lua_tointeger(L, arg);
        luaL_argcheck(L, number > 0 && number < SIGNAL_LIMIT, arg, "no such signal");
        return (int)number;
    }
    const char *name = luaL_checkstring(L, arg);
    for (int signal = 1; signal < SIGNAL_LIMIT; signal++) {
        const char *abbreviation = sigabbrev_np(signal);
        if (abbreviation != NULL && strncmp(name, "SIG", 3) == 0 &&
            strcmp(name + 3, abbreviation) == 0) {
            return signal;
        }
    }
    return luaL_argerror(L, arg, lua_pushfstring(L, "no such signal: %s", name));
}

void l_add_blocked_signals(lua_State *L, struct l_runtime *rt, sigset_t *set) {
    l_pushshared(L, rt, L_SHARED_LOOPS);
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        const struct l_loop *loop = lua_touserdata(L, -1);
        if (!loop->closed) signals_add_blocked(&loop->loop.signals, set);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

int l_loop_add_signal_handler(lua_State *L) {
    struct l_loop *loop = l_loop_check_open(L, 1);
    int signal = l_checksignal(L, 2);
    struct l_handle *handle = l_handle_new(L, l_runtime(L), L_SIGNAL, 3);
    l_handle_attach(L, handle, 1, loop);
    struct handle *old = loop->loop.signals.handles[signal];
    int result = signals_start(&loop->loop.signals, signal, &handle->timer.handle);
    if (result < 0) {
        handle->loop = NULL;
        l_unanchor_anywhere(L, loop, handle->slot);
        return luaL_argerror(L, 2, lua_pushfstring(L, "%s (signal %d)", strerror(-result), signal));
    }
    if (old != NULL) l_unanchor_anywhere(L, loop, l_handle_of(old)->slot);
    return 0;
}

int l_loop_remove_signal_handler(lua_State *L) {
    struct l_loop *loop = l_loop_check(L, 1);
    struct handle *old = signals_stop(&loop->loop.signals, l_checksignal(L, 2));
    if (old != NULL) l_unanchor_anywhere(L, loop, l_handle_of(old)->slot);
    lua_pushboolean(L, old != NULL);
    return 1;
}

void l_watch_open(lua_State *L, struct l_runtime *rt) {
    static const luaL_Reg none[] = {{NULL, NULL}};
    l_newtype(L, rt, L_WATCH, "Watch", none);
    lua_pop(L, 1);
}
