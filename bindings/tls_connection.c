/* tls_connection.c -- OpenSSL reads and writes a descriptor of ours through a BIO.
 *
 * A record that the kernel has taken in part must be finished before anything else is
 * sent.  OpenSSL keeps it; we keep its length. */
#include "bindings/tls_connection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* ---- below OpenSSL ---- */

static ssize_t read_descriptor(struct tls *tls, char *buffer, size_t size) {
    struct l_stream *stream = tls->stream;
    ssize_t result;
    if (stream == NULL) {
        do {
            result = recv(tls->fd, buffer, size, 0);
        } while (result < 0 && errno == EINTR);
        return result < 0 ? -errno : result;
    }
    bool drained = stream->pollable && !stream->readable;
    result = drained ? -EAGAIN : l_descriptor_channel.read(stream, buffer, size);
    if (result == -EAGAIN) stream->readable = false;
    return result;
}

static ssize_t write_descriptor(struct tls *tls, const char *buffer, size_t size) {
    struct l_stream *stream = tls->stream;
    struct iovec part = {(char *)(uintptr_t)buffer, size};
    ssize_t result;
    if (stream == NULL) {
        do {
            result = send(tls->fd, buffer, size, MSG_NOSIGNAL);
        } while (result < 0 && errno == EINTR);
        return result < 0 ? -errno : result;
    }
    bool full = stream->pollable && !stream->writable;
    result = full ? -EAGAIN : l_descriptor_channel.write(stream, &part, 1);
    if (result == -EAGAIN) stream->writable = false;
    return result;
}

static int bio_result(BIO *bio, struct tls *tls, ssize_t result, int retry) {
    tls->ssl->BIO_clear_flags(bio, BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY);
    if (result >= 0) return (int)result;
    tls->error = (int)-result;
    if (result == -EAGAIN) tls->ssl->BIO_set_flags(bio, retry | BIO_FLAGS_SHOULD_RETRY);
    return -1;
}

static int bio_read(BIO *bio, char *buffer, int size) {
    struct tls *tls = openssl_get()->BIO_get_data(bio);
    ssize_t result = read_descriptor(tls, buffer, (size_t)size);
    if (result == 0) tls->ended = true;
    return bio_result(bio, tls, result, BIO_FLAGS_READ);
}

static int bio_write(BIO *bio, const char *buffer, int size) {
    struct tls *tls = openssl_get()->BIO_get_data(bio);
    return bio_result(bio, tls, write_descriptor(tls, buffer, (size_t)size), BIO_FLAGS_WRITE);
}

static long bio_control(BIO *bio, int command, long number, void *pointer) {
    const struct tls *tls = openssl_get()->BIO_get_data(bio);
    (void)number, (void)pointer;
    if (command == BIO_CTRL_EOF) return tls->ended;
    return command == BIO_CTRL_FLUSH;
}

/* ---- what OpenSSL answers ---- */

void l_tls_begin(struct tls *tls) {
    tls->ssl->ERR_clear_error();
    tls->error = 0;
}

/* Keeps the reason of a failure, before another connection overwrites it. */
static void keep_reason(struct tls *tls) {
    const struct openssl *ssl = tls->ssl;
    const char *reason = l_tls_reason("unexpected end of the connection");
    long verified = ssl->SSL_get_verify_result(tls->connection);
    if (ERR_GET_REASON(ssl->ERR_peek_error()) == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        snprintf(tls->reason, sizeof tls->reason, "%s: %s", reason,
                 ssl->X509_verify_cert_error_string(verified));
    } else {
        snprintf(tls->reason, sizeof tls->reason, "%s", reason);
    }
    ssl->ERR_clear_error(); /* others in this thread may use OpenSSL, too */
}

ssize_t l_tls_outcome(struct tls *tls, int result) {
    int kind = tls->ssl->SSL_get_error(tls->connection, result);
    switch (kind) {
    case SSL_ERROR_WANT_READ: tls->needs = L_NEEDS_READ; return -EAGAIN;
    case SSL_ERROR_WANT_WRITE: tls->needs = L_NEEDS_WRITE; return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN: return 0;
    default:
        tls->failed = true;
        if (kind == SSL_ERROR_SYSCALL && tls->error != 0) {
            tls->ssl->ERR_clear_error();
            return -tls->error;
        }
        tls->alerted = !tls->ended;
        keep_reason(tls);
        return -EPROTO;
    }
}

/* ---- sending ---- */

ssize_t l_tls_write(struct tls *tls, const char *data, size_t length) {
    l_tls_begin(tls);
    int put = tls->ssl->SSL_write(tls->connection, data, (int)length);
    if (put > 0) {
        tls->record = 0;
        return put;
    }
    ssize_t result = l_tls_outcome(tls, put);
    /* what keeps it from writing may be a handshake of its own: then it has taken nothing */
    bool taken = result == -EAGAIN && tls->needs == L_NEEDS_WRITE &&
                 tls->ssl->SSL_is_init_finished(tls->connection);
    tls->record = taken ? length : 0;
    return result != 0 ? result : -EPIPE;
}

ssize_t l_tls_finish_record(struct tls *tls) {
    static const char unread[L_TLS_RECORD_SIZE]; /* OpenSSL has the record and only counts */
    if (!tls->orphaned) return 0;
    ssize_t result = tls->record > 0 ? l_tls_write(tls, unread, tls->record) : 0;
    if (result < 0) return result;
    tls->orphaned = false;
    return 0;
}

ssize_t l_tls_send_end(struct tls *tls) {
    if (tls->sent_end) return 0;
    l_tls_begin(tls);
    if (!tls->ssl->SSL_is_init_finished(tls->connection)) { /* it renews its keys */
        int done = tls->ssl->SSL_do_handshake(tls->connection);
        if (done != 1) return l_tls_outcome(tls, done);
    }
    int status = tls->ssl->SSL_shutdown(tls->connection);
    if (status < 0) return l_tls_outcome(tls, status);
    tls->sent_end = true;
    return 0;
}

/* ---- beginning and end ---- */

static BIO_METHOD *new_method(const struct openssl *ssl) {
    BIO_METHOD *method = ssl->BIO_meth_new(BIO_TYPE_SOURCE_SINK, "loophost stream");
    if (method == NULL) return NULL;
    ssl->BIO_meth_set_read(method, bio_read);
    ssl->BIO_meth_set_write(method, bio_write);
    ssl->BIO_meth_set_ctrl(method, bio_control);
    return method;
}

void l_tls_free(struct tls *tls) {
    if (tls == NULL) return;
    if (tls->connection != NULL) tls->ssl->SSL_free(tls->connection);
    if (tls->method != NULL) tls->ssl->BIO_meth_free(tls->method);
    free(tls);
}

struct tls *l_tls_new(const struct openssl *ssl, SSL_CTX *ctx, struct l_stream *stream) {
    struct tls *tls = calloc(1, sizeof *tls);
    if (tls == NULL) return NULL;
    tls->ssl = ssl;
    tls->stream = stream;
    tls->connection = ssl->SSL_new(ctx);
    tls->method = tls->connection != NULL ? new_method(ssl) : NULL;
    BIO *bio = tls->method != NULL ? ssl->BIO_new(tls->method) : NULL;
    if (bio == NULL) {
        l_tls_free(tls);
        return NULL;
    }
    ssl->BIO_set_data(bio, tls);
    ssl->BIO_set_init(bio, 1);
    ssl->SSL_set_bio(tls->connection, bio, bio);
    return tls;
}
