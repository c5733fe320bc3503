/* server.h -- what the servers in C share: listening, and one epoll loop that accepts. */
#ifndef TESTS_BENCH_SERVER_H
#define TESTS_BENCH_SERVER_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct server_connection {
    int fd;
    size_t used; /* bytes that wait in the buffer, for a server that keeps some */
    char buffer[4096];
};

/* Writes all of it; waits if the peer does not read. */
static inline void server_write(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t n = send(fd, data, size, MSG_NOSIGNAL);
        if (n >= 0) {
            data += n;
            size -= (size_t)n;
        } else if (errno == EAGAIN) {
            struct pollfd writable = {.fd = fd, .events = POLLOUT};
            poll(&writable, 1, -1);
        } else {
            return;
        }
    }
}

static inline void server_accept(int epoll, int listener) {
    int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0) return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct server_connection *connection = calloc(1, sizeof *connection);
    if (!connection) abort();
    connection->fd = fd;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

/* Listens at a free port, says which, and calls `ready` for each connection with something to
 * read, until that returns 0. For ever. */
static inline void server_run(int (*ready)(struct server_connection *)) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), epoll = epoll_create1(0);
    if (bind(listener, (struct sockaddr *)&address, size) < 0 || listen(listener, 1024) < 0)
        abort();
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("port=%d\n", ntohs(address.sin_port));
    fflush(stdout);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        struct epoll_event events[64];
        int n = epoll_wait(epoll, events, 64, -1);
        for (int i = 0; i < n; i++) {
            struct server_connection *connection = events[i].data.ptr;
            if (!connection) {
                server_accept(epoll, listener);
            } else if (!ready(connection)) {
                close(connection->fd);
                free(connection);
            }
        }
    }
}

#endif
