/* load.c -- a load for the servers: connections that send, wait for the same number of bytes,
 * and send again.
 *
 *   load PORT CONNECTIONS BYTES MILLISECONDS    messages of so many bytes, the last one "\n"
 *   load PORT CONNECTIONS                       only connects, says so, and stays until its
 *                                               input ends */
#include "tests/bench/limit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct connection {
    int fd;
    size_t sent, received; /* of the message under way */
};

static char *message, *answer;
static size_t bytes;
static int64_t requests;

static void fail(const char *what) {
    perror(what);
    exit(EXIT_FAILURE);
}

static int connect_to(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void send_rest(struct connection *connection) {
    while (connection->sent < bytes) {
        ssize_t n = send(connection->fd, message + connection->sent, bytes - connection->sent,
                         MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) return;
        if (n < 0) fail("send");
        connection->sent += (size_t)n;
    }
}

static void receive(struct connection *connection) {
    ssize_t n = recv(connection->fd, answer, bytes - connection->received, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) fail("recv");
    connection->received += (size_t)n;
    if (connection->received < bytes) return;
    requests++;
    connection->sent = connection->received = 0;
    send_rest(connection);
}

int main(int argc, char **argv) {
    if (argc < 3) return EXIT_FAILURE;
    int port = (int)limit_argument(argc, argv, 1), epoll = epoll_create1(0);
    int64_t count = limit_argument(argc, argv, 2);
    struct connection *connections = calloc((size_t)count, sizeof *connections);
    for (int64_t i = 0; i < count; i++) connections[i].fd = connect_to(port);
    if (argc < 5) {
        puts("connected");
        fflush(stdout);
        while (getchar() != EOF) continue;
        return 0;
    }
    bytes = (size_t)limit_argument(argc, argv, 3);
    message = malloc(bytes);
    answer = malloc(bytes);
    memset(message, 'x', bytes);
    message[bytes - 1] = '\n';
    int64_t began = limit_wall_ns(), ends = began + limit_argument(argc, argv, 4) * 1000000, now;
    for (int64_t i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET,
                                    .data.ptr = &connections[i]};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, connections[i].fd, &event) < 0) fail("epoll_ctl");
    }
    while ((now = limit_wall_ns()) < ends) {
        struct epoll_event events[64];
        int n = epoll_wait(epoll, events, 64, 1000);
        for (int i = 0; i < n; i++) {
            struct connection *connection = events[i].data.ptr;
            if (events[i].events & EPOLLOUT) send_rest(connection);
            if (events[i].events & EPOLLIN) receive(connection);
        }
    }
    if (requests == 0) return EXIT_FAILURE;
    printf("requests=%lld wall_ns=%lld\n", (long long)requests, (long long)(now - began));
    return 0;
}
