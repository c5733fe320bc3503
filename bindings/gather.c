/* gather.c -- one future for many: it is settled when they are done.
 *
 * As asyncio.gather, hop by hop: a callback on each child, which runs in the turn after the
 * child's end, settles the outer future; cancelling that one cancels the children instead.
 *
 * The callback on a task is a handle inside the gather itself, which the loop anchors while
 * such a task is not done.  A plain future may never be, and then must not keep the gather
 * alive: it, and whatever stands on a loop with methods of its own, has an ordinary callback. */
#include "bindings/error.h"
#include "bindings/open.h"
#include "bindings/task.h"

#include <limits.h>

struct l_gather_child {
    struct handle handle; /* among the callbacks of the future */
    struct l_gather *gather;
    struct l_future *future;
};

struct l_gather {
    struct l_object object;
    struct l_loop *loop;
    struct l_future *outer;
    int slot;   /* its anchor, while `linked` is not 0 */
    int left;   /* futures that are not done, or whose callback has not run */
    int linked; /* of those, the ones with a handle of ours */
    int count;  /* of items */
    bool begun; /* all children are there: else one of them could not be made */
    bool return_exceptions, cancel_requested;
    struct l_gather_child children[]; /* one for each item, in use or not */
};

enum { GATHER_ITEMS = 1, GATHER_OUTER, GATHER_USERVALUES = GATHER_OUTER };

/* ---- the end ---- */

/* Pushes what the child at the index, which is done, comes to as a result.  As in asyncio,
 * only a plain future knows the message of its cancellation; a task's belongs to the first
 * one who awaits it. */
static void push_outcome(lua_State *L, int index, struct l_future *child) {
    if (child->state == L_CANCELLED) {
        l_future_push_cancel_message(L, index, child);
        l_error_new(L, child->rt, "CancelledError");
        return;
    }
    child->unretrieved = false;
    if (child->state == L_FINISHED && child->results == 0) {
        lua_pushnil(L);
        return;
    }
    l_future_getvalue(L, index, child);
    if (child->state == L_FINISHED && child->results > 1) {
        lua_rawgeti(L, -1, 1);
        lua_remove(L, -2);
    }
}

/* Turns the children in the table at the index, all done, into what they came to. */
static void into_results(lua_State *L, int items, int count) {
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, items, i);
        push_outcome(L, lua_gettop(L), lua_touserdata(L, -1));
        lua_rawseti(L, items, i);
        lua_pop(L, 1);
    }
}

/* Pushes the message that asyncio's gather is cancelled with when its last child was not. */
static void push_kept_message(lua_State *L, int index, struct l_future *last) {
    if (l_future_is_task(last)) {
        l_future_getextra(L, index, L_EXTRA_MESSAGE);
    } else {
        lua_pushnil(L);
    }
}

/* gather, the child that has ended -> the outer future is settled */
static int settle_outer(lua_State *L) {
    struct l_gather *gather = lua_touserdata(L, 1);
    struct l_future *child = lua_touserdata(L, 2), *outer = gather->outer;
    lua_getiuservalue(L, 1, GATHER_OUTER);
    lua_getiuservalue(L, 1, GATHER_ITEMS);
    if (!gather->return_exceptions && child->state != L_FINISHED) {
        l_future_copy_outcome(L, 3, outer, 2, child);
        return 0;
    }
    lua_rawgeti(L, 4, gather->count);
    struct l_future *last = lua_touserdata(L, 5);
    into_results(L, 4, gather->count);
    if (!gather->cancel_requested) {
        lua_pushvalue(L, 4);
        l_future_store_results(L, 3, outer, 1);
        l_future_settle(L, 3, outer, L_FINISHED);
    } else if (last->state == L_CANCELLED) {
        l_future_copy_outcome(L, 3, outer, 5, last);
    } else {
        push_kept_message(L, 5, last);
        l_error_new(L, outer->rt, "CancelledError");
        l_future_setvalue(L, 3, outer);
        l_future_settle(L, 3, outer, L_CANCELLED);
    }
    return 0;
}

/* Counts the child as done; whether that settles the outer future. */
static bool settles(struct l_gather *gather, struct l_future *child) {
    gather->left--;
    if (!gather->begun) return false;
    if (gather->outer->state != L_PENDING) {
        if (child->state == L_FAILED) child->unretrieved = false; /* nobody will ask */
        return false;
    }
    return gather->left == 0 || (!gather->return_exceptions && child->state != L_FINISHED);
}

