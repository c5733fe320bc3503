/* tls_context.c -- certificates, trust and protocols, read once for many connections. */
#include "bindings/openssl.h"
#include "bindings/result.h"
#include "bindings/tls.h"

#include <string.h>

const char *l_tls_reason(const char *otherwise) {
    const struct openssl *ssl = openssl_get();
    unsigned long code = ssl->ERR_peek_error();
    if (ERR_SYSTEM_ERROR(code)) return strerror(ERR_GET_REASON(code));
    const char *reason = code != 0 ? ssl->ERR_reason_error_string(code) : NULL;
    return reason != NULL ? reason : otherwise;
}

int l_tls_push_failure(lua_State *L, const char *otherwise) {
    const char *reason = l_tls_reason(otherwise);
    openssl_get()->ERR_clear_error(); /* others in this thread may use OpenSSL, too */
    return l_push_failure(L, "ESSL", reason);
}

/* The server takes the first of its own protocols that the client speaks too; with none in
 * common they go on without, as Python's ssl does. */
static int select_protocol(SSL *connection, const unsigned char **out, unsigned char *out_length,
                           const unsigned char *in, unsigned in_length, void *arg) {
    const struct l_tls_context *self = arg;
    unsigned char *chosen = NULL;
    (void)connection;
    if (openssl_get()->SSL_select_next_proto(&chosen, out_length, self->alpn, self->alpn_length, in,
                                             in_length) != OPENSSL_NPN_NEGOTIATED) {
        return SSL_TLSEXT_ERR_NOACK;
    }
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

struct password {
    const char *text; /* or NULL */
    bool wanted;      /* the key is locked */
};

/* Without a callback of ours OpenSSL would ask at the terminal. */
static int give_password(char *buffer, int size, int for_writing, void *arg) {
    struct password *password = arg;
    (void)for_writing;
    password->wanted = true;
    if (password->text == NULL) return -1;
    size_t length = strlen(password->text);
    if (length > (size_t)size) return -1;
    memcpy(buffer, password->text, length); /* NOLINT(bugprone-not-null-terminated-result) */
    return (int)length;
}

/* The stack while a context is made. */
enum { OPTIONS = 1, READER = 3, CONTEXT };

static const char *field(lua_State *L, const char *name) {
    lua_getfield(L, OPTIONS, name);
    return lua_tostring(L, -1); /* stays on the stack */
}

static int failure_of_file(lua_State *L, const char *what, const char *file, const char *reason) {
    openssl_get()->ERR_clear_error();
    return l_push_failure(L, "ESSL", lua_pushfstring(L, "%s %s: %s", what, file, reason));
}

/* OpenSSL's own words for a key that stays locked depend on the format, and on chance. */
static const char *reason_of_key(const struct openssl *ssl, const struct password *password) {
    bool unlocked = !password->wanted || ERR_GET_LIB(ssl->ERR_peek_error()) == ERR_LIB_X509;
    if (unlocked) return l_tls_reason("unusable"); /* it may be another certificate's */
    return password->text == NULL ? "locked, and no password is given" : "wrong password";
}

/* Trusts the system's authorities: those that another context has read, or it reads them, which
 * takes some 25 ms. */
static void trust_system(lua_State *L, const struct openssl *ssl, SSL_CTX *ctx) {
    const struct l_tls_context *reader = l_test(L, READER, L_TLS_CONTEXT);
    if (reader != NULL) {
        ssl->SSL_CTX_set1_cert_store(ctx, ssl->SSL_CTX_get_cert_store(reader->ctx));
    } else {
        ssl->SSL_CTX_set_default_verify_paths(ctx);
    }
}

/* Reads what the options name, and the system's authorities only where they are asked; 0, or
 * the number of results of a failure. */
static int load_files(lua_State *L, const struct openssl *ssl, SSL_CTX *ctx, bool verifies) {
    const char *cafile = field(L, "cafile"), *capath = field(L, "capath");
    const char *cert = field(L, "cert"), *key = field(L, "key");
    struct password password = {.text = field(L, "password")};
    ssl->ERR_clear_error();
    if ((cafile != NULL || capath != NULL) &&
        ssl->SSL_CTX_load_verify_locations(ctx, cafile, capath) != 1) {
        const char *file = cafile != NULL ? cafile : capath;
        return failure_of_file(L, "certificates of", file, l_tls_reason("unusable"));
    }
    if (cafile == NULL && capath == NULL && verifies) trust_system(L, ssl, ctx);
    if (cert == NULL) return 0;
    if (key == NULL) key = cert;
    ssl->SSL_CTX_set_default_passwd_cb(ctx, give_password);
    ssl->SSL_CTX_set_default_passwd_cb_userdata(ctx, &password);
    int results = 0;
    if (ssl->SSL_CTX_use_certificate_chain_file(ctx, cert) != 1) {
        results = failure_of_file(L, "certificate", cert, l_tls_reason("unusable"));
    } else if (ssl->SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1) {
        results = failure_of_file(L, "key", key, reason_of_key(ssl, &password));
    }
    ssl->SSL_CTX_set_default_passwd_cb_userdata(ctx, NULL);
    return results;
}

/* What a server speaks; a client's protocols are each connection's. */
static void set_protocols(lua_State *L, const struct openssl *ssl, struct l_tls_context *self) {
    size_t length;
    if (!self->is_server) return;
    lua_getfield(L, OPTIONS, "alpn");
    const char *wire = lua_tolstring(L, -1, &length);
    if (wire == NULL) return;
    self->alpn = lua_newuserdatauv(L, length, 0);
    memcpy(self->alpn, wire, length);
    lua_setiuservalue(L, CONTEXT, 1);
    self->alpn_length = (unsigned)length;
    ssl->SSL_CTX_set_alpn_select_cb(self->ctx, select_protocol, self);
}

static void set_rules(lua_State *L, const struct openssl *ssl, const struct l_tls_context *self) {
    static const unsigned char session_context[] = "loophost";
    SSL_CTX *ctx = self->ctx;
    lua_getfield(L, OPTIONS, "min_version");
    bool only_1_3 = lua_isstring(L, -1) && strcmp(lua_tostring(L, -1), "TLSv1.3") == 0;
    ssl->SSL_CTX_ctrl(ctx, SSL_CTRL_SET_MIN_PROTO_VERSION,
                      only_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION, NULL);
    ssl->SSL_CTX_ctrl(ctx, SSL_CTRL_MODE,
                      SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                          SSL_MODE_RELEASE_BUFFERS,
                      NULL);
    ssl->SSL_CTX_ctrl(ctx, SSL_CTRL_SET_READ_AHEAD, 1, NULL);
    ssl->SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION);
    int mode = SSL_VERIFY_NONE;
    if (self->verifies) mode = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    ssl->SSL_CTX_set_verify(ctx, mode, NULL);
    if (self->is_server) {
        ssl->SSL_CTX_set_session_id_context(ctx, session_context, sizeof session_context - 1);
    }
}

