/* file.c -- a file's life, its line of tasks and its job. */
#include "bindings/file.h"

#include "bindings/inventory.h"
#include "bindings/open.h"
#include "bindings/result.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ---- the line ---- */

static void stay_in_line(struct l_task *task) {
    (void)task; /* it leaves when it runs */
}

/* Nobody waits any more for what the thread does.  It need not wait for a pipe to read from. */
static void leave_job(struct l_task *task) {
    const struct l_file *file = container_of((struct l_job *)task->wait_on, struct l_file, job);
    if (file->order == L_FILE_READ && file->wake_fd >= 0) eventfd_write(file->wake_fd, 1);
    l_job_leave(task);
}

static const struct l_wait turn_wait = {"another task's use of the file", stay_in_line};
static const struct l_wait job_wait = {"a file", leave_job};

static struct l_task *task_at(struct handle *place) {
    return container_of(place, struct l_task, place);
}

/* The running task, in line: it must be able to wait. */
static struct l_task *join_line(lua_State *L, struct l_file *file) {
    struct l_task *task = l_task_may_wait(L, file->job.rt, "file", NULL);
    struct handle *first = handle_queue_first(&file->line);
    if (first != NULL && task_at(first)->future.loop != task->future.loop) {
        luaL_error(L, "the file is in use on another event loop");
    }
    if (!handle_queued(&task->place)) handle_push(&file->line, &task->place);
    return task;
}

/* What an operation that did not come to its end had taken is there again; the next one finds
 * out anew where the end is, but for what the thread may be finding out now. */
static void start_anew(struct l_file *file) {
    file->buffer.start -= file->taken;
    file->taken = file->scanned = 0;
    if (!l_job_under_way(&file->job)) file->eof = false;
}

void l_file_leave(lua_State *L, struct l_file *file) {
    struct l_task *task = file->job.rt->current;
    bool in_line = task != NULL && handle_queued(&task->place);
    bool was_first = in_line && handle_queue_first(&file->line) == &task->place;
    if (was_first || !in_line) start_anew(file);
    if (in_line) handle_unlink(&task->place);
    struct handle *next = handle_queue_first(&file->line);
    if (!was_first || next == NULL) return;
    if (task_at(next)->wait == &turn_wait) l_task_wake(L, task_at(next));
}

int l_file_begin(lua_State *L, struct l_file *file, lua_KContext context, lua_KFunction step) {
    if (!handle_queue_empty(&file->line)) {
        struct l_task *task = join_line(L, file);
        return l_task_wait_k(L, task, &turn_wait, file, context, step);
    }
    start_anew(file);                  /* a task of a loop that was closed did not leave */
    if (l_job_under_way(&file->job)) { /* for a task that was cancelled */
        return l_job_wait(L, &file->job, join_line(L, file), context, step);
    }
    return step(L, LUA_OK, context);
}

bool l_file_resumed(lua_State *L, struct l_file *file, int status) {
    if (status != LUA_YIELD) return true;
    if (l_task_resumed_one(L, file->job.rt)->throwing || file->closing) l_file_leave(L, file);
    l_task_resumed(L, file->job.rt);
    return !file->closing;
}

int l_file_closed(lua_State *L) {
    return l_push_failure(L, "ECANCELED", "the file was closed");
}

int l_file_fail(lua_State *L, struct l_file *file, int error) {
    l_file_leave(L, file);
    return l_push_errno(L, error);
}

int l_file_order(lua_State *L, struct l_file *file, enum l_file_order order, lua_KContext context,
                 lua_KFunction step) {
    struct l_task *task = join_line(L, file);
    if (!l_job_under_way(&file->job)) { /* a turn may come while it is, for nobody */
        eventfd_t woken;
        if (file->wake_fd >= 0) eventfd_read(file->wake_fd, &woken);
        file->order = order;
        int result = l_job_start(L, &file->job, task, 1);
        if (result < 0) return l_file_fail(L, file, -result);
    }
    return l_job_wait(L, &file->job, task, context, step);
}

/* ---- the job ---- */

static struct l_file *file_of(struct l_job *job) {
    return container_of(job, struct l_file, job);
}

/* Closes the file in this very thread. */
static void close_now(struct l_file *file) {
    file->order = L_FILE_CLOSE;
    l_file_work(&file->job.job);
    if (handle_queued(&file->open)) handle_unlink(&file->open);
}

/* Open files stand in a queue, for l_file_flush_all. */
static void note_open(struct l_file *file) {
    bool is_open = file->fd >= 0;
    if (is_open && !handle_queued(&file->open)) handle_push(&file->job.rt->files, &file->open);
    if (!is_open && handle_queued(&file->open)) handle_unlink(&file->open);
}

