/* main_task.h -- the script as the first task: how the host runs it and what follows. */
#ifndef LOOPHOST_L_MAIN_TASK_H
#define LOOPHOST_L_MAIN_TASK_H

#include "bindings/runtime.h"

/* Makes the main task of the function and the arguments on top of the main state,
 * which it pops: next(true) -> a function and its arguments, which are called in place of
 * it; then next(true, results...) or next(false, error), until it answers nothing,
 * and if the last one failed so has the script; or false, and it has not.
 *
 * Runs it: until its first wait on its own, then the loop that it waits on until it is done;
 * then the current loop until no task, timer, reader or writer is left.  A script that fails or is interrupted has what is left cancelled and awaited.
 * Errors are printed by the hook print_main_error(error, story).  Returns the exit
 * status: 0, 1, or 130 when the interrupt ended it.  Never raises. */
int l_main_run(lua_State *L, struct l_runtime *rt, int arguments);

void l_main_open(lua_State *L, struct l_runtime *rt);

/* From a signal handler: cancels the main task, at its wait or at its next one; a loop
 * that the script runs itself is ended with a CancelledError. */
void l_main_interrupt(struct l_runtime *rt);

/* The same for a limit of time: if the task deals with it, nothing was amiss.  From a signal
 * handler; forgotten from the loop's thread, when it did not come to anything yet. */
void l_main_request_end(struct l_runtime *rt);
void l_main_forget_request(struct l_runtime *rt);

/* The coroutine in which the main task's code runs at this moment, for a hook that calls
 * l_main_raise; NULL if it waits, where l_main_interrupt reaches it. */
lua_State *l_main_running(const struct l_runtime *rt);

/* The loop is closed, and what was on its way in it is gone. */
void l_main_loop_closed(struct l_runtime *rt, const struct l_loop *loop);

/* Before lua_close inside the main task, which will not come back. */
void l_main_abandon(struct l_runtime *rt);

/* Raises the CancelledError of an interrupt in the running code. */
int l_main_raise(lua_State *L, struct l_runtime *rt);

#endif
