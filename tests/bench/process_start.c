/* process_start.c -- what starting /bin/true and seeing its end costs, by spawn_start and by
 * posix_spawn, in a small process and in one of 1 GiB. */
#include "host/clock.h"
#include "host/spawn.h"

#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { ROUNDS = 1000 };

static char *arguments[] = {"/bin/true", NULL};

static int by_spawn_start(void) {
    struct spawn spawn = {.file = arguments[0],
                          .arguments = arguments,
                          .streams = {-1, -1, -1},
                          .process_group = -1,
                          .umask = -1};
    struct child child;
    enum spawn_step step;
    int status = -1;
    if (spawn_start(&spawn, &child, &step) < 0) return -1;
    struct pollfd end = {.fd = child.pidfd, .events = POLLIN};
    poll(&end, 1, -1);
    child_reap(&child, &status);
    child_close(&child);
    return status;
}

static int by_posix_spawn(void) {
    pid_t pid;
    int status = -1;
    if (posix_spawn(&pid, arguments[0], NULL, NULL, arguments, environ) != 0) return -1;
    waitpid(pid, &status, 0);
    return status;
}

static int by_fork(void) {
    pid_t pid = fork();
    int status = -1;
    if (pid == 0) {
        execv(arguments[0], arguments);
        _exit(127);
    }
    waitpid(pid, &status, 0);
    return status;
}

/* The fastest of many: what others do on the machine only adds to it. */
static double microseconds(int (*run)(void)) {
    int64_t best_ns = INT64_MAX;
    for (int i = 0; i < ROUNDS; i++) {
        int64_t began_ns = clock_monotonic();
        if (run() != 0) exit(EXIT_FAILURE);
        int64_t took_ns = clock_monotonic() - began_ns;
        if (took_ns < best_ns) best_ns = took_ns;
    }
    return (double)best_ns / 1000;
}

static void report(const char *size) {
    printf("%-6s  spawn_start %6.1f us   posix_spawn %6.1f us   fork %6.1f us\n", size,
           microseconds(by_spawn_start), microseconds(by_posix_spawn), microseconds(by_fork));
}

int main(void) {
    report("small");
    size_t size = (size_t)1 << 30;
    unsigned char *memory = malloc(size);
    if (memory == NULL) return EXIT_FAILURE;
    memset(memory, 1, size);
    report("1 GiB");
    int last = memory[size - 1];
    free(memory);
    return last == 1 ? EXIT_SUCCESS : EXIT_FAILURE;
}
