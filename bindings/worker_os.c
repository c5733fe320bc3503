/* worker_os.c -- os.execute and io.popen whose children do not inherit a thread's blocked
 * signals.  Otherwise they are Lua's own. */
#include "bindings/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <lua5.4/lualib.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs the command by the shell, with no signal blocked and, if given >= 0, one of its
 * descriptors replaced; 0 or an errno. */
static int spawn_shell(const char *command, int fd, int as, pid_t *pid) {
    const char *const arguments[] = {"sh", "-c", command, NULL};
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t actions;
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    posix_spawn_file_actions_init(&actions);
    if (fd >= 0) posix_spawn_file_actions_adddup2(&actions, fd, as);
    int result = posix_spawn(pid, "/bin/sh", &actions, &attributes,
                             (char *const *)(uintptr_t)arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return result;
}

/* Pushes what became of the child, as os.execute says it. */
static int push_end(lua_State *W, pid_t pid) {
    int status, result;
    do {
        result = waitpid(pid, &status, 0);
    } while (result < 0 && errno == EINTR);
    if (result < 0) return luaL_fileresult(W, 0, NULL);
    errno = 0; /* else that is what luaL_execresult tells */
    return luaL_execresult(W, status);
}

static int worker_execute(lua_State *W) {
    const char *command = luaL_optstring(W, 1, NULL);
    pid_t pid;
    if (command == NULL) {
        lua_pushboolean(W, access("/bin/sh", X_OK) == 0);
        return 1;
    }
    errno = spawn_shell(command, -1, -1, &pid);
    if (errno != 0) return luaL_fileresult(W, 0, NULL);
    return push_end(W, pid);
}

static int worker_pclose(lua_State *W) {
    luaL_Stream *stream = luaL_checkudata(W, 1, LUA_FILEHANDLE);
    lua_getiuservalue(W, 1, 1);
    fclose(stream->f);
    return push_end(W, (pid_t)lua_tointeger(W, -1));
}

static int worker_popen(lua_State *W) {
    const char *command = luaL_checkstring(W, 1);
    const char *mode = luaL_optstring(W, 2, "r");
    luaL_argcheck(W, (mode[0] == 'r' || mode[0] == 'w') && mode[1] == '\0', 2, "invalid mode");
    luaL_Stream *stream = lua_newuserdatauv(W, sizeof *stream, 1);
    bool reads = mode[0] == 'r';
    int fds[2];
    pid_t pid;
    stream->closef = NULL;
    luaL_setmetatable(W, LUA_FILEHANDLE);
    fflush(NULL);
    if (pipe2(fds, O_CLOEXEC) < 0) return luaL_fileresult(W, 0, command);
    int error = spawn_shell(command, fds[reads], reads ? STDOUT_FILENO : STDIN_FILENO, &pid);
    close(fds[reads]);
    stream->f = error == 0 ? fdopen(fds[!reads], mode) : NULL;
    if (stream->f == NULL) {
        if (error == 0) error = errno;
        close(fds[!reads]);
        errno = error;
        return luaL_fileresult(W, 0, command);
    }
    lua_pushinteger(W, pid);
    lua_setiuservalue(W, -2, 1);
    stream->closef = worker_pclose;
    return 1;
}

void l_worker_replace_os(lua_State *W) {
    lua_getglobal(W, LUA_OSLIBNAME);
    lua_pushcfunction(W, worker_execute);
    lua_setfield(W, -2, "execute");
    lua_getglobal(W, LUA_IOLIBNAME);
    lua_pushcfunction(W, worker_popen);
    lua_setfield(W, -2, "popen");
    lua_pop(W, 2);
}
