/* stream.c -- reading, writing and closing.
 *
 * Every operation tries first and waits only when the kernel has nothing (or no room).
 * Descriptors are watched edge-triggered for their whole life, so that a wait is no
 * system call; `readable` and `writable` are what the edges and the last attempts say.
 * A read into an empty buffer goes to the runtime's scratch memory, and what it asked
 * for is made into a Lua string right there: only a rest is ever copied to a buffer of
 * the stream's own, and an idle stream has none. */
#include "bindings/stream.h"

#include "bindings/address.h"
#include "bindings/open.h"
#include "bindings/result.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { IMMEDIATE_BUDGET = 64, PARTS_PER_WRITE = 64 };
enum { NEEDS_READ = 1 << POLL_READ, NEEDS_WRITE = 1 << POLL_WRITE };

/* ---- the plain channel ---- */

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
    return answer(stream, result, NEEDS_READ);
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
    return answer(stream, result, NEEDS_WRITE);
}

static ssize_t descriptor_write_eof(struct l_stream *stream) {
    if (!stream->is_socket) return 0; /* a pipe ends when it is closed */
    return shutdown(stream->fd, SHUT_WR) < 0 ? -errno : 0;
}

const struct l_channel l_descriptor_channel = {descriptor_read, descriptor_write,
                                               descriptor_write_eof, NULL};

/* ---- waiting ---- */

static void wake_reader(lua_State *L, struct l_stream *stream) {
    struct l_task *task = stream->reading;
    if (task == NULL) return;
    stream->reading = NULL;
    stream->loop->loop.outstanding--;
    l_task_wake(L, task);
}

static void wake_writer(lua_State *L, struct l_stream *stream) {
    struct l_task *task = stream->writing;
    if (task == NULL) return;
    stream->writing = NULL;
    stream->loop->loop.outstanding--;
    l_task_wake(L, task);
}

/* One direction of the descriptor has become ready. */
static void ready(struct l_stream *stream, unsigned direction) {
    lua_State *L = stream->loop->L;
    if (stream->read_needs & direction) wake_reader(L, stream);
    if (stream->write_needs & direction) wake_writer(L, stream);
}

static void descriptor_readable(struct handle *handle) {
    struct l_stream *stream =
        container_of(container_of(handle, struct watch, handle), struct l_stream, reader);
    stream->readable = true;
    ready(stream, NEEDS_READ);
}

static void descriptor_writable(struct handle *handle) {
    struct l_stream *stream =
        container_of(container_of(handle, struct watch, handle), struct l_stream, writer);
    stream->writable = true;
    ready(stream, NEEDS_WRITE);
}

static void leave_reading(struct l_task *task) {
    struct l_stream *stream = task->wait_on;
    stream->reading = NULL;
    stream->loop->loop.outstanding--;
}

static void leave_writing(struct l_task *task) {
    struct l_stream *stream = task->wait_on;
    stream->writing = NULL;
    stream->loop->loop.outstanding--;
}

static const struct l_wait reading_wait = {"a stream to read from", leave_reading};
static const struct l_wait writing_wait = {"a stream to write to", leave_writing};

/* The task that may wait for the stream, or an error. */
static struct l_task *may_wait(lua_State *L, const struct l_stream *stream, const char *what) {
    struct l_task *task = l_task_may_wait(L, stream->rt, what, stream->loop);
    if (task->future.loop != stream->loop) {
        luaL_error(L, "%s: the stream belongs to a different loop", what);
    }
    return task;
}

int l_stream_wait(lua_State *L, struct l_stream *stream, enum poll_direction direction,
                  lua_KContext context, lua_KFunction continuation) {
    bool reads = direction == POLL_READ;
    struct l_task *task = may_wait(L, stream, reads ? "read" : "write");
    if (stream->needs & NEEDS_READ) stream->readable = false;
    if (stream->needs & NEEDS_WRITE) stream->writable = false;
    if (reads) {
        stream->reading = task;
        stream->read_needs = stream->needs;
    } else {
        stream->writing = task;
        stream->write_needs = stream->needs;
    }
    stream->loop->loop.outstanding++;
    return l_task_wait_k(L, task, reads ? &reading_wait : &writing_wait, stream, context,
                         continuation);
}

/* Whether this step has done enough without waiting, and can wait: a fast peer must not
 * starve others. */