void l_file_flush_all(struct l_runtime *rt) {
    for (struct handle *at = rt->files.head.next; at != &rt->files.head; at = at->next) {
        struct l_file *file = container_of(at, struct l_file, open);
        struct threadpool *pool = rt->pools[L_POOL_FILES];
        if (!file->buffers) continue;
        if (pool != NULL && !threadpool_wait(pool, &file->job.job, -1)) continue;
        if (file->fd < 0 || !file->writing) continue;
        file->order = L_FILE_WRITE;
        l_file_work(&file->job.job);
    }
}

static void file_done(struct l_job *job, bool worked) {
    struct l_file *file = file_of(job);
    bool changes = file->order == L_FILE_WRITE || file->order == L_FILE_CLOSE;
    bool closes = !worked && file->order == L_FILE_CLOSE;
    if (!worked) file->text = NULL;
    if (file->order == L_FILE_READ && file->error == ECANCELED) file->error = 0; /* it was woken */
    if (job->waiter == NULL) {
        if (changes && file->error != 0) file->lost_error = file->error;
        file->error = 0;
    }
    if (file->fd >= 0 && (closes || (file->closing && !file->closer_waits))) {
        close_now(file);
        if (file->error != 0) file->lost_error = file->error;
    }
    note_open(file);
}

/* ---- opening ---- */

/* path -> open(2)'s flags for a mode of io.open, or -1 */
static int flags_of(const char *mode, struct l_file *file) {
    char kind = mode[0];
    if (kind == '\0' || strchr("rwa", kind) == NULL) return -1;
    bool plus = mode[1] == '+';
    mode += 1 + plus;
    if (mode[strspn(mode, "b")] != '\0') return -1;
    file->readable = kind == 'r' || plus;
    file->writable = kind != 'r' || plus;
    file->appends = kind == 'a';
    int flags = plus ? O_RDWR : kind == 'r' ? O_RDONLY : O_WRONLY;
    if (kind == 'w') flags |= O_CREAT | O_TRUNC;
    if (kind == 'a') flags |= O_CREAT | O_APPEND;
    return flags;
}

/* path, mode, place, file */
static int opened(lua_State *L, int status, lua_KContext context) {
    struct l_file *file = lua_touserdata(L, 4);
    (void)status, (void)context;
    if (l_task_resumed_one(L, file->job.rt)->throwing) {
        file->closing = true; /* it is closed as soon as it is open */
        if (!l_job_under_way(&file->job) && file->fd >= 0) close_now(file);
    }
    l_task_resumed(L, file->job.rt);
    if (file->error == 0) {
        l_inventory_add(L, file->job.rt, "file", 3);
        return 1;
    }
    int error = file->error;
    l_push_errno(L, error);
    lua_pushfstring(L, "%s: %s", lua_tostring(L, -2), lua_tostring(L, 1));
    lua_replace(L, -3);
    return 3;
}

/* file_open(path, mode, place) -> file, or nil, message, code */
static int file_open(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    struct l_file blank = {0};
    luaL_checkstring(L, 1);
    int flags = flags_of(luaL_optstring(L, 2, "r"), &blank);
    luaL_argcheck(L, flags >= 0, 2, "invalid mode");
    lua_settop(L, 3);
    struct l_task *task = l_task_may_wait(L, rt, "open_file", NULL);
    l_job_open_pool(L, rt, L_POOL_FILES);
    struct l_file *file = l_newobject(L, rt, L_FILE, sizeof *file, L_FILE_USERVALUES);
    blank.object = file->object;
    *file = blank;
    file->fd = file->wake_fd = -1;
    handle_queue_init(&file->line);
    l_job_init(&file->job, rt, L_POOL_FILES, &job_wait, l_file_work, file_done);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, 4, L_FILE_TEXT);
    lua_pushvalue(L, 3);
    lua_setiuservalue(L, 4, L_FILE_PLACE);
    file->text = lua_tostring(L, 1);
    file->flags = flags;
    file->order = L_FILE_OPEN;
    int result = l_job_start(L, &file->job, task, 4);
    if (result < 0) return l_push_errno(L, -result);
    return l_job_wait(L, &file->job, task, 0, opened);
}

/* ---- closing ---- */

/* Whoever uses the file, or waits for it, finds it closed. */
static void begin_closing(lua_State *L, struct l_file *file) {
    file->closing = true;
    l_inventory_remove(L, file->job.rt, file);
    if (l_job_under_way(&file->job)) {
        if (file->wake_fd >= 0) eventfd_write(file->wake_fd, 1);
        l_job_abandon(L, &file->job);
    }
    for (struct handle *at = file->line.head.next; at != &file->line.head; at = at->next) {
        if (task_at(at)->wait == &turn_wait) l_task_wake(L, task_at(at));
    }
}

