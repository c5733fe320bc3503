/* process.h -- a child process as an object. */
#ifndef LOOPHOST_L_PROCESS_H
#define LOOPHOST_L_PROCESS_H

#include "bindings/runtime.h"

struct l_process;

/* Leaves the stack as it was. */
void l_process_open(lua_State *L, struct l_runtime *rt);

/* The loop of the process, on top, is closed: kills the child if it still runs, and warns.
 * Reaps it.  Never raises. */
void l_process_abandon(lua_State *L, struct l_process *process);

#endif
