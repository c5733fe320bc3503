/* main_task.c -- runs the main task, then whatever it has left behind. */
#include "bindings/main_task.h"

#include "bindings/error.h"
#include "bindings/task.h"

/* ---- interrupts ---- */

int l_main_raise(lua_State *L, struct l_runtime *rt) {
    rt->interrupt_pending = false;
    return l_error_raise(L, rt, "CancelledError", "interrupted");
}

lua_State *l_main_running(const struct l_runtime *rt) {
    if (rt->main == NULL || rt->current != rt->main) return NULL;
    return rt->coroutine != NULL ? rt->coroutine : rt->main->coroutine;
}

void l_main_abandon(struct l_runtime *rt) {
    if (rt->main != NULL) {
        lua_State *coroutine = rt->main->coroutine;
        rt->current = rt->main = NULL;
        lua_resetthread(coroutine); /* runs its <close>, as lua_close does for the main state */
    }
    rt->coroutine = NULL;
    rt->running = NULL;
}

void l_main_request_end(struct l_runtime *rt) {
    struct l_loop *loop = rt->running;
    rt->interrupt_pending = true;
    if (loop != NULL && !atomic_exchange(&rt->interrupt_sent, true)) {
        rt->interrupt_loop = loop;
        loop_call_soon_threadsafe(&loop->loop, &rt->interrupt);
    }
}

void l_main_interrupt(struct l_runtime *rt) {
    rt->interrupted = true;
    l_main_request_end(rt);
}

void l_main_forget_request(struct l_runtime *rt) {
    if (rt->interrupted) return; /* SIGINT is not forgotten */
    if (rt->interrupt_sent) loop_take_out(&rt->interrupt_loop->loop, &rt->interrupt);
    rt->interrupt_sent = rt->interrupt_pending = false;
}

void l_main_loop_closed(struct l_runtime *rt, const struct l_loop *loop) {
    if (rt->interrupt_sent && rt->interrupt_loop == loop) rt->interrupt_sent = false;
}

/* task -> cancelled */
static int cancel_main(lua_State *L) {
    lua_pushliteral(L, "interrupted");
    lua_insert(L, 1);
    l_task_cancel(L, lua_touserdata(L, 2));
    return 0;
}

/* In the loop that runs: the main task's own, or one that the main task runs. */
static void interrupt(struct handle *handle) {
    struct l_runtime *rt = container_of(handle, struct l_runtime, interrupt);
    struct l_loop *loop = rt->running;
    lua_State *L = loop->L;
    int top = lua_gettop(L);
    rt->interrupt_sent = false;
    if (!rt->interrupt_pending) return; /* it was raised meanwhile */
    if (!rt->interrupted) {
        lua_sethook(L, NULL, 0, 0); /* of an alarm that came again meanwhile */
        l_pushhook(L, rt, "limit_reached");
        if (lua_pcall(L, 0, 0, 0) != LUA_OK) lua_settop(L, top);
    }
    lua_pushcfunction(L, cancel_main);
    l_pushhook(L, rt, "interrupt_task"); /* lh.run's, if the script has called that */
    if (l_test(L, -1, L_TASK) == NULL) {
        lua_pop(L, 1);
        if (rt->main == NULL || rt->main->future.loop != loop) {
            lua_settop(L, top);
            loop_stop(&loop->loop); /* l_loop_run_until raises */
            return;
        }
        l_task_push(L, rt->main);
    }
    rt->interrupt_pending = false;
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_settop(L, top);
}

/* take_interrupt(): whether there was one, which is then over */
static int take_interrupt(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    lua_pushboolean(L, rt->interrupted);
    rt->interrupted = rt->interrupt_pending = false;
    if (rt->main != NULL) rt->main->cancelling = 0;
    return 1;
}

/* ---- the body ---- */

enum { HANDLER = 2, NEXT, FAILURE };
enum { ASKED, ASKED_AFTER_FAILURE, RAN };

/* Task, message handler, next, the last failure; then what next answered or the function
 * returned.  Nothing of ours but this one function stands below what next has us call. */