static int close_result(lua_State *L, struct l_file *file) {
    int error = file->lost_error != 0 ? file->lost_error : file->error;
    file->lost_error = file->error = 0;
    if (error != 0) return l_push_errno(L, error);
    lua_pushboolean(L, 1);
    return 1;
}

static int close_step(lua_State *L, int status, lua_KContext context) {
    struct l_file *file = lua_touserdata(L, 1);
    (void)context;
    if (status == LUA_YIELD && l_task_resumed_one(L, file->job.rt)->throwing) {
        file->closer_waits = false; /* then file_done closes it */
        if (!l_job_under_way(&file->job) && file->fd >= 0) close_now(file);
        l_task_resumed(L, file->job.rt);
    }
    struct l_task *task = l_task_may_wait(L, file->job.rt, "close", NULL);
    file->closer_waits = true;
    if (l_job_under_way(&file->job)) return l_job_wait(L, &file->job, task, 0, close_step);
    if (file->fd >= 0) {
        file->order = L_FILE_CLOSE;
        if (l_job_start(L, &file->job, task, 1) == 0) {
            return l_job_wait(L, &file->job, task, 0, close_step);
        }
        close_now(file); /* out of threads */
    }
    return close_result(L, file);
}

static bool can_wait(lua_State *L, const struct l_runtime *rt) {
    return rt->current != NULL && rt->coroutine == L && lua_isyieldable(L);
}

static int file_close(lua_State *L) {
    struct l_file *file = l_check(L, 1, L_FILE);
    lua_settop(L, 1);
    if (file->fd < 0 || file->closing) {
        lua_pushboolean(L, 1);
        return 1;
    }
    begin_closing(L, file);
    if (can_wait(L, file->job.rt)) return close_step(L, LUA_OK, 0);
    if (l_job_under_way(&file->job)) l_job_finish(L, &file->job);
    if (file->fd >= 0) close_now(file);
    return close_result(L, file);
}

static int file_gc(lua_State *L) {
    struct l_file *file = l_check(L, 1, L_FILE);
    bool was_open = file->fd >= 0 && !file->closing;
    file->closing = true;
    if (l_job_under_way(&file->job)) { /* the state is being closed */
        if (file->wake_fd >= 0) eventfd_write(file->wake_fd, 1);
        l_job_finish(L, &file->job);
    }
    if (file->fd >= 0) close_now(file);
    if (was_open) {
        lua_getiuservalue(L, 1, L_FILE_PLACE);
        l_inventory_warn_collected(L, "a file");
    }
    return 0;
}

/* ---- for scripts ---- */

struct l_file *l_file_check(lua_State *L) {
    struct l_file *file = l_check(L, 1, L_FILE);
    if (file->fd < 0 || file->closing) luaL_argerror(L, 1, "the file is closed");
    return file;
}

static int file_fileno(lua_State *L) {
    lua_pushinteger(L, l_file_check(L)->fd);
    return 1;
}

static int file_is_closed(lua_State *L) {
    struct l_file *file = l_check(L, 1, L_FILE);
    lua_pushboolean(L, file->closing || file->fd < 0);
    return 1;
}

static int file_tostring(lua_State *L) {
    struct l_file *file = l_check(L, 1, L_FILE);
    if (file->closing || file->fd < 0) {
        lua_pushliteral(L, "file (closed)");
    } else {
        lua_pushfstring(L, "file (descriptor %d)", file->fd);
    }
    return 1;
}

void l_file_open(lua_State *L, struct l_runtime *rt) {
    static const luaL_Reg methods[] = {
        {"read", l_file_read},         {"readline", l_file_readline}, {"lines", l_file_lines},
        {"write", l_file_write},       {"flush", l_file_flush},       {"sync", l_file_sync},
        {"truncate", l_file_truncate}, {"seek", l_file_seek},         {"close", file_close},
        {"fileno", file_fileno},       {"is_closed", file_is_closed}, {NULL, NULL}};
    static const luaL_Reg metamethods[] = {
        {"__gc", file_gc}, {"__close", file_close}, {"__tostring", file_tostring}, {NULL, NULL}};
    l_newtype(L, rt, L_FILE, "file", methods);
    l_setfuncs(L, rt, metamethods);
    l_pushshared(L, rt, L_SHARED_HOOKS);
    l_pushfunction(L, rt, file_open);
    lua_setfield(L, -2, "file_open");
    lua_pop(L, 2);
}
