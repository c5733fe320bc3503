/* socket.c -- connecting and listening: sockets before they are streams.
 *
 * These take numeric addresses and know nothing of names, several addresses or handlers:
 * that is policy (scripts/loophost/connect.lua, server.lua). */
#include "bindings/address.h"
#include "bindings/handle.h"
#include "bindings/open.h"
#include "bindings/result.h"
#include "bindings/stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct listener {
    int fd; /* -1 once closed */
    sa_family_t family;
};

/* ---- connecting ---- */

/* arguments..., stream: the connection is there, or has failed */
static int connected(lua_State *L, int status, lua_KContext stream_index) {
    struct l_stream *stream = lua_touserdata(L, (int)stream_index);
    (void)status;
    if (stream->rt->current->throwing) l_stream_close(L, stream);
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
            return l_stream_wait(L, stream, POLL_WRITE, stream_index, connected);
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

struct address {
    struct sockaddr_storage storage;
    socklen_t size; /* 0: none */
};

/* Binds the socket to `own`, if that is one, and begins to connect it: 0 or errno. */
static int begin_connecting(int fd, const struct address *own, const struct address *peer) {
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
static int connect_to(lua_State *L, const struct address *own, const struct address *peer,
                      int limit) {
    struct l_runtime *rt = l_runtime(L);
    lua_Integer bytes = luaL_optinteger(L, limit, L_STREAM_LIMIT);
    lua_settop(L, limit + 1);
    struct l_loop *loop = l_task_push_loop(L, rt, "connect");
    int fd = socket(peer->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return l_push_errno(L, errno);
    int result = begin_connecting(fd, own, peer);
    if (result != 0 && result != EINPROGRESS && result != EINTR) {
        close(fd);
        return l_push_errno(L, result);
    }
    struct l_stream *stream =
        l_stream_new_kind(L, rt, -1, loop, fd, kind_of(peer->storage.ss_family), (size_t)bytes,
                          lua_isnil(L, limit + 1) ? 0 : limit + 1);
    stream->readable = false; /* nothing can be there before an edge tells of it */
    if (result == 0) return 1;
    stream->needs = L_NEEDS_WRITE;
    return l_stream_wait(L, stream, POLL_WRITE, lua_gettop(L), connected);
}

/* socket_connect(ip, port, limit, place, own ip or nil, own port) -> stream, or nil, message,
 * code */
static int socket_connect(lua_State *L) {
    struct address peer, own = {0};
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
    struct address peer, own = {0};
    peer.size = l_checkpath(L, 1, &peer.storage);
    return connect_to(L, &own, &peer, 2);
}

/* ---- listening ---- */

static struct listener *check_listener(lua_State *L) {
    return l_check(L, l_runtime(L), 1, L_LISTENER);
}

/* Binds the listener on top and listens; 1, or a failure. */
static int start_listening(lua_State *L, struct listener *listener,
                           const struct sockaddr_storage *address, socklen_t size, int backlog) {
    if (bind(listener->fd, (const struct sockaddr *)address, size) < 0 ||
        listen(listener->fd, backlog) < 0) {
        int error = errno;
        close(listener->fd);
        listener->fd = -1;
        return l_push_errno(L, error);
    }
    return 1;
}

static struct listener *new_listener(lua_State *L, int family) {
    struct listener *listener = l_newobject(L, l_runtime(L), L_LISTENER, sizeof *listener, 0);
    listener->family = (sa_family_t)family;
    listener->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return listener;
}

/* socket_listen(ip, port, backlog, reuse_port) -> listener, or nil, message, code */
static int socket_listen(lua_State *L) {
    struct sockaddr_storage address;
    socklen_t size = l_checkaddress(L, 1, &address);
    int backlog = (int)luaL_optinteger(L, 3, 100);
    struct listener *listener = new_listener(L, address.ss_family);
    if (listener->fd < 0) return l_push_errno(L, errno);
    int on = 1;
    setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (address.ss_family == AF_INET6) {
        setsockopt(listener->fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    }
    if (lua_toboolean(L, 4) &&
        setsockopt(listener->fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0) {
        return l_push_errno(L, errno);
    }
    return start_listening(L, listener, &address, size, backlog);
}

/* A socket file that nobody listens on any more is in the way of one who wants to. */
static void remove_stale_socket(const struct sockaddr_storage *address, socklen_t size) {
    const char *path = ((const struct sockaddr_un *)(const void *)address)->sun_path;
    struct stat status;
    if (path[0] == '\0' || lstat(path, &status) < 0 || !S_ISSOCK(status.st_mode)) return;
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (probe < 0) return;
    if (connect(probe, (const struct sockaddr *)address, size) < 0 && errno == ECONNREFUSED) {
        unlink(path);
    }
    close(probe);
}

/* socket_listen_unix(path, backlog, mode) -> listener, or nil, message, code */
static int socket_listen_unix(lua_State *L) {
    struct sockaddr_storage address;
    socklen_t size = l_checkpath(L, 1, &address);
    int backlog = (int)luaL_optinteger(L, 2, 100);
    lua_Integer mode = luaL_optinteger(L, 3, -1);
    remove_stale_socket(&address, size);
    struct listener *listener = new_listener(L, AF_UNIX);
    if (listener->fd < 0) return l_push_errno(L, errno);
    /* on Linux the new file has the socket's mode: there is no moment with another */
    if (mode >= 0) fchmod(listener->fd, (mode_t)mode);
    int results = start_listening(L, listener, &address, size, backlog);
    if (results == 1 && mode >= 0) {
        chmod(((const struct sockaddr_un *)(const void *)&address)->sun_path, (mode_t)mode);
    }
    return results;
}

/* listener:accept(limit, place) -> stream, or nil, message, code ("EAGAIN": none waits) */
static int listener_accept(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    struct listener *listener = check_listener(L);
    lua_Integer limit = luaL_optinteger(L, 2, L_STREAM_LIMIT);
    lua_settop(L, 3);
    if (listener->fd < 0) return luaL_argerror(L, 1, "the listener is closed");
    struct l_loop *loop = l_task_push_loop(L, rt, "accept");
    int fd;
    do {
        fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    } while (fd < 0 && (errno == EINTR || errno == ECONNABORTED || errno == EPROTO));
    if (fd < 0) return l_push_errno(L, errno);
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* fails for Unix sockets */
    l_stream_new_kind(L, rt, -1, loop, fd, kind_of(listener->family), (size_t)limit,
                      lua_isnil(L, 3) ? 0 : 3);
    return 1;
}

static int listener_fileno(lua_State *L) {
    lua_pushinteger(L, check_listener(L)->fd);
    return 1;
}

static int listener_getsockname(lua_State *L) {
    return l_push_socket_name(L, check_listener(L)->fd, getsockname);
}

/* The descriptor must not be watched any more. */
static int listener_close(lua_State *L) {
    struct listener *listener = check_listener(L);
    if (listener->fd >= 0) close(listener->fd);
    listener->fd = -1;
    return 0;
}

/* socketpair([limit]) -> stream, stream */
static int socket_pair(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    lua_Integer limit = luaL_optinteger(L, 1, L_STREAM_LIMIT);
    int fds[2];
    lua_settop(L, 1);
    struct l_loop *loop = l_task_push_loop(L, rt, "socketpair");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0) {
        return l_push_errno(L, errno);
    }
    l_stream_new_kind(L, rt, 2, loop, fds[0], L_DESCRIPTOR_UNIX, (size_t)limit, 0);
    l_stream_new_kind(L, rt, 2, loop, fds[1], L_DESCRIPTOR_UNIX, (size_t)limit, 0);
    return 2;
}

void l_socket_open(lua_State *L, struct l_runtime *rt) {
    static const luaL_Reg methods[] = {{"accept", listener_accept},
                                       {"fileno", listener_fileno},
                                       {"getsockname", listener_getsockname},
                                       {"close", listener_close},
                                       {NULL, NULL}};
    static const luaL_Reg metamethods[] = {
        {"__gc", listener_close}, {"__close", listener_close}, {NULL, NULL}};
    static const luaL_Reg hooks[] = {
        {"socket_connect", socket_connect}, {"socket_connect_unix", socket_connect_unix},
        {"socket_listen", socket_listen},   {"socket_listen_unix", socket_listen_unix},
        {"socketpair", socket_pair},        {NULL, NULL}};
    l_newtype(L, rt, L_LISTENER, "listener", methods);
    l_setfuncs(L, rt, metamethods);
    l_pushshared(L, rt, L_SHARED_HOOKS);
    l_setfuncs(L, rt, hooks);
    lua_pop(L, 2);
}
