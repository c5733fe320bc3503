/* recycle.h -- coroutines of tasks that are done, for tasks to come.
 *
 * A coroutine that has returned is as good as new, and making one is most of what a short
 * task costs.  Only those are kept which no script can have got hold of: a script that
 * asks for its coroutine gets one that is its task's alone for ever. */
#ifndef LOOPHOST_L_RECYCLE_H
#define LOOPHOST_L_RECYCLE_H

#include "bindings/task.h"

/* For the host, whose scripts know no coroutine.running but ours. */
void l_recycle_open(lua_State *L, struct l_runtime *rt);

/* Pushes a coroutine without anything on its stack. */
lua_State *l_recycle_push(lua_State *L, struct l_runtime *rt);

/* The task of the loop's frame, anchored in its slot, has returned from its body: keeps
 * the coroutine if nobody else can have it.  Never raises. */
void l_recycle_keep(struct l_loop *loop, struct l_task *task);

/* A script gets hold of the coroutine: it is kept by nobody. */
void l_recycle_expose(lua_State *coroutine);

#endif
