/* test_spawn.c -- children: how they begin, what they inherit, how their end is seen. */
#include "host/spawn.h"
#include "tests/kernel.h"
#include "tests/suite.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

static int descriptors; /* open before the test */

static int set_up(void **state) {
    (void)state;
    descriptors = open_descriptors();
    return 0;
}

/* Each test must leave no descriptor, no child, and the mask as it was. */
static int tear_down(void **state) {
    sigset_t mask;
    (void)state;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    if (sigismember(&mask, SIGTERM) == 1 || sigismember(&mask, SIGUSR1) == 1) return -1;
    if (waitpid(-1, NULL, WNOHANG) >= 0 || errno != ECHILD) return -1;
    return open_descriptors() == descriptors ? 0 : -1;
}

#define SPAWN_TEST(name) TEST_WITH(name, set_up, tear_down)

#define ORDER(...) \
    { \
        .file = ((char *[]){__VA_ARGS__, NULL})[0], .arguments = (char *[]){__VA_ARGS__, NULL}, \
        .streams = {-1, -1, -1}, .process_group = -1, .umask = -1 \
    }

static struct child start(struct spawn *spawn) {
    struct child child;
    enum spawn_step step;
    assert_int_equal(spawn_start(spawn, &child, &step), 0);
    return child;
}

/* Waits for the child's end. */
static int finish(struct child *child) {
    struct pollfd end = {.fd = child->pidfd, .events = POLLIN};
    int status = 12345;
    assert_int_equal(poll(&end, 1, -1), 1);
    assert_int_equal(child_reap(child, &status), 1);
    child_close(child);
    child_close(child);
    return status;
}

/* Runs it with a pipe as its stream `which`; returns what it has written there. */
static const char *output_of(struct spawn *spawn, int which) {
    static char text[65536];
    int fds[2];
    size_t length = 0;
    ssize_t got;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    spawn->streams[which] = fds[1];
    struct child child = start(spawn);
    close(fds[1]);
    while ((got = read(fds[0], text + length, sizeof text - 1 - length)) > 0) length += (size_t)got;
    text[length] = '\0';
    close(fds[0]);
    assert_int_equal(finish(&child), 0);
    return text;
}

static void assert_fails(struct spawn *spawn, int error, enum spawn_step expected) {
    struct child child;
    enum spawn_step step;
    assert_int_equal(spawn_start(spawn, &child, &step), -error);
    assert_int_equal(step, expected);
    assert_int_equal(child.pidfd, -1);
}

SPAWN_TEST(an_exit_status_is_told) {
    struct spawn spawn = ORDER("sh", "-c", "exit 7");
    struct child child = start(&spawn);
    assert_int_equal(finish(&child), 7);
}

SPAWN_TEST(a_signal_is_told_as_a_negative_number) {
    struct spawn spawn = ORDER("sh", "-c", "kill -USR1 $$");
    struct child child = start(&spawn);
    assert_int_equal(finish(&child), -SIGUSR1);
}

SPAWN_TEST(a_child_that_runs_is_not_reaped) {
    struct spawn spawn = ORDER("sleep", "1000");
    int status;
    struct child child = start(&spawn);
    assert_int_equal(child_reap(&child, &status), 0);
    assert_int_equal(child_signal(&child, SIGTERM), 0);
    assert_int_equal(finish(&child), -SIGTERM);
}

SPAWN_TEST(a_child_can_be_killed_and_reaped_at_once) {
    struct spawn spawn = ORDER("sh", "-c", "trap '' TERM HUP INT; while :; do sleep 1; done");
    int status;
    struct child child = start(&spawn);
    assert_int_equal(child_kill(&child, &status), 1);
    assert_int_equal(status, -SIGKILL);
    assert_int_equal(child_signal(&child, SIGTERM), -ESRCH);
    child_close(&child);
}

SPAWN_TEST(a_status_that_somebody_else_took_is_lost) {
    struct spawn spawn = ORDER("true");
    int status = 0;
    struct child child = start(&spawn);
    assert_int_equal(waitpid(child.pid, NULL, 0), child.pid);
    assert_int_equal(child_reap(&child, &status), -ECHILD);
    child_close(&child);
}

