/* spawn.c -- clone, exec, and the pidfd.
 *
 * Between clone and exec the child runs in our memory and on a stack of its own, while our
 * thread waits: what it does there must not allocate, must not call what keeps state, and
 * must not meet one of our signal handlers.  All signals are blocked meanwhile. */
#include "host/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILD_STACK = 64 * 1024, FIRST_OTHER = 3, KILL_PATIENCE_MS = 5000 };

/* What the child is told, and where it tells what went wrong. */
struct birth {
    const struct spawn *spawn;
    const char *path; /* where to look for the program */
    pid_t parent;
    enum spawn_step step;
    int error;
};

/* ---- in the child ---- */

/* A function of the child that becomes another program never returns: the address sanitizer
 * must not mark the borders of its variables in the memory that we share. */
#define NEVER_RETURNS_HERE __attribute__((no_sanitize("address")))

NEVER_RETURNS_HERE static void reset_handlers(void) {
    for (int signal = 1; signal < _NSIG; signal++) {
        struct sigaction action;
        if (sigaction(signal, NULL, &action) < 0) continue;
        if (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN) continue;
        memset(&action, 0, sizeof action); /* SIG_DFL */
        sigaction(signal, &action, NULL);
    }
}

/* A death signal comes also if the parent has died before it was asked for. */
static bool set_death_signal(const struct birth *birth) {
    int signal = birth->spawn->death_signal;
    if (signal == 0) return true;
    if (prctl(PR_SET_PDEATHSIG, signal) < 0) return false;
    if (getppid() != birth->parent) raise(signal);
    return true;
}

static bool set_group(const struct spawn *spawn) {
    if (spawn->new_session && setsid() < 0) return false;
    return spawn->process_group < 0 || setpgid(0, spawn->process_group) == 0;
}

static bool keep_open(int fd, bool open) {
    int flags = fcntl(fd, F_GETFD);
    if (flags < 0) return false;
    return fcntl(fd, F_SETFD, open ? flags & ~FD_CLOEXEC : flags | FD_CLOEXEC) == 0;
}

/* Those that would be overwritten before they are used get out of the way first. */
NEVER_RETURNS_HERE static bool place_streams(const struct spawn *spawn) {
    int from[3];
    for (int i = 0; i < 3; i++) {
        from[i] = spawn->streams[i];
        if (from[i] < 0 || from[i] == i || from[i] >= FIRST_OTHER) continue;
        int fd = fcntl(from[i], F_DUPFD_CLOEXEC, FIRST_OTHER);
        if (fd < 0) return false;
        from[i] = fd;
    }
    for (int i = 0; i < 3; i++) {
        if (from[i] < 0) continue;
        if (from[i] == i ? !keep_open(i, true) : dup2(from[i], i) < 0) return false;
    }
    return true;
}

/* Marks all but the first three to be closed by exec. */
NEVER_RETURNS_HERE static void close_others(void) {
    if (close_range(FIRST_OTHER, UINT_MAX, CLOSE_RANGE_CLOEXEC) == 0) return;
    struct rlimit limit; /* before Linux 5.11, or in a sandbox */
    rlim_t end = getrlimit(RLIMIT_NOFILE, &limit) < 0 ? 1024 : limit.rlim_cur;
    for (int fd = FIRST_OTHER; (rlim_t)fd < end && fd < INT_MAX; fd++) keep_open(fd, false);
}

static bool set_descriptors(const struct spawn *spawn) {
    if (!place_streams(spawn)) return false;
    close_others();
    for (size_t i = 0; i < spawn->passed_count; i++) {
        if (!keep_open(spawn->passed[i], true)) return false;
    }
    return true;
}

/* Tries the program in each directory of the path, as execvp, but runs no shell for a file
 * in an unknown format.  Returns the error to report. */
