/* names.c -- tasks wait for what the resolver finds.
 *
 * A loop's resolver is made by its first query and freed when the loop is closed. */
#include "bindings/address.h"
#include "bindings/open.h"
#include "bindings/result.h"
#include "bindings/task.h"

#include "host/resolver.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct l_resolver {
    struct handle closer;
    struct l_loop *loop;
    struct resolver *resolver;
};

/* What a task waits for; on its stack. */
struct l_query {
    struct l_object object;
    struct query *query;
    struct l_loop *loop;
    struct l_task *waiting;
};

static void close_resolver(struct handle *closer) {
    struct l_resolver *self = container_of(closer, struct l_resolver, closer);
    resolver_free(self->resolver);
    self->loop->resolver = NULL;
    free(self);
}

/* The loop's resolver, or NULL with errno set. */
static struct resolver *resolver_of(struct l_loop *loop, const char *servers) {
    if (loop->resolver != NULL) return loop->resolver->resolver;
    struct l_resolver *self = calloc(1, sizeof *self);
    struct resolver *resolver = self != NULL ? resolver_new(&loop->loop, servers) : NULL;
    if (resolver == NULL) {
        free(self);
        return NULL;
    }
    *self = (struct l_resolver){.loop = loop, .resolver = resolver};
    handle_init(&self->closer, close_resolver);
    loop_call_at_close(&loop->loop, &self->closer);
    loop->resolver = self;
    return resolver;
}

/* Takes the waiting task out of the query. */
static struct l_task *take_waiting(struct l_query *self) {
    struct l_task *task = self->waiting;
    if (task != NULL) self->loop->loop.outstanding--;
    self->waiting = NULL;
    return task;
}

static void leave(struct l_task *task) {
    struct l_query *self = task->wait_on;
    take_waiting(self);
    query_free(self->query);
    self->query = NULL;
}

static const struct l_wait query_wait = {"getaddrinfo", leave};

static void answered(struct query *query) {
    struct l_query *self = query->owner;
    struct l_task *task = take_waiting(self);
    if (task == NULL || self->loop->closed) return; /* a closed loop has forgotten its tasks */
    l_task_wake(self->loop->L, task);
}

/* Pushes the list { family=, address=, port= }, ... */
static int push_addresses(lua_State *L, const struct query *query) {
    lua_createtable(L, (int)query->count, 0);
    for (size_t i = 0; i < query->count; i++) {
        const struct sockaddr_storage *address = &query->addresses[i];
        lua_createtable(L, 0, 3);
        lua_pushstring(L, address->ss_family == AF_INET6 ? "inet6" : "inet");
        lua_setfield(L, -2, "family");
        l_push_address(L, address, sizeof *address);
        lua_setfield(L, -3, "port");
        lua_setfield(L, -2, "address");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static int push_answer(lua_State *L, const struct query *query) {
    if (query->code == NULL) return push_addresses(L, query);
    return l_push_failure(L, query->code, query->text);
}

enum { QUERY = 6 }; /* its stack index */

static int resumed(lua_State *L, int status, lua_KContext context) {
    struct l_query *self = lua_touserdata(L, QUERY);
    (void)status, (void)context;
    l_task_resumed(L, l_runtime(L));
    return push_answer(L, self->query);
}

/* resolve(node, service or nil, "inet" "inet6" or nil, "stream" or "dgram", servers or nil)
 * -> list, or nil, message, code */
static int resolve(lua_State *L) {
    static const char *const families[] = {"inet", "inet6", "any", NULL};
    static const int family_numbers[] = {AF_INET, AF_INET6, AF_UNSPEC};
    static const char *const types[] = {"stream", "dgram", NULL};
    struct l_runtime *rt = l_runtime(L);
    struct question question = {
        .node = luaL_checkstring(L, 1),
        .service = luaL_optstring(L, 2, NULL),
        .family = family_numbers[luaL_checkoption(L, 3, "any", families)],
        .socktype = luaL_checkoption(L, 4, "stream", types) == 0 ? SOCK_STREAM : SOCK_DGRAM,
    };
    const char *servers = luaL_optstring(L, 5, NULL);
    lua_settop(L, QUERY - 1);
    struct l_task *task = l_task_may_wait(L, rt, "getaddrinfo", NULL);
    struct l_loop *loop = task->future.loop;
    struct l_query *self = l_newobject(L, rt, L_QUERY, sizeof *self, 0);
    self->loop = loop;
    struct resolver *resolver = resolver_of(loop, servers);
    if (resolver == NULL) {
        return l_push_failure(L, "EAI_SYSTEM", "the resolver could not be made");
    }
    self->query = resolver_ask(resolver, &question, answered, self);
    if (self->query == NULL) return l_push_errno(L, ENOMEM);
    if (!self->query->pending) return push_answer(L, self->query);
    self->waiting = task;
    loop->loop.outstanding++;
    return l_task_wait(L, task, &query_wait, self, resumed);
}

static int query_gc(lua_State *L) {
    struct l_query *self = lua_touserdata(L, 1);
    query_free(self->query);
    self->query = NULL;
    return 0;
}

/* is_numeric_address(text) -> "inet", "inet6" or nil */
static int is_numeric_address(lua_State *L) {
    struct sockaddr_storage address;
    if (l_parse_address(luaL_checkstring(L, 1), 0, &address) == 0) return 0;
    lua_pushstring(L, address.ss_family == AF_INET6 ? "inet6" : "inet");
    return 1;
}

void l_names_open(lua_State *L, struct l_runtime *rt) {
    static const luaL_Reg none[] = {{NULL, NULL}};
    static const luaL_Reg metamethods[] = {{"__gc", query_gc}, {NULL, NULL}};
    static const luaL_Reg hooks[] = {
        {"resolve", resolve}, {"is_numeric_address", is_numeric_address}, {NULL, NULL}};
    l_newtype(L, rt, L_QUERY, "query", none);
    l_setfuncs(L, rt, metamethods);
    l_pushshared(L, rt, L_SHARED_HOOKS);
    l_setfuncs(L, rt, hooks);
    lua_pop(L, 2);
}
