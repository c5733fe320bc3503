/* inventory.h -- what is there, and which line of a script made it: for tests that have to
 * leave nothing behind.
 *
 * Off, it costs one branch where something is made, and holds nothing.  While it is on, the
 * places where handles, watches and locks were made are noted, and what holds a descriptor
 * or a child is listed, strongly, until its owner says that it is closed: whether a test
 * has forgotten something shall not depend on the garbage collector.  Tasks, timers,
 * callbacks, watches and signal handlers need no list, their loop has them.
 *
 * An owner of descriptors or children calls l_inventory_add when the object is complete
 * (the last thing that may raise, with __gc in place) and l_inventory_remove when it is
 * closed.  The object needs a method close() (a child: kill() and wait()), by which a test
 * gets rid of it. */
#ifndef LOOPHOST_L_INVENTORY_H
#define LOOPHOST_L_INVENTORY_H

#include "bindings/runtime.h"

void l_inventory_open(lua_State *L, struct l_runtime *rt);

/* The object on top was made, or is taken, by the function of a script that runs. */
void l_inventory_note(lua_State *L, struct l_runtime *rt);
static inline void l_inventory_place(lua_State *L, struct l_runtime *rt) {
    if (rt->tracking) l_inventory_note(L, rt);
}

/* Lists the object on top as a `kind` ("stream", "child process"); `place` is the index of
 * a string that says where it was opened, or 0: by the function that runs. */
void l_inventory_list(lua_State *L, struct l_runtime *rt, const char *kind, int place);
static inline void l_inventory_add(lua_State *L, struct l_runtime *rt, const char *kind,
                                   int place) {
    if (rt->tracking) l_inventory_list(L, rt, kind, place);
}

/* The object of this address is closed.  Never raises; harmless if it is not listed. */
void l_inventory_unlist(lua_State *L, struct l_runtime *rt, const void *object);
static inline void l_inventory_remove(lua_State *L, struct l_runtime *rt, const void *object) {
    if (rt->tracking) l_inventory_unlist(L, rt, object);
}

/* For __gc, with the place where the object was opened on top, which it pops: warns that `what`
 * ("a stream") was collected without being closed. */
void l_inventory_warn_collected(lua_State *L, const char *what);

#endif
