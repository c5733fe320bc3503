/* metrics.h -- what the loop counts, always: an increment each, read by anybody. */
#ifndef LOOPHOST_METRICS_H
#define LOOPHOST_METRICS_H

#include <stdint.h>

struct metrics {
    uint64_t tasks_created;
    uint64_t callbacks_executed; /* everything that ran from the ready and priority queues */
    uint64_t turns;
    uint64_t polls;         /* epoll waits, blocking or not */
    uint64_t io_events;     /* callbacks queued by ready descriptors */
    uint64_t timers_fired;  /* timers whose deadline passed */
    uint64_t io_wait_ticks; /* real time spent blocked in epoll, as clock_ticks counts it */
};

#endif
