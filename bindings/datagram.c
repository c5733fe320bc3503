/* datagram.c -- packets: UDP and Unix datagram sockets, for tasks.
 *
 * Nothing is buffered here: a task that wants a datagram takes it from the kernel, one that
 * sends hands it over.  Where the kernel has none, or no room, tasks wait in line, one line
 * a direction: who came first is served first, and who comes while others wait goes to the
 * end.  A task keeps its place until it has run; only the first is ever woken, and whoever
 * is done with the socket wakes the next. */
#include "bindings/address.h"
#include "bindings/handle.h"
#include "bindings/inventory.h"
#include "bindings/open.h"
#include "bindings/result.h"
#include "bindings/stream.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

/* One direction of the socket. */
struct side {
    struct handle_queue line; /* of the tasks' places */
    bool ready;               /* not known to be drained or full */
};

struct l_datagram {
    struct l_object object;
    struct l_runtime *rt;
    struct l_loop *loop;
    struct watch watch; /* both directions, by edges */
    struct side receiving, sending;
    struct watch probe; /* see start_probe */
    int probe_fd;       /* -1: none */
    int fd;             /* -1 once closed */
    int family;
    bool connected;
    bool by_method; /* each wait is an add_reader or add_writer of the loop's */
};

enum { LOOP = 1, PLACE, USERVALUES = PLACE };

/* ---- the probe ---- */

static void stop_probe(struct l_datagram *self) {
    if (self->probe_fd < 0) return;
    if (watch_started(&self->probe)) poller_stop(&self->loop->loop.poller, &self->probe);
    close(self->probe_fd);
    self->probe_fd = -1;
}

/* The kernel wakes nobody when there is room in the queue of a Unix socket again, but those
 * who are connected to it.  So a socket that is connected to where the first in line sends
 * waits in the place of one that is not.  0 or errno. */
static int start_probe(struct l_datagram *self, const struct l_address *to) {
    struct pollfd own = {.fd = self->fd, .events = POLLOUT};
    if (poll(&own, 1, 0) == 0) return 0; /* it is our own buffer that is full */
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return errno;
    int error = connect(fd, (const struct sockaddr *)&to->storage, to->size) < 0 ? errno : 0;
    if (error == 0) {
        error = -poller_start(&self->loop->loop.poller, &self->probe, fd, POLL_WRITE);
    }
    if (error == 0) {
        self->probe_fd = fd;
    } else {
        close(fd);
    }
    return error;
}

/* ---- waiting ---- */

static void leave_receiving(struct l_task *task) {
    struct l_datagram *self = task->wait_on;
    self->loop->loop.outstanding--;
    l_task_leave_line(task);
}

static void leave_sending(struct l_task *task) {
    struct l_datagram *self = task->wait_on;
    self->loop->loop.outstanding--;
    if (self->probe_fd >= 0 && handle_queue_first(&self->sending.line) == &task->place) {
        stop_probe(self); /* the next in line may send to somebody else */
        self->sending.ready = true;
    }
    l_task_leave_line(task);
}

static const struct l_wait receiving_wait = {"a datagram", leave_receiving};
static const struct l_wait sending_wait = {"room to send a datagram", leave_sending};

static void wake(lua_State *L, struct l_datagram *self, struct l_task *task) {
    if (task->wait == NULL) return; /* it runs soon as it is */
    self->loop->loop.outstanding--;
    l_task_wake(L, task);
}

/* The first in line tries, if there may be something to get. */
static void wake_first(lua_State *L, struct l_datagram *self, struct side *side) {
    struct handle *first = handle_queue_first(&side->line);
    if (first == NULL || !side->ready) return;
    wake(L, self, container_of(first, struct l_task, place));
}

static void wake_everybody(lua_State *L, struct l_datagram *self, struct side *side) {
    struct handle *place;
    while ((place = handle_pop(&side->line)) != NULL) {
        if (!self->loop->closed) wake(L, self, container_of(place, struct l_task, place));
    }
}

/* While there is a probe our own edges tell nothing: each attempt to send makes one. */
static void descriptor_ready(struct handle *handle) {
    struct l_datagram *self =
        container_of(container_of(handle, struct watch, handle), struct l_datagram, watch);
    unsigned edges = self->watch.edges;
    self->watch.edges = 0;
    if (edges & EDGE_READ) self->receiving.ready = true;
    if ((edges & EDGE_WRITE) && self->probe_fd < 0) self->sending.ready = true;
    wake_first(self->loop->L, self, &self->receiving);
    wake_first(self->loop->L, self, &self->sending);
}

