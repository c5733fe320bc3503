/* stream.h -- bytes from and to a descriptor, for tasks.
 *
 * A stream is one userdata.  It reads and writes only while a task asks for it: there is
 * no buffer of outgoing bytes at all, and incoming ones are kept only when a read got
 * more than was asked for.  So a slow reader slows its peer, and a slow peer its writer.
 *
 * Where the stream meets the kernel, or something put in between (TLS, a simulation), is
 * struct l_channel: the only functions that know what a descriptor is. */
#ifndef LOOPHOST_L_STREAM_H
#define LOOPHOST_L_STREAM_H

#include "bindings/buffer.h"
#include "bindings/task.h"

#include <sys/uio.h>

struct l_stream;

enum { L_NEEDS_READ = 1 << POLL_READ, L_NEEDS_WRITE = 1 << POLL_WRITE };

/* Each returns >= 0 or -errno; -EAGAIN after setting the stream's `needs` to the direction
 * (L_NEEDS_READ, L_NEEDS_WRITE, or both) that must be ready before it is tried again. */
struct l_channel {
    ssize_t (*read)(struct l_stream *stream, void *buffer, size_t size);
    ssize_t (*write)(struct l_stream *stream, const struct iovec *parts, int count);
    ssize_t (*write_eof)(struct l_stream *stream);
    /* These may be NULL: closes what is above the descriptor, which is no longer watched, and
     * says whether it takes that along and closes it later; pushes a failure other than
     * -EAGAIN and returns 3. */
    bool (*close)(struct l_stream *stream);
    int (*push_failure)(lua_State *L, struct l_stream *stream, int error);
    bool buffers; /* may have bytes although the descriptor is drained: asked in any case */
};

/* What goes on when a stream is closed whose channel has something to say still. */
struct l_closing {
    struct l_loop *loop;
    struct l_stream *stream; /* NULL once that is collected */
    struct handle *over;     /* is called then, unless that is NULL or the loop closed */
};

/* What the descriptor is: how it is written to, and what a short read or write says of it.
 * A socket that we made ourselves is then drained or full, for sure; of a tty, a pipe in
 * packet mode or a socket of who knows what options that does not hold. */
enum l_descriptor_kind {
    L_DESCRIPTOR_ANY,
    L_DESCRIPTOR_SOCKET,
    L_DESCRIPTOR_TCP,  /* ours */
    L_DESCRIPTOR_UNIX, /* ours */
};

/* An idle connection is little else: what is small is a byte or a bit. */
struct l_stream {
    struct l_object object;
    struct l_runtime *rt;
    struct l_loop *loop;
    const struct l_channel *channel;
    void *channel_state;                   /* the channel's */
    struct watch watch;                    /* both directions, by edges */
    struct l_task *reading;                /* the task that waits to read */
    struct l_task *writing;                /* the task that waits to write */
    struct l_task *turn;                   /* the task in the middle of a write, or NULL */
    struct handle_queue turns;             /* tasks that wait for another's write to end */
    struct handle_queue close_waiters;     /* tasks in wait_closed */
    struct l_buffer buffer;                /* what nobody has read: user value L_STREAM_BUFFER */
    struct l_closing *closing;             /* it is closed, and that is not over */
    size_t limit;                          /* the longest line, or what readuntil looks through */
    int fd;                                /* -1 once closed */
    int broken;                            /* the errno that has ended the connection, or 0 */
    int close_error;                       /* what the close came to */
    unsigned char needs;                   /* what the channel's last -EAGAIN waits for */
    unsigned char read_needs, write_needs; /* of the tasks that wait */
    enum l_descriptor_kind kind : 8;
    bool readable, writable; /* the descriptor, as far as we know: not drained, not full */
    bool end_seen;           /* an edge told of an end: a short read drains no more */
    bool busy_reading;       /* a task is in the middle of a read, or there can be no more */
    bool reads_little;       /* the last read got few bytes: see stream_read.c */
    bool ahead;              /* the buffer's bytes are in the runtime's memory */
    bool eof;
    bool torn : 1;        /* bytes were lost for which a read had no memory */
    bool write_begun : 1; /* a task waits to try a write again that gave -EAGAIN */
    bool sent_eof : 1;
    bool pollable : 1;
    bool by_method : 1; /* each wait is an add_reader or add_writer of the loop's */
    bool follows : 1;   /* goes along to whatever loop uses it next */
    bool collected : 1; /* is being closed by the collector */
    bool quiet : 1;     /* collected while open it says nothing: somebody else answers for it */
};

