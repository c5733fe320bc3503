/* test_pqueue.c -- the heap; fuzz_pqueue.c plays it against a model. */
#include "host/handle.h"
#include "host/pqueue.h"
#include "tests/suite.h"

#include <stdlib.h>

enum { MILLION = 1000000 };

struct entry {
    struct pqueue_node node;
    int number;
};

static int pop_number(struct pqueue *queue) {
    struct pqueue_node *node = pqueue_pop(queue);
    assert_non_null(node);
    return container_of(node, struct entry, node)->number;
}

/* Pushes entries numbered from 0 with the keys given. */
static void push_keys(struct pqueue *queue, struct entry *entries, const int64_t *keys, int count) {
    pqueue_init(queue);
    for (int i = 0; i < count; i++) {
        entries[i].number = i;
        pqueue_node_init(&entries[i].node);
        assert_true(pqueue_push(queue, &entries[i].node, keys[i]));
    }
}

static void assert_pops(struct pqueue *queue, const int *numbers, int count) {
    assert_int_equal(queue->count, count);
    for (int i = 0; i < count; i++) assert_int_equal(pop_number(queue), numbers[i]);
    assert_null(pqueue_pop(queue));
    pqueue_clear(queue);
}

TEST(an_empty_queue_gives_null) {
    struct pqueue queue;
    pqueue_init(&queue);
    assert_null(pqueue_peek(&queue));
    assert_null(pqueue_pop(&queue));
    assert_int_equal(queue.count, 0);
}

TEST(nodes_come_out_by_key) {
    struct pqueue queue;
    struct entry entries[7];
    push_keys(&queue, entries, (const int64_t[]){5, 3, 9, -1, 7, 0, 4}, 7);
    assert_pops(&queue, (const int[]){3, 5, 1, 6, 0, 4, 2}, 7);
}

TEST(equal_keys_come_out_in_order_of_arrival) {
    struct pqueue queue;
    struct entry entries[8];
    push_keys(&queue, entries, (const int64_t[]){2, 1, 2, 1, 2, 1, 2, 1}, 8);
    assert_pops(&queue, (const int[]){1, 3, 5, 7, 0, 2, 4, 6}, 8);
}

TEST(equal_keys_keep_their_order_when_numbers_begin_anew) {
    struct pqueue queue;
    struct entry entries[8];
    push_keys(&queue, entries, (const int64_t[]){2, 1, 2, 1}, 4);
    for (int i = 4; i < 8; i++) {
        /* cppcheck-suppress unreadVariable ; assert_pops reads it, by way of the node */
        entries[i].number = i;
        pqueue_node_init(&entries[i].node);
        if (i == 5) queue.arrivals = UINT32_MAX;
        assert_true(pqueue_push(&queue, &entries[i].node, i % 2 == 0 ? 2 : 1));
    }
    assert_int_equal(queue.arrivals, 8);
    assert_pops(&queue, (const int[]){1, 3, 5, 7, 0, 2, 4, 6}, 8);
}

TEST(a_crowd_is_five_keys_close_to_the_smallest) {
    struct pqueue queue;
    struct entry entries[7];
    push_keys(&queue, entries, (const int64_t[]){500, 30, 20, 90, 10, 40, 50}, 7);
    assert_int_equal(pqueue_crowd(&queue, 50), 50);
    assert_int_equal(pqueue_crowd(&queue, 89), 50);
    assert_int_equal(pqueue_crowd(&queue, 90), 90);
    assert_int_equal(pqueue_crowd(&queue, INT64_MAX), 500);
    assert_int_equal(pqueue_crowd(&queue, 49), 10); /* no more than four */
    pqueue_remove(&queue, &entries[3].node);
    pqueue_remove(&queue, &entries[0].node);
    assert_int_equal(pqueue_crowd(&queue, 50), 50);
    pqueue_remove(&queue, &entries[1].node);
    assert_int_equal(pqueue_crowd(&queue, INT64_MAX), 10); /* but four in all */
    pqueue_clear(&queue);
}

TEST(the_extreme_keys_are_keys_like_others) {
    struct pqueue queue;
    struct entry entries[5];
    push_keys(&queue, entries,
              (const int64_t[]){INT64_MAX, 0, INT64_MIN, INT64_MAX - 1, INT64_MIN + 1}, 5);
    assert_pops(&queue, (const int[]){2, 4, 1, 3, 0}, 5);
}

