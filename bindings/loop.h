/* loop.h -- the loop as a Lua object, and how other bindings schedule on it.
 *
 * What the loop can reach is anchored in places of its own, one slot an object (see
 * anchors.c); a loop that nobody holds any more is collected with all that waits in it.
 *
 * A loop runs inside one C call (run_forever, ...), whose stack frame holds the loop
 * at index 1 and the table of its anchors at index 2: that is how a callback, of which the core
 * knows only a C struct, gets at its Lua object without allocating. */
#ifndef LOOPHOST_L_LOOP_H
#define LOOPHOST_L_LOOP_H

#include "bindings/runtime.h"
#include "host/loop.h"

/* The methods that a subclass can override and the runtime then uses. */
enum l_override {
    L_OVERRIDE_TIME = 1 << 0,
    L_OVERRIDE_CALL_SOON = 1 << 1,
    L_OVERRIDE_CALL_LATER = 1 << 2,
    L_OVERRIDE_CALL_AT = 1 << 3,
    L_OVERRIDE_CALL_PRIORITY = 1 << 4,
    L_OVERRIDE_CREATE_TASK = 1 << 5,
    L_OVERRIDE_CREATE_FUTURE = 1 << 6,
    L_OVERRIDE_RUN_ONCE = 1 << 7,
    L_OVERRIDE_ADD_READER = 1 << 8,
    L_OVERRIDE_ADD_WRITER = 1 << 9,
    L_OVERRIDE_CALL_EXCEPTION_HANDLER = 1 << 10,
};

struct l_resolver;
struct l_timeout;

struct l_loop {
    struct l_object object;
    struct loop loop;
    struct l_runtime *rt;
    lua_State *L;       /* where the loop runs, while it runs */
    unsigned overrides; /* enum l_override */
    bool closed, debug;
    bool turning;       /* inside run_once() of a loop that overrides it */
    int64_t give_up_ns; /* the time by which a run shall end; 0: none */
    bool gave_up;
    struct l_resolver *resolver;     /* made by the first query: see names.c */
    struct l_coroutines *coroutines; /* made by the first task: see recycle.h */
    struct { /* the callback that runs unprotected: see l_loop_call_anchored */
        const char *source_name;
        int slot; /* 0: none */
        bool releases;
    } call;
    int slots;       /* of the anchors */
    int free_count;  /* of those, in use by nobody: the last of free_slots is next */
    int stale_slot;  /* one of those, or 0: see l_unanchor_later */
    int *free_slots; /* has room for all of them, so that freeing one cannot fail */
    int free_room;
    struct {              /* more anchors: see l_anchor_briefly */
        lua_State *stack; /* of the coroutine in L_LOOP_BRIEF */
        int top, live, room;
    } brief;
    struct l_calls *calls; /* all that were made, and those that wait for nothing: see call.c */
    struct handle *spare_call;
    size_t calls_made;
    struct l_timeout *spare_timeout; /* anchored ones, for wait_for: see timeout.c */
    int timeouts_kept;
    lua_Integer number; /* its key in L_SHARED_LOOPS */
    size_t tasks;       /* that are not done */
    /* What stops the loop when run_until_complete's future is done.  As asyncio's callback,
     * one that has come up but not run, because the loop was stopped by hand, stops the
     * next run: hence two. */
    struct l_until {
        struct handle handle;
        struct l_loop *loop;
    } until[2];
};

enum {
    L_LOOP_ANCHORS = 1,
    L_LOOP_COROUTINES,
    L_LOOP_BRIEF,
    L_LOOP_USERVALUES = L_LOOP_BRIEF,
};
enum { L_FRAME_LOOP = 1, L_FRAME_ANCHORS = 2, L_FRAME_HANDLER = 3 };

void l_loop_open(lua_State *L, struct l_runtime *rt);

/* The loop at the index, or an argument error if it is none; the second also raises "Event loop is
 * closed". */
static inline struct l_loop *l_loop_check(lua_State *L, int index) {
    return l_check(L, index, L_LOOP);
}
int l_loop_closed_error(lua_State *L);
static inline struct l_loop *l_loop_check_open(lua_State *L, int index) {
    struct l_loop *loop = l_loop_check(L, index);
    if (loop->closed) l_loop_closed_error(L);
    return loop;
}
static inline struct l_loop *l_loop_test(lua_State *L, int index) {
    return l_test(L, index, L_LOOP);
}

/* The stack of the loop's frame while a step of a task runs in it: until that returns nothing
 * else is on top of the frame, and what is there can be had quicker than from the registry.
 * NULL at any other time.  Nothing that may raise is to be done on it. */
static inline lua_State *l_loop_frame(const struct l_loop *loop, const lua_State *L) {
    const struct l_runtime *rt = loop->rt;
    return rt->current != NULL && rt->running == loop && loop->L != L ? loop->L : NULL;
}

/* For a new loop, at the index: makes what anchors are in, so that no other function here begins a
 * collection, whose finalisers might use anchors themselves. */
