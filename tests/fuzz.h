/* fuzz.h -- what the fuzz programs share: seeds, random numbers, and a check that tells
 * which seed failed.
 *
 * A program without arguments runs a fixed list of seeds; `prog SEED` replays one. */
#ifndef LOOPHOST_TESTS_FUZZ_H
#define LOOPHOST_TESTS_FUZZ_H

#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static struct fuzz {
    uint64_t seed, state;
    int step;
    jmp_buf failed;
} fuzz;

/* Ends the run of this seed where the condition does not hold. */
#define check(condition) \
    do { \
        if (!(condition)) fuzz_fail(__FILE__, __LINE__, #condition); \
    } while (0)

_Noreturn static void fuzz_fail(const char *file, int line, const char *condition) {
    printf("%s:%d: seed %llu, step %d: not %s\n", file, line, (unsigned long long)fuzz.seed,
           fuzz.step, condition);
    longjmp(fuzz.failed, 1);
}

/* splitmix64 */
static uint64_t random_bits(void) {
    uint64_t z = fuzz.state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* One of 0 to count - 1. */
static int random_below(int count) {
    return (int)(random_bits() % (uint64_t)count);
}

/* A number for a key: mostly one of a few, so that equal ones are common. */
static int64_t random_key(void) {
    switch (random_below(16)) {
    case 0: return INT64_MIN + random_below(2);
    case 1: return INT64_MAX - random_below(2);
    case 2: return (int64_t)random_bits();
    case 3: return random_below(1000000);
    }
    return random_below(8);
}

static int run_seed(void (*play)(void), uint64_t seed) {
    fuzz.seed = fuzz.state = seed;
    fuzz.step = 0;
    if (setjmp(fuzz.failed) != 0) return 1;
    play();
    return 0;
}

static int fuzz_main(int argc, char **argv, int seeds, void (*play)(void)) {
    int failed = 0;
    if (argc > 1) {
        seeds = 1;
        failed = run_seed(play, strtoull(argv[1], NULL, 0));
    } else {
        for (int seed = 1; seed <= seeds; seed++) failed += run_seed(play, (uint64_t)seed);
    }
    printf("%d passed, %d failed\n", seeds - failed, failed);
    return failed > 0;
}

#endif