SPAWN_TEST(other_children_are_left_alone) {
    pid_t other = fork();
    if (other == 0) _exit(3);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)other, &info, WEXITED | WNOWAIT), 0);
    struct spawn spawn = ORDER("true");
    struct child child = start(&spawn);
    assert_int_equal(finish(&child), 0);
    int status;
    assert_int_equal(waitpid(other, &status, 0), other);
    assert_int_equal(WEXITSTATUS(status), 3);
}

SPAWN_TEST(failures_tell_the_code_and_the_step) {
    struct spawn missing = ORDER("no-such-program");
    assert_fails(&missing, ENOENT, SPAWN_EXECUTE);
    struct spawn empty = ORDER("");
    assert_fails(&empty, ENOENT, SPAWN_EXECUTE);
    struct spawn forbidden = ORDER("/etc/passwd");
    assert_fails(&forbidden, EACCES, SPAWN_EXECUTE);
    struct spawn through_file = ORDER("/etc/passwd/x");
    assert_fails(&through_file, ENOTDIR, SPAWN_EXECUTE);
    struct spawn directory = ORDER("true");
    directory.directory = "/no/such";
    assert_fails(&directory, ENOENT, SPAWN_DIRECTORY);
    struct spawn group = ORDER("true");
    group.process_group = 1;
    assert_fails(&group, EPERM, SPAWN_PROCESS_GROUP);
    struct spawn closed = ORDER("true");
    closed.streams[1] = 777;
    assert_fails(&closed, EBADF, SPAWN_DESCRIPTORS);
    struct spawn passed = ORDER("true");
    passed.passed = (int[]){777};
    passed.passed_count = 1;
    assert_fails(&passed, EBADF, SPAWN_DESCRIPTORS);
}

SPAWN_TEST(a_pidfd_needs_a_descriptor) {
    struct rlimit before = leave_descriptors(0);
    struct spawn spawn = ORDER("true");
    struct child child;
    enum spawn_step step;
    int result = spawn_start(&spawn, &child, &step);
    setrlimit(RLIMIT_NOFILE, &before);
    assert_int_equal(result, -EMFILE);
    assert_int_equal(step, SPAWN_CLONE);
}

/* A directory with files of its own, which are named in `names`. */
static void in_directory(char *path, const char *const *names, mode_t mode) {
    const char *parent = getenv("TMPDIR");
    snprintf(path, 200, "%s/spawn-XXXXXX", parent != NULL ? parent : "/tmp");
    assert_non_null(mkdtemp(path));
    for (; *names != NULL; names++) {
        char name[256];
        snprintf(name, sizeof name, "%s/%s", path, *names);
        FILE *file = fopen(name, "we");
        fputs("not a program\n", file);
        fchmod(fileno(file), mode);
        fclose(file);
    }
}

static void remove_directory(const char *path, const char *const *names) {
    for (; *names != NULL; names++) {
        char name[256];
        snprintf(name, sizeof name, "%s/%s", path, *names);
        unlink(name);
    }
    rmdir(path);
}

SPAWN_TEST(the_path_is_the_childs_and_is_searched_to_its_end) {
    static const char *const names[] = {"true", "unheard-of", NULL};
    char path[200], variable[300];
    in_directory(path, names, 0644);
    snprintf(variable, sizeof variable, "PATH=/no/such:%s::/etc/passwd:/bin", path);
    struct spawn there = ORDER("true");
    there.environment = (char *[]){"A=1", variable, NULL};
    struct child child = start(&there);
    assert_int_equal(finish(&child), 0);
    struct spawn forbidden = ORDER("unheard-of");
    forbidden.environment = there.environment;
    assert_fails(&forbidden, EACCES, SPAWN_EXECUTE);
    struct spawn nowhere = ORDER("true");
    nowhere.environment = (char *[]){"PATH=/no/such", NULL};
    assert_fails(&nowhere, ENOENT, SPAWN_EXECUTE);
    struct spawn fallback = ORDER("true");
    fallback.environment = (char *[]){NULL};
    child = start(&fallback);
    assert_int_equal(finish(&child), 0);
    remove_directory(path, names);
}

SPAWN_TEST(an_unknown_format_is_an_error_and_runs_no_shell) {
    static const char *const names[] = {"script", NULL};
    char path[200], name[256];
    in_directory(path, names, 0755);
    snprintf(name, sizeof name, "%s/script", path);
    struct spawn spawn = ORDER(name);
    assert_fails(&spawn, ENOEXEC, SPAWN_EXECUTE);
    remove_directory(path, names);
}

