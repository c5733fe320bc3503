/* main.c -- the command line, the Lua state, signals, the exit status.
 *
 * What the command line asks for is run by the main task, which scripts/loophost/main.lua
 * tells what to run; nothing of a script runs outside of it. */
#include "bindings/collector.h"
#include "bindings/file.h"
#include "bindings/main_task.h"
#include "bindings/open.h"
#include "bindings/state.h"
#include "host/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <lua5.4/lualib.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VERSION "0.1.0"

/* Under the address sanitizer each block is to be malloc's. */
#ifdef __SANITIZE_ADDRESS__
enum { SLABS = 0 };
#else
enum { SLABS = 1 };
#endif

/* ---- the command line ---- */

struct options {
    int script; /* its index in argv; on failure, that of the bad option */
    bool ignores_environment, interactive, prints_version, has_statement;
    bool debug, metrics, help, own_version;
    const char *clock, *trace;
};

static bool parse_long_option(struct options *options, const char *name) {
    const struct {
        const char *name;
        bool *flag;
    } flags[] = {{"debug", &options->debug},
                 {"metrics", &options->metrics},
                 {"help", &options->help},
                 {"version", &options->own_version}};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        if (strcmp(name, flags[i].name) == 0) {
            *flags[i].flag = true;
            return true;
        }
    }
    if (strcmp(name, "clock=virtual") == 0 || strcmp(name, "clock=monotonic") == 0) {
        options->clock = name + strlen("clock=");
        return true;
    }
    options->trace = name + strlen("trace=");
    return strncmp(name, "trace=", strlen("trace=")) == 0 && options->trace[0] != '\0';
}

/* An option of one letter; *i moves on if it takes the next argument. */
static bool parse_letter(struct options *options, char **argv, int *i) {
    const char *option = argv[*i];
    switch (option[1]) {
    case 'E': options->ignores_environment = true; break;
    case 'i': options->interactive = options->prints_version = true; break;
    case 'v': options->prints_version = true; break;
    case 'W': break;
    case 'e': options->has_statement = true; /* FALLTHROUGH */
    case 'l':
        if (option[2] != '\0') return true;
        ++*i;
        return argv[*i] != NULL && argv[*i][0] != '-';
    default: return false;
    }
    return option[2] == '\0';
}

static bool parse(struct options *options, char **argv) {
    int i = 1;
    for (; argv[i] != NULL && argv[i][0] == '-' && argv[i][1] != '\0'; i++) {
        options->script = i;
        if (strcmp(argv[i], "--") == 0) {
            options->script = i + 1;
            return true;
        }
        if (argv[i][1] == '-' ? !parse_long_option(options, argv[i] + 2)
                              : !parse_letter(options, argv, &i)) {
            return false;
        }
    }
    options->script = i;
    return true;
}

static void print_usage(FILE *file, const char *program) {
    fprintf(file,
            "usage: %s [options] [script [args]]\n"
            "Available options are:\n"
            "  -e stat   execute string 'stat'\n"
            "  -i        enter interactive mode after executing 'script'\n"
            "  -l mod    require library 'mod' into global 'mod'\n"
            "  -l g=mod  require library 'mod' into global 'g'\n"
            "  -v        show version information\n"
            "  -E        ignore environment variables\n"
            "  -W        turn warnings on\n"
            "  --        stop handling options\n"
            "  -         stop handling options and execute stdin\n"
            "  --clock=virtual   time jumps to the next timer when nothing is ready\n"
            "  --clock=monotonic time passes as it does (the default)\n"
            "  --debug           loops warn of slow callbacks and stray yields\n"
            "  --trace=FILE      write what the loops did to FILE at exit\n"
            "  --metrics         print the loops' counters at exit\n"
            "  --help            show this\n"
            "  --version         show the version of loophost\n"
            "       %s test [busted options] [paths]\n"
            "runs the specs of busted inside the host\n",
            program, program);
}

static void print_bad_option(const char *program, const char *option) {
    bool needs_argument = option[1] == 'e' || option[1] == 'l';
    fprintf(stderr, needs_argument ? "%s: '%s' needs argument\n" : "%s: unrecognized option '%s'\n",
            program, option);
    print_usage(stderr, program);
}

/* ---- what main.lua is told ---- */

