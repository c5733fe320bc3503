/* scarce.c -- a machine that has run out: of memory at the N-th allocation, or of descriptors.
 *
 * Loaded before libc, it stands in front of malloc; and a test script gets two functions from
 * it by package.loadlib:
 *
 *   starve(N)   has the N-th allocation from now on fail: one of malloc's, or one of Lua's,
 *               and then its second attempt as well, after the collector has run; N = 0: none.
 *               Returns how many there have been since the last call.  Only those of the
 *               calling thread count, and none that makes a block smaller.
 *   limit(N)    lets descriptors below N be opened only; nil: as many as at first. */
#include <errno.h>
#include <lua5.4/lauxlib.h>
#include <lua5.4/lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>

#define VISIBLE __attribute__((visibility("default")))
#define WEAK    __attribute__((weak))

/* Each thread's, without a call of __tls_get_addr: that is the address sanitizer's, which has
 * memory allocated before it is ready. */
#define PER_THREAD static _Thread_local __attribute__((tls_model("initial-exec")))

PER_THREAD long left, count; /* until it fails; since `starve` */
PER_THREAD bool armed, inside, again;

/* Whether this one fails. */
static bool fails(void) {
    if (!armed || inside) return false;
    count++;
    if (left == 0 || --left > 0) return false;
    errno = ENOMEM;
    return true;
}

/* ---- malloc ---- */

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): their names */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t number, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void *__interceptor_malloc(size_t size) WEAK; /* the address sanitizer's, if it is there */
extern void *__interceptor_calloc(size_t number, size_t size) WEAK;
extern void *__interceptor_realloc(void *block, size_t size) WEAK;
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */

VISIBLE void *malloc(size_t size) {
    if (fails()) return NULL;
    return __interceptor_malloc != NULL ? __interceptor_malloc(size) : __libc_malloc(size);
}

VISIBLE void *calloc(size_t number, size_t size) {
    if (fails()) return NULL;
    return __interceptor_calloc != NULL ? __interceptor_calloc(number, size)
                                        : __libc_calloc(number, size);
}

VISIBLE void *realloc(void *block, size_t size) {
    if (size > 0 && fails()) return NULL;
    return __interceptor_realloc != NULL ? __interceptor_realloc(block, size)
                                         : __libc_realloc(block, size);
}

/* What the dynamic linker allocates is known by who called malloc: now that is us. */
VISIBLE const char *__lsan_default_suppressions(void) { /* NOLINT: their name */
    return "leak:dl_open_worker_begin";
}

/* ---- Lua's allocator ---- */

static lua_Alloc allocate;
static void *allocator;

static void *scarce(void *arg, void *block, size_t old_size, size_t new_size) {
    (void)arg;
    bool grows = new_size > 0 && (block == NULL || new_size > old_size);
    if (grows && again) {
        again = false;
        return NULL;
    }
    if (grows && fails()) {
        again = true;
        return NULL;
    }
    inside = true;
    void *result = allocate(allocator, block, old_size, new_size);
    inside = false;
    return result;
}

VISIBLE int starve(lua_State *L) {
    lua_Integer at = luaL_optinteger(L, 1, 0);
    long before = count;
    if (allocate == NULL) {
        allocate = lua_getallocf(L, &allocator);
        lua_setallocf(L, scarce, NULL);
    }
    armed = again = false;
    lua_settop(L, 0);
    lua_pushinteger(L, before);
    left = (long)at;
    count = 0;
    armed = at > 0;
    return 1;
}

/* ---- descriptors ---- */

VISIBLE int limit(lua_State *L) {
    static struct rlimit first;
    struct rlimit now;
    if (first.rlim_max == 0) getrlimit(RLIMIT_NOFILE, &first);
    now = first;
    if (!lua_isnoneornil(L, 1)) now.rlim_cur = (rlim_t)luaL_checkinteger(L, 1);
    if (setrlimit(RLIMIT_NOFILE, &now) < 0) return luaL_error(L, "setrlimit failed");
    return 0;
}
