/* state.c -- what luaL_newstate adds to lua_newstate: the last words of a panic, and
 * warnings, which "@on" and "@off" switch. */
#include "bindings/state.h"

#include <lua5.4/lauxlib.h>
#include <string.h>

static int panic(lua_State *L) {
    const char *message = lua_tostring(L, -1);
    lua_writestringerror("PANIC: unprotected error in call to Lua API (%s)\n",
                         message != NULL ? message : "error object is not a string");
    return 0; /* and Lua aborts */
}

/* A message comes in pieces, `more` says that another one follows.  Which of the three
 * functions is set is all the state there is. */
static void warn_off(void *L, const char *message, int more);
static void warn_on(void *L, const char *message, int more);
static void warn_more(void *L, const char *message, int more);

static void warn_control(lua_State *L, const char *message, int more) {
    if (more || message[0] != '@') return;
    if (strcmp(message, "@off") == 0) lua_setwarnf(L, warn_off, L);
    if (strcmp(message, "@on") == 0) lua_setwarnf(L, warn_on, L);
}

static void warn_off(void *L, const char *message, int more) {
    warn_control(L, message, more);
}

static void warn_more(void *L, const char *message, int more) {
    lua_writestringerror("%s", message);
    if (more) {
        lua_setwarnf(L, warn_more, L);
    } else {
        lua_writestringerror("%s", "\n");
        lua_setwarnf(L, warn_on, L);
    }
}

static void warn_on(void *L, const char *message, int more) {
    if (!more && message[0] == '@') {
        warn_control(L, message, more);
    } else {
        lua_writestringerror("%s", "Lua warning: ");
        warn_more(L, message, more);
    }
}

lua_State *l_state_new(lua_Alloc allocator, void *arg) {
    if (allocator == NULL) return luaL_newstate();
    lua_State *L = lua_newstate(allocator, arg);
    if (L == NULL) return NULL;
    lua_atpanic(L, panic);
    lua_setwarnf(L, warn_off, L);
    return L;
}
