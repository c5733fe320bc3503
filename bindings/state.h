/* state.h -- a Lua state as luaL_newstate makes it, with an allocator of its own. */
#ifndef LOOPHOST_L_STATE_H
#define LOOPHOST_L_STATE_H

#include <lua5.4/lua.h>

/* NULL when there is no memory; with no allocator, luaL_newstate itself. */
lua_State *l_state_new(lua_Alloc allocator, void *arg);

#endif
