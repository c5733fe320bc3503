/* inotify.c -- what changes in directories, for those who run something again then.
 *
 * Only a descriptor and what it says: who reads it when is the loop's business, by
 * add_reader (scripts/loophost/testing/watch.lua). */
#include "bindings/inventory.h"
#include "bindings/open.h"
#include "bindings/result.h"

#include <errno.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

struct l_inotify {
    struct l_object object;
    int fd; /* -1 once closed */
};

static struct l_inotify *check_open(lua_State *L) {
    struct l_inotify *inotify = l_check(L, 1, L_INOTIFY);
    luaL_argcheck(L, inotify->fd >= 0, 1, "it is closed");
    return inotify;
}

/* inotify() -> object, or nil, message, code */
static int new_inotify(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    struct l_inotify *inotify = l_newobject(L, rt, L_INOTIFY, sizeof *inotify, 0);
    inotify->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (inotify->fd < 0) return l_push_errno(L, errno);
    l_inventory_add(L, rt, "inotify", 0);
    return 1;
}

/* inotify:add(directory) -> its number, or nil, message, code: files in it that are written,
 * made, moved or removed */
static int inotify_add(lua_State *L) {
    struct l_inotify *inotify = check_open(L);
    const char *path = luaL_checkstring(L, 2);
    uint32_t mask = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE |
                    IN_ONLYDIR | IN_EXCL_UNLINK;
    int number = inotify_add_watch(inotify->fd, path, mask);
    if (number < 0) return l_push_errno(L, errno);
    lua_pushinteger(L, number);
    return 1;
}

/* inotify:read() -> list of { number of the directory, name, is a directory }; empty if
 * nothing has happened */
static int inotify_read(lua_State *L) {
    struct l_inotify *inotify = check_open(L);
    _Alignas(struct inotify_event) char buffer[4096];
    lua_newtable(L);
    ssize_t size = read(inotify->fd, buffer, sizeof buffer);
    if (size < 0) return errno == EAGAIN || errno == EINTR ? 1 : l_push_errno(L, errno);
    for (char *at = buffer; at < buffer + size;) {
        const struct inotify_event *event = (const void *)at;
        lua_createtable(L, 3, 0);
        lua_pushinteger(L, event->wd);
        lua_rawseti(L, -2, 1);
        lua_pushstring(L, event->len > 0 ? event->name : "");
        lua_rawseti(L, -2, 2);
        lua_pushboolean(L, (event->mask & IN_ISDIR) != 0);
        lua_rawseti(L, -2, 3);
        lua_rawseti(L, -2, luaL_len(L, -2) + 1);
        at += sizeof *event + event->len;
    }
    return 1;
}

static int inotify_fileno(lua_State *L) {
    lua_pushinteger(L, check_open(L)->fd);
    return 1;
}

/* Must not be watched any more. */
static int inotify_close(lua_State *L) {
    struct l_inotify *inotify = l_check(L, 1, L_INOTIFY);
    if (inotify->fd >= 0) close(inotify->fd);
    inotify->fd = -1;
    l_inventory_remove(L, l_runtime(L), inotify);
    return 0;
}

void l_inotify_open(lua_State *L, struct l_runtime *rt) {
    static const luaL_Reg methods[] = {{"add", inotify_add},
                                       {"read", inotify_read},
                                       {"fileno", inotify_fileno},
                                       {"close", inotify_close},
                                       {NULL, NULL}};
    static const luaL_Reg metamethods[] = {
        {"__gc", inotify_close}, {"__close", inotify_close}, {NULL, NULL}};
    static const luaL_Reg hooks[] = {{"inotify", new_inotify}, {NULL, NULL}};
    l_newtype(L, rt, L_INOTIFY, "inotify", methods);
    l_setfuncs(L, rt, metamethods);
    l_pushshared(L, rt, L_SHARED_HOOKS);
    l_setfuncs(L, rt, hooks);
    lua_pop(L, 2);
}