/* In the loop's frame: the callback on a task. */
static void child_done(struct handle *handle) {
    struct l_gather_child *child = container_of(handle, struct l_gather_child, handle);
    struct l_gather *gather = child->gather;
    struct l_loop *loop = gather->loop;
    lua_State *L = loop->L;
    int top = lua_gettop(L);
    l_anchored(loop, gather->slot);
    if (--gather->linked == 0) l_unanchor(loop, gather->slot);
    if (settles(gather, child->future)) {
        lua_pushcfunction(L, settle_outer);
        lua_pushvalue(L, top + 1);
        lua_getiuservalue(L, top + 1, GATHER_ITEMS);
        lua_rawgeti(L, -1, (lua_Integer)(child - gather->children) + 1);
        lua_remove(L, -2);
        l_loop_call(loop, 2, "Exception in callback", NULL, 0);
    }
    lua_settop(L, top);
}

/* The callback on any other future. */
static int on_done(lua_State *L) {
    struct l_gather *gather = lua_touserdata(L, lua_upvalueindex(2));
    struct l_future *child = l_future_check(L, 1);
    if (!settles(gather, child)) return 0;
    lua_settop(L, 1);
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_insert(L, 1);
    return settle_outer(L);
}

/* What cancel() of the outer future does: outer, message -> whether it had an effect */
static int cancel_children(lua_State *L) {
    struct l_gather *gather = lua_touserdata(L, lua_upvalueindex(2));
    bool any = false;
    lua_settop(L, 2);
    lua_getiuservalue(L, lua_upvalueindex(2), GATHER_ITEMS);
    for (int i = 1; i <= gather->count; i++) {
        lua_rawgeti(L, 3, i);
        lua_pushvalue(L, 2);
        if (l_future_cancel(L, 4, l_future_check(L, 4))) any = true;
        lua_settop(L, 3);
    }
    if (any) gather->cancel_requested = true;
    lua_pushboolean(L, any);
    return 1;
}

static int gather_gc(lua_State *L) {
    struct l_gather *gather = l_check(L, 1, L_GATHER);
    for (int i = 0; i < gather->count; i++) {
        struct handle *handle = &gather->children[i].handle;
        if (handle_queued(handle)) handle_unlink(handle);
    }
    return 0;
}

/* ---- the beginning ---- */

/* The stack of l_gather, which begins with its arguments. */
enum { LOOP = 1, ITEMS, GATHER, OUTER, SEEN, CALLBACK, SIBLING, ITEM };

/* Makes a task of the item on top, which is no future, and puts it into its place. */
static void start(lua_State *L, struct l_loop *loop, int place) {
    if (lua_type(L, ITEM) == LUA_TFUNCTION && (loop->overrides & L_OVERRIDE_CREATE_TASK) == 0) {
        bool is_first = lua_isnil(L, SIBLING);
        struct l_task *task = l_task_create(L, loop, ITEM, is_first ? 1 : L_NO_CREATOR);
        if (is_first) {
            lua_pushvalue(L, ITEM);
            lua_replace(L, SIBLING);
        } else {
            l_task_copy_creator(L, task, SIBLING);
        }
    } else {
        l_pushhook(L, loop->rt, "ensure_future");
        lua_insert(L, ITEM);
        lua_pushvalue(L, LOOP);
        lua_insert(L, ITEM + 1);
        lua_call(L, 2, 1);
    }
    lua_pushvalue(L, ITEM);
    lua_rawseti(L, ITEMS, place);
}

/* Whether the future on top is new among the items. */
static bool is_new(lua_State *L) {
    if (lua_isnil(L, SEEN)) {
        lua_newtable(L);
        lua_replace(L, SEEN);
    }
    lua_pushvalue(L, ITEM);
    bool is_new = lua_rawget(L, SEEN) == LUA_TNIL;
    lua_pop(L, 1);
    if (!is_new) return false;
    lua_pushvalue(L, ITEM);
    lua_pushboolean(L, 1);
    lua_rawset(L, SEEN);
    return true;
}

