/* test_loop_threads.c -- handles that come from other threads and signal handlers.  Build
 * it with -fsanitize=thread to see races. */
#include "tests/job.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

enum { THREADS = 8, HANDLES = 2000, ROUNDS = 500, SIGNALS = 200 };

/* A thread that pushes its numbers, and what has arrived of them. */
struct producer {
    pthread_t thread;
    struct loop *loop;
    struct parcel {
        struct handle handle;
        struct producer *producer;
        int number;
    } parcels[HANDLES];
    int arrived;
    bool in_order;
};

static void receive(struct handle *handle) {
    struct parcel *parcel = container_of(handle, struct parcel, handle);
    struct producer *producer = parcel->producer;
    if (parcel->number != producer->arrived) producer->in_order = false;
    if (++producer->arrived == HANDLES) producer->loop->outstanding--;
}

static void *produce(void *arg) {
    struct producer *producer = arg;
    for (int i = 0; i < HANDLES; i++) {
        loop_call_soon_threadsafe(producer->loop, &producer->parcels[i].handle);
    }
    return NULL;
}

static void start_producer(struct producer *producer, struct loop *loop) {
    *producer = (struct producer){.loop = loop, .in_order = true};
    for (int i = 0; i < HANDLES; i++) {
        struct parcel *parcel = &producer->parcels[i];
        *parcel = (struct parcel){.producer = producer, .number = i};
        handle_init(&parcel->handle, receive);
    }
    loop->outstanding++;
    assert_int_equal(pthread_create(&producer->thread, NULL, produce, producer), 0);
}

static void deliver_from_many_threads(enum clock_kind kind, bool busy) {
    struct loop loop;
    struct producer *producers = calloc(THREADS, sizeof *producers);
    assert_non_null(producers);
    assert_int_equal(loop_init(&loop, kind), 0);
    for (int i = 0; i < THREADS; i++) start_producer(&producers[i], &loop);
    struct job filler;
    job_init(&filler, 'f', NULL);
    while (loop.outstanding > 0) {
        if (busy && !handle_queued(&filler.timer.handle)) {
            loop_call_soon(&loop, &filler.timer.handle);
        }
        assert_int_equal(loop_run_once(&loop), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(producers[i].arrived, HANDLES);
        assert_true(producers[i].in_order);
        pthread_join(producers[i].thread, NULL);
    }
    loop_close(&loop);
    free(producers);
}

TEST(every_handle_of_many_threads_runs_in_its_threads_order) {
    deliver_from_many_threads(CLOCK_KIND_MONOTONIC, false);
}

TEST(a_busy_loop_takes_them_too) {
    deliver_from_many_threads(CLOCK_KIND_MONOTONIC, true);
}

TEST(in_virtual_time_as_well) {
    deliver_from_many_threads(CLOCK_KIND_VIRTUAL, false);
}

/* ---- Two loops that play ball ----------------------------------------------------------------- */

struct player {
    struct loop loop;
    struct handle ball; /* arrives here */
    struct player *other;
    int hits;
};

static void hit(struct handle *handle) {
    struct player *player = container_of(handle, struct player, ball);
    loop_call_soon_threadsafe(&player->other->loop, &player->other->ball);
    if (++player->hits == HANDLES) loop_stop(&player->loop);
}

static void *play(void *arg) {
    struct player *player = arg;
    loop_run(&player->loop);
    return NULL;
}

TEST(each_push_wakes_a_loop_that_waits) {
    static struct player players[2];
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        players[i] = (struct player){.other = &players[1 - i]};
        assert_int_equal(loop_init(&players[i].loop, CLOCK_KIND_MONOTONIC), 0);
        players[i].loop.outstanding = 1;
        handle_init(&players[i].ball, hit);
    }
    loop_call_soon(&players[0].loop, &players[0].ball);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, play, &players[i]), 0);
    }
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(players[i].hits, HANDLES);
        loop_close(&players[i].loop);
    }
}

/* ---- The end of a loop ------------------------------------------------------------------------ */

struct last_push {
    struct loop *loop;
    struct handle handle;
};

static void stop_loop_of(struct handle *handle) {
    loop_stop(container_of(handle, struct last_push, handle)->loop);
}

static void *push_last(void *arg) {
    struct last_push *last = arg;
    loop_call_soon_threadsafe(last->loop, &last->handle);
    return NULL;
}

/* The story: a worker's last handle ran and ended the loop before the worker came to write
 * to the loop's descriptor, whose number belonged to a stranger's file by then. */
TEST(a_loop_may_end_in_the_callback_of_the_last_push) {
    for (int round = 0; round < ROUNDS; round++) {
        struct last_push last = {.loop = malloc(sizeof *last.loop)};
        assert_non_null(last.loop);
        assert_int_equal(loop_init(last.loop, CLOCK_KIND_MONOTONIC), 0);
        handle_init(&last.handle, stop_loop_of);
        pthread_t thread;
        last.loop->outstanding = 1;
        assert_int_equal(pthread_create(&thread, NULL, push_last, &last), 0);
        if (round % 2 == 0) { /* more often than not we see the handle before the write */
            while (atomic_load(&last.loop->inbox) == NULL) continue;
        }
        assert_int_equal(loop_run(last.loop), 0);
        loop_close(last.loop);
        memset(last.loop, 0, sizeof *last.loop); /* its inbox's number is now 0 */
        free(last.loop);
        pthread_join(thread, NULL);
    }
}

