/* stream_read.c -- bytes in: what a read asks for, and where the bytes are meanwhile.
 *
 * A read into an empty buffer goes to the runtime's scratch memory, and what it asked
 * for is made into a Lua string right there: only a rest is ever copied to a buffer of
 * the stream's own, and an idle stream has none.
 *
 * Where little comes at a time, the descriptors that are ready are read one after the other
 * before the tasks run that wait for them: the kernel's code and then ours stays in the cache.
 * Those bytes stand behind the scratch memory, until the tasks' steps in the next turn; what a
 * read then leaves goes to the stream's own buffer. */
#include "bindings/result.h"
#include "bindings/stream.h"
#include "host/alloc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    AHEAD_SIZE = 16 * 1024, /* for all streams together */
    AHEAD_LEAST = 2048,     /* as much must be free in order to read there */
    LITTLE = 1024,
};

/* ---- the buffer ---- */

char *l_stream_scratch(lua_State *L, struct l_runtime *rt) {
    if (rt->scratch != NULL) return rt->scratch;
    l_pushshared(L, rt, L_SHARED_SCRATCH);
    rt->scratch = lua_newuserdatauv(L, L_STREAM_CHUNK + AHEAD_SIZE, 0);
    lua_setfield(L, -2, "read_buffer");
    lua_pop(L, 1);
    return rt->scratch;
}

static void release_if_empty(lua_State *L, struct l_stream *stream) {
    if (l_buffer_length(&stream->buffer) > 0 || stream->buffer.capacity == 0) return;
    l_buffer_release(L, &stream->buffer, L_STREAM_BUFFER);
}

/* Puts the bytes, which are not in the buffer, where that is empty. */
static void keep(lua_State *L, struct l_stream *stream, const char *bytes, size_t size) {
    struct l_buffer buffer = {0};
    l_buffer_reserve(L, &buffer, L_STREAM_BUFFER, 0, size);
    memcpy(buffer.bytes, bytes, size);
    buffer.end = size;
    stream->buffer = buffer;
}

/* ---- large strings ---- */

/* To copy bytes that just came into a new string, whose memory is cold mostly, takes as long as
 * all else that a read does.  So where a piece is likely to be large, it goes to memory that is then
 * the string's: the allocator gives just that to lua_pushlstring, which copies the bytes to where
 * they are.  That memcpy has source and destination equal, as the C library lets the compiler do.
 * Strings that are otherwise made, or another allocator: then they are copied. */
enum { LARGE = 4096, STRING_HEADER = 24 }; /* what stands before the bytes of a string in Lua 5.4 */

static char *draft_string(const struct l_runtime *rt) {
    char *draft = NULL;
    if (rt->alloc != NULL) draft = alloc_draft(rt->alloc, STRING_HEADER + L_STREAM_CHUNK + 1);
    return draft != NULL ? draft + STRING_HEADER : NULL;
}

static void push_draft(lua_State *L, struct l_runtime *rt, size_t length) {
    char *draft = alloc_offer(rt->alloc, STRING_HEADER + length + 1);
    lua_pushlstring(L, draft + STRING_HEADER, length);
    alloc_withdraw(rt->alloc);
}

/* ---- reading ahead ---- */

void l_stream_read_ahead(struct l_stream *stream) {
    struct l_runtime *rt = stream->rt;
    size_t room = AHEAD_SIZE - rt->ahead_used;
    bool ours = stream->kind == L_DESCRIPTOR_TCP || stream->kind == L_DESCRIPTOR_UNIX;
    bool plain = stream->channel == &l_descriptor_channel;
    if (!ours || !plain || room < AHEAD_LEAST || l_buffer_length(&stream->buffer) > 0) return;
    char *target = rt->scratch + L_STREAM_CHUNK + rt->ahead_used;
    ssize_t got = l_descriptor_channel.read(stream, target, room);
    if (got == 0) stream->eof = true;
    if (got <= 0) return; /* what goes wrong the task will find out */
    stream->reads_little = got <= LITTLE;
    stream->buffer = (struct l_buffer){.bytes = target, .end = (size_t)got};
    stream->ahead = true;
    rt->ahead_streams++;
    rt->ahead_used += (size_t)got;
}