/* Leaves a list of { letter, argument } on top: what -e, -l and -W ask for. */
static void push_actions(lua_State *L, char **argv, int script) {
    lua_newtable(L);
    for (int i = 1; i < script; i++) {
        char letter = argv[i][1];
        if (letter != 'e' && letter != 'l' && letter != 'W') continue;
        const char *argument = argv[i] + 2;
        if (letter != 'W' && argument[0] == '\0') argument = argv[++i];
        lua_createtable(L, 2, 0);
        lua_pushlstring(L, &letter, 1);
        lua_rawseti(L, -2, 1);
        lua_pushstring(L, argument);
        lua_rawseti(L, -2, 2);
        lua_rawseti(L, -2, luaL_len(L, -2) + 1);
    }
}

static void set_string(lua_State *L, const char *name, const char *value) {
    lua_pushstring(L, value);
    lua_setfield(L, -2, name);
}

static void set_flag(lua_State *L, const char *name, bool value) {
    lua_pushboolean(L, value);
    lua_setfield(L, -2, name);
}

static void push_options(lua_State *L, const struct options *options, int argc, char **argv) {
    const char *script = options->script < argc ? argv[options->script] : NULL;
    bool after_dashes = strcmp(argv[options->script - 1], "--") == 0;
    lua_newtable(L);
    push_actions(L, argv, options->script);
    lua_setfield(L, -2, "actions");
    set_string(L, "program", argv[0]);
    set_string(L, "copyright", LUA_COPYRIGHT);
    set_string(L, "script", script);
    set_string(L, "clock", options->clock);
    set_string(L, "trace", options->trace);
    set_flag(L, "debug", options->debug);
    set_flag(L, "metrics", options->metrics);
    set_flag(L, "ignores_environment", options->ignores_environment);
    set_flag(L, "interactive", options->interactive);
    set_flag(L, "has_statement", options->has_statement || options->prints_version);
    set_flag(L, "script_is_stdin", script != NULL && !after_dashes && strcmp(script, "-") == 0);
    set_flag(L, "is_test", script != NULL && !after_dashes && strcmp(script, "test") == 0);
    set_flag(L, "stdin_is_terminal", isatty(STDIN_FILENO));
}

static void set_arg(lua_State *L, int argc, char **argv, int script) {
    if (script == argc) script = 0; /* no script: arg[0] is the program */
    lua_createtable(L, argc - script, script);
    for (int i = 0; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i - script);
    }
    lua_setglobal(L, "arg");
}

/* ---- signals ---- */

/* A signal handler has no argument of its own. */
static struct l_runtime *signalled;

/* Whether there is a script's function that an error would leave. */
static bool runs_lua(lua_State *L) {
    lua_Debug info;
    for (int level = 0; lua_getstack(L, level, &info); level++) {
        lua_getinfo(L, "S", &info);
        if (info.what[0] != 'C') return true;
    }
    return false;
}

/* Between two chunks, of the prompt's say, the hook waits for the next; if the task waits before
 * that, the loop tells it. */
static void raise_interrupt(lua_State *L, lua_Debug *info) {
    (void)info;
    bool pending = signalled->interrupt_pending; /* or it was told already */
    if (pending && !runs_lua(L)) return;
    lua_sethook(L, NULL, 0, 0);
    if (pending) l_main_raise(L, signalled);
}

/* The first time the main task is cancelled: where it waits, or, if its code runs, at the
 * next instruction.  The second time the process ends. */
static void on_interrupt(int number) {
    if (signalled->interrupted) _exit(128 + number);
    l_main_interrupt(signalled);
    lua_State *running = l_main_running(signalled);
    if (running == NULL) return;
    lua_sethook(running, raise_interrupt, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT,
                1);
}

/* A broken pipe to stdout or stderr ends us, as it ends lua5.4 in `lua5.4 x.lua | head`;
 * any other is an error of the write.  Unlike SIG_IGN, this is not inherited. */
static void on_broken_pipe(int number) {
    int saved = errno;
    struct pollfd output[] = {{.fd = STDOUT_FILENO}, {.fd = STDERR_FILENO}};
    poll(output, 2, 0);
    if ((output[0].revents | output[1].revents) & POLLERR) {
        signal(number, SIG_DFL);
        raise(number);
    }
    errno = saved;
}

/* Replaces the default action, but not that a signal is ignored: nohup and the like. */
static void handle_signal(int number, void (*handler)(int)) {
    struct sigaction action;
    if (sigaction(number, NULL, &action) < 0 || action.sa_handler == SIG_IGN) return;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    sigaction(number, &action, NULL);
}