static bool out_of_budget(lua_State *L, struct l_runtime *rt) {
    return rt->current != NULL && ++rt->immediate > IMMEDIATE_BUDGET && lua_isyieldable(L) &&
           rt->coroutine == L;
}

static int closed_meanwhile(lua_State *L) {
    return l_push_failure(L, "ECANCELED", "the stream was closed");
}

/* ---- the buffer ---- */

static char *scratch_memory(lua_State *L, struct l_runtime *rt) {
    if (rt->scratch != NULL) return rt->scratch;
    l_pushshared(L, rt, L_SHARED_SCRATCH);
    rt->scratch = lua_newuserdatauv(L, L_STREAM_CHUNK, 0);
    lua_setfield(L, -2, "read_buffer");
    lua_pop(L, 1);
    return rt->scratch;
}

/* Makes room for `more` bytes behind those that are there; the stream is at index 1. */
static void reserve(lua_State *L, struct l_stream *stream, size_t more) {
    size_t length = stream->end - stream->start;
    if (stream->capacity - stream->end >= more) return;
    if (stream->capacity >= length + more && stream->start >= length) {
        memcpy(stream->buffer, stream->buffer + stream->start, length);
    } else {
        size_t capacity =
            stream->capacity * 2 > length + more ? stream->capacity * 2 : length + more;
        char *buffer = lua_newuserdatauv(L, capacity, 0);
        if (length > 0) memcpy(buffer, stream->buffer + stream->start, length);
        lua_setiuservalue(L, 1, L_STREAM_BUFFER);
        stream->buffer = buffer;
        stream->capacity = capacity;
    }
    stream->start = 0;
    stream->end = length;
}

static void release_if_empty(lua_State *L, struct l_stream *stream) {
    if (stream->start < stream->end || stream->capacity == 0) return;
    lua_pushnil(L);
    lua_setiuservalue(L, 1, L_STREAM_BUFFER);
    stream->buffer = NULL;
    stream->start = stream->end = stream->capacity = 0;
}

/* ---- reading ---- */

enum read_mode { READ_SOME, READ_ALL, READ_LINE, READ_LINE_KEEP, READ_EXACTLY, READ_UNTIL };

/* What a read has before it: its bytes, wherever they are. */
struct view {
    const char *data;
    size_t length;
    size_t consumed;
};

static int too_long(lua_State *L, size_t limit) {
    char text[96];
    snprintf(text, sizeof text, "the limit of %zu bytes is reached before the separator", limit);
    return l_push_failure(L, "EMSGSIZE", text);
}

static int take(lua_State *L, struct view *view, size_t length, size_t consumed) {
    lua_pushlstring(L, view->data, length);
    view->consumed = consumed;
    return 1;
}

/* Up to a separator; `extra` bytes of it belong to the result. */
static int take_until(lua_State *L, const struct l_stream *stream, struct view *view,
                      enum read_mode mode) {
    size_t size = 1;
    const char *separator = mode == READ_UNTIL ? lua_tolstring(L, 2, &size) : "\n";
    const char *found = view->length > 0 ? memmem(view->data, view->length, separator, size) : NULL;
    if (found == NULL) {
        if (view->length >= stream->limit + size) return too_long(L, stream->limit);
        if (!stream->eof) return 0;
        if (view->length == 0 && mode != READ_UNTIL) {
            lua_pushnil(L);
            return 1;
        }
        if (mode != READ_UNTIL) return take(L, view, view->length, view->length);
        l_push_failure(L, "EOF", "the stream ended before the separator");
        return 3 + take(L, view, view->length, view->length);
    }
    size_t length = (size_t)(found - view->data);
    if (length > stream->limit) return too_long(L, stream->limit);
    if (mode != READ_LINE) return take(L, view, length + size, length + size);
    size_t line = length > 0 && view->data[length - 1] == '\r' ? length - 1 : length;
    return take(L, view, line, length + size);
}

