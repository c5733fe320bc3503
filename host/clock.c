/* clock.c -- the monotonic clock, and a virtual one that only jumps. */
#include "host/clock.h"

#include <stddef.h>
#include <time.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

void clock_init(struct clock *clock, enum clock_kind kind) {
    clock->kind = kind;
    clock->virtual_ns = 0;
    clock->read = NULL;
    clock->arg = NULL;
}

int64_t clock_monotonic(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

int64_t clock_now(const struct clock *clock) {
    switch (clock->kind) {
    case CLOCK_KIND_VIRTUAL: return clock->virtual_ns;
    case CLOCK_KIND_FOREIGN: return clock->read(clock->arg);
    case CLOCK_KIND_MONOTONIC: break;
    }
    return clock_monotonic();
}

void clock_jump(struct clock *clock, int64_t when_ns) {
    if (when_ns > clock->virtual_ns) clock->virtual_ns = when_ns;
}

/* The time stamp counter runs at 1 to 10 GHz; elsewhere a tick is a nanosecond. */
uint64_t clock_ticks(void) {
#if defined(__x86_64__)
    return __rdtsc();
#else
    return (uint64_t)clock_monotonic();
#endif
}
