/* worker.c -- Lua states for threads: made, given a call, interrupted at the end. */
#include "bindings/worker.h"

#include "bindings/copy.h"
#include "bindings/open.h"

#include <lua5.4/lualib.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { KEPT_KILOBYTES = 4096, MESSAGE_HANDLER = 1 };

/* ---- interrupting ---- */

/* Sent to a thread, never to the process, and only when the state is being closed. */
#define INTERRUPT (SIGRTMAX - 1)
static const int64_t PATIENCE_NS = 1000000000;

/* A signal handler has no argument: what the thread that it interrupts is running. */
static _Thread_local lua_State *interruptible;

static void raise_interrupt(lua_State *W, lua_Debug *info) {
    (void)info;
    luaL_error(W, "interrupted: the program is ending");
}

/* As lua.c does: a hook may be set at any time, if only by the thread that runs the state. */
static void on_interrupt(int number) {
    (void)number;
    if (interruptible == NULL) return;
    lua_sethook(interruptible, raise_interrupt,
                LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
}

static void allow_interrupt(lua_State *W) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, INTERRUPT);
    interruptible = W;
    pthread_sigmask(W != NULL ? SIG_UNBLOCK : SIG_BLOCK, &set, NULL);
}

/* ---- in the thread ---- */

/* Keeps the traceback, and makes the error something that can be copied. */
static int keep_error(lua_State *W) {
    lua_settop(W, 1);
    luaL_traceback(W, W, NULL, 1);
    lua_setfield(W, LUA_REGISTRYINDEX, "loophost.traceback");
    if (l_copy_refuses(W, 1)) luaL_tolstring(W, 1, NULL);
    lua_settop(W, lua_gettop(W) == 1 ? 1 : 3);
    return 1;
}

/* "os.execute", "socket.sleep", "my.module.fn": from the globals, or from a module.  Pushes
 * the value, which may be nil. */
static void find_by_name(lua_State *W, const char *name) {
    const char *part = name;
    int top = lua_gettop(W);
    lua_pushglobaltable(W);
    for (;;) {
        const char *dot = strchr(part, '.');
        lua_pushlstring(W, part, dot != NULL ? (size_t)(dot - part) : strlen(part));
        if (lua_type(W, -2) != LUA_TTABLE) {
            lua_pop(W, 1);
            lua_pushnil(W);
        } else {
            lua_rawget(W, -2);
        }
        lua_remove(W, -2);
        if (dot == NULL || lua_isnil(W, -1)) break;
        part = dot + 1;
    }
    const char *last = strrchr(name, '.');
    if (!lua_isnil(W, -1) || last == NULL) return;
    lua_getglobal(W, "require");
    lua_pushlstring(W, name, (size_t)(last - name));
    lua_call(W, 1, 1);
    lua_getfield(W, -1, last + 1);
    lua_replace(W, top + 1);
    lua_settop(W, top + 1);
}

/* code, text, arguments -> the results */
static int run_call(lua_State *W) {
    size_t length;
    const char *text = lua_tolstring(W, 2, &length);
    luaL_checkstack(W, LUA_MINSTACK, NULL);
    switch ((enum l_worker_code)lua_tointeger(W, 1)) {
    case L_WORKER_NAME:
        find_by_name(W, text);
        if (lua_isnil(W, -1)) return luaL_error(W, "there is no function '%s'", text);
        break;
    case L_WORKER_TEXT:
        if (luaL_loadbufferx(W, text, length, text, "t") != LUA_OK) return lua_error(W);
        break;
    case L_WORKER_DUMP:
        if (luaL_loadbufferx(W, text, length, "=?", "b") != LUA_OK) return lua_error(W);
        break;
    }
    lua_replace(W, 2);
    lua_remove(W, 1);
    lua_call(W, lua_gettop(W) - 1, LUA_MULTRET);
    for (int i = 1, n = lua_gettop(W); i <= n; i++) {
        if (l_copy_refuses(W, i)) {
            return luaL_error(W, "result #%d cannot be copied: %s", i, lua_tostring(W, -1));
        }
    }
    return lua_gettop(W);
}

