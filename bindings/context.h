/* context.h -- the values of context variables where the code at hand runs.
 *
 * A context is whatever the Lua half makes of it (a table that is never changed, only
 * replaced).  A task has one, begun with its maker's; a callback has that of the one who
 * scheduled it; all else shares one.  Nobody pays for them before the first is set. */
#ifndef LOOPHOST_L_CONTEXT_H
#define LOOPHOST_L_CONTEXT_H

#include "bindings/runtime.h"

void l_context_open(lua_State *L, struct l_runtime *rt);

/* Pushes the current context. */
void l_context_push(lua_State *L, struct l_runtime *rt);

/* Exchanges the context of callbacks with the one on top.  Does not allocate. */
void l_context_swap(lua_State *L, struct l_runtime *rt);

#endif