static void probe_writable(struct handle *handle) {
    struct l_datagram *self =
        container_of(container_of(handle, struct watch, handle), struct l_datagram, probe);
    stop_probe(self);
    self->sending.ready = true;
    wake_first(self->loop->L, self, &self->sending);
}

static struct l_task *endpoint_may_wait(lua_State *L, const struct l_datagram *self,
                                        const char *what) {
    return l_task_may_wait_for(L, self->rt, what, "endpoint", self->loop);
}

static void close_endpoint(lua_State *L, struct l_datagram *self);

/* If the loop's own methods fail the endpoint is closed. */
static void watch_by_method(lua_State *L, struct l_datagram *self, enum poll_direction direction) {
    if (l_watch_by_method(L, self->loop, 1, &self->watch, self->fd, direction)) return;
    close_endpoint(L, self);
    lua_error(L);
}

/* The socket has nothing for the task, which was the first: it stays that. */
static int wait_on(lua_State *L, struct l_datagram *self, struct l_task *task, struct side *side,
                   lua_KFunction continuation) {
    bool receives = side == &self->receiving;
    if (self->by_method) watch_by_method(L, self, receives ? POLL_READ : POLL_WRITE);
    l_task_leave_line(task);
    handle_push_front(&side->line, &task->place);
    self->loop->loop.outstanding++;
    return l_task_wait(L, task, receives ? &receiving_wait : &sending_wait, self, continuation);
}

static bool must_queue_up(lua_State *L, const struct l_datagram *self, const struct side *side) {
    return !handle_queue_empty(&side->line) || l_stream_out_of_budget(L, self->rt);
}

/* At the end of the line; whose line is empty has to let others run for a turn. */
static int queue_up(lua_State *L, struct l_datagram *self, struct l_task *task, struct side *side,
                    lua_KFunction continuation) {
    bool first = handle_queue_empty(&side->line);
    l_task_leave_line(task);
    handle_push(&side->line, &task->place);
    if (first) return l_task_wait(L, task, NULL, NULL, continuation);
    self->loop->loop.outstanding++;
    return l_task_wait(L, task, side == &self->receiving ? &receiving_wait : &sending_wait, self,
                       continuation);
}

static int closed_meanwhile(lua_State *L) {
    return l_push_failure(L, "ECANCELED", "the endpoint was closed");
}

/* A task goes on that stood in line: raises if it is cancelled.  Whether the endpoint is
 * still open. */
static bool resumed(lua_State *L, struct l_datagram *self, struct side *side) {
    struct l_task *task = l_task_resumed_one(L, self->rt);
    l_task_leave_line(task);
    if (task->throwing) wake_first(L, self, side);
    l_task_resumed(L, self->rt);
    return self->fd >= 0;
}

/* ---- receiving ---- */

struct packet {
    struct l_address from;
    char *data; /* in memory that is good until Lua runs again */
    bool cut_off;
};

/* Takes the next one from the kernel.  Its size, or -errno. */
static ssize_t receive(lua_State *L, struct l_datagram *self, struct packet *packet) {
    size_t size = L_STREAM_CHUNK; /* more than UDP has */
    packet->data = l_stream_scratch(L, self->rt);
    if (self->family == AF_UNIX) {
        ssize_t waiting = recv(self->fd, NULL, 0, MSG_PEEK | MSG_TRUNC);
        if (waiting > L_STREAM_CHUNK) {
            wake_first(L, self, &self->receiving); /* if memory runs out, it does for us only */
            size = (size_t)waiting;
            packet->data = lua_newuserdatauv(L, size, 0);
        }
    }
    struct iovec part = {.iov_base = packet->data, .iov_len = size};
    struct msghdr header = {.msg_name = &packet->from.storage,
                            .msg_namelen = sizeof packet->from.storage,
                            .msg_iov = &part,
                            .msg_iovlen = 1};
    ssize_t got;
    do {
        got = recvmsg(self->fd, &header, 0);
    } while (got < 0 && errno == EINTR);
    if (got < 0) return -errno;
    packet->from.size = header.msg_namelen;
    packet->cut_off = (header.msg_flags & MSG_TRUNC) != 0;
    return got;
}

static int receive_again(lua_State *L, int status, lua_KContext context);

