/* choice.h -- the order of what asyncio leaves open, drawn from a seed.
 *
 * Off (the default), a loop keeps one order: descriptors as the kernel names them, then
 * timers by deadline and, among equal ones, by arrival, all of it behind what callbacks have
 * queued, first come first served.  On, a seeded generator decides
 *   - the order of the descriptors of one poll;
 *   - the order of timers with equal deadlines;
 *   - how the callbacks of one turn interleave that come from different sources: each
 *     callback of the turn before is a source, and so are each descriptor and the timers.
 * It never changes the order of what one source has queued, nor that of different
 * deadlines, nor the turn in which something runs.  Priority callbacks keep theirs.
 *
 * The generator is splitmix64: the state begins with the seed; for each draw the state is
 * increased by 0x9e3779b97f4a7c15, and z = state mixed by
 *     z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9,  z = (z ^ z >> 27) * 0x94d049bb133111eb,
 *     z ^ z >> 31;
 * a number below n is (z >> 32) * n >> 32.  So a seed means the same on every machine.
 *
 * On, the loop may allocate; where there is no memory, the order stays as it was. */
#ifndef LOOPHOST_CHOICE_H
#define LOOPHOST_CHOICE_H

#include "host/handle.h"

#include <stdint.h>

struct choice_lane;

struct choice {
    bool on;
    uint64_t state, draws;
    struct choice_lane *lanes, *last_lane, *spare; /* of the turn under way; not in use */
    struct handle **items;                         /* scratch */
    size_t capacity;
};

void choice_init(struct choice *choice);
void choice_start(struct choice *choice, uint64_t seed);

/* Takes every handle out that is still in a lane. */
void choice_close(struct choice *choice);

/* A number below n, which is not 0. */
uint32_t choice_below(struct choice *choice, uint32_t n);

/* Whether two neighbours belong together. */
typedef bool choice_joined_fn(const struct handle *first, const struct handle *second);

/* The handles behind `last` are new in the queue, each joined group of them from a source of
 * its own: shuffles the groups, and mixes them with those before. */
void choice_mix_groups(struct choice *choice, struct handle_queue *queue, struct handle *last,
                       choice_joined_fn *joined);

/* The same for timers that have expired, joined if their deadlines are equal: shuffles inside
 * of each group, and mixes all with those before. */
void choice_mix_timers(struct choice *choice, struct handle_queue *queue, struct handle *last,
                       choice_joined_fn *joined);

/* A callback has run: what stands behind `last` in the queue it has queued, for the next
 * turn.  Takes it out. */
void choice_source_done(struct choice *choice, struct handle_queue *queue, struct handle *last);

/* The turn is over: puts what was taken out back, mixed. */
void choice_turn_done(struct choice *choice, struct handle_queue *queue);

#endif
