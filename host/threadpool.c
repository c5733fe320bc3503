/* threadpool.c -- one lock, two queues: jobs that wait, and jobs that run.
 *
 * A job is in the queue of its state by its handle, which is free until it goes to the
 * loop.  The loop is told under the lock: so once threadpool_leave has returned, nobody is
 * in the middle of telling it. */
#include "host/threadpool.h"

#include <assert.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { IDLE_SECONDS = 5 }; /* then a thread without work ends */

enum thread_state { THREAD_NONE, THREAD_LIVES, THREAD_ENDED };

struct thread {
    pthread_t id;
    enum thread_state state;
    struct threadpool *pool;
    struct threadpool_job *job; /* that it runs */
};

struct threadpool {
    pthread_mutex_t lock;
    pthread_cond_t work;     /* a job waits, or the pool is closing */
    pthread_cond_t finished; /* a job is over */
    struct handle_queue pending, running;
    size_t pending_count;
    int waiting; /* threads without work */
    int parked;  /* threads whose jobs only wait */
    bool closing;
    pid_t owner;
    int limit, most;
    struct thread threads[]; /* most */
};

/* ---- time ---- */

static struct timespec deadline_after(int64_t ns) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t whole_s = ns / 1000000000, nsec = now.tv_nsec + ns % 1000000000;
    now.tv_sec += whole_s + nsec / 1000000000;
    now.tv_nsec = nsec % 1000000000;
    return now;
}

/* ---- the threads ---- */

static struct threadpool_job *job_of(struct handle *handle) {
    return container_of(handle, struct threadpool_job, handle);
}

/* Waits for work; NULL: the thread is to end. */
static struct threadpool_job *next_job(struct threadpool *pool) {
    struct timespec deadline = deadline_after((int64_t)IDLE_SECONDS * 1000000000);
    int result = 0;
    while (handle_queue_empty(&pool->pending)) {
        if (pool->closing || result == ETIMEDOUT) return NULL;
        pool->waiting++;
        result = pthread_cond_clockwait(&pool->work, &pool->lock, CLOCK_MONOTONIC, &deadline);
        pool->waiting--;
    }
    pool->pending_count--;
    return job_of(handle_pop(&pool->pending));
}

/* After this the owner may do with the job what it likes. */
static void finish(struct threadpool *pool, struct threadpool_job *job) {
    handle_unlink(&job->handle);
    job->state = THREADPOOL_DONE;
    if (job->loop != NULL) loop_call_soon_threadsafe(job->loop, &job->handle);
    pthread_cond_broadcast(&pool->finished);
}

