/* future.c -- results that come later, and whom they wake.
 *
 * A future's callbacks are a queue of the core's handles: a waiting task's own step, or
 * a handle for each function.  Settling the future moves the whole queue to the loop's
 * ready queue in its order, as asyncio's call_soon for each callback does. */
#include "bindings/future.h"

#include "bindings/context.h"
#include "bindings/error.h"
#include "bindings/handle.h"
#include "bindings/inventory.h"
#include "bindings/task.h"

/* ---- access ---- */

struct l_future *l_future_check(lua_State *L, int index) {
    struct l_future *future = l_future_test(L, index);
    if (future == NULL) l_type_error(L, index, "Future");
    return future;
}

void l_future_init(lua_State *L, struct l_future *future, int loop_index, struct l_loop *loop) {
    future->loop = loop;
    future->rt = loop->rt;
    handle_queue_init(&future->callbacks);
    lua_pushvalue(L, loop_index);
    lua_setiuservalue(L, -2, L_FUTURE_LOOP);
}

struct l_future *l_future_new(lua_State *L, struct l_runtime *rt, int loop_index,
                              struct l_loop *loop) {
    loop_index = lua_absindex(L, loop_index);
    struct l_future *future = l_newobject(L, rt, L_FUTURE, sizeof *future, L_FUTURE_USERVALUES);
    l_inventory_place(L, rt);
    l_future_init(L, future, loop_index, loop);
    return future;
}

void l_future_getextra(lua_State *L, int index, enum l_future_extra key) {
    const struct l_future *future = lua_touserdata(L, index);
    if (!future->has_extras) {
        lua_pushnil(L);
        return;
    }
    lua_getiuservalue(L, index, L_FUTURE_VALUE);
    lua_rawgeti(L, -1, (lua_Integer)key);
    lua_remove(L, -2);
}

/* All keys have a slot in the table's array part: setting one cannot fail. */
static void make_extras(lua_State *L, int index, struct l_future *future) {
    lua_createtable(L, L_EXTRA_COUNT, 0);
    lua_getiuservalue(L, index, L_FUTURE_VALUE);
    lua_rawseti(L, -2, L_EXTRA_VALUE);
    lua_setiuservalue(L, index, L_FUTURE_VALUE);
    future->has_extras = true;
}

void l_future_setextra(lua_State *L, int index, enum l_future_extra key) {
    struct l_future *future = lua_touserdata(L, index);
    index = lua_absindex(L, index);
    if (!future->has_extras) {
        if (lua_isnil(L, -1)) {
            lua_pop(L, 1);
            return;
        }
        make_extras(L, index, future);
    }
    lua_getiuservalue(L, index, L_FUTURE_VALUE);
    lua_insert(L, -2);
    lua_rawseti(L, -2, (lua_Integer)key);
    lua_pop(L, 1);
}

void l_future_getvalue(lua_State *L, int index, const struct l_future *future) {
    if (future->has_extras) {
        l_future_getextra(L, index, L_EXTRA_VALUE);
    } else {
        lua_getiuservalue(L, index, L_FUTURE_VALUE);
    }
}

void l_future_setvalue(lua_State *L, int index, const struct l_future *future) {
    if (future->has_extras) {
        l_future_setextra(L, index, L_EXTRA_VALUE);
    } else {
        lua_setiuservalue(L, index, L_FUTURE_VALUE);
    }
}

/* ---- settling ---- */

/* Has the loop anchor each function that waits for the future at the index. */
static void anchor_functions(lua_State *L, int index, struct l_future *future) {
    if (future->functions == 0) return;
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    l_future_getextra(L, index, L_EXTRA_CALLBACKS);
    int list = lua_gettop(L);
    lua_getiuservalue(L, index, L_FUTURE_LOOP);
    for (lua_Integer i = 1; lua_rawgeti(L, list, i) != LUA_TNIL; i++) {
        struct l_handle *handle = lua_touserdata(L, -1);
        bool is_anchored = handle->loop != NULL; /* before memory ran out for another */
        if (!is_anchored) l_handle_attach_briefly(L, handle, list + 1, future->loop);
        lua_pop(L, 1);
    }
    lua_settop(L, list - 1);
    future->functions = 0;
    lua_pushnil(L);
    l_future_setextra(L, index, L_EXTRA_CALLBACKS);
}

