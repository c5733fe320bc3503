/* copy.h -- values from one Lua state to another.
 *
 * Nil, booleans, numbers, strings, light userdata, and tables of them without a metatable,
 * which may hold themselves or each other: what is one table in one state is one in the
 * other.  Nothing else can be copied. */
#ifndef LOOPHOST_L_COPY_H
#define LOOPHOST_L_COPY_H

#include <lua5.4/lua.h>
#include <stdbool.h>

/* Pushes why the value at the index cannot be copied, "a function (in field 'x')"; or, false,
 * nothing. */
bool l_copy_refuses(lua_State *L, int index);

/* Pushes copies of the n values from index `first` of `from`, none of which is refused, on
 * `to`.  Raises out of memory, in `to`; neither state may be in use by another thread. */
void l_copy(lua_State *from, int first, int n, lua_State *to);

#endif
