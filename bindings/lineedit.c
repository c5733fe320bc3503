/* lineedit.c -- a line with editing and history at a terminal, if libedit is installed.
 *
 * libedit is opened when the prompt first wants it, so that nobody needs it. Its
 * interface is readline's "callback" one: it is fed when stdin is readable and calls
 * back when a line is complete. It has one terminal and hands its callback nothing of
 * ours, so what it has read is kept for the process, not for a Lua state. */
#include "bindings/open.h"

#include <dlfcn.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
    void (*handler_install)(const char *prompt, void (*handler)(char *line));
    void (*handler_remove)(void);
    void (*read_char)(void);
    int (*add_history)(const char *line);
    bool sought, found;
} editor;

static char *complete_line; /* NULL is the end of the input */
static bool is_complete;

static bool seek(void **function, void *library, const char *name) {
    *function = dlsym(library, name);
    return *function != NULL;
}

/* Whether there is an editor; opens it the first time. */
static bool find_editor(void) {
    if (editor.sought) return editor.found;
    editor.sought = true;
    void *library = dlopen("libedit.so.2", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) return false;
    editor.found = seek((void **)&editor.handler_install, library, "rl_callback_handler_install") &&
                   seek((void **)&editor.handler_remove, library, "rl_callback_handler_remove") &&
                   seek((void **)&editor.read_char, library, "rl_callback_read_char") &&
                   seek((void **)&editor.add_history, library, "add_history");
    if (!editor.found) return false;
    setlocale(LC_CTYPE, ""); /* or it takes UTF-8 for noise */
    int *catch_signals = dlsym(library, "rl_catch_signals");
    if (catch_signals != NULL) *catch_signals = 0; /* they are ours */
    return true;
}

/* Gives the terminal back at once: what runs next may want it. */
static void line_is_complete(char *line) {
    complete_line = line;
    is_complete = true;
    editor.handler_remove();
}

/* lineedit_start(prompt): whether a line is being edited now */
static int start(lua_State *L) {
    const char *prompt = luaL_checkstring(L, 1);
    bool can_edit = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && find_editor();
    if (can_edit) editor.handler_install(prompt, line_is_complete);
    lua_pushboolean(L, can_edit);
    return 1;
}

/* lineedit_feed(): stdin is readable; false if the line is not complete, nil at the end */
static int feed(lua_State *L) {
    is_complete = false;
    editor.read_char();
    if (!is_complete) {
        lua_pushboolean(L, 0);
        return 1;
    }
    lua_pushstring(L, complete_line);
    if (complete_line != NULL && complete_line[0] != '\0') editor.add_history(complete_line);
    free(complete_line);
    complete_line = NULL;
    return 1;
}

/* lineedit_stop(): the line is not wanted any more */
static int stop(lua_State *L) {
    (void)L;
    editor.handler_remove();
    return 0;
}

void l_lineedit_open(lua_State *L, struct l_runtime *rt) {
    static const luaL_Reg hooks[] = {
        {"lineedit_start", start}, {"lineedit_feed", feed}, {"lineedit_stop", stop}, {NULL, NULL}};
    l_pushshared(L, rt, L_SHARED_HOOKS);
    l_setfuncs(L, rt, hooks);
    lua_pop(L, 1);
}
