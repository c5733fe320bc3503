/* resolver.c -- c-ares between the poller and the timers.
 *
 * c-ares tells which sockets it wants watched, whenever that changes; and when it next
 * wants to be called because of the time, which is asked for after whatever may have
 * changed it. */
#include "host/resolver.h"

#include <ares.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char configuration[] = "/etc/resolv.conf";

struct resolver_socket {
    struct resolver *resolver;
    struct resolver_socket *next;
    struct watch reader, writer;
    int fd;
};

struct resolver {
    struct loop *loop;
    ares_channel channel;
    struct timer timer; /* for c-ares's time-outs */
    struct resolver_socket *sockets;
    size_t pending; /* queries that c-ares has */
    size_t wanted;  /* those of them that were not given up */
    bool busy;      /* c-ares is at work, and may be calling us */
    bool deaf;      /* memory did not suffice to watch a socket */
    char *servers;
    struct timespec configured; /* the configuration's time when it was read */
};

/* ---- time-outs ---- */

static void arm_timer(struct resolver *resolver) {
    struct timeval left;
    loop_cancel_timer(resolver->loop, &resolver->timer);
    if (ares_timeout(resolver->channel, NULL, &left) == NULL) return;
    int64_t left_ns = (int64_t)left.tv_sec * NS_PER_S + (int64_t)left.tv_usec * 1000;
    if (!loop_call_at(resolver->loop, &resolver->timer, loop_now(resolver->loop) + left_ns)) {
        loop_call_soon(resolver->loop, &resolver->timer.handle); /* and has another try then */
    }
}

/* After whatever may have changed things.  Queries that nobody waits for would keep their
 * sockets and the timer for a long time: where there are no others, they end.  So do all of
 * them when the answers to some would not be heard. */
static void settle(struct resolver *resolver) {
    if ((resolver->wanted == 0 || resolver->deaf) && resolver->pending > 0) {
        resolver->busy = true;
        ares_cancel(resolver->channel);
        resolver->busy = false;
    }
    resolver->deaf = false;
    arm_timer(resolver);
}

static void process(struct resolver *resolver, int readable_fd, int writable_fd) {
    resolver->busy = true;
    ares_process_fd(resolver->channel, readable_fd, writable_fd);
    resolver->busy = false;
    settle(resolver);
}