static void work(struct threadpool_job *job) {
    struct l_worker *worker =
        container_of(container_of(job, struct l_job, job), struct l_worker, job);
    allow_interrupt(worker->state);
    worker->status = lua_pcall(worker->state, worker->arguments, LUA_MULTRET, MESSAGE_HANDLER);
    allow_interrupt(NULL);
}

/* ---- giving and taking ---- */

struct call {
    lua_State *from;
    enum l_worker_code code;
    int text, first, n;
};

/* call -> message handler, run_call, code, text, arguments */
static int load_call(lua_State *W) {
    const struct call *call = lua_touserdata(W, 1);
    lua_settop(W, 0);
    luaL_checkstack(W, call->n + LUA_MINSTACK, "too many arguments");
    lua_getfield(W, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(W, -1, LUA_LOADLIBNAME);
    for (int i = 0; i < 2; i++) { /* package.path, package.cpath */
        const char *path = lua_tostring(call->from, -1 - i);
        lua_pushstring(W, path);
        if (path != NULL) lua_setfield(W, 2, i == 0 ? "cpath" : "path");
    }
    lua_pushnil(W);
    lua_setfield(W, LUA_REGISTRYINDEX, "loophost.traceback");
    lua_settop(W, 0);
    lua_pushcfunction(W, keep_error);
    lua_pushcfunction(W, run_call);
    lua_pushinteger(W, call->code);
    l_copy(call->from, call->text, 1, W);
    l_copy(call->from, call->first, call->n, W);
    return lua_gettop(W);
}

void l_worker_load(lua_State *L, struct l_worker *worker, enum l_worker_code code, int text,
                   int first, int n) {
    struct call call = {L, code, text, first, n};
    lua_State *W = worker->state;
    int top = lua_gettop(L);
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, LUA_LOADLIBNAME);
    lua_getfield(L, -1, "path");
    lua_getfield(L, -2, "cpath");
    lua_settop(W, 0);
    lua_pushcfunction(W, load_call);
    lua_pushlightuserdata(W, &call);
    if (lua_pcall(W, 1, LUA_MULTRET, 0) != LUA_OK) {
        l_worker_release(worker);
        luaL_error(L, "cannot copy the arguments: not enough memory");
    }
    lua_settop(L, top);
    worker->arguments = n + 2;
    worker->calls++;
}

int l_worker_results(lua_State *L, struct l_worker *worker) {
    lua_State *W = worker->state;
    if (worker->status == LUA_OK) {
        int n = lua_gettop(W) - MESSAGE_HANDLER;
        l_copy(W, MESSAGE_HANDLER + 1, n, L);
        return n;
    }
    lua_getfield(W, LUA_REGISTRYINDEX, "loophost.traceback");
    l_copy(W, lua_gettop(W) - 1, 2, L);
    return -1;
}

void l_worker_release(struct l_worker *worker) {
    lua_State *W = worker->state;
    lua_settop(W, 0);
    if (lua_gc(W, LUA_GCCOUNT) > KEPT_KILOBYTES) lua_gc(W, LUA_GCCOLLECT);
}

static void call_done(struct l_job *job, bool worked) {
    struct l_worker *worker = container_of(job, struct l_worker, job);
    (void)worked;
    if (job->waiter == NULL) l_worker_release(worker); /* nobody wants to know */
}

/* ---- life ---- */

static int no_exit(lua_State *W) {
    return luaL_error(W, "os.exit: a thread cannot end the program");
}

