/* stream_write.c -- bytes out: one task's write at a time, straight from its strings. */
#include "bindings/result.h"
#include "bindings/stream.h"

#include <errno.h>

enum { PARTS_PER_WRITE = 64 };

/* The parts from byte `sent` on; at most PARTS_PER_WRITE. */
static int gather_parts(lua_State *L, int top, size_t sent, struct iovec *parts) {
    int count = 0;
    for (int i = 2; i <= top && count < PARTS_PER_WRITE; i++) {
        size_t length;
        const char *text = luaL_checklstring(L, i, &length);
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

void l_stream_end_writing(lua_State *L, struct l_stream *stream) {
    struct handle *next = handle_pop(&stream->turns);
    stream->turn = next != NULL ? container_of(next, struct l_task, timer.handle) : NULL;
    if (next != NULL) l_task_wake(L, stream->turn);
}

/* A task goes on that waited in a write, or for its turn: raises if it is cancelled.
 * Whether the stream is still open. */
static bool writer_resumed(lua_State *L, struct l_stream *stream) {
    struct l_task *task = l_task_resumed_one(L, stream->rt);
    bool ends = task->throwing || stream->fd < 0;
    if (ends && stream->turn == task) { /* it may be another's turn */
        stream->write_begun = false;
        l_stream_end_writing(L, stream);
    }
    l_task_resumed(L, stream->rt);
    return stream->fd >= 0;
}

/* Writes some of the parts, unless the descriptor is full as far as we know: then it has not
 * `tried`, and that is an -EAGAIN. */
static inline ssize_t write_some(struct l_stream *stream, const struct iovec *parts, int count,
                                 bool *tried) {
    stream->needs = L_NEEDS_WRITE;
    *tried = stream->writable || !stream->pollable;
    return *tried ? stream->channel->write(stream, parts, count) : -EAGAIN;
}

static int write_again(lua_State *L, int status, lua_KContext sent);

/* What is there from byte `sent` on was written with this result: writes the rest. */
static int write_rest(lua_State *L, struct l_stream *stream, size_t sent, ssize_t result,
                      bool tried) {
    struct iovec parts[PARTS_PER_WRITE];
    int top = lua_gettop(L);
    while (result >= 0) {
        stream->write_begun = false;
        sent += (size_t)result;
        int count = gather_parts(L, top, sent, parts);
        if (count == 0) {
            l_stream_end_writing(L, stream);
            lua_pushboolean(L, 1);
            return 1;
        }
        result = write_some(stream, parts, count, &tried);
    }
    if (result == -EAGAIN) {
        stream->turn = l_stream_may_wait(L, stream, "write");
        if (tried) stream->write_begun = true;
        return l_stream_wait(L, stream, stream->turn, POLL_WRITE, (lua_KContext)sent, write_again);
    }
    stream->write_begun = false;
    l_stream_end_writing(L, stream);
    return l_stream_push_failure(L, stream, (int)-result);
}

/* Writes the strings from byte `sent` on. */
static int write_strings(lua_State *L, struct l_stream *stream, size_t sent) {
    struct iovec parts[PARTS_PER_WRITE];
    bool tried = false;
    int count = gather_parts(L, lua_gettop(L), sent, parts);
    ssize_t result = count > 0 ? write_some(stream, parts, count, &tried) : 0;
    return write_rest(L, stream, sent, result, tried);
}

static int write_again(lua_State *L, int status, lua_KContext sent) {
    struct l_stream *stream = lua_touserdata(L, 1);
    (void)status;
    if (!writer_resumed(L, stream)) return l_stream_closed_meanwhile(L);
    return write_strings(L, stream, (size_t)sent);
}

static void leave_turns(struct l_task *task) {
    handle_unlink(&task->timer.handle);
}

static const struct l_wait turn_wait = {"another task's write to end", leave_turns};

/* Another task writes, or this one has had its share of this turn. */
static int write_later(lua_State *L, struct l_stream *stream) {
    struct l_task *task = l_stream_may_wait(L, stream, "write");
    if (stream->turn != NULL) {
        handle_push(&stream->turns, &task->timer.handle);
        return l_task_wait(L, task, &turn_wait, stream, write_again);
    }
    stream->turn = task;
    return l_task_wait(L, task, NULL, NULL, write_again);
}

static void check_strings(lua_State *L, int top) {
    if (top < 2) luaL_checkany(L, 2);
    for (int i = 2; i <= top; i++) luaL_checkstring(L, i);
}

static int stream_write(lua_State *L) {
    struct l_stream *stream = l_stream_check_open(L, 1);
    int top = lua_gettop(L);
    struct iovec part;
    const char *text = lua_tolstring(L, 2, &part.iov_len);
    if (text == NULL || top != 2) check_strings(L, top);
    if (stream->sent_eof) return luaL_error(L, "cannot write after write_eof()");
    if (stream->turn != NULL || l_stream_out_of_budget(L, stream->rt)) {
        return write_later(L, stream);
    }
    if (top != 2 || part.iov_len == 0) return write_strings(L, stream, 0);
    bool tried;
    part.iov_base = (char *)(uintptr_t)text;
    ssize_t result = write_some(stream, &part, 1, &tried);
    if (result < 0 || (size_t)result < part.iov_len) {
        return write_rest(L, stream, 0, result, tried);
    }
    lua_pushboolean(L, 1); /* nobody waits for his turn, as there was none */
    return 1;
}

static int eof_step(lua_State *L, int status, lua_KContext context) {
    struct l_stream *stream = lua_touserdata(L, 1);
    (void)status;
    if (context != 0 && !writer_resumed(L, stream)) return l_stream_closed_meanwhile(L);
    ssize_t result = stream->channel->write_eof(stream);
    if (result == -EAGAIN) {
        stream->turn = l_stream_may_wait(L, stream, "write_eof");
        return l_stream_wait(L, stream, stream->turn, POLL_WRITE, 1, eof_step);
    }
    l_stream_end_writing(L, stream);
    if (result < 0) return l_stream_push_failure(L, stream, (int)-result);
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
        struct l_task *task = l_stream_may_wait(L, stream, "write_eof");
        handle_push(&stream->turns, &task->timer.handle);
        return l_task_wait_k(L, task, &turn_wait, stream, 1, eof_step);
    }
    return eof_step(L, LUA_OK, 0);
}

const luaL_Reg l_stream_write_methods[] = {
    {"write", stream_write}, {"write_eof", stream_write_eof}, {NULL, NULL}};