/* Pushes what the read asked for if the view has it; the number of results, or 0. */
static int satisfy(lua_State *L, const struct l_stream *stream, struct view *view,
                   enum read_mode mode) {
    switch (mode) {
    case READ_SOME: {
        size_t wanted = (size_t)lua_tointeger(L, 2);
        if (view->length == 0 && wanted > 0) {
            if (!stream->eof) return 0;
            lua_pushnil(L);
            return 1;
        }
        size_t length = view->length < wanted ? view->length : wanted;
        return take(L, view, length, length);
    }
    case READ_ALL: return stream->eof ? take(L, view, view->length, view->length) : 0;
    case READ_EXACTLY: {
        size_t wanted = (size_t)lua_tointeger(L, 2);
        if (view->length >= wanted) return take(L, view, wanted, wanted);
        if (!stream->eof) return 0;
        l_push_failure(L, "EOF", "the stream ended before enough bytes had come");
        return 3 + take(L, view, view->length, view->length);
    }
    case READ_LINE:
    case READ_LINE_KEEP:
    case READ_UNTIL: return take_until(L, stream, view, mode);
    }
    return 0;
}

/* How much to ask the kernel for. */
static size_t chunk_size(lua_State *L, const struct l_stream *stream, enum read_mode mode) {
    size_t have = stream->end - stream->start;
    if (mode == READ_EXACTLY && have > L_STREAM_CHUNK) {
        size_t missing = (size_t)lua_tointeger(L, 2) - have;
        return missing < have ? missing : have; /* not all at once: the peer may have lied */
    }
    return have == 0 || mode == READ_ALL || have >= L_STREAM_CHUNK ? L_STREAM_CHUNK
                                                                   : L_STREAM_CHUNK / 8;
}

/* Gets more bytes; satisfies the read from them.  The number of results, 0 to go on, or
 * -errno. */
static int read_more(lua_State *L, struct l_stream *stream, enum read_mode mode) {
    size_t size = chunk_size(L, stream, mode);
    bool direct = stream->start == stream->end && size <= L_STREAM_CHUNK;
    char *target;
    if (direct) {
        target = scratch_memory(L, stream->rt);
        if (mode == READ_SOME && (size_t)lua_tointeger(L, 2) < size) {
            size = (size_t)lua_tointeger(L, 2);
        }
    } else {
        reserve(L, stream, size);
        target = stream->buffer + stream->end;
    }
    ssize_t got = stream->channel->read(stream, target, size);
    if (got < 0) return (int)got;
    if (got == 0) stream->eof = true;
    if (!direct) {
        stream->end += (size_t)got;
        return 0;
    }
    struct view view = {target, (size_t)got, 0};
    int results = satisfy(L, stream, &view, mode);
    size_t rest = view.length - view.consumed;
    if (rest > 0) {
        reserve(L, stream, rest);
        memcpy(stream->buffer, target + view.consumed, rest);
        stream->end = rest;
    }
    return results;
}

static int read_step(lua_State *L, struct l_stream *stream, enum read_mode mode);

static int read_again(lua_State *L, int status, lua_KContext context) {
    struct l_stream *stream = lua_touserdata(L, 1);
    (void)status;
    stream->busy_reading = false;
    l_task_resumed(L, stream->rt);
    if (stream->fd < 0) return closed_meanwhile(L);
    return read_step(L, stream, (enum read_mode)context);
}

static int read_next_turn(lua_State *L, struct l_stream *stream, enum read_mode mode) {
    struct l_task *task = may_wait(L, stream, "read");
    stream->busy_reading = true;
    return l_task_wait_k(L, task, NULL, NULL, mode, read_again);
}

static int read_step(lua_State *L, struct l_stream *stream, enum read_mode mode) {
    for (;;) {
        struct view view = {stream->buffer + stream->start, stream->end - stream->start, 0};
        if (view.length > 0 || stream->eof) {
            int results = satisfy(L, stream, &view, mode);
            stream->start += view.consumed;
            release_if_empty(L, stream);
            if (results > 0) return results;
        }
        stream->needs = NEEDS_READ;
        int result = stream->readable || !stream->pollable ? read_more(L, stream, mode) : -EAGAIN;
        if (result > 0) return result;
        if (result == -EAGAIN) {
            may_wait(L, stream, "read");
            stream->busy_reading = true;
            return l_stream_wait(L, stream, POLL_READ, mode, read_again);
        }
        if (result < 0) return l_push_errno(L, -result);
        if (out_of_budget(L, stream->rt)) return read_next_turn(L, stream, mode);
    }
}

static int read_mode(lua_State *L, struct l_stream *stream, enum read_mode mode) {
    if (stream->busy_reading) {
        return luaL_error(L, "another task is already reading from this stream");
    }
    if (out_of_budget(L, stream->rt)) return read_next_turn(L, stream, mode);
    return read_step(L, stream, mode);
}

