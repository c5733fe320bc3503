/* recycle.h -- coroutines of tasks that are done, for tasks to come.
 *
 * A coroutine that has returned is as good as new, and making one is most of what a short
 * task costs.  Only those are kept which no script can have got hold of: a script that
 * asks for its coroutine gets one that is its task's alone for ever.
 *
 * Each loop has its own.  They are the user values of one userdata, where they stay while a
 * task uses them: to take one and to give it back costs nothing but two numbers.  All that a
 * coroutine holds, its task too, lives no longer than the loop for that. */
#ifndef LOOPHOST_L_RECYCLE_H
#define LOOPHOST_L_RECYCLE_H

#include "bindings/task.h"

enum { L_KEPT_COROUTINES = 256 };

struct l_coroutines {
    int used;  /* slots that ever held one */
    int idle;  /* how many are in use by no task */
    int empty; /* slots that hold none any more */
    /* the idle ones from the front, the empty slots from the back */
    unsigned short slots[L_KEPT_COROUTINES];
    lua_State *at[L_KEPT_COROUTINES + 1]; /* by slot, from 1 */
};

/* For the host, whose scripts know no coroutine.running but ours. */
void l_recycle_open(struct l_runtime *rt);

/* Makes room for what the loop may have to keep.  May raise out of memory. */
void l_recycle_prepare(lua_State *L, struct l_loop *loop);

/* Whether there is one to take; gives it to the task, which has none, with nothing on its
 * stack. */
static inline bool l_recycle_can(lua_State *L, const struct l_loop *loop) {
    return loop->coroutines != NULL && loop->coroutines->idle > 0 && loop->overrides == 0 &&
           lua_gethookmask(L) == 0;
}
static inline void l_recycle_take(struct l_loop *loop, struct l_task *task) {
    struct l_coroutines *coroutines = loop->coroutines;
    unsigned slot = coroutines->slots[--coroutines->idle];
    task->kept_at = slot & L_TASK_LAST_SLOT;
    task->coroutine = coroutines->at[slot];
}

/* The task of the loop's frame, anchored in its slot, is done: keeps the coroutine if that has
 * returned and nobody else can have it; else it is the task's alone.  Never raises. */
void l_recycle_keep(struct l_loop *loop, struct l_task *task, bool returned);

/* The coroutine of the task at the index is its own from now on, and not its loop's. */
void l_recycle_leave(lua_State *L, int index, struct l_task *task);

/* A script gets hold of the coroutine: it is kept by nobody. */
void l_recycle_expose(lua_State *coroutine);

/* Pushes the coroutine of the task at the index, nil if it is another task's now. */
void l_recycle_pushown(lua_State *L, int index, const struct l_task *task);

#endif
