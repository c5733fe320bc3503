/* test_threadpool.c -- jobs in threads, without a sleep: jobs wait for a gate that the test
 * opens.  Build it with -fsanitize=thread to see races. */
#include "host/threadpool.h"
#include "tests/suite.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { JOBS = 2000, LIMIT = 4, MOST = 7 };

/* ---- no more threads, on demand ---- */

static int fail_create; /* the errno of every pthread_create; 0: it works */

int pthread_create(pthread_t *id, const pthread_attr_t *attributes, void *(*start)(void *),
                   void *arg) {
    typedef int create_fn(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    create_fn *real = (create_fn *)(uintptr_t)dlsym(RTLD_NEXT, "pthread_create");
    return fail_create != 0 ? fail_create : real(id, attributes, start, arg);
}

/* ---- a world of a loop, a pool and jobs ---- */

static struct world {
    struct loop loop;
    struct threadpool *pool;
    sem_t begun, gate;
    int done, order[JOBS];
} world;

struct task {
    struct threadpool_job job;
    int number;
    bool gated, waits, worked;
    sigset_t mask;
};

static struct task *task_of(struct threadpool_job *job) {
    return container_of(job, struct task, job);
}

static void work(struct threadpool_job *job) {
    struct task *task = task_of(job);
    if (task->waits) threadpool_begin_wait(job);
    if (task->gated) {
        sem_post(&world.begun);
        while (sem_wait(&world.gate) < 0) continue;
    }
    if (task->waits) threadpool_end_wait(job);
    pthread_sigmask(SIG_BLOCK, NULL, &task->mask);
    task->worked = true;
}

static void done(struct handle *handle) {
    struct task *task = task_of(container_of(handle, struct threadpool_job, handle));
    assert_true(task->worked);
    assert_int_equal(task->job.state, THREADPOOL_DONE);
    task->job.state = THREADPOOL_IDLE;
    world.order[world.done++] = task->number;
    world.loop.outstanding--;
}

static void task_init(struct task *task, int number, bool gated) {
    *task = (struct task){.number = number, .gated = gated};
    threadpool_job_init(&task->job, work, done);
}

static void start(struct task *task) {
    assert_int_equal(threadpool_start(world.pool, &task->job, &world.loop), 0);
    world.loop.outstanding++;
}

static void run_until_done(int count) {
    while (world.done < count) assert_int_equal(loop_run_once(&world.loop), 0);
}

static void open_gate(int times) {
    for (int i = 0; i < times; i++) sem_post(&world.gate);
}

static void wait_begun(void) {
    while (sem_wait(&world.begun) < 0) continue;
}

static int set_up(void **state) {
    (void)state;
    memset(&world, 0, sizeof world);
    fail_create = 0;
    sem_init(&world.begun, 0, 0);
    sem_init(&world.gate, 0, 0);
    world.pool = threadpool_new(LIMIT, MOST);
    return world.pool == NULL || loop_init(&world.loop, CLOCK_KIND_MONOTONIC) < 0;
}

static int tear_down(void **state) {
    (void)state;
    if (world.pool != NULL) assert_true(threadpool_close(world.pool, (int64_t)60e9));
    loop_close(&world.loop);
    sem_destroy(&world.begun);
    sem_destroy(&world.gate);
    return 0;
}

#define POOL_TEST(name) TEST_WITH(name, set_up, tear_down)

/* ---- jobs ---- */

POOL_TEST(a_job_works_in_a_thread_and_tells_the_loop) {
    struct task task;
    task_init(&task, 7, false);
    assert_int_equal(threadpool_threads(world.pool), 0);
    start(&task);
    run_until_done(1);
    assert_int_equal(world.order[0], 7);
    assert_int_equal(threadpool_state(world.pool, &task.job), THREADPOOL_IDLE);
    start(&task); /* may be used again */
    run_until_done(2);
    assert_int_equal(threadpool_threads(world.pool), 1);
}

POOL_TEST(many_jobs_are_all_done_by_few_threads) {
    static struct task tasks[JOBS];
    for (int i = 0; i < JOBS; i++) {
        task_init(&tasks[i], i, false);
        start(&tasks[i]);
    }
    run_until_done(JOBS);
    bool seen[JOBS] = {false};
    for (int i = 0; i < JOBS; i++) seen[world.order[i]] = true;
    for (int i = 0; i < JOBS; i++) assert_true(seen[i]);
    assert_true(threadpool_threads(world.pool) <= LIMIT);
}

POOL_TEST(as_many_threads_as_jobs_that_wait_but_no_more_than_the_limit) {
    struct task tasks[LIMIT + 2];
    for (int i = 0; i < LIMIT + 2; i++) {
        task_init(&tasks[i], i, true);
        start(&tasks[i]);
        if (i < LIMIT) wait_begun();
        assert_int_equal(threadpool_threads(world.pool), i < LIMIT ? i + 1 : LIMIT);
    }
    assert_int_equal(threadpool_state(world.pool, &tasks[0].job), THREADPOOL_RUNNING);
    assert_int_equal(threadpool_state(world.pool, &tasks[LIMIT + 1].job), THREADPOOL_PENDING);
    open_gate(LIMIT + 2);
    run_until_done(LIMIT + 2);
}

POOL_TEST(jobs_that_only_wait_keep_no_other_from_its_turn) {
    struct task waiting[MOST - 1], task;
    task_init(&task, MOST - 1, false);
    for (int i = 0; i < MOST - 1; i++) {
        task_init(&waiting[i], i, true);
        waiting[i].waits = true;
        start(&waiting[i]);
    }
    for (int i = 0; i < MOST - 1; i++) wait_begun();
    start(&task);
    run_until_done(1);
    assert_int_equal(world.order[0], MOST - 1);
    open_gate(MOST - 1);
    run_until_done(MOST);
}

POOL_TEST(a_job_that_begins_to_wait_lets_another_begin) {
    struct task holding[LIMIT], waiting, task;
    for (int i = 0; i < LIMIT - 1; i++) {
        task_init(&holding[i], i, true);
        start(&holding[i]);
        wait_begun();
    }
    fail_create = EAGAIN; /* both jobs stand in the line of a pool that has no thread free */
    task_init(&holding[LIMIT - 1], LIMIT - 1, true);
    start(&holding[LIMIT - 1]);
    task_init(&waiting, LIMIT, true);
    waiting.waits = true;
    start(&waiting);
    task_init(&task, LIMIT + 1, false);
    start(&task);
    fail_create = 0;
    open_gate(1); /* one of the threads takes the next, a gate lets that one go on, too ... */
    wait_begun();
    open_gate(1);
    wait_begun(); /* ... and it begins to wait: now another thread is started */
    run_until_done(3);
    open_gate(LIMIT - 1);
    run_until_done(LIMIT + 2);
}

POOL_TEST(there_are_never_more_threads_than_the_most) {
    struct task tasks[MOST + 3];
    for (int i = 0; i < MOST + 3; i++) {
        task_init(&tasks[i], i, true);
        tasks[i].waits = true;
        start(&tasks[i]);
        if (i < MOST) wait_begun();
    }
    assert_int_equal(threadpool_threads(world.pool), MOST);
    open_gate(MOST + 3);
    run_until_done(MOST + 3);
}

POOL_TEST(one_thread_does_them_in_order) {
    struct threadpool *pool = threadpool_new(1, 1);
    struct task tasks[100];
    assert_non_null(pool);
    for (int i = 0; i < 100; i++) {
        task_init(&tasks[i], i, i == 0);
        assert_int_equal(threadpool_start(pool, &tasks[i].job, &world.loop), 0);
        world.loop.outstanding++;
    }
    open_gate(1);
    run_until_done(100);
    for (int i = 0; i < 100; i++) assert_int_equal(world.order[i], i);
    assert_true(threadpool_close(pool, (int64_t)60e9));
}

POOL_TEST(virtual_time_waits_for_a_job_that_is_outstanding) {
    struct task task;
    loop_close(&world.loop);
    assert_int_equal(loop_init(&world.loop, CLOCK_KIND_VIRTUAL), 0);
    task_init(&task, 0, true);
    start(&task);
    wait_begun();
    open_gate(1);
    assert_int_equal(loop_run_once(&world.loop), 0); /* not -EDEADLK */
    run_until_done(1);
    assert_int_equal(loop_run_once(&world.loop), -EDEADLK);
}

POOL_TEST(signals_are_blocked_in_the_threads_and_not_in_ours) {
    struct task task;
    sigset_t before, after;
    pthread_sigmask(SIG_BLOCK, NULL, &before);
    task_init(&task, 0, false);
    start(&task);
    run_until_done(1);
    pthread_sigmask(SIG_BLOCK, NULL, &after);
    for (int signal = 1; signal < 32; signal++) {
        assert_int_equal(sigismember(&before, signal), sigismember(&after, signal));
        if (signal == SIGKILL || signal == SIGSTOP) continue;
        assert_int_equal(sigismember(&task.mask, signal), 1);
    }
}

/* ---- taking back, waiting, leaving ---- */

/* Keeps all threads busy, so that what is started next does not begin. */
static void keep_busy(struct task tasks[LIMIT]) {
    for (int i = 0; i < LIMIT; i++) {
        task_init(&tasks[i], i, true);
        start(&tasks[i]);
        wait_begun();
    }
}

POOL_TEST(what_has_not_begun_can_be_taken_back) {
    struct task busy[LIMIT], late;
    keep_busy(busy);
    task_init(&late, 99, false);
    start(&late);
    assert_true(threadpool_take_back(world.pool, &late.job));
    world.loop.outstanding--;
    assert_int_equal(threadpool_state(world.pool, &late.job), THREADPOOL_IDLE);
    assert_false(threadpool_take_back(world.pool, &late.job));
    assert_false(threadpool_take_back(world.pool, &busy[0].job));
    open_gate(LIMIT);
    run_until_done(LIMIT);
    assert_false(late.worked);
    start(&late);
    run_until_done(LIMIT + 1);
}

POOL_TEST(one_may_wait_for_a_job_without_the_loop) {
    struct task task;
    task_init(&task, 0, true);
    start(&task);
    wait_begun();
    assert_false(threadpool_wait(world.pool, &task.job, 1000000));
    open_gate(1);
    assert_true(threadpool_wait(world.pool, &task.job, -1));
    assert_true(task.worked);
    assert_int_equal(threadpool_state(world.pool, &task.job), THREADPOOL_DONE);
    run_until_done(1); /* the loop is told all the same */
}

POOL_TEST(a_loop_that_is_left_is_told_nothing) {
    struct task busy[LIMIT], late;
    struct loop other;
    assert_int_equal(loop_init(&other, CLOCK_KIND_MONOTONIC), 0);
    keep_busy(busy);
    task_init(&late, 99, false);
    start(&late);
    assert_true(threadpool_redirect(world.pool, &busy[1].job, &other));
    threadpool_leave(world.pool, &world.loop);
    loop_close(&world.loop);
    assert_int_equal(threadpool_state(world.pool, &late.job), THREADPOOL_IDLE);
    open_gate(LIMIT);
    for (int i = 0; i < LIMIT; i++) {
        assert_true(threadpool_wait(world.pool, &busy[i].job, -1));
        assert_int_equal(threadpool_state(world.pool, &busy[i].job), THREADPOOL_DONE);
        assert_int_equal(handle_queued(&busy[i].job.handle), false);
    }
    assert_false(threadpool_redirect(world.pool, &busy[0].job, &other));
    assert_false(late.worked);
    other.outstanding = 1;
    assert_int_equal(loop_run_once(&other), 0); /* the redirected one */
    assert_int_equal(world.done, 1);
    assert_int_equal(world.order[0], 1);
    loop_close(&other);
    assert_int_equal(loop_init(&world.loop, CLOCK_KIND_MONOTONIC), 0);
}

/* Once the job is taken back, lets those that run go on. */
static void *open_gate_after(void *arg) {
    struct task *late = arg;
    while (threadpool_state(world.pool, &late->job) != THREADPOOL_IDLE) sched_yield();
    open_gate(LIMIT);
    return NULL;
}

POOL_TEST(closing_waits_for_what_runs_and_takes_back_the_rest) {
    struct task busy[LIMIT], late;
    pthread_t opener = pthread_self();
    keep_busy(busy);
    task_init(&late, 99, false);
    start(&late);
    assert_int_equal(pthread_create(&opener, NULL, open_gate_after, &late), 0);
    assert_true(threadpool_close(world.pool, (int64_t)60e9));
    world.pool = NULL;
    pthread_join(opener, NULL);
    for (int i = 0; i < LIMIT; i++) assert_true(busy[i].worked);
    assert_int_equal(late.job.state, THREADPOOL_IDLE);
    assert_false(late.worked);
}

POOL_TEST(a_thread_that_never_ends_is_left_alone) {
    static struct task stuck;                /* belongs to the thread from now on */
    static struct threadpool *volatile left; /* and so does the pool, which is not freed: no leak */
    task_init(&stuck, 0, true);
    start(&stuck);
    wait_begun();
    assert_false(threadpool_close(world.pool, 1000000));
    left = world.pool;
    assert_non_null(left);
    world.pool = NULL;
    open_gate(1); /* but here it can end: let nothing run into the next test */
    while (sem_trywait(&world.gate) == 0) {
        sem_post(&world.gate);
        sched_yield();
    }
}

POOL_TEST(a_signal_goes_to_the_thread_of_the_job) {
    struct task tasks[2];
    for (int i = 0; i < 2; i++) {
        task_init(&tasks[i], i, true);
        start(&tasks[i]);
        wait_begun();
    }
    threadpool_signal(world.pool, &tasks[1].job, SIGUSR1); /* stays pending there: blocked */
    open_gate(2);
    run_until_done(2);
    threadpool_signal(world.pool, &tasks[1].job, SIGUSR1); /* harmless: it does not run */
}

/* ---- out of threads; a forked child ---- */

POOL_TEST(without_any_thread_a_job_is_refused) {
    struct task task;
    task_init(&task, 0, false);
    fail_create = EAGAIN;
    assert_int_equal(threadpool_start(world.pool, &task.job, &world.loop), -EAGAIN);
    assert_int_equal(task.job.state, THREADPOOL_IDLE);
    fail_create = 0;
    start(&task);
    run_until_done(1);
}

POOL_TEST(with_one_thread_jobs_wait_for_that) {
    struct task tasks[3];
    task_init(&tasks[0], 0, true);
    start(&tasks[0]);
    wait_begun();
    fail_create = EAGAIN;
    for (int i = 1; i < 3; i++) {
        task_init(&tasks[i], i, false);
        start(&tasks[i]);
    }
    assert_int_equal(threadpool_threads(world.pool), 1);
    open_gate(1);
    run_until_done(3);
    for (int i = 0; i < 3; i++) assert_int_equal(world.order[i], i);
}

POOL_TEST(a_forked_child_does_not_hang) {
    struct task task, other;
    task_init(&task, 0, true);
    start(&task);
    wait_begun();
    task_init(&other, 1, false);
    pid_t child = fork();
    if (child == 0) {
        bool good = !threadpool_is_ours(world.pool) &&
                    !threadpool_wait(world.pool, &task.job, -1) &&
                    threadpool_start(world.pool, &other.job, &world.loop) == -EPERM &&
                    !threadpool_take_back(world.pool, &task.job) &&
                    !threadpool_close(world.pool, (int64_t)60e9);
        threadpool_leave(world.pool, &world.loop);
        threadpool_signal(world.pool, &task.job, SIGUSR1);
        _exit(good ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    open_gate(1);
    run_until_done(1);
}

int main(void) {
    return suite_run();
}
