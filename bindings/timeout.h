/* timeout.h -- a deadline for a block. */
#ifndef LOOPHOST_L_TIMEOUT_H
#define LOOPHOST_L_TIMEOUT_H

#include "bindings/loop.h"

/* The loop, which is being closed, anchors the object at the index: if that is a timeout,
 * it is disarmed. */
void l_timeout_forget(lua_State *L, int index, const struct l_loop *loop);

#endif
