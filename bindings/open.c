/* open.c -- the list of modules. */
#include "bindings/open.h"

#include "bindings/collector.h"
#include "bindings/context.h"
#include "bindings/error.h"
#include "bindings/file.h"
#include "bindings/handle.h"
#include "bindings/inventory.h"
#include "bindings/limit.h"
#include "bindings/listener.h"
#include "bindings/main_task.h"
#include "bindings/process.h"
#include "bindings/scripts.h"
#include "bindings/stream.h"
#include "bindings/task.h"
#include "bindings/tls.h"
#include "bindings/wanted.h"

#include <string.h>

static void open_bindings(lua_State *L, struct l_runtime *rt) {
    l_error_open(L, rt);
    l_wanted_open(L, rt);
    l_inventory_open(L, rt);
    l_handle_open(L, rt);
    l_watch_open(L, rt);
    l_future_open(L, rt);
    l_taskobject_open(L, rt);
    l_loop_open(L, rt);
    l_wait_open(L, rt);
    l_timeout_open(L, rt);
    l_clock_open(L, rt);
    l_main_open(L, rt);
    l_limit_open(L, rt);
    l_context_open(L, rt);
    l_coroutine_open(L, rt);
    l_lineedit_open(L, rt);
    l_gather_open(L, rt);
    l_sync_open(L, rt);
    l_queue_open(L, rt);
    l_stream_open(L, rt);
    l_tls_open(L, rt);
    l_names_open(L, rt);
    l_socket_open(L, rt);
    l_listener_open(L, rt);
    l_service_open(L, rt);
    l_datagram_open(L, rt);
    l_file_open(L, rt);
    l_inotify_open(L, rt);
    l_process_open(L, rt);
    l_thread_open(L, rt);
    l_stdio_open(L, rt);
}

/* The loader of an embedded script; its number and its globals are the upvalues. */
static int load_script(lua_State *L) {
    const struct embedded_script *script = &embedded_scripts[lua_tointeger(L, lua_upvalueindex(1))];
    lua_settop(L, 2);
    if (luaL_loadbufferx(L, (const char *)script->code, script->size, script->name, "b") !=
        LUA_OK) {
        return lua_error(L);
    }
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_setupvalue(L, -2, 1);
    lua_insert(L, 1);
    lua_callk(L, 2, 1, 0, NULL);
    return 1;
}

/* The require of embedded scripts.  It alone knows the core, which is not in
 * package.loaded: there a traceback would find the names of our functions twice. */
static int require_embedded(lua_State *L) {
    if (strcmp(luaL_checkstring(L, 1), "loophost.core") == 0) {
        l_pushshared(L, l_runtime(L), L_SHARED_HOOKS);
        return 1;
    }
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

/* The globals of embedded scripts are the script's, but for `require`: what a script makes
 * of its own is not for us. */
static void push_environment(lua_State *L, struct l_runtime *rt) {
    lua_newtable(L);
    lua_pushlightuserdata(L, rt);
    lua_getglobal(L, "require");
    lua_pushcclosure(L, require_embedded, 2);
    lua_setfield(L, -2, "require");
    lua_newtable(L);
    lua_pushglobaltable(L);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__index");
    lua_setfield(L, -2, "__newindex");
    lua_setmetatable(L, -2);
}

static void preload_scripts(lua_State *L, struct l_runtime *rt) {
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    push_environment(L, rt);
    for (lua_Integer i = 0; embedded_scripts[i].name != NULL; i++) {
        lua_pushinteger(L, i);
        lua_pushvalue(L, -2);
        lua_pushcclosure(L, load_script, 2);
        lua_setfield(L, -3, embedded_scripts[i].name);
    }
    lua_pop(L, 2);
}

static void complete_core(lua_State *L, struct l_runtime *rt) {
    l_pushshared(L, rt, L_SHARED_HOOKS);
    l_pushshared(L, rt, L_SHARED_METHODS);
    lua_setfield(L, -2, "methods");
    l_pushshared(L, rt, L_SHARED_ERRORS);
    lua_setfield(L, -2, "errors");
    lua_pop(L, 1);
}

static struct l_runtime *open_library(lua_State *L) {
    struct l_runtime *rt = l_runtime_open(L);
    if (rt->type_names[L_TASK] != NULL) return rt;
    open_bindings(L, rt);
    preload_scripts(L, rt);
    complete_core(L, rt);
    return rt;
}

int luaopen_loophost(lua_State *L) {
    open_library(L);
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_getfield(L, -1, "loophost");
    lua_pushliteral(L, "loophost");
    lua_call(L, 1, 1);
    return 1;
}

struct l_runtime *l_open_host(lua_State *L) {
    struct l_runtime *rt = open_library(L);
    l_coroutine_replace_globals(L, rt);
    l_require_replace_global(L, rt);
    l_execute_replace_globals(L, rt);
    l_collector_open(L, rt);
    return rt;
}
