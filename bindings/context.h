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

/* Makes what is on top, which it pops, the current context.  May raise out of memory. */
void l_context_set(lua_State *L, struct l_runtime *rt);

/* Exchanges the context of callbacks with the one on top.  Does not allocate. */
void l_context_swap(lua_State *L, struct l_runtime *rt);

/* In the loop's frame, before a callback: if any context was ever set, that of the object at
 * `self`, its user value `index`, becomes the current one, or an empty one if the index is 0, as
 * none was set yet when the object was made.  The former one is left on top for l_context_leave,
 * which puts it back and leaves the callback's own, as that has changed it. */
bool l_context_enter(lua_State *L, struct l_runtime *rt, int self, int index);
static inline void l_context_leave(lua_State *L, struct l_runtime *rt) {
    l_context_swap(L, rt);
}

#endif
