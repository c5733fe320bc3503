/* signals.c -- one signalfd for all the signals that have a handler. */
#include "host/signals.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

static void read_signals(struct handle *handle) {
    struct signals *signals =
        container_of(container_of(handle, struct watch, handle), struct signals, watch);
    struct signalfd_siginfo info[16];
    ssize_t size;
    while ((size = read(signals->watch.fd, info, sizeof info)) > 0) {
        for (size_t i = 0; i < (size_t)size / sizeof info[0]; i++) {
            struct handle *target = signals->handles[info[i].ssi_signo];
            if (target != NULL && !handle_queued(target)) handle_push(signals->ready, target);
        }
    }
}

void signals_init(struct signals *signals, struct poller *poller, struct handle_queue *ready) {
    memset(signals, 0, sizeof *signals);
    signals->poller = poller;
    signals->ready = ready;
    watch_init(&signals->watch, read_signals);
    sigemptyset(&signals->watched);
    sigemptyset(&signals->blocked_before);
}

void signals_close(struct signals *signals) {
    for (int signal = 1; signal < SIGNAL_LIMIT; signal++) signals_stop(signals, signal);
}

static int open_signalfd(struct signals *signals) {
    int fd = signalfd(-1, &signals->watched, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0) return -errno;
    int result = poller_start(signals->poller, &signals->watch, fd, POLL_READ);
    if (result < 0) close(fd);
    return result;
}

/* One that is blocked arrives by the descriptor alone. */
static void block(struct signals *signals, int signal) {
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, signal);
    pthread_sigmask(SIG_BLOCK, &set, &old);
    if (sigismember(&old, signal) == 1) sigaddset(&signals->blocked_before, signal);
}

static void unblock(struct signals *signals, int signal) {
    if (sigismember(&signals->blocked_before, signal) == 1) {
        sigdelset(&signals->blocked_before, signal);
        return;
    }
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* A signal that came already is not lost: the new handle answers it. */
static void replace(struct signals *signals, int signal, struct handle *handle) {
    struct handle *former = signals->handles[signal];
    signals->handles[signal] = handle;
    if (handle == former || !handle_queued(former)) return;
    handle_unlink(former);
    if (!handle_queued(handle)) handle_push(signals->ready, handle);
}

int signals_start(struct signals *signals, int signal, struct handle *handle) {
    if (signal <= 0 || signal >= SIGNAL_LIMIT || signal == SIGKILL || signal == SIGSTOP) {
        return -EINVAL;
    }
    if (!poller_is_ours(signals->poller)) return -EBADF;
    if (signals->handles[signal] != NULL) {
        replace(signals, signal, handle);
        return 0;
    }
    if (sigaddset(&signals->watched, signal) < 0) return -EINVAL;
    int result = 0;
    if (!watch_started(&signals->watch)) {
        result = open_signalfd(signals);
    } else if (signalfd(signals->watch.fd, &signals->watched, 0) < 0) {
        result = -errno;
    }
    if (result < 0) {
        sigdelset(&signals->watched, signal);
        return result;
    }
    block(signals, signal);
    signals->handles[signal] = handle;
    signals->count++;
    return 0;
}

struct handle *signals_stop(struct signals *signals, int signal) {
    if (signal <= 0 || signal >= SIGNAL_LIMIT || signals->handles[signal] == NULL) return NULL;
    struct handle *handle = signals->handles[signal];
    if (handle_queued(handle)) handle_unlink(handle);
    signals->handles[signal] = NULL;
    sigdelset(&signals->watched, signal);
    if (--signals->count > 0) {
        if (poller_is_ours(signals->poller)) signalfd(signals->watch.fd, &signals->watched, 0);
    } else {
        int fd = signals->watch.fd;
        poller_stop(signals->poller, &signals->watch);
        close(fd);
    }
    unblock(signals, signal);
    return handle;
}

void signals_add_blocked(const struct signals *signals, sigset_t *set) {
    for (int signal = 1; signal < SIGNAL_LIMIT; signal++) {
        if (sigismember(&signals->watched, signal) == 1 &&
            sigismember(&signals->blocked_before, signal) != 1) {
            sigaddset(set, signal);
        }
    }
}

/* ---- pauses ---- */

/* A signal handler has no argument of its own, and a process has one of each signal. */
static volatile sig_atomic_t came[SIGNAL_LIMIT];

static void note(int signal) {
    came[signal] = 1;
}

void signals_pause(struct signals_pause *pause, const sigset_t *set) {
    pause->paused = *set;
    for (int signal = 1; signal < SIGNAL_LIMIT; signal++) {
        if (sigismember(set, signal) != 1) continue;
        struct sigaction action = {.sa_flags = SA_RESTART};
        action.sa_handler = note;
        sigaction(signal, &action, &pause->actions[signal]);
    }
    pthread_sigmask(SIG_UNBLOCK, set, &pause->mask);
}

void signals_resume(struct signals_pause *pause) {
    pthread_sigmask(SIG_SETMASK, &pause->mask, NULL);
    for (int signal = 1; signal < SIGNAL_LIMIT; signal++) {
        if (sigismember(&pause->paused, signal) != 1) continue;
        sigaction(signal, &pause->actions[signal], NULL);
        if (!came[signal]) continue;
        came[signal] = 0;
        raise(signal); /* it is blocked again, and goes the usual way */
    }
}
