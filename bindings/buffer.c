/* buffer.c -- memory that grows for bytes that come in or go out.
 *
 * Bytes are moved to the front whenever that makes the room: as a reader asks for more only
 * when what is there is less than it wants, it has a larger piece soon than was moved. */
#include "bindings/buffer.h"

#include <string.h>

void l_buffer_reserve(lua_State *L, struct l_buffer *buffer, int uservalue, size_t kept,
                      size_t more) {
    if (buffer->capacity - buffer->end >= more) return;
    size_t first = buffer->start - kept, length = buffer->end - first;
    if (buffer->capacity - length >= more) {
        memmove(buffer->bytes, buffer->bytes + first, length);
    } else {
        size_t twice = buffer->capacity * 2;
        size_t capacity = length + more > twice ? length + more : twice;
        char *bytes = lua_newuserdatauv(L, capacity, 0);
        if (length > 0) memcpy(bytes, buffer->bytes + first, length);
        lua_setiuservalue(L, 1, uservalue);
        buffer->bytes = bytes;
        buffer->capacity = capacity;
    }
    buffer->start = kept;
    buffer->end = length;
}

void l_buffer_release(lua_State *L, struct l_buffer *buffer, int uservalue) {
    lua_pushnil(L);
    lua_setiuservalue(L, 1, uservalue);
    *buffer = (struct l_buffer){0};
}