static void timer_run(struct handle *handle) {
    struct resolver *resolver =
        container_of(container_of(handle, struct timer, handle), struct resolver, timer);
    process(resolver, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

/* ---- sockets ---- */

static void socket_readable(struct handle *handle) {
    struct resolver_socket *self =
        container_of(container_of(handle, struct watch, handle), struct resolver_socket, reader);
    process(self->resolver, self->fd, ARES_SOCKET_BAD);
}

static void socket_writable(struct handle *handle) {
    struct resolver_socket *self =
        container_of(container_of(handle, struct watch, handle), struct resolver_socket, writer);
    process(self->resolver, ARES_SOCKET_BAD, self->fd);
}

static struct resolver_socket *find_socket(struct resolver *resolver, int fd) {
    struct resolver_socket *found = resolver->sockets;
    while (found != NULL && found->fd != fd) found = found->next;
    if (found != NULL) return found;
    found = calloc(1, sizeof *found);
    if (found == NULL) return NULL;
    found->resolver = resolver;
    found->fd = fd;
    watch_init(&found->reader, socket_readable);
    watch_init(&found->writer, socket_writable);
    found->next = resolver->sockets;
    resolver->sockets = found;
    return found;
}

static void forget_socket(struct resolver *resolver, struct resolver_socket *gone) {
    struct resolver_socket **link = &resolver->sockets;
    while (*link != gone) link = &(*link)->next;
    *link = gone->next;
    free(gone);
}

/* False: it cannot be watched. */
static bool set_watch(struct poller *poller, struct watch *watch, int fd,
                      enum poll_direction direction, bool wanted) {
    if (wanted == watch_started(watch)) return true;
    if (wanted) return poller_start(poller, watch, fd, direction) == 0;
    poller_stop(poller, watch);
    return true;
}

static void socket_changed(void *arg, ares_socket_t fd, int readable, int writable) {
    struct resolver *resolver = arg;
    struct resolver_socket *self = find_socket(resolver, fd);
    struct poller *poller = &resolver->loop->poller;
    bool hears = self != NULL && set_watch(poller, &self->reader, fd, POLL_READ, readable) &&
                 set_watch(poller, &self->writer, fd, POLL_WRITE, writable);
    if (!hears && (readable || writable)) resolver->deaf = true;
    if (self != NULL && !readable && !writable) forget_socket(resolver, self);
}

/* ---- the channel ---- */

static struct timespec configuration_time(void) {
    struct stat status;
    if (stat(configuration, &status) < 0) return (struct timespec){0};
    return status.st_mtim;
}

static int open_channel(struct resolver *resolver) {
    struct ares_options options = {.sock_state_cb = socket_changed, .sock_state_cb_data = resolver};
    resolver->configured = configuration_time();
    int status = ares_init_options(&resolver->channel, &options, ARES_OPT_SOCK_STATE_CB);
    if (status != ARES_SUCCESS || resolver->servers == NULL) return status;
    status = ares_set_servers_ports_csv(resolver->channel, resolver->servers);
    if (status != ARES_SUCCESS) ares_destroy(resolver->channel);
    return status;
}

/* Reads the configuration again if it has changed. */
static void refresh_channel(struct resolver *resolver) {
    struct timespec now = configuration_time();
    if (now.tv_sec == resolver->configured.tv_sec && now.tv_nsec == resolver->configured.tv_nsec) {
        return;
    }
    ares_channel old = resolver->channel;
    if (open_channel(resolver) == ARES_SUCCESS) {
        ares_destroy(old);
    } else {
        resolver->channel = old;
    }
}

struct resolver *resolver_new(struct loop *loop, const char *servers) {
    struct resolver *resolver = calloc(1, sizeof *resolver);
    if (resolver == NULL) return NULL;
    resolver->loop = loop;
    timer_init(&resolver->timer, timer_run);
    if (servers != NULL) resolver->servers = strdup(servers);
    if ((servers != NULL && resolver->servers == NULL) || open_channel(resolver) != ARES_SUCCESS) {
        free(resolver->servers);
        free(resolver);
        return NULL;
    }
    return resolver;
}

void resolver_free(struct resolver *resolver) {
    resolver->busy = true;
    ares_destroy(resolver->channel); /* calls back all that is under way, closes its sockets */
    loop_cancel_timer(resolver->loop, &resolver->timer);
    free(resolver->servers);
    free(resolver);
}

/* ---- queries ---- */

static const char *failure_code(int status) {
    switch (status) {
    case ARES_ENOTFOUND:
    case ARES_EBADNAME: return "EAI_NONAME";
    case ARES_ENODATA: return "EAI_NODATA";
    case ARES_ESERVICE: return "EAI_SERVICE";
    case ARES_EBADFAMILY: return "EAI_FAMILY";
    case ARES_ENOMEM: return "EAI_MEMORY";
    case ARES_ETIMEOUT:
    case ARES_ECONNREFUSED:
    case ARES_ESERVFAIL:
    case ARES_EREFUSED: return "EAI_AGAIN";
    case ARES_ECANCELLED:
    case ARES_EDESTRUCTION: return "ECANCELED";
    default: return "EAI_FAIL";
    }
}

static void fail(struct query *query, int status) {
    query->code = failure_code(status);
    query->text = ares_strerror(status);
}

static void keep_addresses(struct query *query, const struct ares_addrinfo *info) {
    size_t count = 0;
    for (const struct ares_addrinfo_node *node = info->nodes; node != NULL; node = node->ai_next) {
        count++;
    }
    if (count == 0) {
        fail(query, ARES_ENODATA);
        return;
    }
    query->addresses = calloc(count, sizeof *query->addresses);
    if (query->addresses == NULL) {
        fail(query, ARES_ENOMEM);
        return;
    }
    for (const struct ares_addrinfo_node *node = info->nodes; node != NULL; node = node->ai_next) {
        memcpy(&query->addresses[query->count++], node->ai_addr, (size_t)node->ai_addrlen);
    }
}

/* What a query needs until c-ares has called it back. */
struct request {
    struct resolver *resolver;
    struct query *query; /* NULL: given up */
};

struct pending_query {
    struct query query;
    struct request *request;
};

static void answered(void *arg, int status, int timeouts, struct ares_addrinfo *info) {
    struct request *request = arg;
    struct query *query = request->query;
    (void)timeouts;
    request->resolver->pending--;
    if (query != NULL) {
        request->resolver->wanted--;
        query->pending = false;
        if (status != ARES_SUCCESS) {
            bool unheard = status == ARES_ECANCELLED && request->resolver->deaf;
            fail(query, unheard ? ARES_ENOMEM : status);
        } else {
            keep_addresses(query, info);
        }
    }
    if (info != NULL) ares_freeaddrinfo(info);
    free(request);
    if (query != NULL) query->done(query);
}

struct query *resolver_ask(struct resolver *resolver, const struct question *question,
                           void (*done)(struct query *query), void *owner) {
    struct pending_query *self = calloc(1, sizeof *self);
    struct request *request = calloc(1, sizeof *request);
    if (self == NULL || request == NULL) {
        free(self);
        free(request);
        return NULL;
    }
    *request = (struct request){resolver, &self->query};
    self->query = (struct query){.done = done, .owner = owner, .pending = true};
    self->request = request;
    if (resolver->pending == 0) refresh_channel(resolver);
    resolver->pending++;
    resolver->wanted++;
    struct ares_addrinfo_hints hints = {.ai_family = question->family,
                                        .ai_socktype = question->socktype};
    if (question->numeric) hints.ai_flags |= ARES_AI_NUMERICHOST;
    resolver->busy = true;
    ares_getaddrinfo(resolver->channel, question->node, question->service, &hints, answered,
                     request);
    resolver->busy = false;
    settle(resolver);
    return &self->query;
}

static void give_up(struct request *request) {
    struct resolver *resolver = request->resolver;
    request->query = NULL;
    resolver->wanted--;
    if (!resolver->busy) settle(resolver); /* else c-ares must not be called */
}

void query_free(struct query *query) {
    if (query == NULL) return;
    struct pending_query *self = container_of(query, struct pending_query, query);
    if (query->pending) give_up(self->request);
    free(query->addresses);
    free(self);
}
