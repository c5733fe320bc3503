/* openssl.c -- finds the library and its functions, once a process. */
#include "bindings/openssl.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>

static struct openssl functions; /* written once, before anybody reads it */
static bool found;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void find_functions(void) {
    void *library = dlopen("libssl.so.3", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) return;
        /* POSIX has it that a data pointer can hold a function's */
#define OPENSSL_FIND(name) \
    *(void **)&functions.name = dlsym(library, #name); \
    if (functions.name == NULL) return;
    OPENSSL_FUNCTIONS(OPENSSL_FIND)
#undef OPENSSL_FIND
    found = true;
}

const struct openssl *openssl_get(void) {
    pthread_once(&once, find_functions);
    return found ? &functions : NULL;
}
