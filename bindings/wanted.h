/* wanted.h -- whether the caller of a C function wants what it returns. */
#ifndef LOOPHOST_L_WANTED_H
#define LOOPHOST_L_WANTED_H

#include "bindings/runtime.h"

/* Finds out whether l_result_wanted can tell, in this build of Lua. */
void l_wanted_open(lua_State *L, struct l_runtime *rt);

/* False if the running C function is called as a statement, so that nobody will ever see what
 * it returns; true if somebody may.  Some 25 instructions, no allocation. */
bool l_result_wanted(lua_State *L, const struct l_runtime *rt);

#endif