static lua_Integer check_size(lua_State *L, int arg, lua_Integer otherwise) {
    lua_Integer size = luaL_optinteger(L, arg, otherwise);
    luaL_argcheck(L, size >= 0 && size < (lua_Integer)PTRDIFF_MAX / 2, arg,
                  "number of bytes out of range");
    return size;
}

static int stream_read(lua_State *L) {
    struct l_stream *stream = l_stream_check_open(L, 1);
    lua_settop(L, 2);
    if (lua_type(L, 2) == LUA_TSTRING && !lua_isnumber(L, 2)) {
        const char *format = lua_tostring(L, 2);
        if (format[0] == '*') format++;
        switch (format[0]) {
        case 'a': return read_mode(L, stream, READ_ALL);
        case 'l': return read_mode(L, stream, READ_LINE);
        case 'L': return read_mode(L, stream, READ_LINE_KEEP);
        default: return luaL_argerror(L, 2, "invalid format");
        }
    }
    lua_Integer size = check_size(L, 2, L_STREAM_CHUNK);
    if (size == 0) { /* for the kernel that would be the end of the stream */
        lua_pushliteral(L, "");
        return 1;
    }
    lua_pushinteger(L, size);
    lua_replace(L, 2);
    return read_mode(L, stream, READ_SOME);
}

static int stream_readline(lua_State *L) {
    static const char *const formats[] = {"l", "L", NULL};
    struct l_stream *stream = l_stream_check_open(L, 1);
    int format = luaL_checkoption(L, 2, "l", formats);
    lua_settop(L, 1);
    return read_mode(L, stream, format == 0 ? READ_LINE : READ_LINE_KEEP);
}

static int stream_readexactly(lua_State *L) {
    struct l_stream *stream = l_stream_check_open(L, 1);
    luaL_checkinteger(L, 2);
    lua_settop(L, 2);
    if (check_size(L, 2, 0) == 0) {
        lua_pushliteral(L, "");
        return 1;
    }
    return read_mode(L, stream, READ_EXACTLY);
}

static int stream_readuntil(lua_State *L) {
    struct l_stream *stream = l_stream_check_open(L, 1);
    size_t length;
    luaL_checklstring(L, 2, &length);
    luaL_argcheck(L, length > 0, 2, "separator must not be empty");
    lua_settop(L, 2);
    return read_mode(L, stream, READ_UNTIL);
}

/* ---- writing ---- */

/* The parts from byte `sent` on; at most PARTS_PER_WRITE. */
static int gather_parts(lua_State *L, size_t sent, struct iovec *parts) {
    int count = 0, top = lua_gettop(L);
    for (int i = 2; i <= top && count < PARTS_PER_WRITE; i++) {
        size_t length;
        const char *text = lua_tolstring(L, i, &length);
        if (sent >= length) {
            sent -= length;
            continue;
        }
        parts[count].iov_base = (char *)(uintptr_t)text + sent;
        parts[count++].iov_len = length - sent;
        sent = 0;
    }
    return count;
}

/* Lets the next task write. */
static void end_writing(lua_State *L, struct l_stream *stream) {
    struct handle *next = handle_pop(&stream->turns);
    stream->turn = next != NULL ? container_of(next, struct l_task, timer.handle) : NULL;
    if (next != NULL) l_task_wake(L, stream->turn);
}

/* A task goes on that waited in a write, or for its turn: raises if it is cancelled.
 * Whether the stream is still open. */
static bool writer_resumed(lua_State *L, struct l_stream *stream) {
    struct l_task *task = stream->rt->current;
    bool ends = task->throwing || stream->fd < 0;
    if (ends && stream->turn == task) end_writing(L, stream); /* it may be another's turn */
    l_task_resumed(L, stream->rt);
    return stream->fd >= 0;
}

static int write_step(lua_State *L, struct l_stream *stream, size_t sent);

static int write_again(lua_State *L, int status, lua_KContext sent) {
    struct l_stream *stream = lua_touserdata(L, 1);
    (void)status;
    if (!writer_resumed(L, stream)) return closed_meanwhile(L);
    return write_step(L, stream, (size_t)sent);
}

