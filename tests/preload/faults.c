/* faults.c -- a kernel that is less kind: loaded before libc, it makes one call fail.
 *
 * A test script says by os.remove("fault:KIND:N") that the N-th call from now on of those
 * that KIND is about shall meet it, and os.getenv("FAULT_CALLS") tells how many there have
 * been.  Kinds: eintr, eagain, short (one byte is read or written), reset, and an error
 * for calls that make descriptors or watch them: emfile, enomem.  N is a number, or "all":
 * then every other call meets it.
 *
 * The kernel's word is kept: that something comes later which was not there for a call is
 * told by an edge.  So after an EAGAIN or a short result that were not the kernel's own,
 * the descriptor is armed again in its epoll set. */
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define VISIBLE __attribute__((visibility("default")))

enum kind { NONE, EINTR_AT, EAGAIN_AT, SHORT_AT, RESET_AT, EMFILE_AT, ENOMEM_AT };
static const char *const kind_names[] = {"none",  "eintr",  "eagain", "short",
                                         "reset", "emfile", "enomem"};

enum { DESCRIPTORS = 65536 };
static struct registration {
    int epoll_fd;
    struct epoll_event event;
} registered[DESCRIPTORS];

static enum kind kind;
static long at, calls; /* at < 0: every other one */

/* The function of libc that one of ours stands in front of. */
#define REAL(name) \
    static __typeof__(&(name)) real; \
    if (real == NULL) { \
        void *found = dlsym(RTLD_NEXT, #name); \
        memcpy(&real, &found, sizeof real); \
    }

static bool is_connection(int fd) {
    struct stat status;
    return fstat(fd, &status) == 0 && (S_ISSOCK(status.st_mode) || S_ISFIFO(status.st_mode));
}

/* Counts a call; whether the fault is for it. */
static bool meets(void) {
    calls++;
    return at < 0 ? calls % 2 == 1 : calls == at;
}

static void arm_again(int fd) {
    if (fd >= DESCRIPTORS || registered[fd].event.events == 0) return;
    struct epoll_event event = registered[fd].event;
    syscall(SYS_epoll_ctl, registered[fd].epoll_fd, EPOLL_CTL_MOD, fd, &event);
}

/* Whether the transfer of `size` bytes fails; shortens it if that is the fault. */
static bool transfer_fails(int fd, size_t *size) {
    if (kind == NONE || kind > RESET_AT || !is_connection(fd) || !meets()) return false;
    switch (kind) {
    case EINTR_AT: errno = EINTR; return true;
    case RESET_AT: errno = ECONNRESET; return true;
    case EAGAIN_AT:
        arm_again(fd);
        errno = EAGAIN;
        return true;
    case SHORT_AT:
        if (*size > 1) *size = 1;
        return false;
    case NONE:
    case EMFILE_AT:
    case ENOMEM_AT: break;
    }
    return false;
}

static ssize_t transferred(int fd, size_t wanted, size_t allowed, ssize_t result) {
    int error = errno;
    if (allowed < wanted && result >= 0) arm_again(fd);
    errno = error;
    return result;
}

VISIBLE ssize_t read(int fd, void *buffer, size_t size) {
    REAL(read)
    size_t allowed = size;
    if (transfer_fails(fd, &allowed)) return -1;
    return transferred(fd, size, allowed, real(fd, buffer, allowed));
}

VISIBLE ssize_t write(int fd, const void *buffer, size_t size) {
    REAL(write)
    size_t allowed = size;
    if (transfer_fails(fd, &allowed)) return -1;
    return transferred(fd, size, allowed, real(fd, buffer, allowed));
}

VISIBLE ssize_t recv(int fd, void *buffer, size_t size, int flags) {
    REAL(recv)
    size_t allowed = size;
    if (transfer_fails(fd, &allowed)) return -1;
    return transferred(fd, size, allowed, real(fd, buffer, allowed, flags));
}

VISIBLE ssize_t send(int fd, const void *buffer, size_t size, int flags) {
    REAL(send)
    size_t allowed = size;
    if (transfer_fails(fd, &allowed)) return -1;
    return transferred(fd, size, allowed, real(fd, buffer, allowed, flags));
}

VISIBLE ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
    REAL(recvmsg)
    size_t size = message->msg_iovlen > 0 ? message->msg_iov->iov_len : 0, allowed = size;
    if (transfer_fails(fd, &allowed)) return -1;
    if (allowed < size) message->msg_iov->iov_len = allowed;
    ssize_t result = real(fd, message, flags);
    if (allowed < size) message->msg_iov->iov_len = size;
    return transferred(fd, size, allowed, result);
}

