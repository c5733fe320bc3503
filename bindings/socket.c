/* socket.c -- connecting: sockets before they are streams.
 *
 * These take numeric addresses and know nothing of names, several addresses or handlers:
 * that is policy (scripts/loophost/connect.lua). */
#include "bindings/address.h"
#include "bindings/handle.h"
#include "bindings/open.h"
#include "bindings/result.h"
#include "bindings/stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

/* ---- connecting ---- */

/* arguments..., stream: the connection is there, or has failed */
static int connected(lua_State *L, int status, lua_KContext stream_index) {
    struct l_stream *stream = lua_touserdata(L, (int)stream_index);
    (void)status;
    if (l_task_resumed_one(L, stream->rt)->throwing) l_stream_close(L, stream);
    l_task_resumed(L, stream->rt);
    if (stream->fd < 0) return l_push_failure(L, "ECANCELED", "the stream was closed");
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0) error = errno;
    if (error == 0) { /* an edge may come before the connection does */
        struct sockaddr_storage peer;
        size = sizeof peer;
        if (getpeername(stream->fd, (struct sockaddr *)&peer, &size) < 0 && errno == ENOTCONN) {
            stream->needs = L_NEEDS_WRITE;
            return l_stream_wait(L, stream, stream->rt->current, POLL_WRITE, stream_index,
                                 connected);
        }
    }
    if (error != 0) {
        l_stream_close(L, stream);
        return l_push_errno(L, error);
    }
    stream->writable = true;
    lua_pushvalue(L, (int)stream_index);
    return 1;
}

static enum l_descriptor_kind kind_of(sa_family_t family) {
    return family == AF_UNIX ? L_DESCRIPTOR_UNIX : L_DESCRIPTOR_TCP;
}

/* Binds the socket to `own`, if that is one, and begins to connect it: 0 or errno. */
static int begin_connecting(int fd, const struct l_address *own, const struct l_address *peer) {
    int on = 1;
    if (peer->storage.ss_family != AF_UNIX) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    if (own->size > 0 && bind(fd, (const struct sockaddr *)&own->storage, own->size) < 0) {
        return errno;
    }
    return connect(fd, (const struct sockaddr *)&peer->storage, peer->size) < 0 ? errno : 0;
}

/* Connects a new socket; limit and place are the arguments behind the address. */
static int connect_to(lua_State *L, const struct l_address *own, const struct l_address *peer,
                      int limit) {
    struct l_runtime *rt = l_runtime(L);
    lua_Integer bytes = luaL_optinteger(L, limit, L_STREAM_LIMIT);
    lua_settop(L, limit + 1);
    l_task_push_loop(L, rt, "connect");
    struct l_stream *stream = l_stream_prepare(L, rt, sizeof *stream, L_STREAM_USERVALUES);
    int fd = socket(peer->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return l_push_errno(L, errno);
    int result = begin_connecting(fd, own, peer);
    if (result != 0 && result != EINPROGRESS && result != EINTR) {
        close(fd);
        return l_push_errno(L, result);
    }
    if (result != 0 && rt->current == NULL) { /* it stands only if that needs no wait */
        close(fd);
        l_task_may_wait(L, rt, "connect", NULL);
    }
    int watched = l_stream_start(L, -1, -2, fd, kind_of(peer->storage.ss_family), (size_t)bytes,
                                 lua_isnil(L, limit + 1) ? 0 : limit + 1, "stream");
    if (watched < 0) return l_push_errno(L, -watched);
    stream->readable = false; /* nothing can be there before an edge tells of it */
    if (result == 0) return 1;
    stream->needs = L_NEEDS_WRITE;
    struct l_task *task = l_stream_may_wait(L, stream, "connect");
    return l_stream_wait(L, stream, task, POLL_WRITE, lua_gettop(L), connected);
}

/* socket_connect(ip, port, limit, place, own ip or nil, own port) -> stream, or nil, message,
 * code */
static int socket_connect(lua_State *L) {
    struct l_address peer, own = {0};
    peer.size = l_checkaddress(L, 1, &peer.storage);
    lua_settop(L, 6);
    if (!lua_isnil(L, 5)) {
        if (lua_isnil(L, 6)) {
            lua_pushinteger(L, 0);
            lua_replace(L, 6);
        }
        own.size = l_checkaddress(L, 5, &own.storage);
    }
    return connect_to(L, &own, &peer, 3);
}

/* socket_connect_unix(path, limit, place) -> stream, or nil, message, code */
static int socket_connect_unix(lua_State *L) {
    struct l_address peer, own = {0};
    peer.size = l_checkpath(L, 1, &peer.storage);
    return connect_to(L, &own, &peer, 2);
}

/* ---- a pair ---- */

/* socketpair([limit]) -> stream, stream */
static int socket_pair(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    lua_Integer limit = luaL_optinteger(L, 1, L_STREAM_LIMIT);
    int fds[2];
    lua_settop(L, 1);
    l_task_push_loop(L, rt, "socketpair");
    for (int i = 0; i < 2; i++) {
        l_stream_prepare(L, rt, sizeof(struct l_stream), L_STREAM_USERVALUES);
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0) {
        return l_push_errno(L, errno);
    }
    for (int i = 0; i < 2; i++) {
        int result =
            l_stream_start(L, 3 + i, 2, fds[i], L_DESCRIPTOR_UNIX, (size_t)limit, 0, "stream");
        if (result == 0) continue;
        if (i == 0) close(fds[1]);
        l_stream_close(L, lua_touserdata(L, 3));
        return l_push_errno(L, -result);
    }
    return 2;
}

void l_socket_open(lua_State *L, struct l_runtime *rt) {
    static const luaL_Reg hooks[] = {{"socket_connect", socket_connect},
                                     {"socket_connect_unix", socket_connect_unix},
                                     {"socketpair", socket_pair},
                                     {NULL, NULL}};
    l_pushshared(L, rt, L_SHARED_HOOKS);
    l_setfuncs(L, rt, hooks);
    lua_pop(L, 1);
}
