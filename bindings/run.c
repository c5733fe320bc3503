/* run.c -- running a loop: its turns, and for how long. */
#include "bindings/collector.h"
#include "bindings/context.h"
#include "bindings/error.h"
#include "bindings/main_task.h"
#include "bindings/overrides.h"
#include "bindings/step.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* What running a loop changes, and puts back. */
struct run_frame {
    lua_State *L;
    struct l_task *current;
    lua_State *coroutine;
    struct l_loop *running;
    bool was_running, context_set;
};

static void enter_frame(lua_State *L, struct l_loop *loop, struct run_frame *frame) {
    struct l_runtime *rt = loop->rt;
    l_loop_make_frame(L, loop);
    l_overrides_refresh(L, L_FRAME_LOOP, loop);
    if (loop->closed) l_loop_closed_error(L); /* by a finaliser, since it was looked at */
    *frame = (struct run_frame){.L = loop->L,
                                .current = rt->current,
                                .coroutine = rt->coroutine,
                                .running = rt->running,
                                .was_running = loop->loop.running,
                                .context_set = rt->context_set};
    loop->L = L;
    rt->current = NULL;
    rt->coroutine = NULL;
    rt->running = loop;
    loop->loop.running = true;
    atomic_signal_fence(memory_order_seq_cst);
    if (rt->interrupt_pending) l_main_request_end(rt); /* no code was running that could be told */
}

static void leave_frame(lua_State *L, struct l_loop *loop, const struct run_frame *frame) {
    struct l_runtime *rt = loop->rt;
    loop->L = frame->L;
    rt->current = frame->current;
    rt->coroutine = frame->coroutine;
    rt->running = frame->running;
    loop->loop.running = frame->was_running;
    if (rt->context_set && !frame->context_set) { /* by a callback, which had none of its own */
        lua_pushboolean(L, false);
        l_context_swap(L, rt);
        lua_pop(L, 1);
    }
}

static void check_may_run(lua_State *L, struct l_loop *loop) {
    if (loop->loop.running) luaL_error(L, "This event loop is already running");
    if (loop->rt->running != NULL) {
        luaL_error(L, "Cannot run the event loop while another loop is running");
    }
    if (loop->loop.owner != getpid()) {
        luaL_error(L, "This event loop belongs to another process: it was made before fork()");
    }
}

static int raise_failure(lua_State *L, struct l_loop *loop, int result) {
    if (result != -EDEADLK) return luaL_error(L, "cannot wait for events: %s", strerror(-result));
    l_pushhook(L, loop->rt, "deadlock");
    lua_pushvalue(L, L_FRAME_LOOP);
    lua_call(L, 1, 1);
    return lua_error(L);
}

/* One turn by the loop's own run_once(); 0, or 1 with the error on top. */
static int turn_by_method(lua_State *L) {
    lua_getfield(L, L_FRAME_LOOP, "run_once");
    lua_pushvalue(L, L_FRAME_LOOP);
    return lua_pcall(L, 1, 0, L_FRAME_HANDLER) != LUA_OK;
}

/* What turns are to be run, and what came of them. */
struct run {
    struct l_loop *loop;
    bool (*done)(struct l_loop *loop); /* NULL: until the loop is stopped */
    bool once;
    bool began;
    int result;
};

static inline __attribute__((always_inline)) void run_callback(struct handle *handle) {
    if (handle->run == l_task_step) {
        l_step(handle);
    } else {
        handle->run(handle);
    }
}

/* As loop_run_once, with the steps of tasks inside. */
static inline __attribute__((always_inline)) int turn(struct loop *loop) {
    struct handle *handle = loop_only_one(loop);
    bool is_alone = handle != NULL;
    if (!is_alone) {
        int result = loop_in_turn(loop) ? 0 : loop_begin_turn(loop);
        if (result < 0) return result;
        handle = loop_next(loop);
    }
    while (handle != NULL) {
        run_callback(handle);
        handle = is_alone ? NULL : loop_next(loop);
    }
    return 0;
}

/* To be asked between turns. */
static inline bool is_over(const struct run *run) {
    struct l_loop *loop = run->loop;
    return run->once || run->result < 0 || loop->loop.stopping ||
           (run->done != NULL && run->done(loop));
}

/* loop, anchors, message handler, run: the frame in which callbacks run */
static int run_turns(lua_State *L) {
    struct run *run = lua_touserdata(L, 4);
    struct l_loop *loop = run->loop;
    luaL_checkstack(L, LUA_MINSTACK * 2, NULL);
    lua_settop(L, L_FRAME_HANDLER);
    run->began = true;
    do {
        run->result = turn(&loop->loop);
        l_collector_adapt(L, loop->rt);
    } while (!is_over(run));
    return 0;
}

/* Reports the error on top, which a callback without protection has raised. */
static void callback_failed(lua_State *L, struct l_loop *loop) {
    int slot = loop->call.slot, source = 0;
    if (slot != 0 && loop->call.source_name != NULL) {
        l_anchored(loop, slot);
        lua_insert(L, -2);
        source = lua_gettop(L) - 1;
    }
    l_loop_report(loop, "Exception in callback", loop->call.source_name, source);
    if (source != 0) lua_pop(L, 1);
    if (slot != 0 && loop->call.releases) l_unanchor(loop, slot);
    loop->call.slot = 0;
}

/* In the loop's frame: an error raised by a callback is reported, and its turn goes on.  False,
 * with an error on top, if nothing can be run: too deep in C. */
