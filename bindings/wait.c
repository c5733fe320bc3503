/* wait.c -- sleeping and awaiting, and cancelling what does either. */
#include "bindings/error.h"
#include "bindings/open.h"
#include "bindings/task.h"

/* ---- sleeping ---- */

static void leave_sleep(struct l_task *task) {
    loop_cancel_timer(&task->future.loop->loop, &task->timer);
}

const struct l_wait l_sleep_wait = {"sleep", leave_sleep};

/* The deadline has passed.  As in asyncio, whose timer sets a future that wakes the
 * task, the step follows in the next turn. */
static void sleep_over(struct handle *handle) {
    struct l_task *task = container_of(handle, struct l_task, timer.handle);
    l_task_wake(task->future.loop->L, task);
}

bool l_task_start_sleep(struct l_task *task, int64_t delay_ns) {
    struct loop *loop = &task->future.loop->loop;
    if (loop->trace.on) {
        trace_add(&loop->trace, loop_now(loop), "call_later", "delay=%.14g, name=Task-%u",
                  l_seconds(delay_ns), task->number);
    }
    if (delay_ns < L_FOREVER_NS && !loop_call_at(loop, &task->timer, loop_now(loop) + delay_ns)) {
        return false;
    }
    task->wait = &l_sleep_wait;
    task->timer.handle.run = sleep_over;
    return true;
}

/* ---- awaiting ---- */

static void leave_future(struct l_task *task) {
    handle_unlink(&task->timer.handle);
}

static const struct l_wait future_wait = {"a future", leave_future};
static const struct l_wait task_wait = {"a task", leave_future};

void l_task_start_await(struct l_task *task, struct l_future *future) {
    task->wait = l_future_is_task(future) ? &task_wait : &future_wait;
    task->wait_on = future;
    handle_push(&future->callbacks, &task->timer.handle);
}

void l_task_hold_slowly(lua_State *L, struct l_task *task, int index) {
    l_task_push(L, task);
    if (index != 0) {
        lua_pushvalue(L, index);
    } else {
        lua_pushnil(L);
    }
    lua_setiuservalue(L, -2, L_TASK_AWAITED);
    lua_pop(L, 1);
}

bool l_task_awaits_future(const struct l_task *task) {
    return task->wait == &future_wait || task->wait == &task_wait;
}

int l_task_await_done(lua_State *L, int status, lua_KContext context) {
    struct l_future *future = (void *)context; /* NOLINT(performance-no-int-to-ptr) */
    if (future == NULL) future = lua_touserdata(L, 1);
    struct l_task *task = future->rt->current;
    (void)status;
    if (task != NULL) l_task_hold(L, task, 0);
    if (task != NULL && task->throwing) { /* or stock Lua resumes what is not its to resume */
        if (future->state != L_CANCELLED) l_task_resumed(L, future->rt);
        task->throwing = false;
    }
    return l_future_results(L, 1, future);
}

int l_task_await(lua_State *L, struct l_runtime *rt, int index) {
    return l_task_await_future(L, rt, index, l_future_check(L, index));
}

int l_task_await_future(lua_State *L, struct l_runtime *rt, int index, struct l_future *future) {
    if (future->state != L_PENDING) return l_future_results(L, index, future);
    struct l_task *task = l_task_may_wait(L, rt, "await", future->loop);
    if (&task->future == future) return luaL_error(L, "Task cannot await on itself");
    if (future->loop != task->future.loop) {
        return luaL_error(L, "the future belongs to a different loop");
    }
    if (index != 1) {
        lua_pushvalue(L, index);
        lua_replace(L, 1);
    }
    if (lua_gettop(L) > 1) lua_settop(L, 1);
    l_task_hold(L, task, 1);
    l_task_start_await(task, future);
    return l_task_wait_k(L, task, task->wait, future, (lua_KContext)future, l_task_await_done);
}

static void count_cancel(struct l_task *task) {
    if (task->cancelling < L_TASK_MOST_CANCELS) task->cancelling++;
}

/* Pushes the future that the task at the index awaits.  By stock Lua's means, which we cannot forbid,
 * somebody may have resumed or closed its coroutine, where it stands else. */
static void push_awaited(lua_State *L, int index, const struct l_task *task) {
    if (!task->future.rt->recycles) {
        lua_getiuservalue(L, index, L_TASK_AWAITED);
        return;
    }
    if (!lua_checkstack(task->leaf, 1)) luaL_error(L, "not enough memory");
    lua_pushvalue(task->leaf, 1);
    lua_xmove(task->leaf, L, 1);
}

bool l_task_cancel(lua_State *L, struct l_task *task) {
    int top = lua_gettop(L), message = top - 1;
    if (task->future.state != L_PENDING) return false;
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    /* A task that awaits a task passes the cancellation on, and that one may again. */
    const struct l_task *first = task;
    size_t steps = 0, leap = 2; /* Brent: does a task await itself by way of others? */
    while (task->wait == &task_wait && task->wait_on != first) {
        push_awaited(L, top, task);
        if (++steps == leap) {
            first = task;
            leap *= 2;
        }
        count_cancel(task);
        task = task->wait_on;
        lua_replace(L, top);
    }
    count_cancel(task);
    bool taken = false, ends_wait = task->wait != NULL && task->wait != &future_wait;
    if (task->wait == &future_wait) {
        push_awaited(L, top, task);
        lua_pushvalue(L, message);
        taken = l_future_cancel(L, -2, task->wait_on);
    }
    if (!taken) { /* without memory for the message the wait must not end */
        lua_pushvalue(L, message);
        l_future_setextra(L, top, ends_wait ? L_EXTRA_WAIT_MESSAGE : L_EXTRA_MESSAGE);
        task->must_cancel = true;
    }
    if (ends_wait) {
        task->wait->leave(task);
        task->cancel_woke = true;
        l_task_wake(L, task);
    }
    lua_settop(L, top);
    return true;
}

