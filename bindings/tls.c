/* tls.c -- the channel that encrypts: a stream above a connection of OpenSSL's.
 *
 * OpenSSL may want to write in order to read and the other way round: the stream's `needs`
 * says what it waits for.  A record that is sent in part counts for the one who wrote it
 * only if that one tries again (`write_begun`), and not if he was cancelled. */
#include "bindings/tls_connection.h"

#include "bindings/result.h"

#include <errno.h>
#include <string.h>

/* ---- the channel ---- */

/* The same for the stream, which is told what it waits for. */
static ssize_t outcome(struct l_stream *stream, ssize_t result) {
    const struct tls *tls = stream->channel_state;
    if (result == -EAGAIN) stream->needs = tls->needs;
    return result;
}

static ssize_t tls_read(struct l_stream *stream, void *buffer, size_t size) {
    struct tls *tls = stream->channel_state;
    l_tls_begin(tls);
    int got = tls->ssl->SSL_read(tls->connection, buffer, size > INT32_MAX ? INT32_MAX : (int)size);
    return got > 0 ? got : outcome(stream, l_tls_outcome(tls, got));
}

/* As much of the parts as a record holds, in one piece; its length. */
static size_t fill_record(const struct iovec *parts, int count, char *buffer, const char **data) {
    size_t length = 0;
    if (count == 1 || parts[0].iov_len >= L_TLS_RECORD_SIZE) {
        *data = parts[0].iov_base;
        return parts[0].iov_len < L_TLS_RECORD_SIZE ? parts[0].iov_len : L_TLS_RECORD_SIZE;
    }
    for (int i = 0; i < count && length < L_TLS_RECORD_SIZE; i++) {
        size_t left = L_TLS_RECORD_SIZE - length;
        size_t more = parts[i].iov_len < left ? parts[i].iov_len : left;
        memcpy(buffer + length, parts[i].iov_base, more);
        length += more;
    }
    *data = buffer;
    return length;
}

/* The record of somebody who was cancelled goes first. */
static ssize_t finish_record(const struct l_stream *stream, struct tls *tls) {
    if (tls->record > 0 && !stream->write_begun) tls->orphaned = true;
    return l_tls_finish_record(tls);
}

static ssize_t tls_write(struct l_stream *stream, const struct iovec *parts, int count) {
    struct tls *tls = stream->channel_state;
    ssize_t result = finish_record(stream, tls);
    if (result == 0) {
        char buffer[L_TLS_RECORD_SIZE];
        const char *data;
        size_t length = fill_record(parts, count, buffer, &data);
        result = l_tls_write(tls, data, tls->record > 0 ? tls->record : length);
    }
    return outcome(stream, result);
}

static ssize_t tls_write_eof(struct l_stream *stream) {
    struct tls *tls = stream->channel_state;
    ssize_t result = finish_record(stream, tls);
    return outcome(stream, result == 0 ? l_tls_send_end(tls) : result);
}

