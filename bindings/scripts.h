/* scripts.h -- the Lua half of the library, compiled and built into the binary. */
#ifndef LOOPHOST_SCRIPTS_H
#define LOOPHOST_SCRIPTS_H

#include <stddef.h>

struct embedded_script {
    const char *name; /* as `require` knows it; NULL behind the last */
    const unsigned char *code;
    size_t size;
};

extern const struct embedded_script embedded_scripts[];

#endif
