/* The limit of a server of lines: epoll, recv, a search for the newlines, and a send of each
 * line. A line that is not whole yet is kept. */
#include "tests/bench/server.h"

#include <string.h>

static int answer_lines(struct server_connection *connection) {
    char *buffer = connection->buffer;
    if (connection->used == sizeof connection->buffer) return 0; /* too long a line */
    ssize_t n = recv(connection->fd, buffer + connection->used,
                     sizeof connection->buffer - connection->used, 0);
    if (n < 0) return errno == EAGAIN;
    if (n == 0) return 0;
    connection->used += (size_t)n;
    char *line = buffer, *end = buffer + connection->used, *newline;
    while ((newline = memchr(line, '\n', (size_t)(end - line)))) {
        server_write(connection->fd, line, (size_t)(newline + 1 - line));
        line = newline + 1;
    }
    connection->used = (size_t)(end - line);
    memmove(buffer, line, connection->used);
    return 1;
}

int main(void) {
    server_run(answer_lines);
}
