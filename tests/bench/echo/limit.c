/* The limit of an echo server: epoll, recv, send. */
#include "tests/bench/server.h"

static char buffer[65536];

static int echo(struct server_connection *connection) {
    ssize_t n = recv(connection->fd, buffer, sizeof buffer, 0);
    if (n < 0) return errno == EAGAIN;
    if (n > 0) server_write(connection->fd, buffer, (size_t)n);
    return n > 0;
}

int main(void) {
    server_run(echo);
}
