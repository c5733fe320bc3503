/* limit.h -- a limit in real time for what a script does, also if it never waits.
 *
 * A signal of a POSIX timer asks the task that the limit is for (the host's main task, or
 * that of lh.run or of a scenario) to end, as SIGINT does: by a CancelledError, where it
 * waits or, if Lua code is running, at its next instruction.  A task that goes on is asked
 * again every second; what has not ended after five, say in a C function that never returns,
 * ends the process with a message. */
#ifndef LOOPHOST_L_LIMIT_H
#define LOOPHOST_L_LIMIT_H

#include "bindings/runtime.h"

void l_limit_open(lua_State *L, struct l_runtime *rt);

#endif
