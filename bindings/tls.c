/* tls.c -- the channel that encrypts: OpenSSL above the descriptor's own channel.
 *
 * OpenSSL reads and writes through a BIO that calls the plain channel, so that what is
 * known of the descriptor (drained, full) stays known.  It may want to write in order to
 * read and the other way round: the stream's `needs` says what it waits for.
 *
 * A record that the kernel has taken in part must be finished before anything else is
 * sent.  OpenSSL keeps it; we keep its length.  It counts for the one who wrote it only if
 * that one tries again (`write_begun`), and not if he was cancelled. */
#include "bindings/tls.h"

#include "bindings/openssl.h"
#include "bindings/result.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { RECORD_SIZE = 16384 };

struct tls {
    const struct openssl *ssl;
    SSL *connection;
    BIO_METHOD *method;
    size_t record;    /* plain bytes of the record that is not sent in whole yet; 0: none */
    bool orphaned;    /* its writer will not try again: it counts for nobody */
    bool ended;       /* the descriptor has no more, good-bye or not */
    bool failed;      /* nothing more may be sent */
    int error;        /* the errno that the descriptor gave last */
    char reason[160]; /* of a failure that is OpenSSL's */
};

/* ---- below OpenSSL ---- */

static int bio_result(BIO *bio, const struct openssl *ssl, struct tls *tls, ssize_t result) {
    ssl->BIO_clear_flags(bio, BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY);
    if (result >= 0) return (int)result;
    tls->error = (int)-result;
    return -1;
}

static int bio_read(BIO *bio, char *buffer, int size) {
    const struct openssl *ssl = openssl_get();
    struct l_stream *stream = ssl->BIO_get_data(bio);
    bool drained = stream->pollable && !stream->readable;
    ssize_t result = drained ? -EAGAIN : l_descriptor_channel.read(stream, buffer, (size_t)size);
    if (result == -EAGAIN) stream->readable = false;
    if (result == 0) ((struct tls *)stream->channel_state)->ended = true;
    int answer = bio_result(bio, ssl, stream->channel_state, result);
    if (result == -EAGAIN) ssl->BIO_set_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY);
    return answer;
}

static int bio_write(BIO *bio, const char *buffer, int size) {
    const struct openssl *ssl = openssl_get();
    struct l_stream *stream = ssl->BIO_get_data(bio);
    struct iovec part = {(char *)(uintptr_t)buffer, (size_t)size};
    bool full = stream->pollable && !stream->writable;
    ssize_t result = full ? -EAGAIN : l_descriptor_channel.write(stream, &part, 1);
    if (result == -EAGAIN) stream->writable = false;
    int answer = bio_result(bio, ssl, stream->channel_state, result);
    if (result == -EAGAIN) ssl->BIO_set_flags(bio, BIO_FLAGS_WRITE | BIO_FLAGS_SHOULD_RETRY);
    return answer;
}

static long bio_control(BIO *bio, int command, long number, void *pointer) {
    const struct l_stream *stream = openssl_get()->BIO_get_data(bio);
    (void)number, (void)pointer;
    if (command == BIO_CTRL_EOF) return ((struct tls *)stream->channel_state)->ended;
    return command == BIO_CTRL_FLUSH;
}

/* ---- what OpenSSL answers ---- */

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
}

/* What came of a call of OpenSSL's: -EAGAIN, 0 for the end, -EPROTO for what
 * push_failure tells, or the descriptor's -errno. */
static ssize_t outcome(struct l_stream *stream, int result) {
    struct tls *tls = stream->channel_state;
    switch (tls->ssl->SSL_get_error(tls->connection, result)) {
    case SSL_ERROR_WANT_READ: stream->needs = L_NEEDS_READ; return -EAGAIN;
    case SSL_ERROR_WANT_WRITE: stream->needs = L_NEEDS_WRITE; return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN: return 0;
    case SSL_ERROR_SYSCALL:
        tls->failed = true;
        if (tls->error != 0) return -tls->error;
        keep_reason(tls);
        return -EPROTO;
    default:
        tls->failed = true;
        keep_reason(tls);
        return -EPROTO;
    }
}

static void begin(struct tls *tls) {
    tls->ssl->ERR_clear_error();
    tls->error = 0;
}

