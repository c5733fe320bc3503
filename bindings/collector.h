/* collector.h -- how long Lua's collector waits before the next cycle. */
#ifndef LOOPHOST_L_COLLECTOR_H
#define LOOPHOST_L_COLLECTOR_H

#include "bindings/runtime.h"

/* For the host: from now on the pause is long while the heap is small, until a script sets one
 * of its own. */
void l_collector_open(lua_State *L, struct l_runtime *rt);

/* Lets the collector, which is stopped, run as if a cycle had just ended: started as Lua starts it,
 * it would begin one with the next object. */
void l_collector_start(lua_State *L);

/* To be called now and then: sets the pause anew if a cycle has ended.  Never raises. */
void l_collector_adapt_slowly(lua_State *L, struct l_runtime *rt);
static inline void l_collector_adapt(lua_State *L, struct l_runtime *rt) {
    if (rt->collected) l_collector_adapt_slowly(L, rt);
}

#endif
