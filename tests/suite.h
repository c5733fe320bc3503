/* suite.h -- cmocka without a list of tests: a test is named where it is written.
 *
 *     TEST(smaller_keys_come_first) { ... }
 *     int main(void) { return suite_run(); }
 *
 * Tests run in the order of the file.  A file with a fixture makes a macro of its own
 * out of TEST_WITH. */
#ifndef LOOPHOST_TESTS_SUITE_H
#define LOOPHOST_TESTS_SUITE_H

#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { SUITE_SIZE = 100 };

static struct CMUnitTest suite[SUITE_SIZE]; /* cmocka skips those without a function */
static int suite_count;

static inline void suite_add(const char *name, CMUnitTestFunction test, CMFixtureFunction set_up,
                             CMFixtureFunction tear_down) {
    assert(suite_count < SUITE_SIZE);
    suite[suite_count++] = (struct CMUnitTest){name, test, set_up, tear_down, NULL};
}

static inline int suite_run(void) {
    return cmocka_run_group_tests(suite, NULL, NULL);
}

/* Adds a function to the suite before main begins. */
#define ADD_TEST(function, name, set_up, tear_down) \
    __attribute__((constructor)) static void add_##function(void) { \
        suite_add(name, function, set_up, tear_down); \
    }

#define TEST_WITH(function, set_up, tear_down) \
    static void function(void **state); \
    ADD_TEST(function, #function, set_up, tear_down) \
    static void function(__attribute__((unused)) void **state)

#define TEST(function) TEST_WITH(function, NULL, NULL)

#endif