static int write_step(lua_State *L, struct l_stream *stream, size_t sent) {
    for (;;) {
        struct iovec parts[PARTS_PER_WRITE];
        int count = gather_parts(L, sent, parts);
        if (count == 0) break;
        stream->needs = NEEDS_WRITE;
        ssize_t result = stream->writable || !stream->pollable
                             ? stream->channel->write(stream, parts, count)
                             : -EAGAIN;
        if (result == -EAGAIN) {
            stream->turn = may_wait(L, stream, "write");
            return l_stream_wait(L, stream, POLL_WRITE, (lua_KContext)sent, write_again);
        }
        if (result < 0) {
            end_writing(L, stream);
            return l_push_errno(L, (int)-result);
        }
        sent += (size_t)result;
    }
    end_writing(L, stream);
    lua_pushboolean(L, 1);
    return 1;
}

static void leave_turns(struct l_task *task) {
    handle_unlink(&task->timer.handle);
}

static const struct l_wait turn_wait = {"another task's write to end", leave_turns};

static int stream_write(lua_State *L) {
    struct l_stream *stream = l_stream_check_open(L, 1);
    int top = lua_gettop(L);
    luaL_checkany(L, 2);
    for (int i = 2; i <= top; i++) luaL_checkstring(L, i);
    if (stream->sent_eof) return luaL_error(L, "cannot write after write_eof()");
    if (stream->turn != NULL) {
        struct l_task *task = may_wait(L, stream, "write");
        handle_push(&stream->turns, &task->timer.handle);
        return l_task_wait(L, task, &turn_wait, stream, write_again);
    }
    if (out_of_budget(L, stream->rt)) {
        stream->turn = may_wait(L, stream, "write");
        return l_task_wait(L, stream->turn, NULL, NULL, write_again);
    }
    return write_step(L, stream, 0);
}

static int eof_step(lua_State *L, int status, lua_KContext context) {
    struct l_stream *stream = lua_touserdata(L, 1);
    (void)status;
    if (context != 0 && !writer_resumed(L, stream)) return closed_meanwhile(L);
    ssize_t result = stream->channel->write_eof(stream);
    if (result == -EAGAIN) {
        stream->turn = may_wait(L, stream, "write_eof");
        return l_stream_wait(L, stream, POLL_WRITE, 1, eof_step);
    }
    end_writing(L, stream);
    if (result < 0) return l_push_errno(L, (int)-result);
    stream->sent_eof = true;
    lua_pushboolean(L, 1);
    return 1;
}

static int stream_write_eof(lua_State *L) {
    struct l_stream *stream = l_stream_check_open(L, 1);
    lua_settop(L, 1);
    if (stream->sent_eof) {
        lua_pushboolean(L, 1);
        return 1;
    }
    if (stream->turn != NULL) {
        struct l_task *task = may_wait(L, stream, "write_eof");
        handle_push(&stream->turns, &task->timer.handle);
        return l_task_wait_k(L, task, &turn_wait, stream, 1, eof_step);
    }
    return eof_step(L, LUA_OK, 0);
}

/* ---- life ---- */

struct l_stream *l_stream_check(lua_State *L, int index) {
    return l_check(L, l_runtime(L), index, L_STREAM);
}

struct l_stream *l_stream_check_open(lua_State *L, int index) {
    struct l_stream *stream = l_stream_check(L, index);
    if (stream->fd < 0) luaL_argerror(L, index, "the stream is closed");
    return stream;
}

static void stop_watches(struct l_stream *stream) {
    if (watch_started(&stream->reader)) {
        poller_stop_edges(&stream->loop->loop.poller, &stream->reader, &stream->writer);
    }
    if (handle_queued(&stream->reader.handle)) handle_unlink(&stream->reader.handle);
    if (handle_queued(&stream->writer.handle)) handle_unlink(&stream->writer.handle);
}

void l_stream_close(lua_State *L, struct l_stream *stream) {
    int fd = stream->fd;
    if (fd < 0) return;
    if (stream->channel->close != NULL) stream->channel->close(stream);
    stop_watches(stream);
    stream->fd = -1;
    if (!stream->keep_fd) close(fd);
    if (stream->loop->closed) { /* it has forgotten its tasks */
        stream->reading = stream->writing = NULL;
        return;
    }
    wake_reader(L, stream);
    wake_writer(L, stream); /* who waits for a turn is woken by the one before */
}

static int stream_close(lua_State *L) {
    l_stream_close(L, l_stream_check(L, 1));
    return 0;
}

