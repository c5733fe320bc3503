/* tls.h -- TLS between a stream and its descriptor. */
#ifndef LOOPHOST_L_TLS_H
#define LOOPHOST_L_TLS_H

#include "bindings/stream.h"

/* What OpenSSL says went wrong; of what followed from that it is the first. */
const char *l_tls_reason(const char *otherwise);

/* Pushes nil, "ESSL: <reason>", "ESSL"; returns 3. */
int l_tls_push_failure(lua_State *L, const char *otherwise);

/* Adds the type of contexts and the functions of the Lua half (scripts/loophost/tls.lua). */
void l_tls_open(lua_State *L, struct l_runtime *rt);
void l_tls_context_open(lua_State *L, struct l_runtime *rt);

/* What connections have in common: certificates, trust, protocols. */
struct ssl_ctx_st;
struct l_tls_context {
    struct l_object object;
    struct ssl_ctx_st *ctx;
    bool is_server;
    bool verifies;
    unsigned char *alpn; /* a server's, as it stands on the wire; in the memory of user value 1 */
    unsigned alpn_length;
};

#endif
