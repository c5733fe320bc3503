/* fuzz_loop.c -- a loop in virtual time against a model of lists.
 *
 * Before each turn the model says what the time will be, what stands there, and in what
 * order; each callback that runs must be the one that the model expects next, and then
 * does random things to the loop and to the model alike.  A turn may end early only by
 * as many callbacks as were cancelled in it, and a ready one is overtaken only once. */
#include "host/loop.h"
#include "tests/fuzz.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { JOBS = 40, TURNS = 250, SEEDS = 1500 };

enum place { NOWHERE, READY, TIMER, PRIORITY, INBOX };

struct job {
    struct timer timer;
    int number;
};

static struct loop loop;
static struct watch always; /* on a descriptor that is always ready */
static int always_fd;
static struct job *jobs[JOBS]; /* on the heap while in the loop, so that a sanitizer sees */

/* The model.  Job number JOBS is the watch. */
struct list {
    int numbers[JOBS + 1];
    int count;
};

static struct model {
    enum place places[JOBS + 1];
    int64_t keys[JOBS + 1];
    struct list ready, timers, priorities, inbox; /* in the order in which they will run */
    bool stood[JOBS + 1];                         /* in the loop when the turn's step 4 began */
    int standing, ran, cancelled;                 /* of those, in this turn */
    bool overtaken[JOBS + 1];                     /* by urgent ones in the turn before */
    int reserved;                                 /* how many of them come first */
    int64_t now_ns;
    bool watched, stopping;
    bool with_watch; /* this seed uses the watch, others the inbox */
} model;

static void list_insert(struct list *list, int place, int number) {
    memmove(&list->numbers[place + 1], &list->numbers[place],
            (size_t)(list->count - place) * sizeof list->numbers[0]);
    list->numbers[place] = number;
    list->count++;
}

static void list_push(struct list *list, int number) {
    list_insert(list, list->count, number);
}

static void list_push_by_key(struct list *list, int number) {
    int place = list->count;
    while (place > 0 && model.keys[list->numbers[place - 1]] > model.keys[number]) place--;
    list_insert(list, place, number);
}

static void list_remove(struct list *list, int number) {
    int place = 0;
    while (place < list->count && list->numbers[place] != number) place++;
    check(place < list->count);
    list->count--;
    memmove(&list->numbers[place], &list->numbers[place + 1],
            (size_t)(list->count - place) * sizeof list->numbers[0]);
}

/* ---- What callbacks and the outside do ------------------------------------------------------- */

static void job_ran(struct handle *handle);

static void schedule(int number) {
    struct job *job = jobs[number] = malloc(sizeof *job);
    check(job != NULL);
    job->number = number;
    timer_init(&job->timer, job_ran);
    int64_t key = model.keys[number] = random_key();
    switch (random_below(model.with_watch ? 3 : 4)) {
    case 0:
        loop_call_soon(&loop, &job->timer.handle);
        model.places[number] = READY;
        list_push(&model.ready, number);
        break;
    case 1:
        /* Mostly near the present; the end of time only now and then. */
        if (key < 1000 && key >= 0) key = model.keys[number] = model.now_ns + key - 2;
        if (key > model.now_ns + 1000 && random_below(50) > 0) key = model.now_ns;
        model.keys[number] = key;
        check(loop_call_at(&loop, &job->timer, key));
        model.places[number] = TIMER;
        list_push_by_key(&model.timers, number);
        break;
    case 2:
        check(loop_call_priority(&loop, &job->timer, key));
        model.places[number] = PRIORITY;
        list_push_by_key(&model.priorities, number);
        break;
    case 3:
        loop_call_soon_threadsafe(&loop, &job->timer.handle);
        model.places[number] = INBOX;
        list_push(&model.inbox, number);
        break;
    }
}

static void left_the_loop(int number) {
    model.places[number] = NOWHERE;
    model.stood[number] = model.overtaken[number] = false;
    free(jobs[number]);
    jobs[number] = NULL;
}

static void cancel(int number) {
    switch (model.places[number]) {
    case READY:
        if (random_below(2) == 0) {
            handle_unlink(&jobs[number]->timer.handle);
        } else {
            loop_cancel_timer(&loop, &jobs[number]->timer);
        }
        list_remove(&model.ready, number);
        break;
    case TIMER:
        loop_cancel_timer(&loop, &jobs[number]->timer);
        list_remove(&model.timers, number);
        break;
    case PRIORITY:
        loop_cancel_priority(&loop, &jobs[number]->timer);
        list_remove(&model.priorities, number);
        break;
    case NOWHERE:
    case INBOX: return;
    }
    if (model.stood[number]) model.cancelled++;
    left_the_loop(number);
}

static void switch_watch(void) {
    if (!model.with_watch) return;
    if (!model.watched) {
        check(poller_start(&loop.poller, &always, always_fd, POLL_READ) == 0);
    } else {
        poller_stop(&loop.poller, &always);
        if (model.places[JOBS] == READY) list_remove(&model.ready, JOBS);
        if (model.places[JOBS] == READY && model.stood[JOBS]) model.cancelled++;
        model.stood[JOBS] = model.overtaken[JOBS] = false;
        model.places[JOBS] = NOWHERE;
    }
    model.watched = !model.watched;
    loop.listening = model.watched;
}

