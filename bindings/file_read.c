/* file_read.c -- reading by formats, as io's files have them.
 *
 * What a format asks for is taken from the buffer; while that has not enough, a thread reads
 * more.  Stack: file, formats, results. */
#include "bindings/file.h"

#include "bindings/result.h"

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

enum taken { TAKEN, NOTHING, NEEDS_MORE };

/* A buffer that grew for one large read is not kept. */
static void shrink(lua_State *L, struct l_file *file) {
    if (l_buffer_length(&file->buffer) > 0) return;
    if (file->buffer.capacity > (size_t)2 * L_FILE_CHUNK) {
        l_buffer_release(L, &file->buffer, L_FILE_BUFFER);
    }
}

/* ---- formats ---- */

static void consume(struct l_file *file, size_t length) {
    file->buffer.start += length;
    file->taken += length;
    file->scanned = 0;
}

static enum taken take(lua_State *L, struct l_file *file, size_t length, size_t consumed) {
    lua_pushlstring(L, file->buffer.bytes + file->buffer.start, length);
    consume(file, consumed);
    return TAKEN;
}

static enum taken take_line(lua_State *L, struct l_file *file, bool keeps_end) {
    size_t length = l_buffer_length(&file->buffer);
    const char *data = file->buffer.bytes + file->buffer.start;
    const char *found =
        length > file->scanned ? memchr(data + file->scanned, '\n', length - file->scanned) : NULL;
    if (found != NULL) {
        size_t line = (size_t)(found - data);
        return take(L, file, line + keeps_end, line + 1);
    }
    file->scanned = length;
    if (!file->eof) return NEEDS_MORE;
    return length > 0 ? take(L, file, length, length) : NOTHING;
}

static enum taken take_bytes(lua_State *L, struct l_file *file, size_t wanted) {
    size_t length = l_buffer_length(&file->buffer);
    if (length == 0 && file->eof) return NOTHING;
    if (wanted == 0 && length > 0) return take(L, file, 0, 0);
    if (wanted > 0 && length >= wanted) return take(L, file, wanted, wanted);
    return file->eof ? take(L, file, length, length) : NEEDS_MORE;
}

static enum taken take_all(lua_State *L, struct l_file *file) {
    size_t length = l_buffer_length(&file->buffer);
    return file->eof ? take(L, file, length, length) : NEEDS_MORE;
}

/* ---- a number, by the rules of Lua's own io library ---- */

enum { NUMBER_SIZE = 200 };

struct numeral {
    const char *at, *end;
    char text[NUMBER_SIZE + 1];
    int length;
};

/* Takes the next byte, if there is room for it; else the numeral is none. */
static bool add(struct numeral *numeral) {
    if (numeral->length >= NUMBER_SIZE) {
        numeral->length = 0;
        numeral->end = numeral->at;
        return false;
    }
    numeral->text[numeral->length++] = *numeral->at++;
    return true;
}

static bool add_one_of(struct numeral *numeral, const char *set) {
    if (numeral->at == numeral->end || *numeral->at == '\0') return false;
    return strchr(set, *numeral->at) != NULL && add(numeral);
}

static int add_digits(struct numeral *numeral, bool hexadecimal) {
    int count = 0;
    while (numeral->at < numeral->end &&
           (hexadecimal ? isxdigit((unsigned char)*numeral->at)
                        : isdigit((unsigned char)*numeral->at)) &&
           add(numeral)) {
        count++;
    }
    return count;
}

