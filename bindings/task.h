/* task.h -- a coroutine as a job: nobody else, but for the step (step.h), resumes and yields.
 *
 * A task is a future whose result its coroutine computes.  Its step resumes the
 * coroutine; a wait records in the task what it waits for and yields; whatever ends
 * the wait wakes the task, which schedules the next step.  Nothing is allocated on
 * that way, and nothing is passed by yield or resume: the wait's continuation, on its
 * own stack, knows what it wanted.
 *
 * A wait may be inside coroutines of the script's own, to any depth: each
 * coroutine.resume on the way up passes the wait on instead of returning, and resumes
 * its coroutine again on the way down. */
#ifndef LOOPHOST_L_TASK_H
#define LOOPHOST_L_TASK_H

#include "bindings/future.h"

struct l_task;

/* What a task can wait for. */
struct l_wait {
    const char *name; /* "sleep", "Lock.acquire": for people */
    /* The task, which waits, is cancelled: takes it out of whatever queue it stands in.
     * It is then woken and the wait's continuation raises the error. */
    void (*leave)(struct l_task *task);
};

/* Like a future's, its small things share a word; what each step needs stands together. */
struct l_task {
    struct l_future future;
    lua_State *coroutine;      /* kept alive by user value L_TASK_COROUTINE or by kept_at */
    lua_State *leaf;           /* where it waits: the innermost coroutine */
    const struct l_wait *wait; /* NULL: ready, running or done */
    void *wait_on;             /* as the kind of wait wants it */
    bool has_priority : 1;
    bool unbegun : 1;
    bool exposed : 1;      /* its coroutine, to scripts: see recycle.h */
    bool must_cancel : 1;  /* raise CancelledError at the next step */
    bool cancel_woke : 1;  /* and that step is due to the cancellation itself */
    bool throwing : 1;     /* the step under way raises it at the wait */
    bool yielded : 1;      /* coroutine.yield suspends it, where an error can be raised */
    bool deaf : 1;         /* a foreign yield suspends it, where none can */
    bool by_method : 1;    /* the next step is on its way through the loop's own call_soon */
    bool throwing_own : 1; /* the error has L_EXTRA_MESSAGE; else L_EXTRA_WAIT_MESSAGE */
    enum l_future_state outcome : 2; /* what the body came to */
    unsigned created_line : 20;      /* in the function that created it; see L_FUTURE_VALUE */
    unsigned number;                 /* Task-N */
    struct timer timer;              /* its handle is the step, or stands in what the task waits
                                    for; its node is a sleep's deadline or the priority */
    struct handle place;             /* in line for a lock or the like, until it has run again */
    lua_Number priority;
    int slot;
    int cancelling : 22;   /* cancel() less uncancel(), up to L_TASK_MOST_CANCELS */
    unsigned kept_at : 10; /* the coroutine is one that the loop keeps there; or 0: see recycle.h */
};
enum {
    L_TASK_LAST_LINE = (1 << 20) - 1,
    L_TASK_LAST_SLOT = (1 << 10) - 1,
    L_TASK_MOST_CANCELS = (1 << 21) - 1,
};

/* What lh.Sleep makes: a sleep that is still to be awaited. */
struct l_sleep {
    struct l_object object;
    int64_t delay_ns;
};

enum {
    L_TASK_COROUTINE = L_FUTURE_USERVALUES + 1,
    L_TASK_AWAITED, /* under stock Lua only: see l_task_hold */
    L_TASK_USERVALUES = L_TASK_COROUTINE,
};

/* The word of a coroutine's own that its extra space holds: see task.c. */
enum { L_OWNER_WAITS_INSIDE = 1, L_OWNER_DONE = 2 };
static inline uintptr_t *l_task_owner(lua_State *coroutine) {
    return lua_getextraspace(coroutine);
}

/* The task whose own coroutine this running one is, if that may wait here; else NULL, and
 * l_task_may_wait says more.  The coroutine holds its task, see spawn.c: the word in the
 * extra space of a running one is good, though others may have run a loop inside it. */
static inline struct l_task *l_task_here(lua_State *L) {
    uintptr_t owner = *l_task_owner(L);
    if (owner == 0 || (owner & (L_OWNER_WAITS_INSIDE | L_OWNER_DONE)) != 0) return NULL;
    struct l_task *task = (struct l_task *)owner; /* NOLINT(performance-no-int-to-ptr) */
    const struct l_runtime *rt = task->future.rt;
    bool may_wait = rt->coroutine == L && rt->running != NULL && lua_isyieldable(L);
    return may_wait ? task : NULL;
}

