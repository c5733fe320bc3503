/* test_poller_stale.c -- descriptors that are closed, copied or come back while they are watched,
 * and the events that they leave in the epoll set. */
#include "tests/readiness.h"

#include <sys/eventfd.h>
#include <sys/wait.h>

POLLER_TEST(a_descriptor_closed_too_early_can_still_be_stopped) {
    int fd = dup(f->sockets[0]);
    start(&f->r, fd, POLL_READ);
    start(&f->w, fd, POLL_WRITE);
    close(fd);
    poller_stop(&f->poller, &f->r);
    poller_stop(&f->poller, &f->w);
    assert_int_equal(f->poller.watches, 0);
    assert_int_equal(poller_start(&f->poller, &f->r, fd, POLL_READ), -EBADF);
}

/* The number of a descriptor that was closed behind our back belongs to another file:
 * the kernel has forgotten the old one, the table has not. */
POLLER_TEST(a_reused_number_is_watched_anew) {
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    start(&f->r, pair[0], POLL_READ);
    assert_int_equal(dup2(f->sockets[0], pair[0]), pair[0]);
    start(&f->w, pair[0], POLL_WRITE);
    assert_ready("w");
    poller_stop(&f->poller, &f->w);
    poller_stop(&f->poller, &f->r);
    start(&f->r, pair[0], POLL_READ);
    send_byte(f->sockets[1]);
    assert_ready("r");
    poller_stop(&f->poller, &f->r);
    close(pair[0]);
    close(pair[1]);
}

/* Looks ten times: nobody may run, and the kernel may report something only once. */
static void assert_no_spinning(void) {
    assert_ready("");
    kernel.events = 0;
    for (int i = 0; i < 10; i++) assert_ready("");
    assert_int_equal(kernel.events, 0);
}

POLLER_TEST(a_copy_in_a_forked_child_does_not_make_the_poller_spin) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    start(&f->r, f->sockets[0], POLL_READ);
    send_byte(f->sockets[1]);
    pid_t child = fork();
    if (child == 0) { /* holds its copies until the test closes the pipe */
        char byte;
        close(ends[1]);
        _exit(read(ends[0], &byte, 1) == 0 ? 0 : 1);
    }
    assert_true(child > 0);
    close(f->sockets[0]);
    poller_stop(&f->poller, &f->r);
    assert_no_spinning();
    close(ends[1]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close(ends[0]);
    f->sockets[0] = dup(f->sockets[1]);
}

/* As above, but the number is in use again before the stale event comes. */
POLLER_TEST(a_stale_event_is_not_taken_for_one_of_the_new_file) {
    int copy = dup(f->sockets[0]), silent[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, silent), 0);
    start(&f->r, f->sockets[0], POLL_READ);
    send_byte(f->sockets[1]);
    int fd = f->sockets[0];
    close(fd);
    poller_stop(&f->poller, &f->r);
    assert_int_equal(dup2(silent[0], fd), fd);
    start(&f->r, fd, POLL_READ);
    assert_no_spinning();
    send_byte(silent[1]);
    assert_ready("r");
    close(copy);
    close(silent[0]);
    close(silent[1]);
}

/* As above, but one watch still stands when the other direction is started. */
POLLER_TEST(a_stale_event_is_told_apart_also_where_a_watch_was_left_behind) {
    int copy = dup(f->sockets[0]), silent[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, silent), 0);
    start(&f->r, f->sockets[0], POLL_READ);
    send_byte(f->sockets[1]);
    int fd = f->sockets[0];
    assert_int_equal(dup2(silent[0], fd), fd);
    start(&f->w, fd, POLL_WRITE);
    poller_stop(&f->poller, &f->w);
    assert_no_spinning();
    close(copy);
    close(silent[0]);
    close(silent[1]);
}

POLLER_TEST(a_descriptor_that_comes_back_under_its_number_is_watched_again) {
    int fd = f->sockets[0], copy = dup(fd);
    start(&f->r, fd, POLL_READ);
    close(fd);
    poller_stop(&f->poller, &f->r);
    assert_int_equal(dup2(copy, fd), fd); /* the kernel has never forgotten this one */
    start(&f->w, fd, POLL_WRITE);
    assert_ready("w");
    poller_stop(&f->poller, &f->w);
    assert_no_spinning();
    close(copy);
}

