/* limit.c -- the timer, its signal, and what the signal does. */
#include "bindings/limit.h"

#include "bindings/error.h"
#include "bindings/main_task.h"
#include "bindings/task.h"
#include "host/clock.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The timer's period after the first alarm; how many alarms lie between two requests, so that
 * cleanup may take a second; and how many there are before the process ends. */
enum { PERIOD_NS = 250000000, ALARMS_A_REQUEST = 4, LAST_ALARM = 20 };

struct l_limit {
    struct l_runtime *rt;
    timer_t timer;
    bool made;                    /* the timer is */
    lua_State *L;                 /* who set the limit, for code outside of any loop */
    volatile sig_atomic_t alarms; /* since it was set; 0 also while none is set */
    char last_words[512];
};

/* Not SIGALRM, which is the script's. */
static int limit_signal(void) {
    return SIGRTMAX - 2;
}

/* ---- when the time is over ---- */

/* Whether the running code belongs to the task that the request is for. */
static bool is_asked(lua_State *L, struct l_runtime *rt) {
    if (rt->running == NULL || rt->current == rt->main) return true;
    l_pushhook(L, rt, "interrupt_task");
    bool asked = rt->current != NULL && l_test(L, -1, L_TASK) == rt->current;
    lua_pop(L, 1);
    return asked;
}

/* A debug hook in the code that was running: tells the Lua half, which looks at the tasks,
 * and raises the error. */
static void stop_code(lua_State *L, lua_Debug *info) {
    struct l_runtime *rt = l_runtime_open(L);
    (void)info;
    lua_sethook(L, NULL, 0, 0);
    if (!rt->interrupt_pending) return;
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    l_pushhook(L, rt, "limit_reached");
    lua_pushboolean(L, 1);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
    rt->interrupt_pending = !is_asked(L, rt); /* then the loop still has to ask that one */
    l_error_raise(L, rt, "CancelledError", "interrupted");
}

static void on_alarm(int number, siginfo_t *info, void *context) {
    struct l_limit *limit = info->si_value.sival_ptr;
    struct l_runtime *rt = limit->rt;
    (void)number, (void)context;
    int saved = errno;
    int alarm = limit->alarms++;
    if (alarm >= LAST_ALARM) {
        (void)!write(STDERR_FILENO, limit->last_words, strlen(limit->last_words));
        _exit(1);
    }
    if (alarm % ALARMS_A_REQUEST == 0) l_main_request_end(rt);
    lua_State *running = rt->coroutine;
    if (running == NULL && rt->current != NULL) running = rt->current->coroutine;
    /* no task runs: a loop that waits will see the request itself, one that is in a callback
     * has not seen it when the next alarm comes */
    if (running == NULL && rt->running != NULL && alarm > 0) running = rt->running->L;
    if (rt->running == NULL && running == NULL) running = limit->L;
    int mask = LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT;
    if (running != NULL && rt->interrupt_pending) lua_sethook(running, stop_code, mask, 1);
    errno = saved;
}

/* ---- setting it ---- */

static struct l_limit *push_limit(lua_State *L, struct l_runtime *rt) {
    l_pushshared(L, rt, L_SHARED_SCRATCH);
    if (lua_getfield(L, -1, "limit") == LUA_TNIL) {
        lua_pop(L, 1);
        struct l_limit *limit = lua_newuserdatauv(L, sizeof *limit, 1);
        memset(limit, 0, sizeof *limit);
        limit->rt = rt;
        l_pushhook(L, rt, "limit_metatable");
        lua_setmetatable(L, -2);
        lua_pushvalue(L, -1);
        lua_setfield(L, -3, "limit");
    }
    lua_remove(L, -2);
    return lua_touserdata(L, -1);
}

static void make_timer(lua_State *L, struct l_limit *limit) {
    if (limit->made) return;
    struct sigaction action = {.sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = limit_signal()};
    event.sigev_value.sival_ptr = limit;
    if (sigaction(limit_signal(), &action, NULL) < 0 ||
        timer_create(CLOCK_MONOTONIC, &event, &limit->timer) < 0) {
        luaL_error(L, "cannot set a time limit: %s", strerror(errno));
    }
    limit->made = true;
}

static int delete_timer(lua_State *L) {
    struct l_limit *limit = lua_touserdata(L, 1);
    if (limit->made) timer_delete(limit->timer);
    limit->made = false;
    return 0;
}

/* set_limit(seconds, last words): from now on; set_limit(nil): there is none any more */
static int set_limit(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    struct itimerspec times = {.it_interval = {.tv_nsec = PERIOD_NS}};
    int64_t ns = lua_isnoneornil(L, 1) ? 0 : l_checkseconds(L, 1);
    lua_settop(L, 2);
    struct l_limit *limit = push_limit(L, rt);
    if (ns > 0) {
        make_timer(L, limit);
        strncpy(limit->last_words, luaL_optstring(L, 2, ""), sizeof limit->last_words - 1);
        limit->L = L;
        lua_pushthread(L); /* it must not go while a signal may look at it */
        lua_setiuservalue(L, 3, 1);
    }
    if (!limit->made) return 0;
    times.it_value.tv_sec = ns / NS_PER_S;
    times.it_value.tv_nsec = ns % NS_PER_S;
    timer_settime(limit->timer, 0, &times, NULL);
    limit->alarms = 0;
    l_main_forget_request(rt);
    lua_sethook(L, NULL, 0, 0);
    return 0;
}

/* monotonic() -> seconds of real time, whatever the loops' clocks */
static int monotonic(lua_State *L) {
    lua_pushnumber(L, l_seconds(clock_monotonic()));
    return 1;
}

/* interrupted() -> whether SIGINT has ended, or is to end, the script */
static int interrupted(lua_State *L) {
    lua_pushboolean(L, l_runtime(L)->interrupted);
    return 1;
}

void l_limit_open(lua_State *L, struct l_runtime *rt) {
    static const luaL_Reg hooks[] = {{"set_limit", set_limit},
                                     {"monotonic", monotonic},
                                     {"interrupted", interrupted},
                                     {NULL, NULL}};
    l_pushshared(L, rt, L_SHARED_HOOKS);
    l_setfuncs(L, rt, hooks);
    lua_newtable(L);
    l_pushfunction(L, rt, delete_timer);
    lua_setfield(L, -2, "__gc");
    lua_setfield(L, -2, "limit_metatable");
    lua_pop(L, 1);
}