static enum taken take_number(lua_State *L, struct l_file *file) {
    size_t start = file->buffer.start;
    while (start < file->buffer.end && isspace((unsigned char)file->buffer.bytes[start])) start++;
    consume(file, start - file->buffer.start);
    size_t length = file->buffer.end - start;
    if (length <= NUMBER_SIZE && !file->eof) return NEEDS_MORE;
    if (length > NUMBER_SIZE + 1) length = NUMBER_SIZE + 1;
    const char *data = file->buffer.bytes + file->buffer.start;
    struct numeral numeral = {.at = data, .end = data + length};
    int digits = 0;
    bool hexadecimal = false;
    add_one_of(&numeral, "+-");
    if (add_one_of(&numeral, "0")) {
        if (add_one_of(&numeral, "xX")) {
            hexadecimal = true;
        } else {
            digits = 1;
        }
    }
    digits += add_digits(&numeral, hexadecimal);
    if (add_one_of(&numeral, ".")) digits += add_digits(&numeral, hexadecimal);
    if (digits > 0 && add_one_of(&numeral, hexadecimal ? "pP" : "eE")) {
        add_one_of(&numeral, "+-");
        add_digits(&numeral, false);
    }
    consume(file, (size_t)(numeral.at - data));
    numeral.text[numeral.length] = '\0';
    return lua_stringtonumber(L, numeral.text) != 0 ? TAKEN : NOTHING;
}

/* ---- reading ---- */

/* Takes what the format at the index asks for. */
static enum taken satisfy(lua_State *L, struct l_file *file, int format) {
    if (lua_type(L, format) == LUA_TNUMBER) {
        return take_bytes(L, file, (size_t)lua_tointeger(L, format));
    }
    const char *name = lua_tostring(L, format);
    switch (name[name[0] == '*']) {
    case 'n': return take_number(L, file);
    case 'a': return take_all(L, file);
    case 'L': return take_line(L, file, true);
    default: return take_line(L, file, false);
    }
}

/* How many bytes to read next.  What a script wants is not believed at once, for the number
 * may be anything: at most as much as is there already. */
static size_t read_size(lua_State *L, struct l_file *file, int format) {
    size_t have = l_buffer_length(&file->buffer);
    if (lua_type(L, format) == LUA_TNUMBER) {
        size_t missing = (size_t)lua_tointeger(L, format) - have;
        if (missing > L_FILE_CHUNK) return missing < have ? missing : have + L_FILE_CHUNK;
    } else if (lua_tostring(L, format)[lua_tostring(L, format)[0] == '*'] == 'a') {
        if (file->size > file->offset) return (size_t)(file->size - file->offset) + 1;
        if (file->buffer.capacity > file->buffer.end) return 1; /* it should be the end */
    }
    size_t ahead = file->ahead < L_FILE_FIRST ? L_FILE_FIRST : file->ahead;
    file->ahead = ahead < L_FILE_CHUNK ? ahead * 2 : L_FILE_CHUNK;
    return have > ahead ? have : ahead;
}

/* The context of a read: how many formats, and whether it is an iterator's, which raises. */
enum { RAISES = 1, FORMATS = 2 };

static int read_failed(lua_State *L, struct l_file *file, int error, lua_KContext context) {
    int results = l_file_fail(L, file, error);
    if ((context & RAISES) == 0) return results;
    luaL_where(L, 1);
    lua_pushvalue(L, -3);
    lua_concat(L, 2);
    return lua_error(L);
}

/* file, formats, results, number of formats -> the same with more results, and whether more
 * bytes are needed */
static int take_more(lua_State *L) {
    struct l_file *file = lua_touserdata(L, 1);
    int formats = (int)lua_tointeger(L, -1);
    enum taken taken = TAKEN;
    lua_pop(L, 1);
    for (int done = lua_gettop(L) - 1 - formats; done < formats && taken == TAKEN; done++) {
        taken = satisfy(L, file, 2 + done);
        if (taken == NEEDS_MORE) {
            size_t size = read_size(L, file, 2 + done);
            l_buffer_reserve(L, &file->buffer, L_FILE_BUFFER, file->taken, size);
        }
        if (taken == NOTHING) lua_pushnil(L);
    }
    lua_pushinteger(L, taken);
    return lua_gettop(L);
}

/* Adds the results that there are.  Who stands in line must leave it also when there is not
 * enough memory. */
static enum taken take_formats(lua_State *L, struct l_file *file, int formats) {
    const struct l_task *task = file->job.rt->current;
    lua_pushinteger(L, formats);
    if (task != NULL && handle_queued(&task->place)) {
        lua_pushcfunction(L, take_more);
        lua_insert(L, 1);
        if (lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0) != LUA_OK) {
            l_file_leave(L, file);
            lua_error(L);
        }
    } else {
        take_more(L);
    }
    enum taken taken = (enum taken)lua_tointeger(L, -1);
    lua_pop(L, 1);
    return taken;
}

