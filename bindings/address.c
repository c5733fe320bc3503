/* address.c -- from struct sockaddr to what a script reads. */
#include "bindings/address.h"

#include "bindings/result.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

int l_push_address(lua_State *L, const struct sockaddr_storage *address, socklen_t size) {
    char text[INET6_ADDRSTRLEN];
    switch (address->ss_family) {
    case AF_INET: {
        const struct sockaddr_in *v4 = (const void *)address;
        lua_pushstring(L, inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text));
        lua_pushinteger(L, ntohs(v4->sin_port));
        return 2;
    }
    case AF_INET6: {
        const struct sockaddr_in6 *v6 = (const void *)address;
        char scope[IF_NAMESIZE];
        inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
        if (v6->sin6_scope_id != 0 && if_indextoname(v6->sin6_scope_id, scope) != NULL) {
            lua_pushfstring(L, "%s%%%s", text, scope);
        } else {
            lua_pushstring(L, text);
        }
        lua_pushinteger(L, ntohs(v6->sin6_port));
        return 2;
    }
    case AF_UNIX: {
        const struct sockaddr_un *path = (const void *)address;
        size_t length = size > offsetof(struct sockaddr_un, sun_path)
                            ? size - offsetof(struct sockaddr_un, sun_path)
                            : 0;
        if (length > 0 && path->sun_path[0] != '\0') length = strnlen(path->sun_path, length);
        lua_pushlstring(L, path->sun_path, length);
        return 1;
    }
    default: lua_pushliteral(L, ""); return 1;
    }
}

int l_push_socket_name(lua_State *L, int fd, l_socket_name_fn *get_name) {
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof address;
    if (get_name(fd, (struct sockaddr *)&address, &size) < 0) return l_push_errno(L, errno);
    return l_push_address(L, &address, size);
}

/* The interface of that name or number; 0 if there is none. */
static unsigned scope_number(const char *scope) {
    unsigned number = if_nametoindex(scope);
    if (number != 0 || scope[0] < '0' || scope[0] > '9') return number;
    char *end;
    unsigned long digits = strtoul(scope, &end, 10);
    return *end == '\0' && digits <= UINT32_MAX ? (unsigned)digits : 0;
}

socklen_t l_parse_address(const char *text, uint16_t port, struct sockaddr_storage *address) {
    memset(address, 0, sizeof *address);
    struct sockaddr_in *v4 = (void *)address;
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        return sizeof *v4;
    }
    struct sockaddr_in6 *v6 = (void *)address;
    char plain[INET6_ADDRSTRLEN];
    size_t length = strcspn(text, "%");
    if (length >= sizeof plain) return 0;
    memcpy(plain, text, length);
    plain[length] = '\0';
    if (inet_pton(AF_INET6, plain, &v6->sin6_addr) != 1) return 0;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    if (text[length] == '%') {
        v6->sin6_scope_id = scope_number(text + length + 1);
        if (v6->sin6_scope_id == 0) return 0;
    }
    return sizeof *v6;
}

socklen_t l_checkaddress(lua_State *L, int arg, struct sockaddr_storage *address) {
    const char *text = luaL_checkstring(L, arg);
    lua_Integer port = luaL_checkinteger(L, arg + 1);
    luaL_argcheck(L, port >= 0 && port <= 65535, arg + 1, "port out of range");
    socklen_t size = l_parse_address(text, (uint16_t)port, address);
    luaL_argcheck(L, size > 0, arg, "not a numeric address");
    return size;
}

socklen_t l_checkpath(lua_State *L, int arg, struct sockaddr_storage *address) {
    size_t length;
    const char *path = luaL_checklstring(L, arg, &length);
    struct sockaddr_un *un = (void *)address;
    luaL_argcheck(L, length > 0 && length < sizeof un->sun_path, arg,
                  "path of a Unix socket must have 1 to 107 bytes");
    luaL_argcheck(L, path[0] == '\0' || strlen(path) == length, arg, "path contains zeros");
    memset(address, 0, sizeof *address);
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path, length);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (path[0] != '\0'));
}

/* A probe of the wrong type is told so where somebody listens, and is refused where nobody
 * does. */
void l_remove_stale_socket(const struct sockaddr_storage *address, socklen_t size) {
    const char *path = ((const struct sockaddr_un *)(const void *)address)->sun_path;
    struct stat status;
    if (path[0] == '\0' || lstat(path, &status) < 0 || !S_ISSOCK(status.st_mode)) return;
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (probe < 0) return;
    if (connect(probe, (const struct sockaddr *)address, size) < 0 && errno == ECONNREFUSED) {
        unlink(path);
    }
    close(probe);
}
