/* test_choice.c -- what a seed decides, and what it leaves alone. */
#include "host/choice.h"
#include "host/loop.h"
#include "tests/job.h"

#include <string.h>

enum { JOBS = 24 };

struct fixture {
    struct choice choice;
    struct handle_queue queue;
    struct log log;
    struct job jobs[JOBS];
};

static void set_up(struct fixture *f, uint64_t seed) {
    *f = (struct fixture){.log.length = 0};
    choice_init(&f->choice);
    choice_start(&f->choice, seed);
    handle_queue_init(&f->queue);
    for (int i = 0; i < JOBS; i++) job_init(&f->jobs[i], (char)('a' + i), &f->log);
}

static void push(struct fixture *f, int from, int to) {
    for (int i = from; i < to; i++) handle_push(&f->queue, &f->jobs[i].timer.handle);
}

static bool none_joined(const struct handle *first, const struct handle *second) {
    (void)first, (void)second;
    return false;
}

static bool pairs_joined(const struct handle *first, const struct handle *second) {
    const struct job *a = container_of(first, struct job, timer.handle);
    const struct job *b = container_of(second, struct job, timer.handle);
    return (a->name - 'a') / 2 == (b->name - 'a') / 2;
}

/* Whether the letters of the log from `from` to `to` come in their order. */
static bool in_order(const struct log *log, char from, char to) {
    char last = 0;
    for (size_t i = 0; i < log->length; i++) {
        char c = log->text[i];
        if (c < from || c > to) continue;
        if (c < last) return false;
        last = c;
    }
    return true;
}

TEST(numbers_are_the_same_on_every_machine) {
    struct choice choice;
    choice_init(&choice);
    choice_start(&choice, 42);
    /* by the published splitmix64: 0xbdd732262feb6e95, 0x28efe333b266f103, ... */
    assert_int_equal(choice_below(&choice, UINT32_MAX), 0xbdd73226U - 1);
    assert_int_equal(choice_below(&choice, 1000), (UINT64_C(0x28efe333) * 1000) >> 32);
    assert_int_equal(choice.draws, 2);
}

TEST(every_number_below_n_comes) {
    struct choice choice;
    int seen[7] = {0};
    choice_init(&choice);
    choice_start(&choice, 1);
    for (int i = 0; i < 7000; i++) seen[choice_below(&choice, 7)]++;
    for (int i = 0; i < 7; i++) assert_in_range(seen[i], 800, 1200);
}

TEST(new_ones_are_shuffled_and_mixed_with_the_old_ones_which_keep_their_order) {
    int moved = 0;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct fixture f;
        set_up(&f, seed);
        push(&f, 0, 5);
        struct handle *last = f.queue.head.prev;
        push(&f, 5, 10);
        choice_mix_groups(&f.choice, &f.queue, last, none_joined);
        run_all(&f.queue);
        assert_int_equal(f.log.length, 10);
        assert_true(in_order(&f.log, 'a', 'e'));
        if (!in_order(&f.log, 'f', 'j')) moved++;
        choice_close(&f.choice);
    }
    assert_in_range(moved, 40, 50); /* one order of 120 is the old one */
}

TEST(every_mix_of_old_and_new_ones_is_equally_likely) {
    int place_of_old[5] = {0};
    for (uint64_t seed = 1; seed <= 5000; seed++) {
        struct fixture f;
        set_up(&f, seed);
        push(&f, 0, 1);
        struct handle *last = f.queue.head.prev;
        push(&f, 1, 5);
        choice_mix_groups(&f.choice, &f.queue, last, none_joined);
        run_all(&f.queue);
        place_of_old[strchr(f.log.text, 'a') - f.log.text]++;
        choice_close(&f.choice);
    }
    for (int i = 0; i < 5; i++) assert_in_range(place_of_old[i], 850, 1150);
}