/* tls_context(options, is_server, reader or nil): context, or nil, message, code.  The Lua half
 * has checked the options: strings cafile capath cert key password min_version alpn (as on the
 * wire), boolean verify.  `reader` is a context that has read the system's authorities. */
static int tls_context(lua_State *L) {
    const struct openssl *ssl = openssl_get();
    luaL_checktype(L, OPTIONS, LUA_TTABLE);
    bool is_server = lua_toboolean(L, 2);
    lua_settop(L, READER);
    if (ssl == NULL) return l_push_failure(L, "ENOSYS", "libssl.so.3 (OpenSSL) is not installed");
    struct l_tls_context *self = l_newobject(L, l_runtime(L), L_TLS_CONTEXT, sizeof *self, 1);
    self->is_server = is_server;
    lua_getfield(L, OPTIONS, "verify");
    self->verifies = lua_toboolean(L, -1);
    ssl->ERR_clear_error();
    self->ctx = ssl->SSL_CTX_new(is_server ? ssl->TLS_server_method() : ssl->TLS_client_method());
    if (self->ctx == NULL) return l_tls_push_failure(L, "no context can be made");
    set_rules(L, ssl, self);
    int results = load_files(L, ssl, self->ctx, self->verifies);
    if (results > 0) return results;
    set_protocols(L, ssl, self);
    lua_settop(L, CONTEXT);
    return 1;
}

static int context_gc(lua_State *L) {
    struct l_tls_context *self = lua_touserdata(L, 1);
    if (self->ctx != NULL) openssl_get()->SSL_CTX_free(self->ctx);
    self->ctx = NULL;
    return 0;
}

void l_tls_context_open(lua_State *L, struct l_runtime *rt) {
    static const luaL_Reg none[] = {{NULL, NULL}};
    static const luaL_Reg metamethods[] = {{"__gc", context_gc}, {NULL, NULL}};
    static const luaL_Reg hooks[] = {{"tls_context", tls_context}, {NULL, NULL}};
    l_newtype(L, rt, L_TLS_CONTEXT, "TLS context", none);
    l_setfuncs(L, rt, metamethods);
    l_pushshared(L, rt, L_SHARED_HOOKS);
    l_setfuncs(L, rt, hooks);
    lua_pop(L, 2);
}