/* Leaves the former context on the stack, if contexts are in use, and makes that of the handle at
 * the index the current one; whether they are. */
static bool enter_context_of(lua_State *L, struct l_runtime *rt, int index) {
    const struct l_handle *handle = lua_touserdata(L, index);
    if (!rt->context_set) return false;
    l_context_push(L, rt);
    l_context_push_kept(L, index, l_handle_context(handle));
    l_context_set(L, rt);
    return true;
}

/* The same for one function, the i-th of the list, on a loop with a call_soon of its own: which
 * takes the function's context from where it is called. */
static void call_soon_by_method(lua_State *L, struct l_future *future, int index, int list,
                                lua_Integer i) {
    lua_rawgeti(L, list, i);
    bool has_entered = enter_context_of(L, future->rt, list + 1);
    int former = lua_gettop(L);
    lua_getiuservalue(L, index, L_FUTURE_LOOP);
    lua_getfield(L, -1, "call_soon");
    lua_insert(L, -2);
    lua_getiuservalue(L, list + 1, 1);
    lua_pushvalue(L, index);
    int status = lua_pcall(L, 3, 0, 0);
    if (has_entered) {
        lua_pushvalue(L, former);
        l_context_set(L, future->rt);
    }
    if (status != LUA_OK) lua_error(L);
    lua_settop(L, list);
}

void l_future_settle(lua_State *L, int index, struct l_future *future, enum l_future_state state) {
    struct handle *callback;
    lua_Integer called = 0;
    int list = 0; /* of the functions, if they go through the loop's own call_soon */
    index = lua_absindex(L, index);
    if (future->functions > 0 && (future->loop->overrides & L_OVERRIDE_CALL_SOON)) {
        luaL_checkstack(L, LUA_MINSTACK, NULL);
        l_future_getextra(L, index, L_EXTRA_CALLBACKS);
        list = lua_gettop(L);
        future->functions = 0;
    } else if (future->functions > 0 && future->loop->closed) {
        future->state = state; /* as in asyncio, the future is done all the same */
        luaL_error(L, "Event loop is closed");
    } else {
        anchor_functions(L, index, future);
    }
    future->state = state;
    while ((callback = handle_pop(&future->callbacks)) != NULL) {
        struct l_task *task = l_task_of(callback);
        if (task != NULL) {
            l_task_wake(L, task);
        } else if (list != 0 && l_handle_of(callback) != NULL) {
            call_soon_by_method(L, future, index, list, ++called);
        } else {
            loop_call_soon(&future->loop->loop, callback);
        }
    }
    if (list != 0) lua_settop(L, list - 1);
}

void l_future_settle_anyway(lua_State *L, struct l_future *future, enum l_future_state state) {
    struct handle *callback = future->callbacks.head.next;
    while (callback != &future->callbacks.head) {
        struct l_handle *function = l_handle_of(callback);
        callback = callback->next;
        if (function == NULL) continue;
        handle_unlink(&function->timer.handle);
        if (function->loop != NULL) l_unanchor_anywhere(L, function->loop, function->slot);
        function->loop = NULL;
    }
    future->functions = 0;
    l_future_settle(L, 0, future, state);
}

/* The error that the future at the index failed with will be reported, unless somebody
 * looks at it while there is a future to ask. */
void l_future_guard(lua_State *L, int index, struct l_future *future) {
    index = lua_absindex(L, index);
    future->unretrieved = true;
    l_pushhook(L, future->rt, "guard");
    lua_pushvalue(L, index);
    lua_call(L, 1, 1);
    l_future_setextra(L, index, L_EXTRA_GUARD);
}

