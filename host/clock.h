/* clock.h -- what time it is, in nanoseconds: real, virtual or the embedder's own.
 *
 * A clock is a value inside the loop, so that a test owns time.  This is the one
 * place that asks the kernel for the time. */
#ifndef LOOPHOST_CLOCK_H
#define LOOPHOST_CLOCK_H

#include <stdint.h>

#define NS_PER_S INT64_C(1000000000)

enum clock_kind {
    CLOCK_KIND_MONOTONIC,
    CLOCK_KIND_VIRTUAL, /* stands still until clock_jump */
    CLOCK_KIND_FOREIGN  /* reads by the embedder's function */
};

struct clock {
    enum clock_kind kind;
    int64_t virtual_ns;
    int64_t (*read)(void *arg); /* foreign clocks only; must not fail */
    void *arg;
};

void clock_init(struct clock *clock, enum clock_kind kind);

/* The time by this clock; about 20 ns for the monotonic one. */
int64_t clock_now(const struct clock *clock);

/* The kernel's monotonic time, whatever the clock. */
int64_t clock_monotonic(void);

/* Sets a virtual clock forward; it never goes back. */
void clock_jump(struct clock *clock, int64_t when_ns);

/* A counter for "has about 100 us passed?", a third of the price of the clock.
 * CLOCK_TICKS_100US of its ticks are at most 100 us, and at least 10. */
uint64_t clock_ticks(void);
#define CLOCK_TICKS_100US 100000

#endif
