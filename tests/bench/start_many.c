/* start_many.c -- starts a command again and again, waits for each end: how long one takes, and
 * the most memory that one had. Arguments: how often, command ... */
#include "tests/bench/limit.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 3) return EXIT_FAILURE;
    int64_t ops = limit_argument(argc, argv, 1), began = limit_wall_ns();
    struct rusage usage;
    for (int64_t i = 0; i < ops; i++) {
        pid_t pid;
        int status;
        if (posix_spawnp(&pid, argv[2], NULL, NULL, argv + 2, environ) != 0) return EXIT_FAILURE;
        if (wait4(pid, &status, 0, &usage) < 0 || status != 0) return EXIT_FAILURE;
    }
    int64_t took = limit_wall_ns() - began;
    getrusage(RUSAGE_CHILDREN, &usage);
    printf("ops=%lld wall_ns=%lld kib=%ld\n", (long long)ops, (long long)took, usage.ru_maxrss);
    return 0;
}
