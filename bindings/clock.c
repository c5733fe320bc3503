/* clock.c -- taking a virtual clock by the hand: to stop it, to set it, to wait until
 * nothing goes on any more.  What that is good for is policy (scripts/loophost/clock.lua).
 * Times are nanoseconds, as integers. */
#include "bindings/error.h"
#include "bindings/open.h"
#include "bindings/task.h"

static struct l_loop *check_virtual(lua_State *L) {
    struct l_loop *loop = l_loop_check_open(L, 1);
    luaL_argcheck(L, loop->loop.clock.kind == CLOCK_KIND_VIRTUAL, 1, "its clock is not virtual");
    return loop;
}

/* clock_kind(loop) -> "virtual" or "monotonic", and whether it is frozen */
static int clock_kind(lua_State *L) {
    struct l_loop *loop = l_loop_check(L, 1);
    lua_pushstring(L, loop->loop.clock.kind == CLOCK_KIND_VIRTUAL ? "virtual" : "monotonic");
    lua_pushboolean(L, loop->loop.frozen);
    return 2;
}

/* clock_freeze(loop, boolean) */
static int clock_freeze(lua_State *L) {
    check_virtual(L)->loop.frozen = lua_toboolean(L, 2);
    return 0;
}

/* clock_now(loop) -> ns */
static int get_now(lua_State *L) {
    lua_pushinteger(L, loop_now(&check_virtual(L)->loop));
    return 1;
}

/* clock_next(loop) -> ns of the next timer, or nil */
static int clock_next(lua_State *L) {
    struct pqueue_node *next = pqueue_peek(&check_virtual(L)->loop.timers);
    if (next == NULL) return 0;
    lua_pushinteger(L, next->key);
    return 1;
}

/* clock_set(loop, ns): forward only */
static int clock_set(lua_State *L) {
    struct l_loop *loop = check_virtual(L);
    clock_jump(&loop->loop.clock, luaL_checkinteger(L, 2));
    loop_now(&loop->loop);
    return 0;
}

/* ns(seconds) -> the same, rounded */
static int nanoseconds(lua_State *L) {
    lua_pushinteger(L, l_checkseconds(L, 1));
    return 1;
}

static void leave_idle(struct l_task *task) {
    handle_unlink(&task->timer.handle);
}

static const struct l_wait idle_wait = {"the loop to be idle", leave_idle};

static void loop_idle(struct handle *handle) {
    struct l_task *task = container_of(handle, struct l_task, timer.handle);
    l_task_wake(task->future.loop->L, task);
}

static int idle(lua_State *L, int status, lua_KContext context) {
    (void)status, (void)context;
    l_task_resumed(L, l_runtime(L));
    return 0;
}

/* wait_idle(hold): until everything else waits; real work under way may last so many ns */
static int wait_idle(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    int64_t hold_ns = luaL_checkinteger(L, 1);
    struct l_task *task = l_task_may_wait(L, rt, "run_until_idle", NULL);
    struct loop *loop = &task->future.loop->loop;
    if (loop->clock.kind != CLOCK_KIND_VIRTUAL) return luaL_error(L, "the clock is not virtual");
    task->timer.handle.run = loop_idle;
    loop_call_idle(loop, &task->timer.handle, hold_ns);
    return l_task_wait(L, task, &idle_wait, NULL, idle);
}

/* explore(loop, seed): from now on what is left open is decided by the seed */
static int explore(lua_State *L) {
    struct l_loop *loop = l_loop_check_open(L, 1);
    loop_explore(&loop->loop, (uint64_t)luaL_checkinteger(L, 2));
    return 0;
}

/* choices(loop) -> how many were made, and a number that depends on all of them; nil if it
 * makes none */
static int choices(lua_State *L) {
    const struct choice *choice = &l_loop_check(L, 1)->loop.choice;
    if (!choice->on) return 0;
    lua_pushinteger(L, (lua_Integer)choice->draws);
    lua_pushinteger(L, (lua_Integer)choice->state);
    return 2;
}

void l_clock_open(lua_State *L, struct l_runtime *rt) {
    static const luaL_Reg hooks[] = {{"clock_kind", clock_kind}, {"clock_freeze", clock_freeze},
                                     {"clock_now", get_now},     {"clock_next", clock_next},
                                     {"clock_set", clock_set},   {"nanoseconds", nanoseconds},
                                     {"wait_idle", wait_idle},   {"explore", explore},
                                     {"choices", choices},       {NULL, NULL}};
    l_pushshared(L, rt, L_SHARED_HOOKS);
    l_setfuncs(L, rt, hooks);
    lua_pop(L, 1);
}
