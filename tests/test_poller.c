/* test_poller.c -- readiness of descriptors, with the kernel's calls counted. */
#include "tests/job.h"
#include "tests/kernel.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

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

static void r_ready(struct handle *handle) {
    (void)handle;
    log_add(&f->log, 'r');
}

static void w_ready(struct handle *handle) {
    (void)handle;
    log_add(&f->log, 'w');
}

static int set_up(void **state) {
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

static int tear_down(void **state) {
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

static void start(struct watch *watch, int fd, enum poll_direction direction) {
    assert_int_equal(poller_start(&f->poller, watch, fd, direction), 0);
}

static void send_byte(int fd) {
    assert_int_equal(write(fd, "x", 1), 1);
}

static void receive_byte(int fd) {
    char byte;
    assert_int_equal(read(fd, &byte, 1), 1);
}

POLLER_TEST(a_reader_runs_in_every_turn_in_which_there_is_something) {
    start(&f->r, f->sockets[0], POLL_READ);
    assert_ready("");
    send_byte(f->sockets[1]);
    assert_ready("r");
    assert_ready("r");
    receive_byte(f->sockets[0]);
    assert_ready("");
}

POLLER_TEST(a_writer_runs_in_every_turn_in_which_there_is_room) {
    start(&f->w, f->sockets[0], POLL_WRITE);
    assert_ready("w");
    assert_ready("w");
    char block[4096] = {0};
    while (write(f->sockets[0], block, sizeof block) > 0) continue;
    assert_ready("");
}

POLLER_TEST(reader_and_writer_of_one_descriptor_are_independent) {
    start(&f->r, f->sockets[0], POLL_READ);
    assert_ready("");
    start(&f->w, f->sockets[0], POLL_WRITE);
    assert_ready("w");
    send_byte(f->sockets[1]);
    assert_ready("rw");
    poller_stop(&f->poller, &f->w);
    assert_ready("r");
    start(&f->w, f->sockets[0], POLL_WRITE);
    poller_stop(&f->poller, &f->r);
    assert_ready("w");
    poller_stop(&f->poller, &f->w);
    assert_ready("");
    assert_int_equal(f->poller.watches, 0);
}

POLLER_TEST(a_direction_has_one_watch) {
    struct watch second, third;
    watch_init(&second, w_ready);
    watch_init(&third, w_ready);
    start(&f->r, f->sockets[0], POLL_READ);
    int fd = f->sockets[0];
    assert_int_equal(poller_start(&f->poller, &second, fd, POLL_READ), -EEXIST);
    assert_int_equal(poller_start_edges(&f->poller, &third, fd), -EEXIST);
    assert_false(watch_started(&second));
    assert_false(watch_started(&third));
    assert_int_equal(f->poller.watches, 1);
    send_byte(f->sockets[1]);
    assert_ready("r");
}

POLLER_TEST(the_watch_of_a_direction_can_be_found) {
    start(&f->r, f->sockets[0], POLL_READ);
    assert_ptr_equal(poller_find(&f->poller, f->sockets[0], POLL_READ), &f->r);
    assert_null(poller_find(&f->poller, f->sockets[0], POLL_WRITE));
    assert_null(poller_find(&f->poller, -1, POLL_READ));
    assert_null(poller_find(&f->poller, INT32_MAX, POLL_READ));
    poller_stop(&f->poller, &f->r);
    assert_null(poller_find(&f->poller, f->sockets[0], POLL_READ));
}

POLLER_TEST(a_registration_is_one_call_however_often_it_fires) {
    start(&f->r, f->sockets[0], POLL_READ);
    assert_int_equal(kernel.controls, 1);
    for (int i = 0; i < 1000; i++) {
        send_byte(f->sockets[1]);
        assert_ready("r");
        receive_byte(f->sockets[0]);
    }
    assert_int_equal(kernel.controls, 1);
    poller_stop(&f->poller, &f->r);
    assert_int_equal(kernel.controls, 2);
    assert_int_equal(kernel.waits, 1000);
}

static void start_edges(int fd) {
    assert_int_equal(poller_start_edges(&f->poller, &f->r, fd), 0);
}

/* Looks once; the one watch for edges runs, if there was any, and was told these. */
static void assert_edges(unsigned edges) {
    assert_ready(edges != 0 ? "r" : "");
    assert_int_equal(f->r.edges, edges);
    f->r.edges = 0;
}

POLLER_TEST(an_edge_runs_once_for_each_change) {
    start_edges(f->sockets[0]);
    assert_int_equal(kernel.controls, 1);
    assert_edges(EDGE_WRITE);
    assert_edges(0);
    send_byte(f->sockets[1]);
    assert_edges(EDGE_READ | EDGE_WRITE); /* epoll tells all that there is */
    assert_edges(0);
    poller_stop(&f->poller, &f->r);
    assert_int_equal(kernel.controls, 2);
    send_byte(f->sockets[1]);
    assert_ready("");
    assert_int_equal(f->poller.watches, 0);
}

POLLER_TEST(edges_gather_until_their_callback_has_looked) {
    start_edges(f->sockets[0]);
    assert_edges(EDGE_WRITE);
    send_byte(f->sockets[1]);
    assert_int_equal(poller_wait(&f->poller, 0, &f->ready), 1);
    receive_byte(f->sockets[0]);
    shutdown(f->sockets[1], SHUT_WR);
    assert_int_equal(poller_wait(&f->poller, 0, &f->ready), 0); /* stands in the queue */
    run_all(&f->ready);
    assert_logged(&f->log, "r");
    assert_int_equal(f->r.edges, EDGE_READ | EDGE_WRITE | EDGE_END);
}

/* What a short read may be taken for hangs on this. */
POLLER_TEST(an_end_an_error_and_urgent_bytes_are_told_with_the_edge) {
    start_edges(f->sockets[0]);
    assert_edges(EDGE_WRITE);
    send_byte(f->sockets[1]);
    shutdown(f->sockets[1], SHUT_WR);
    assert_edges(EDGE_READ | EDGE_WRITE | EDGE_END);
    poller_stop(&f->poller, &f->r);

    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), peer = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(connect(peer, (struct sockaddr *)&address, size), 0);
    int fd = accept(listener, NULL, NULL);
    start_edges(fd);
    assert_edges(EDGE_WRITE);
    assert_int_equal(send(peer, "ab", 2, MSG_OOB), 2);
    assert_edges(EDGE_READ | EDGE_WRITE | EDGE_END);
    struct linger at_once = {1, 0};
    setsockopt(peer, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(peer);
    assert_edges(EDGE_READ | EDGE_WRITE | EDGE_END);
    poller_stop(&f->poller, &f->r);
    close(fd);
    close(listener);
}

POLLER_TEST(the_end_of_a_peer_wakes_both_directions) {
    start(&f->r, f->sockets[0], POLL_READ);
    close(f->sockets[1]);
    assert_ready("r");
    poller_stop(&f->poller, &f->r);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    char block[4096] = {0};
    assert_int_equal(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
    while (write(ends[1], block, sizeof block) > 0) continue;
    start(&f->w, ends[1], POLL_WRITE);
    assert_ready("");
    close(ends[0]);
    assert_ready("w"); /* an error, not room */
    poller_stop(&f->poller, &f->w);
    close(ends[1]);
    f->sockets[1] = dup(f->sockets[0]);
}

POLLER_TEST(a_stopped_watch_does_not_run_even_if_it_stood_in_the_queue) {
    start(&f->r, f->sockets[0], POLL_READ);
    start(&f->w, f->sockets[0], POLL_WRITE);
    send_byte(f->sockets[1]);
    assert_int_equal(poller_wait(&f->poller, 0, &f->ready), 2);
    poller_stop(&f->poller, &f->r);
    run_all(&f->ready);
    assert_logged(&f->log, "w");
    poller_stop(&f->poller, &f->w);
    start_edges(f->sockets[0]);
    assert_int_equal(poller_wait(&f->poller, 0, &f->ready), 1);
    poller_stop(&f->poller, &f->r);
    run_all(&f->ready);
    assert_logged(&f->log, "");
}

POLLER_TEST(a_watch_that_still_waits_to_run_is_not_queued_twice) {
    start(&f->r, f->sockets[0], POLL_READ);
    send_byte(f->sockets[1]);
    assert_int_equal(poller_wait(&f->poller, 0, &f->ready), 1);
    assert_int_equal(poller_wait(&f->poller, 0, &f->ready), 0);
    run_all(&f->ready);
    assert_logged(&f->log, "r");
}

static void assert_refused(int fd, int error) {
    assert_int_equal(poller_start(&f->poller, &f->r, fd, POLL_READ), error);
    assert_int_equal(poller_start(&f->poller, &f->w, fd, POLL_WRITE), error);
    assert_int_equal(poller_start_edges(&f->poller, &f->r, fd), error);
    assert_false(watch_started(&f->r));
    assert_false(watch_started(&f->w));
    assert_null(poller_find(&f->poller, fd, POLL_READ));
    assert_int_equal(f->poller.watches, 0);
}

POLLER_TEST(a_file_that_is_always_ready_is_refused) {
    int fd = open("/proc/self/exe", O_RDONLY);
    assert_true(fd >= 0);
    assert_refused(fd, -EPERM);
    close(fd);
}

POLLER_TEST(a_number_without_a_descriptor_is_refused) {
    int fd = dup(f->sockets[0]);
    close(fd);
    assert_refused(fd, -EBADF);
    assert_refused(-1, -EBADF);
    assert_refused(INT32_MIN, -EBADF);
}

POLLER_TEST(a_wild_number_costs_no_memory) {
    start(&f->r, f->sockets[0], POLL_READ);
    poller_stop(&f->poller, &f->r);
    int before = f->poller.slot_count;
    assert_refused(1 << 30, -EBADF);
    assert_refused(INT32_MAX, -EBADF);
    assert_int_equal(f->poller.slot_count, before);
}

POLLER_TEST(a_high_number_is_watched_as_any_other) {
    int fd = fcntl(f->sockets[0], F_DUPFD, 1000);
    assert_true(fd >= 1000);
    start(&f->w, fd, POLL_WRITE);
    start(&f->r, f->sockets[0], POLL_READ);
    send_byte(f->sockets[1]);
    assert_ready("wr");
    poller_stop(&f->poller, &f->w);
    close(fd);
}

POLLER_TEST(when_the_kernel_refuses_a_start_the_other_direction_stands) {
    start(&f->r, f->sockets[0], POLL_READ);
    kernel.fail_control = ENOMEM;
    assert_int_equal(poller_start(&f->poller, &f->w, f->sockets[0], POLL_WRITE), -ENOMEM);
    assert_false(watch_started(&f->w));
    assert_int_equal(f->poller.watches, 1);
    send_byte(f->sockets[1]);
    assert_ready("r");
    kernel.fail_control = ENOSPC;
    int fd = f->sockets[1];
    struct watch edges;
    watch_init(&edges, r_ready);
    assert_int_equal(poller_start_edges(&f->poller, &edges, fd), -ENOSPC);
    assert_false(watch_started(&edges));
    assert_int_equal(f->poller.watches, 1);
}

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

POLLER_TEST(a_signal_ends_a_wait_without_an_error) {
    kernel.fail_wait = EINTR;
    assert_int_equal(poller_wait(&f->poller, -1, &f->ready), 0);
    kernel.fail_pwait2 = EINTR;
    assert_int_equal(poller_wait(&f->poller, INT64_C(3600) * NS_PER_S, &f->ready), 0);
    assert_int_equal(kernel.waits, 2);
}

POLLER_TEST(another_error_is_told) {
    kernel.fail_wait = EBADF;
    assert_int_equal(poller_wait(&f->poller, -1, &f->ready), -EBADF);
}

POLLER_TEST(a_wait_is_never_shorter_than_asked) {
    const int errors[] = {0, ENOSYS, EPERM}; /* the latter: epoll_pwait2 is not there */
    for (int i = 0; i < 30; i++) {
        int64_t timeout_ns = 1 + i * INT64_C(77777), before_ns = clock_monotonic();
        kernel.fail_pwait2 = errors[i % 3];
        assert_int_equal(poller_wait(&f->poller, timeout_ns, &f->ready), 0);
        assert_true(clock_monotonic() - before_ns >= timeout_ns);
    }
}

POLLER_TEST(the_longest_waits_are_ended_by_an_event) {
    const int64_t timeouts_ns[] = {INT64_MAX, UINT32_MAX * INT64_C(1000000)};
    const int errors[] = {0, ENOSYS}; /* there milliseconds are a mere int */
    struct itimerspec soon = {.it_value.tv_nsec = 1000000};
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    assert_true(fd >= 0);
    start(&f->r, fd, POLL_READ);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(timerfd_settime(fd, 0, &soon, NULL), 0);
        kernel.fail_pwait2 = errors[i / 2];
        assert_int_equal(poller_wait(&f->poller, timeouts_ns[i % 2], &f->ready), 1);
        run_all(&f->ready);
    }
    assert_logged(&f->log, "rrrr");
    poller_stop(&f->poller, &f->r);
    close(fd);
}

struct counted_watch {
    struct watch watch;
    int runs;
};

static void count_run(struct handle *handle) {
    struct watch *watch = container_of(handle, struct watch, handle);
    container_of(watch, struct counted_watch, watch)->runs++;
}

/* More are ready than one wait can tell: each must have its turn. */
POLLER_TEST(many_ready_descriptors_are_all_served) {
    enum { MANY = 600 };
    struct counted_watch *counted = calloc(MANY, sizeof *counted);
    assert_non_null(counted);
    for (int i = 0; i < MANY; i++) {
        int fd = eventfd(1, EFD_NONBLOCK);
        assert_true(fd >= 0);
        watch_init(&counted[i].watch, count_run);
        start(&counted[i].watch, fd, POLL_READ);
    }
    for (int round = 0; round < 6; round++) {
        assert_true(poller_wait(&f->poller, 0, &f->ready) > 0);
        run_all(&f->ready);
    }
    for (int i = 0; i < MANY; i++) assert_in_range(counted[i].runs, 2, 3);
    for (int i = 0; i < MANY; i++) {
        int fd = counted[i].watch.fd;
        poller_stop(&f->poller, &counted[i].watch);
        close(fd);
    }
    free(counted);
}

POLLER_TEST(without_descriptors_left_a_poller_is_not_made) {
    int fds = open_descriptors();
    struct rlimit limit = leave_descriptors(0);
    struct poller poller;
    int result = poller_init(&poller);
    setrlimit(RLIMIT_NOFILE, &limit);
    assert_int_equal(result, -EMFILE);
    poller_close(&poller);
    assert_int_equal(open_descriptors(), fds);
}

POLLER_TEST(closing_stops_every_watch) {
    int fds = open_descriptors();
    start(&f->r, f->sockets[0], POLL_READ);
    start(&f->w, f->sockets[1], POLL_WRITE);
    poller_close(&f->poller);
    assert_false(watch_started(&f->r));
    assert_false(watch_started(&f->w));
    assert_int_equal(open_descriptors(), fds - 1);
    poller_close(&f->poller);
    assert_int_equal(poller_init(&f->poller), 0);
    start(&f->r, f->sockets[0], POLL_READ);
}

int main(void) {
    return suite_run();
}
