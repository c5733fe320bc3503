/* file.h -- files, read and written in a thread.
 *
 * A file has one buffer, with bytes that were read ahead or that are still to be written,
 * and one job.  While the job is under way all fields but `closing` are the thread's.
 * Operations come one after the other: who comes while another one's is going on stands in
 * line.
 *
 * Of a file that can be sought in, the position is ours alone (pread, pwrite): it moves when
 * a job is done, whether somebody still waits for that or not.  So a read that is cancelled
 * changes nothing: what comes all the same is in the buffer, for the next one. */
#ifndef LOOPHOST_L_FILE_H
#define LOOPHOST_L_FILE_H

#include "bindings/buffer.h"
#include "bindings/job.h"

/* How much is read ahead at first, and once it is seen that the file is read on and on. */
enum { L_FILE_FIRST = 8 * 1024, L_FILE_CHUNK = 64 * 1024 };

enum l_file_order {
    L_FILE_OPEN,
    L_FILE_READ,
    L_FILE_WRITE, /* the buffer, then the text */
    L_FILE_SIZE,
    L_FILE_TRUNCATE,
    L_FILE_SYNC,
    L_FILE_CLOSE, /* after writing the buffer */
};

struct l_file {
    struct l_object object;
    struct l_job job;
    struct handle open; /* its place among the open files */
    int fd;             /* -1: not open */
    int wake_fd;        /* ends the thread's wait for a pipe or the like */
    bool readable, writable, appends, seekable;
    bool buffers;       /* what is written: not for pipes, ttys ... */
    bool awaits_writer; /* a FIFO that nobody has written to: that is not its end */
    bool writing;       /* the buffer's bytes are to be written */
    bool eof;           /* the last read of this operation got nothing */
    bool closing, closer_waits;
    int64_t offset;           /* of what the next job reads or writes */
    struct l_buffer buffer;   /* user value L_FILE_BUFFER */
    size_t taken;             /* before those, by this operation: given back if it fails */
    size_t scanned;           /* of those that are there, without an end of line */
    size_t ahead;             /* how much to read ahead next */
    int64_t size;             /* when it was opened: a hint */
    int lost_error;           /* of a write for which nobody waited any more */
    struct handle_queue line; /* tasks, by their places; the first one's turn it is */
    enum l_file_order order;  /* what the job is to do */
    const char *text;         /* path, or what is to be written: L_FILE_TEXT */
    size_t length;
    int flags;
    int64_t number; /* the size */
    int error;      /* errno of the job */
};

enum { L_FILE_BUFFER = 1, L_FILE_TEXT, L_FILE_PLACE, L_FILE_USERVALUES = L_FILE_PLACE };

void l_file_open(lua_State *L, struct l_runtime *rt);

/* Writes what open files have in their buffers: the process is about to end. */
void l_file_flush_all(struct l_runtime *rt);

/* What the job does in its thread. */
void l_file_work(struct threadpool_job *job);

/* The open file at index 1, or an argument error. */
struct l_file *l_file_check(lua_State *L);

/* Calls the step, now or when it is the running task's turn.  It is called again after
 * every wait, then with LUA_YIELD, and begins with l_file_resumed. */
int l_file_begin(lua_State *L, struct l_file *file, lua_KContext context, lua_KFunction step);

/* Whether the step may go on; false: the file was closed, return l_file_closed(L).  Raises the
 * cancellation. */
bool l_file_resumed(lua_State *L, struct l_file *file, int status);
int l_file_closed(lua_State *L);

/* Has the thread do it, and calls the step again; `return` it.  Fails as a result of the
 * operation does. */
int l_file_order(lua_State *L, struct l_file *file, enum l_file_order order, lua_KContext context,
                 lua_KFunction step);

/* Ends the operation: the next one may begin.  The second pushes the failure of the job, or
 * of one that nobody was told of. */
void l_file_leave(lua_State *L, struct l_file *file);
int l_file_fail(lua_State *L, struct l_file *file, int error);

/* The method read, and lines. */
int l_file_read(lua_State *L);
int l_file_readline(lua_State *L);
int l_file_lines(lua_State *L);

/* The methods of writing. */
int l_file_write(lua_State *L);
int l_file_flush(lua_State *L);
int l_file_sync(lua_State *L);
int l_file_truncate(lua_State *L);
int l_file_seek(lua_State *L);

#endif
