/* process.c -- child processes as objects: starting one, its pipes, waiting for its end.
 *
 * What the options mean and what communicate does is policy (scripts/loophost/process.lua).
 * While a child runs, the loop holds its object: so it is reaped even if the script has
 * dropped it.  A loop that is closed meanwhile kills its children, as asyncio's does. */
#include "bindings/process.h"

#include "bindings/handle.h"
#include "bindings/inventory.h"
#include "bindings/result.h"
#include "bindings/stream.h"
#include "host/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STATUS_LOST = 255 }; /* asyncio's word for it */

struct l_process {
    struct l_object object;
    struct l_runtime *rt;
    struct l_loop *loop;
    struct child child;
    struct watch watch; /* of the pidfd */
    int ends[3];        /* the child's descriptors, while it is being started; else -1 */
    int slot;           /* its anchor, while the child runs */
    int returncode;
    bool done;
    struct handle_queue waiting; /* tasks in wait() */
};

enum {
    PROCESS_LOOP = 1,
    PROCESS_STREAMS, /* stdin; then stdout, stderr; nil where it is no pipe */
    PROCESS_PLACE = PROCESS_STREAMS + 3,
    PROCESS_USERVALUES = PROCESS_PLACE,
};

static struct l_process *check_process(lua_State *L) {
    return l_check(L, 1, L_PROCESS);
}

/* ---- the pipe to the child's stdin ---- */

/* A pipe has no MSG_NOSIGNAL: SIGPIPE is kept from the thread while it writes, and one that
 * came is taken away. */
