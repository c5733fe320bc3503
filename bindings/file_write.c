/* file_write.c -- writing, flushing, seeking: what moves a file's position or changes it. */
#include "bindings/file.h"

#include "bindings/result.h"

#include <errno.h>
#include <string.h>

/* Whether the last job, for this operation, has failed: then *results are its own. */
static bool has_failed(lua_State *L, struct l_file *file, int status, int *results) {
    if (status != LUA_YIELD || file->error == 0 || l_job_under_way(&file->job)) return false;
    int error = file->error;
    file->error = 0;
    *results = l_file_fail(L, file, error);
    return true;
}

/* A write that failed when nobody waited for it any more. */
static bool has_lost(lua_State *L, struct l_file *file, int *results) {
    if (file->lost_error == 0) return false;
    int error = file->lost_error;
    file->lost_error = 0;
    *results = l_file_fail(L, file, error);
    return true;
}

/* What was read ahead does not count: the position is where the script has read to. */
static void forget_read(struct l_file *file) {
    if (file->writing || !file->seekable) return;
    file->offset -= (int64_t)l_buffer_length(&file->buffer);
    file->buffer.start = file->buffer.end = 0;
}

static int done(lua_State *L, struct l_file *file) {
    l_file_leave(L, file);
    lua_pushnil(L);
    lua_setiuservalue(L, 1, L_FILE_TEXT);
    lua_pushboolean(L, 1);
    return 1;
}

/* ---- write ---- */

static void make_buffer(lua_State *L, struct l_file *file) {
    if (file->buffer.capacity > 0) return;
    l_buffer_reserve(L, &file->buffer, L_FILE_BUFFER, 0, L_FILE_CHUNK);
}

static size_t total_length(lua_State *L) {
    size_t total = 0;
    for (int i = 2, top = lua_gettop(L); i <= top; i++) total += lua_rawlen(L, i);
    return total;
}

/* Appends the strings from index 2 on to the buffer; false if it has no room for all. */
static bool put(lua_State *L, struct l_file *file) {
    size_t total = total_length(L);
    if (total == 0) return true;
    make_buffer(L, file);
    if (file->buffer.capacity - file->buffer.end < total) return false;
    for (int i = 2, top = lua_gettop(L); i <= top; i++) {
        size_t length;
        const char *text = lua_tolstring(L, i, &length);
        memcpy(file->buffer.bytes + file->buffer.end, text, length);
        file->buffer.end += length;
    }
    file->writing = true;
    return true;
}

enum write_context { FOR_BUFFER, AS_TEXT, WRITTEN };

/* file, strings...: for the buffer, or one as the thread's text.  So all or none of them are
 * written when nobody waits any more. */
static int write_step(lua_State *L, int status, lua_KContext context) {
    struct l_file *file = lua_touserdata(L, 1);
    int results;
    if (!l_file_resumed(L, file, status)) return l_file_closed(L);
    if (has_failed(L, file, status, &results) || has_lost(L, file, &results)) return results;
    if (l_job_under_way(&file->job)) {
        return l_file_order(L, file, L_FILE_WRITE, context, write_step);
    }
    if (context == WRITTEN) return done(L, file);
    forget_read(file);
    if (context == AS_TEXT) {
        lua_pushvalue(L, 2);
        lua_setiuservalue(L, 1, L_FILE_TEXT); /* alive until the thread is through with it */
        file->text = lua_tolstring(L, 2, &file->length);
        return l_file_order(L, file, L_FILE_WRITE, WRITTEN, write_step);
    }
    if (put(L, file)) return done(L, file);
    return l_file_order(L, file, L_FILE_WRITE, FOR_BUFFER, write_step); /* then there is room */
}

int l_file_write(lua_State *L) {
    struct l_file *file = l_file_check(L);
    int top = lua_gettop(L);
    for (int i = 2; i <= top; i++) luaL_checkstring(L, i); /* numbers become strings */
    luaL_checkstack(L, LUA_MINSTACK, "too many arguments");
    if (!file->writable) return l_push_failure(L, "EBADF", "the file was not opened for writing");
    size_t total = total_length(L);
    bool as_text = total > (file->buffers ? L_FILE_CHUNK : 0);
    if (as_text) lua_concat(L, top - 1);
    if (!l_job_under_way(&file->job) && file->buffers) make_buffer(L, file);
    return l_file_begin(L, file, as_text ? AS_TEXT : FOR_BUFFER, write_step);
}

