/* resolver.h -- from names to addresses, by c-ares on the loop.
 *
 * Nothing here waits: queries go out on sockets that the loop's poller watches, and their
 * time-outs are a timer of the loop.  /etc/hosts is read where a query is made (a small
 * file); a changed /etc/resolv.conf is noticed by the next query when none is under way.
 *
 * A resolver must be freed before its loop is closed.  A query lives until it is done and
 * freed: c-ares cannot call a single one back, so that one given up lives on without its
 * owner, until nobody waits for any other: then all of them end. */
#ifndef LOOPHOST_RESOLVER_H
#define LOOPHOST_RESOLVER_H

#include "host/loop.h"

#include <sys/socket.h>

struct resolver;

/* What is asked for. */
struct question {
    const char *node;    /* a name or a numeric address */
    const char *service; /* a port, as digits or by name, or NULL for 0 */
    int family;          /* AF_UNSPEC, AF_INET or AF_INET6 */
    int socktype;        /* for the service's name: SOCK_STREAM or SOCK_DGRAM */
    bool numeric;        /* only a numeric address will do; then nothing is asked */
};

struct query {
    void (*done)(struct query *query); /* the owner's; called once, perhaps by resolver_ask */
    void *owner;
    bool pending;
    const char *code; /* of a failure, as getaddrinfo's: "EAI_NONAME"; NULL: none */
    const char *text; /* of a failure */
    struct sockaddr_storage *addresses;
    size_t count;
};

/* `servers` replaces those of resolv.conf: "127.0.0.1:5353,[::1]:53"; or NULL.  NULL when
 * memory or descriptors have run out, or `servers` are none. */
struct resolver *resolver_new(struct loop *loop, const char *servers);

/* Queries under way fail with "ECANCELED". */
void resolver_free(struct resolver *resolver);

/* Asks; NULL when out of memory.  What is known without asking is done on return. */
struct query *resolver_ask(struct resolver *resolver, const struct question *question,
                           void (*done)(struct query *query), void *owner);

/* The owner wants to know no more; `done` will not be called.  NULL is allowed. */
void query_free(struct query *query);

#endif
