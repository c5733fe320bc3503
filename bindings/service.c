/* service.c -- a task for each connection, and what is done at its end.
 *
 * On the way of a connection that comes, is served and goes nothing is Lua's but the
 * handler: the end of its task is a callback of the core's inside the stream itself. */
#include "bindings/listener.h"

#include "bindings/context.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

enum { L_CONNECTION_TASK = L_STREAM_USERVALUES + 1, L_CONNECTION_USERVALUES = L_CONNECTION_TASK };

/* A connection that was accepted, on its way to its handler. */
struct arrival {
    struct l_service *service;
    struct l_connection *connection; /* once there is one */
    int fd;                          /* -1 once it is the stream's */
    enum l_descriptor_kind kind;
};

/* The context of the service, which is at the index, becomes that of callbacks; the former one
 * stands on top until both are swapped again. */
static void enter_context(lua_State *L, const struct l_service *service, int index) {
    lua_getiuservalue(L, index, L_SERVICE_CONTEXT);
    l_context_swap(L, service->rt);
}

void l_service_tell(struct l_service *service, const char *what, int arguments) {
    lua_State *L = service->loop->L;
    int first = lua_gettop(L) - arguments; /* the service; what is told stands above */
    enter_context(L, service, first);
    lua_getiuservalue(L, first, L_SERVICE_TELL);
    lua_pushstring(L, what);
    for (int i = 1; i <= arguments; i++) lua_pushvalue(L, first + i);
    l_loop_call(service->loop, arguments + 1, "Exception in a server", NULL, 0);
    lua_settop(L, first + arguments + 1);
    l_context_swap(L, service->rt);
    lua_settop(L, first - 1);
}

static bool is_idle(const struct l_service *service) {
    return service->active == 0 && service->leaving == 0;
}

/* The connection, which is counted no more, is over. */
static void forget(struct l_connection *connection) {
    struct l_service *service = connection->service;
    if (connection->slot != 0) l_unanchor(service->loop, connection->slot);
    if (is_idle(service)) l_unanchor(service->loop, service->slot);
}

static void connection_left(struct handle *handle) {
    struct l_connection *connection = container_of(handle, struct l_connection, ended);
    struct l_service *service = connection->service;
    lua_State *L = service->loop->L;
    int top = lua_gettop(L);
    l_anchored(service->loop, service->slot);
    service->leaving--;
    forget(connection);
    lua_pushnil(L);
    if (is_idle(service)) l_service_tell(service, "ended", 1);
    lua_settop(L, top);
}

/* Its handler has ended, or never began.  What its channel still has to say goes on: then it
 * is over when that is. */
static void leave(struct l_connection *connection) {
    struct l_closing *closing = connection->stream.closing;
    connection->service->active--;
    if (closing == NULL) {
        forget(connection);
        return;
    }
    connection->service->leaving++;
    handle_init(&connection->ended, connection_left);
    closing->over = &connection->ended;
}

static void connection_ended(struct handle *handle) {
    struct l_connection *connection = container_of(handle, struct l_connection, ended);
    struct l_service *service = connection->service;
    lua_State *L = service->loop->L;
    int top = lua_gettop(L);
    l_anchored(service->loop, service->slot);
    l_anchored(service->loop, connection->slot);
    lua_getiuservalue(L, -1, L_CONNECTION_TASK);
    enum l_future_state state = ((struct l_future *)lua_touserdata(L, -1))->state;
    lua_pushnil(L);
    lua_setiuservalue(L, -3, L_CONNECTION_TASK);
    lua_remove(L, -2); /* service, task */
    if (state != L_FINISHED) l_stream_close(L, &connection->stream);
    bool was_full = service->active == service->most;
    leave(connection);
    if (state != L_FAILED) {
        lua_pop(L, 1);
        lua_pushnil(L);
    }
    if (state == L_FAILED || was_full || is_idle(service)) l_service_tell(service, "ended", 1);
    lua_settop(L, top);
}

/* service, loop, connection -> ..., its task */
static struct l_future *start_handler(lua_State *L, struct l_service *service) {
    if ((service->loop->overrides & L_OVERRIDE_CREATE_TASK) == 0) {
        lua_getiuservalue(L, 1, L_SERVICE_FUNCTION);
        lua_pushvalue(L, 3);
        return &l_task_create(L, service->loop, 4, 0)->future;
    }
    lua_getfield(L, 2, "create_task");
    lua_pushvalue(L, 2);
    lua_getiuservalue(L, 1, L_SERVICE_FUNCTION);
    lua_pushvalue(L, 3);
    lua_call(L, 3, 1);
    struct l_future *future = l_future_test(L, -1);
    if (future == NULL || future->loop != service->loop) {
        luaL_error(L, "create_task() must return a Task of the loop");
    }
    return future;
}

