/* test_trace.c -- the ring of events. */
#include "host/trace.h"
#include "tests/suite.h"

#include <stdio.h>
#include <string.h>

TEST(a_trace_that_is_off_holds_no_memory) {
    struct trace trace;
    trace_init(&trace);
    assert_false(trace.on);
    assert_null(trace.events);
    assert_int_equal(trace_count(&trace), 0);
    trace_close(&trace);
}

TEST(events_are_read_in_the_order_in_which_they_happened) {
    struct trace trace;
    trace_init(&trace);
    assert_int_equal(trace_start(&trace, 1000), 0);
    assert_true(trace.on);
    trace_add(&trace, 1000, "first", "%s", "");
    trace_add(&trace, 1007, "second", "%d of %s", 2, "many");
    assert_int_equal(trace_count(&trace), 2);
    assert_string_equal(trace_get(&trace, 0)->event, "first");
    assert_string_equal(trace_get(&trace, 0)->details, "");
    assert_int_equal(trace_get(&trace, 0)->time_ns, 0);
    assert_string_equal(trace_get(&trace, 1)->event, "second");
    assert_string_equal(trace_get(&trace, 1)->details, "2 of many");
    assert_int_equal(trace_get(&trace, 1)->time_ns, 7);
    trace_close(&trace);
}

TEST(the_ring_keeps_the_last_events) {
    struct trace trace;
    trace_init(&trace);
    assert_int_equal(trace_start(&trace, 0), 0);
    for (int i = 0; i < TRACE_CAPACITY; i++) trace_add(&trace, i, "event", "%d", i);
    assert_int_equal(trace_count(&trace), TRACE_CAPACITY);
    assert_int_equal(trace_get(&trace, 0)->time_ns, 0);
    for (int i = 0; i < 3; i++) trace_add(&trace, TRACE_CAPACITY + i, "event", "%d", i);
    assert_int_equal(trace_count(&trace), TRACE_CAPACITY);
    for (size_t i = 0; i < TRACE_CAPACITY; i++) {
        assert_int_equal(trace_get(&trace, i)->time_ns, i + 3);
    }
    assert_int_equal(trace.recorded, TRACE_CAPACITY + 3);
    trace_close(&trace);
}

TEST(details_that_are_too_long_are_cut) {
    struct trace trace;
    trace_init(&trace);
    assert_int_equal(trace_start(&trace, 0), 0);
    char text[500];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    trace_add(&trace, 0, "long", "%s", text);
    trace_add(&trace, 0, "next", "%s", "whole");
    assert_int_equal(strlen(trace_get(&trace, 0)->details), sizeof trace.events->details - 1);
    assert_string_equal(trace_get(&trace, 1)->event, "next");
    assert_string_equal(trace_get(&trace, 1)->details, "whole");
    trace_close(&trace);
}

TEST(what_was_recorded_stays_readable_after_the_stop) {
    struct trace trace;
    trace_init(&trace);
    assert_int_equal(trace_start(&trace, 0), 0);
    trace_add(&trace, 1, "kept", "%d", 1);
    trace_stop(&trace);
    assert_false(trace.on);
    assert_int_equal(trace_count(&trace), 1);
    assert_string_equal(trace_get(&trace, 0)->event, "kept");
    trace_close(&trace);
}

TEST(a_second_start_begins_an_empty_trace) {
    struct trace trace;
    trace_init(&trace);
    assert_int_equal(trace_start(&trace, 0), 0);
    trace_add(&trace, 1, "old", "%d", 1);
    trace_stop(&trace);
    assert_int_equal(trace_start(&trace, 50), 0);
    assert_true(trace.on);
    assert_int_equal(trace_count(&trace), 0);
    trace_add(&trace, 60, "new", "%d", 1);
    assert_int_equal(trace_count(&trace), 1);
    assert_string_equal(trace_get(&trace, 0)->event, "new");
    assert_int_equal(trace_get(&trace, 0)->time_ns, 10);
    trace_close(&trace);
}

TEST(a_closed_trace_is_as_new) {
    struct trace trace;
    trace_init(&trace);
    assert_int_equal(trace_start(&trace, 0), 0);
    trace_add(&trace, 1, "gone", "%d", 1);
    trace_close(&trace);
    assert_false(trace.on);
    assert_null(trace.events);
    assert_int_equal(trace_count(&trace), 0);
    trace_close(&trace);
}

int main(void) {
    return suite_run();
}