/* Adds the gather's callback to the future on top. */
static void observe(lua_State *L, struct l_gather *gather, struct l_gather_child *child) {
    struct l_loop *loop = gather->loop;
    struct l_future *future = l_future_check(L, ITEM);
    gather->left++;
    if (l_future_is_task(future) && future->loop == loop && loop->overrides == 0) {
        if (gather->linked == 0) gather->slot = l_anchor(L, GATHER, LOOP, loop);
        *child = (struct l_gather_child){.gather = gather, .future = future};
        handle_init(&child->handle, child_done);
        gather->linked++;
        if (future->state == L_PENDING) {
            handle_push(&future->callbacks, &child->handle);
        } else {
            loop_call_soon(&loop->loop, &child->handle);
        }
        return;
    }
    if (lua_isnil(L, CALLBACK)) {
        lua_pushlightuserdata(L, loop->rt);
        lua_pushvalue(L, GATHER);
        lua_pushcclosure(L, on_done, 2);
        lua_replace(L, CALLBACK);
    }
    lua_getfield(L, ITEM, "add_done_callback");
    lua_pushvalue(L, ITEM);
    lua_pushvalue(L, CALLBACK);
    lua_call(L, 2, 0);
}

/* gather(loop, items, how many, return_exceptions) -> a future that ends when the items do,
 * with the table of what they came to: `items` itself.  They are functions, futures, or what
 * else can be awaited, and must have been checked. */
static int l_gather(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    struct l_loop *loop = l_loop_check_open(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_Integer count = luaL_checkinteger(L, 3);
    luaL_argcheck(L, count > 0 && count <= INT_MAX, 3, "must be positive");
    bool return_exceptions = lua_toboolean(L, 4);
    lua_settop(L, ITEMS);
    size_t size = sizeof(struct l_gather) + (size_t)count * sizeof(struct l_gather_child);
    struct l_gather *gather = l_newobject(L, rt, L_GATHER, size, GATHER_USERVALUES);
    gather->loop = loop;
    gather->return_exceptions = return_exceptions;
    gather->count = (int)count;
    lua_pushvalue(L, ITEMS);
    lua_setiuservalue(L, GATHER, GATHER_ITEMS);
    l_future_new(L, rt, LOOP, loop); /* as asyncio's, it is none of create_future's */
    gather->outer = l_future_check(L, OUTER);
    lua_pushvalue(L, OUTER);
    lua_setiuservalue(L, GATHER, GATHER_OUTER);
    lua_pushlightuserdata(L, rt);
    lua_pushvalue(L, GATHER);
    lua_pushcclosure(L, cancel_children, 2);
    l_future_setextra(L, OUTER, L_EXTRA_CANCEL);
    lua_settop(L, SIBLING);
    for (int i = 0; i < gather->count; i++) {
        lua_rawgeti(L, ITEMS, i + 1);
        bool is_observed = true;
        if (l_future_test(L, ITEM) == NULL) {
            start(L, loop, i + 1);
        } else {
            is_observed = is_new(L);
        }
        if (is_observed) observe(L, gather, &gather->children[i]);
        lua_settop(L, SIBLING);
    }
    gather->begun = true;
    lua_settop(L, OUTER);
    return 1;
}

/* first_unplain(loop, items, from, to) -> the place of the first item from there on that is
 * neither a function nor a future of the loop, or nil */
static int first_unplain(lua_State *L) {
    const struct l_loop *loop = l_loop_check(L, 1);
    lua_Integer to = luaL_checkinteger(L, 4);
    for (lua_Integer i = luaL_checkinteger(L, 3); i <= to; i++) {
        bool is_function = lua_rawgeti(L, 2, i) == LUA_TFUNCTION;
        const struct l_future *future = is_function ? NULL : l_future_test(L, -1);
        lua_pop(L, 1);
        if (is_function || (future != NULL && future->loop == loop)) continue;
        lua_pushinteger(L, i);
        return 1;
    }
    return 0;
}

void l_gather_open(lua_State *L, struct l_runtime *rt) {
    static const luaL_Reg none[] = {{NULL, NULL}};
    static const luaL_Reg hooks[] = {
        {"gather", l_gather}, {"first_unplain", first_unplain}, {NULL, NULL}};
    l_newtype(L, rt, L_GATHER, "gather", none);
    l_pushfunction(L, rt, gather_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    l_pushshared(L, rt, L_SHARED_HOOKS);
    l_setfuncs(L, rt, hooks);
    lua_pop(L, 1);
}
