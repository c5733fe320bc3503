/* worker.h -- Lua states of their own, in which threads run Lua that blocks.
 *
 * A worker has the standard libraries, the paths of the state it belongs to, and nothing of
 * that one's globals.  It is used again and again, for one call at a time; what a call
 * leaves in its globals and loaded modules stays there for a later one.
 *
 * Nothing but the call's thread touches the state while the job is under way.  When the Lua
 * state is closed, a worker that still runs is interrupted; one that does not come back is
 * left to its thread, and the process can end without it. */
#ifndef LOOPHOST_L_WORKER_H
#define LOOPHOST_L_WORKER_H

#include "bindings/job.h"

/* What to run: a function's name, a chunk of source text, or a dumped function. */
enum l_worker_code { L_WORKER_NAME, L_WORKER_TEXT, L_WORKER_DUMP };

struct l_worker {
    struct l_job job;
    struct l_runtime *rt;
    lua_State *state;
    struct l_worker *next;     /* of the runtime */
    struct handle_queue owner; /* the task whose call it is, by its place */
    int status;                /* of the call, whose results or error are on the stack */
    int arguments;
    lua_Integer calls; /* so far */
};

/* A worker that nobody uses, or a new one; raises out of memory. */
struct l_worker *l_worker_take(lua_State *L, struct l_runtime *rt);

/* Gives the idle worker the code and n arguments, from index `first` on; raises out of
 * memory. */
void l_worker_load(lua_State *L, struct l_worker *worker, enum l_worker_code code, int text,
                   int first, int n);

/* Pushes what the call came to: its results, and returns how many; or, -1, its error and the
 * worker's traceback.  Raises out of memory. */
int l_worker_results(lua_State *L, struct l_worker *worker);

/* The worker, whose job is not under way, is free. */
void l_worker_release(struct l_worker *worker);

/* os.execute and io.popen for the state on whose stack is nothing of interest: in a thread
 * that blocks all signals the usual ones would have their children do so, too. */
void l_worker_replace_os(lua_State *W);

#endif
