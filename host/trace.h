/* trace.h -- a ring of fixed-size events: the last ones that happened in a loop.
 *
 * Off, it costs one branch where an event could be recorded and holds no memory. */
#ifndef LOOPHOST_TRACE_H
#define LOOPHOST_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRACE_CAPACITY 16384 /* events; a power of two */

struct trace_event {
    int64_t time_ns;   /* of the loop's clock, since tracing was switched on */
    const char *event; /* a literal */
    char details[112]; /* cut if longer */
};

struct trace {
    bool on;
    int64_t start_ns;
    uint64_t recorded; /* since the start; the last TRACE_CAPACITY are kept */
    struct trace_event *events;
};

void trace_init(struct trace *trace);

/* Begins an empty trace; -ENOMEM.  The ring is the trace's until trace_close. */
int trace_start(struct trace *trace, int64_t now_ns);

/* Stops recording; what was recorded stays readable. */
void trace_stop(struct trace *trace);

void trace_close(struct trace *trace);

/* Records an event; ask trace->on first. */
void trace_add(struct trace *trace, int64_t now_ns, const char *event, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* How many events can be read, and the i-th of them, oldest first. */
size_t trace_count(const struct trace *trace);
const struct trace_event *trace_get(const struct trace *trace, size_t i);

#endif