TEST(what_is_joined_stays_together_in_its_order) {
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct fixture f;
        set_up(&f, seed);
        struct handle *last = f.queue.head.prev;
        push(&f, 0, 8);
        choice_mix_groups(&f.choice, &f.queue, last, pairs_joined);
        run_all(&f.queue);
        assert_int_equal(f.log.length, 8);
        for (size_t i = 0; i < 8; i += 2) assert_int_equal(f.log.text[i] + 1, f.log.text[i + 1]);
        choice_close(&f.choice);
    }
}

TEST(timers_change_places_only_with_equal_ones) {
    int moved = 0;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct fixture f;
        set_up(&f, seed);
        push(&f, 0, 4);
        struct handle *last = f.queue.head.prev;
        push(&f, 4, 10);
        choice_mix_timers(&f.choice, &f.queue, last, pairs_joined);
        run_all(&f.queue);
        assert_true(in_order(&f.log, 'a', 'd'));
        if (!in_order(&f.log, 'e', 'j')) moved++;
        size_t pair = 2;
        for (size_t i = 0; i < f.log.length; i++) { /* e and f, then g and h, then i and j */
            int name = f.log.text[i] - 'a';
            if (name < 4) continue;
            assert_int_equal((size_t)name / 2, pair / 2 + 1);
            pair++;
        }
        choice_close(&f.choice);
    }
    assert_in_range(moved, 30, 50);
}

TEST(sources_are_mixed_and_each_keeps_its_order) {
    int mixed = 0;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct fixture f;
        set_up(&f, seed);
        struct handle mark;
        handle_init(&mark, NULL);
        handle_push(&f.queue, &mark);
        for (int from = 0; from < 12; from += 4) {
            push(&f, from, from + 4);
            choice_source_done(&f.choice, &f.queue, &mark);
            assert_ptr_equal(mark.next, &f.queue.head);
        }
        choice_source_done(&f.choice, &f.queue, &mark); /* one that has queued nothing */
        handle_unlink(&mark);
        choice_turn_done(&f.choice, &f.queue);
        run_all(&f.queue);
        assert_int_equal(f.log.length, 12);
        for (int from = 'a'; from < 'm'; from += 4) {
            assert_true(in_order(&f.log, (char)from, (char)(from + 3)));
        }
        if (!in_order(&f.log, 'a', 'l')) mixed++;
        choice_close(&f.choice);
    }
    assert_in_range(mixed, 45, 50);
}

TEST(what_is_cancelled_while_it_is_taken_out_is_left_out) {
    struct fixture f;
    set_up(&f, 7);
    struct handle *last = f.queue.head.prev;
    push(&f, 0, 3);
    choice_source_done(&f.choice, &f.queue, last);
    handle_unlink(&f.jobs[1].timer.handle);
    choice_turn_done(&f.choice, &f.queue);
    run_all(&f.queue);
    assert_logged(&f.log, "ac");
    choice_close(&f.choice);
}

TEST(closing_takes_out_what_is_in_lanes) {
    struct fixture f;
    set_up(&f, 7);
    struct handle *last = f.queue.head.prev;
    push(&f, 0, 3);
    choice_source_done(&f.choice, &f.queue, last);
    choice_close(&f.choice);
    for (int i = 0; i < 3; i++) assert_false(handle_queued(&f.jobs[i].timer.handle));
}

TEST(the_same_seed_gives_the_same_order) {
    struct fixture f, g;
    set_up(&f, 99);
    set_up(&g, 99);
    push(&f, 0, JOBS);
    push(&g, 0, JOBS);
    choice_mix_groups(&f.choice, &f.queue, &f.queue.head, none_joined);
    choice_mix_groups(&g.choice, &g.queue, &g.queue.head, none_joined);
    run_all(&f.queue);
    run_all(&g.queue);
    assert_int_equal(f.log.length, JOBS);
    assert_memory_equal(f.log.text, g.log.text, JOBS);
    choice_close(&f.choice);
    choice_close(&g.choice);
}

int main(void) {
    return suite_run();
}