void l_anchors_open(lua_State *L, int loop_index, struct l_loop *loop);

/* Keeps the object at the index alive while the loop can reach it, in a slot; the loop's own
 * index may be 0 if it is not on the stack.  Raises, having done nothing, if there is no memory, or
 * if the loop is closed: as a finaliser can have done while the object was made. */
int l_anchor(lua_State *L, int index, int loop_index, struct l_loop *loop);

/* The same for what will be let go of in a turn or two, which costs half of it: the object on top,
 * which it pops. */
int l_anchor_briefly(lua_State *L, int loop_index, struct l_loop *loop);

/* Pushes the next of all that the loop anchors, and moves the slot, 0 at first, on to it; false:
 * there is no more.  Two slots may hold the same object; free ones hold none.  The table of
 * anchors is at the index. */
bool l_next_anchored(lua_State *L, int anchors, const struct l_loop *loop, int *slot);

/* Lets go of everything. */
void l_unanchor_all(lua_State *L, int anchors, struct l_loop *loop);

/* Pushes what is in a slot below 0. */
static inline void l_push_brief(lua_State *L, const struct l_loop *loop, int slot) {
    lua_pushvalue(loop->brief.stack, -slot);
    lua_xmove(loop->brief.stack, L, 1);
}

/* In the loop's own frame: pushes the object in the slot; frees the slot.  Neither
 * allocates. */
static inline void l_anchored(const struct l_loop *loop, int slot) {
    if (slot < 0) {
        l_push_brief(loop->L, loop, slot);
    } else {
        lua_rawgeti(loop->L, L_FRAME_ANCHORS, slot);
    }
}
void l_unanchor(struct l_loop *loop, int slot);

/* As l_unanchor, from anywhere; harmless if the loop is being collected. */
void l_unanchor_anywhere(lua_State *L, struct l_loop *loop, int slot);

/* The same for what holds nothing any more: it may stay until the next object takes its slot, so
 * that who sets and cancels one timer after the other pays for one access and not for two. */
void l_unanchor_later(lua_State *L, struct l_loop *loop, int slot);

/* Calls the function under its n arguments on top of the stack of the loop's frame;
 * an error goes to the loop's exception handler with `message` and, when not 0, the
 * object at `source` as ctx[source_name].  Never raises; pops function and arguments. */
void l_loop_call(struct l_loop *loop, int n, const char *message, const char *source_name,
                 int source);

/* The same for what is anchored in the slot and stands below the function, as the loop runs a
 * script's callbacks: without protection of its own, as a turn as a whole has one.  An error ends
 * all that runs inside the turn and does not return here; it is reported, the slot is freed if it
 * `releases` it, and the turn goes on behind the callback.  Without an error freeing the slot is
 * up to the caller, as it is in debug mode, where this is l_loop_call. */
static inline void l_loop_call_anchored(struct l_loop *loop, int n, const char *source_name,
                                        int slot, bool releases) {
    if (loop->debug) {
        int source = source_name != NULL ? lua_gettop(loop->L) - n - 1 : 0;
        l_loop_call(loop, n, "Exception in callback", source_name, source);
        return;
    }
    loop->call.source_name = source_name;
    loop->call.slot = slot;
    loop->call.releases = releases;
    lua_call(loop->L, n, 0);
    loop->call.slot = 0;
}

/* Reports the error on top of the loop's frame, as l_loop_call does, and pops it. */
void l_loop_report(struct l_loop *loop, const char *message, const char *source_name, int source);

/* In debug mode: warns of a callback that has run since began_ns. */
void l_loop_warn_if_slow(struct l_loop *loop, int64_t began_ns, int source);

/* Pushes a new future of the loop, made as its create_future says. */
void l_loop_push_future(lua_State *L, int loop_index, struct l_loop *loop);

/* Turns of the loop at index 1 of a fresh frame until `done` says so or the loop is
 * stopped; raises what the core cannot go on with.  For run_forever and the host. */
void l_loop_run_until(lua_State *L, struct l_loop *loop, bool (*done)(struct l_loop *loop));

/* The methods of the same names. */
int l_loop_run_forever(lua_State *L);
int l_loop_run_once(lua_State *L);
int l_loop_run_until_complete(lua_State *L);

/* For a new loop: prepares what stops it when run_until_complete's future is done. */
void l_loop_init_until(struct l_loop *loop);

/* Pushes the loop of this address: nil if it is being collected; or raises then, for who would
 * have it begin something. */
void l_loop_push(lua_State *L, struct l_loop *loop);
void l_loop_push_alive(lua_State *L, struct l_loop *loop);

/* Makes a C frame with the loop at index 1 the loop's frame: inserts anchors and message
 * handler. */
void l_loop_make_frame(lua_State *L, struct l_loop *loop);

/* Pushes the loop that runs, or else the policy's current one; its index. */
int l_loop_push_current(lua_State *L, struct l_runtime *rt);

#endif