TEST(what_was_pushed_and_did_not_run_is_let_go) {
    struct loop loop;
    struct log log = {.length = 0};
    struct job a, b;
    job_init(&a, 'a', &log);
    job_init(&b, 'b', &log);
    assert_int_equal(loop_init(&loop, CLOCK_KIND_MONOTONIC), 0);
    loop_call_soon_threadsafe(&loop, &a.timer.handle);
    loop_call_soon_threadsafe(&loop, &b.timer.handle);
    loop_close(&loop);
    assert_false(handle_queued(&a.timer.handle));
    assert_false(handle_queued(&b.timer.handle));
    assert_logged(&log, "");
}

/* ---- The loop's own thread -------------------------------------------------------------------- */

static void push_other_safely(struct job *job) {
    loop_call_soon_threadsafe(job->loop, &job->other->timer.handle);
}

TEST(what_a_callback_pushes_runs_in_the_next_turn) {
    struct loop loop;
    struct log log = {.length = 0};
    struct job a, b, c, d;
    job_init(&a, 'a', &log);
    job_init(&b, 'b', &log);
    job_init(&c, 'c', &log);
    job_init(&d, 'd', &log);
    assert_int_equal(loop_init(&loop, CLOCK_KIND_MONOTONIC), 0);
    a.loop = b.loop = &loop;
    a.then = b.then = push_other_safely;
    a.other = &c;
    b.other = &d;
    loop_call_soon(&loop, &a.timer.handle);
    loop_call_soon(&loop, &b.timer.handle);
    assert_int_equal(loop_run_once(&loop), 0);
    assert_logged(&log, "ab");
    assert_int_equal(loop_run_once(&loop), 0);
    assert_logged(&log, "cd");
    loop_close(&loop);
}

/* ---- Signal handlers -------------------------------------------------------------------------- */

static struct mailbox {
    struct loop loop;
    struct handle letter;
    atomic_bool under_way; /* the letter was pushed and has not run */
    atomic_int letters;    /* that were opened */
    struct job self;
} mailbox;

static void send_letter(int signal) {
    (void)signal;
    if (!atomic_exchange(&mailbox.under_way, true)) {
        loop_call_soon_threadsafe(&mailbox.loop, &mailbox.letter);
    }
}

static void open_letter(struct handle *handle) {
    (void)handle;
    atomic_store(&mailbox.under_way, false);
    atomic_fetch_add(&mailbox.letters, 1);
}

static void set_up_mailbox(int signal) {
    memset(&mailbox, 0, sizeof mailbox);
    assert_int_equal(loop_init(&mailbox.loop, CLOCK_KIND_MONOTONIC), 0);
    mailbox.loop.outstanding = 1;
    handle_init(&mailbox.letter, open_letter);
    struct sigaction action = {.sa_handler = send_letter, .sa_flags = SA_RESTART};
    assert_int_equal(sigaction(signal, &action, NULL), 0);
}

static void tear_down_mailbox(int signal) {
    struct sigaction action = {.sa_handler = SIG_IGN};
    sigaction(signal, &action, NULL);
    loop_close(&mailbox.loop);
}

/* The next signal comes when the letter of the last one was opened. */
static void *kill_often(void *thread) {
    for (int i = 0; i < SIGNALS; i++) {
        pthread_kill(*(pthread_t *)thread, SIGUSR1);
        while (atomic_load(&mailbox.letters) <= i) sched_yield();
    }
    return NULL;
}

/* The loop waits for ever: a letter that did not wake it would hang the test. */
TEST(a_signal_handler_wakes_the_loop_that_it_interrupts) {
    set_up_mailbox(SIGUSR1);
    pthread_t self = pthread_self(), killer;
    assert_int_equal(pthread_create(&killer, NULL, kill_often, &self), 0);
    while (mailbox.letters < SIGNALS) assert_int_equal(loop_run_once(&mailbox.loop), 0);
    pthread_join(killer, NULL);
    tear_down_mailbox(SIGUSR1);
}

/* The handler interrupts the loop wherever it is, also within its own push. */
TEST(a_signal_handler_may_interrupt_a_push) {
    set_up_mailbox(SIGALRM);
    struct itimerval often = {.it_interval.tv_usec = 50, .it_value.tv_usec = 50};
    struct itimerval never = {.it_value.tv_usec = 0};
    job_init(&mailbox.self, 's', NULL);
    mailbox.self.loop = &mailbox.loop;
    mailbox.self.then = push_other_safely;
    mailbox.self.other = &mailbox.self;
    loop_call_soon(&mailbox.loop, &mailbox.self.timer.handle);
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
    for (int turn = 0; mailbox.letters < 100 || turn < 10000; turn++) {
        uint64_t ran = mailbox.loop.metrics.callbacks_executed;
        assert_int_equal(loop_run_once(&mailbox.loop), 0);
        assert_true(mailbox.loop.metrics.callbacks_executed > ran);
    }
    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
    tear_down_mailbox(SIGALRM);
}

int main(void) {
    return suite_run();
}
