/* kernel.h -- counts the epoll calls of a test program, and lets one of them fail.
 *
 * A program's own epoll_ctl comes before the C library's, so the host's calls land
 * here and go on to the kernel.  Include it in one file of a program. */
#ifndef LOOPHOST_TESTS_KERNEL_H
#define LOOPHOST_TESTS_KERNEL_H

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct kernel {
    int creates, controls, waits; /* calls */
    int events;                   /* that the kernel reported, stale ones too */
    int fail_create, fail_control, fail_wait, fail_pwait2; /* errno of the next call; 0: none */
} kernel;

/* The errno that was ordered, once. */
static int ordered(int *failure) {
    errno = *failure;
    *failure = 0;
    return errno;
}

int epoll_create1(int flags) {
    kernel.creates++;
    return ordered(&kernel.fail_create) != 0 ? -1 : (int)syscall(SYS_epoll_create1, flags);
}

int epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event) {
    kernel.controls++;
    if (ordered(&kernel.fail_control) != 0) return -1;
    return (int)syscall(SYS_epoll_ctl, epoll_fd, op, fd, event);
}

int epoll_wait(int epoll_fd, struct epoll_event *events, int size, int timeout_ms) {
    kernel.waits++;
    if (ordered(&kernel.fail_wait) != 0) return -1;
    int count = (int)syscall(SYS_epoll_pwait, epoll_fd, events, size, timeout_ms, NULL, _NSIG / 8);
    if (count > 0) kernel.events += count;
    return count;
}

int epoll_pwait2(int epoll_fd, struct epoll_event *events, int size, const struct timespec *timeout,
                 const sigset_t *mask) {
    kernel.waits++;
    if (ordered(&kernel.fail_pwait2) != 0) return -1;
    int count = (int)syscall(SYS_epoll_pwait2, epoll_fd, events, size, timeout, mask, _NSIG / 8);
    if (count > 0) kernel.events += count;
    if (count < 0 && errno == ENOSYS) kernel.waits--; /* an old kernel, or valgrind */
    return count;
}

/* How many descriptors this process has open. */
static inline int open_descriptors(void) {
    DIR *directory = opendir("/proc/self/fd");
    int count = -3; /* ".", ".." and the directory's own */
    while (readdir(directory) != NULL) count++;
    closedir(directory);
    return count;
}

/* Lets exactly `spare` more descriptors be opened, of the lowest numbers; undo it with
 * the limit that it returns. */
static inline struct rlimit leave_descriptors(int spare) {
    struct rlimit before, limit;
    getrlimit(RLIMIT_NOFILE, &before);
    int opened[64], highest = -1;
    for (int i = 0; i < spare; i++) highest = opened[i] = dup(0);
    if (spare == 0) close(highest = dup(0));
    for (int i = 0; i < spare; i++) close(opened[i]);
    limit = before;
    limit.rlim_cur = (rlim_t)(spare == 0 ? highest : highest + 1);
    setrlimit(RLIMIT_NOFILE, &limit);
    return before;
}

#endif
