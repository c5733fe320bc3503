/* choice.c -- shuffling and mixing queues.  A mix of sequences is drawn so that every one of
 * the possible interleavings is equally likely. */
#include "host/choice.h"

#include <stdlib.h>

struct choice_lane {
    struct handle_queue queue;
    struct choice_lane *next;
    size_t count;
};

void choice_init(struct choice *choice) {
    *choice = (struct choice){.on = false};
}

void choice_start(struct choice *choice, uint64_t seed) {
    choice->on = true;
    choice->state = seed;
    choice->draws = 0;
}

uint32_t choice_below(struct choice *choice, uint32_t n) {
    uint64_t z = choice->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    choice->draws++;
    return (uint32_t)(((z >> 32) * n) >> 32);
}

/* Room for so many items, and whether there is. */
static bool reserve(struct choice *choice, size_t count) {
    if (count <= choice->capacity) return true;
    size_t capacity = count * 2;
    struct handle **items = realloc(choice->items, capacity * sizeof(struct handle *));
    if (items == NULL) return false;
    choice->items = items;
    choice->capacity = capacity;
    return true;
}

static size_t count_after(const struct handle_queue *queue, const struct handle *last) {
    size_t count = 0;
    for (const struct handle *at = last->next; at != &queue->head; at = at->next) count++;
    return count;
}

/* Moves all behind `last` to the end of the items from `from` on. */
static void take_after(struct choice *choice, struct handle_queue *queue, struct handle *last,
                       size_t from) {
    while (last->next != &queue->head) {
        struct handle *handle = last->next;
        handle_unlink(handle);
        choice->items[from++] = handle;
    }
}

static void shuffle(struct choice *choice, struct handle **items, size_t count) {
    for (size_t i = count; i > 1; i--) {
        size_t j = choice_below(choice, (uint32_t)i);
        struct handle *item = items[i - 1];
        items[i - 1] = items[j];
        items[j] = item;
    }
}

/* The queue is empty: fills it with the first `old` items and the `new` ones behind them,
 * each in its order. */
static void interleave(struct choice *choice, struct handle_queue *queue, size_t old,
                       size_t fresh) {
    struct handle **first = choice->items, **second = choice->items + old;
    while (old > 0 || fresh > 0) {
        bool from_old =
            fresh == 0 || (old > 0 && choice_below(choice, (uint32_t)(old + fresh)) < old);
        handle_push(queue, from_old ? *first++ : *second++);
        if (from_old) {
            old--;
        } else {
            fresh--;
        }
    }
}

/* Takes the queue apart: the old ones before the new ones, whose number it returns; 0 if
 * there is nothing to choose, or no memory. */
static size_t take_all(struct choice *choice, struct handle_queue *queue, struct handle *last,
                       size_t *old) {
    size_t count = count_after(queue, last), all = count_after(queue, &queue->head);
    if (count == 0 || all < 2 || all > UINT32_MAX || !reserve(choice, all * 2)) return 0;
    *old = all - count;
    take_after(choice, queue, last, *old); /* first, as `last` may be an old one */
    take_after(choice, queue, &queue->head, 0);
    return count;
}

void choice_mix_groups(struct choice *choice, struct handle_queue *queue, struct handle *last,
                       choice_joined_fn *joined) {
    size_t old, fresh = take_all(choice, queue, last, &old);
    if (fresh == 0) return;
    struct handle **items = choice->items + old, **firsts = items + fresh;
    size_t groups = 0, filled = 0;
    /* a group is linked by `next` while it is out of the queue */
    for (size_t i = 0; i < fresh; i++) {
        if (i > 0 && joined(items[i - 1], items[i])) {
            items[i - 1]->next = items[i];
        } else {
            firsts[groups++] = items[i];
        }
    }
    shuffle(choice, firsts, groups);
    for (size_t i = 0; i < groups; i++) {
        for (struct handle *at = firsts[i], *next; at != NULL; at = next) {
            next = at->next;
            at->next = NULL;
            items[filled++] = at;
        }
    }
    interleave(choice, queue, old, fresh);
}

