/* handle.h -- callbacks of scripts: call_soon, timers, priorities, readers, signals. */
#ifndef LOOPHOST_L_HANDLE_H
#define LOOPHOST_L_HANDLE_H

#include "bindings/loop.h"

enum l_handle_kind { L_SOON, L_AT, L_PRIORITY, L_DONE_CALLBACK, L_SIGNAL };

/* The function and its arguments are the userdata's user values, 1 to 1 + arguments; behind
 * them, if it has one, the context. */
struct l_handle {
    struct l_object object;
    struct l_loop *loop; /* NULL when it has run, was cancelled, or its loop was closed */
    int slot;            /* its anchor */
    int arguments;
    unsigned char kind; /* enum l_handle_kind */
    bool cancelled, has_context;
    struct timer timer; /* without its node, which ends the struct, in what stands in no heap */
};

/* The user value that its context is, or 0. */
static inline int l_handle_context(const struct l_handle *handle) {
    return handle->has_context ? handle->arguments + 2 : 0;
}

enum { L_FEW_ARGUMENTS = 8 }; /* which the stack of any C function has room for */

void l_handle_open(lua_State *L, struct l_runtime *rt);

/* A handle for the function at `first` and all that is above it, which it takes off
 * the stack; leaves the handle on top, scheduled nowhere. */
struct l_handle *l_handle_new(lua_State *L, struct l_runtime *rt, enum l_handle_kind kind,
                              int first);

/* Puts the new handle on top into the loop at the index: schedules nothing, anchors it.  The second
 * is for what runs in the next turn. */
void l_handle_attach(lua_State *L, struct l_handle *handle, int loop_index, struct l_loop *loop);
void l_handle_attach_briefly(lua_State *L, struct l_handle *handle, int loop_index,
                             struct l_loop *loop);

/* The handle of a loop's core callback, or NULL if it is not a script's. */
struct l_handle *l_handle_of(struct handle *core);

/* A reader or writer of a script: the same function again and again, in the same context; its user
 * values are as a handle's. */
struct l_watch {
    struct l_object object;
    struct watch watch;
    struct l_loop *loop;
    int slot, arguments;
    bool has_context;
    const struct watch *owner; /* of the runtime, for which the loop need not wait, or NULL */
};

/* Argument checks: what can be called, a descriptor (number, Lua file, or object with fileno or
 * getfd), a signal (number or name), and a priority as an integer of the same order. */
void l_check_callback(lua_State *L, int arg);
int l_checkfd(lua_State *L, int arg);
int l_checksignal(lua_State *L, int arg);
lua_Number l_checkpriority(lua_State *L, int arg);
int64_t l_priority_key(lua_Number priority);

/* Adds the signals that loops of this state have blocked, as they have handlers: no child may
 * inherit that. */
void l_add_blocked_signals(lua_State *L, struct l_runtime *rt, sigset_t *set);

int l_loop_add_reader(lua_State *L);
int l_loop_add_writer(lua_State *L);
int l_loop_remove_reader(lua_State *L);
int l_loop_remove_writer(lua_State *L);

/* Whether the runtime's descriptors are to be watched by methods that the script has overridden. */
static inline bool l_watches_by_method(const struct l_loop *loop) {
    return loop->overrides & (L_OVERRIDE_ADD_READER | L_OVERRIDE_ADD_WRITER);
}

/* Watches the descriptor, whose watch lives in the object at `owner`, by the loop's add_reader or
 * add_writer: the watch's handle runs, once, in the turn after the one in which it is ready.
 * False, with the error on top, if that has failed. */
bool l_watch_by_method(lua_State *L, struct l_loop *loop, int owner, struct watch *watch, int fd,
                       enum poll_direction direction);

/* The runtime's watch of the descriptor ends, whether the poller or the loop's methods did it; also
 * if it has not begun.  What was ready is not told any more. */
void l_unwatch(lua_State *L, struct l_loop *loop, struct watch *watch, int fd, bool by_method);

int l_loop_add_signal_handler(lua_State *L);
int l_loop_remove_signal_handler(lua_State *L);
int l_loop_call_soon(lua_State *L);
int l_loop_call_later(lua_State *L);
int l_loop_call_at(lua_State *L);
int l_loop_call_soon_with_priority(lua_State *L);

#endif
