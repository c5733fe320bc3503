/* stdio.c -- the standard streams: descriptors that we share with others.
 *
 * Whether a descriptor blocks is a property of the open file, which our parent, its shell and
 * io.write have, too: it is never changed.  A pipe or a tty is opened once more by way of
 * /proc: that open file is ours alone.  A socket has calls that do not block.  What is left
 * (where /proc or the permission is missing, or a device) is asked before every call, which
 * then moves no more than goes without blocking.  Regular files are always ready, and read
 * and written in place.
 *
 * Bytes that the C library has in its buffers come first: io.write and lh.stdout keep their
 * order, and so do io.read and lh.stdin, in this order. */
#include "bindings/open.h"
#include "bindings/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEVICE_CHUNK = 256 }; /* a device that can be written to takes at least that */

static int number_of(const struct l_stream *stream) {
    return (int)(intptr_t)stream->channel_state;
}

static FILE *file_of(int number) {
    return number == STDIN_FILENO ? stdin : number == STDOUT_FILENO ? stdout : stderr;
}

/* ---- what the C library has ---- */

/* Takes what io.read has read ahead; 0: nothing. */
static ssize_t read_ahead(const struct l_stream *stream, void *buffer, size_t size) {
    if (number_of(stream) != STDIN_FILENO) return 0;
    size_t there = (size_t)(stdin->_IO_read_end - stdin->_IO_read_ptr); /* glibc's */
    return there > 0 ? (ssize_t)fread(buffer, 1, size < there ? size : there, stdin) : 0;
}

static void flush_before(const struct l_stream *stream) {
    if (number_of(stream) != STDIN_FILENO) fflush(file_of(number_of(stream)));
}

/* ---- the channels ---- */

static ssize_t own_read(struct l_stream *stream, void *buffer, size_t size) {
    ssize_t got = read_ahead(stream, buffer, size);
    return got > 0 ? got : l_descriptor_channel.read(stream, buffer, size);
}

static ssize_t own_write(struct l_stream *stream, const struct iovec *parts, int count) {
    flush_before(stream);
    return l_descriptor_channel.write(stream, parts, count);
}

static ssize_t no_eof(struct l_stream *stream) {
    (void)stream;
    return 0; /* it ends when it is closed */
}

/* >= 0, or -errno with what -EAGAIN waits for. */
static ssize_t answer(struct l_stream *stream, ssize_t result, unsigned char needs) {
    if (result >= 0) return result;
    stream->needs = needs;
    return -errno;
}

static ssize_t socket_read(struct l_stream *stream, void *buffer, size_t size) {
    ssize_t got = read_ahead(stream, buffer, size);
    if (got > 0) return got;
    do {
        got = recv(stream->fd, buffer, size, MSG_DONTWAIT);
    } while (got < 0 && errno == EINTR);
    return answer(stream, got, L_NEEDS_READ);
}

static ssize_t socket_write(struct l_stream *stream, const struct iovec *parts, int count) {
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts,
                             .msg_iovlen = (size_t)count};
    ssize_t sent;
    flush_before(stream);
    do {
        sent = sendmsg(stream->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return answer(stream, sent, L_NEEDS_WRITE);
}

static ssize_t socket_eof(struct l_stream *stream) {
    return shutdown(stream->fd, SHUT_WR) < 0 ? -errno : 0;
}

static bool is_ready(const struct l_stream *stream, short events) {
    struct pollfd fd = {.fd = stream->fd, .events = events};
    return poll(&fd, 1, 0) > 0;
}

static ssize_t shared_read(struct l_stream *stream, void *buffer, size_t size) {
    ssize_t got = read_ahead(stream, buffer, size);
    if (got > 0) return got;
    do { /* a signal that interrupts a read from a terminal may have taken what was there */
        errno = EAGAIN;
        got = is_ready(stream, POLLIN) ? read(stream->fd, buffer, size) : -1;
    } while (got < 0 && errno == EINTR);
    return answer(stream, got, L_NEEDS_READ);
}

static ssize_t shared_write(struct l_stream *stream, const struct iovec *parts, int count) {
    struct stat status;
    (void)count;
    flush_before(stream);
    bool is_pipe = fstat(stream->fd, &status) == 0 && S_ISFIFO(status.st_mode);
    size_t size = is_pipe ? PIPE_BUF : DEVICE_CHUNK;
    if (parts->iov_len < size) size = parts->iov_len;
    ssize_t sent;
    do {
        errno = EAGAIN;
        sent = is_ready(stream, POLLOUT) ? write(stream->fd, parts->iov_base, size) : -1;
    } while (sent < 0 && errno == EINTR);
    return answer(stream, sent, L_NEEDS_WRITE);
}

static ssize_t closed_read(struct l_stream *stream, void *buffer, size_t size) {
    (void)stream, (void)buffer, (void)size;
    return -EBADF;
}

static ssize_t closed_write(struct l_stream *stream, const struct iovec *parts, int count) {
    (void)stream, (void)parts, (void)count;
    return -EBADF;
}

/* Closing is for good: the number goes to /dev/null, lest another file gets it and io.write
 * then writes there.  At the end of the program it stays what it was. */
static bool close_number(struct l_stream *stream) {
    if (stream->collected) return false;
    flush_before(stream);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0) return false;
    dup2(null, number_of(stream));
    if (null != number_of(stream)) close(null);
    return false;
}