enum {
    L_STREAM_LOOP = 1,
    L_STREAM_BUFFER,
    L_STREAM_PLACE, /* "file:line" where it was opened, for the warning when it leaks */
    L_STREAM_MORE,  /* what the channel, or a process, keeps alive with the stream */
    L_STREAM_USERVALUES = L_STREAM_MORE,
};

enum { L_STREAM_LIMIT = 64 * 1024, L_STREAM_CHUNK = 64 * 1024 };

void l_stream_open(lua_State *L, struct l_runtime *rt);

/* Pushes a stream without a descriptor, which begins a struct of `size`. */
void *l_stream_prepare(lua_State *L, struct l_runtime *rt, size_t size, int uservalues);

/* Gives the stream at the index a loop and a descriptor, which must be non-blocking.  `place`
 * is the index of a string that says where it was opened, or 0; the inventory lists the stream
 * as `listed_as`, or not at all if that is NULL.  0, or -errno when the descriptor cannot be
 * watched: it is then closed. */
int l_stream_start(lua_State *L, int index, int loop_index, int fd, enum l_descriptor_kind kind,
                   size_t limit, int place, const char *listed_as);

/* The stream at the index, or an argument error; the second also if it is closed. */
static inline struct l_stream *l_stream_check(lua_State *L, int index) {
    return l_check(L, index, L_STREAM);
}
void l_stream_check_more(lua_State *L, int index, struct l_stream *stream);
static inline struct l_stream *l_stream_check_open(lua_State *L, int index) {
    struct l_stream *stream = l_stream_check(L, index);
    if (stream->fd < 0 || stream->follows) l_stream_check_more(L, index, stream);
    return stream;
}

/* Wakes what waits on the stream, to find it closed, and closes it.  May be repeated. */
void l_stream_close(lua_State *L, struct l_stream *stream);

/* The descriptor, which is about to be closed, is watched no more. */
void l_stream_stop_watch(lua_State *L, struct l_stream *stream);

/* Wakes those who wait for the stream to be closed: it is. */
void l_stream_wake_close_waiters(struct l_stream *stream);

/* The channel's close goes on in the background, until the channel says what it came to (0
 * or an errno). */
void l_stream_begin_closing(struct l_stream *stream, struct l_closing *closing);
void l_stream_end_closing(struct l_closing *closing, int error);

/* Suspends the running task, which may wait for the stream, until that is ready for what
 * `stream->needs`; `return` it. */
int l_stream_wait(lua_State *L, struct l_stream *stream, struct l_task *task,
                  enum poll_direction direction, lua_KContext context, lua_KFunction continuation);

/* The task that may wait for the stream, which is at index 1 if it `follows`, or an error that
 * says why `what` cannot wait. */
struct l_task *l_stream_check_may_wait(lua_State *L, struct l_stream *stream, const char *what);
static inline struct l_task *l_stream_may_wait(lua_State *L, struct l_stream *stream,
                                               const char *what) {
    struct l_task *task = stream->rt->current;
    bool may_wait = L == stream->rt->coroutine && task->future.loop == stream->loop &&
                    stream->rt->running != NULL && lua_isyieldable(L);
    return may_wait ? task : l_stream_check_may_wait(L, stream, what);
}

/* Whether this step has done enough without waiting, and can wait: a fast peer must not
 * starve others. */
enum { L_STREAM_BUDGET = 64 };
static inline bool l_stream_out_of_budget(lua_State *L, struct l_runtime *rt) {
    return rt->current != NULL && ++rt->immediate > L_STREAM_BUDGET && lua_isyieldable(L) &&
           rt->coroutine == L;
}

/* Memory of L_STREAM_CHUNK bytes that the next one to read may use as well. */
char *l_stream_scratch(lua_State *L, struct l_runtime *rt);

/* A task that waits to read is about to be woken: gets for it already what has come, if it seems
 * to be little.  Never raises. */
void l_stream_read_ahead(struct l_stream *stream);
void l_stream_forget_ahead(struct l_stream *stream);

/* Lets the next task write. */
void l_stream_end_writing(lua_State *L, struct l_stream *stream);

/* Pushes what the channel's -error means; returns 3. */
int l_stream_push_failure(lua_State *L, struct l_stream *stream, int error);

/* Pushes the failure of an operation whose stream was closed while it waited; returns 3. */
int l_stream_closed_meanwhile(lua_State *L);

/* The plain channel: the descriptor itself. */
extern const struct l_channel l_descriptor_channel;

/* The methods, by what they do. */
extern const luaL_Reg l_stream_read_methods[], l_stream_write_methods[];

#endif