SPAWN_TEST(a_name_too_long_for_the_path_is_not_found) {
    char *name = malloc(100000);
    memset(name, 'x', 99999);
    name[99999] = '\0';
    struct spawn spawn = ORDER(name);
    assert_fails(&spawn, ENOENT, SPAWN_EXECUTE);
    free(name);
}

SPAWN_TEST(environment_directory_and_umask_are_the_childs) {
    struct spawn spawn = ORDER("sh", "-c", "echo $A $B; pwd; umask");
    spawn.environment = (char *[]){"A=one", "B=two", NULL};
    spawn.directory = "/usr";
    spawn.umask = 027;
    assert_string_equal(output_of(&spawn, 1), "one two\n/usr\n0027\n");
    mode_t ours = umask(022);
    umask(ours);
    char *here = get_current_dir_name();
    assert_string_not_equal(here, "/usr");
    assert_int_not_equal(ours, 027);
    free(here);
}

/* Three pipes are given as the streams of a child in every order, from every place among the
 * first descriptors. */
SPAWN_TEST(streams_may_come_from_anywhere) {
    static const int places[][3] = {{0, 1, 2}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1},   {2, 1, 0},
                                    {0, 2, 1}, {2, 2, 2}, {0, 0, 0}, {63, 1, 60}, {61, 60, 0}};
    int saved[3], result = 0;
    for (int i = 0; i < 3; i++) saved[i] = fcntl(i, F_DUPFD_CLOEXEC, 50);
    for (size_t test = 0; test < sizeof places / sizeof places[0]; test++) {
        char text[16] = "";
        int in[2], out[2], err[2];
        assert_int_equal(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC) | pipe2(err, O_CLOEXEC), 0);
        int ends[] = {in[0], out[1], err[1]}, moved[3];
        for (int i = 0; i < 3; i++) moved[i] = fcntl(ends[i], F_DUPFD_CLOEXEC, 70);
        struct spawn spawn = ORDER("sh", "-c", "read x; echo out-$x; echo err-$x >&2");
        for (int i = 0; i < 3; i++) {
            spawn.streams[i] = places[test][i];
            if (places[test][0] == places[test][1])
                spawn.streams[i] = moved[i];
            else
                dup3(moved[i], places[test][i], O_CLOEXEC);
        }
        struct child child;
        enum spawn_step step;
        result |= spawn_start(&spawn, &child, &step);
        for (int i = 0; i < 3; i++) {
            close(places[test][i] < 3 ? 90 : places[test][i]);
            dup2(saved[i], i);
            close(moved[i]);
            close(ends[i]);
        }
        result |= write(in[1], "x\n", 2) != 2;
        result |= read(out[0], text, sizeof text) != 6 || memcmp(text, "out-x\n", 6) != 0;
        result |= read(err[0], text, sizeof text) != 6 || memcmp(text, "err-x\n", 6) != 0;
        close(in[1]);
        close(out[0]);
        close(err[0]);
        result |= finish(&child);
        assert_int_equal(result, 0);
    }
    for (int i = 0; i < 3; i++) close(saved[i]);
}

SPAWN_TEST(one_pipe_may_be_two_streams) {
    struct spawn spawn = ORDER("sh", "-c", "echo out; echo err >&2");
    int fds[2];
    char text[16];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    spawn.streams[1] = spawn.streams[2] = fds[1];
    struct child child = start(&spawn);
    close(fds[1]);
    assert_int_equal(finish(&child), 0);
    assert_int_equal(read(fds[0], text, sizeof text), 8);
    assert_memory_equal(text, "out\nerr\n", 8);
    close(fds[0]);
}

SPAWN_TEST(no_other_descriptor_comes_along) {
    int careless = dup(0); /* as C libraries open them */
    int passed = fcntl(0, F_DUPFD_CLOEXEC, 100);
    struct spawn spawn = ORDER("sh", "-c", "echo /proc/self/fd/*");
    spawn.passed = &passed;
    spawn.passed_count = 1;
    assert_string_equal(output_of(&spawn, 1), "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/100 "
                                              "/proc/self/fd/2 /proc/self/fd/3\n");
    assert_int_equal(fcntl(careless, F_GETFD), 0);
    assert_int_equal(fcntl(passed, F_GETFD), FD_CLOEXEC);
    close(careless);
    close(passed);
}