void choice_mix_timers(struct choice *choice, struct handle_queue *queue, struct handle *last,
                       choice_joined_fn *joined) {
    size_t old, fresh = take_all(choice, queue, last, &old);
    if (fresh == 0) return;
    struct handle **items = choice->items + old;
    for (size_t i = 0, end; i < fresh; i = end) {
        for (end = i + 1; end < fresh && joined(items[end - 1], items[end]);) end++;
        shuffle(choice, items + i, end - i);
    }
    interleave(choice, queue, old, fresh);
}

/* ---- sources ---- */

static struct choice_lane *new_lane(struct choice *choice) {
    struct choice_lane *lane = choice->spare;
    if (lane != NULL) {
        choice->spare = lane->next;
    } else {
        lane = malloc(sizeof *lane);
        if (lane == NULL) return NULL;
    }
    handle_queue_init(&lane->queue);
    lane->next = NULL;
    if (choice->last_lane != NULL) {
        choice->last_lane->next = lane;
    } else {
        choice->lanes = lane;
    }
    return choice->last_lane = lane;
}

void choice_source_done(struct choice *choice, struct handle_queue *queue, struct handle *last) {
    if (last->next == &queue->head) return;
    struct choice_lane *lane = new_lane(choice);
    if (lane == NULL) lane = choice->last_lane;
    if (lane == NULL) return;
    do {
        struct handle *handle = last->next;
        handle_unlink(handle);
        handle_push(&lane->queue, handle);
        /* cppcheck-suppress knownConditionTrueFalse ; it does not see handle_unlink's writes */
    } while (last->next != &queue->head);
}

/* How many handles are in the lanes; each lane's count too. */
static size_t count_lanes(struct choice *choice) {
    size_t all = 0;
    for (struct choice_lane *lane = choice->lanes; lane != NULL; lane = lane->next) {
        lane->count = count_after(&lane->queue, &lane->queue.head);
        all += lane->count;
    }
    return all;
}

/* Appends all that is in the lanes, one lane after the other. */
static void append_lanes(struct choice *choice, struct handle_queue *queue) {
    for (struct choice_lane *lane = choice->lanes; lane != NULL; lane = lane->next) {
        struct handle *handle;
        while ((handle = handle_pop(&lane->queue)) != NULL) handle_push(queue, handle);
    }
}

/* Each lane's head as often as it has handles, shuffled: whose turn it is. */
static void mix_lanes(struct choice *choice, struct handle_queue *queue, size_t all) {
    size_t filled = 0;
    for (struct choice_lane *lane = choice->lanes; lane != NULL; lane = lane->next) {
        for (size_t i = 0; i < lane->count; i++) choice->items[filled++] = &lane->queue.head;
    }
    shuffle(choice, choice->items, all);
    for (size_t i = 0; i < all; i++) {
        handle_push(queue, handle_pop(container_of(choice->items[i], struct handle_queue, head)));
    }
}

void choice_turn_done(struct choice *choice, struct handle_queue *queue) {
    if (choice->lanes == NULL) return;
    size_t all = count_lanes(choice);
    if (choice->lanes->next != NULL && all > 1 && all <= UINT32_MAX && reserve(choice, all)) {
        mix_lanes(choice, queue, all);
    } else {
        append_lanes(choice, queue);
    }
    choice->last_lane->next = choice->spare;
    choice->spare = choice->lanes;
    choice->lanes = choice->last_lane = NULL;
}

static void free_lanes(struct choice_lane *lane) {
    while (lane != NULL) {
        struct choice_lane *next = lane->next;
        free(lane);
        lane = next;
    }
}

void choice_close(struct choice *choice) {
    for (struct choice_lane *lane = choice->lanes; lane != NULL; lane = lane->next) {
        while (handle_pop(&lane->queue) != NULL) continue;
    }
    free_lanes(choice->lanes);
    free_lanes(choice->spare);
    free(choice->items);
    choice_init(choice);
}
