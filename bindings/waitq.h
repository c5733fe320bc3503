/* waitq.h -- tasks that wait in line for a lock, an event, an item.
 *
 * Who waits has a place in the line until it has run again, as the futures in asyncio's
 * deques have: a task that was woken, or cancelled, and has not run yet is still there to
 * be seen.  Places live in the tasks and waking is l_task_wake, so nothing allocates; but
 * on loops that override create_future each wait is for a future of that loop's making.
 *
 * The line lives in a userdata, which is at index 1 of all who wait in it. */
#ifndef LOOPHOST_L_WAITQ_H
#define LOOPHOST_L_WAITQ_H

#include "bindings/task.h"

struct l_waitq {
    struct handle_queue waiting; /* and, of some kinds of wait, the cancelled */
    struct handle_queue woken;   /* who have not run yet */
};

void l_waitq_init(struct l_waitq *queue);

/* Everybody leaves: to be called by __gc.  Harmless before l_waitq_init. */
void l_waitq_clear(struct l_waitq *queue);

/* What an l_wait does on cancellation: give up the place at once; or keep it until the
 * task has run and passed the line's turn on. */
void l_waitq_leave(struct l_task *task);
void l_waitq_stay(struct l_task *task);

/* Suspends the running task at the end of the line; `return` it.  Raises, with nothing
 * changed, where no task can wait. */
int l_waitq_wait(lua_State *L, struct l_waitq *queue, const struct l_wait *wait,
                 lua_KFunction continuation);

/* How the wait ended; but for L_WAIT_WOKEN the error to raise is on top. */
enum l_wait_end {
    L_WAIT_WOKEN,
    L_WAIT_LOST, /* was woken, but has to raise an error: the wake is somebody else's */
    L_WAIT_CANCELLED,
};

/* The continuation begins with this: the task gives up its place.  The stack is as it
 * was when the wait began.  The context is the task, or 0 if it waited by a future. */
enum l_wait_end l_waitq_resumed_otherwise(lua_State *L, int status, lua_KContext context);
static inline enum l_wait_end l_waitq_resumed(lua_State *L, int status, lua_KContext context) {
    struct l_task *task = (struct l_task *)context; /* NOLINT(performance-no-int-to-ptr) */
    if (task == NULL || task->throwing) return l_waitq_resumed_otherwise(L, status, context);
    l_task_leave_line(task);
    return L_WAIT_WOKEN;
}

/* The object at index 1, whose line `member` it was, for the continuation: as a rule the task
 * still knows the line, and that is quicker than to ask Lua. */
#define L_WAITQ_OWNER(L, context, type, member) \
    ((type *)l_waitq_owner(L, context, offsetof(type, member)))
static inline void *l_waitq_owner(lua_State *L, lua_KContext context, size_t offset) {
    struct l_task *task = (struct l_task *)context; /* NOLINT(performance-no-int-to-ptr) */
    if (task == NULL || task->wait_on == NULL) return lua_touserdata(L, 1);
    return (char *)task->wait_on - offset;
}

/* Wakes the first who still waits, false if nobody does; or everybody, in order. */
bool l_waitq_wake_next(lua_State *L, struct l_waitq *queue);
void l_waitq_wake_all(lua_State *L, struct l_waitq *queue);

/* The same, but only if the first in line still waits: who was woken or cancelled, and
 * has not run yet, will see to it. */
void l_waitq_wake_head(lua_State *L, struct l_waitq *queue);

/* Whether somebody who is not cancelled has a place: who comes now must queue up. */
bool l_waitq_busy(const struct l_waitq *queue);

/* Whether the task waits in a line, of the object at index 1 of its leaf. */
bool l_waitq_waits_in_line(const struct l_task *task);

/* How many have a place, for people. */
int l_waitq_length(const struct l_waitq *queue);

#endif