static void ahead_left(struct l_stream *stream) {
    struct l_runtime *rt = stream->rt;
    stream->ahead = false;
    if (--rt->ahead_streams == 0) rt->ahead_used = 0;
}

void l_stream_forget_ahead(struct l_stream *stream) {
    stream->buffer = (struct l_buffer){0};
    ahead_left(stream);
}

/* Nobody has read the bytes from the `consumed` ones on. */
static void keep_ahead(lua_State *L, struct l_stream *stream, size_t consumed) {
    keep(L, stream, stream->buffer.bytes + consumed, stream->buffer.end - consumed);
    ahead_left(stream);
}

/* The task for which they were read is cancelled. */
static void keep_for_others(lua_State *L, struct l_stream *stream) {
    struct l_task *task = stream->rt->current;
    task->throwing = false; /* that there is no memory would be raised instead */
    keep_ahead(L, stream, 0);
    task->throwing = true;
}

/* ---- reading ---- */

enum read_mode { READ_SOME, READ_ALL, READ_LINE, READ_LINE_KEEP, READ_EXACTLY, READ_UNTIL };

/* What a read wants.  A waiting one keeps it in its continuation's context, as one number. */
struct request {
    enum read_mode mode;
    size_t wanted; /* how many bytes, of READ_SOME and READ_EXACTLY */
};

enum { MODE_BITS = 3 };
static const lua_Integer MOST_BYTES = PTRDIFF_MAX >> MODE_BITS;

static lua_KContext pack(struct request request) {
    return (lua_KContext)(request.wanted << MODE_BITS) | (lua_KContext)request.mode;
}

static struct request unpack(lua_KContext context) {
    return (struct request){.mode = (enum read_mode)(context & ((1 << MODE_BITS) - 1)),
                            .wanted = (size_t)context >> MODE_BITS};
}

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
                   struct request request) {
    size_t wanted = request.wanted;
    switch (request.mode) {
    case READ_SOME: {
        if (view->length == 0 && wanted > 0) {
            if (!stream->eof) return 0;
            lua_pushnil(L);
            return 1;
        }
        size_t length = view->length < wanted ? view->length : wanted;
        return take(L, view, length, length);
    }
    case READ_ALL: return stream->eof ? take(L, view, view->length, view->length) : 0;
    case READ_EXACTLY:
        if (view->length >= wanted) return take(L, view, wanted, wanted);
        if (!stream->eof) return 0;
        l_push_failure(L, "EOF", "the stream ended before enough bytes had come");
        return 3 + take(L, view, view->length, view->length);
    case READ_LINE:
    case READ_LINE_KEEP:
    case READ_UNTIL: return take_until(L, stream, view, request.mode);
    }
    return 0;
}

/* How much to ask the kernel for when that is not enough which the buffer has. */
static size_t chunk_size(size_t have, struct request request) {
    if (request.mode == READ_EXACTLY && have > L_STREAM_CHUNK) {
        size_t missing = request.wanted - have;
        return missing < have ? missing : have; /* not all at once: the peer may have lied */
    }
    return request.mode == READ_ALL || have >= L_STREAM_CHUNK ? L_STREAM_CHUNK : L_STREAM_CHUNK / 8;
}

/* Satisfies the read from the bytes that have just come, for which memory may run out: they are
 * lost then, and no later read is to go on behind them as if nothing were missing. */
static int satisfy_directly(lua_State *L, struct l_stream *stream, struct request request,
                            struct view view, bool is_draft) {
    int results = 1;
    stream->busy_reading = stream->torn = true;
    if (is_draft) {
        push_draft(L, stream->rt, view.length);
    } else if (request.mode == READ_SOME) {
        lua_pushlstring(L, view.data, view.length);
    } else {
        results = satisfy(L, stream, &view, request);
        size_t left = view.length - view.consumed;
        if (left > 0) keep(L, stream, view.data + view.consumed, left);
    }
    stream->busy_reading = stream->torn = false;
    return results;
}

