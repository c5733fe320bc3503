/* listener.c -- sockets that listen. */
#include "bindings/listener.h"
#include "bindings/handle.h"
#include "bindings/inventory.h"

#include "bindings/address.h"
#include "bindings/result.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { L_LISTENER_SERVICE = 1, L_LISTENER_USERVALUES = L_LISTENER_SERVICE };

struct l_listener {
    struct l_object object;
    struct l_runtime *rt;
    struct l_service *service; /* user value L_LISTENER_SERVICE; NULL before the start */
    struct watch watch;        /* stopped while it pauses */
    bool accepting;            /* it does not pause */
    bool by_method;            /* each batch is an add_reader of the loop's */
    int fd;                    /* -1 once closed */
    int slot;                  /* its anchor, from the start to the close */
    enum l_descriptor_kind kind;
    bool remove_file; /* of a Unix socket, at the close, if it is still this one: */
    dev_t device;
    ino_t inode;
};

/* ---- accepting ---- */

static void stop_watch(lua_State *L, struct l_listener *listener) {
    l_unwatch(L, listener->service->loop, &listener->watch, listener->fd, listener->by_method);
    listener->accepting = false;
}

/* Watches the socket of the listener at the index; 0 or -errno, or an error of the script's. */
static int start_watch(lua_State *L, int index, struct l_listener *listener, struct l_loop *loop) {
    int fd = listener->fd, result = 0;
    listener->by_method = l_watches_by_method(loop);
    if (!listener->by_method) {
        result = poller_start(&loop->loop.poller, &listener->watch, fd, POLL_READ);
    } else if (!l_watch_by_method(L, loop, index, &listener->watch, fd, POLL_READ)) {
        listener->accepting = false;
        lua_error(L);
    }
    listener->accepting = result == 0;
    return result;
}

/* The next connection's descriptor, or -errno; -EAGAIN when none waits.  What has gone
 * wrong with a connection before we took it is nobody's business. */
static int accept_next(const struct l_listener *listener) {
    for (;;) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) return fd;
        switch (errno) {
        case EINTR:
        case ECONNABORTED:
        case EPROTO:
        case ENOPROTOOPT:
        case ENETDOWN:
        case ENETUNREACH:
        case EHOSTDOWN:
        case EHOSTUNREACH:
        case ENONET:
        case EPERM: /* a firewall's */ continue;
        default: return -errno;
        }
    }
}

/* Trying on would fail again and again: the Lua half says when it resumes. */
static void accept_failed(struct l_listener *listener, int error) {
    struct l_service *service = listener->service;
    lua_State *L = service->loop->L;
    bool starved = error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
    stop_watch(L, listener);
    l_push_errno(L, error);
    lua_pushboolean(L, service->starved);
    lua_remove(L, -4); /* the nil */
    if (starved) l_service_starve(service);
    l_service_tell(service, starved ? "starved" : "broken", 3);
}

static void listener_ready(struct handle *handle) {
    struct l_listener *listener =
        container_of(container_of(handle, struct watch, handle), struct l_listener, watch);
    struct l_service *service = listener->service;
    if (!listener->accepting) return; /* a script's loop calls back what is over */
    lua_State *L = service->loop->L;
    int top = lua_gettop(L), left = service->batch;
    l_anchored(service->loop, listener->slot);
    lua_getiuservalue(L, -1, L_LISTENER_SERVICE);
    while (left-- > 0 && listener->accepting) {
        if (service->active >= service->most) {
            stop_watch(L, listener); /* until one of them has ended */
            break;
        }
        int fd = accept_next(listener);
        if (fd == -EAGAIN) {
            service->starved = false; /* none waits any more */
            break;
        }
        if (fd < 0) {
            accept_failed(listener, -fd);
            break;
        }
        l_service_accept(service, fd, listener->kind);
    }
    if (listener->by_method && listener->accepting) {
        start_watch(L, top + 1, listener, service->loop);
    }
    lua_settop(L, top);
}

/* ---- listening ---- */

static struct l_listener *check_listener(lua_State *L) {
    return l_check(L, 1, L_LISTENER);
}

/* A new listener without a socket, on top. */
static struct l_listener *new_listener(lua_State *L, enum l_descriptor_kind kind) {
    struct l_runtime *rt = l_runtime(L);
    struct l_listener *listener =
        l_newobject(L, rt, L_LISTENER, sizeof *listener, L_LISTENER_USERVALUES);
    listener->rt = rt;
    listener->fd = -1;
    listener->kind = kind;
    l_inventory_place(L, rt);
    watch_init(&listener->watch, listener_ready);
    return listener;
}

static int check_backlog(lua_State *L, int arg) {
    lua_Integer backlog = luaL_optinteger(L, arg, 100);
    return backlog < INT_MAX ? (int)backlog : INT_MAX;
}

static int close_and_push_errno(lua_State *L, struct l_listener *listener) {
    int error = errno;
    close(listener->fd);
    listener->fd = -1;
    return l_push_errno(L, error);
}

/* socket_listen(ip, port, backlog, reuse_port) -> listener, or nil, message, code */
static int socket_listen(lua_State *L) {
    struct sockaddr_storage address;
    socklen_t size = l_checkaddress(L, 1, &address);
    int backlog = check_backlog(L, 3), on = 1;
    struct l_listener *listener = new_listener(L, L_DESCRIPTOR_TCP);
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return l_push_errno(L, errno);
    listener->fd = fd;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* connections inherit it */
    if (address.ss_family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    }
    if ((lua_toboolean(L, 4) && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0) ||
        bind(fd, (const struct sockaddr *)&address, size) < 0 || listen(fd, backlog) < 0) {
        return close_and_push_errno(L, listener);
    }
    return 1;
}