static void retrieve(struct l_future *future) {
    future->unretrieved = false;
}

/* The value on top becomes the results: the n values on top of the stack. */
static void store_results(lua_State *L, int index, struct l_future *future, int n) {
    future->results = (unsigned)n & L_FUTURE_MOST_RESULTS;
    if (n > 1) {
        lua_createtable(L, n, 0);
        lua_insert(L, -n - 1);
        for (int i = n; i >= 1; i--) lua_rawseti(L, -i - 1, i);
    }
    if (n == 0) lua_pushnil(L);
    l_future_setvalue(L, index, future);
}

void l_future_store_results(lua_State *L, int index, struct l_future *future, int n) {
    store_results(L, lua_absindex(L, index), future, n);
}

/* ---- reading ---- */

/* Pushes the CancelledError of the cancelled future: the one that ended the task, or a new
 * one with the message that cancel() was given.  As in CPython 3.11, the error that ended
 * a task is for the first who asks; those after get one without message. */
void l_future_pushcancelled(lua_State *L, int index, struct l_future *future) {
    struct l_runtime *rt = future->rt;
    index = lua_absindex(L, index);
    l_future_getvalue(L, index, future);
    bool is_error = l_is_cancelled(L, rt, -1);
    if (is_error || (l_future_is_task(future) && ((struct l_task *)future)->unbegun)) {
        lua_pushnil(L);
        l_future_setvalue(L, index, future);
    }
    if (!is_error) l_error_new(L, rt, "CancelledError");
}

int l_future_results(lua_State *L, int index, struct l_future *future) {
    index = lua_absindex(L, index);
    switch (future->state) {
    case L_PENDING: return l_error_raise(L, future->rt, "InvalidStateError", "Result is not set.");
    case L_CANCELLED: l_future_pushcancelled(L, index, future); return lua_error(L);
    case L_FAILED:
        retrieve(future);
        l_future_getvalue(L, index, future);
        l_keep_cause(L, future->rt, index);
        return lua_error(L);
    case L_FINISHED: break;
    }
    if (future->results == 0) return 0;
    l_future_getvalue(L, index, future);
    if (future->results == 1) return 1;
    int list = lua_gettop(L);
    int count = (int)future->results;
    luaL_checkstack(L, count, "too many results");
    for (int i = 1; i <= count; i++) lua_rawgeti(L, list, i);
    return count;
}

static int future_result(lua_State *L) {
    struct l_future *future = l_future_check(L, 1);
    return l_future_results(L, 1, future);
}

static int future_exception(lua_State *L) {
    struct l_future *future = l_future_check(L, 1);
    switch (future->state) {
    case L_PENDING:
        return l_error_raise(L, l_runtime(L), "InvalidStateError", "Exception is not set.");
    case L_CANCELLED: l_future_pushcancelled(L, 1, future); return lua_error(L);
    case L_FINISHED: lua_pushnil(L); return 1;
    case L_FAILED: break;
    }
    retrieve(future);
    l_future_getvalue(L, 1, future);
    return 1;
}

static int future_done(lua_State *L) {
    lua_pushboolean(L, l_future_check(L, 1)->state != L_PENDING);
    return 1;
}

static int future_cancelled(lua_State *L) {
    lua_pushboolean(L, l_future_check(L, 1)->state == L_CANCELLED);
    return 1;
}

static int future_get_loop(lua_State *L) {
    l_future_check(L, 1);
    lua_getiuservalue(L, 1, L_FUTURE_LOOP);
    return 1;
}

/* failed(future): whether it ended in an error; looking does not count as retrieving */
static int future_failed(lua_State *L) {
    lua_pushboolean(L, l_future_check(L, 1)->state == L_FAILED);
    return 1;
}

/* unretrieved(future) -> whether nobody has looked at its error yet; and the error */
static int future_unretrieved(lua_State *L) {
    struct l_future *future = l_future_check(L, 1);
    lua_pushboolean(L, future->unretrieved);
    l_future_getvalue(L, 1, future);
    retrieve(future);
    return 2;
}