/* A shortened vector is its first byte. */
static struct iovec first_byte(const struct iovec *parts, int count) {
    for (int i = 0; i < count; i++) {
        if (parts[i].iov_len > 0) return (struct iovec){parts[i].iov_base, 1};
    }
    return (struct iovec){0};
}

VISIBLE ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev)
    size_t allowed = SIZE_MAX;
    if (transfer_fails(fd, &allowed)) return -1;
    struct iovec one = first_byte(parts, count);
    if (allowed == SIZE_MAX) return real(fd, parts, count);
    return transferred(fd, SIZE_MAX, allowed, real(fd, &one, 1));
}

VISIBLE ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    REAL(sendmsg)
    size_t allowed = SIZE_MAX;
    if (transfer_fails(fd, &allowed)) return -1;
    if (allowed == SIZE_MAX) return real(fd, message, flags);
    struct iovec one = first_byte(message->msg_iov, (int)message->msg_iovlen);
    struct msghdr shortened = *message;
    shortened.msg_iov = &one;
    shortened.msg_iovlen = 1;
    return transferred(fd, SIZE_MAX, allowed, real(fd, &shortened, flags));
}

/* Whether a call that makes or watches a descriptor fails. */
static bool making_fails(void) {
    if ((kind != EMFILE_AT && kind != ENOMEM_AT) || !meets()) return false;
    errno = kind == EMFILE_AT ? EMFILE : ENOMEM;
    return true;
}

VISIBLE int socket(int domain, int type, int protocol) {
    REAL(socket)
    return making_fails() ? -1 : real(domain, type, protocol);
}

VISIBLE int socketpair(int domain, int type, int protocol, int fds[2]) {
    REAL(socketpair)
    return making_fails() ? -1 : real(domain, type, protocol, fds);
}

VISIBLE int accept4(int fd, __SOCKADDR_ARG address, socklen_t *restrict size, int flags) {
    REAL(accept4)
    size_t unused = 0;
    if (kind == EINTR_AT || kind == EAGAIN_AT) {
        if (transfer_fails(fd, &unused)) return -1;
    } else if (making_fails()) {
        return -1;
    }
    return real(fd, address, size, flags);
}

VISIBLE int epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event) {
    REAL(epoll_ctl)
    if (op == EPOLL_CTL_ADD && making_fails()) {
        if (errno == EMFILE) errno = ENOSPC; /* what it says when there are too many */
        return -1;
    }
    int result = real(epoll_fd, op, fd, event);
    if (result == 0 && fd < DESCRIPTORS) {
        registered[fd].epoll_fd = epoll_fd;
        if (op == EPOLL_CTL_DEL) {
            memset(&registered[fd], 0, sizeof registered[fd]);
        } else {
            registered[fd].event = *event;
        }
    }
    return result;
}

static bool wait_fails(void) {
    if (kind != EINTR_AT || !meets()) return false;
    errno = EINTR;
    return true;
}

VISIBLE int epoll_wait(int epoll_fd, struct epoll_event *events, int count, int timeout_ms) {
    REAL(epoll_wait)
    return wait_fails() ? -1 : real(epoll_fd, events, count, timeout_ms);
}

VISIBLE int epoll_pwait2(int epoll_fd, struct epoll_event *events, int count,
                         const struct timespec *timeout, const sigset_t *mask) {
    REAL(epoll_pwait2)
    return wait_fails() ? -1 : real(epoll_fd, events, count, timeout, mask);
}

/* ---- what the script says, and is told ---- */

VISIBLE int remove(const char *path) {
    REAL(remove)
    char name[16], number[16];
    if (sscanf(path, "fault:%15[a-z]:%15s", name, number) != 2) return real(path);
    kind = NONE;
    for (int i = 0; i < (int)(sizeof kind_names / sizeof *kind_names); i++) {
        if (strcmp(name, kind_names[i]) == 0) kind = (enum kind)i;
    }
    at = strcmp(number, "all") == 0 ? -1 : strtol(number, NULL, 10);
    calls = 0;
    return 0;
}

VISIBLE char *getenv(const char *name) {
    static char answer[24];
    REAL(getenv)
    if (strcmp(name, "FAULT_CALLS") != 0) return real(name);
    snprintf(answer, sizeof answer, "%ld", calls);
    return answer;
}