static int go_on(lua_State *L, int status, lua_KContext step) {
    for (;;) {
        bool ok = status == LUA_OK || status == LUA_YIELD;
        if (step == RAN) {
            if (!ok) {
                lua_pushvalue(L, -1);
                lua_replace(L, FAILURE);
            }
            luaL_checkstack(L, LUA_MINSTACK, "too many results");
            lua_pushvalue(L, NEXT);
            lua_pushboolean(L, ok);
            lua_rotate(L, FAILURE + 1, 2);
            step = ok ? ASKED : ASKED_AFTER_FAILURE;
        } else if (ok && lua_toboolean(L, FAILURE + 1)) {
            step = RAN;
        } else {
            if (ok && step == ASKED_AFTER_FAILURE && lua_isnone(L, FAILURE + 1)) {
                lua_settop(L, FAILURE);
                status = LUA_ERRRUN;
            }
            return l_task_body_done(L, status, 0);
        }
        status = lua_pcallk(L, lua_gettop(L) - FAILURE - 1, LUA_MULTRET, HANDLER, step, go_on);
    }
}

/* Lua 5.4.4 crashes when the stack grows inside of a metamethod __concat in the middle of a
 * chain of concatenations (luaV_concat keeps a pointer), as coloured output of busted's has
 * them.  A stack that need not grow is the most we can do; the collector, which shrinks
 * stacks, respects what is reserved. */
enum { ROOM = 4000 };

static int main_body(lua_State *L) {
    lua_checkstack(L, ROOM);
    lua_settop(L, FAILURE);
    return go_on(L, LUA_OK, RAN);
}

/* ---- running ---- */

static bool main_done(struct l_loop *loop) {
    return loop->rt->main == NULL || loop->rt->leaving;
}

static bool nothing_left(struct l_loop *loop) {
    struct loop *core = &loop->loop;
    return handle_queue_empty(&core->ready) && loop->tasks == 0 && core->outstanding == 0 &&
           core->listening == 0 && pqueue_empty(&core->timers) && pqueue_empty(&core->priority) &&
           handle_queue_empty(&core->idle);
}

/* loop -> run until the main task is done */
static int run_main_loop(lua_State *L) {
    struct l_loop *loop = l_loop_check_open(L, 1);
    l_loop_run_until(L, loop, main_done);
    return 0;
}

/* loop -> run until nothing is left */
static int run_rest(lua_State *L) {
    struct l_loop *loop = l_loop_test(L, 1);
    if (loop == NULL || loop->closed || nothing_left(loop)) return 0;
    l_loop_run_until(L, loop, nothing_left);
    return 0;
}

/* The error on top came out of the main task's loop: a deadlock, or that it was stopped.
 * Those who run tests in the main task (they have cancelled it then, and the loop goes on)
 * take it; else it is raised. */
static void loop_failed(lua_State *L, struct l_runtime *rt) {
    l_pushhook(L, rt, "on_loop_failure");
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_error(L);
    }
    lua_pushvalue(L, -2);
    lua_call(L, 1, 1);
    if (!lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        lua_error(L);
    }
}

/* The main task, at index 1, is on no loop any more. */
static void take_off_loop(lua_State *L, struct l_task *task) {
    struct l_loop *loop = task->future.loop;
    int top = lua_gettop(L);
    l_unanchor_anywhere(L, loop, task->slot);
    loop->tasks--;
    l_task_detach(task);
    task->wait = NULL;
    l_task_push(L, task);
    lua_pushnil(L);
    lua_setiuservalue(L, -2, L_FUTURE_LOOP);
    lua_settop(L, top);
}

