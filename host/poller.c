/* poller.c -- epoll with a table of watches by descriptor.
 *
 * The table says what we believe to be registered.  The kernel may know better: it
 * forgets a descriptor when the last copy of it is closed, and goes on reporting one
 * that we closed while a copy lives elsewhere (a forked child has one).  The first is
 * met by trying the other epoll_ctl operation, the second by the generation in each
 * event: an event whose generation is not the table's belongs to a file that cannot
 * be reached by number any more, and only a new epoll set gets rid of it. */
#include "host/poller.h"

#include "host/clock.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { EVENTS_PER_WAIT = 256, SLOTS_AT_FIRST = 16 };
enum { EDGE_EVENTS = EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLOUT };

struct poller_slot {
    struct watch *watches[2]; /* by direction */
    uint32_t registered;      /* the epoll events that we asked for; 0: none */
    uint32_t generation;
};

int poller_init(struct poller *poller) {
    *poller = (struct poller){.epoll_fd = epoll_create1(EPOLL_CLOEXEC), .owner = getpid()};
    return poller->epoll_fd < 0 ? -errno : 0;
}

void poller_close(struct poller *poller) {
    for (int fd = 0; fd < poller->slot_count; fd++) {
        for (int direction = POLL_READ; direction <= POLL_WRITE; direction++) {
            struct watch *watch = poller->slots[fd].watches[direction];
            if (watch != NULL) watch->fd = -1;
        }
    }
    free(poller->slots);
    if (poller->epoll_fd >= 0) close(poller->epoll_fd);
    *poller = (struct poller){.epoll_fd = -1};
}

bool poller_is_ours(const struct poller *poller) {
    return poller->owner == getpid();
}

/* The table grows only for descriptors that exist: a wild number costs no memory. */
static int reserve_slot(struct poller *poller, int fd) {
    if (fd < 0) return -EBADF;
    if (fd < poller->slot_count) return 0;
    if (fcntl(fd, F_GETFD) < 0) return -EBADF;
    int count = poller->slot_count > 0 ? poller->slot_count : SLOTS_AT_FIRST;
    while (count <= fd) count = count > INT_MAX / 2 ? INT_MAX : count * 2;
    struct poller_slot *slots = realloc(poller->slots, (size_t)count * sizeof *slots);
    if (slots == NULL) return -ENOMEM;
    memset(slots + poller->slot_count, 0, (size_t)(count - poller->slot_count) * sizeof *slots);
    poller->slots = slots;
    poller->slot_count = count;
    return 0;
}

static uint32_t wanted_events(const struct poller_slot *slot) {
    uint32_t events = 0;
    if (slot->watches[POLL_READ] != NULL) events |= EPOLLIN | EPOLLRDHUP;
    if (slot->watches[POLL_WRITE] != NULL) events |= EPOLLOUT;
    return events;
}

static int control(int epoll_fd, int op, int fd, uint32_t events, uint32_t generation) {
    struct epoll_event event = {.events = events};
    event.data.u64 = (uint64_t)generation << 32 | (uint32_t)fd;
    return epoll_ctl(epoll_fd, op, fd, &event) < 0 ? -errno : 0;
}

/* Tells the kernel what the slot wants.  `events` 0 takes the descriptor out. */
static int register_events(struct poller *poller, int fd, uint32_t events) {
    struct poller_slot *slot = &poller->slots[fd];
    if (!poller_is_ours(poller)) return events == 0 ? 0 : -EBADF;
    int op = events == 0 ? EPOLL_CTL_DEL : slot->registered != 0 ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (op == EPOLL_CTL_ADD) slot->generation++;
    int result = control(poller->epoll_fd, op, fd, events, slot->generation);
    if (result == -ENOENT && op == EPOLL_CTL_MOD) {
        slot->generation++; /* another file under the old number */
        result = control(poller->epoll_fd, EPOLL_CTL_ADD, fd, events, slot->generation);
    } else if (result == -EEXIST && op == EPOLL_CTL_ADD) {
        result = control(poller->epoll_fd, EPOLL_CTL_MOD, fd, events, slot->generation);
    }
    if (op == EPOLL_CTL_DEL) {
        slot->registered = 0;
        return 0; /* EBADF, ENOENT: closed behind our back, which is what we wanted */
    }
    if (result < 0) return result;
    slot->registered = events;
    return 0;
}

static void attach(struct poller *poller, struct watch *watch, int fd,
                   enum poll_direction direction) {
    watch->fd = fd;
    watch->direction = direction;
    poller->slots[fd].watches[direction] = watch;
    poller->watches++;
}

static void detach(struct poller *poller, struct watch *watch) {
    struct poller_slot *slot = &poller->slots[watch->fd];
    slot->watches[watch->direction] = NULL;
    if (slot->watches[POLL_WRITE] == watch) slot->watches[POLL_WRITE] = NULL; /* for edges */
    poller->watches--;
    watch->fd = -1;
    if (handle_queued(&watch->handle)) handle_unlink(&watch->handle);
}

int poller_start(struct poller *poller, struct watch *watch, int fd,
                 enum poll_direction direction) {
    assert(!watch_started(watch));
    int result = reserve_slot(poller, fd);
    if (result < 0) return result;
    if (poller->slots[fd].watches[direction] != NULL) return -EEXIST;
    attach(poller, watch, fd, direction);
    result = register_events(poller, fd, wanted_events(&poller->slots[fd]));
    if (result < 0) detach(poller, watch);
    return result;
}

