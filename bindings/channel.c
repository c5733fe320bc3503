/* channel.c -- the plain channel: where a stream meets its descriptor. */
#include "bindings/stream.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static ssize_t answer(struct l_stream *stream, ssize_t result, unsigned needs) {
    if (result >= 0) return result;
    if (errno != EAGAIN) return -errno;
    stream->needs = needs;
    return -EAGAIN;
}

static ssize_t descriptor_read(struct l_stream *stream, void *buffer, size_t size) {
    ssize_t result;
    do {
        result = read(stream->fd, buffer, size);
    } while (result < 0 && errno == EINTR);
    /* less than it could give is no sign of a drained socket: its end may stand behind,
     * and have come with the same edge */
    return answer(stream, result, L_NEEDS_READ);
}

static ssize_t descriptor_write(struct l_stream *stream, const struct iovec *parts, int count) {
    ssize_t result;
    do {
        if (stream->is_socket) {
            struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts,
                                     .msg_iovlen = (size_t)count};
            result = sendmsg(stream->fd, &message, MSG_NOSIGNAL);
        } else {
            result = writev(stream->fd, parts, count);
        }
    } while (result < 0 && errno == EINTR);
    return answer(stream, result, L_NEEDS_WRITE);
}

static ssize_t descriptor_write_eof(struct l_stream *stream) {
    if (!stream->is_socket) return 0; /* a pipe ends when it is closed */
    return shutdown(stream->fd, SHUT_WR) < 0 ? -errno : 0;
}

const struct l_channel l_descriptor_channel = {descriptor_read, descriptor_write,
                                               descriptor_write_eof, NULL};
