/* call.h -- a callback whose handle nobody wants: `loop:call_soon(f)` as a statement.
 *
 * asyncio makes a Handle all the same.  Here there is one only when somebody gets to see it, which
 * is when the callback fails or is slow; until then the call is a small struct of the loop's, which
 * anchors the function itself. */
#ifndef LOOPHOST_L_CALL_H
#define LOOPHOST_L_CALL_H

#include "bindings/loop.h"

/* The function on top, which it pops, runs in the next turn of the loop at index 1.  May raise out
 * of memory, having done nothing. */
void l_call_soon(lua_State *L, struct l_loop *loop);

/* Frees the calls of a loop that has forgotten them. */
void l_call_free(struct l_loop *loop);

#endif
