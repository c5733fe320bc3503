/* inventory.c -- lists what is there.  Two tables: the places of objects, by object and
 * weakly; and what holds a descriptor or a child, by its address. */
#include "bindings/inventory.h"

#include "bindings/handle.h"
#include "bindings/stream.h"
#include "bindings/task.h"
#include "bindings/worker.h"

#include <string.h>

/* ---- places ---- */

/* Pushes "file:line" of the innermost function of a script that runs, in the coroutine or,
 * if all of that is ours, in its task; in a task of which all is ours, where that was
 * created; or nil. */
static void push_place(lua_State *L, struct l_runtime *rt) {
    if (l_push_script_line(L, L)) return;
    if (rt->current != NULL && l_push_script_line(L, rt->current->coroutine)) return;
    if (rt->current == NULL || rt->current == rt->main) {
        lua_pushnil(L);
        return;
    }
    l_task_push(L, rt->current);
    l_task_pushcreated(L, -1, rt->current);
    lua_remove(L, -2);
}

void l_inventory_note(lua_State *L, struct l_runtime *rt) {
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    l_pushshared(L, rt, L_SHARED_PLACES);
    lua_pushvalue(L, -2);
    push_place(L, rt);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

/* place_of(object) -> "file:line", or nil */
static int place_of(lua_State *L) {
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    l_pushshared(L, l_runtime(L), L_SHARED_PLACES);
    lua_insert(L, 1);
    if (lua_rawget(L, 1) == LUA_TSTRING) return 1;
    return 0;
}

void l_inventory_warn_collected(lua_State *L, const char *what) {
    lua_warning(L, "loophost: ", 1);
    lua_warning(L, what, 1);
    lua_warning(L, " was collected without being closed; opened at ", 1);
    lua_warning(L, lua_isstring(L, -1) ? lua_tostring(L, -1) : "?", 0);
    lua_pop(L, 1);
}

/* ---- the list ---- */

enum { ENTRY_OBJECT = 1, ENTRY_KIND, ENTRY_PLACE, ENTRY_NUMBER };

void l_inventory_list(lua_State *L, struct l_runtime *rt, const char *kind, int place) {
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    if (place != 0) place = lua_absindex(L, place);
    int object = lua_gettop(L);
    l_pushshared(L, rt, L_SHARED_LISTED);
    lua_createtable(L, 4, 0);
    lua_pushvalue(L, object);
    lua_rawseti(L, -2, ENTRY_OBJECT);
    lua_pushstring(L, kind);
    lua_rawseti(L, -2, ENTRY_KIND);
    if (place != 0 && lua_type(L, place) == LUA_TSTRING) {
        lua_pushvalue(L, place);
    } else {
        push_place(L, rt);
    }
    lua_rawseti(L, -2, ENTRY_PLACE);
    lua_pushinteger(L, ++rt->listed);
    lua_rawseti(L, -2, ENTRY_NUMBER);
    lua_rawsetp(L, -2, lua_topointer(L, object));
    lua_settop(L, object);
}

void l_inventory_unlist(lua_State *L, struct l_runtime *rt, const void *object) {
    if (!lua_checkstack(L, 4)) return;
    l_pushshared(L, rt, L_SHARED_LISTED);
    if (lua_rawgetp(L, -1, object) != LUA_TNIL) {
        lua_pushnil(L);
        lua_rawsetp(L, -3, object);
    }
    lua_pop(L, 2);
}

/* list_object(object, kind, place or nil), unlist_object(object): as the two above, for
 * objects that are made in Lua */
static int list_object(lua_State *L) {
    luaL_checkany(L, 1);
    const char *kind = luaL_checkstring(L, 2);
    lua_settop(L, 3);
    lua_pushvalue(L, 1);
    l_inventory_add(L, l_runtime(L), kind, lua_isnil(L, 3) ? 0 : 3);
    return 0;
}

static int unlist_object(lua_State *L) {
    l_inventory_remove(L, l_runtime(L), lua_topointer(L, 1));
    return 0;
}

/* track(boolean) -> whether it was on; off, it forgets everything */
static int track(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    bool was_on = rt->tracking;
    rt->tracking = lua_toboolean(L, 1);
    if (!rt->tracking) {
        l_pushshared(L, rt, L_SHARED_LISTED);
        lua_pushnil(L);
        while (lua_next(L, -2) != 0) {
            lua_pop(L, 1);
            lua_pushvalue(L, -1);
            lua_pushnil(L);
            lua_rawset(L, -4); /* clearing a field while going through is allowed */
        }
    }
    lua_pushboolean(L, was_on);
    return 1;
}

/* ---- the inventory ---- */

static void set_field(lua_State *L, int entry, const char *name) {
    lua_setfield(L, entry, name); /* the value is on top */
}

/* Describes what is in a slot of a loop: fills in kind and detail, and returns true; or
 * false if it is nothing that a test could leave behind. */
static bool describe_slot(lua_State *L, struct l_loop *loop, int object, int entry) {
    const char *kind;
    struct l_task *task = l_test(L, object, L_TASK);
    struct l_handle *timer = l_test(L, object, L_TIMER_HANDLE);
    struct l_handle *handle = l_test(L, object, L_HANDLE);
    struct l_watch *watch = l_test(L, object, L_WATCH);
    bool is_server = l_test(L, object, L_LISTENER) != NULL;
    bool is_child = l_test(L, object, L_PROCESS) != NULL;
    if (handle == NULL) handle = timer;
    if (handle != NULL && handle->loop == NULL) return false; /* a stale slot */
    if (task != NULL) {
        kind = "task";
        l_task_pushname(L, object, task);
        lua_pushfstring(L, "'%s'", lua_tostring(L, -1));
        set_field(L, entry, "detail");
        lua_pop(L, 1);
    } else if (timer != NULL) {
        kind = "timer";
    } else if (handle != NULL && handle->kind == L_SIGNAL) {
        kind = "signal handler";
        for (int number = 1; number < SIGNAL_LIMIT; number++) {
            if (loop->loop.signals.handles[number] != &handle->timer.handle) continue;
            const char *name = sigabbrev_np(number);
            lua_pushinteger(L, number);
            set_field(L, entry, "signal");
            if (name != NULL) {
                lua_pushfstring(L, "SIG%s", name);
            } else {
                lua_pushinteger(L, number);
            }
            set_field(L, entry, "detail");
        }
    } else if (handle != NULL) {
        kind = "callback";
    } else if (is_server || is_child) {
        kind = is_server ? "server" : "child process";
        luaL_tolstring(L, object, NULL); /* of a server: Lua says more */
        set_field(L, entry, "detail");
    } else if (watch != NULL) {
        bool reads = watch->watch.direction == POLL_READ;
        kind = reads ? "reader" : "writer";
        lua_pushinteger(L, watch->watch.fd);
        set_field(L, entry, "fd");
        lua_pushfstring(L, "of descriptor %d", watch->watch.fd);
        set_field(L, entry, "detail");
    } else {
        return false;
    }
    lua_pushstring(L, kind);
    set_field(L, entry, "kind");
    return true;
}

/* Adds what the loop at the index has to the list at `list`. */
static void add_loop(lua_State *L, int loop_index, int list) {
    struct l_loop *loop = lua_touserdata(L, loop_index);
    if (loop->closed) return;
    lua_getiuservalue(L, loop_index, L_LOOP_ANCHORS);
    int anchors = lua_gettop(L);
    for (int slot = 0; l_next_anchored(L, anchors, loop, &slot);) {
        if (lua_type(L, -1) == LUA_TUSERDATA) {
            lua_createtable(L, 0, 4);
            int entry = lua_gettop(L);
            if (describe_slot(L, loop, entry - 1, entry)) {
                lua_pushvalue(L, entry - 1);
                set_field(L, entry, "object");
                lua_pushvalue(L, loop_index);
                set_field(L, entry, "loop");
                lua_rawseti(L, list, luaL_len(L, list) + 1);
            }
        }
        lua_settop(L, anchors);
    }
    lua_settop(L, anchors - 1);
}

/* A child's pipe that was read to its end: it goes with the process object. */
static bool is_excused(lua_State *L, int index) {
    const struct l_stream *stream = l_test(L, index, L_STREAM);
    return stream != NULL && stream->quiet && stream->eof;
}

static void add_listed(lua_State *L, struct l_runtime *rt, int list) {
    l_pushshared(L, rt, L_SHARED_LISTED);
    int listed = lua_gettop(L);
    lua_pushnil(L);
    while (lua_next(L, listed) != 0) {
        int from = lua_gettop(L);
        lua_createtable(L, 0, 4);
        lua_rawgeti(L, from, ENTRY_OBJECT);
        if (!is_excused(L, -1)) {
            set_field(L, from + 1, "object");
            lua_rawgeti(L, from, ENTRY_KIND);
            set_field(L, from + 1, "kind");
            lua_rawgeti(L, from, ENTRY_PLACE);
            set_field(L, from + 1, "place");
            lua_rawgeti(L, from, ENTRY_NUMBER);
            set_field(L, from + 1, "number");
            lua_rawseti(L, list, luaL_len(L, list) + 1);
        }
        lua_settop(L, from - 1);
    }
    lua_settop(L, listed - 1);
}

/* Whether a thread is at work on a call that nobody waits for any more. */
static bool is_abandoned(const struct l_worker *worker) {
    if (!l_job_under_way(&worker->job) || worker->job.waiter != NULL) return false;
    struct threadpool *pool = worker->rt->pools[L_POOL_WORKERS];
    return pool != NULL && threadpool_state(pool, &worker->job.job) != THREADPOOL_DONE;
}

static void add_calls(lua_State *L, struct l_runtime *rt, int list) {
    for (struct l_worker *worker = rt->workers; worker != NULL; worker = worker->next) {
        if (!is_abandoned(worker)) continue;
        lua_createtable(L, 0, 4);
        int entry = lua_gettop(L);
        lua_pushlightuserdata(L, worker);
        set_field(L, entry, "object");
        lua_pushliteral(L, "call in a thread");
        set_field(L, entry, "kind");
        lua_pushinteger(L, worker->calls);
        set_field(L, entry, "number");
        if (worker->job.loop != NULL) {
            l_loop_push(L, worker->job.loop);
            set_field(L, entry, "loop");
        }
        lua_rawseti(L, list, luaL_len(L, list) + 1);
    }
}

/* inventory() -> list of { kind, object, detail, loop, fd, signal, place, number }: of all
 * loops, what is listed, in no order but with its number, and what threads do for nobody */
static int inventory(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    lua_settop(L, 0);
    lua_newtable(L);
    l_pushshared(L, rt, L_SHARED_LOOPS);
    lua_pushnil(L);
    while (lua_next(L, 2) != 0) {
        add_loop(L, 4, 1);
        lua_settop(L, 3);
    }
    add_listed(L, rt, 1);
    add_calls(L, rt, 1);
    lua_settop(L, 1);
    return 1;
}

void l_inventory_open(lua_State *L, struct l_runtime *rt) {
    static const luaL_Reg hooks[] = {{"track", track},
                                     {"place_of", place_of},
                                     {"list_object", list_object},
                                     {"unlist_object", unlist_object},
                                     {"inventory", inventory},
                                     {NULL, NULL}};
    l_pushshared(L, rt, L_SHARED_HOOKS);
    l_setfuncs(L, rt, hooks);
    l_pushshared(L, rt, L_SHARED_PLACES);
    lua_newtable(L);
    lua_pushliteral(L, "k");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_pop(L, 2);
}
