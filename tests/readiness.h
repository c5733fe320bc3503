/* readiness.h -- a poller, and descriptors that are ready for it.  Include it in one file of a
 * program. */
#ifndef LOOPHOST_TESTS_READINESS_H
#define LOOPHOST_TESTS_READINESS_H

#include "tests/job.h"
#include "tests/kernel.h"

#include <stdlib.h>
#include <sys/socket.h>

/* A poller and a socket pair.  `r` and `w` watch sockets[0] and write their names into
 * the log when they run; nothing reads, so what is readable stays so. */
struct fixture {
    struct poller poller;
    struct handle_queue ready;
    struct log log;
    struct watch r, w;
    int sockets[2];
};

static struct fixture *f; /* of the test that runs */

static inline void r_ready(struct handle *handle) {
    (void)handle;
    log_add(&f->log, 'r');
}

static inline void w_ready(struct handle *handle) {
    (void)handle;
    log_add(&f->log, 'w');
}

static inline int set_up(void **state) {
    f = calloc(1, sizeof *f);
    *state = f;
    if (f == NULL || poller_init(&f->poller) < 0) return -1;
    handle_queue_init(&f->ready);
    watch_init(&f->r, r_ready);
    watch_init(&f->w, w_ready);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, f->sockets) < 0) return -1;
    kernel = (struct kernel){.creates = 0};
    return 0;
}

static inline int tear_down(void **state) {
    poller_close(&f->poller);
    close(f->sockets[0]);
    close(f->sockets[1]);
    free(*state);
    return 0;
}

#define POLLER_TEST(name) TEST_WITH(name, set_up, tear_down)

/* Looks once at the kernel, runs what is ready, and compares who ran. */
#define assert_ready(names) \
    assert_int_equal(poller_wait(&f->poller, 0, &f->ready), (int)strlen(names)), \
        run_all(&f->ready), assert_logged(&f->log, (names))

static inline void start(struct watch *watch, int fd, enum poll_direction direction) {
    assert_int_equal(poller_start(&f->poller, watch, fd, direction), 0);
}

static inline void send_byte(int fd) {
    assert_int_equal(write(fd, "x", 1), 1);
}

static inline void receive_byte(int fd) {
    char byte;
    assert_int_equal(read(fd, &byte, 1), 1);
}

static inline void start_edges(int fd) {
    assert_int_equal(poller_start_edges(&f->poller, &f->r, fd), 0);
}

/* Looks once; the one watch for edges runs, if there was any, and was told these. */
static inline void assert_edges(unsigned edges) {
    assert_ready(edges != 0 ? "r" : "");
    assert_int_equal(f->r.edges, edges);
    f->r.edges = 0;
}

#endif
