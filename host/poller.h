/* poller.h -- which descriptors are ready: epoll, and nothing else of the kernel's.
 *
 * A watch is one direction of one descriptor; a reader and a writer of the same
 * descriptor are independent.  While a watch is started its callback is queued
 * whenever the descriptor is ready; nothing need be done to arm it again.
 *
 * Descriptors that are not ours may be closed or reused behind our back: every
 * registration carries a generation, and an event of a dead one makes the poller
 * rebuild its epoll set instead of spinning on it.
 *
 * A forked child may stop watches and close the poller, which changes nothing for its
 * parent, but not start any.
 *
 * Watches belong to the caller and must be stopped before their memory goes. */
#ifndef LOOPHOST_POLLER_H
#define LOOPHOST_POLLER_H

#include "host/handle.h"

#include <stdint.h>
#include <sys/types.h>

enum poll_direction { POLL_READ, POLL_WRITE };

/* What a watch for edges was told. */
enum poll_edge {
    EDGE_READ = 1 << POLL_READ,
    EDGE_WRITE = 1 << POLL_WRITE,
    EDGE_END = 4, /* an end of the stream, an error, or urgent bytes: a read may now stop
                     short although more stands behind */
};

struct watch {
    struct handle handle; /* queued while the descriptor is ready */
    int fd;               /* -1 while stopped */
    enum poll_direction direction;
    unsigned edges; /* of a watch for edges: all since its callback last set this to 0 */
};

struct poller_slot;

struct poller {
    int epoll_fd;
    struct poller_slot *slots; /* by descriptor */
    int slot_count;
    size_t watches; /* started ones */
    pid_t owner;    /* a forked child shares our epoll set and must leave it alone */
};

/* -errno: EMFILE, ENFILE, ENOMEM. */
int poller_init(struct poller *poller);
void poller_close(struct poller *poller);

/* Whether this process made it: no in a forked child. */
bool poller_is_ours(const struct poller *poller);

static inline void watch_init(struct watch *watch, handle_fn *run) {
    handle_init(&watch->handle, run);
    watch->fd = -1;
    watch->edges = 0;
}

static inline bool watch_started(const struct watch *watch) {
    return watch->fd >= 0;
}

/* Level-triggered: the callback runs in every turn in which the descriptor is ready.
 * -errno: EBADF (also in a forked child), EPERM for a file that is always ready, EEXIST
 * when another watch has this direction, ENOMEM, ENOSPC.  One epoll_ctl. */
int poller_start(struct poller *poller, struct watch *watch, int fd, enum poll_direction direction);

/* Edge-triggered, both directions in one watch, for descriptors that only the caller
 * uses: the callback runs when something changed, and finds what in `edges`.  One
 * epoll_ctl in its life.  An edge tells all that is there, so what a read or write met
 * before the edge is old news. */
int poller_start_edges(struct poller *poller, struct watch *watch, int fd);

/* Stops a watch of either kind, and takes its callback out of the queue if it stands there; call it
 * before closing the descriptor.  Never fails, also when the descriptor was closed
 * already.  One epoll_ctl. */
void poller_stop(struct poller *poller, struct watch *watch);

/* The watch of this direction, or NULL. */
struct watch *poller_find(const struct poller *poller, int fd, enum poll_direction direction);

/* Waits until a descriptor is ready, at most timeout_ns (0: only looks, < 0: for
 * ever), and appends the callbacks of all that are to `ready`.  Returns how many, or
 * 0 when a signal interrupted it, or -errno. */
int poller_wait(struct poller *poller, int64_t timeout_ns, struct handle_queue *ready);

#endif
