/* listener.h -- sockets that listen, and the tasks of the connections that they accept.
 *
 * A listener is a socket; what is done with its connections is told by a service, which
 * the listeners of one server share: which function runs for each, how long its lines may
 * be, how many there may be at a time.  What becomes of failures is up to the Lua half
 * (scripts/loophost/server.lua), which is told of them.
 *
 * The loop anchors a listener from its start to its close, and so its service. */
#ifndef LOOPHOST_L_LISTENER_H
#define LOOPHOST_L_LISTENER_H

#include "bindings/stream.h"

struct l_service {
    struct l_object object;
    struct l_runtime *rt;
    struct l_loop *loop;
    struct handle freed; /* in rt->starved, while there are no descriptors left */
    size_t limit;        /* of the streams */
    size_t active, most; /* connections whose handlers run; how many there may be */
    size_t leaving;      /* connections that take their leave after that (TLS) */
    int batch;           /* how many are accepted in one turn */
    int slot;            /* its anchor, while it has connections */
    bool starved;        /* descriptors had run out, and connections wait since */
};

/* The function is called with (what, ...) of: "ended", task or nil; "starved", message,
 * code, whether it was already; "broken", message; "freed". */
enum { L_SERVICE_LOOP = 1, L_SERVICE_FUNCTION, L_SERVICE_TELL, L_SERVICE_PLACE };
/* The context that was current when the service was made: the handlers begin with it, and it is
 * that of whoever is told. */
enum { L_SERVICE_CONTEXT = L_SERVICE_PLACE + 1, L_SERVICE_USERVALUES = L_SERVICE_CONTEXT };

/* A stream whose handler is a task of its own. */
struct l_connection {
    struct l_stream stream;
    struct l_service *service; /* anchored as long as the handler runs, or it takes its leave */
    struct handle ended;       /* among the task's callbacks, then what its leave calls */
    int slot;                  /* its anchor, until that is over */
};

void l_service_open(lua_State *L, struct l_runtime *rt);
void l_listener_open(lua_State *L, struct l_runtime *rt);

struct l_service *l_service_check(lua_State *L, int index);

/* In the loop's frame, with the service on top, which stays: starts the handler of a new
 * connection, whose descriptor it takes. */
void l_service_accept(struct l_service *service, int fd, enum l_descriptor_kind kind);

/* In the loop's frame: calls the function with `what` and the values on top,
 * and pops them and the service under them. */
void l_service_tell(struct l_service *service, const char *what, int arguments);

/* Has the service told as soon as a descriptor has come free. */
void l_service_starve(struct l_service *service);

#endif