static void act(void) {
    for (int i = random_below(4); i > 0; i--) {
        int number = random_below(JOBS);
        if (model.places[number] != NOWHERE) {
            if (random_below(2) == 0) cancel(number);
        } else if (random_below(100) == 0) {
            switch_watch();
        } else if (random_below(100) == 0) {
            loop_stop(&loop);
            model.stopping = true;
        } else {
            schedule(number);
        }
    }
}

/* ---- The turn --------------------------------------------------------------------------------- */

static bool is_first(const struct list *list, int number) {
    return list->count > 0 && list->numbers[0] == number;
}

/* Priorities first, but for ready ones that were overtaken before. */
static void expect(int number) {
    if (is_first(&model.priorities, number)) {
        list_remove(&model.priorities, number);
    } else {
        check(is_first(&model.ready, number));
        check(model.stood[number]);
        check(model.priorities.count == 0 || model.reserved > 0);
        if (model.reserved > 0) model.reserved--;
        list_remove(&model.ready, number);
    }
    check(++model.ran <= model.standing);
    check(loop_now(&loop) == model.now_ns);
}

static void job_ran(struct handle *handle) {
    struct timer *timer = container_of(handle, struct timer, handle);
    int number = container_of(timer, struct job, timer)->number;
    expect(number);
    left_the_loop(number);
    act();
}

static void watch_ran(struct handle *handle) {
    (void)handle;
    expect(JOBS);
    model.stood[JOBS] = model.overtaken[JOBS] = false;
    model.places[JOBS] = NOWHERE;
    act();
}

static bool model_is_idle(void) {
    return model.ready.count == 0 && model.priorities.count == 0;
}

/* What the wait, the descriptors and the timers do; false if nothing can happen. */
static bool model_begins_turn(void) {
    while (model.inbox.count > 0) {
        int number = model.inbox.numbers[0];
        list_remove(&model.inbox, number);
        list_push(&model.ready, number);
        model.places[number] = READY;
    }
    bool idle = model_is_idle();
    if (model.watched && model.places[JOBS] != READY) {
        list_push(&model.ready, JOBS);
        model.places[JOBS] = READY;
    }
    if (idle && !model.watched && !model.stopping) {
        if (model.timers.count == 0) return false;
        int64_t next_ns = model.keys[model.timers.numbers[0]];
        if (next_ns > model.now_ns) model.now_ns = next_ns;
    }
    while (model.timers.count > 0 && model.keys[model.timers.numbers[0]] <= model.now_ns) {
        int number = model.timers.numbers[0];
        list_remove(&model.timers, number);
        list_push(&model.ready, number);
        model.places[number] = READY;
    }
    memset(model.stood, 0, sizeof model.stood);
    for (int i = 0; i < model.ready.count; i++) model.stood[model.ready.numbers[i]] = true;
    for (int i = 0; i < model.priorities.count; i++) {
        model.stood[model.priorities.numbers[i]] = true;
    }
    model.standing = model.ready.count + model.priorities.count;
    model.ran = model.cancelled = 0;
    return true;
}

/* Of the ready ones that stood there those are left that priorities have overtaken. */
static void model_ends_turn(void) {
    model.reserved = 0;
    for (int number = 0; number <= JOBS; number++) {
        bool left = model.stood[number] && model.places[number] == READY;
        check(!left || !model.overtaken[number]);
        model.overtaken[number] = left;
        model.stood[number] = false;
        model.reserved += left;
    }
}

static void check_queues(void) {
    int i = 0;
    for (struct handle *handle = loop.ready.head.next; handle != &loop.ready.head;
         handle = handle->next) {
        int number = model.ready.numbers[i++];
        check(handle == (number == JOBS ? &always.handle : &jobs[number]->timer.handle));
    }
    check(i == model.ready.count);
    check(loop.timers.count == (size_t)model.timers.count);
    check(loop.priority.count == (size_t)model.priorities.count);
}

static void play_turn(void) {
    bool possible = model_begins_turn();
    int result = model.stopping ? loop_run(&loop) : loop_run_once(&loop);
    check(result == (possible ? 0 : -EDEADLK));
    if (!loop.stopping) model.stopping = false;
    if (!possible) return;
    check(model.ran + model.cancelled >= model.standing);
    model_ends_turn();
    check_queues();
}

static void play(void) {
    memset(&model, 0, sizeof model);
    model.with_watch = fuzz.seed % 2 == 0;
    check(loop_init(&loop, CLOCK_KIND_VIRTUAL) == 0);
    watch_init(&always, watch_ran);
    check((always_fd = eventfd(1, EFD_NONBLOCK)) >= 0);
    for (fuzz.step = 0; fuzz.step < TURNS; fuzz.step++) {
        act();
        play_turn();
    }
    loop_close(&loop);
    close(always_fd);
    for (int number = 0; number < JOBS; number++) {
        if (jobs[number] == NULL) continue;
        check(!timer_started(&jobs[number]->timer));
        check(!handle_queued(&jobs[number]->timer.handle));
        left_the_loop(number);
    }
}

int main(int argc, char **argv) {
    return fuzz_main(argc, argv, SEEDS, play);
}