static int receive_step(lua_State *L, struct l_datagram *self) {
    struct packet packet = {0};
    ssize_t got = self->receiving.ready ? receive(L, self, &packet) : -EAGAIN;
    if (got == -EAGAIN) {
        self->receiving.ready = false;
        struct l_task *task = endpoint_may_wait(L, self, "recvfrom");
        lua_settop(L, 1);
        return wait_on(L, self, task, &self->receiving, receive_again);
    }
    wake_first(L, self, &self->receiving);
    if (got < 0) return l_push_errno(L, (int)-got);
    if (packet.cut_off) { /* somebody else reads from the same socket */
        return l_push_failure(L, "EMSGSIZE", "the datagram was cut off");
    }
    lua_pushlstring(L, packet.data, (size_t)got);
    return 1 + l_push_address(L, &packet.from.storage, packet.from.size);
}

static int receive_again(lua_State *L, int status, lua_KContext context) {
    struct l_datagram *self = lua_touserdata(L, 1);
    (void)status, (void)context;
    if (!resumed(L, self, &self->receiving)) return closed_meanwhile(L);
    return receive_step(L, self);
}

static struct l_datagram *check(lua_State *L) {
    return l_check(L, 1, L_DATAGRAM);
}

static struct l_datagram *check_open(lua_State *L) {
    struct l_datagram *self = check(L);
    if (self->fd < 0) luaL_argerror(L, 1, "the endpoint is closed");
    return self;
}

/* endpoint:recvfrom() -> data, host, port (or path), or nil, message, code */
static int datagram_recvfrom(lua_State *L) {
    struct l_datagram *self = check_open(L);
    lua_settop(L, 1);
    if (must_queue_up(L, self, &self->receiving)) {
        struct l_task *task = endpoint_may_wait(L, self, "recvfrom");
        return queue_up(L, self, task, &self->receiving, receive_again);
    }
    return receive_step(L, self);
}

/* ---- sending ---- */

enum { DATA = 2, HOST, PORT };

/* Where the arguments, which were checked, say that the data goes. */
static struct l_address destination(lua_State *L, const struct l_datagram *self) {
    struct l_address to = {0};
    if (lua_isnil(L, HOST)) return to;
    if (self->family == AF_UNIX) {
        to.size = l_checkpath(L, HOST, &to.storage);
    } else {
        uint16_t port = (uint16_t)lua_tointeger(L, PORT);
        to.size = l_parse_address(lua_tostring(L, HOST), port, &to.storage);
    }
    return to;
}

static int send_again(lua_State *L, int status, lua_KContext context);

static int send_step(lua_State *L, struct l_datagram *self) {
    struct l_address to = destination(L, self);
    size_t length;
    const char *data = lua_tolstring(L, DATA, &length);
    int error = EAGAIN;
    if (self->sending.ready) {
        const struct sockaddr *address = to.size > 0 ? (const void *)&to.storage : NULL;
        do {
            error = sendto(self->fd, data, length, MSG_NOSIGNAL, address, to.size) < 0 ? errno : 0;
        } while (error == EINTR);
    }
    if (error == EAGAIN) {
        self->sending.ready = false;
        struct l_task *task = endpoint_may_wait(L, self, "sendto");
        bool unconnected = self->family == AF_UNIX && !self->connected;
        error = unconnected ? start_probe(self, &to) : 0;
        if (error == 0) return wait_on(L, self, task, &self->sending, send_again);
        self->sending.ready = true;
    }
    wake_first(L, self, &self->sending);
    if (error != 0) return l_push_errno(L, error);
    lua_pushboolean(L, 1);
    return 1;
}

static int send_again(lua_State *L, int status, lua_KContext context) {
    struct l_datagram *self = lua_touserdata(L, 1);
    (void)status, (void)context;
    if (!resumed(L, self, &self->sending)) return closed_meanwhile(L);
    return send_step(L, self);
}

/* Whether the address is that to which the socket is connected. */
static bool is_peer(lua_State *L, const struct l_datagram *self, const struct l_address *to) {
    int top = lua_gettop(L);
    int peer = l_push_socket_name(L, self->fd, getpeername);
    int other = l_push_address(L, &to->storage, to->size);
    bool same = peer == other;
    for (int i = 1; same && i <= peer; i++) same = lua_rawequal(L, top + i, top + peer + i);
    lua_settop(L, top);
    return same;
}

