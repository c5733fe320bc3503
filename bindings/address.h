/* address.h -- socket addresses as scripts see them: host, port; or the path of a socket. */
#ifndef LOOPHOST_L_ADDRESS_H
#define LOOPHOST_L_ADDRESS_H

#include "bindings/runtime.h"

#include <sys/socket.h>

struct l_address {
    struct sockaddr_storage storage;
    socklen_t size; /* 0: none */
};

typedef int l_socket_name_fn(int fd, struct sockaddr *restrict address, socklen_t *restrict size);

/* Pushes host and port, or a Unix socket's path ("" if it has none); the number pushed. */
int l_push_address(lua_State *L, const struct sockaddr_storage *address, socklen_t size);

/* The same for what getsockname or getpeername says of the socket, or a failure. */
int l_push_socket_name(lua_State *L, int fd, l_socket_name_fn *get_name);

/* The numeric IPv4 or IPv6 address as an address; its size, 0 if it is none. */
socklen_t l_parse_address(const char *text, uint16_t port, struct sockaddr_storage *address);

/* The arguments at `arg` and behind it, a numeric IPv4 or IPv6 address (with %scope) and a
 * port, as an address; its size.  The other one: the path of a Unix socket, abstract if
 * it begins with a zero byte. */
socklen_t l_checkaddress(lua_State *L, int arg, struct sockaddr_storage *address);
socklen_t l_checkpath(lua_State *L, int arg, struct sockaddr_storage *address);

/* A socket file that nobody listens on any more is in the way of one who wants to: it is
 * removed. */
void l_remove_stale_socket(const struct sockaddr_storage *address, socklen_t size);

#endif
