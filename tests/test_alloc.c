/* test_alloc.c -- host/alloc: blocks keep what is in them, and memory comes back. */
#include "host/alloc.h"
#include "tests/suite.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

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

TEST(a_draft_becomes_the_next_block_of_the_size_offered) {
    struct alloc alloc;
    alloc_init(&alloc);
    char *draft = alloc_draft(&alloc, 70000);
    assert_ptr_equal(alloc_draft(&alloc, 70000), draft);
    memset(draft, 7, 5000);
    draft = alloc_offer(&alloc, 5000);
    void *small = alloc_resize(&alloc, NULL, 0, 100), *other = alloc_resize(&alloc, NULL, 0, 5001);
    assert_ptr_not_equal(other, draft);
    unsigned char *block = alloc_resize(&alloc, NULL, 0, 5000);
    assert_ptr_equal(block, draft);
    for (int i = 0; i < 5000; i++) assert_int_equal(block[i], 7);
    void *next = alloc_resize(&alloc, NULL, 0, 5000); /* of that size, too, but not offered */
    assert_non_null(next);
    assert_ptr_not_equal(next, block);
    alloc_withdraw(&alloc);
    assert_ptr_not_equal(alloc_draft(&alloc, 70000), block);
    assert_null(alloc_resize(&alloc, small, 100, 0));
    assert_null(alloc_resize(&alloc, other, 5001, 0));
    assert_null(alloc_resize(&alloc, block, 5000, 0));
    assert_null(alloc_resize(&alloc, next, 5000, 0));
    alloc_close(&alloc);
}

TEST(a_draft_that_nobody_takes_is_given_back) {
    struct alloc alloc;
    alloc_init(&alloc);
    alloc_withdraw(&alloc);
    assert_true(malloc_usable_size(alloc_draft(&alloc, 70000)) >= 70000);
    alloc_offer(&alloc, 5000);
    alloc_withdraw(&alloc);
    assert_true(malloc_usable_size(alloc_draft(&alloc, 70000)) >= 70000);
    alloc_close(&alloc);
}

/* An error came between: whoever made the block had no memory for something else. */
TEST(a_draft_that_was_offered_and_not_withdrawn_is_none_any_more) {
    struct alloc alloc;
    alloc_init(&alloc);
    alloc_draft(&alloc, 70000);
    alloc_offer(&alloc, 5000);
    char *draft = alloc_draft(&alloc, 70000);
    assert_true(malloc_usable_size(draft) >= 70000);
    void *block = alloc_resize(&alloc, NULL, 0, 5000);
    assert_ptr_not_equal(block, draft);
    assert_null(alloc_resize(&alloc, block, 5000, 0));
    alloc_close(&alloc);
}

static int compare_pages(const void *a, const void *b) {
    uintptr_t left = *(const uintptr_t *)a, right = *(const uintptr_t *)b;
    return (left > right) - (left < right);
}

/* How many of the pages in which the blocks begin are in memory.  Only those: what a sanitizer
 * or malloc keeps beside them is not ours to judge. */
static size_t resident_pages(void *const *blocks, size_t count) {
    size_t resident = 0, page_size = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t *pages = malloc(count * sizeof *pages);
    assert_non_null(pages);
    for (size_t i = 0; i < count; i++) pages[i] = (uintptr_t)blocks[i] & ~(page_size - 1);
    qsort(pages, count, sizeof *pages, compare_pages);
    for (size_t i = 0; i < count; i++) {
        unsigned char state;
        if (i > 0 && pages[i] == pages[i - 1]) continue;
        /* NOLINTNEXTLINE(performance-no-int-to-ptr) */
        assert_int_equal(mincore((void *)pages[i], page_size, &state), 0);
        resident += state & 1;
    }
    free(pages);
    return resident;
}

TEST(memory_that_nobody_uses_goes_back_to_the_kernel) {
    enum { MANY = 100000, SIZE = 720 };
    static void *blocks[MANY];
    struct alloc alloc;
    alloc_init(&alloc);
    for (int i = 0; i < MANY; i++) {
        blocks[i] = alloc_resize(&alloc, NULL, 0, SIZE);
        memset(blocks[i], 1, SIZE);
    }
    size_t full = resident_pages(blocks, MANY);
    for (int i = 0; i < MANY; i++) alloc_resize(&alloc, blocks[i], SIZE, 0);
    size_t after = resident_pages(blocks, MANY);
    assert_true(full >= (size_t)MANY * SIZE / (size_t)sysconf(_SC_PAGESIZE));
    assert_true(after < full / 10);
    alloc_close(&alloc);
}

/* A burst again and again: giving its memory back each time would cost more than it. */
TEST(memory_that_is_soon_needed_again_stays) {
    enum { MANY = 20000, SIZE = 144, ROUNDS = 60 };
    static void *blocks[MANY];
    struct alloc alloc;
    alloc_init(&alloc);
    size_t full = 0;
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < MANY; i++) blocks[i] = alloc_resize(&alloc, NULL, 0, SIZE);
        for (int i = 0; i < MANY; i++) memset(blocks[i], 1, SIZE);
        full = resident_pages(blocks, MANY);
        for (int i = 0; i < MANY; i++) alloc_resize(&alloc, blocks[i], SIZE, 0);
    }
    assert_true(full >= (size_t)MANY * SIZE / (size_t)sysconf(_SC_PAGESIZE));
    assert_true(full - resident_pages(blocks, MANY) < full / 10);
    alloc_close(&alloc);
}

int main(void) {
    return suite_run();
}
