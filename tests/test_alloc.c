/* test_alloc.c -- host/alloc: blocks keep what is in them, and memory comes back. */
#include "host/alloc.h"
#include "tests/suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 2000 };

static void fill(unsigned char *block, size_t size, unsigned seed) {
    for (size_t i = 0; block != NULL && i < size; i++) block[i] = (unsigned char)(seed + i);
}

static void check(const unsigned char *block, size_t size, unsigned seed) {
    for (size_t i = 0; block != NULL && i < size; i++) {
        assert_int_equal(block[i], (unsigned char)(seed + i));
    }
}

TEST(blocks_of_any_size_keep_their_bytes_when_resized) {
    static unsigned char *blocks[BLOCKS];
    static size_t sizes[BLOCKS];
    struct alloc alloc;
    uint32_t random = 1;
    alloc_init(&alloc);
    for (unsigned round = 0; round < 60000; round++) {
        random = random * 1664525 + 1013904223;
        unsigned i = (random >> 8) % BLOCKS;
        size_t size = (random >> 20) % 1500;
        if ((random & 0x300) == 0) size = 0;
        size_t kept = sizes[i] < size ? sizes[i] : size;
        check(blocks[i], sizes[i], i);
        blocks[i] = alloc_resize(&alloc, blocks[i], sizes[i], size);
        assert_true((blocks[i] == NULL) == (size == 0));
        assert_int_equal((uintptr_t)blocks[i] % 8, 0);
        check(blocks[i], kept, i);
        fill(blocks[i], size, i);
        sizes[i] = size;
    }
    for (unsigned i = 0; i < BLOCKS; i++) {
        check(blocks[i], sizes[i], i);
        assert_null(alloc_resize(&alloc, blocks[i], sizes[i], 0));
    }
    alloc_close(&alloc);
}

/* Lua tells the kind of object in place of the old size of a block that is not there. */
TEST(the_old_size_of_no_block_does_not_matter) {
    struct alloc alloc;
    alloc_init(&alloc);
    void *block = alloc_resize(&alloc, NULL, 5, 40);
    assert_non_null(block);
    assert_null(alloc_resize(&alloc, NULL, 5, 0));
    assert_null(alloc_resize(&alloc, block, 40, 0));
    alloc_close(&alloc);
}

static long resident_pages(void) {
    char line[128] = "";
    FILE *file = fopen("/proc/self/statm", "r"); /* all pages, resident pages, ... */
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof line, file));
    fclose(file);
    return strtol(strchr(line, ' '), NULL, 10);
}

TEST(memory_that_nobody_uses_goes_back_to_the_kernel) {
    enum { MANY = 100000, SIZE = 720 };
    static void *blocks[MANY];
    struct alloc alloc;
    alloc_init(&alloc);
    long before = resident_pages();
    for (int i = 0; i < MANY; i++) {
        blocks[i] = alloc_resize(&alloc, NULL, 0, SIZE);
        memset(blocks[i], 1, SIZE);
    }
    long full = resident_pages();
    for (int i = 0; i < MANY; i++) alloc_resize(&alloc, blocks[i], SIZE, 0);
    long after = resident_pages();
    assert_true(full - before > (long)MANY * SIZE / 4096);
    assert_true(after - before < (full - before) / 10);
    alloc_close(&alloc);
}

/* A burst again and again: giving its memory back each time would cost more than it. */
TEST(memory_that_is_soon_needed_again_stays) {
    enum { MANY = 20000, SIZE = 144, ROUNDS = 60 };
    static void *blocks[MANY];
    struct alloc alloc;
    alloc_init(&alloc);
    long full = 0;
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < MANY; i++) blocks[i] = alloc_resize(&alloc, NULL, 0, SIZE);
        for (int i = 0; i < MANY; i++) memset(blocks[i], 1, SIZE);
        full = resident_pages();
        for (int i = 0; i < MANY; i++) alloc_resize(&alloc, blocks[i], SIZE, 0);
    }
    assert_true(full - resident_pages() < (long)MANY * SIZE / 4096 / 10);
    alloc_close(&alloc);
}

int main(void) {
    return suite_run();
}
