/* stream.c -- the life of a stream, and how tasks wait for it.
 *
 * Every operation tries first and waits only when the kernel has nothing (or no room).
 * Descriptors are watched edge-triggered for their whole life, so that a wait is no
 * system call; `readable` and `writable` are what the edges and the last attempts say. */
#include "bindings/stream.h"

#include "bindings/address.h"
#include "bindings/handle.h"
#include "bindings/inventory.h"
#include "bindings/open.h"
#include "bindings/result.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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

/* What counts those who wait for the close: who may close an open stream is not known, and
 * virtual time does not wait for it; for what goes on in the background it does. */
static size_t *close_waiters_count(struct l_stream *stream) {
    struct loop *loop = &stream->loop->loop;
    return stream->closing != NULL ? &loop->outstanding : &loop->listening;
}

void l_stream_wake_close_waiters(struct l_stream *stream) {
    struct handle *handle;
    while ((handle = handle_pop(&stream->close_waiters)) != NULL) {
        --*close_waiters_count(stream);
        l_task_wake(stream->loop->L, container_of(handle, struct l_task, timer.handle));
    }
}

/* Whether the connection has ended by itself: asyncio's is then closed.  The kernel tells of that
 * once, and `broken` keeps it for reads; after an EPIPE they may still find something.  A pipe
 * that nobody reads from any more is as good as closed, unless somebody is writing. */
static bool has_broken(struct l_stream *stream) {
    if (stream->kind == L_DESCRIPTOR_ANY) {
        struct pollfd fd = {.fd = stream->fd};
        if (poll(&fd, 1, 0) <= 0 || (fd.revents & POLLERR) == 0) return false;
        if (stream->turn != NULL) stream->close_error = EPIPE;
        return true;
    }
    bool ours = stream->kind == L_DESCRIPTOR_TCP || stream->kind == L_DESCRIPTOR_UNIX;
    if (stream->broken == 0 && ours) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error == EPIPE) {
            stream->close_error = error;
        } else {
            stream->broken = error;
        }
    }
    return stream->broken != 0 || stream->close_error != 0;
}

static void wake_if_broken(struct l_stream *stream) {
    if (handle_queue_empty(&stream->close_waiters) || !has_broken(stream)) return;
    l_stream_wake_close_waiters(stream);
}