static void *thread_main(void *arg) {
    struct thread *thread = arg;
    struct threadpool *pool = thread->pool;
    pthread_mutex_lock(&pool->lock);
    while ((thread->job = next_job(pool)) != NULL) {
        thread->job->state = THREADPOOL_RUNNING;
        handle_push(&pool->running, &thread->job->handle);
        pthread_mutex_unlock(&pool->lock);
        thread->job->work(thread->job);
        pthread_mutex_lock(&pool->lock);
        finish(pool, thread->job);
        thread->job = NULL;
    }
    thread->state = THREAD_ENDED;
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static int count_threads(const struct threadpool *pool) {
    int count = 0;
    for (int i = 0; i < pool->most; i++) count += pool->threads[i].state == THREAD_LIVES;
    return count;
}

/* A place for one more thread, after the last one there has left it. */
static struct thread *free_place(struct threadpool *pool) {
    if (count_threads(pool) - pool->parked >= pool->limit) return NULL;
    for (int i = 0; i < pool->most; i++) {
        struct thread *thread = &pool->threads[i];
        if (thread->state == THREAD_ENDED) { /* it needs the lock no more */
            pthread_join(thread->id, NULL);
            thread->state = THREAD_NONE;
        }
        if (thread->state == THREAD_NONE) return thread;
    }
    return NULL;
}

static int start_thread(struct threadpool *pool) {
    struct thread *thread = free_place(pool);
    if (thread == NULL) return 0;
    sigset_t all, before;
    sigfillset(&all);
    thread->pool = pool;
    thread->state = THREAD_LIVES;
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = pthread_create(&thread->id, NULL, thread_main, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (result != 0) thread->state = THREAD_NONE;
    return -result;
}

/* More jobs wait than there are threads without work. */
static bool wants_thread(const struct threadpool *pool) {
    return pool->pending_count > (size_t)pool->waiting;
}

/* ---- jobs ---- */

static void remove_pending(struct threadpool *pool, struct threadpool_job *job) {
    handle_unlink(&job->handle);
    job->state = THREADPOOL_IDLE;
    pool->pending_count--;
}

int threadpool_start(struct threadpool *pool, struct threadpool_job *job, struct loop *loop) {
    int result = 0;
    assert(job->state == THREADPOOL_IDLE);
    if (!threadpool_is_ours(pool)) return -EPERM;
    pthread_mutex_lock(&pool->lock);
    job->loop = loop;
    job->pool = pool;
    job->state = THREADPOOL_PENDING;
    handle_push(&pool->pending, &job->handle);
    pool->pending_count++;
    if (wants_thread(pool)) result = start_thread(pool);
    if (result < 0 && count_threads(pool) > 0) result = 0; /* it has to wait for those */
    if (result < 0) {
        remove_pending(pool, job);
    } else {
        pthread_cond_signal(&pool->work);
    }
    pthread_mutex_unlock(&pool->lock);
    return result;
}

void threadpool_begin_wait(struct threadpool_job *job) {
    struct threadpool *pool = job->pool;
    pthread_mutex_lock(&pool->lock);
    pool->parked++;
    if (wants_thread(pool)) start_thread(pool); /* else they wait for those that there are */
    pthread_mutex_unlock(&pool->lock);
}

void threadpool_end_wait(struct threadpool_job *job) {
    pthread_mutex_lock(&job->pool->lock);
    job->pool->parked--;
    pthread_mutex_unlock(&job->pool->lock);
}

bool threadpool_take_back(struct threadpool *pool, struct threadpool_job *job) {
    if (!threadpool_is_ours(pool)) return false;
    pthread_mutex_lock(&pool->lock);
    bool takes = job->state == THREADPOOL_PENDING;
    if (takes) remove_pending(pool, job);
    pthread_mutex_unlock(&pool->lock);
    return takes;
}

enum threadpool_state threadpool_state(struct threadpool *pool, const struct threadpool_job *job) {
    if (!threadpool_is_ours(pool)) return job->state;
    pthread_mutex_lock(&pool->lock);
    enum threadpool_state state = job->state;
    pthread_mutex_unlock(&pool->lock);
    return state;
}

static bool is_under_way(const struct threadpool_job *job) {
    return job->state == THREADPOOL_PENDING || job->state == THREADPOOL_RUNNING;
}

bool threadpool_redirect(struct threadpool *pool, struct threadpool_job *job, struct loop *loop) {
    if (!threadpool_is_ours(pool)) return false;
    pthread_mutex_lock(&pool->lock);
    bool can = is_under_way(job);
    if (can) job->loop = loop;
    pthread_mutex_unlock(&pool->lock);
    return can;
}

void threadpool_leave(struct threadpool *pool, const struct loop *loop) {
    if (!threadpool_is_ours(pool)) return;
    pthread_mutex_lock(&pool->lock);
    for (struct handle *next, *at = pool->pending.head.next; at != &pool->pending.head; at = next) {
        next = at->next;
        if (job_of(at)->loop == loop) remove_pending(pool, job_of(at));
    }
    for (struct handle *at = pool->running.head.next; at != &pool->running.head; at = at->next) {
        if (job_of(at)->loop == loop) job_of(at)->loop = NULL;
    }
    pthread_mutex_unlock(&pool->lock);
}

bool threadpool_wait(struct threadpool *pool, struct threadpool_job *job, int64_t timeout_ns) {
    if (!threadpool_is_ours(pool)) return !is_under_way(job);
    struct timespec deadline = deadline_after(timeout_ns < 0 ? 0 : timeout_ns);
    int result = 0;
    pthread_mutex_lock(&pool->lock);
    while (is_under_way(job) && result != ETIMEDOUT) {
        result = timeout_ns < 0 ? pthread_cond_wait(&pool->finished, &pool->lock)
                                : pthread_cond_clockwait(&pool->finished, &pool->lock,
                                                         CLOCK_MONOTONIC, &deadline);
    }
    bool over = !is_under_way(job);
    pthread_mutex_unlock(&pool->lock);
    return over;
}

void threadpool_signal(struct threadpool *pool, struct threadpool_job *job, int signal) {
    if (!threadpool_is_ours(pool)) return;
    pthread_mutex_lock(&pool->lock);
    for (int i = 0; i < pool->most; i++) {
        struct thread *thread = &pool->threads[i];
        if (thread->state == THREAD_LIVES && thread->job == job &&
            job->state == THREADPOOL_RUNNING) {
            pthread_kill(thread->id, signal);
        }
    }
    pthread_mutex_unlock(&pool->lock);
}

int threadpool_threads(struct threadpool *pool) {
    pthread_mutex_lock(&pool->lock);
    int count = count_threads(pool);
    pthread_mutex_unlock(&pool->lock);
    return count;
}

/* ---- life ---- */

bool threadpool_is_ours(const struct threadpool *pool) {
    return pool->owner == getpid();
}

struct threadpool *threadpool_new(int limit, int most) {
    struct threadpool *pool = calloc(1, sizeof *pool + (size_t)most * sizeof pool->threads[0]);
    if (pool == NULL) return NULL;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->finished, NULL);
    handle_queue_init(&pool->pending);
    handle_queue_init(&pool->running);
    pool->owner = getpid();
    pool->limit = limit;
    pool->most = most;
    return pool;
}

/* A thread goes on in our code: if that is a module's, it must not be unmapped. */
static void stay_mapped(void) {
    Dl_info info;
    static const char here;
    if (dladdr(&here, &info) != 0 && info.dli_fname != NULL) {
        dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
    }
}

bool threadpool_close(struct threadpool *pool, int64_t patience_ns) {
    if (!threadpool_is_ours(pool)) return false; /* the lock may be held, for ever */
    struct timespec deadline = deadline_after(patience_ns);
    bool ended = true;
    pthread_mutex_lock(&pool->lock);
    while (!handle_queue_empty(&pool->pending)) {
        remove_pending(pool, job_of(handle_queue_first(&pool->pending)));
    }
    for (struct handle *at = pool->running.head.next; at != &pool->running.head; at = at->next) {
        job_of(at)->loop = NULL;
    }
    pool->closing = true;
    pthread_cond_broadcast(&pool->work);
    for (int i = 0; i < pool->most; i++) {
        struct thread *thread = &pool->threads[i];
        if (thread->state == THREAD_NONE) continue;
        pthread_mutex_unlock(&pool->lock);
        if (pthread_clockjoin_np(thread->id, NULL, CLOCK_MONOTONIC, &deadline) != 0) ended = false;
        pthread_mutex_lock(&pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
    if (!ended) {
        stay_mapped();
        return false;
    }
    pthread_cond_destroy(&pool->finished);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
    return true;
}
