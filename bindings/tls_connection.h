/* tls_connection.h -- OpenSSL above a descriptor: what the channel and the farewell share.
 *
 * While the stream is open its knowledge of the descriptor (drained, full) is used and kept
 * up to date.  Once it is closed the connection has the descriptor to itself. */
#ifndef LOOPHOST_L_TLS_CONNECTION_H
#define LOOPHOST_L_TLS_CONNECTION_H

#include "bindings/openssl.h"
#include "bindings/tls.h"

struct tls {
    const struct openssl *ssl;
    SSL *connection;
    BIO_METHOD *method;
    struct l_stream *stream; /* NULL once that is closed */
    int fd;                  /* ours, from then on */
    unsigned char needs;     /* what the last -EAGAIN waits for, as a stream's */
    size_t record;           /* plain bytes of the record that is not sent in whole yet; 0: none */
    bool orphaned;           /* its writer will not try again: it counts for nobody */
    bool established;        /* the handshake is done */
    bool sent_end;           /* so is close_notify */
    bool ended;              /* the descriptor has no more, good-bye or not */
    bool failed;             /* nothing more may be sent */
    bool alerted;            /* and the peer was told why */
    int error;               /* the errno that the descriptor gave last */
    char reason[160];        /* of a failure that is OpenSSL's */

    /* ---- once the stream is closed: see tls_farewell.c ---- */
    int64_t patience_ns; /* how long that may take */
    struct l_closing closing;
    struct watch reads, writes;
    struct timer timer;
    struct handle closer; /* called when the loop is closed */
    bool said;            /* all that we have to say */
};

/* A connection for the stream, or NULL. */
struct tls *l_tls_new(const struct openssl *ssl, struct ssl_ctx_st *ctx, struct l_stream *stream);
void l_tls_free(struct tls *tls);

/* Goes before each call of OpenSSL's. */
void l_tls_begin(struct tls *tls);

/* What came of it: -EAGAIN with `needs` set, 0 for the end, -EPROTO for what `reason` tells,
 * or the descriptor's -errno.  Leaves no error in OpenSSL's queue. */
ssize_t l_tls_outcome(struct tls *tls, int result);

enum { L_TLS_RECORD_SIZE = 16384 };

/* Sends up to a record; how much of the data, or -errno.  After -EAGAIN `record` says how
 * much OpenSSL has taken: no other call may come before the same again. */
ssize_t l_tls_write(struct tls *tls, const char *data, size_t length);

/* Finishes a record that counts for nobody, and says that there is no more; 0 or -errno. */
ssize_t l_tls_finish_record(struct tls *tls);
ssize_t l_tls_send_end(struct tls *tls);

/* The stream is closed, and no longer watched: takes leave of the peer, in the background
 * if it must.  True if the descriptor is now the connection's to close. */
bool l_tls_farewell(struct tls *tls, struct l_stream *stream);

#endif
