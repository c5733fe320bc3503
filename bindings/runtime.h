/* runtime.h -- what all bindings of one Lua state share.
 *
 * Every C function of the bindings is a closure with the runtime as its first
 * upvalue; there is no file-level state, so that Lua states are independent.
 * Objects are full userdata that begin with their C struct, which begins with a
 * struct l_object. */
#ifndef LOOPHOST_RUNTIME_H
#define LOOPHOST_RUNTIME_H

#include <lua5.4/lauxlib.h>
#include <lua5.4/lua.h>
#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "host/handle.h"

struct alloc;
struct l_loop;
struct l_task;
struct l_worker;
struct threadpool;

enum l_type {
    L_LOOP,
    L_HANDLE,
    L_TIMER_HANDLE,
    L_WATCH,
    L_FUTURE,
    L_TASK,
    L_GATHER,
    L_SLEEP,
    L_TIMEOUT,
    L_STREAM,
    L_TLS_CONTEXT,
    L_LISTENER,
    L_SERVICE,
    L_DATAGRAM,
    L_FILE,
    L_INOTIFY,
    L_PROCESS,
    L_QUERY,
    L_LOCK,
    L_EVENT,
    L_CONDITION,
    L_SEMAPHORE,
    L_BOUNDED_SEMAPHORE,
    L_QUEUE,
    L_PRIORITY_QUEUE,
    L_LIFO_QUEUE,
    L_TYPE_COUNT,
};

/* What each object begins with: an address that nobody else has and that says what it is.  To
 * read it is quicker than to compare metatables, and no debug.setmetatable can change it. */
struct l_object {
    const char *kind; /* &l_kinds[type] */
};
extern const char l_kinds[L_TYPE_COUNT];

/* Pools of threads: see job.h. */
enum l_pool { L_POOL_FILES, L_POOL_WORKERS, L_POOL_COUNT };

/* Tables that the bindings and the Lua half share, kept in the registry. */
enum l_shared {
    L_SHARED_METHODS, /* the methods of lh.EventLoop: what a loop is that overrides nothing */
    L_SHARED_HOOKS,   /* functions of the Lua half that C calls, by name */
    L_SHARED_ERRORS,  /* error classes by name */
    L_SHARED_LOOPS,   /* loops by their number, weakly */
    L_SHARED_SCRATCH, /* the traceback of the last error, the main task, ... */
    L_SHARED_JOBS,    /* what threads work on, by the job's address */
    L_SHARED_CREATOR, /* weakly: see spawn.c */
    L_SHARED_PLACES,  /* where objects were made: see inventory.h */
    L_SHARED_LISTED,  /* what is open, by address: see inventory.h */
    L_SHARED_COUNT,
};

struct l_runtime {
    struct l_task *current;      /* the task whose step runs, or NULL */
    lua_State *coroutine;        /* the coroutine in which that task may wait */
    struct l_loop *running;      /* the loop that runs, or NULL */
    struct l_task *cause_task;   /* whose wait has raised the error that l_keep_cause keeps */
    struct l_task *main;         /* the host's main task until it is done, or NULL */
    struct alloc *alloc;         /* the state's memory, or NULL if that is not ours */
    char *scratch;               /* memory that reads go to first; see stream_read.c */
    size_t ahead_used;           /* bytes of what stands there behind the first chunk */
    unsigned ahead_streams;      /* how many streams have bytes there */
    unsigned immediate;          /* operations of this step that could have waited but did not */
    struct handle_queue starved; /* run when a descriptor was given back */
    bool passing;                /* a wait is on its way up from `coroutine` to the step */
    int metatable_refs[L_TYPE_COUNT]; /* where the registry has them */
    int shared_refs[L_SHARED_COUNT];
    const char *type_names[L_TYPE_COUNT];
    struct handle interrupt; /* cancels the main task; queued by a signal handler */
    volatile bool interrupted, interrupt_pending;
    atomic_bool interrupt_sent;
    bool context_set;                       /* some ContextVar was ever set: see context.h */
    struct threadpool *pools[L_POOL_COUNT]; /* made when first needed */
    struct l_worker *workers;               /* see worker.h */
    struct handle_queue files;              /* that are open */
    struct handle_queue jobs;               /* under way in them */
    lua_CFunction traceback;                /* debug.traceback */
    bool recycles;                          /* coroutines: see recycle.h */
    bool knows_wanted;                      /* see wanted.h */
    lua_Integer tasks_named;                /* so far, as Task-N */
    lua_Integer loops_made;                 /* so far: their keys in L_SHARED_LOOPS */
    const void *cancelled_error;            /* the metatable of CancelledError */
    struct l_loop *interrupt_loop;          /* where `interrupt` was sent */
    bool leaving;                           /* the main task wants to go on outside of its loop */
    bool tracking;                          /* of what scripts make: see inventory.h */
    lua_Integer listed;                     /* so far: the order of what is listed there */
    int pause;      /* of the collector, or 0 if it is not ours: see collector.h */
    bool collected; /* a cycle has ended since that was set */
};