/* ---- the end ---- */

static void call_at_exit(lua_State *L, struct l_runtime *rt) {
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    l_pushhook(L, rt, "at_exit");
    if (lua_isfunction(L, -1) && lua_pcall(L, 0, 0, 0) != LUA_OK) {
        fprintf(stderr, "loophost: error at exit (%s)\n", lua_tostring(L, -1));
    }
}

/* os.exit as Lua has it, but that it comes by at_exit, and closes the state also from
 * inside the main task. */
static int os_exit(lua_State *L) {
    int status =
        lua_isboolean(L, 1) ? !lua_toboolean(L, 1) : (int)luaL_optinteger(L, 1, EXIT_SUCCESS);
    bool closes = lua_toboolean(L, 2);
    call_at_exit(L, l_runtime(L));
    l_file_flush_all(l_runtime(L));
    if (closes) {
        l_main_abandon(l_runtime(L));
        lua_close(L);
    }
    exit(status);
}

/* ---- the beginning ---- */

struct command_line {
    const struct options *options;
    int argc;
    char **argv;
};

/* command line -> the function that main.lua returns for it */
static int open_state(lua_State *L) {
    const struct command_line *line = lua_touserdata(L, 1);
    if (line->options->ignores_environment) {
        lua_pushboolean(L, 1);
        lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
    }
    lua_gc(L, LUA_GCSTOP); /* nothing made here is garbage */
    luaL_openlibs(L);
    struct l_runtime *rt = l_open_host(L);
    set_arg(L, line->argc, line->argv, line->options->script);
    lua_getglobal(L, "os");
    l_pushfunction(L, rt, os_exit);
    lua_setfield(L, -2, "exit");
    lua_getglobal(L, "require");
    lua_pushliteral(L, "loophost.main");
    lua_call(L, 1, 1);
    push_options(L, line->options, line->argc, line->argv);
    lua_call(L, 1, 1);
    l_collector_start(L);
    return 1;
}

/* The garbage of a few seconds' echoing is freed at once, and wanted again at once: malloc must
 * not give it back to the kernel in between, as it does with more than 128 KiB. */
static void tune_malloc(void) {
    mallopt(M_TRIM_THRESHOLD, 8 << 20);
    mallopt(M_MMAP_THRESHOLD, 4 << 20);
}

static int run(lua_State *L, struct command_line *line) {
    lua_pushcfunction(L, open_state);
    lua_pushlightuserdata(L, line);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
        fprintf(stderr, "%s: %s\n", line->argv[0], lua_tostring(L, -1));
        return EXIT_FAILURE;
    }
    signalled = l_runtime_open(L);
    handle_signal(SIGINT, on_interrupt);
    handle_signal(SIGPIPE, on_broken_pipe);
    int status = l_main_run(L, signalled, 0);
    signal(SIGINT, SIG_DFL);
    call_at_exit(L, signalled);
    return status;
}

/* A standard descriptor that is closed stays closed: what is opened next must not become our
 * stdin or stdout by getting its number.  This one fails as a closed one does, and is none
 * for our children. */
static void hold_closed_descriptors(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/", O_PATH | O_CLOEXEC) < 0) return;
    }
}

int main(int argc, char **argv) {
    struct options options = {0};
    char *fallback[] = {(char[]){"loophost"}, NULL};
    hold_closed_descriptors();
    if (argc < 1) argc = 1, argv = fallback;
    if (!parse(&options, argv)) {
        print_bad_option(argv[0], argv[options.script]);
        return EXIT_FAILURE;
    }
    if (options.help) {
        print_usage(stdout, argv[0]);
        return EXIT_SUCCESS;
    }
    if (options.own_version) {
        puts("loophost " VERSION ", " LUA_RELEASE);
        return EXIT_SUCCESS;
    }
    if (options.prints_version) {
        puts(LUA_COPYRIGHT);
        fflush(stdout);
    }
    struct alloc alloc;
    tune_malloc();
    alloc_init(&alloc);
    lua_State *L = l_state_new(SLABS ? alloc_resize : NULL, &alloc);
    if (L == NULL) {
        fprintf(stderr, "%s: cannot create state: not enough memory\n", argv[0]);
        return EXIT_FAILURE;
    }
    int status = run(L, &(struct command_line){&options, argc, argv});
    alloc.closing = true;
    lua_close(L);
    alloc_close(&alloc);
    return status;
}
