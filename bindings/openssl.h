/* openssl.h -- the functions of OpenSSL that we use, from the library as it is installed.
 *
 * The library is opened when TLS is first asked for: linked in, it would make each start
 * of the host slower by several times.  Its own headers say what the functions are. */
#ifndef LOOPHOST_L_OPENSSL_H
#define LOOPHOST_L_OPENSSL_H

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#define OPENSSL_FUNCTIONS(X) \
    X(TLS_client_method) \
    X(TLS_server_method) \
    X(SSL_CTX_new) \
    X(SSL_CTX_free) \
    X(SSL_CTX_ctrl) \
    X(SSL_CTX_set_options) \
    X(SSL_CTX_set_verify) \
    X(SSL_CTX_set_default_verify_paths) \
    X(SSL_CTX_get_cert_store) \
    X(SSL_CTX_set1_cert_store) \
    X(SSL_CTX_load_verify_locations) \
    X(SSL_CTX_use_certificate_chain_file) \
    X(SSL_CTX_use_PrivateKey_file) \
    X(SSL_CTX_set_default_passwd_cb) \
    X(SSL_CTX_set_default_passwd_cb_userdata) \
    X(SSL_CTX_set_alpn_select_cb) \
    X(SSL_CTX_set_session_id_context) \
    X(SSL_select_next_proto) \
    X(SSL_new) \
    X(SSL_free) \
    X(SSL_ctrl) \
    X(SSL_set_alpn_protos) \
    X(SSL_set_bio) \
    X(SSL_set_connect_state) \
    X(SSL_set_accept_state) \
    X(SSL_set1_host) \
    X(SSL_set_hostflags) \
    X(SSL_get0_param) \
    X(SSL_do_handshake) \
    X(SSL_is_init_finished) \
    X(SSL_read) \
    X(SSL_write) \
    X(SSL_shutdown) \
    X(SSL_get_shutdown) \
    X(SSL_get_error) \
    X(SSL_get_verify_result) \
    X(SSL_get0_alpn_selected) \
    X(SSL_get_version) \
    X(SSL_get_current_cipher) \
    X(SSL_CIPHER_get_name) \
    X(SSL_get1_peer_certificate) \
    X(BIO_meth_new) \
    X(BIO_meth_free) \
    X(BIO_meth_set_read) \
    X(BIO_meth_set_write) \
    X(BIO_meth_set_ctrl) \
    X(BIO_new) \
    X(BIO_set_data) \
    X(BIO_get_data) \
    X(BIO_set_init) \
    X(BIO_set_flags) \
    X(BIO_clear_flags) \
    X(ERR_peek_error) \
    X(ERR_clear_error) \
    X(ERR_reason_error_string) \
    X(X509_verify_cert_error_string) \
    X(X509_VERIFY_PARAM_set1_ip_asc) \
    X(X509_get_subject_name) \
    X(X509_NAME_oneline) \
    X(X509_free)

struct openssl {
/* NOLINTNEXTLINE(bugprone-macro-parentheses): it is the name of the member */
#define OPENSSL_MEMBER(name) __typeof__(&(name)) name;
    OPENSSL_FUNCTIONS(OPENSSL_MEMBER)
#undef OPENSSL_MEMBER
};

/* The library, opened by the first call; NULL where it is not installed.  Safe to call
 * from any thread. */
const struct openssl *openssl_get(void);

#endif
