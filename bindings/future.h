/* future.h -- a result that is not there yet, and who waits for it.  A task is one. */
#ifndef LOOPHOST_L_FUTURE_H
#define LOOPHOST_L_FUTURE_H

#include "bindings/loop.h"

enum l_future_state { L_PENDING, L_FINISHED, L_FAILED, L_CANCELLED };

/* There may be a million of them: small things share a word. */
struct l_future {
    struct l_object object;
    struct l_runtime *rt;
    struct l_loop *loop; /* NULL only for the main task before its first wait */
    enum l_future_state state : 4;
    bool unretrieved : 1;          /* it failed and nobody has looked at the error */
    bool has_extras : 1;           /* see L_FUTURE_VALUE */
    unsigned results : 26;         /* of a finished one; 2 and more are packed in a table */
    int functions;                 /* of scripts, among the callbacks */
    struct handle_queue callbacks; /* tasks that wait and l_handles, in order */
};

enum { L_FUTURE_MOST_RESULTS = (1 << 26) - 1 }; /* more than a stack of Lua's can hold */

/* L_FUTURE_VALUE holds the result, the error, or what cancel() was given; of a task that is not
 * done, the function that created it.  A future that has extras (enum l_future_extra) has a
 * table there instead, with this value among them. */
enum {
    L_FUTURE_LOOP = 1,
    L_FUTURE_VALUE,
    L_FUTURE_USERVALUES = L_FUTURE_VALUE,
};
enum l_future_extra {
    L_EXTRA_VALUE = 1,
    L_EXTRA_CALLBACKS,    /* list of the handles in `callbacks`: keeps them alive */
    L_EXTRA_GUARD,        /* reports an error that nobody looks at, when collected */
    L_EXTRA_STORY,        /* of a task that failed: its tracebacks, its awaiters' */
    L_EXTRA_CAUSE,        /* the future whose error this one passes on */
    L_EXTRA_CANCEL,       /* what cancel() does instead */
    L_EXTRA_NAME,         /* of a task, when set by hand */
    L_EXTRA_CONTEXT,      /* of a task: its context variables */
    L_EXTRA_MESSAGE,      /* of a task: what cancel() was last given while it waited for nothing, as
                          asyncio's _cancel_message, and even when that is over */
    L_EXTRA_WAIT_MESSAGE, /* the same while it waited for anything but a future: in asyncio the
                             message of the future behind that wait */
    L_EXTRA_COUNT = L_EXTRA_WAIT_MESSAGE,
};

void l_future_open(lua_State *L, struct l_runtime *rt);

/* Pushes a new future of the loop at the index. */
struct l_future *l_future_new(lua_State *L, struct l_runtime *rt, int loop_index,
                              struct l_loop *loop);

/* Prepares the future inside the new userdata on top for the loop at the index. */
void l_future_init(lua_State *L, struct l_future *future, int loop_index, struct l_loop *loop);

/* The future (or task) at the index, or NULL / an argument error. */
static inline struct l_future *l_future_test(lua_State *L, int index) {
    return l_test_either(L, index, L_FUTURE, L_TASK);
}
struct l_future *l_future_check(lua_State *L, int index);
static inline bool l_future_is_task(const struct l_future *future) {
    return l_is(&future->object, L_TASK);
}

/* Settles the future at the index with what is its value already, and
 * schedules its callbacks.  May raise out of memory, before anything has changed; or
 * what a call_soon of the loop's own raises. */
void l_future_settle(lua_State *L, int index, struct l_future *future, enum l_future_state state);

/* What is to be done if it has raised and nobody can try again: who waits is woken, functions
 * that have not been scheduled are lost.  Never raises. */
void l_future_settle_anyway(lua_State *L, struct l_future *future, enum l_future_state state);

/* Pushes the results and returns their number, or raises the error or CancelledError. */
int l_future_results(lua_State *L, int index, struct l_future *future);

/* Pushes the value of the future at the index; sets it to what is on top, which it pops.
 * Neither allocates. */
void l_future_getvalue(lua_State *L, int index, const struct l_future *future);
void l_future_setvalue(lua_State *L, int index, const struct l_future *future);

/* Pushes an extra of the future at the index (nil if there is none); sets it to the value on
 * top, which it pops: the first one that is not nil allocates. */
void l_future_getextra(lua_State *L, int index, enum l_future_extra key);
void l_future_setextra(lua_State *L, int index, enum l_future_extra key);

/* Cancels the future or task at the index; whether that had an effect.  The value on
 * top is the message, which it pops. */
bool l_future_cancel(lua_State *L, int index, struct l_future *future);

/* The n values on top become the results of the future at the index. */
void l_future_store_results(lua_State *L, int index, struct l_future *future, int n);

/* Has the error of the future at the index reported if nobody ever looks at it. */
void l_future_guard(lua_State *L, int index, struct l_future *future);

/* Pushes the CancelledError of a cancelled future. */
void l_future_pushcancelled(lua_State *L, int index, struct l_future *future);

/* Pushes what the cancelled future at the index was cancelled with; nil for a task that an
 * error ended. */
void l_future_push_cancel_message(lua_State *L, int index, struct l_future *future);

/* The pending target ends as the source, which is done, did; both by absolute indices. */
void l_future_copy_outcome(lua_State *L, int index, struct l_future *target, int source_index,
                           struct l_future *source);

/* What a Future can, a Task can: its methods; and the rest of the metatable on top,
 * which it pops. */
extern const luaL_Reg l_future_methods[];
void l_future_settype(lua_State *L, struct l_runtime *rt);

#endif