NEVER_RETURNS_HERE static int execute(const struct birth *birth) {
    const struct spawn *spawn = birth->spawn;
    char *const *environment = spawn->environment != NULL ? spawn->environment : environ;
    if (strchr(spawn->file, '/') != NULL || spawn->file[0] == '\0') {
        execve(spawn->file, spawn->arguments, environment);
        return errno;
    }
    char name[PATH_MAX];
    size_t length = strlen(spawn->file);
    int error = ENOENT;
    for (const char *from = birth->path; from != NULL;) {
        const char *end = strchrnul(from, ':');
        size_t size = (size_t)(end - from);
        if (size + length + 2 <= sizeof name) {
            memcpy(name, from, size);
            if (size > 0) name[size++] = '/';
            memcpy(name + size, spawn->file, length + 1);
            execve(name, spawn->arguments, environment);
            if (errno != ENOENT && errno != ENOTDIR && (errno != EACCES || error == ENOENT)) {
                error = errno;
            }
            if (errno != ENOENT && errno != ENOTDIR && errno != EACCES) break;
        }
        from = *end == ':' ? end + 1 : NULL;
    }
    return error;
}

static int fail(struct birth *birth, enum spawn_step step, int error) {
    birth->step = step;
    birth->error = error;
    return 127;
}

NEVER_RETURNS_HERE static int child_main(void *arg) {
    struct birth *birth = arg;
    const struct spawn *spawn = birth->spawn;
    reset_handlers();
    if (!set_death_signal(birth)) return fail(birth, SPAWN_CLONE, errno);
    if (!set_group(spawn)) return fail(birth, SPAWN_PROCESS_GROUP, errno);
    if (spawn->umask >= 0) umask((mode_t)spawn->umask);
    if (spawn->directory != NULL && chdir(spawn->directory) < 0) {
        return fail(birth, SPAWN_DIRECTORY, errno);
    }
    if (!set_descriptors(spawn)) return fail(birth, SPAWN_DESCRIPTORS, errno);
    pthread_sigmask(SIG_SETMASK, &spawn->mask, NULL);
    return fail(birth, SPAWN_EXECUTE, execute(birth));
}

/* ---- in the parent ---- */

static const char *search_path(char *const *environment) {
    const char *path = NULL;
    if (environment == NULL) {
        path = getenv("PATH");
    } else {
        for (; *environment != NULL && path == NULL; environment++) {
            if (strncmp(*environment, "PATH=", 5) == 0) path = *environment + 5;
        }
    }
    return path != NULL ? path : "/bin:/usr/bin";
}

static void wait_for(pid_t pid) {
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) continue;
}

int spawn_start(const struct spawn *spawn, struct child *child, enum spawn_step *step) {
    struct birth birth = {
        .spawn = spawn, .path = search_path(spawn->environment), .parent = getpid()};
    _Alignas(16) char stack[CHILD_STACK];
    sigset_t all, before;
    *child = (struct child){.pidfd = -1};
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = clone(child_main, stack + sizeof stack,
                      CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &birth, &child->pidfd);
    int error = pid < 0 ? errno : birth.error;
    if (pid < 0) birth.step = SPAWN_CLONE;
    if (pid >= 0 && error != 0) {
        wait_for(pid);
        child_close(child);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        *step = birth.step;
        return -error;
    }
    child->pid = pid;
    return 0;
}

int child_reap(const struct child *child, int *status) {
    siginfo_t info = {.si_pid = 0};
    int result;
    do {
        result = waitid(P_PIDFD, (id_t)child->pidfd, &info, WEXITED | WNOHANG);
    } while (result < 0 && errno == EINTR);
    if (result < 0) return -errno;
    if (info.si_pid == 0) return 0;
    *status = info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
    return 1;
}

int child_signal(const struct child *child, int signal) {
    return pidfd_send_signal(child->pidfd, signal, NULL, 0) < 0 ? -errno : 0;
}

int child_kill(const struct child *child, int *status) {
    if (child_signal(child, SIGKILL) == 0) {
        struct pollfd end = {.fd = child->pidfd, .events = POLLIN};
        while (poll(&end, 1, KILL_PATIENCE_MS) < 0 && errno == EINTR) continue;
    }
    return child_reap(child, status);
}

void child_close(struct child *child) {
    if (child->pidfd >= 0) close(child->pidfd);
    child->pidfd = -1;
}