/* Gets bytes when the buffer is empty; satisfies the read from them.  The number of results, 0 to
 * go on, or -errno. */
static int read_directly(lua_State *L, struct l_stream *stream, struct request request) {
    char *target = l_stream_scratch(L, stream->rt); /* also for what is read ahead from now on */
    bool some = request.mode == READ_SOME;
    char *draft = some && !stream->reads_little ? draft_string(stream->rt) : NULL;
    if (draft != NULL) target = draft;
    size_t size = some && request.wanted < L_STREAM_CHUNK ? request.wanted : L_STREAM_CHUNK;
    ssize_t got = stream->channel->read(stream, target, size);
    if (got < 0) return (int)got;
    if (got == 0) stream->eof = true;
    stream->reads_little = got <= LITTLE;
    struct view view = {target, (size_t)got, 0};
    if (got == 0) return satisfy(L, stream, &view, request);
    return satisfy_directly(L, stream, request, view, draft != NULL && got >= LARGE);
}

/* Adds bytes to those that the buffer has.  0 to go on, or -errno. */
static int read_more(lua_State *L, struct l_stream *stream, struct request request) {
    size_t size = chunk_size(l_buffer_length(&stream->buffer), request);
    l_buffer_reserve(L, &stream->buffer, L_STREAM_BUFFER, 0, size);
    ssize_t got = stream->channel->read(stream, stream->buffer.bytes + stream->buffer.end, size);
    if (got < 0) return (int)got;
    if (got == 0) stream->eof = true;
    stream->buffer.end += (size_t)got;
    return 0;
}

static int read_step(lua_State *L, struct l_stream *stream, struct request request);

static int read_again(lua_State *L, int status, lua_KContext context) {
    struct l_stream *stream = lua_touserdata(L, 1);
    (void)status;
    stream->busy_reading = false;
    if (stream->ahead && l_task_resumed_one(L, stream->rt)->throwing) keep_for_others(L, stream);
    l_task_resumed(L, stream->rt);
    if (stream->fd < 0) return l_stream_closed_meanwhile(L);
    return read_step(L, stream, unpack(context));
}

static int read_next_turn(lua_State *L, struct l_stream *stream, struct request request) {
    struct l_task *task = l_stream_may_wait(L, stream, "read");
    stream->busy_reading = true;
    return l_task_wait_k(L, task, NULL, NULL, pack(request), read_again);
}

static int wait_to_read(lua_State *L, struct l_stream *stream, struct request request) {
    struct l_task *task = l_stream_may_wait(L, stream, "read");
    stream->busy_reading = true;
    return l_stream_wait(L, stream, task, POLL_READ, pack(request), read_again);
}

/* Satisfies the read from what was read ahead.  The number of results, or 0. */
static int read_ahead(lua_State *L, struct l_stream *stream, struct request request) {
    struct view view = {stream->buffer.bytes, stream->buffer.end, 0};
    if (request.mode == READ_SOME && view.length <= request.wanted) {
        lua_pushlstring(L, view.data, view.length);
        l_stream_forget_ahead(stream);
        return 1;
    }
    int results = satisfy(L, stream, &view, request);
    if (view.consumed < view.length) {
        keep_ahead(L, stream, view.consumed);
    } else {
        l_stream_forget_ahead(stream);
    }
    return results;
}

/* Satisfies the read from what is there already.  The number of results, or 0. */
static int read_buffered(lua_State *L, struct l_stream *stream, struct request request) {
    struct view view = {stream->buffer.bytes + stream->buffer.start,
                        l_buffer_length(&stream->buffer), 0};
    int results = satisfy(L, stream, &view, request);
    stream->buffer.start += view.consumed;
    release_if_empty(L, stream);
    return results;
}

/* Whether the descriptor is to be asked: no if it is known to be drained. */
static inline bool may_have_more(const struct l_stream *stream) {
    return stream->readable || !stream->pollable || stream->channel->buffers;
}

