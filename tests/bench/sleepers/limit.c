/* The limit of many sleepers over one second: a heap and epoll_wait, whose milliseconds are
 * rounded up, so that it wakes a thousand times. Arguments: sleepers. */
#include "tests/bench/heap.h"
#include "tests/bench/limit.h"

#include <sys/epoll.h>

struct sleeper {
    struct heap_node node;
    int64_t when_ns;
};

int main(int argc, char **argv) {
    int64_t ops = limit_argument(argc, argv, 1), late_ns = 0, early = 0;
    int epoll = epoll_create1(0);
    struct epoll_event event;
    struct heap heap;
    heap_init(&heap, (size_t)ops);
    struct sleeper *sleepers = malloc((size_t)ops * sizeof(*sleepers));
    int64_t began = limit_cpu_ns(), began_wall = limit_wall_ns();
    for (int64_t i = 0; i < ops; i++) {
        sleepers[i].when_ns = limit_wall_ns() + i * 7919 % ops * 1000000000 / ops;
        heap_push(&heap, sleepers[i].when_ns, &sleepers[i].node);
    }
    while (heap.count > 0) {
        int64_t now_ns = limit_wall_ns(), delay_ns = heap.entries[0].when - now_ns;
        if (delay_ns > 0) {
            epoll_wait(epoll, &event, 1, (int)((delay_ns + 999999) / 1000000));
            continue;
        }
        while (heap.count > 0 && heap.entries[0].when <= now_ns) {
            const struct sleeper *sleeper = (struct sleeper *)(void *)heap_pop(&heap);
            late_ns += now_ns - sleeper->when_ns;
            early += now_ns < sleeper->when_ns;
        }
    }
    printf("ops=%lld cpu_ns=%lld wall_ns=%lld late_ns=%lld early=%lld\n", (long long)ops,
           (long long)(limit_cpu_ns() - began), (long long)(limit_wall_ns() - began_wall),
           (long long)(late_ns / ops), (long long)early);
    return 0;
}