static const char *path_of(const struct sockaddr_storage *address) {
    return ((const struct sockaddr_un *)(const void *)address)->sun_path;
}

/* Remembers which file the listener has made. */
static void note_file(struct l_listener *listener, const char *path) {
    struct stat status;
    if (path[0] == '\0' || lstat(path, &status) < 0) return;
    listener->device = status.st_dev;
    listener->inode = status.st_ino;
    listener->remove_file = true;
}

/* Removes the listener's file, unless another has been put in its place. */
static void remove_file(const struct l_listener *listener) {
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof address;
    struct stat status;
    if (getsockname(listener->fd, (struct sockaddr *)&address, &size) < 0) return;
    const char *path = path_of(&address);
    if (lstat(path, &status) == 0 && status.st_dev == listener->device &&
        status.st_ino == listener->inode) {
        unlink(path);
    }
}

/* socket_listen_unix(path, backlog, mode, keep_file) -> listener, or nil, message, code */
static int socket_listen_unix(lua_State *L) {
    struct sockaddr_storage address;
    socklen_t size = l_checkpath(L, 1, &address);
    const char *path = path_of(&address);
    int backlog = check_backlog(L, 2);
    lua_Integer mode = luaL_optinteger(L, 3, -1);
    struct l_listener *listener = new_listener(L, L_DESCRIPTOR_UNIX);
    l_remove_stale_socket(&address, size);
    listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener->fd < 0) return l_push_errno(L, errno);
    /* on Linux the new file has the socket's mode: there is no moment with another */
    if (mode >= 0) fchmod(listener->fd, (mode_t)mode);
    if (bind(listener->fd, (const struct sockaddr *)&address, size) < 0) {
        return close_and_push_errno(L, listener);
    }
    if (!lua_toboolean(L, 4)) note_file(listener, path);
    if ((mode >= 0 && path[0] != '\0' && chmod(path, (mode_t)mode) < 0) ||
        listen(listener->fd, backlog) < 0) {
        int error = errno;
        if (listener->remove_file) remove_file(listener);
        errno = error;
        return close_and_push_errno(L, listener);
    }
    return 1;
}

/* ---- its life ---- */

static void leave_loop(lua_State *L, struct l_listener *listener) {
    struct l_service *service = listener->service;
    if (service == NULL || service->loop->closed) {
        listener->service = NULL;
        return;
    }
    struct l_loop *loop = service->loop;
    stop_watch(L, listener);
    listener->service = NULL;
    loop->loop.listening--;
    l_unanchor_anywhere(L, loop, listener->slot);
}

/* listener:start(service): begins to accept -> true, or nil, message, code */
static int listener_start(lua_State *L) {
    struct l_listener *listener = check_listener(L);
    struct l_service *service = l_service_check(L, 2);
    luaL_argcheck(L, listener->fd >= 0 && listener->service == NULL, 1, "closed, or started");
    lua_settop(L, 2);
    lua_getiuservalue(L, 2, L_SERVICE_LOOP);
    lua_insert(L, 1); /* loop, listener, service */
    l_loop_check_open(L, 1);
    lua_setiuservalue(L, 2, L_LISTENER_SERVICE);
    listener->slot = l_anchor(L, -1, 1, service->loop);
    listener->service = service;
    service->loop->loop.listening++;
    int result = start_watch(L, 2, listener, service->loop);
    if (result < 0) {
        leave_loop(L, listener);
        return l_push_errno(L, -result);
    }
    lua_pushboolean(L, 1);
    return 1;
}

/* listener:resume(): accepts again after a pause */
static int listener_resume(lua_State *L) {
    struct l_listener *listener = check_listener(L);
    struct l_service *service = listener->service;
    if (service == NULL || service->loop->closed || listener->accepting) return 0;
    start_watch(L, 1, listener, service->loop);
    return 0;
}

static int listener_close(lua_State *L) {
    struct l_listener *listener = check_listener(L);
    if (listener->fd < 0) return 0;
    leave_loop(L, listener);
    if (listener->remove_file) remove_file(listener);
    close(listener->fd);
    listener->fd = -1;
    return 0;
}

static int listener_gc(lua_State *L) {
    struct l_listener *listener = check_listener(L);
    if (listener->fd >= 0 && lua_getiuservalue(L, 1, L_LISTENER_SERVICE) == LUA_TUSERDATA) {
        lua_getiuservalue(L, -1, L_SERVICE_PLACE);
        l_inventory_warn_collected(L, "a server");
    }
    return listener_close(L);
}

static int listener_fileno(lua_State *L) {
    lua_pushinteger(L, check_listener(L)->fd);
    return 1;
}

static int listener_getsockname(lua_State *L) {
    return l_push_socket_name(L, check_listener(L)->fd, getsockname);
}

void l_listener_open(lua_State *L, struct l_runtime *rt) {
    static const luaL_Reg methods[] = {{"start", listener_start},
                                       {"resume", listener_resume},
                                       {"close", listener_close},
                                       {"fileno", listener_fileno},
                                       {"getsockname", listener_getsockname},
                                       {NULL, NULL}};
    static const luaL_Reg metamethods[] = {
        {"__gc", listener_gc}, {"__close", listener_close}, {NULL, NULL}};
    static const luaL_Reg hooks[] = {
        {"socket_listen", socket_listen}, {"socket_listen_unix", socket_listen_unix}, {NULL, NULL}};
    l_newtype(L, rt, L_LISTENER, "listener", methods);
    l_setfuncs(L, rt, metamethods);
    l_pushshared(L, rt, L_SHARED_HOOKS);
    l_setfuncs(L, rt, hooks);
    lua_pop(L, 2);
}