/* main task -> started, and its loop, if it waits, run to its end */
static int run_main(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    struct l_task *task = lua_touserdata(L, 1);
    l_task_start_main(L, task);
    while (task->future.state == L_PENDING) {
        l_pushfunction(L, rt, run_main_loop);
        lua_getiuservalue(L, 1, L_FUTURE_LOOP);
        bool failed = lua_pcall(L, 1, 0, 0) != LUA_OK;
        if (failed) loop_failed(L, rt);
        lua_settop(L, 1);
        if (rt->leaving) {
            rt->leaving = false;
            take_off_loop(L, task);
            l_task_start_main(L, task);
        } else if (!failed && rt->main != NULL) { /* set back when the main task is done */
            lua_pushliteral(L, "Event loop stopped before the script ended.");
            loop_failed(L, rt);
            lua_settop(L, 1);
        }
    }
    return 0;
}

/* ---- for those who run tests in the main task ---- */

static void stay(struct l_task *task) {
    task->future.rt->leaving = false;
}

static const struct l_wait leaving_wait = {"its loop to be left", stay};

static int loop_left(lua_State *L, int status, lua_KContext context) {
    struct l_runtime *rt = l_runtime(L);
    (void)status, (void)context;
    l_task_resumed(L, rt);
    if (rt->interrupt_pending) return l_main_raise(L, rt); /* the loop had no turn to tell it in */
    lua_pushboolean(L, 1);
    return 1;
}

/* leave_loop() -> whether no loop runs any more.  The main task goes on as it does until
 * its first wait: outside of any loop, so that it may run one itself.  What is left in the
 * loop stands still meanwhile. */
static int leave_loop(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    struct l_task *task = rt->current;
    if (task == NULL || task != rt->main) {
        lua_pushboolean(L, rt->running == NULL);
        return 1;
    }
    if (rt->running == NULL) {
        if (task->future.loop != NULL) take_off_loop(L, task);
        lua_pushboolean(L, 1);
        return 1;
    }
    if (task->future.loop != rt->running) { /* the main task runs it itself */
        lua_pushboolean(L, 0);
        return 1;
    }
    l_task_may_wait(L, rt, "leave_loop", NULL);
    rt->leaving = true;
    return l_task_wait(L, task, &leaving_wait, NULL, loop_left);
}

/* cancel_main(message) -> whether there is a main task, which is now cancelled */
static int cancel_main_task(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    lua_settop(L, 1);
    if (rt->main == NULL || rt->main->future.loop == NULL) return 0;
    l_task_push(L, rt->main);
    l_task_cancel(L, rt->main);
    rt->main->cancelling = 0; /* who asked is not one of its own */
    lua_pushboolean(L, 1);
    return 1;
}

/* forget_cancel() -> whether the main task is cancelled and has not waited since.  As a task
 * that ends then is cancelled, so is the function of a test; the next one starts afresh. */
static int forget_cancel(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    struct l_task *task = rt->main;
    if (task == NULL || rt->interrupted) return 0;
    lua_pushboolean(L, task->must_cancel);
    task->must_cancel = false;
    task->cancelling = 0;
    return 1;
}

void l_main_open(lua_State *L, struct l_runtime *rt) {
    static const luaL_Reg hooks[] = {{"take_interrupt", take_interrupt},
                                     {"leave_loop", leave_loop},
                                     {"cancel_main", cancel_main_task},
                                     {"forget_cancel", forget_cancel},
                                     {NULL, NULL}};
    handle_init(&rt->interrupt, interrupt);
    l_pushshared(L, rt, L_SHARED_HOOKS);
    l_setfuncs(L, rt, hooks);
    lua_pop(L, 1);
}

/* Prints the error on top, with the story of the task at the index if not 0. */
static void print_error(lua_State *L, struct l_runtime *rt, int task) {
    l_pushhook(L, rt, "print_main_error");
    lua_insert(L, -2);
    if (task != 0) {
        l_future_getextra(L, task, L_EXTRA_STORY);
    } else {
        lua_pushnil(L);
    }
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
        lua_writestringerror("loophost: error in error handling (%s)\n", lua_tostring(L, -1));
        lua_pop(L, 1);
    }
}

