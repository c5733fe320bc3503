/* buffer.h -- bytes that were read ahead, or are still to be written.
 *
 * They are in a userdata that a user value of the buffer's owner, a file or a stream, holds.
 * An empty buffer may have no memory at all. */
#ifndef LOOPHOST_L_BUFFER_H
#define LOOPHOST_L_BUFFER_H

#include "bindings/runtime.h"

struct l_buffer {
    char *bytes;
    size_t start, end, capacity; /* of those that nobody has had yet */
};

static inline size_t l_buffer_length(const struct l_buffer *buffer) {
    return buffer->end - buffer->start;
}

/* Makes room for `more` bytes behind those that are there; the `kept` ones before them stay,
 * too.  The owner is at index 1, and holds the memory as that user value.  Moves what is there
 * or gets at least twice the memory; may raise out of memory, having done nothing. */
void l_buffer_reserve(lua_State *L, struct l_buffer *buffer, int uservalue, size_t kept,
                      size_t more);

/* Forgets the bytes, and lets the memory go; never raises.  The owner is at index 1. */
void l_buffer_release(lua_State *L, struct l_buffer *buffer, int uservalue);

#endif