/* Makes a task of the function or coroutine at `first` and the arguments above it,
 * which it replaces; says that the function at level `caller` of the stack created it.
 * The task is on no loop yet. */
struct l_task *l_task_new(lua_State *L, struct l_runtime *rt, int first, int caller);

/* In place of the level: that of a caller who is no function of the library for sure, which
 * saves the look; or nobody yet, for l_task_copy_creator. */
enum { L_NO_CREATOR = -1, L_SCRIPT_CALLER = -2 };

/* Says that the task on top was created where the one at the index `sibling` was. */
void l_task_copy_creator(lua_State *L, struct l_task *task, int sibling);

/* l_task_new and l_task_attach in one, as loop.create_task does it. */
struct l_task *l_task_create(lua_State *L, struct l_loop *loop, int first, int caller);

/* Puts the task on top on the loop, which is open.  A new one begins in the next
 * turn; the main task, which runs already, is from now on woken by that loop. */
void l_task_attach(lua_State *L, struct l_task *task, struct l_loop *loop);

/* The body has failed with the error on top; the task is at index 1.  Keeps the error and
 * its story: the traceback, who awaited it, where it was created. */
void l_task_keep_failure(lua_State *L, struct l_task *task);

/* Pushes "file:line" where the task at the index was created; nil if that is not known, or not
 * any more. */
void l_task_pushcreated(lua_State *L, int index, const struct l_task *task);

/* How a body ends, with its results or its error above index 2: for the one body that is
 * not called by the usual function (main_task.c).  task, message handler, ... */
int l_task_body_done(lua_State *L, int status, lua_KContext context);

/* The task that may wait here, or an error that says why `what` cannot wait.  A main
 * task that waits for the first time is put on `loop`, or if NULL on the current one. */
struct l_task *l_task_check_may_wait(lua_State *L, struct l_runtime *rt, const char *what,
                                     struct l_loop *loop);
static inline struct l_task *l_task_may_wait(lua_State *L, struct l_runtime *rt, const char *what,
                                             struct l_loop *loop) {
    if (L == rt->coroutine && rt->running != NULL && lua_isyieldable(L)) return rt->current;
    return l_task_check_may_wait(L, rt, what, loop);
}

/* The same for a wait that only tasks of the loop can have, as the `object` ("stream") belongs
 * to that; else it raises the second. */
struct l_task *l_task_may_wait_for(lua_State *L, struct l_runtime *rt, const char *what,
                                   const char *object, struct l_loop *loop);
int l_task_wrong_loop(lua_State *L, const char *what, const char *object);

/* Pushes the loop to which a stream or the like belongs that is opened here: the one that
 * runs.  Raises where none does, and where a task runs that may not wait. */
struct l_loop *l_task_push_loop(lua_State *L, struct l_runtime *rt, const char *what);

/* Puts a main task that is on no loop on the current one, so that scripts can have it. */
void l_task_bind_main(lua_State *L, struct l_task *task);

/* What l_task_wait_k puts down in the task before it yields. */
static inline void l_task_begin_wait(lua_State *L, struct l_task *task, const struct l_wait *wait,
                                     void *wait_on) {
    task->wait = wait;
    task->wait_on = wait_on;
    task->leaf = L;
    task->future.rt->passing = true;
}

/* Suspends the running task; `return` it.  The continuation begins with
 * l_task_resumed, which raises the cancellation if there is one. */
static inline int l_task_wait_k(lua_State *L, struct l_task *task, const struct l_wait *wait,
                                void *wait_on, lua_KContext context, lua_KFunction continuation) {
    l_task_begin_wait(L, task, wait, wait_on);
    return lua_yieldk(L, 0, context, continuation);
}
int l_task_wait(lua_State *L, struct l_task *task, const struct l_wait *wait, void *wait_on,
                lua_KFunction continuation);
void l_task_resumed(lua_State *L, struct l_runtime *rt);

/* The task that goes on in the continuation of its wait.  Under stock Lua a script can resume the
 * coroutine of one where no task runs: an error. */
int l_task_resumed_astray(lua_State *L);
static inline struct l_task *l_task_resumed_one(lua_State *L, const struct l_runtime *rt) {
    if (rt->current == NULL) l_task_resumed_astray(L);
    return rt->current;
}