/* ---- for scripts ---- */

enum { SLOW_SLEEP = L_OVERRIDE_CALL_LATER | L_OVERRIDE_CALL_AT | L_OVERRIDE_CREATE_FUTURE };

/* delay, and the result if there is one; the context is the task */
static int sleep_done(lua_State *L, int status, lua_KContext context) {
    struct l_task *task = (struct l_task *)context; /* NOLINT(performance-no-int-to-ptr) */
    (void)status;
    if (task->throwing) l_task_resumed(L, task->future.rt);
    switch (lua_gettop(L)) {
    case 1: lua_pushnil(L); break;
    case 2: break;
    default: lua_settop(L, 2);
    }
    return 1;
}

static int return_all(lua_State *L, int status, lua_KContext context) {
    (void)status, (void)context;
    return lua_gettop(L);
}

/* Not inlined: the usual sleep(0) is to be quick. */
static __attribute__((noinline)) int sleep_for(lua_State *L) {
    int64_t delay_ns = l_checkseconds(L, 1);
    struct l_task *task = l_task_may_wait(L, l_runtime(L), "sleep", NULL);
    if (delay_ns <= 0) return l_task_wait_k(L, task, NULL, NULL, (lua_KContext)task, sleep_done);
    if (task->future.loop->overrides & SLOW_SLEEP) {
        lua_settop(L, 2);
        l_pushhook(L, task->future.rt, "slow_sleep");
        lua_insert(L, 1);
        lua_callk(L, 2, LUA_MULTRET, 0, return_all);
        return lua_gettop(L);
    }
    if (!l_task_start_sleep(task, delay_ns)) return luaL_error(L, "not enough memory");
    return l_task_wait_k(L, task, &l_sleep_wait, NULL, (lua_KContext)task, sleep_done);
}

/* As asyncio.sleep: at least one turn passes. */
static int l_sleep(lua_State *L) {
    int is_integer;
    if (lua_tointegerx(L, 1, &is_integer) != 0 || !is_integer) return sleep_for(L);
    struct l_task *task = l_task_here(L);
    if (task == NULL) return sleep_for(L);
    return l_task_wait_k(L, task, NULL, NULL, (lua_KContext)task, sleep_done);
}

static int new_sleep(lua_State *L) {
    int64_t delay_ns = l_checkseconds(L, 1);
    struct l_sleep *sleep = l_newobject(L, l_runtime(L), L_SLEEP, sizeof *sleep, 0);
    sleep->delay_ns = delay_ns;
    return 1;
}

/* sleep.delay */
static int sleep_index(lua_State *L) {
    const struct l_sleep *sleep = l_check(L, 1, L_SLEEP);
    lua_pushliteral(L, "delay");
    if (!lua_rawequal(L, 2, -1)) return 0;
    lua_pushnumber(L, l_seconds(sleep->delay_ns));
    return 1;
}

static int sleep_tostring(lua_State *L) {
    const struct l_sleep *sleep = l_check(L, 1, L_SLEEP);
    lua_pushfstring(L, "<Sleep %f>", l_seconds(sleep->delay_ns));
    return 1;
}

/* A future, a task, a Sleep, a function (run in place) or a value with __await. */
static int l_await(lua_State *L) {
    struct l_future *future = l_future_test(L, 1);
    if (future != NULL) return l_task_await_future(L, future->rt, 1, future);
    luaL_checkany(L, 1);
    const struct l_sleep *sleep = l_test(L, 1, L_SLEEP);
    if (sleep != NULL) {
        lua_pushnumber(L, l_seconds(sleep->delay_ns));
        lua_replace(L, 1);
        lua_settop(L, 1);
        return l_sleep(L);
    }
    if (luaL_getmetafield(L, 1, "__await") != LUA_TNIL) {
        lua_insert(L, 1);
    } else if (lua_type(L, 1) != LUA_TFUNCTION) {
        if (luaL_getmetafield(L, 1, "__call") == LUA_TNIL) {
            return l_type_error(L, 1, "something to await (Future, Task, Sleep, function)");
        }
        lua_pop(L, 1);
    }
    lua_callk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, return_all);
    return lua_gettop(L);
}

void l_wait_open(lua_State *L, struct l_runtime *rt) {
    static const luaL_Reg none[] = {{NULL, NULL}};
    static const luaL_Reg hooks[] = {
        {"sleep", l_sleep}, {"Sleep", new_sleep}, {"await", l_await}, {NULL, NULL}};
    l_newtype(L, rt, L_SLEEP, "Sleep", none);
    l_pushfunction(L, rt, sleep_index);
    lua_setfield(L, -2, "__index");
    l_pushfunction(L, rt, sleep_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pop(L, 1);
    l_pushshared(L, rt, L_SHARED_HOOKS);
    l_setfuncs(L, rt, hooks);
    lua_pop(L, 1);
}