TEST(peek_shows_what_pop_returns) {
    struct pqueue queue;
    struct entry entries[4];
    push_keys(&queue, entries, (const int64_t[]){4, 2, 3, 1}, 4);
    while (queue.count > 0) {
        struct pqueue_node *shown = pqueue_peek(&queue);
        assert_ptr_equal(pqueue_pop(&queue), shown);
    }
    pqueue_clear(&queue);
}

/* The heap has a root, children and grandchildren: any of them may go. */
TEST(any_node_may_be_removed_and_the_order_stands) {
    for (int removed = 1; removed < 16; removed++) {
        struct pqueue queue;
        struct entry entries[16];
        int64_t keys[16];
        for (int i = 0; i < 16; i++) keys[i] = i;
        push_keys(&queue, entries, keys, 16);
        assert_int_equal(pop_number(&queue), 0);
        pqueue_remove(&queue, &entries[removed].node);
        assert_int_equal(queue.count, 14);
        for (int i = 1; i < 16; i++) {
            if (i != removed) assert_int_equal(pop_number(&queue), i);
        }
        assert_null(pqueue_pop(&queue));
        pqueue_clear(&queue);
    }
}

TEST(a_node_knows_whether_it_is_in_a_queue) {
    struct pqueue queue;
    struct entry entries[3];
    push_keys(&queue, entries, (const int64_t[]){1, 2, 3}, 3);
    assert_true(pqueue_contains(&entries[1].node));
    pqueue_remove(&queue, &entries[1].node);
    assert_false(pqueue_contains(&entries[1].node));
    pqueue_pop(&queue);
    assert_false(pqueue_contains(&entries[0].node));
    assert_true(pqueue_contains(&entries[2].node));
    pqueue_clear(&queue);
}

TEST(a_node_that_comes_back_stands_behind_its_equals) {
    struct pqueue queue;
    struct entry entries[3];
    push_keys(&queue, entries, (const int64_t[]){1, 1, 1}, 3);
    pqueue_remove(&queue, &entries[0].node);
    assert_true(pqueue_push(&queue, &entries[0].node, 1));
    assert_pops(&queue, (const int[]){1, 2, 0}, 3);
}

TEST(a_million_nodes_come_out_sorted) {
    struct pqueue queue;
    struct entry *entries = calloc(MILLION, sizeof *entries);
    assert_non_null(entries);
    pqueue_init(&queue);
    for (int i = 0; i < MILLION; i++) {
        entries[i].number = i;
        assert_true(pqueue_push(&queue, &entries[i].node, i));
    }
    for (int i = 0; i < MILLION; i++) {
        if (pop_number(&queue) != i) fail();
    }
    free(entries);
    pqueue_clear(&queue);
}

TEST(the_array_shrinks_with_the_queue) {
    enum { COUNT = 10000 };
    struct pqueue queue;
    struct entry *entries = calloc(COUNT, sizeof *entries);
    assert_non_null(entries);
    pqueue_init(&queue);
    for (int i = 0; i < COUNT; i++) {
        entries[i].number = i;
        assert_true(pqueue_push(&queue, &entries[i].node, i * 7919 % COUNT));
    }
    assert_true(queue.room >= COUNT && queue.room < 2 * COUNT);
    for (int i = COUNT; i-- > 100;) pqueue_remove(&queue, &entries[i].node);
    assert_true(queue.room <= 8 * 100);
    int64_t last = -1;
    for (int i = 0; i < 100; i++) {
        struct pqueue_node *node = pqueue_pop(&queue);
        assert_true(node->key > last);
        last = node->key;
    }
    assert_null(pqueue_pop(&queue));
    free(entries);
    pqueue_clear(&queue);
}

TEST(clear_takes_all_out_at_once) {
    struct pqueue queue;
    struct entry entries[3];
    push_keys(&queue, entries, (const int64_t[]){3, 1, 2}, 3);
    pqueue_clear(&queue);
    for (int i = 0; i < 3; i++) assert_false(pqueue_contains(&entries[i].node));
    assert_int_equal(queue.count, 0);
    assert_null(pqueue_peek(&queue));
    assert_true(pqueue_push(&queue, &entries[1].node, 7));
    assert_int_equal(pop_number(&queue), 1);
    pqueue_clear(&queue);
}

TEST(a_push_without_memory_changes_nothing) {
    const size_t most = SIZE_MAX / sizeof(struct pqueue_entry);
    struct pqueue queue;
    struct entry entry;
    pqueue_init(&queue);
    queue.count = queue.room = most;
    pqueue_node_init(&entry.node);
    assert_false(pqueue_push(&queue, &entry.node, 1));
    assert_false(pqueue_contains(&entry.node));
    assert_true(queue.count == most && queue.entries == NULL);
}

int main(void) {
    return suite_run();
}