static int read_step(lua_State *L, int status, lua_KContext context) {
    struct l_file *file = lua_touserdata(L, 1);
    int formats = (int)(context / FORMATS);
    if (!l_file_resumed(L, file, status)) {
        l_file_closed(L);
        return (context & RAISES) != 0 ? luaL_error(L, "%s", lua_tostring(L, -2)) : 3;
    }
    if (status == LUA_YIELD && file->error != 0 && !l_job_under_way(&file->job)) {
        int error = file->error;
        file->error = 0;
        return read_failed(L, file, error, context);
    }
    if (l_job_under_way(&file->job) || file->writing) {
        return l_file_order(L, file, L_FILE_WRITE, context, read_step);
    }
    enum taken taken = take_formats(L, file, formats);
    if (taken == NEEDS_MORE) return l_file_order(L, file, L_FILE_READ, context, read_step);
    file->taken = 0; /* for good */
    l_file_leave(L, file);
    shrink(L, file);
    return lua_gettop(L) - 1 - formats;
}

/* Raises unless the values from `first` on are formats. */
static void check_formats(lua_State *L, int first) {
    int top = lua_gettop(L);
    luaL_checkstack(L, top + LUA_MINSTACK, "too many arguments");
    for (int i = first; i <= top; i++) {
        if (lua_type(L, i) == LUA_TNUMBER) {
            lua_Integer size = luaL_checkinteger(L, i);
            luaL_argcheck(L, size >= 0 && size < PTRDIFF_MAX / 2, i,
                          "number of bytes out of range");
            continue;
        }
        const char *name = luaL_checkstring(L, i);
        name += name[0] == '*';
        luaL_argcheck(L, name[0] != '\0' && strchr("nalL", name[0]) != NULL, i, "invalid format");
    }
}

static int begin_read(lua_State *L, struct l_file *file) {
    lua_KContext formats = lua_gettop(L) - 1;
    if (!file->readable) return l_push_failure(L, "EBADF", "the file was not opened for reading");
    return l_file_begin(L, file, formats * FORMATS, read_step);
}

int l_file_read(lua_State *L) {
    struct l_file *file = l_file_check(L);
    if (lua_gettop(L) == 1) lua_pushliteral(L, "l");
    check_formats(L, 2);
    return begin_read(L, file);
}

int l_file_readline(lua_State *L) {
    static const char *const formats[] = {"l", "L", NULL};
    struct l_file *file = l_file_check(L);
    luaL_checkoption(L, 2, "l", formats);
    if (lua_isnoneornil(L, 2)) {
        lua_settop(L, 1);
        lua_pushliteral(L, "l");
    }
    lua_settop(L, 2);
    return begin_read(L, file);
}

/* The iterator: runtime, number of formats, file, formats are the upvalues. */
static int next_line(lua_State *L) {
    lua_KContext formats = lua_tointeger(L, lua_upvalueindex(2));
    lua_settop(L, 0);
    luaL_checkstack(L, (int)formats * 2 + LUA_MINSTACK, "too many arguments");
    for (int i = 0; i <= formats; i++) lua_pushvalue(L, lua_upvalueindex(3 + i));
    struct l_file *file = lua_touserdata(L, 1);
    if (file->fd < 0 || file->closing) return luaL_error(L, "the file is closed");
    if (!file->readable) return luaL_error(L, "EBADF: the file was not opened for reading");
    return l_file_begin(L, file, formats * FORMATS + RAISES, read_step);
}

int l_file_lines(lua_State *L) {
    enum { MOST = 250 };
    l_file_check(L);
    if (lua_gettop(L) == 1) lua_pushliteral(L, "l");
    int formats = lua_gettop(L) - 1;
    luaL_argcheck(L, formats <= MOST, MOST + 2, "too many arguments");
    check_formats(L, 2);
    lua_pushlightuserdata(L, l_runtime(L));
    lua_insert(L, 1);
    lua_pushinteger(L, formats);
    lua_insert(L, 2);
    lua_pushcclosure(L, next_line, 3 + formats);
    return 1;
}
