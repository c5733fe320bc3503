/* test_poller.c -- readiness of descriptors, with the kernel's calls counted. */
#include "tests/readiness.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

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