static int open_state(lua_State *W) {
    luaL_openlibs(W);
    lua_getglobal(W, LUA_OSLIBNAME);
    lua_pushcfunction(W, no_exit);
    lua_setfield(W, -2, "exit");
    luaL_getsubtable(W, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(W, luaopen_loophost);
    lua_setfield(W, -2, "loophost");
    l_worker_replace_os(W);
    return 0;
}

static void leave_call(struct l_task *task) {
    l_task_leave_line(task);
    l_job_leave(task);
}

static const struct l_wait call_wait = {"a worker thread", leave_call};

/* But for those whose threads still run when the pool was given up: they are the thread's,
 * for as long as the process lives. */
static void free_workers(struct l_runtime *rt, struct threadpool *given_up) {
    while (rt->workers != NULL) {
        struct l_worker *worker = rt->workers;
        rt->workers = worker->next;
        while (handle_pop(&worker->owner) != NULL) continue; /* its task may be detached later */
        bool runs =
            given_up != NULL && threadpool_state(given_up, &worker->job.job) == THREADPOOL_RUNNING;
        if (l_job_under_way(&worker->job)) l_job_forget(&worker->job);
        if (runs) continue;
        lua_close(worker->state);
        free(worker);
    }
}

/* The Lua state is being closed. */
static int workers_gc(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    struct threadpool *pool = rt->pools[L_POOL_WORKERS];
    struct sigaction action = {.sa_handler = on_interrupt};
    rt->pools[L_POOL_WORKERS] = NULL;
    if (pool == NULL) return 0;
    sigaction(INTERRUPT, &action, NULL);
    for (struct l_worker *worker = rt->workers; worker != NULL; worker = worker->next) {
        threadpool_signal(pool, &worker->job.job, INTERRUPT);
    }
    free_workers(rt, threadpool_close(pool, PATIENCE_NS) ? NULL : pool);
    return 0;
}

static void guard_workers(lua_State *L, struct l_runtime *rt) {
    l_pushshared(L, rt, L_SHARED_SCRATCH);
    if (lua_getfield(L, -1, "workers") == LUA_TNIL) {
        lua_createtable(L, 0, 1);
        l_pushfunction(L, rt, workers_gc);
        lua_setfield(L, -2, "__gc");
        lua_newuserdatauv(L, 0, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -5, "workers"); /* before it guards: what is garbage must not */
        lua_insert(L, -2);
        lua_setmetatable(L, -2);
        lua_pop(L, 1);
    }
    lua_pop(L, 2);
}

static struct l_worker *new_worker(lua_State *L, struct l_runtime *rt) {
    struct l_worker *worker = calloc(1, sizeof *worker);
    lua_State *W = worker != NULL ? luaL_newstate() : NULL;
    if (W != NULL) {
        lua_pushcfunction(W, open_state);
        if (lua_pcall(W, 0, 0, 0) != LUA_OK) {
            lua_close(W);
            W = NULL;
        }
    }
    if (W == NULL) {
        free(worker);
        luaL_error(L, "cannot make a worker: not enough memory");
        return NULL;
    }
    worker->rt = rt;
    worker->state = W;
    handle_queue_init(&worker->owner);
    l_job_init(&worker->job, rt, L_POOL_WORKERS, &call_wait, work, call_done);
    worker->next = rt->workers;
    rt->workers = worker;
    return worker;
}

struct l_worker *l_worker_take(lua_State *L, struct l_runtime *rt) {
    l_job_open_pool(L, rt, L_POOL_WORKERS);
    guard_workers(L, rt);
    for (struct l_worker *worker = rt->workers; worker != NULL; worker = worker->next) {
        if (l_job_under_way(&worker->job) && worker->job.loop == NULL) {
            struct threadpool *pool = rt->pools[L_POOL_WORKERS];
            if (threadpool_state(pool, &worker->job.job) == THREADPOOL_DONE) {
                l_job_finish(L, &worker->job);
            }
        }
        if (!l_job_under_way(&worker->job) && handle_queue_empty(&worker->owner)) return worker;
    }
    return new_worker(L, rt);
}