/* All is known: sends. */
static int send_known(lua_State *L, struct l_datagram *self) {
    if (self->connected && !lua_isnil(L, HOST)) {
        struct l_address to = destination(L, self);
        luaL_argcheck(L, is_peer(L, self, &to), HOST,
                      "the endpoint is connected to another address");
    }
    if (must_queue_up(L, self, &self->sending)) {
        struct l_task *task = endpoint_may_wait(L, self, "sendto");
        return queue_up(L, self, task, &self->sending, send_again);
    }
    return send_step(L, self);
}

/* endpoint, data, host, port, and what the resolver said: address, or nil, message, code */
static int resolved(lua_State *L, int status, lua_KContext context) {
    struct l_datagram *self = lua_touserdata(L, 1);
    (void)status, (void)context;
    if (lua_isnil(L, PORT + 1)) return 3;
    lua_settop(L, PORT + 1);
    lua_replace(L, HOST);
    if (self->fd < 0) return closed_meanwhile(L);
    return send_known(L, self);
}

/* endpoint:sendto(data[, host, port]), or (data[, path]) -> true, or nil, message, code */
static int datagram_sendto(lua_State *L) {
    struct l_datagram *self = check_open(L);
    luaL_checkstring(L, DATA);
    lua_settop(L, PORT);
    if (lua_isnil(L, HOST)) {
        luaL_argcheck(L, self->connected, HOST, "address expected: the endpoint is not connected");
        return send_known(L, self);
    }
    struct l_address to;
    if (self->family == AF_UNIX) {
        l_checkpath(L, HOST, &to.storage);
        return send_known(L, self);
    }
    size_t length;
    const char *host = luaL_checklstring(L, HOST, &length);
    luaL_argcheck(L, strlen(host) == length, HOST, "host contains zeros");
    lua_Integer port = luaL_checkinteger(L, PORT);
    luaL_argcheck(L, port >= 0 && port <= 65535, PORT, "port out of range");
    if (l_parse_address(host, 0, &to.storage) > 0) return send_known(L, self);
    l_pushhook(L, self->rt, "datagram_address");
    lua_pushvalue(L, HOST);
    lua_pushstring(L, self->family == AF_INET6 ? "inet6" : "inet");
    lua_callk(L, 2, 3, 0, resolved);
    return resolved(L, LUA_OK, 0);
}

/* ---- life ---- */

static void close_endpoint(lua_State *L, struct l_datagram *self) {
    int fd = self->fd;
    if (fd < 0) return;
    stop_probe(self);
    l_unwatch(L, self->loop, &self->watch, fd, self->by_method);
    self->fd = -1;
    close(fd);
    l_descriptor_freed(self->rt);
    l_inventory_remove(L, self->rt, self);
    wake_everybody(L, self, &self->receiving);
    wake_everybody(L, self, &self->sending);
}

static int datagram_close(lua_State *L) {
    close_endpoint(L, check(L));
    return 0;
}

static int datagram_gc(lua_State *L) {
    struct l_datagram *self = check(L);
    if (self->fd < 0) return 0;
    lua_getiuservalue(L, 1, PLACE);
    l_inventory_warn_collected(L, "a datagram endpoint");
    close_endpoint(L, self);
    return 0;
}

static int datagram_fileno(lua_State *L) {
    lua_pushinteger(L, check(L)->fd);
    return 1;
}

static int datagram_is_closed(lua_State *L) {
    lua_pushboolean(L, check(L)->fd < 0);
    return 1;
}

static int datagram_getsockname(lua_State *L) {
    return l_push_socket_name(L, check_open(L)->fd, getsockname);
}

static int datagram_getpeername(lua_State *L) {
    return l_push_socket_name(L, check_open(L)->fd, getpeername);
}

static int datagram_tostring(lua_State *L) {
    struct l_datagram *self = check(L);
    if (self->fd < 0) {
        lua_pushliteral(L, "datagram endpoint (closed)");
    } else {
        lua_pushfstring(L, "datagram endpoint (descriptor %d)", self->fd);
    }
    return 1;
}

/* ---- opening ---- */

/* A new endpoint on top, without a socket; the loop that runs is below it. */
static struct l_datagram *new_endpoint(lua_State *L, struct l_runtime *rt, int family, int place) {
    struct l_loop *loop = l_task_push_loop(L, rt, "create_datagram_endpoint");
    l_stream_scratch(L, rt); /* while nobody waits for us to go on */
    struct l_datagram *self = l_newobject(L, rt, L_DATAGRAM, sizeof *self, USERVALUES);
    self->fd = self->probe_fd = -1;
    self->rt = rt;
    self->loop = loop;
    self->family = family;
    handle_queue_init(&self->receiving.line);
    handle_queue_init(&self->sending.line);
    watch_init(&self->watch, descriptor_ready);
    watch_init(&self->probe, probe_writable);
    self->receiving.ready = self->sending.ready = true;
    lua_pushvalue(L, -2);
    lua_setiuservalue(L, -2, LOOP);
    lua_pushvalue(L, place);
    lua_setiuservalue(L, -2, PLACE);
    return self;
}

