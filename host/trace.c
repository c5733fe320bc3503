/* trace.c -- the ring of events. */
#include "host/trace.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void trace_init(struct trace *trace) {
    *trace = (struct trace){.on = false};
}

int trace_start(struct trace *trace, int64_t now_ns) {
    if (trace->events == NULL) {
        trace->events = malloc(TRACE_CAPACITY * sizeof *trace->events);
        if (trace->events == NULL) return -ENOMEM;
    }
    trace->start_ns = now_ns;
    trace->recorded = 0;
    trace->on = true;
    return 0;
}

void trace_stop(struct trace *trace) {
    trace->on = false;
}

void trace_close(struct trace *trace) {
    free(trace->events);
    trace_init(trace);
}

void trace_add(struct trace *trace, int64_t now_ns, const char *event, const char *format, ...) {
    struct trace_event *slot = &trace->events[trace->recorded++ % TRACE_CAPACITY];
    slot->time_ns = now_ns - trace->start_ns;
    slot->event = event;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(slot->details, sizeof slot->details, format, arguments);
    va_end(arguments);
}

size_t trace_count(const struct trace *trace) {
    return trace->recorded < TRACE_CAPACITY ? (size_t)trace->recorded : TRACE_CAPACITY;
}

const struct trace_event *trace_get(const struct trace *trace, size_t i) {
    uint64_t oldest = trace->recorded - trace_count(trace);
    return &trace->events[(oldest + i) % TRACE_CAPACITY];
}