/* Something has changed; as an edge tells all that is there, whoever waits tries again. */
static void descriptor_ready(struct handle *handle) {
    struct l_stream *stream =
        container_of(container_of(handle, struct watch, handle), struct l_stream, watch);
    lua_State *L = stream->loop->L;
    unsigned edges = stream->watch.edges;
    stream->watch.edges = 0;
    if (edges & EDGE_READ) stream->readable = true;
    if (edges & EDGE_WRITE) stream->writable = true;
    if (edges & EDGE_END) {
        stream->end_seen = true;
        wake_if_broken(stream);
    }
    if (stream->read_needs & edges) {
        if (stream->reads_little && stream->reading != NULL) l_stream_read_ahead(stream);
        wake_reader(L, stream);
    }
    if (stream->write_needs & edges) wake_writer(L, stream);
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

static int start_watch(struct l_stream *stream);

/* Takes the stream at index 1 along to another loop, if nobody uses it on the one it has. */
static bool follow(lua_State *L, struct l_stream *stream, struct l_loop *loop) {
    bool in_use = stream->busy_reading || stream->turn != NULL;
    if (!stream->follows || in_use || !handle_queue_empty(&stream->close_waiters)) return false;
    l_stream_stop_watch(L, stream);
    stream->loop = loop;
    l_loop_push(L, loop);
    lua_setiuservalue(L, 1, L_STREAM_LOOP);
    int result = start_watch(stream); /* tells what is there, as an edge */
    if (result < 0) luaL_error(L, "cannot watch descriptor %d: %s", stream->fd, strerror(-result));
    return true;
}

struct l_task *l_stream_check_may_wait(lua_State *L, struct l_stream *stream, const char *what) {
    struct l_task *task =
        l_task_may_wait(L, stream->rt, what, stream->follows ? NULL : stream->loop);
    if (task->future.loop != stream->loop && !follow(L, stream, task->future.loop)) {
        l_task_wrong_loop(L, what, "stream");
    }
    return task;
}

/* Has the loop's own methods watch for what the stream, at index 1 or on top, needs; if they fail
 * it is closed.  Not inlined: the usual wait is to be quick. */
static __attribute__((noinline)) void wait_by_method(lua_State *L, struct l_stream *stream) {
    static const enum poll_direction directions[] = {POLL_READ, POLL_WRITE};
    int owner = lua_touserdata(L, 1) == stream ? 1 : lua_gettop(L);
    for (int i = 0; i < 2; i++) {
        if ((stream->needs & 1 << directions[i]) == 0 ||
            l_watch_by_method(L, stream->loop, owner, &stream->watch, stream->fd, directions[i])) {
            continue;
        }
        l_stream_close(L, stream);
        lua_error(L);
    }
}

int l_stream_wait(lua_State *L, struct l_stream *stream, struct l_task *task,
                  enum poll_direction direction, lua_KContext context, lua_KFunction continuation) {
    bool reads = direction == POLL_READ;
    if (stream->by_method) wait_by_method(L, stream);
    if (stream->needs & L_NEEDS_READ) stream->readable = false;
    if (stream->needs & L_NEEDS_WRITE) stream->writable = false;
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

int l_stream_push_failure(lua_State *L, struct l_stream *stream, int error) {
    wake_if_broken(stream);
    if (stream->channel->push_failure == NULL) return l_push_errno(L, error);
    return stream->channel->push_failure(L, stream, error);
}

int l_stream_closed_meanwhile(lua_State *L) {
    return l_push_failure(L, "ECANCELED", "the stream was closed");
}

/* ---- life ---- */

void l_stream_check_more(lua_State *L, int index, struct l_stream *stream) {
    if (stream->fd < 0) luaL_argerror(L, index, "the stream is closed");
    if (stream->follows && stream->loop->closed) { /* it has forgotten its tasks */
        stream->reading = stream->writing = stream->turn = NULL;
        stream->busy_reading = stream->torn;
    }
}

void l_stream_stop_watch(lua_State *L, struct l_stream *stream) {
    l_unwatch(L, stream->loop, &stream->watch, stream->fd, stream->by_method);
}

void l_stream_close(lua_State *L, struct l_stream *stream) {
    int fd = stream->fd;
    if (fd < 0) return;
    if (stream->ahead) l_stream_forget_ahead(stream);
    l_stream_stop_watch(L, stream);
    bool taken = stream->channel->close != NULL && stream->channel->close(stream);
    stream->fd = -1;
    if (!taken) {
        close(fd);
        l_descriptor_freed(stream->rt);
    }
    l_inventory_remove(L, stream->rt, stream);
    if (stream->loop == NULL || stream->loop->closed) { /* it has forgotten its tasks */
        stream->reading = stream->writing = NULL;
        return;
    }
    wake_reader(L, stream);
    wake_writer(L, stream); /* who waits for a turn is woken by the one before */
    if (stream->closing == NULL) l_stream_wake_close_waiters(stream);
}

static int stream_close(lua_State *L) {
    struct l_stream *stream = l_stream_check(L, 1);
    l_stream_close(L, stream);
    l_buffer_release(L, &stream->buffer, L_STREAM_BUFFER); /* nobody can have it any more */
    return 0;
}

static void close_collected(lua_State *L, struct l_stream *stream) {
    if (!stream->quiet) {
        lua_getiuservalue(L, 1, L_STREAM_PLACE);
        l_inventory_warn_collected(L, "a stream");
    }
    stream->collected = true;
    l_stream_close(L, stream);
}

static int stream_gc(lua_State *L) {
    struct l_stream *stream = l_stream_check(L, 1);
    if (stream->fd >= 0) close_collected(L, stream);
    if (stream->closing != NULL) {
        stream->closing->stream = NULL;
        stream->closing->over = NULL;
    }
    stream->closing = NULL;
    return 0;
}

/* ---- what goes on after the close ---- */

void l_stream_begin_closing(struct l_stream *stream, struct l_closing *closing) {
    closing->loop = stream->loop;
    closing->stream = stream;
    closing->over = NULL;
    size_t waiting = 0;
    const struct handle *end = &stream->close_waiters.head;
    for (const struct handle *place = end->next; place != end; place = place->next) waiting++;
    *close_waiters_count(stream) -= waiting;
    stream->closing = closing;
    *close_waiters_count(stream) += waiting;
}

void l_stream_end_closing(struct l_closing *closing, int error) {
    struct l_loop *loop = closing->loop;
    struct l_stream *stream = closing->stream;
    if (closing->over != NULL && !loop->closed) loop_call_soon(&loop->loop, closing->over);
    if (stream == NULL) return;
    l_stream_wake_close_waiters(stream);
    stream->closing = NULL;
    stream->close_error = error;
}

static void leave_closing(struct l_task *task) {
    struct l_stream *stream = task->wait_on;
    if (!handle_queued(&task->timer.handle)) return; /* the loop was closed */
    handle_unlink(&task->timer.handle);
    --*close_waiters_count(stream);
}

static const struct l_wait closing_wait = {"a stream to be closed", leave_closing};

/* Pushes how the stream has ended. */
static int push_closed(lua_State *L, const struct l_stream *stream) {
    int error = stream->broken != 0 ? stream->broken : stream->close_error;
    if (error != 0) return l_push_errno(L, error);
    lua_pushboolean(L, 1);
    return 1;
}

static int closed_at_last(lua_State *L, int status, lua_KContext context) {
    (void)status, (void)context;
    l_task_resumed(L, l_runtime(L));
    return push_closed(L, lua_touserdata(L, 1));
}

/* As asyncio's: waits until somebody has closed the stream, and until what TLS has to say then
 * is said; or until the connection breaks. */
static int stream_wait_closed(lua_State *L) {
    struct l_stream *stream = l_stream_check(L, 1);
    if (stream->fd >= 0) l_stream_check_open(L, 1);
    bool is_over = stream->fd < 0 ? stream->closing == NULL : has_broken(stream);
    if (is_over) return push_closed(L, stream);
    struct l_task *task = l_stream_may_wait(L, stream, "wait_closed");
    lua_settop(L, 1);
    if (stream->by_method && stream->fd >= 0) {
        stream->needs = L_NEEDS_READ;
        wait_by_method(L, stream);
    }
    handle_push(&stream->close_waiters, &task->timer.handle);
    ++*close_waiters_count(stream);
    return l_task_wait_k(L, task, &closing_wait, stream, 0, closed_at_last);
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
static int start_watch(struct l_stream *stream) {
    int result = poller_start_edges(&stream->loop->loop.poller, &stream->watch, stream->fd);
    stream->pollable = result == 0;
    stream->by_method = l_watches_by_method(stream->loop);
    if (result == 0 && stream->by_method) {
        poller_stop(&stream->loop->loop.poller, &stream->watch);
    }
    return result == -EPERM ? 0 : result;
}

void *l_stream_prepare(lua_State *L, struct l_runtime *rt, size_t size, int uservalues) {
    struct l_stream *stream = l_newobject(L, rt, L_STREAM, size, uservalues);
    stream->rt = rt;
    stream->channel = &l_descriptor_channel;
    stream->fd = -1;
    handle_queue_init(&stream->turns);
    handle_queue_init(&stream->close_waiters);
    watch_init(&stream->watch, descriptor_ready);
    return stream;
}

int l_stream_start(lua_State *L, int index, int loop_index, int fd, enum l_descriptor_kind kind,
                   size_t limit, int place, const char *listed_as) {
    struct l_stream *stream = lua_touserdata(L, index);
    index = lua_absindex(L, index);
    lua_pushvalue(L, loop_index);
    lua_setiuservalue(L, index, L_STREAM_LOOP);
    if (place != 0) {
        lua_pushvalue(L, place);
        lua_setiuservalue(L, index, L_STREAM_PLACE);
    }
    stream->loop = lua_touserdata(L, loop_index);
    stream->limit = limit;
    stream->kind = kind;
    stream->readable = stream->writable = true;
    stream->fd = fd;
    int result = start_watch(stream);
    if (result < 0) {
        l_stream_close(L, stream);
        return result;
    }
    if (stream->rt->tracking && listed_as != NULL) {
        lua_pushvalue(L, index);
        l_inventory_list(L, stream->rt, listed_as, place);
        lua_pop(L, 1);
    }
    return 0;
}

void l_stream_open(lua_State *L, struct l_runtime *rt) {
    static const luaL_Reg methods[] = {{"close", stream_close},
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
    lua_getfield(L, -1, "__index");
    l_setfuncs(L, rt, l_stream_read_methods);
    l_setfuncs(L, rt, l_stream_write_methods);
    lua_pop(L, 1);
    l_pushshared(L, rt, L_SHARED_HOOKS); /* the Lua half adds lines() */
    lua_getfield(L, -2, "__index");
    lua_setfield(L, -2, "stream_methods");
    lua_pop(L, 2);
}