static bool tls_close(struct l_stream *stream) {
    struct tls *tls = stream->channel_state;
    stream->channel_state = NULL;
    stream->channel = &l_descriptor_channel;
    return l_tls_farewell(tls, stream);
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

/* Whom the client expects: told to the server (names only), and looked for in its
 * certificate. Whether OpenSSL takes it. */
static bool expect_peer(const struct openssl *ssl, SSL *connection, const char *host) {
    if (ssl->X509_VERIFY_PARAM_set1_ip_asc(ssl->SSL_get0_param(connection), host) == 1) return true;
    ssl->SSL_set_hostflags(connection, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return ssl->SSL_ctrl(connection, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                         (void *)(uintptr_t)host) == 1 &&
           ssl->SSL_set1_host(connection, host) == 1;
}

/* Why the stream cannot begin TLS now, or NULL. */
static const char *obstacle(const struct l_stream *stream) {
    if (stream->fd < 0) return "the stream is closed";
    if (stream->channel != &l_descriptor_channel) return "the stream has TLS already";
    if (stream->busy_reading || stream->turn != NULL) {
        return "another task reads from or writes to the stream";
    }
    if (l_buffer_length(&stream->buffer) > 0) {
        return "the stream has unread bytes, which came without encryption";
    }
    return NULL;
}

/* tls_obstacle(stream): what keeps it from beginning TLS, or nil */
static int tls_obstacle(lua_State *L) {
    lua_pushstring(L, obstacle(l_stream_check(L, 1)));
    return 1;
}

/* The client's protocols, as they stand on the wire. */
static bool offer(const struct openssl *ssl, SSL *connection, const char *alpn, size_t length) {
    const unsigned char *wire = (const unsigned char *)alpn;
    return ssl->SSL_set_alpn_protos(connection, wire, (unsigned)length) == 0;
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

/* tls_attach(stream, context, host or nil, shutdown_timeout, a client's protocols or nil): from
 * now on the stream is encrypted; the handshake is yet to come. true, or nil, message, code */
static int tls_attach(lua_State *L) {
    struct l_stream *stream = l_stream_check_open(L, 1);
    const struct l_tls_context *context = l_check(L, 2, L_TLS_CONTEXT);
    const char *host = luaL_optstring(L, 3, NULL);
    int64_t patience_ns = l_checkseconds(L, 4);
    size_t alpn_length;
    const char *alpn = luaL_optlstring(L, 5, NULL, &alpn_length);
    const struct openssl *ssl = openssl_get();
    if (obstacle(stream) != NULL) luaL_argerror(L, 1, obstacle(stream));
    ssl->ERR_clear_error();
    keep_context(L);
    struct tls *tls = l_tls_new(ssl, context->ctx, stream); /* from here on nothing raises */
    if (tls == NULL) return l_tls_push_failure(L, "no connection can be made");
    tls->patience_ns = patience_ns;
    if (context->is_server) {
        ssl->SSL_set_accept_state(tls->connection);
    } else {
        ssl->SSL_set_connect_state(tls->connection);
        if (host != NULL && !expect_peer(ssl, tls->connection, host)) {
            l_tls_free(tls);
            ssl->ERR_clear_error();
            return l_push_failure(L, "ESSL", "not the name of a host");
        }
        if (alpn != NULL && !offer(ssl, tls->connection, alpn, alpn_length)) {
            l_tls_free(tls);
            return l_tls_push_failure(L, "no memory for the protocols");
        }
    }
    stream->channel_state = tls;
    stream->channel = &tls_channel;
    lua_pushboolean(L, 1);
    return 1;
}

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
        if (l_task_resumed_one(L, stream->rt)->throwing || stream->fd < 0) release(L, stream);
        l_task_resumed(L, stream->rt);
        if (stream->fd < 0) return l_stream_closed_meanwhile(L);
    }
    struct tls *tls = stream->channel_state;
    l_tls_begin(tls);
    int done = tls->ssl->SSL_do_handshake(tls->connection);
    ssize_t result = done == 1 ? 1 : outcome(stream, l_tls_outcome(tls, done));
    if (done == 1) tls->established = true;
    if (result == -EAGAIN) {
        if (!resumed) claim(stream, l_stream_may_wait(L, stream, "the TLS handshake"));
        return l_stream_wait(L, stream, stream->turn, POLL_READ, 1, handshake_step);
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
    if (stream->channel != &tls_channel) {
        lua_pushnil(L);
        return 1;
    }
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
    static const luaL_Reg hooks[] = {{"tls_obstacle", tls_obstacle},
                                     {"tls_attach", tls_attach},
                                     {"tls_handshake", tls_handshake},
                                     {NULL, NULL}};
    static const luaL_Reg methods[] = {{"tls_info", tls_info}, {NULL, NULL}};
    l_tls_context_open(L, rt);
    l_pushshared(L, rt, L_SHARED_HOOKS);
    l_setfuncs(L, rt, hooks);
    lua_getfield(L, -1, "stream_methods");
    l_setfuncs(L, rt, methods);
    lua_pop(L, 2);
}
