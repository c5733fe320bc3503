/* The limit of a turn with many descriptors, of which one is ready: epoll_wait and a function.
 * Arguments: turns, descriptors; they are open from number 10 on, and the first is readable. */
#include "tests/bench/limit.h"

#include <sys/epoll.h>

enum { FIRST = 10 };

struct watch {
    void (*ready)(struct watch *);
    int64_t turns;
};

static void count(struct watch *watch) {
    watch->turns++;
}

int main(int argc, char **argv) {
    int64_t ops = limit_argument(argc, argv, 1), size = limit_argument(argc, argv, 2);
    int epoll = epoll_create1(0);
    struct watch watch = {count, 0};
    for (int fd = FIRST; fd < FIRST + size; fd++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &watch};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) abort();
    }
    int64_t began = limit_cpu_ns();
    while (watch.turns < ops) {
        struct epoll_event event;
        if (epoll_wait(epoll, &event, 1, -1) != 1) continue;
        struct watch *watched = event.data.ptr;
        watched->ready(watched);
    }
    limit_report(ops, limit_cpu_ns() - began);
    return 0;
}
