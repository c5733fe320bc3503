/* descriptors_open.c -- opens descriptors, from number 10 on, of which the first is readable,
 * and becomes the command. Arguments: how many, command ... */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

enum { FIRST = 10 };

int main(int argc, char **argv) {
    if (argc < 3) return EXIT_FAILURE;
    int count = (int)strtol(argv[1], NULL, 10);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    for (int fd = FIRST; fd < FIRST + count; fd++) {
        int made = eventfd(fd == FIRST, 0);
        if (made < 0 || dup2(made, fd) < 0) {
            perror("descriptors");
            return EXIT_FAILURE;
        }
        if (made < FIRST) close(made);
    }
    execvp(argv[2], argv + 2);
    perror(argv[2]);
    return EXIT_FAILURE;
}
