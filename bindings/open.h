/* open.h -- the modules that the bindings are made of, and the library as a whole. */
#ifndef LOOPHOST_OPEN_H
#define LOOPHOST_OPEN_H

#include "bindings/runtime.h"

/* Each leaves the stack as it was. */
void l_clock_open(lua_State *L, struct l_runtime *rt);
void l_inotify_open(lua_State *L, struct l_runtime *rt);
void l_watch_open(lua_State *L, struct l_runtime *rt);
void l_wait_open(lua_State *L, struct l_runtime *rt);
void l_gather_open(lua_State *L, struct l_runtime *rt);
void l_timeout_open(lua_State *L, struct l_runtime *rt);
void l_taskobject_open(lua_State *L, struct l_runtime *rt);
void l_coroutine_open(lua_State *L, struct l_runtime *rt);
void l_lineedit_open(lua_State *L, struct l_runtime *rt);
void l_sync_open(lua_State *L, struct l_runtime *rt);
void l_queue_open(lua_State *L, struct l_runtime *rt);
void l_names_open(lua_State *L, struct l_runtime *rt);
void l_socket_open(lua_State *L, struct l_runtime *rt);
void l_thread_open(lua_State *L, struct l_runtime *rt);
void l_datagram_open(lua_State *L, struct l_runtime *rt);
void l_stdio_open(lua_State *L, struct l_runtime *rt);

/* pcall, xpcall and coroutine become ours, for everybody. */
void l_coroutine_replace_globals(lua_State *L, struct l_runtime *rt);

/* require becomes ours. */
void l_require_replace_global(lua_State *L, struct l_runtime *rt);

/* require "loophost" in any Lua 5.4: returns the module. */
LUAMOD_API __attribute__((visibility("default"))) int luaopen_loophost(lua_State *L);

/* os.execute and io.popen become ours. */
void l_execute_replace_globals(lua_State *L, struct l_runtime *rt);

/* In the host: preloads the module and replaces the globals. */
struct l_runtime *l_open_host(lua_State *L);

#endif