static const struct l_channel own_channel = {.read = own_read,
                                             .write = own_write,
                                             .write_eof = no_eof,
                                             .close = close_number,
                                             .buffers = true};
static const struct l_channel socket_channel = {.read = socket_read,
                                                .write = socket_write,
                                                .write_eof = socket_eof,
                                                .close = close_number,
                                                .buffers = true};
static const struct l_channel shared_channel = {.read = shared_read,
                                                .write = shared_write,
                                                .write_eof = no_eof,
                                                .close = close_number,
                                                .buffers = true};
static const struct l_channel closed_channel = {.read = closed_read,
                                                .write = closed_write,
                                                .write_eof = no_eof,
                                                .close = NULL,
                                                .buffers = true};

/* ---- opening ---- */

/* The descriptor under a number that is none of the standard ones; -1: none is left. */
static int above_standard(int fd) {
    if (fd < 0 || fd > STDERR_FILENO) return fd;
    int above = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    close(fd);
    return above;
}

/* A descriptor for the stream of the number, and how to use it. */
static int open_number(int number, const struct l_channel **channel) {
    struct stat status;

    int flags = fcntl(number, F_GETFL);
    if (flags < 0 || (flags & O_PATH) != 0 || fstat(number, &status) < 0) {
        *channel = &closed_channel;
        return above_standard(open("/dev/null", O_RDWR | O_CLOEXEC));
    }
    if (S_ISFIFO(status.st_mode) || (S_ISCHR(status.st_mode) && isatty(number))) {
        char path[32];
        snprintf(path, sizeof path, "/proc/self/fd/%d", number);
        int fd = open(path, (flags & O_ACCMODE) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        *channel = &own_channel;
        if (fd >= 0) return above_standard(fd);
    }
    *channel = S_ISSOCK(status.st_mode)  ? &socket_channel
               : S_ISREG(status.st_mode) ? &own_channel
                                         : &shared_channel;
    return fcntl(number, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
}

/* open_standard(number) -> stream, on the loop that runs or else the current one */
static int open_standard(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    int number = (int)luaL_checkinteger(L, 1);
    const struct l_channel *channel;
    luaL_argcheck(L, number >= STDIN_FILENO && number <= STDERR_FILENO, 1, "no standard stream");
    lua_settop(L, 1);
    int index = l_loop_push_current(L, rt);
    l_loop_check_open(L, index);
    struct l_stream *stream = l_stream_prepare(L, rt, sizeof *stream, L_STREAM_USERVALUES);
    int fd = open_number(number, &channel);
    if (fd < 0) return luaL_error(L, "cannot open descriptor %d: %s", number, strerror(errno));
    struct stat status;
    bool is_socket = fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode);
    int result = /* not listed: it is everybody's, and stays open */
        l_stream_start(L, -1, index, fd, is_socket ? L_DESCRIPTOR_SOCKET : L_DESCRIPTOR_ANY,
                       L_STREAM_LIMIT, 0, NULL);
    if (result < 0) return luaL_error(L, "cannot watch descriptor %d: %s", fd, strerror(-result));
    stream->channel = channel;
    stream->channel_state = (void *)(intptr_t)number; /* NOLINT(performance-no-int-to-ptr) */
    stream->quiet = stream->follows = true;
    return 1;
}

void l_stdio_open(lua_State *L, struct l_runtime *rt) {
    l_pushshared(L, rt, L_SHARED_HOOKS);
    l_pushfunction(L, rt, open_standard);
    lua_setfield(L, -2, "open_standard");
    lua_pop(L, 1);
}
