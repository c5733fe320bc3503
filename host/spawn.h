/* spawn.h -- starting a program as a child process, and seeing its end.
 *
 * The child is made as vfork makes it: it borrows our memory until it has become the
 * program, so that the cost does not grow with the size of this process, and what goes
 * wrong on the way is known when spawn_start returns.  Our thread stands still for that
 * long (about half a millisecond).
 *
 * A child is known by a pidfd, which becomes readable when it has ended: no signal is
 * needed, and nobody else's child is ever reaped. */
#ifndef LOOPHOST_SPAWN_H
#define LOOPHOST_SPAWN_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct spawn {
    const char *file;         /* without a '/': looked up in the PATH that the child will have */
    char *const *arguments;   /* NULL at the end; the first is the program's name */
    char *const *environment; /* "NAME=value", NULL at the end; NULL: ours */
    const char *directory;    /* NULL: ours */
    int streams[3];           /* which of our descriptors become 0, 1 and 2, in any order; < 0: the
                       child has what we have there, unless that is closed by exec */
    const int *passed;        /* descriptors that keep their number; all others are closed */
    size_t passed_count;
    sigset_t mask;       /* of blocked signals; handlers are reset, but ignored ones stay so */
    pid_t process_group; /* to join; 0: one of its own; < 0: ours */
    bool new_session;
    int death_signal; /* for the child when our thread ends; 0: none */
    int umask;        /* < 0: ours */
};

/* What was being done when it failed. */
enum spawn_step {
    SPAWN_CLONE,
    SPAWN_PROCESS_GROUP,
    SPAWN_DIRECTORY,
    SPAWN_DESCRIPTORS,
    SPAWN_EXECUTE,
};

struct child {
    pid_t pid;
    int pidfd; /* -1: none */
};

/* Starts the program.  0, or -errno with the step that failed; then there is no child.
 * Opens one descriptor. */
int spawn_start(const struct spawn *spawn, struct child *child, enum spawn_step *step);

/* Reaps the child if it has ended: 1, with its exit status or the negative number of the
 * signal that ended it.  0 if it still runs.  -ECHILD if its status is lost: somebody else
 * has reaped it, or SIGCHLD is ignored. */
int child_reap(const struct child *child, int *status);

/* 0 or -errno; never hits another process that has got the same pid meanwhile. */
int child_signal(const struct child *child, int signal);

/* Kills the child and reaps it, as child_reap says.  0: it may not be killed (it has become
 * another user), or takes seconds to die. */
int child_kill(const struct child *child, int *status);

/* Closes the pidfd.  Harmless a second time. */
void child_close(struct child *child);

#endif
