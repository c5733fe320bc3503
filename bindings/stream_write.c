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
    struct l_task *task = stream->rt->current;
    bool ends = task->throwing || stream->fd < 0;
    if (ends && stream->turn == task) { /* it may be another's turn */
        stream->write_begun = false;
        l_stream_end_writing(L, stream);
    }
    l_task_resumed(L, stream->rt);
    return stream->fd >= 0;
}

static int write_again(lua_State *L, int status, lua_KContext sent);

/* Writes the parts, which are those from byte `sent` on, and what follows them. */
static int write_parts(lua_State *L, struct l_stream *stream, size_t sent, struct iovec *parts,
                       int count) {
    int top = lua_gettop(L);
    for (; count > 0; count = gather_parts(L, top, sent, parts)) {
        stream->needs = L_NEEDS_WRITE;
        bool tries = stream->writable || !stream->pollable;
        ssize_t result = tries ? stream->channel->write(stream, parts, count) : -EAGAIN;
        if (result == -EAGAIN) {
            struct l_task *task = l_stream_may_wait(L, stream, "write");
            stream->turn = task;
            if (tries) stream->write_begun = true;
            return l_stream_wait(L, stream, task, POLL_WRITE, (lua_KContext)sent, write_again);
        }
        stream->write_begun = false;
        if (result < 0) {
            l_stream_end_writing(L, stream);
            return l_stream_push_failure(L, stream, (int)-result);
        }
        sent += (size_t)result;
        if (count == 1 && top == 2 && (size_t)result == parts->iov_len) break;
    }
    l_stream_end_writing(L, stream);
    lua_pushboolean(L, 1);
    return 1;
}

static int write_again(lua_State *L, int status, lua_KContext sent) {
    struct l_stream *stream = lua_touserdata(L, 1);
    struct iovec parts[PARTS_PER_WRITE];
    (void)status;
    if (!writer_resumed(L, stream)) return l_stream_closed_meanwhile(L);
    int count = gather_parts(L, lua_gettop(L), (size_t)sent, parts);
    return write_parts(L, stream, (size_t)sent, parts, count);
}

static void leave_turns(struct l_task *task) {
    handle_unlink(&task->timer.handle);
}

static const struct l_wait turn_wait = {"another task's write to end", leave_turns};

static int stream_write(lua_State *L) {
    struct l_stream *stream = l_stream_check_open(L, 1);
    struct iovec parts[PARTS_PER_WRITE];
    int top = lua_gettop(L);
    if (top < 2) luaL_checkany(L, 2);
    int count = gather_parts(L, top, 0, parts);
    for (int i = 2 + PARTS_PER_WRITE; i <= top; i++) luaL_checkstring(L, i);
    if (stream->sent_eof) return luaL_error(L, "cannot write after write_eof()");
    if (stream->turn != NULL) {
        struct l_task *task = l_stream_may_wait(L, stream, "write");
        handle_push(&stream->turns, &task->timer.handle);
        return l_task_wait(L, task, &turn_wait, stream, write_again);
    }
    if (l_stream_out_of_budget(L, stream->rt)) {
        stream->turn = l_stream_may_wait(L, stream, "write");
        return l_task_wait(L, stream->turn, NULL, NULL, write_again);
    }
    return write_parts(L, stream, 0, parts, count);
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