/* The runtime of the running C function. */
static inline struct l_runtime *l_runtime(lua_State *L) {
    return lua_touserdata(L, lua_upvalueindex(1));
}

/* A descriptor was given back: whoever waits for one can have it. */
static inline void l_descriptor_freed(struct l_runtime *rt) {
    struct handle *starved;
    while ((starved = handle_pop(&rt->starved)) != NULL) starved->run(starved);
}

/* Makes the runtime of this state, or finds it; it lives as long as the state. */
struct l_runtime *l_runtime_open(lua_State *L);

/* Sets the functions into the table on top, each with the runtime as upvalue. */
void l_setfuncs(lua_State *L, struct l_runtime *rt, const luaL_Reg *functions);
void l_pushfunction(lua_State *L, struct l_runtime *rt, lua_CFunction function);

/* Makes a metatable "loophost.<name>", a literal, with these methods under __index and
 * leaves it on top. */
void l_newtype(lua_State *L, struct l_runtime *rt, enum l_type type, const char *name,
               const luaL_Reg *methods);

/* A new userdata of the type on top, zeroed, with its metatable set. */
void *l_newobject(lua_State *L, struct l_runtime *rt, enum l_type type, size_t size,
                  int uservalues);

/* The object at the index, or NULL if it is none of ours. */
static inline struct l_object *l_object_at(lua_State *L, int index) {
    struct l_object *object = lua_touserdata(L, index);
    return object != NULL && lua_rawlen(L, index) >= sizeof *object ? object : NULL;
}

static inline bool l_is(const struct l_object *object, enum l_type type) {
    return object->kind == &l_kinds[type];
}

/* The object at the index if it is of the type, else NULL. */
static inline void *l_test(lua_State *L, int index, enum l_type type) {
    struct l_object *object = l_object_at(L, index);
    return object != NULL && l_is(object, type) ? object : NULL;
}

/* The same for objects of one of two types. */
static inline void *l_test_either(lua_State *L, int index, enum l_type type, enum l_type other) {
    struct l_object *object = l_object_at(L, index);
    return object != NULL && (l_is(object, type) || l_is(object, other)) ? object : NULL;
}

/* The object at the index, or an argument error that names the type. */
int l_object_error(lua_State *L, int index, enum l_type type);
static inline void *l_check(lua_State *L, int index, enum l_type type) {
    void *object = l_test(L, index, type);
    if (object == NULL) l_object_error(L, index, type);
    return object;
}

/* Raises "<who> expected, got <what>" for the argument. */
int l_type_error(lua_State *L, int arg, const char *expected);

static inline void l_pushshared(lua_State *L, const struct l_runtime *rt, enum l_shared which) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, rt->shared_refs[which]);
}

/* Has the table on top hold its values weakly. */
void l_make_weak(lua_State *L);

/* Pushes the Lua half's function `name`. */
void l_pushhook(lua_State *L, struct l_runtime *rt, const char *name);

/* Pushes "file:line" of the innermost function on the stack that is a script's, not the library's;
 * false: there is none, and nothing is pushed. */
bool l_push_script_line(lua_State *L, lua_State *stack);

/* "Never": further away than any clock gets. */
#define L_FOREVER_NS (INT64_MAX / 4)

/* Seconds of Lua, which are not NaN, to nanoseconds: rounds to the nearest, saturates. */
static inline int64_t l_nanoseconds(lua_Number seconds) {
    lua_Number ns = seconds * 1e9;
    if (ns >= (lua_Number)L_FOREVER_NS) return L_FOREVER_NS;
    if (ns <= -(lua_Number)L_FOREVER_NS) return -L_FOREVER_NS;
    return (int64_t)(ns + copysign(0.5, ns));
}
static inline lua_Number l_seconds(int64_t ns) {
    return (lua_Number)ns / 1e9;
}

/* The argument in nanoseconds; NaN is an argument error. */
int64_t l_checkseconds(lua_State *L, int arg);

#endif