static ssize_t pipe_write(struct l_stream *stream, const struct iovec *parts, int count) {
    sigset_t broken_pipe, before;
    sigemptyset(&broken_pipe);
    sigaddset(&broken_pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &broken_pipe, &before);
    ssize_t result = l_descriptor_channel.write(stream, parts, count);
    if (sigismember(&before, SIGPIPE) == 1) return result;
    if (result == -EPIPE) {
        const struct timespec at_once = {0};
        while (sigtimedwait(&broken_pipe, NULL, &at_once) < 0 && errno == EINTR) continue;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result;
}

static ssize_t pipe_read(struct l_stream *stream, void *buffer, size_t size) {
    return l_descriptor_channel.read(stream, buffer, size);
}

/* The end of a pipe is said by closing it.  Nobody waits on the stream now: it is the
 * writers' turn that has come here, and nothing can be read from it. */
static ssize_t pipe_write_eof(struct l_stream *stream) {
    l_stream_stop_watch(stream->loop->L, stream);
    close(stream->fd);
    stream->fd = -1;
    l_stream_wake_close_waiters(stream);
    return 0;
}

static const struct l_channel pipe_channel = {
    .read = pipe_read, .write = pipe_write, .write_eof = pipe_write_eof};

/* ---- the end of the child ---- */

static void ended(struct l_process *process, int status) {
    child_close(&process->child);
    process->returncode = status;
    process->done = true;
}

/* The pidfd is readable: in the loop's frame. */
static void pidfd_readable(struct handle *handle) {
    struct l_process *process =
        container_of(container_of(handle, struct watch, handle), struct l_process, watch);
    struct l_loop *loop = process->loop;
    struct handle *next;
    int status = STATUS_LOST;
    if (child_reap(&process->child, &status) == 0) return;
    poller_stop(&loop->loop.poller, &process->watch);
    ended(process, status);
    while ((next = handle_pop(&process->waiting)) != NULL) {
        loop->loop.outstanding--;
        l_task_wake(loop->L, container_of(next, struct l_task, timer.handle));
    }
    l_unanchor(loop, process->slot);
}

static void warn_killed(lua_State *L) {
    lua_getiuservalue(L, -1, PROCESS_PLACE);
    lua_warning(L, "loophost: a process was killed, as its loop was closed; started at ", 1);
    lua_warning(L, lua_isstring(L, -1) ? lua_tostring(L, -1) : "?", 0);
    lua_pop(L, 1);
}

void l_process_abandon(lua_State *L, struct l_process *process) {
    if (process->child.pidfd < 0) return;
    struct poller *poller = &process->loop->loop.poller;
    if (watch_started(&process->watch)) poller_stop(poller, &process->watch);
    if (!poller_is_ours(poller)) { /* forked: it is no child of this process */
        child_close(&process->child);
        return;
    }
    int status = STATUS_LOST;
    if (child_reap(&process->child, &status) == 0) {
        child_kill(&process->child, &status);
        warn_killed(L);
    }
    ended(process, status);
}

static void close_ends(struct l_process *process) {
    for (int i = 0; i < 3; i++) {
        if (process->ends[i] >= 0) close(process->ends[i]);
        process->ends[i] = -1;
    }
}

static int process_gc(lua_State *L) {
    struct l_process *process = check_process(L);
    if (process->loop == NULL) return 0;
    close_ends(process);
    while (handle_pop(&process->waiting) != NULL) continue; /* they are garbage, too */
    lua_settop(L, 1);
    l_process_abandon(L, process);
    return 0;
}

/* ---- starting ---- */

/* What is put together on the Lua stack for spawn_start. */
struct order {
    struct spawn spawn;
    int limit;        /* of the streams */
    int unblocked[3]; /* sockets that were made to block, for the child; else -1 */
};

/* The strings of the list on top as a NULL-terminated array, which replaces it; they must be
 * held elsewhere. */
static char **string_array(lua_State *L) {
    lua_Integer count = luaL_len(L, -1);
    const char **array = lua_newuserdatauv(L, ((size_t)count + 1) * sizeof *array, 0);
    for (lua_Integer i = 0; i < count; i++) {
        lua_rawgeti(L, -2, i + 1);
        array[i] = lua_tostring(L, -1);
        lua_pop(L, 1);
    }
    array[count] = NULL;
    lua_remove(L, -2);
    return (char **)(uintptr_t)array;
}

static int *number_array(lua_State *L, size_t *count) {
    *count = (size_t)luaL_len(L, -1);
    int *array = lua_newuserdatauv(L, (*count + 1) * sizeof *array, 0);
    for (size_t i = 0; i < *count; i++) {
        lua_rawgeti(L, -2, (lua_Integer)i + 1);
        array[i] = (int)lua_tointeger(L, -1);
        lua_pop(L, 1);
    }
    lua_remove(L, -2);
    return array;
}

/* The integer field of the table on top. */
static int integer_field(lua_State *L, const char *name, int otherwise) {
    int value = lua_getfield(L, -1, name) == LUA_TNUMBER ? (int)lua_tointeger(L, -1) : otherwise;
    lua_pop(L, 1);
    return value;
}

/* settings at index 3: leaves the arrays it points to on the stack */
static void read_settings(lua_State *L, struct order *order) {
    struct spawn *spawn = &order->spawn;
    lua_pushvalue(L, 3);
    spawn->process_group = integer_field(L, "process_group", -1);
    spawn->umask = integer_field(L, "umask", -1);
    spawn->death_signal = integer_field(L, "death_signal", 0);
    order->limit = integer_field(L, "limit", L_STREAM_LIMIT);
    lua_getfield(L, -1, "start_new_session");
    spawn->new_session = lua_toboolean(L, -1);
    lua_getfield(L, -2, "cwd");
    spawn->directory = lua_tostring(L, -1); /* held by the settings */
    lua_pop(L, 3);
    if (lua_getfield(L, 3, "env") == LUA_TTABLE) spawn->environment = string_array(L);
    if (lua_getfield(L, 3, "pass_fds") == LUA_TTABLE) {
        spawn->passed = number_array(L, &spawn->passed_count);
    }
}

enum { PLACE_ARGUMENT = 4 }; /* of process_start */

/* Makes a pipe: the child's end goes to `ends`, ours becomes a stream, the user value.  Once the
 * descriptors are there, nothing can fail that does not know of them. */
static int make_pipe(lua_State *L, struct l_process *process, int self, int which, int limit) {
    int fds[2];
    int theirs = which == 0 ? 0 : 1;
    lua_getiuservalue(L, self, PROCESS_LOOP);
    struct l_stream *stream = l_stream_prepare(L, process->rt, sizeof *stream, L_STREAM_USERVALUES);
    if (pipe2(fds, O_CLOEXEC) < 0) return -errno;
    process->ends[which] = fds[theirs];
    fcntl(fds[1 - theirs], F_SETFL, O_NONBLOCK);
    int result = l_stream_start(L, -1, -2, fds[1 - theirs], L_DESCRIPTOR_ANY, (size_t)limit,
                                PLACE_ARGUMENT, "pipe of a child process");
    if (result < 0) return result;
    stream->quiet = true;
    if (which == 0) stream->channel = &pipe_channel;
    lua_setiuservalue(L, self, PROCESS_STREAMS + which);
    lua_pop(L, 1);
    return 0;
}

/* A stream's descriptor does not block, which is nothing that other programs expect, and it
 * is a property of the open file, not of the descriptor.  A pipe and a terminal can be
 * opened once more; a socket cannot: from now on it blocks. */
static int blocking_descriptor(int fd, int which, int *opened, int *unblocked) {
    struct stat status;
    if (fstat(fd, &status) < 0) return -errno;
    int flags = fcntl(fd, F_GETFL);
    if (!(flags & O_NONBLOCK)) return fd;
    if (S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode)) {
        char name[64];
        snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        int mode = which == 0 ? O_RDONLY : O_WRONLY;
        *opened = open(name, mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (*opened >= 0) {
            fcntl(*opened, F_SETFL, 0);
            return *opened;
        }
        if (errno == EMFILE || errno == ENFILE) return -errno;
    }
    if (fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0) return -errno;
    return *unblocked = fd;
}

/* There is no child after all: the sockets remain ours. */
static void block_no_more(const struct order *order) {
    for (int which = 0; which < 3; which++) {
        int fd = order->unblocked[which];
        if (fd >= 0) fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    }
}

/* What the child has as 0, 1 or 2: "inherit", "pipe", "devnull", "stdout", or what has a
 * descriptor.  -errno. */
static int prepare_stream(lua_State *L, struct l_process *process, int self, struct order *order,
                          int which) {
    static const char *const names[] = {"stdin", "stdout", "stderr"};
    int *fd = &order->spawn.streams[which];
    int result = 0;
    *fd = -1;
    lua_getfield(L, 3, names[which]);
    const char *word = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    if (word == NULL) {
        *fd = l_checkfd(L, lua_gettop(L));
        if (l_test(L, -1, L_STREAM) != NULL) {
            result = *fd =
                blocking_descriptor(*fd, which, &process->ends[which], &order->unblocked[which]);
        }
    } else if (strcmp(word, "pipe") == 0) {
        result = make_pipe(L, process, self, which, order->limit);
        *fd = process->ends[which];
    } else if (strcmp(word, "devnull") == 0) {
        *fd = process->ends[which] = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (*fd < 0) result = -errno;
    } else if (strcmp(word, "stdout") == 0) {
        *fd = order->spawn.streams[1] >= 0 ? order->spawn.streams[1] : STDOUT_FILENO;
    }
    lua_pop(L, 1);
    return result < 0 ? result : 0;
}

/* nil, "ENOENT: no such file or directory: cannot execute 'x'", "ENOENT" */
static int push_spawn_failure(lua_State *L, const struct spawn *spawn, int error,
                              enum spawn_step step) {
    l_push_errno(L, error);
    const char *text = lua_tostring(L, -2);
    switch (step) {
    case SPAWN_CLONE: lua_pushfstring(L, "%s: cannot make a process", text); break;
    case SPAWN_PROCESS_GROUP: lua_pushfstring(L, "%s: cannot join the process group", text); break;
    case SPAWN_DIRECTORY:
        lua_pushfstring(L, "%s: cannot enter directory '%s'", text, spawn->directory);
        break;
    case SPAWN_DESCRIPTORS: lua_pushfstring(L, "%s: cannot pass the descriptors", text); break;
    case SPAWN_EXECUTE: lua_pushfstring(L, "%s: cannot execute '%s'", text, spawn->file); break;
    }
    lua_replace(L, -3);
    return 3;
}

static void close_streams(lua_State *L, int self) {
    for (int which = 0; which < 3; which++) {
        if (lua_getiuservalue(L, self, PROCESS_STREAMS + which) == LUA_TUSERDATA) {
            l_stream_close(L, lua_touserdata(L, -1));
        }
        lua_pop(L, 1);
    }
}

/* The thread's signal mask, without what handlers have us block. */
static void set_mask(lua_State *L, struct l_runtime *rt, sigset_t *mask) {
    sigset_t ours;
    sigemptyset(&ours);
    l_add_blocked_signals(L, rt, &ours);
    pthread_sigmask(SIG_SETMASK, NULL, mask);
    for (int signal = 1; signal < SIGNAL_LIMIT; signal++) {
        if (sigismember(&ours, signal) == 1) sigdelset(mask, signal);
    }
}

/* Starts the child of the new process at `self`; 0 or -errno.  `step` says what failed. */
static int start(lua_State *L, struct l_process *process, int self, struct order *order,
                 enum spawn_step *step) {
    struct l_loop *loop = process->loop;
    *step = SPAWN_DESCRIPTORS;
    for (int which = 0; which < 3; which++) {
        int result = prepare_stream(L, process, self, order, which);
        if (result < 0) return result;
    }
    set_mask(L, process->rt, &order->spawn.mask);
    process->slot = l_anchor(L, self, 0, loop);
    int result = spawn_start(&order->spawn, &process->child, step);
    if (result == 0) {
        result = poller_start(&loop->loop.poller, &process->watch, process->child.pidfd, POLL_READ);
        if (result == 0) return 0;
        int status;
        *step = SPAWN_CLONE;
        child_kill(&process->child, &status);
        child_close(&process->child);
    }
    l_unanchor_anywhere(L, loop, process->slot);
    return result;
}

/* process_start(file, arguments, settings, place) -> process, or nil, message, code */
static int process_start(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    struct order order = {.spawn = {.file = luaL_checkstring(L, 1)}, .unblocked = {-1, -1, -1}};
    enum spawn_step step;
    lua_settop(L, 4);
    struct l_loop *loop = l_task_push_loop(L, rt, "create_subprocess");
    lua_pushvalue(L, 2);
    order.spawn.arguments = string_array(L);
    read_settings(L, &order);
    struct l_process *process = l_newobject(L, rt, L_PROCESS, sizeof *process, PROCESS_USERVALUES);
    int self = lua_gettop(L);
    l_inventory_place(L, rt);
    process->rt = rt;
    process->loop = loop;
    process->child.pidfd = -1;
    for (int i = 0; i < 3; i++) process->ends[i] = -1;
    watch_init(&process->watch, pidfd_readable);
    handle_queue_init(&process->waiting);
    lua_pushvalue(L, 5);
    lua_setiuservalue(L, self, PROCESS_LOOP);
    lua_pushvalue(L, 4);
    lua_setiuservalue(L, self, PROCESS_PLACE);
    int result = start(L, process, self, &order, &step);
    close_ends(process);
    if (result < 0) {
        block_no_more(&order);
        close_streams(L, self);
        return push_spawn_failure(L, &order.spawn, -result, step);
    }
    lua_pushvalue(L, self);
    return 1;
}

/* ---- for scripts ---- */

static void leave_waiting(struct l_task *task) {
    struct l_process *process = task->wait_on;
    handle_unlink(&task->timer.handle);
    process->loop->loop.outstanding--;
}

static const struct l_wait end_wait = {"a process to end", leave_waiting};

static int wait_done(lua_State *L, int status, lua_KContext context) {
    struct l_process *process = lua_touserdata(L, 1);
    (void)status, (void)context;
    l_task_resumed(L, process->rt);
    lua_pushinteger(L, process->returncode);
    return 1;
}

static int process_wait(lua_State *L) {
    struct l_process *process = check_process(L);
    lua_settop(L, 1);
    if (process->done) {
        lua_pushinteger(L, process->returncode);
        return 1;
    }
    struct l_task *task = l_task_may_wait_for(L, process->rt, "wait", "process", process->loop);
    process->loop->loop.outstanding++;
    handle_push(&process->waiting, &task->timer.handle);
    return l_task_wait(L, task, &end_wait, process, wait_done);
}

static int send_signal(lua_State *L, struct l_process *process, int signal) {
    int result = process->child.pidfd < 0 ? -ESRCH : child_signal(&process->child, signal);
    if (result < 0) return l_push_errno(L, -result);
    lua_pushboolean(L, 1);
    return 1;
}

static int process_send_signal(lua_State *L) {
    struct l_process *process = check_process(L);
    return send_signal(L, process, l_checksignal(L, 2));
}

static int process_terminate(lua_State *L) {
    return send_signal(L, check_process(L), SIGTERM);
}

static int process_kill(lua_State *L) {
    return send_signal(L, check_process(L), SIGKILL);
}

/* kill_group(process): what is left of the process group that it leads.  While any is, its
 * number is nobody else's. */
static int kill_group(lua_State *L) {
    kill(-check_process(L)->child.pid, SIGKILL);
    return 0;
}

/* Closes the pipes; kills the child if it still runs.  The loop sees to the rest. */
static int process_close(lua_State *L) {
    struct l_process *process = check_process(L);
    close_streams(L, 1);
    if (process->child.pidfd >= 0) child_signal(&process->child, SIGKILL);
    return 0;
}

static int process_tostring(lua_State *L) {
    struct l_process *process = check_process(L);
    if (process->done) {
        lua_pushfstring(L, "<Process %d returncode=%d>", (int)process->child.pid,
                        process->returncode);
    } else {
        lua_pushfstring(L, "<Process %d running>", (int)process->child.pid);
    }
    return 1;
}

/* A method, or one of the fields; the methods are the second upvalue. */
static int process_index(lua_State *L) {
    static const char *const streams[] = {"stdin", "stdout", "stderr"};
    struct l_process *process = check_process(L);
    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(2)) != LUA_TNIL || lua_type(L, 2) != LUA_TSTRING) return 1;
    const char *name = lua_tostring(L, 2);
    if (strcmp(name, "pid") == 0) {
        lua_pushinteger(L, process->child.pid);
    } else if (strcmp(name, "returncode") == 0 && process->done) {
        lua_pushinteger(L, process->returncode);
    } else {
        for (int which = 0; which < 3; which++) {
            if (strcmp(name, streams[which]) != 0) continue;
            lua_getiuservalue(L, 1, PROCESS_STREAMS + which);
        }
    }
    return 1;
}