/* Leaves a stale event in the epoll set, and `r` and `w` on its other descriptors. */
static int leave_a_stale_event(void) {
    struct watch gone;
    watch_init(&gone, w_ready);
    int copy = dup(f->sockets[1]), fd = dup(f->sockets[1]);
    assert_int_equal(poller_start(&f->poller, &gone, fd, POLL_WRITE), 0);
    close(fd);
    poller_stop(&f->poller, &gone);
    start(&f->r, f->sockets[0], POLL_READ);
    start(&f->w, copy, POLL_WRITE);
    return copy;
}

POLLER_TEST(a_rebuilt_set_watches_what_the_old_one_did) {
    int fds = open_descriptors();
    int copy = leave_a_stale_event();
    kernel.creates = 0;
    assert_ready("w");
    assert_int_equal(kernel.creates, 1);
    send_byte(f->sockets[1]);
    assert_int_equal(poller_wait(&f->poller, 0, &f->ready), 2);
    run_all(&f->ready);
    assert_int_equal(f->log.length, 2);
    assert_int_equal(kernel.creates, 1);
    poller_stop(&f->poller, &f->w);
    close(copy);
    assert_int_equal(open_descriptors(), fds);
}

POLLER_TEST(a_rebuild_that_fails_loses_nothing) {
    int copy = leave_a_stale_event();
    int fds = open_descriptors();
    kernel.fail_create = EMFILE;
    assert_ready("w");
    kernel.creates = 0;
    kernel.fail_control = ENOMEM;
    assert_ready("w");
    assert_int_equal(kernel.creates, 1);
    assert_ready("w"); /* succeeds */
    assert_int_equal(kernel.creates, 2);
    assert_ready("w");
    assert_int_equal(kernel.creates, 2);
    receive_byte((send_byte(f->sockets[1]), f->sockets[0]));
    send_byte(f->sockets[1]);
    assert_int_equal(poller_wait(&f->poller, 0, &f->ready), 2);
    run_all(&f->ready);
    assert_int_equal(open_descriptors(), fds);
    poller_stop(&f->poller, &f->w);
    close(copy);
}

POLLER_TEST(rebuilt_edges_stay_edges) {
    struct watch gone;
    watch_init(&gone, w_ready);
    int fd = dup(f->sockets[1]);
    start_edges(f->sockets[0]);
    assert_edges(EDGE_WRITE);
    assert_int_equal(poller_start(&f->poller, &gone, fd, POLL_WRITE), 0);
    close(fd);
    poller_stop(&f->poller, &gone);
    assert_edges(0);
    assert_edges(EDGE_WRITE); /* the new set tells the state once */
    assert_edges(0);
    send_byte(f->sockets[1]);
    assert_edges(EDGE_READ | EDGE_WRITE);
    assert_edges(0);
    poller_stop(&f->poller, &f->r);
}

/* What a child does at its end: its finalisers stop what they find. */
POLLER_TEST(a_forked_child_cannot_disturb_its_parent) {
    int pair[2];
    struct watch edges, late;
    watch_init(&edges, r_ready);
    watch_init(&late, w_ready);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    start(&f->r, f->sockets[0], POLL_READ);
    start(&f->w, f->sockets[0], POLL_WRITE);
    assert_int_equal(poller_start_edges(&f->poller, &edges, pair[0]), 0);
    pid_t child = fork();
    if (child == 0) {
        poller_stop(&f->poller, &f->r);
        poller_stop(&f->poller, &f->w);
        poller_stop(&f->poller, &edges);
        int result = poller_start(&f->poller, &late, f->sockets[0], POLL_WRITE);
        bool left_alone = f->poller.watches == 0 && !poller_is_ours(&f->poller);
        poller_close(&f->poller);
        _exit(result == -EBADF && left_alone ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_true(poller_is_ours(&f->poller));
    send_byte(f->sockets[1]);
    send_byte(pair[1]);
    assert_ready("rwr");
    poller_stop(&f->poller, &edges);
    close(pair[0]);
    close(pair[1]);
}

int main(void) {
    return suite_run();
}
