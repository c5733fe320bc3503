/* fixed_time.c -- preloaded, it stops time(), of which Lua makes the seed of its hashes: then
 * two runs execute the same instructions. */
#include <time.h>

__attribute__((visibility("default"))) time_t time(time_t *result) {
    if (result) *result = 1;
    return 1;
}