struct options {
    struct l_address own, peer;
    int reuse_port, broadcast;
};

/* The socket of the endpoint: 0 or errno. */
static int open_socket(struct l_datagram *self, const struct options *options) {
    const struct l_address *own = &options->own, *peer = &options->peer;
    int fd = self->fd = socket(self->family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return errno;
    if ((options->reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &options->reuse_port,
                                           sizeof options->reuse_port) < 0) ||
        (options->broadcast && setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &options->broadcast,
                                          sizeof options->broadcast) < 0)) {
        return errno;
    }
    if (own->size > 0) {
        if (self->family == AF_UNIX) l_remove_stale_socket(&own->storage, own->size);
        if (bind(fd, (const struct sockaddr *)&own->storage, own->size) < 0) return errno;
    }
    int error = 0;
    if (peer->size > 0) {
        self->connected = connect(fd, (const struct sockaddr *)&peer->storage, peer->size) == 0;
        error = self->connected ? 0 : errno;
    }
    if (error == 0) {
        self->by_method = l_watches_by_method(self->loop);
        if (!self->by_method) {
            error = -poller_start_edges(&self->loop->loop.poller, &self->watch, fd);
        }
    }
    const char *path = ((const struct sockaddr_un *)(const void *)&own->storage)->sun_path;
    if (error != 0 && self->family == AF_UNIX && own->size > 0 && path[0] != '\0') unlink(path);
    return error;
}

static struct l_address check_address(lua_State *L, int arg, int family) {
    struct l_address address = {0};
    if (lua_isnil(L, arg)) return address;
    address.size = family == AF_UNIX ? l_checkpath(L, arg, &address.storage)
                                     : l_checkaddress(L, arg, &address.storage);
    return address;
}

/* datagram_open("inet" "inet6" or "unix", own host or path or nil, own port, peer's host or
 * path or nil, peer's port, reuse_port, broadcast, place) -> endpoint, or nil, message, code */
static int datagram_open(lua_State *L) {
    static const char *const families[] = {"inet", "inet6", "unix", NULL};
    static const int family_numbers[] = {AF_INET, AF_INET6, AF_UNIX};
    enum { FAMILY = 1, OWN, PEER = 4, REUSE_PORT = 6, BROADCAST, OPENED_AT };
    lua_settop(L, OPENED_AT);
    int family = family_numbers[luaL_checkoption(L, FAMILY, NULL, families)];
    struct options options = {.own = check_address(L, OWN, family),
                              .peer = check_address(L, PEER, family),
                              .reuse_port = lua_toboolean(L, REUSE_PORT),
                              .broadcast = lua_toboolean(L, BROADCAST)};
    struct l_datagram *self = new_endpoint(L, l_runtime(L), family, OPENED_AT);
    int error = open_socket(self, &options);
    if (error == 0) {
        l_inventory_add(L, self->rt, "datagram endpoint", OPENED_AT);
        return 1;
    }
    close_endpoint(L, self);
    return l_push_errno(L, error);
}

void l_datagram_open(lua_State *L, struct l_runtime *rt) {
    static const luaL_Reg methods[] = {{"recvfrom", datagram_recvfrom},
                                       {"sendto", datagram_sendto},
                                       {"close", datagram_close},
                                       {"is_closed", datagram_is_closed},
                                       {"getsockname", datagram_getsockname},
                                       {"getpeername", datagram_getpeername},
                                       {"fileno", datagram_fileno},
                                       {NULL, NULL}};
    static const luaL_Reg metamethods[] = {{"__gc", datagram_gc},
                                           {"__close", datagram_close},
                                           {"__tostring", datagram_tostring},
                                           {NULL, NULL}};
    static const luaL_Reg hooks[] = {{"datagram_open", datagram_open}, {NULL, NULL}};
    l_newtype(L, rt, L_DATAGRAM, "datagram", methods);
    l_setfuncs(L, rt, metamethods);
    l_pushshared(L, rt, L_SHARED_HOOKS);
    l_setfuncs(L, rt, hooks);
    lua_pop(L, 2);
}
