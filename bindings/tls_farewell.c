/* tls_farewell.c -- what a connection still does once its stream is closed.
 *
 * All that `write` has returned for is the kernel's.  What may be missing is the rest of a
 * record, an answer of OpenSSL's own, and close_notify; that goes out as the peer reads.
 * Then the peer has the last word: were the descriptor closed while something comes (be it
 * a session ticket), the kernel would reset the connection and throw away what the peer has
 * not got yet.  So it is held until the peer ends, too, or time is up.
 *
 * What comes meanwhile is for nobody.  A peer that has all that we sent and goes on sending
 * is told by a reset that nobody listens, as it would be without TLS. */
#include "bindings/tls_connection.h"

#include <errno.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READS_PER_CALL = 16, READS_AT_CLOSE = 64 };

/* ---- talking ---- */

/* Says what is left to say; 0, or -errno. */
static ssize_t say(struct tls *tls) {
    if (tls->failed) return 0; /* OpenSSL has sent its alert, or could not */
    ssize_t result = l_tls_finish_record(tls);
    return result < 0 ? result : l_tls_send_end(tls);
}

/* Whether the peer has all that we have sent. */
static bool arrived(const struct tls *tls) {
    int unsent = 0;
    return ioctl(tls->fd, SIOCOUTQ, &unsent) == 0 && unsent == 0;
}

/* What the peer says; > 0 for what we drop, 0 for its end, or -errno. */
static ssize_t hear(struct tls *tls) {
    char unread[4096];
    if (tls->failed) {
        ssize_t got = recv(tls->fd, unread, sizeof unread, MSG_DONTWAIT);
        tls->needs = L_NEEDS_READ;
        return got < 0 ? -errno : got;
    }
    l_tls_begin(tls);
    int got = tls->ssl->SSL_read(tls->connection, unread, sizeof unread);
    return got > 0 ? got : l_tls_outcome(tls, got);
}

/* The peer will send no more that could matter. */
static bool has_ended(const struct tls *tls) {
    return tls->ended || (tls->ssl->SSL_get_shutdown(tls->connection) & SSL_RECEIVED_SHUTDOWN) != 0;
}

/* ---- the end ---- */

static void unwatch(struct tls *tls, struct watch *watch) {
    if (watch_started(watch)) poller_stop(&tls->closing.loop->loop.poller, watch);
}

static void finish(struct tls *tls, int error) {
    struct l_loop *loop = tls->closing.loop;
    unwatch(tls, &tls->reads);
    unwatch(tls, &tls->writes);
    loop_cancel_timer(&loop->loop, &tls->timer);
    if (handle_queued(&tls->closer)) handle_unlink(&tls->closer);
    close(tls->fd);
    if (!tls->said) loop->loop.outstanding--;
    l_descriptor_freed(loop->rt);
    l_stream_end_closing(&tls->closing, error);
    l_tls_free(tls);
}

static void out_of_time(struct handle *handle) {
    struct timer *timer = container_of(handle, struct timer, handle);
    finish(container_of(timer, struct tls, timer), ETIMEDOUT);
}

/* Its peer may be fast enough to take the rest just now. */
static void loop_closes(struct handle *handle) {
    struct tls *tls = container_of(handle, struct tls, closer);
    if (!tls->said && poller_is_ours(&tls->closing.loop->loop.poller)) say(tls);
    finish(tls, ECANCELED);
}

/* ---- in the background ---- */

static int watch_for(struct tls *tls, struct watch *watch, enum poll_direction direction,
                     bool wanted) {
    if (wanted == watch_started(watch)) return 0;
    if (wanted) return poller_start(&tls->closing.loop->loop.poller, watch, tls->fd, direction);
    unwatch(tls, watch);
    return 0;
}

/* Everything is with the kernel. */
static void all_said(struct tls *tls) {
    tls->said = true;
    tls->closing.loop->loop.outstanding--; /* virtual time waits no longer */
    shutdown(tls->fd, SHUT_WR);
}

/* Hears the peer out, for now; whether it has ended. */
static bool listen_on(struct tls *tls, int reads) {
    bool tell = tls->said && reads == READS_PER_CALL;
    tls->needs = L_NEEDS_READ;
    while (reads-- > 0) {
        ssize_t got = hear(tls);
        if (got == -EAGAIN) return false;
        if (got <= 0 || (tell && arrived(tls))) return true;
    }
    return false;
}

/* 0 when it is over, -EAGAIN while it goes on, or -errno. */
static ssize_t step(struct tls *tls, int reads) {
    unsigned needs = 0;
    if (!tls->said) {
        ssize_t result = say(tls);
        if (result == 0) {
            all_said(tls);
        } else if (result != -EAGAIN) {
            return result;
        }
        needs = result == 0 ? 0 : tls->needs;
    }
    bool ended = has_ended(tls) || listen_on(tls, reads);
    if (tls->said && ended) return 0;
    if (tls->failed && !tls->said) return -EPIPE;
    if (!ended) needs |= tls->needs;
    bool writes = (needs & L_NEEDS_WRITE) != 0;
    if (ended && !writes) return -EPIPE; /* it waits for what cannot come */
    int result = watch_for(tls, &tls->reads, POLL_READ, !ended);
    if (result == 0) result = watch_for(tls, &tls->writes, POLL_WRITE, writes);
    return result == 0 ? -EAGAIN : result;
}

static void go_on(struct tls *tls, int reads) {
    ssize_t result = step(tls, reads);
    if (result != -EAGAIN) finish(tls, (int)-result);
}

static void readable(struct handle *handle) {
    struct watch *watch = container_of(handle, struct watch, handle);
    go_on(container_of(watch, struct tls, reads), READS_PER_CALL);
}

static void writable(struct handle *handle) {
    struct watch *watch = container_of(handle, struct watch, handle);
    go_on(container_of(watch, struct tls, writes), READS_PER_CALL);
}

static int64_t deadline(struct loop *loop, int64_t delay_ns) {
    int64_t when_ns;
    return __builtin_add_overflow(loop_now(loop), delay_ns, &when_ns) ? INT64_MAX : when_ns;
}

static void begin(struct tls *tls, struct l_stream *stream) {
    struct loop *loop = &stream->loop->loop;
    watch_init(&tls->reads, readable);
    watch_init(&tls->writes, writable);
    timer_init(&tls->timer, out_of_time);
    handle_init(&tls->closer, loop_closes);
    l_stream_begin_closing(stream, &tls->closing);
    loop->outstanding++;
    loop_call_at_close(loop, &tls->closer);
    if (!loop_call_at(loop, &tls->timer, deadline(loop, tls->patience_ns))) {
        loop_call_soon(loop, &tls->timer.handle); /* no patience without memory */
    }
    go_on(tls, READS_AT_CLOSE);
}

bool l_tls_farewell(struct tls *tls, struct l_stream *stream) {
    const struct l_loop *loop = stream->loop;
    bool may_talk = tls->failed ? tls->alerted : tls->established;
    bool ours = loop != NULL && poller_is_ours(&loop->loop.poller); /* not a forked child's */
    tls->stream = NULL;
    tls->fd = stream->fd;
    tls->orphaned = tls->record > 0;
    if (may_talk && ours && stream->kind != L_DESCRIPTOR_ANY) {
        if (!loop->closed && tls->patience_ns > 0) {
            begin(tls, stream);
            return true;
        }
        say(tls);
        listen_on(tls, READS_AT_CLOSE);
    }
    l_tls_free(tls);
    return false;
}
