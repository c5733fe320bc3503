/* overrides.h -- what a loop overrides of the methods that the runtime itself uses. */
#ifndef LOOPHOST_L_OVERRIDES_H
#define LOOPHOST_L_OVERRIDES_H

#include "bindings/loop.h"

/* Reads off what the loop at the index overrides. */
void l_overrides_refresh(lua_State *L, int index, struct l_loop *loop);

#endif