/* Under stock Lua a script can also close the coroutine of a task: so there a task holds the future
 * that it awaits, at the index, which has it in its queue.  0: nothing any more. */
void l_task_hold_slowly(lua_State *L, struct l_task *task, int index);
static inline void l_task_hold(lua_State *L, struct l_task *task, int index) {
    if (!task->future.rt->recycles) l_task_hold_slowly(L, task, index);
}

/* Waits for the future at the index, whose results the calling C function returns. */
int l_task_await(lua_State *L, struct l_runtime *rt, int index);
int l_task_await_future(lua_State *L, struct l_runtime *rt, int index, struct l_future *future);

/* Begins to wait for the future, which must be at index 1 of the waiting coroutine; the
 * continuation of such a wait, which returns the results. */
void l_task_start_await(struct l_task *task, struct l_future *future);
int l_task_await_done(lua_State *L, int status, lua_KContext context);

/* The innermost coroutine of a task that waits; but its own if that was closed, under stock Lua: the
 * others may be collected then. */
static inline lua_State *l_task_leaf(const struct l_task *task) {
    bool is_suspended = task->future.rt->recycles || lua_status(task->coroutine) == LUA_YIELD;
    return is_suspended ? task->leaf : task->coroutine;
}

/* Whether it waits for a future, which then is at index 1 of its leaf. */
bool l_task_awaits_future(const struct l_task *task);

/* Takes the task out of the line in which it stands, if any. */
static inline void l_task_leave_line(struct l_task *task) {
    if (handle_queued(&task->place)) handle_unlink(&task->place);
}

/* The step, and putting it into the loop for the next turn; on a loop that overrides
 * call_soon, that is this function of the task: task -> loop:call_soon(step). */
void l_task_step(struct handle *handle);
void l_task_schedule_otherwise(lua_State *L, struct l_task *task);
static inline void l_task_schedule(lua_State *L, struct l_task *task) {
    struct l_loop *loop = task->future.loop;
    task->timer.handle.run = l_task_step;
    if (loop->overrides != 0 || task->has_priority) {
        l_task_schedule_otherwise(L, task);
    } else {
        loop_call_soon(&loop->loop, &task->timer.handle);
    }
}
int l_task_call_method(lua_State *L);

/* Ends the task's wait and schedules its step.  Never raises. */
static inline void l_task_wake(lua_State *L, struct l_task *task) {
    task->wait = NULL;
    l_task_schedule(L, task);
}

/* The task whose step, or whose place in a queue, this handle is; else NULL. */
struct l_task *l_task_of(struct handle *handle);

/* Cancels the task, whose userdata is on top, with the message under it. */
bool l_task_cancel(lua_State *L, struct l_task *task);

/* The loop forgets a task that is not done: it will never run again. */
void l_task_detach(struct l_task *task);

/* Pushes the task's userdata; it must not be done. */
void l_task_push(lua_State *L, struct l_task *task);

/* Pushes the name of the task at the index. */
void l_task_pushname(lua_State *L, int index, struct l_task *task);

/* Puts the task, for which the foreign yield or lh.sleep at hand wants it, to sleep; false: no
 * memory, nothing is done. */
bool l_task_start_sleep(struct l_task *task, int64_t delay_ns);
extern const struct l_wait l_sleep_wait;

/* Runs the first stretch of the main task, which is on top and on no loop yet, until it
 * waits (it is on a loop then) or is done. */
void l_task_start_main(lua_State *L, struct l_task *task);

/* What a script's own coroutine came to when resumed: a Lua status, or L_WAITS: it
 * waits inside a task, and the resumer must `return l_task_pass(...)`, whose
 * continuation resumes it again. */
enum { L_WAITS = -1 };
int l_task_resume_nested(lua_State *L, struct l_runtime *rt, lua_State *coroutine, int arguments,
                         int *results);
int l_task_pass(lua_State *L, lua_KContext context, lua_KFunction continuation);

/* coroutine.yield */
int l_task_yield(lua_State *L);

/* Whether the function at the index is what xpcall calls a script's message handler by. */
bool l_handles_message(lua_State *L, int index);

/* Whether the coroutine is a task's own, or waits inside one: not a script's to touch. */
bool l_task_owns(lua_State *coroutine);

/* The coroutine that resumed this one, which waits; NULL for a task's own. */
lua_State *l_task_outer(lua_State *coroutine);

#endif