/* ---- the channel ---- */

static ssize_t tls_read(struct l_stream *stream, void *buffer, size_t size) {
    struct tls *tls = stream->channel_state;
    begin(tls);
    int got = tls->ssl->SSL_read(tls->connection, buffer, size > INT32_MAX ? INT32_MAX : (int)size);
    return got > 0 ? got : outcome(stream, got);
}

/* As much of the parts as a record holds, in one piece; its length. */
static size_t fill_record(const struct iovec *parts, int count, char *buffer, const char **data) {
    size_t length = 0;
    if (count == 1 || parts[0].iov_len >= RECORD_SIZE) {
        *data = parts[0].iov_base;
        return parts[0].iov_len < RECORD_SIZE ? parts[0].iov_len : RECORD_SIZE;
    }
    for (int i = 0; i < count && length < RECORD_SIZE; i++) {
        size_t left = RECORD_SIZE - length;
        size_t more = parts[i].iov_len < left ? parts[i].iov_len : left;
        memcpy(buffer + length, parts[i].iov_base, more);
        length += more;
    }
    *data = buffer;
    return length;
}

static ssize_t write_record(struct l_stream *stream, const char *data, size_t length) {
    struct tls *tls = stream->channel_state;
    begin(tls);
    int put = tls->ssl->SSL_write(tls->connection, data, (int)length);
    if (put > 0) {
        tls->record = 0;
        return put;
    }
    ssize_t result = outcome(stream, put);
    /* what keeps it from writing may be a handshake of its own: then it has taken nothing */
    bool taken = result == -EAGAIN && stream->needs == L_NEEDS_WRITE &&
                 tls->ssl->SSL_is_init_finished(tls->connection);
    tls->record = taken ? length : 0;
    return result != 0 ? result : -EPIPE;
}

/* Finishes the record of somebody who was cancelled; 0 or -errno. */
static ssize_t finish_record(struct l_stream *stream) {
    static const char unread[RECORD_SIZE]; /* OpenSSL has the record and only counts */
    struct tls *tls = stream->channel_state;
    if (tls->record > 0 && !stream->write_begun) tls->orphaned = true;
    if (!tls->orphaned) return 0;
    ssize_t result = write_record(stream, unread, tls->record);
    if (result < 0) return result;
    tls->orphaned = false;
    return 0;
}

static ssize_t tls_write(struct l_stream *stream, const struct iovec *parts, int count) {
    char buffer[RECORD_SIZE];
    const char *data;
    struct tls *tls = stream->channel_state;
    ssize_t result = finish_record(stream);
    if (result < 0) return result;
    size_t length = fill_record(parts, count, buffer, &data);
    return write_record(stream, data, tls->record > 0 ? tls->record : length);
}

static ssize_t tls_write_eof(struct l_stream *stream) {
    struct tls *tls = stream->channel_state;
    ssize_t result = finish_record(stream);
    if (result < 0) return result;
    begin(tls);
    int status = tls->ssl->SSL_shutdown(tls->connection);
    return status >= 0 ? 0 : outcome(stream, status);
}

/* Says good-bye if that is still possible and the kernel takes it at once. What has come
 * and was not read (a session ticket) would make the kernel reset the connection, and the
 * peer lose our last bytes, or our alert: it is read away. */
static void say_goodbye(struct l_stream *stream, struct tls *tls) {
    char unread[4096];
    bool can = !tls->failed && tls->record == 0;
    if (can && tls->ssl->SSL_is_init_finished(tls->connection)) {
        begin(tls);
        tls->ssl->SSL_shutdown(tls->connection);
    }
    int rounds = 64;
    while (rounds > 0 && recv(stream->fd, unread, sizeof unread, MSG_DONTWAIT) > 0) rounds--;
}

static void tls_close(struct l_stream *stream) {
    struct tls *tls = stream->channel_state;
    say_goodbye(stream, tls);
    tls->ssl->SSL_free(tls->connection);
    tls->ssl->BIO_meth_free(tls->method);
    free(tls);
    stream->channel_state = NULL;
    stream->channel = &l_descriptor_channel;
}