static int read_step(lua_State *L, struct l_stream *stream, struct request request) {
    for (;;) {
        bool empty = l_buffer_length(&stream->buffer) == 0;
        if (!empty || stream->eof) {
            int results =
                stream->ahead ? read_ahead(L, stream, request) : read_buffered(L, stream, request);
            if (results > 0) return results;
        }
        stream->needs = L_NEEDS_READ;
        if (!may_have_more(stream)) return wait_to_read(L, stream, request);
        int result = empty ? read_directly(L, stream, request) : read_more(L, stream, request);
        if (result > 0) return result;
        if (result == -EAGAIN) return wait_to_read(L, stream, request);
        if (result < 0) return l_stream_push_failure(L, stream, -result);
        if (l_stream_out_of_budget(L, stream->rt)) return read_next_turn(L, stream, request);
    }
}

static int cannot_read(lua_State *L, const struct l_stream *stream) {
    if (stream->torn) return l_push_failure(L, "ENOMEM", "bytes were lost when memory ran out");
    return luaL_error(L, "another task is already reading from this stream");
}

static int begin(lua_State *L, struct l_stream *stream, enum read_mode mode, lua_Integer wanted) {
    struct request request = {mode, (size_t)wanted};
    if (stream->busy_reading) return cannot_read(L, stream);
    if (l_stream_out_of_budget(L, stream->rt)) return read_next_turn(L, stream, request);
    return read_step(L, stream, request);
}

static lua_Integer check_size(lua_State *L, int arg) {
    lua_Integer size = luaL_checkinteger(L, arg);
    luaL_argcheck(L, size >= 0 && size <= MOST_BYTES, arg, "number of bytes out of range");
    return size;
}

/* What a read of no bytes gives: for the kernel that would be the end of the stream. */
static int push_nothing(lua_State *L) {
    lua_pushliteral(L, "");
    return 1;
}

/* A read without a number of bytes, or with an unusual one. */
static int read_otherwise(lua_State *L, struct l_stream *stream) {
    if (lua_isnoneornil(L, 2)) return begin(L, stream, READ_SOME, L_STREAM_CHUNK);
    if (lua_type(L, 2) == LUA_TSTRING && !lua_isnumber(L, 2)) {
        const char *format = lua_tostring(L, 2);
        if (format[0] == '*') format++;
        switch (format[0]) {
        case 'a': return begin(L, stream, READ_ALL, 0);
        case 'l': return begin(L, stream, READ_LINE, 0);
        case 'L': return begin(L, stream, READ_LINE_KEEP, 0);
        default: return luaL_argerror(L, 2, "invalid format");
        }
    }
    check_size(L, 2);
    return push_nothing(L);
}

static int stream_read(lua_State *L) {
    struct l_stream *stream = l_stream_check_open(L, 1);
    int is_size;
    lua_Integer size = lua_tointegerx(L, 2, &is_size);
    if (!is_size || size <= 0 || size > MOST_BYTES) return read_otherwise(L, stream);
    return begin(L, stream, READ_SOME, size);
}

static int stream_readline(lua_State *L) {
    static const char *const formats[] = {"l", "L", NULL};
    struct l_stream *stream = l_stream_check_open(L, 1);
    int format = luaL_checkoption(L, 2, "l", formats);
    return begin(L, stream, format == 0 ? READ_LINE : READ_LINE_KEEP, 0);
}

static int stream_readexactly(lua_State *L) {
    struct l_stream *stream = l_stream_check_open(L, 1);
    lua_Integer size = check_size(L, 2);
    return size == 0 ? push_nothing(L) : begin(L, stream, READ_EXACTLY, size);
}

static int stream_readuntil(lua_State *L) {
    struct l_stream *stream = l_stream_check_open(L, 1);
    size_t length;
    luaL_checklstring(L, 2, &length);
    luaL_argcheck(L, length > 0, 2, "separator must not be empty");
    return begin(L, stream, READ_UNTIL, 0);
}

const luaL_Reg l_stream_read_methods[] = {{"read", stream_read},
                                          {"readline", stream_readline},
                                          {"readexactly", stream_readexactly},
                                          {"readuntil", stream_readuntil},
                                          {NULL, NULL}};
