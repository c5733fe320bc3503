/* error.h -- the error values of the library: tables with name, message, __tostring.
 *
 * A class is a table that makes its errors when called: lh.TimeoutError("too slow").
 * The names are asyncio's; see lh.iserror for asking. */
#ifndef LOOPHOST_ERROR_H
#define LOOPHOST_ERROR_H

#include "bindings/runtime.h"

/* Makes the classes; leaves nothing on the stack. */
void l_error_open(lua_State *L, struct l_runtime *rt);

/* Pushes a new error of the class with the message on top of the stack, which it
 * replaces (nil or a string; any value is kept). */
void l_error_new(lua_State *L, struct l_runtime *rt, const char *class_name);

/* Raises an error of the class. */
int l_error_raise(lua_State *L, struct l_runtime *rt, const char *class_name, const char *message);

/* Whether the value is a CancelledError. */
bool l_is_cancelled(lua_State *L, const struct l_runtime *rt, int index);

/* In a message handler, with the error on top: keeps its traceback until it is taken.
 * An error that came out of a script's own coroutine keeps that one's traceback too; a
 * cancellation keeps none, and the second returns false. */
void l_keep_traceback(lua_State *L, struct l_runtime *rt);
bool l_keep_inner_traceback(lua_State *L, struct l_runtime *rt, lua_State *failed);

/* The same for the error at the index that a worker raised, with its traceback at another. */
void l_keep_worker_traceback(lua_State *L, struct l_runtime *rt, int error, int traceback);

/* The error on top is what the kept inner traceback belongs to. */
void l_keep_inner_error(lua_State *L, struct l_runtime *rt);

/* Pushes the kept traceback, or nil. */
void l_take_traceback(lua_State *L, struct l_runtime *rt);

/* Keeps the future at the index as the one that the error on top, about to be raised,
 * came from; pushes it, or nil, for the error at the index. */
void l_keep_cause(lua_State *L, struct l_runtime *rt, int index);
void l_take_cause(lua_State *L, struct l_runtime *rt, int error);

#endif
