/* test_clock.c -- real, virtual and foreign time. */
#include "host/clock.h"
#include "tests/suite.h"

#include <time.h>

TEST(a_virtual_clock_begins_at_zero_and_stands_still) {
    struct clock clock;
    clock_init(&clock, CLOCK_KIND_VIRTUAL);
    int64_t before_ns = clock_monotonic();
    while (clock_monotonic() - before_ns < 1000000) continue;
    assert_int_equal(clock_now(&clock), 0);
}

TEST(a_virtual_clock_jumps_forward_and_never_back) {
    struct clock clock;
    clock_init(&clock, CLOCK_KIND_VIRTUAL);
    clock_jump(&clock, 5 * NS_PER_S);
    assert_int_equal(clock_now(&clock), 5 * NS_PER_S);
    clock_jump(&clock, 5 * NS_PER_S - 1);
    assert_int_equal(clock_now(&clock), 5 * NS_PER_S);
    clock_jump(&clock, INT64_MIN);
    assert_int_equal(clock_now(&clock), 5 * NS_PER_S);
    clock_jump(&clock, INT64_MAX);
    assert_int_equal(clock_now(&clock), INT64_MAX);
}

TEST(two_virtual_clocks_are_independent) {
    struct clock one, two;
    clock_init(&one, CLOCK_KIND_VIRTUAL);
    clock_init(&two, CLOCK_KIND_VIRTUAL);
    clock_jump(&one, 1);
    assert_int_equal(clock_now(&two), 0);
}

TEST(the_monotonic_clock_is_the_kernels_and_never_goes_back) {
    struct clock clock;
    clock_init(&clock, CLOCK_KIND_MONOTONIC);
    struct timespec kernel;
    clock_gettime(CLOCK_MONOTONIC, &kernel);
    int64_t last_ns = (int64_t)kernel.tv_sec * NS_PER_S + kernel.tv_nsec;
    for (int i = 0; i < 10000; i++) {
        int64_t now_ns = i % 2 == 0 ? clock_now(&clock) : clock_monotonic();
        assert_true(now_ns >= last_ns);
        last_ns = now_ns;
    }
    clock_gettime(CLOCK_MONOTONIC, &kernel);
    assert_true((int64_t)kernel.tv_sec * NS_PER_S + kernel.tv_nsec >= last_ns);
}

static int64_t count_up(void *arg) {
    return ++*(int64_t *)arg;
}

TEST(a_foreign_clock_asks_its_owner_each_time) {
    int64_t count = 41;
    struct clock clock;
    clock_init(&clock, CLOCK_KIND_FOREIGN);
    clock.read = count_up;
    clock.arg = &count;
    assert_int_equal(clock_now(&clock), 42);
    assert_int_equal(clock_now(&clock), 43);
}

/* The pairs of reads are nested both ways, so that however long we are put aside in
 * between, one ratio is at most the true rate of the counter and the other at least. */
TEST(a_hundred_thousand_ticks_are_ten_to_a_hundred_microseconds) {
    int64_t outer_ns = clock_monotonic();
    uint64_t outer_ticks = clock_ticks();
    int64_t inner_ns = clock_monotonic();
    uint64_t inner_ticks = clock_ticks();
    while (clock_monotonic() - inner_ns < 20000000) continue;
    double few_ticks = (double)(clock_ticks() - inner_ticks);
    double few_ns = (double)(clock_monotonic() - inner_ns);
    double many_ticks = (double)(clock_ticks() - outer_ticks);
    double many_ns = (double)(clock_monotonic() - outer_ns);
    double ticks = CLOCK_TICKS_100US;
    assert_true(ticks / (many_ticks / few_ns) <= 100e3);
    assert_true(ticks / (few_ticks / many_ns) >= 10e3);
}

int main(void) {
    return suite_run();
}
