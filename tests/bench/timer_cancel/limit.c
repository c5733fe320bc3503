/* The limit of a timer set and cancelled while others stand: a 4-ary heap. Arguments: timers,
 * how many others stand. */
#include "tests/bench/heap.h"
#include "tests/bench/limit.h"

int main(int argc, char **argv) {
    int64_t ops = limit_argument(argc, argv, 1), size = limit_argument(argc, argv, 2);
    struct heap heap;
    heap_init(&heap, (size_t)size + 1);
    for (int64_t i = 0; i < size; i++)
        heap_call_at(&heap, 10000 + i * 7919 % 40009, heap_nothing, NULL);
    int64_t began = limit_cpu_ns();
    for (int64_t i = 0; i < ops; i++)
        heap_cancel(&heap, heap_call_at(&heap, 10000 + i * 7907 % 40009, heap_nothing, NULL));
    limit_report(ops, limit_cpu_ns() - began);
    return 0;
}
