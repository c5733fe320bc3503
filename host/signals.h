/* signals.h -- signals as callbacks of the loop, by signalfd.
 *
 * While a signal has a handler it is blocked in the loop's thread and read from the
 * descriptor.  Without a handler it is as it was before, also for one that had come and was
 * not read yet.
 * Children must be started without our blocks (signals_add_blocked), or they inherit them.
 * Other threads must block all signals, and of two loops only one may handle a signal:
 * what a process does with a signal there is only once. */
#ifndef LOOPHOST_SIGNALS_H
#define LOOPHOST_SIGNALS_H

#include "host/poller.h"

#include <signal.h>

enum { SIGNAL_LIMIT = 65 };

struct signals {
    struct poller *poller;
    struct handle_queue *ready; /* where the handles of signals that came are queued */
    struct watch watch;
    sigset_t watched;
    sigset_t blocked_before; /* those of `watched` that were blocked before us */
    struct handle *handles[SIGNAL_LIMIT];
    int count;
};

/* Opens nothing until the first handler. */
void signals_init(struct signals *signals, struct poller *poller, struct handle_queue *ready);
void signals_close(struct signals *signals);

/* Queues `handle` (the caller's) whenever the signal comes; replaces the former one,
 * also where that one was queued already.
 * -errno: EINVAL for what is no signal or cannot be caught, EBADF in a forked child,
 * EMFILE, ENOMEM. */
int signals_start(struct signals *signals, int signal, struct handle *handle);

/* The handle that was started for the signal, or NULL. */
struct handle *signals_stop(struct signals *signals, int signal);

/* Adds what we have blocked to the set. */
void signals_add_blocked(const struct signals *signals, sigset_t *set);

/* For a call that starts children without asking for a mask (system, popen): until
 * signals_resume the signals in the set are not blocked in this thread.  One that comes
 * meanwhile does what it would have done, but after that.  Not nested, and in one thread at
 * a time. */
struct signals_pause {
    sigset_t paused, mask;
    struct sigaction actions[SIGNAL_LIMIT];
};
void signals_pause(struct signals_pause *pause, const sigset_t *set);
void signals_resume(struct signals_pause *pause);

#endif