/* ---- writing ---- */

static struct l_future *check_pending(lua_State *L) {
    struct l_future *future = l_future_check(L, 1);
    if (future->state != L_PENDING) {
        l_error_raise(L, l_runtime(L), "InvalidStateError", "invalid state");
    }
    return future;
}

static void check_not_task(lua_State *L, const char *what) {
    if (l_test(L, 1, L_TASK) != NULL) {
        luaL_error(L, "Task does not support %s operation", what);
    }
}

static int future_set_result(lua_State *L) {
    check_not_task(L, "set_result");
    struct l_future *future = check_pending(L);
    store_results(L, 1, future, lua_gettop(L) - 1);
    l_future_settle(L, 1, future, L_FINISHED);
    return 0;
}

static int future_set_exception(lua_State *L) {
    check_not_task(L, "set_exception");
    struct l_future *future = check_pending(L);
    luaL_argcheck(L, !lua_isnoneornil(L, 2), 2, "an error expected, got nil");
    lua_settop(L, 2);
    bool cancelled = l_is_cancelled(L, future->rt, 2);
    l_future_setvalue(L, 1, future);
    if (!cancelled) l_future_guard(L, 1, future);
    l_future_settle(L, 1, future, cancelled ? L_CANCELLED : L_FAILED);
    return 0;
}

bool l_future_cancel(lua_State *L, int index, struct l_future *future) {
    index = lua_absindex(L, index);
    if (future->state != L_PENDING) {
        retrieve(future);
        lua_pop(L, 1);
        return false;
    }
    if (l_future_is_task(future)) {
        lua_pushvalue(L, index);
        bool cancelled = l_task_cancel(L, (struct l_task *)future);
        lua_pop(L, 2);
        return cancelled;
    }
    l_future_getextra(L, index, L_EXTRA_CANCEL);
    if (!lua_isnil(L, -1)) { /* cancelling is up to the one who made the future */
        lua_insert(L, -2);
        lua_pushvalue(L, index);
        lua_insert(L, -2);
        lua_call(L, 2, 1);
        bool cancelled = lua_toboolean(L, -1);
        lua_pop(L, 1);
        return cancelled;
    }
    lua_pop(L, 1);
    l_future_setvalue(L, index, future);
    l_future_settle(L, index, future, L_CANCELLED);
    return true;
}

static int future_cancel(lua_State *L) {
    struct l_future *future = l_future_check(L, 1);
    lua_settop(L, 2);
    lua_pushboolean(L, l_future_cancel(L, 1, future));
    return 1;
}

void l_future_push_cancel_message(lua_State *L, int index, struct l_future *future) {
    bool never_began = l_future_is_task(future) && ((struct l_task *)future)->unbegun;
    l_future_getvalue(L, index, future);
    if (!never_began && !l_is_cancelled(L, future->rt, -1)) return;
    lua_pop(L, 1);
    lua_pushnil(L);
}

void l_future_copy_outcome(lua_State *L, int index, struct l_future *target, int source_index,
                           struct l_future *source) {
    target->results = source->results;
    if (source->state == L_CANCELLED) {
        l_future_pushcancelled(L, source_index, source);
    } else {
        l_future_getvalue(L, source_index, source);
    }
    l_future_setvalue(L, index, target);
    if (source->state == L_FAILED) {
        retrieve(source);
        lua_pushvalue(L, source_index);
        l_future_setextra(L, index, L_EXTRA_CAUSE);
        l_future_guard(L, index, target);
    }
    l_future_settle(L, index, target, source->state);
}

/* copy_outcome(target, source): the target ends as the done source did */
static int future_copy_outcome(lua_State *L) {
    struct l_future *target = check_pending(L);
    struct l_future *source = l_future_check(L, 2);
    luaL_argcheck(L, source->state != L_PENDING, 2, "must be done");
    l_future_copy_outcome(L, 1, target, 2, source);
    return 0;
}

