/* The limit of timers that are created and cancelled: a 4-ary heap. Arguments: timers, how many
 * stand at once. */
#include "tests/bench/heap.h"
#include "tests/bench/limit.h"

int main(int argc, char **argv) {
    int64_t ops = limit_argument(argc, argv, 1), size = limit_argument(argc, argv, 2);
    struct heap heap;
    heap_init(&heap, (size_t)size);
    struct heap_timer **timers = malloc((size_t)size * sizeof(struct heap_timer *));
    int64_t rounds = ops / size, began = limit_cpu_ns();
    for (int64_t round = 0; round < rounds; round++) {
        for (int64_t i = 0; i < size; i++)
            timers[i] = heap_call_at(&heap, 3600000 + i * 7919 % 1000003, heap_nothing, NULL);
        for (int64_t i = 0; i < size; i++) heap_cancel(&heap, timers[i]);
    }
    limit_report(rounds * size, limit_cpu_ns() - began);
    return 0;
}
