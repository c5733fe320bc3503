/* channel.c -- the plain channel: where a stream meets its descriptor.
 *
 * The descriptor is watched by edges, so what a call meets is remembered until the next
 * edge: the one that finds a socket empty or full need not be made.  A socket of ours is
 * empty already when it gives less than was asked for, unless its end or urgent bytes
 * stand behind.  Those that stood there when the last edge was told came with it
 * (`end_seen`); those that came later bring an edge of their own. */
#include "bindings/stream.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

/* The kernel tells once that a connection is broken, to a read or to a write: for later reads it is
 * at its end.  That what was to come will not come must be told to all of them. */
static ssize_t failure(struct l_stream *stream, int error) {
    switch (error) {
    case EAGAIN:
    case ENOBUFS:
    case ENOMEM: break;                             /* these pass */
    case EPIPE: stream->close_error = error; break; /* of a write: something may still come */
    default:
        if (stream->kind != L_DESCRIPTOR_ANY) stream->broken = error;
    }
    return -error;
}

/* A read of a Unix socket ends at descriptors that came with the bytes.  We take none,
 * and the kernel then says that it cut them off: more may stand behind. */
static ssize_t read_unix(struct l_stream *stream, void *buffer, size_t size, bool *stopped) {
    struct iovec part = {buffer, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    ssize_t result = recvmsg(stream->fd, &message, 0);
    *stopped = (message.msg_flags & MSG_CTRUNC) != 0;
    return result;
}

static ssize_t read_some(struct l_stream *stream, void *buffer, size_t size, bool *stopped) {
    switch (stream->kind) {
    case L_DESCRIPTOR_TCP: return recv(stream->fd, buffer, size, 0);
    case L_DESCRIPTOR_UNIX: return read_unix(stream, buffer, size, stopped);
    case L_DESCRIPTOR_ANY:
    case L_DESCRIPTOR_SOCKET: break;
    }
    *stopped = true; /* who knows why */
    return read(stream->fd, buffer, size);
}

static ssize_t descriptor_read(struct l_stream *stream, void *buffer, size_t size) {
    bool stopped = false;
    ssize_t result;
    do {
        result = read_some(stream, buffer, size, &stopped);
    } while (result < 0 && errno == EINTR);
    if (result < 0) {
        stream->needs = L_NEEDS_READ;
        return failure(stream, errno);
    }
    if (result == 0 && stream->broken != 0) return -stream->broken;
    if ((size_t)result < size && !stopped && !stream->end_seen) stream->readable = false;
    return result;
}

static size_t size_of(const struct iovec *parts, int count) {
    size_t size = 0;
    for (int i = 0; i < count; i++) size += parts[i].iov_len;
    return size;
}

static ssize_t write_parts(struct l_stream *stream, const struct iovec *parts, int count) {
    if (stream->kind == L_DESCRIPTOR_ANY) {
        return count == 1 ? write(stream->fd, parts->iov_base, parts->iov_len)
                          : writev(stream->fd, parts, count);
    }
    if (count == 1) return send(stream->fd, parts->iov_base, parts->iov_len, MSG_NOSIGNAL);
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts,
                             .msg_iovlen = (size_t)count};
    return sendmsg(stream->fd, &message, MSG_NOSIGNAL);
}

static ssize_t descriptor_write(struct l_stream *stream, const struct iovec *parts, int count) {
    ssize_t result;
    do {
        result = write_parts(stream, parts, count);
    } while (result < 0 && errno == EINTR);
    if (result < 0) {
        stream->needs = L_NEEDS_WRITE;
        return failure(stream, errno);
    }
    if (stream->kind == L_DESCRIPTOR_TCP && (size_t)result < size_of(parts, count)) {
        stream->writable = false;
    }
    return result;
}

static ssize_t descriptor_write_eof(struct l_stream *stream) {
    if (stream->kind == L_DESCRIPTOR_ANY) return 0; /* a pipe ends when it is closed */
    return shutdown(stream->fd, SHUT_WR) < 0 ? -errno : 0;
}

const struct l_channel l_descriptor_channel = {
    .read = descriptor_read, .write = descriptor_write, .write_eof = descriptor_write_eof};