/* ---- callbacks ---- */

static int future_add_done_callback(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    struct l_future *future = l_future_check(L, 1);
    l_check_callback(L, 2);
    lua_settop(L, 2);
    lua_pushvalue(L, 1);
    lua_getiuservalue(L, 1, L_FUTURE_LOOP); /* future, fn, future, loop */
    if (future->state != L_PENDING) {
        lua_insert(L, 2); /* future, loop, fn, future */
        lua_getfield(L, 2, "call_soon");
        lua_insert(L, 2);
        lua_call(L, 3, 0);
        return 0;
    }
    lua_replace(L, 1); /* loop, fn, future */
    lua_pushvalue(L, 3);
    lua_insert(L, 1); /* future, loop, fn, future */
    struct l_handle *handle = l_handle_new(L, rt, L_DONE_CALLBACK, 3);
    l_future_getextra(L, 1, L_EXTRA_CALLBACKS);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        l_future_setextra(L, 1, L_EXTRA_CALLBACKS);
    }
    lua_pushvalue(L, 3);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    handle_push(&future->callbacks, &handle->timer.handle);
    future->functions++;
    return 0;
}

static int future_remove_done_callback(lua_State *L) {
    struct l_future *future = l_future_check(L, 1);
    luaL_checkany(L, 2);
    lua_settop(L, 2);
    l_future_getextra(L, 1, L_EXTRA_CALLBACKS);
    lua_Integer kept = 0, removed = 0;
    lua_Integer n =
        lua_isnil(L, 3) || future->state != L_PENDING ? 0 : (lua_Integer)lua_rawlen(L, 3);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, 3, i);
        struct l_handle *handle = lua_touserdata(L, -1);
        lua_getiuservalue(L, -1, 1);
        if (lua_rawequal(L, -1, 2)) {
            handle_unlink(&handle->timer.handle);
            future->functions--;
            removed++;
        } else {
            lua_pushvalue(L, 4);
            lua_rawseti(L, 3, ++kept);
        }
        lua_settop(L, 3);
    }
    for (lua_Integer i = kept + 1; i <= n; i++) {
        lua_pushnil(L);
        lua_rawseti(L, 3, i);
    }
    lua_pushinteger(L, removed);
    return 1;
}

static int future_tostring(lua_State *L) {
    static const char *const states[] = {"pending", "finished", "failed", "cancelled"};
    struct l_future *future = l_future_check(L, 1);
    struct l_task *task = l_test(L, 1, L_TASK);
    if (task != NULL) {
        l_task_pushname(L, 1, task);
        lua_pushfstring(L, "<Task '%s' %s>", lua_tostring(L, -1), states[future->state]);
    } else {
        lua_pushfstring(L, "<Future %s: %p>", states[future->state], (void *)future);
    }
    return 1;
}

const luaL_Reg l_future_methods[] = {{"set_result", future_set_result},
                                     {"set_exception", future_set_exception},
                                     {"result", future_result},
                                     {"exception", future_exception},
                                     {"done", future_done},
                                     {"cancel", future_cancel},
                                     {"cancelled", future_cancelled},
                                     {"add_done_callback", future_add_done_callback},
                                     {"remove_done_callback", future_remove_done_callback},
                                     {"get_loop", future_get_loop},
                                     {NULL, NULL}};

void l_future_settype(lua_State *L, struct l_runtime *rt) {
    l_pushfunction(L, rt, future_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pop(L, 1);
}

void l_future_open(lua_State *L, struct l_runtime *rt) {
    static const luaL_Reg hooks[] = {{"copy_outcome", future_copy_outcome},
                                     {"failed", future_failed},
                                     {"unretrieved", future_unretrieved},
                                     {NULL, NULL}};
    l_newtype(L, rt, L_FUTURE, "Future", l_future_methods);
    l_future_settype(L, rt);
    l_pushshared(L, rt, L_SHARED_HOOKS);
    l_setfuncs(L, rt, hooks);
    lua_pop(L, 1);
}
