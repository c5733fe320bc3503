/* result.c -- the one shape of a failure. */
#include "bindings/result.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

int l_push_failure(lua_State *L, const char *code, const char *text) {
    lua_pushnil(L);
    lua_pushfstring(L, "%s: %s", code, text);
    lua_pushstring(L, code);
    return 3;
}

int l_push_errno(lua_State *L, int error) {
    const char *code = strerrorname_np(error);
    char text[128];
    const char *description = strerrordesc_np(error);
    snprintf(text, sizeof text, "%s", description != NULL ? description : "unknown error");
    text[0] = (char)tolower((unsigned char)text[0]);
    return l_push_failure(L, code != NULL ? code : "EUNKNOWN", text);
}