static int tls_push_error(lua_State *L, struct l_stream *stream, int error) {
    const struct tls *tls = stream->channel_state;
    if (error != EPROTO || tls->reason[0] == '\0') return l_push_errno(L, error);
    return l_push_failure(L, "ESSL", tls->reason);
}

static const struct l_channel tls_channel = {.read = tls_read,
                                             .write = tls_write,
                                             .write_eof = tls_write_eof,
                                             .close = tls_close,
                                             .push_failure = tls_push_error,
                                             .buffers = true};

/* ---- beginning ---- */

static BIO_METHOD *new_method(const struct openssl *ssl) {
    BIO_METHOD *method = ssl->BIO_meth_new(BIO_TYPE_SOURCE_SINK, "loophost stream");
    if (method == NULL) return NULL;
    ssl->BIO_meth_set_read(method, bio_read);
    ssl->BIO_meth_set_write(method, bio_write);
    ssl->BIO_meth_set_ctrl(method, bio_control);
    return method;
}

static void free_tls(struct tls *tls) {
    if (tls == NULL) return;
    if (tls->connection != NULL) tls->ssl->SSL_free(tls->connection);
    if (tls->method != NULL) tls->ssl->BIO_meth_free(tls->method);
    free(tls);
}

static struct tls *new_tls(const struct openssl *ssl, SSL_CTX *ctx, struct l_stream *stream) {
    struct tls *tls = calloc(1, sizeof *tls);
    if (tls == NULL) return NULL;
    tls->ssl = ssl;
    tls->connection = ssl->SSL_new(ctx);
    tls->method = tls->connection != NULL ? new_method(ssl) : NULL;
    BIO *bio = tls->method != NULL ? ssl->BIO_new(tls->method) : NULL;
    if (bio == NULL) {
        free_tls(tls);
        return NULL;
    }
    ssl->BIO_set_data(bio, stream);
    ssl->BIO_set_init(bio, 1);
    ssl->SSL_set_bio(tls->connection, bio, bio);
    return tls;
}

/* Whom the client expects: told to the server (names only), and looked for in its
 * certificate. Whether OpenSSL takes it. */