static bool run_protected(lua_State *L, struct run *run) {
    for (;;) {
        run->began = false;
        lua_pushcfunction(L, run_turns);
        for (int i = L_FRAME_LOOP; i <= L_FRAME_HANDLER; i++) lua_pushvalue(L, i);
        lua_pushlightuserdata(L, run);
        if (lua_pcall(L, 4, 0, L_FRAME_HANDLER) == LUA_OK) return true;
        if (!run->began) return false;
        callback_failed(L, run->loop);
        if (!loop_in_turn(&run->loop->loop) && is_over(run)) return true; /* it was the only one */
    }
}

void l_loop_run_until(lua_State *L, struct l_loop *loop, bool (*done)(struct l_loop *loop)) {
    struct run_frame frame;
    struct run run = {.loop = loop, .done = done};
    bool failed = false;
    check_may_run(L, loop);
    enter_frame(L, loop, &frame);
    if (loop->overrides & L_OVERRIDE_RUN_ONCE) {
        do {
            failed = turn_by_method(L) != 0;
        } while (!failed && !loop->loop.stopping && (done == NULL || !done(loop)));
    } else {
        failed = !run_protected(L, &run);
    }
    loop->loop.stopping = false;
    leave_frame(L, loop, &frame);
    if (failed) lua_error(L);
    if (loop->rt->interrupt_pending && !loop->rt->leaving) l_main_raise(L, loop->rt);
    if (run.result < 0) raise_failure(L, loop, run.result);
}

/* Whether the time that give_up_after allows is over. */
static bool gives_up(struct l_loop *loop) {
    return loop->gave_up = loop_now(&loop->loop) >= loop->give_up_ns;
}

int l_loop_run_forever(lua_State *L) {
    struct l_loop *loop = l_loop_check_open(L, 1);
    lua_settop(L, 1);
    l_loop_run_until(L, loop, loop->give_up_ns != 0 ? gives_up : NULL);
    return 0;
}

int l_loop_run_once(lua_State *L) {
    struct l_loop *loop = l_loop_check_open(L, 1);
    struct run_frame frame;
    lua_settop(L, 1);
    /* an overridden run_once calls this one while run_forever runs, between its turns */
    bool inside = loop->loop.running && (loop->overrides & L_OVERRIDE_RUN_ONCE) &&
                  loop->rt->current == NULL && !loop->turning;
    if (!inside) check_may_run(L, loop);
    enter_frame(L, loop, &frame);
    struct run run = {.loop = loop, .once = true};
    loop->turning = true;
    bool failed = !run_protected(L, &run);
    loop->turning = false;
    leave_frame(L, loop, &frame);
    if (!inside) loop->loop.stopping = false;
    if (failed) return lua_error(L);
    if (run.result == -EDEADLK && !inside) return 0; /* a turn of an idle loop: nothing happens */
    if (run.result < 0) raise_failure(L, loop, run.result);
    return 0;
}

static void stop_running(struct handle *until) {
    loop_stop(&container_of(until, struct l_until, handle)->loop->loop);
}

void l_loop_init_until(struct l_loop *loop) {
    for (int i = 0; i < 2; i++) {
        handle_init(&loop->until[i].handle, stop_running);
        loop->until[i].loop = loop;
    }
}

static struct handle *free_until(struct l_loop *loop) {
    return &loop->until[handle_queued(&loop->until[0].handle)].handle;
}

/* A done callback of the future: its loop stops. */
static int stop_when_done(lua_State *L) {
    loop_stop(&l_future_check(L, 1)->loop->loop);
    return 0;
}

/* loop, future, callback: calls the future's method with the callback */
static void call_with_callback(lua_State *L, const char *method) {
    lua_getfield(L, 2, method);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 3);
    lua_call(L, 2, 0);
}

/* loop, function or future, arguments -> the results */
int l_loop_run_until_complete(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    struct l_loop *loop = l_loop_check_open(L, 1);
    luaL_checkany(L, 2);
    check_may_run(L, loop);
    bool is_new = l_future_test(L, 2) == NULL;
    l_overrides_refresh(L, 1, loop);
    l_pushhook(L, rt, "ensure_future");
    lua_insert(L, 2);
    lua_pushvalue(L, 1);
    lua_insert(L, 3);
    lua_call(L, lua_gettop(L) - 2, 1);
    struct l_future *future = l_future_check(L, 2);
    if (future->loop != loop) {
        return luaL_argerror(L, 2, "the future belongs to a different loop");
    }
    /* a call_soon of the loop's own is to see the callback that stops it */
    bool by_method = loop->overrides & L_OVERRIDE_CALL_SOON;
    struct handle *until = free_until(loop);
    if (by_method) {
        l_pushfunction(L, rt, stop_when_done);
        call_with_callback(L, "add_done_callback");
    } else if (future->state == L_PENDING) {
        handle_push(&future->callbacks, until);
    } else {
        loop_call_soon(&loop->loop, until);
    }
    l_pushfunction(L, rt, l_loop_run_forever);
    lua_pushvalue(L, 1);
    bool failed = lua_pcall(L, 1, 0, 0) != LUA_OK;
    if (by_method) {
        call_with_callback(L, "remove_done_callback");
    } else if (future->state == L_PENDING && handle_queued(until)) {
        handle_unlink(until);
    }
    if (failed) {
        if (is_new && future->state == L_FAILED) future->unretrieved = false;
        return lua_error(L);
    }
    if (future->state == L_PENDING) {
        return luaL_error(L, "Event loop stopped before Future completed.");
    }
    return l_future_results(L, 2, future);
}