SPAWN_TEST(a_stream_that_is_closed_here_is_closed_there) {
    int saved = fcntl(0, F_DUPFD_CLOEXEC, 50);
    close(0);
    struct spawn spawn = ORDER("sh", "-c", "echo /proc/self/fd/*");
    int fds[2]; /* one of them is descriptor 0, and must not be taken for a stdin */
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    int moved = fcntl(fds[1], F_DUPFD_CLOEXEC, 60);
    spawn.streams[1] = moved;
    struct child child = start(&spawn);
    close(moved);
    close(fds[1]);
    int in = fcntl(fds[0], F_DUPFD_CLOEXEC, 60);
    dup2(saved, 0);
    if (fds[0] != 0) close(fds[0]);
    close(saved);
    char text[100] = "";
    assert_true(read(in, text, sizeof text - 1) > 0);
    close(in);
    assert_int_equal(finish(&child), 0);
    /* 0 is what the shell opened to look */
    assert_string_equal(text, "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2\n");
}

static uint64_t signal_set(const char *status, const char *name) {
    const char *line = strstr(status, name);
    assert_non_null(line);
    return strtoull(line + strlen(name), NULL, 16);
}

static void on_signal(int signal) {
    (void)signal;
}

SPAWN_TEST(mask_and_handlers_are_reset_but_ignored_signals_stay) {
    sigset_t blocked, before;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &blocked, &before);
    signal(SIGUSR1, on_signal);
    signal(SIGHUP, SIG_IGN);
    struct spawn spawn = ORDER("cat", "/proc/self/status");
    sigaddset(&spawn.mask, SIGWINCH);
    const char *status = output_of(&spawn, 1);
    signal(SIGUSR1, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    assert_int_equal(signal_set(status, "SigBlk:"), 1ULL << (SIGWINCH - 1));
    assert_int_equal(signal_set(status, "SigCgt:"), 0);
    assert_true(signal_set(status, "SigIgn:") & 1ULL << (SIGHUP - 1));
}

static int handled;

static void count_signal(int signal) {
    (void)signal;
    handled++;
}

/* A handler that ran in the child would run in our memory. */
SPAWN_TEST(a_pending_signal_meets_no_handler_of_ours_in_the_child) {
    signal(SIGCHLD, count_signal);
    for (int i = 0; i < 20; i++) {
        struct spawn spawn = ORDER("true");
        struct child child = start(&spawn);
        assert_int_equal(finish(&child), 0);
    }
    signal(SIGCHLD, SIG_DFL);
    assert_true(handled > 0 && handled <= 20);
}

SPAWN_TEST(groups_and_sessions) {
    struct spawn leader = ORDER("sleep", "1000");
    leader.process_group = 0;
    struct child first = start(&leader);
    assert_int_equal(getpgid(first.pid), first.pid);
    struct spawn follower = ORDER("sleep", "1000");
    follower.process_group = first.pid;
    struct child second = start(&follower);
    assert_int_equal(getpgid(second.pid), first.pid);
    struct spawn session = ORDER("sleep", "1000");
    session.new_session = true;
    struct child third = start(&session);
    assert_int_equal(getsid(third.pid), third.pid);
    kill(-first.pid, SIGTERM);
    assert_int_equal(finish(&first), -SIGTERM);
    assert_int_equal(finish(&second), -SIGTERM);
    assert_int_equal(child_signal(&third, SIGKILL), 0);
    assert_int_equal(finish(&third), -SIGKILL);
}

static void *start_mortal(void *child) {
    struct spawn spawn = ORDER("sleep", "1000");
    spawn.death_signal = SIGHUP;
    *(struct child *)child = start(&spawn);
    return NULL;
}

SPAWN_TEST(a_death_signal_comes_when_the_thread_ends) {
    pthread_t thread;
    struct child child;
    assert_int_equal(pthread_create(&thread, NULL, start_mortal, &child), 0);
    pthread_join(thread, NULL);
    assert_int_equal(finish(&child), -SIGHUP);
}

/* Valgrind makes a fork of our clone, so that the child's failures are lost, and knows little
 * of pidfds. */
static bool under_valgrind(void) {
    const char *preloaded = getenv("LD_PRELOAD");
    return preloaded != NULL && strstr(preloaded, "vgpreload") != NULL;
}

int main(void) {
    if (!under_valgrind()) return suite_run();
    printf("[  SKIPPED ] %d test(s)\n", suite_count);
    return EXIT_SUCCESS;
}