/* ---- flush, sync, truncate ---- */

static int flush_step(lua_State *L, int status, lua_KContext context) {
    struct l_file *file = lua_touserdata(L, 1);
    int results;
    if (!l_file_resumed(L, file, status)) return l_file_closed(L);
    if (has_failed(L, file, status, &results) || has_lost(L, file, &results)) return results;
    if (file->writing || l_job_under_way(&file->job)) {
        return l_file_order(L, file, L_FILE_WRITE, context, flush_step);
    }
    return done(L, file);
}

int l_file_flush(lua_State *L) {
    struct l_file *file = l_file_check(L);
    lua_settop(L, 1);
    return l_file_begin(L, file, 0, flush_step);
}

/* The order that follows when all is written; `ordered`: it has been given. */
static int order_step(lua_State *L, int status, enum l_file_order order, lua_KContext ordered,
                      lua_KFunction step) {
    struct l_file *file = lua_touserdata(L, 1);
    int results;
    if (!l_file_resumed(L, file, status)) return l_file_closed(L);
    if (has_failed(L, file, status, &results) || has_lost(L, file, &results)) return results;
    if (file->writing || l_job_under_way(&file->job)) {
        return l_file_order(L, file, L_FILE_WRITE, ordered, step);
    }
    if (ordered) return done(L, file);
    forget_read(file);
    if (order == L_FILE_TRUNCATE) {
        file->number = lua_isnil(L, 2) ? file->offset : lua_tointeger(L, 2);
    }
    return l_file_order(L, file, order, 1, step);
}

static int sync_step(lua_State *L, int status, lua_KContext ordered) {
    return order_step(L, status, L_FILE_SYNC, ordered, sync_step);
}

int l_file_sync(lua_State *L) {
    struct l_file *file = l_file_check(L);
    lua_settop(L, 1);
    return l_file_begin(L, file, 0, sync_step);
}

static int truncate_step(lua_State *L, int status, lua_KContext ordered) {
    return order_step(L, status, L_FILE_TRUNCATE, ordered, truncate_step);
}

int l_file_truncate(lua_State *L) {
    struct l_file *file = l_file_check(L);
    luaL_argcheck(L, luaL_optinteger(L, 2, 0) >= 0, 2, "size must not be negative");
    lua_settop(L, 2);
    if (!file->writable) return l_push_failure(L, "EBADF", "the file was not opened for writing");
    return l_file_begin(L, file, 0, truncate_step);
}

/* ---- seek ---- */

enum whence { FROM_START, FROM_HERE, FROM_END };

/* file, whence, offset; `sized`: the file's size is known */
static int seek_step(lua_State *L, int status, lua_KContext sized) {
    struct l_file *file = lua_touserdata(L, 1);
    enum whence whence = (enum whence)lua_tointeger(L, 2);
    int results;
    int64_t base = 0, target;
    if (!l_file_resumed(L, file, status)) return l_file_closed(L);
    if (has_failed(L, file, status, &results) || has_lost(L, file, &results)) return results;
    if (file->writing || l_job_under_way(&file->job)) {
        return l_file_order(L, file, L_FILE_WRITE, sized, seek_step);
    }
    if (!file->seekable) return l_file_fail(L, file, ESPIPE);
    if (whence == FROM_END && !sized) return l_file_order(L, file, L_FILE_SIZE, 1, seek_step);
    if (whence == FROM_HERE) base = file->offset - (int64_t)l_buffer_length(&file->buffer);
    if (whence == FROM_END) base = file->number;
    if (__builtin_add_overflow(base, lua_tointeger(L, 3), &target) || target < 0) {
        return l_file_fail(L, file, EINVAL);
    }
    if (whence != FROM_HERE || target != base) {
        file->buffer.start = file->buffer.end = file->ahead = 0;
        file->offset = target;
    }
    l_file_leave(L, file);
    lua_pushinteger(L, target);
    return 1;
}

int l_file_seek(lua_State *L) {
    static const char *const names[] = {"set", "cur", "end", NULL};
    struct l_file *file = l_file_check(L);
    int whence = luaL_checkoption(L, 2, "cur", names);
    lua_Integer offset = luaL_optinteger(L, 3, 0);
    lua_settop(L, 1);
    lua_pushinteger(L, whence);
    lua_pushinteger(L, offset);
    return l_file_begin(L, file, 0, seek_step);
}
