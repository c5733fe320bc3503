/* file_work.c -- what is done with a file in a thread: the only system calls. */
#include "bindings/file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

/* A pipe, a tty and the like is opened non-blocking, and waited for here, so that closing the
 * file can end the wait.  0 or an errno. */
static int wait_ready(struct l_file *file, short events) {
    struct pollfd fds[] = {{.fd = file->fd, .events = events},
                           {.fd = file->wake_fd, .events = POLLIN}};
    int result;
    threadpool_begin_wait(&file->job.job);
    do {
        result = poll(fds, 2, -1);
    } while (result < 0 && errno == EINTR);
    int error = errno;
    threadpool_end_wait(&file->job.job);
    if (result < 0) return error;
    return fds[1].revents != 0 ? ECANCELED : 0;
}

/* Whether to try again after a call that failed. */
static bool again(struct l_file *file, short events) {
    if (errno == EINTR) return true;
    file->error = errno;
    if (errno != EAGAIN || file->wake_fd < 0) return false;
    file->error = wait_ready(file, events);
    return file->error == 0;
}

static void open_it(struct l_file *file) {
    struct stat status;
    int fd;
    do {
        fd = open(file->text, file->flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0 || fstat(fd, &status) < 0) {
        file->error = errno;
        if (fd >= 0) close(fd);
        return;
    }
    file->fd = fd;
    file->buffers = S_ISREG(status.st_mode) || S_ISBLK(status.st_mode);
    file->awaits_writer = S_ISFIFO(status.st_mode) && !file->writable;
    file->seekable = lseek(fd, 0, SEEK_CUR) >= 0;
    file->size = status.st_size;
    if (!file->buffers && !S_ISDIR(status.st_mode)) {
        file->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (file->wake_fd < 0) {
            file->error = errno;
            close(fd);
            file->fd = -1;
            return;
        }
    }
    if (file->appends && !file->readable && file->seekable) {
        file->offset = lseek(fd, 0, SEEK_END);
    }
}

static void read_it(struct l_file *file) {
    struct l_buffer *buffer = &file->buffer;
    char *target = buffer->bytes + buffer->end;
    size_t size = buffer->capacity - buffer->end;
    ssize_t got;
    if (file->awaits_writer) {
        file->error = wait_ready(file, POLLIN);
        if (file->error != 0) return;
        file->awaits_writer = false;
    }
    do {
        got = file->seekable ? pread(file->fd, target, size, file->offset)
                             : read(file->fd, target, size);
    } while (got < 0 && again(file, POLLIN));
    if (got < 0) return;
    file->error = 0;
    buffer->end += (size_t)got;
    file->offset += got;
    file->eof = got == 0;
}

/* Writes all of it, or as much as can be. */
static void write_all(struct l_file *file, const char *text, size_t length) {
    while (length > 0 && file->error == 0) {
        ssize_t sent = file->seekable && !file->appends
                           ? pwrite(file->fd, text, length, file->offset)
                           : write(file->fd, text, length);
        if (sent < 0) {
            if (!again(file, POLLOUT)) return;
            file->error = 0;
            continue;
        }
        text += sent;
        length -= (size_t)sent;
        file->offset += sent;
    }
}

/* Bytes that cannot be written are dropped: the failure says so. */
static void write_it(struct l_file *file) {
    if (file->writing) {
        write_all(file, file->buffer.bytes + file->buffer.start, l_buffer_length(&file->buffer));
        file->buffer.start = file->buffer.end = 0;
        file->writing = false;
    }
    if (file->text != NULL) write_all(file, file->text, file->length);
    file->text = NULL;
    if (file->appends && file->seekable) file->offset = lseek(file->fd, 0, SEEK_CUR);
}

static void close_it(struct l_file *file) {
    write_it(file);
    if (close(file->fd) < 0 && file->error == 0 && errno != EINTR) file->error = errno;
    if (file->wake_fd >= 0) close(file->wake_fd);
    file->fd = file->wake_fd = -1;
}

void l_file_work(struct threadpool_job *job) {
    struct l_file *file = container_of(container_of(job, struct l_job, job), struct l_file, job);
    int result = 0;
    file->error = 0;
    switch (file->order) {
    case L_FILE_OPEN: open_it(file); break;
    case L_FILE_READ: read_it(file); break;
    case L_FILE_WRITE: write_it(file); break;
    case L_FILE_SIZE:
        file->number = lseek(file->fd, 0, SEEK_END);
        if (file->number < 0) file->error = errno;
        break;
    case L_FILE_TRUNCATE:
        result = ftruncate(file->fd, file->number);
        if (result < 0) file->error = errno;
        break;
    case L_FILE_SYNC:
        result = fsync(file->fd);
        if (result < 0) file->error = errno;
        break;
    case L_FILE_CLOSE: close_it(file); break;
    }
}