/* Calls the Lua half's hook with the loop at the index; whether it succeeded. */
static bool call_hook(lua_State *L, struct l_runtime *rt, const char *hook, int loop) {
    l_pushhook(L, rt, hook);
    lua_pushvalue(L, loop);
    if (lua_pcall(L, 1, 1, 0) == LUA_OK) return true;
    print_error(L, rt, 0);
    return false;
}

/* Runs what is left in the loop at the index; an error (a deadlock) is printed. */
static bool finish_loop(lua_State *L, struct l_runtime *rt, int loop) {
    l_pushfunction(L, rt, run_rest);
    lua_pushvalue(L, loop);
    if (lua_pcall(L, 1, 0, 0) == LUA_OK) return true;
    print_error(L, rt, 0);
    return false;
}

/* main task at index 1: what became of it is printed; the exit status */
static int conclude(lua_State *L, struct l_runtime *rt, struct l_task *task) {
    switch (task->future.state) {
    case L_FINISHED:
        if (!rt->interrupt_pending) rt->interrupted = false; /* the script has dealt with it */
        return 0;
    case L_CANCELLED:
        if (rt->interrupted) return 130;
        l_future_pushcancelled(L, 1, &task->future);
        print_error(L, rt, 1);
        return 1;
    case L_FAILED:
        task->future.unretrieved = false;
        l_future_getvalue(L, 1, &task->future);
        print_error(L, rt, 1);
        return 1;
    case L_PENDING: break;
    }
    return 1;
}

/* The script is done: what it has left in its loop, that of the main task, which is at index 1,
 * or in the current one, is finished, or cancelled if something went wrong.  The exit status. */
static int finish_loops(lua_State *L, struct l_runtime *rt, int status) {
    lua_getiuservalue(L, 1, L_FUTURE_LOOP);
    l_pushhook(L, rt, "current_loop_or_nil");
    if (lua_pcall(L, 0, 1, 0) != LUA_OK) print_error(L, rt, 0);
    lua_settop(L, 3);
    for (int loop = 2; loop <= 3; loop++) {
        struct l_loop *left = l_loop_test(L, loop);
        if (left == NULL || left->closed) continue;
        if (status == 0 && !finish_loop(L, rt, loop)) status = 1;
        if (rt->interrupted) status = 130;
        rt->interrupt_pending = false; /* it is being heard */
        if (status != 0) call_hook(L, rt, "cancel_all", loop);
        lua_settop(L, 3);
    }
    lua_settop(L, 1);
    return status;
}

/* function, arguments -> exit status */
static int main_protected(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    struct l_task *task = l_task_new(L, rt, 1, 1);
    rt->main = task;
    lua_pushcfunction(task->coroutine, main_body);
    lua_replace(task->coroutine, 1);
    l_pushshared(L, rt, L_SHARED_SCRATCH);
    lua_pushvalue(L, 1);
    lua_setfield(L, -2, "main");
    lua_settop(L, 1);
    l_pushfunction(L, rt, run_main);
    lua_pushvalue(L, 1);
    int status;
    if (lua_pcall(L, 1, 0, 0) == LUA_OK) {
        status = conclude(L, rt, task);
    } else { /* the loop itself could not go on: a deadlock */
        print_error(L, rt, 0);
        status = 1;
    }
    lua_settop(L, 1);
    bool had_loop = rt->loops_made > 0; /* a script that never waits has none, nor futures */
    if (had_loop) status = finish_loops(L, rt, status);
    rt->main = NULL;
    if (had_loop && call_hook(L, rt, "report_unretrieved", 1) && lua_toboolean(L, -1) &&
        status == 0) {
        status = 1;
    }
    lua_pushinteger(L, status);
    return 1;
}

int l_main_run(lua_State *L, struct l_runtime *rt, int arguments) {
    int base = lua_gettop(L) - arguments;
    l_pushfunction(L, rt, main_protected);
    lua_insert(L, base);
    int status = 1;
    if (lua_pcall(L, arguments + 1, 1, 0) == LUA_OK) {
        status = (int)lua_tointeger(L, -1);
    } else {
        print_error(L, rt, 0);
    }
    lua_settop(L, base - 1);
    return status;
}