static bool expect_peer(const struct openssl *ssl, SSL *connection, const char *host) {
    if (ssl->X509_VERIFY_PARAM_set1_ip_asc(ssl->SSL_get0_param(connection), host) == 1) return true;
    ssl->SSL_set_hostflags(connection, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return ssl->SSL_ctrl(connection, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                         (void *)(uintptr_t)host) == 1 &&
           ssl->SSL_set1_host(connection, host) == 1;
}

/* stream, context, ...: the stream keeps the context, which its callbacks use, beside what
 * it keeps already. */
static void keep_context(lua_State *L) {
    lua_createtable(L, 2, 0);
    lua_getiuservalue(L, 1, L_STREAM_MORE);
    lua_rawseti(L, -2, 1);
    lua_pushvalue(L, 2);
    lua_rawseti(L, -2, 2);
    lua_setiuservalue(L, 1, L_STREAM_MORE);
}

/* tls_attach(stream, context, host or nil): from now on the stream is encrypted; the
 * handshake is yet to come. true, or nil, message, code */
static int tls_attach(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    struct l_stream *stream = l_stream_check_open(L, 1);
    const struct l_tls_context *context = l_check(L, rt, 2, L_TLS_CONTEXT);
    const char *host = luaL_optstring(L, 3, NULL);
    const struct openssl *ssl = openssl_get();
    if (stream->channel != &l_descriptor_channel) luaL_argerror(L, 1, "the stream has TLS already");
    if (stream->start < stream->end) {
        luaL_argerror(L, 1, "the stream has unread bytes, which came without encryption");
    }
    if (stream->busy_reading || stream->turn != NULL) {
        luaL_argerror(L, 1, "another task reads from or writes to the stream");
    }
    ssl->ERR_clear_error();
    struct tls *tls = new_tls(ssl, context->ctx, stream);
    if (tls == NULL) return l_tls_push_failure(L, "no connection can be made");
    if (context->is_server) {
        ssl->SSL_set_accept_state(tls->connection);
    } else {
        ssl->SSL_set_connect_state(tls->connection);
        if (host != NULL && !expect_peer(ssl, tls->connection, host)) {
            free_tls(tls);
            return l_push_failure(L, "ESSL", "not the name of a host");
        }
    }
    stream->channel_state = tls;
    stream->channel = &tls_channel;
    keep_context(L);
    lua_pushboolean(L, 1);
    return 1;
}

static int handshake_step(lua_State *L, int status, lua_KContext resumed);

/* While the handshake lasts nobody else reads or writes. */
static void claim(struct l_stream *stream, struct l_task *task) {
    stream->busy_reading = true;
    stream->turn = task;
}

static void release(lua_State *L, struct l_stream *stream) {
    stream->busy_reading = false;
    l_stream_end_writing(L, stream);
}

static int handshake_step(lua_State *L, int status, lua_KContext resumed) {
    struct l_stream *stream = lua_touserdata(L, 1);
    (void)status;
    if (resumed) {
        if (stream->rt->current->throwing || stream->fd < 0) release(L, stream);
        l_task_resumed(L, stream->rt);
        if (stream->fd < 0) return l_stream_closed_meanwhile(L);
    }
    struct tls *tls = stream->channel_state;
    begin(tls);
    int done = tls->ssl->SSL_do_handshake(tls->connection);
    ssize_t result = done == 1 ? 1 : outcome(stream, done);
    if (result == -EAGAIN) {
        if (!resumed) claim(stream, l_stream_may_wait(L, stream, "the TLS handshake"));
        return l_stream_wait(L, stream, POLL_READ, 1, handshake_step);
    }
    if (resumed) release(L, stream);
    if (result <= 0) return tls_push_error(L, stream, result == 0 ? ECONNRESET : (int)-result);
    lua_pushboolean(L, 1);
    return 1;
}

/* tls_handshake(stream): true, or nil, message, code */
static int tls_handshake(lua_State *L) {
    struct l_stream *stream = l_stream_check_open(L, 1);
    if (stream->channel != &tls_channel) return luaL_argerror(L, 1, "the stream has no TLS");
    lua_settop(L, 1);
    return handshake_step(L, LUA_OK, 0);
}

/* ---- what was agreed on ---- */

static void set_subject(lua_State *L, const struct openssl *ssl, SSL *connection) {
    char text[512];
    X509 *certificate = ssl->SSL_get1_peer_certificate(connection);
    if (certificate == NULL) return;
    ssl->X509_NAME_oneline(ssl->X509_get_subject_name(certificate), text, sizeof text);
    ssl->X509_free(certificate);
    lua_pushstring(L, text);
    lua_setfield(L, -2, "subject");
}

/* stream:tls_info() -> { version=, cipher=, alpn=, subject= }, or nil without TLS */
static int tls_info(lua_State *L) {
    struct l_stream *stream = l_stream_check_open(L, 1);
    if (stream->channel != &tls_channel) return 0;
    const struct tls *tls = stream->channel_state;
    const struct openssl *ssl = tls->ssl;
    const unsigned char *protocol;
    unsigned length;
    lua_newtable(L);
    lua_pushstring(L, ssl->SSL_get_version(tls->connection));
    lua_setfield(L, -2, "version");
    lua_pushstring(L, ssl->SSL_CIPHER_get_name(ssl->SSL_get_current_cipher(tls->connection)));
    lua_setfield(L, -2, "cipher");
    ssl->SSL_get0_alpn_selected(tls->connection, &protocol, &length);
    if (length > 0) {
        lua_pushlstring(L, (const char *)protocol, length);
        lua_setfield(L, -2, "alpn");
    }
    set_subject(L, ssl, tls->connection);
    return 1;
}

void l_tls_open(lua_State *L, struct l_runtime *rt) {
    static const luaL_Reg hooks[] = {
        {"tls_attach", tls_attach}, {"tls_handshake", tls_handshake}, {NULL, NULL}};
    static const luaL_Reg methods[] = {{"tls_info", tls_info}, {NULL, NULL}};
    l_tls_context_open(L, rt);
    l_pushshared(L, rt, L_SHARED_HOOKS);
    l_setfuncs(L, rt, hooks);
    lua_getfield(L, -1, "stream_methods");
    l_setfuncs(L, rt, methods);
    lua_pop(L, 2);
}