static int stream_gc(lua_State *L) {
    struct l_stream *stream = l_stream_check(L, 1);
    if (stream->fd < 0) return 0;
    if (!stream->keep_fd) {
        lua_getiuservalue(L, 1, L_STREAM_PLACE);
        lua_warning(L, "loophost: a stream was collected without being closed; opened at ", 1);
        lua_warning(L, lua_isstring(L, -1) ? lua_tostring(L, -1) : "?", 0);
    }
    l_stream_close(L, stream);
    return 0;
}

/* As asyncio's: nothing is left to wait for, as nothing is buffered. */
static int stream_wait_closed(lua_State *L) {
    l_stream_check(L, 1);
    lua_pushboolean(L, 1);
    return 1;
}

static int stream_fileno(lua_State *L) {
    struct l_stream *stream = l_stream_check(L, 1);
    lua_pushinteger(L, stream->fd);
    return 1;
}

static int stream_is_closed(lua_State *L) {
    lua_pushboolean(L, l_stream_check(L, 1)->fd < 0);
    return 1;
}

static int stream_getsockname(lua_State *L) {
    return l_push_socket_name(L, l_stream_check_open(L, 1)->fd, getsockname);
}

static int stream_getpeername(lua_State *L) {
    return l_push_socket_name(L, l_stream_check_open(L, 1)->fd, getpeername);
}

static int stream_tostring(lua_State *L) {
    struct l_stream *stream = l_stream_check(L, 1);
    if (stream->fd < 0) {
        lua_pushliteral(L, "stream (closed)");
    } else {
        lua_pushfstring(L, "stream (descriptor %d)", stream->fd);
    }
    return 1;
}

/* Watches the descriptor; one that cannot be watched (a file) is always ready. */
static int start_watches(struct l_stream *stream) {
    int result = poller_start_edges(&stream->loop->loop.poller, &stream->reader, &stream->writer,
                                    stream->fd);
    stream->pollable = result == 0;
    return result == -EPERM ? 0 : result;
}

struct l_stream *l_stream_new(lua_State *L, struct l_runtime *rt, int loop_index,
                              struct l_loop *loop, int fd, size_t limit, int place) {
    struct stat status;
    loop_index = lua_absindex(L, loop_index);
    if (place != 0) place = lua_absindex(L, place);
    struct l_stream *stream = l_newobject(L, rt, L_STREAM, sizeof *stream, L_STREAM_USERVALUES);
    stream->rt = rt;
    stream->loop = loop;
    stream->channel = &l_descriptor_channel;
    stream->limit = limit;
    handle_queue_init(&stream->turns);
    watch_init(&stream->reader, descriptor_readable);
    watch_init(&stream->writer, descriptor_writable);
    stream->fd = fd;
    stream->readable = stream->writable = true;
    stream->is_socket = fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode);
    lua_pushvalue(L, loop_index);
    lua_setiuservalue(L, -2, L_STREAM_LOOP);
    if (place != 0) {
        lua_pushvalue(L, place);
        lua_setiuservalue(L, -2, L_STREAM_PLACE);
    }
    int result = start_watches(stream);
    if (result < 0) {
        l_stream_close(L, stream);
        luaL_error(L, "cannot watch descriptor %d: %s", fd, strerror(-result));
    }
    return stream;
}

void l_stream_open(lua_State *L, struct l_runtime *rt) {
    static const luaL_Reg methods[] = {{"read", stream_read},
                                       {"readline", stream_readline},
                                       {"readexactly", stream_readexactly},
                                       {"readuntil", stream_readuntil},
                                       {"write", stream_write},
                                       {"write_eof", stream_write_eof},
                                       {"close", stream_close},
                                       {"is_closed", stream_is_closed},
                                       {"wait_closed", stream_wait_closed},
                                       {"getsockname", stream_getsockname},
                                       {"getpeername", stream_getpeername},
                                       {"fileno", stream_fileno},
                                       {NULL, NULL}};
    static const luaL_Reg metamethods[] = {{"__gc", stream_gc},
                                           {"__close", stream_close},
                                           {"__tostring", stream_tostring},
                                           {NULL, NULL}};
    l_newtype(L, rt, L_STREAM, "stream", methods);
    l_setfuncs(L, rt, metamethods);
    l_pushshared(L, rt, L_SHARED_HOOKS); /* the Lua half adds lines() */
    lua_getfield(L, -2, "__index");
    lua_setfield(L, -2, "stream_methods");
    lua_pop(L, 2);
}
