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

/* A callback's object has its context as user value `index`, behind its function and arguments, or
 * none and an index of 0, if no context was set yet when it was made.  The first keeps the current
 * one, if any was ever set, in the object on top, which has room for it: whether it has; the second
 * pushes that of the object at `self`, or an empty one. */
static inline bool l_context_keep(lua_State *L, struct l_runtime *rt, int index) {
    if (rt->context_set) {
        l_context_push(L, rt);
        lua_setiuservalue(L, -2, index);
    }
    return rt->context_set;
}
void l_context_push_kept(lua_State *L, int self, int index);

/* In the loop's frame, before a callback: if any context was ever set, that of the object becomes
 * the current one.  The former one is left on top for l_context_leave,
 * which puts it back and leaves the callback's own, as that has changed it. */
bool l_context_enter(lua_State *L, struct l_runtime *rt, int self, int index);
static inline void l_context_leave(lua_State *L, struct l_runtime *rt) {
    l_context_swap(L, rt);
}

#endif