/* service, arrival: in protected mode, as memory may run out anywhere */
static int serve(lua_State *L) {
    struct arrival *arrival = lua_touserdata(L, 2);
    struct l_service *service = arrival->service;
    lua_settop(L, 1);
    lua_getiuservalue(L, 1, L_SERVICE_LOOP);
    struct l_connection *connection =
        l_stream_prepare(L, service->rt, sizeof *connection, L_CONNECTION_USERVALUES);
    if (is_idle(service)) service->slot = l_anchor(L, 1, 2, service->loop);
    service->active++;
    connection->service = service;
    arrival->connection = connection;
    connection->slot = l_anchor(L, -1, 2, service->loop);
    int fd = arrival->fd;
    arrival->fd = -1;
    lua_getiuservalue(L, 1, L_SERVICE_PLACE);
    int result = l_stream_start(L, 3, 2, fd, arrival->kind, service->limit, 4, "stream");
    if (result < 0) luaL_error(L, "cannot watch descriptor %d: %s", fd, strerror(-result));
    lua_settop(L, 3);
    struct l_future *task = start_handler(L, service);
    lua_setiuservalue(L, 3, L_CONNECTION_TASK);
    handle_init(&connection->ended, connection_ended);
    if (task->state == L_PENDING) {
        handle_push(&task->callbacks, &connection->ended);
    } else {
        loop_call_soon(&service->loop->loop, &connection->ended);
    }
    return 0;
}

/* What `serve` had done before it failed is undone; the error is on top. */
static void give_up(lua_State *L, const struct arrival *arrival) {
    if (arrival->fd >= 0) close(arrival->fd);
    if (arrival->connection != NULL) {
        l_stream_close(L, &arrival->connection->stream);
        leave(arrival->connection);
    }
    l_loop_report(arrival->service->loop, "Exception while accepting a connection", NULL, 0);
}

void l_service_accept(struct l_service *service, int fd, enum l_descriptor_kind kind) {
    struct arrival arrival = {.service = service, .fd = fd, .kind = kind};
    lua_State *L = service->loop->L;
    int self = lua_gettop(L);
    enter_context(L, service, self);
    lua_pushcfunction(L, serve); /* which cannot fail, unlike one with upvalues */
    lua_pushvalue(L, self);
    lua_pushlightuserdata(L, &arrival);
    if (lua_pcall(L, 2, 0, L_FRAME_HANDLER) != LUA_OK) give_up(L, &arrival);
    lua_settop(L, self + 1);
    l_context_swap(L, service->rt);
    lua_settop(L, self);
}

/* ---- when descriptors have run out ---- */

static void freed(struct handle *handle) {
    struct l_service *service = container_of(handle, struct l_service, freed);
    if (is_idle(service)) return; /* the Lua half tries again by itself */
    l_anchored(service->loop, service->slot);
    l_service_tell(service, "freed", 0);
}

/* A descriptor was closed, maybe in the middle of anything: it is for the next turn. */
static void wake(struct handle *handle) {
    struct l_service *service = container_of(handle, struct l_service, freed);
    handle->run = freed;
    loop_call_soon(&service->loop->loop, handle);
}

void l_service_starve(struct l_service *service) {
    service->starved = true;
    if (handle_queued(&service->freed)) return;
    service->freed.run = wake;
    handle_push(&service->rt->starved, &service->freed);
}

/* ---- for Lua ---- */

struct l_service *l_service_check(lua_State *L, int index) {
    return l_check(L, index, L_SERVICE);
}

/* service(loop, fn, tell, place, limit, most, batch) -> service */
static int service_new(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    struct l_loop *loop = l_loop_check_open(L, 1);
    lua_Integer limit = luaL_optinteger(L, 5, L_STREAM_LIMIT);
    lua_Integer most = luaL_optinteger(L, 6, LUA_MAXINTEGER);
    lua_Integer batch = luaL_checkinteger(L, 7);
    lua_settop(L, 4);
    struct l_service *service =
        l_newobject(L, rt, L_SERVICE, sizeof *service, L_SERVICE_USERVALUES);
    service->rt = rt;
    service->loop = loop;
    service->limit = (size_t)limit;
    service->most = (size_t)most;
    service->batch = batch < INT_MAX ? (int)batch : INT_MAX;
    handle_init(&service->freed, wake);
    lua_insert(L, 1);
    l_context_push(L, rt);
    if (lua_isnil(L, -1)) { /* none was ever set */
        lua_pop(L, 1);
        lua_pushboolean(L, 0);
    }
    for (int i = L_SERVICE_USERVALUES; i >= 1; i--) lua_setiuservalue(L, 1, i);
    return 1;
}

/* service:active() -> how many connections have a handler */
static int service_active(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)l_service_check(L, 1)->active);
    return 1;
}

/* service:is_idle() -> whether no connection has a handler, nor takes its leave */
static int service_is_idle(lua_State *L) {
    lua_pushboolean(L, is_idle(l_service_check(L, 1)));
    return 1;
}

/* Nobody waits any more for descriptors to come free. */
static int service_close(lua_State *L) {
    struct l_service *service = l_service_check(L, 1);
    if (handle_queued(&service->freed)) handle_unlink(&service->freed);
    return 0;
}

void l_service_open(lua_State *L, struct l_runtime *rt) {
    static const luaL_Reg methods[] = {{"active", service_active},
                                       {"is_idle", service_is_idle},
                                       {"close", service_close},
                                       {NULL, NULL}};
    static const luaL_Reg metamethods[] = {{"__gc", service_close}, {NULL, NULL}};
    static const luaL_Reg hooks[] = {{"service", service_new}, {NULL, NULL}};
    l_newtype(L, rt, L_SERVICE, "service", methods);
    l_setfuncs(L, rt, metamethods);
    l_pushshared(L, rt, L_SHARED_HOOKS);
    l_setfuncs(L, rt, hooks);
    lua_pop(L, 2);
}