/* descriptor(value) -> its number; checksignal(value) -> its number */
static int descriptor(lua_State *L) {
    lua_pushinteger(L, l_checkfd(L, 1));
    return 1;
}

static int signal_number(lua_State *L) {
    lua_pushinteger(L, l_checksignal(L, 1));
    return 1;
}

void l_process_open(lua_State *L, struct l_runtime *rt) {
    static const luaL_Reg methods[] = {
        {"wait", process_wait},           {"send_signal", process_send_signal},
        {"terminate", process_terminate}, {"kill", process_kill},
        {"close", process_close},         {NULL, NULL}};
    static const luaL_Reg metamethods[] = {{"__gc", process_gc},
                                           {"__close", process_close},
                                           {"__tostring", process_tostring},
                                           {NULL, NULL}};
    static const luaL_Reg hooks[] = {{"process_start", process_start},
                                     {"descriptor", descriptor},
                                     {"signal_number", signal_number},
                                     {"kill_group", kill_group},
                                     {NULL, NULL}};
    l_newtype(L, rt, L_PROCESS, "Process", methods);
    l_setfuncs(L, rt, metamethods);
    l_pushshared(L, rt, L_SHARED_HOOKS);
    l_setfuncs(L, rt, hooks);
    lua_getfield(L, -2, "__index");
    lua_pushvalue(L, -1); /* the Lua half adds communicate() */
    lua_setfield(L, -3, "process_methods");
    lua_pushlightuserdata(L, rt);
    lua_insert(L, -2);
    lua_pushcclosure(L, process_index, 2);
    lua_setfield(L, -3, "__index");
    lua_pop(L, 2);
}
