/* result.h -- what the world did wrong, as Lua's io library tells it: nil, message, code. */
#ifndef LOOPHOST_L_RESULT_H
#define LOOPHOST_L_RESULT_H

#include "bindings/runtime.h"

/* Pushes nil, "ECONNREFUSED: connection refused", "ECONNREFUSED" for the positive errno;
 * returns 3. */
int l_push_errno(lua_State *L, int error);

/* The same with a code and a text of our own: nil, "EOF: ...", "EOF". */
int l_push_failure(lua_State *L, const char *code, const char *text);

#endif