int poller_start_edges(struct poller *poller, struct watch *watch, int fd) {
    assert(!watch_started(watch));
    int result = reserve_slot(poller, fd);
    if (result < 0) return result;
    struct poller_slot *slot = &poller->slots[fd];
    if (slot->watches[POLL_READ] != NULL || slot->watches[POLL_WRITE] != NULL) return -EEXIST;
    attach(poller, watch, fd, POLL_READ);
    slot->watches[POLL_WRITE] = watch;
    watch->edges = 0;
    result = register_events(poller, fd, EDGE_EVENTS | EPOLLET);
    if (result < 0) detach(poller, watch);
    return result;
}

void poller_stop(struct poller *poller, struct watch *watch) {
    assert(watch_started(watch));
    int fd = watch->fd;
    detach(poller, watch);
    uint32_t events = wanted_events(&poller->slots[fd]);
    if (register_events(poller, fd, events) < 0) poller->slots[fd].registered = 0;
}

struct watch *poller_find(const struct poller *poller, int fd, enum poll_direction direction) {
    return fd >= 0 && fd < poller->slot_count ? poller->slots[fd].watches[direction] : NULL;
}

/* Makes a new epoll set out of the table.  Where even that fails we keep the old set:
 * the stale event costs time, but nothing is lost. */
static void rebuild(struct poller *poller) {
    int fresh = epoll_create1(EPOLL_CLOEXEC);
    if (fresh < 0) return;
    for (int fd = 0; fd < poller->slot_count; fd++) {
        struct poller_slot *slot = &poller->slots[fd];
        if (slot->registered == 0) continue;
        int result = control(fresh, EPOLL_CTL_ADD, fd, slot->registered, slot->generation);
        if (result == -ENOMEM || result == -ENOSPC) {
            close(fresh);
            return;
        }
        if (result < 0) slot->registered = 0; /* closed behind our back as well */
    }
    close(poller->epoll_fd);
    poller->epoll_fd = fresh;
}

static int queue_if(struct watch *watch, struct handle_queue *ready) {
    if (watch == NULL || handle_queued(&watch->handle)) return 0;
    handle_push(ready, &watch->handle);
    return 1;
}

static unsigned edges_of(uint32_t got) {
    unsigned edges = 0;
    if (got & ~(uint32_t)EPOLLOUT) edges |= EDGE_READ;
    if (got & (EPOLLOUT | EPOLLERR | EPOLLHUP)) edges |= EDGE_WRITE;
    if (got & (EPOLLRDHUP | EPOLLPRI | EPOLLERR | EPOLLHUP)) edges |= EDGE_END;
    return edges;
}

/* epoll_pwait2 waits to the nanosecond; before Linux 5.11 there is only epoll_wait,
 * for which we round up to the millisecond so as never to come back early.  Some
 * sandboxes say EPERM for a call that they do not know. */
static int wait_events(int epoll_fd, struct epoll_event *events, int64_t timeout_ns) {
    if (timeout_ns <= 0) {
        return epoll_wait(epoll_fd, events, EVENTS_PER_WAIT, timeout_ns < 0 ? -1 : 0);
    }
    struct timespec timeout = {.tv_sec = (time_t)(timeout_ns / NS_PER_S),
                               .tv_nsec = (long)(timeout_ns % NS_PER_S)};
    int count = epoll_pwait2(epoll_fd, events, EVENTS_PER_WAIT, &timeout, NULL);
    if (count >= 0 || (errno != ENOSYS && errno != EPERM)) return count;
    int64_t timeout_ms = timeout_ns / 1000000 + 1;
    return epoll_wait(epoll_fd, events, EVENTS_PER_WAIT,
                      timeout_ms > INT32_MAX ? INT32_MAX : (int)timeout_ms);
}

int poller_wait(struct poller *poller, int64_t timeout_ns, struct handle_queue *ready) {
    struct epoll_event events[EVENTS_PER_WAIT];
    int count = wait_events(poller->epoll_fd, events, timeout_ns);
    if (count < 0) return errno == EINTR ? 0 : -errno;
    int queued = 0;
    bool stale = false;
    for (int i = 0; i < count; i++) {
        uint32_t fd = (uint32_t)events[i].data.u64;
        struct poller_slot *slot = &poller->slots[fd];
        uint32_t got = events[i].events;
        if (slot->generation != (uint32_t)(events[i].data.u64 >> 32) || slot->registered == 0) {
            stale = true;
            continue;
        }
        if (slot->registered & EPOLLET) {
            struct watch *watch = slot->watches[POLL_READ];
            if (watch != NULL) watch->edges |= edges_of(got);
            queued += queue_if(watch, ready);
            continue;
        }
        if (got & ~(uint32_t)EPOLLOUT) queued += queue_if(slot->watches[POLL_READ], ready);
        if (got & ~(uint32_t)(EPOLLIN | EPOLLRDHUP)) {
            queued += queue_if(slot->watches[POLL_WRITE], ready);
        }
    }
    if (stale) rebuild(poller);
    return queued;
}
