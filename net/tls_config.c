/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "net/tls_internal.h"

/* A certificate of ours has under 1 kB. */
#define CERTIFICATE_LIST_MAX 16384

/* nng makes a configuration through an init without arguments; it is called
 * on the same thread, and finds here what to take over. */
static _Thread_local struct nng_tls_engine_config *pending;

static int config_init(nng_tls_engine_config *config, nng_tls_mode mode) {
  config->server = mode == NNG_TLS_MODE_SERVER;
  if (!pending) return 0; /* nng's own default: without ctx it can't connect */
  *config = *pending;
  pending = NULL;
  return 0;
}

static void config_fini(nng_tls_engine_config *config) {
  SSL_CTX_free(config->ctx);
  config->ctx = NULL;
}

/* nng tells each dialer's host name; names play no part here. */
static int config_server(nng_tls_engine_config *config, const char *name) {
  return 0;
}

static int config_auth(nng_tls_engine_config *config, nng_tls_auth_mode mode) {
  return mode == NNG_TLS_AUTH_MODE_REQUIRED ? 0 : NNG_ENOTSUP;
}

static int config_ca_chain(nng_tls_engine_config *config, const char *certificates, const char *crl) {
  return NNG_ENOTSUP;
}

static int config_own_cert(nng_tls_engine_config *config, const char *certificate, const char *key,
                           const char *password) {
  return NNG_ENOTSUP;
}

static int config_version(nng_tls_engine_config *config, nng_tls_version lowest, nng_tls_version highest) {
  return highest >= NNG_TLS_1_3 ? 0 : NNG_ENOTSUP;
}

nng_tls_engine_config_ops cns_tls_config_ops = {
    .size = sizeof(struct nng_tls_engine_config),
    .init = config_init,
    .fini = config_fini,
    .server = config_server,
    .auth = config_auth,
    .ca_chain = config_ca_chain,
    .own_cert = config_own_cert,
    .version = config_version,
};

int cns_tls_pin_of(X509 *certificate, struct cns_tls_pin *ret_pin) {
  unsigned char *der = NULL;
  int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
  if (len <= 0) return CNS_ERR_LIBRARY;
  unsigned char *digest = SHA256(der, (size_t)len, ret_pin->bytes);
  OPENSSL_free(der);
  return digest ? 0 : CNS_ERR_LIBRARY;
}

/* What a hospital's firewall does is the likeliest reason for another certificate. */
#define INSPECTED                                                                                            \
  ": another machine answers there, or a proxy or firewall on the way inspects TLS with a certificate of "   \
  "its own and must be told not to for this address"

static int refuse(X509_STORE_CTX *store, int error) {
  X509_STORE_CTX_set_error(store, error);
  return 0;
}

int cns_tls_verify(X509_STORE_CTX *store, void *arg) {
  SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
  struct nng_tls_engine_conn *conn = ssl ? SSL_get_app_data(ssl) : NULL;
  X509 *certificate = X509_STORE_CTX_get0_cert(store);
  struct cns_tls_pin pin;
  if (!conn || !certificate || cns_tls_pin_of(certificate, &pin) != 0)
    return refuse(store, X509_V_ERR_UNSPECIFIED);
  cns_tls_conn_set_pin(conn, &pin);
  char hex[17];
  cns_hex_encode(pin.bytes, 8, hex);
  switch (conn->config->check(conn->config->check_context, &pin)) {
  case CNS_PEER_TRUSTED:
    break;
  case CNS_PEER_REVOKED:
    cns_tls_conn_fail(conn, true, "its certificate (key %s...) is revoked in the roster", hex);
    return refuse(store, X509_V_ERR_CERT_REVOKED);
  default:
    cns_tls_conn_fail(conn, true, "its certificate (key %s...) is not in the roster%s", hex,
                      conn->config->server ? "" : INSPECTED);
    return refuse(store, X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT);
  }
  /* X509_cmp_current_time: negative for the past, positive for the future. */
  if (X509_cmp_current_time(X509_get0_notAfter(certificate)) <= 0) {
    cns_tls_conn_fail(conn, true, "its certificate (key %s...) has expired", hex);
    return refuse(store, X509_V_ERR_CERT_HAS_EXPIRED);
  }
  if (X509_cmp_current_time(X509_get0_notBefore(certificate)) >= 0) {
    cns_tls_conn_fail(conn, true, "its certificate (key %s...) is not valid yet: compare the clocks", hex);
    return refuse(store, X509_V_ERR_CERT_NOT_YET_VALID);
  }
  X509_STORE_CTX_set_error(store, X509_V_OK);
  return 1;
}

/* Without this OpenSSL would ask for a password on the terminal. */
static int no_password(char *buffer, int size, int writing, void *context) {
  return -1;
}

static int check_key_file(const char *path, struct cns_problem *problem) {
  struct stat status;
  if (stat(path, &status) != 0)
    return cns_problem_set(problem, CNS_ERR_IO, "TLS key %s: %s", path, strerror(errno));
  if (status.st_mode & 077)
    return cns_problem_set(problem, CNS_ERR_PERMISSION,
                           "TLS key %s can be read by others than its owner: run chmod 600 %s", path, path);
  return 0;
}

static int load_files(SSL_CTX *ctx, const struct cns_tls_params *params, struct cns_problem *problem) {
  if (!params->certificate_path || !params->key_path)
    return cns_problem_set(problem, CNS_ERR_ARGUMENT, "tls+tcp needs a certificate and its key");
  int result = check_key_file(params->key_path, problem);
  if (result != 0) return result;
  SSL_CTX_set_default_passwd_cb(ctx, no_password);
  if (SSL_CTX_use_certificate_file(ctx, params->certificate_path, SSL_FILETYPE_PEM) != 1)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "TLS certificate %s can't be used: %s",
                           params->certificate_path, ERR_reason_error_string(ERR_peek_last_error()));
  if (SSL_CTX_use_PrivateKey_file(ctx, params->key_path, SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(ctx) != 1)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "TLS key %s doesn't fit certificate %s: %s",
                           params->key_path, params->certificate_path,
                           ERR_reason_error_string(ERR_peek_last_error()));
  return 0;
}

static bool harden(SSL_CTX *ctx) {
  SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                               SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                            SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(ctx, 1);
  SSL_CTX_set_max_cert_list(ctx, CERTIFICATE_LIST_MAX);
  SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
  SSL_CTX_set_cert_verify_callback(ctx, cns_tls_verify, NULL);
  return SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) == 1 &&
         SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) == 1 &&
         SSL_CTX_set1_groups_list(ctx, "X25519:P-256") == 1 && SSL_CTX_set_num_tickets(ctx, 0) == 1 &&
         SSL_CTX_set_max_early_data(ctx, 0) == 1 && SSL_CTX_set_recv_max_early_data(ctx, 0) == 1;
}

static int hand_over(struct nng_tls_engine_config *made, nng_tls_config **ret_config) {
  pending = made;
  nng_tls_config *config = NULL;
  int rv = nng_tls_config_alloc(&config, made->server ? NNG_TLS_MODE_SERVER : NNG_TLS_MODE_CLIENT);
  bool taken = pending == NULL;
  pending = NULL;
  if (rv != 0 || !taken) {
    if (rv == 0) nng_tls_config_free(config);
    return rv == NNG_ENOMEM ? CNS_ERR_MEMORY : CNS_ERR_LIBRARY;
  }
  *ret_config = config;
  return 0;
}

int cns_tls_config_new(const struct cns_tls_params *params, struct nng_tls_config **ret_config,
                       struct cns_tls_pin *ret_own_pin, struct cns_problem *problem) {
  int result = cns_tls_engine_init(problem);
  if (result != 0) return result;
  if (!params->check) return CNS_ERR_ARGUMENT;
  ERR_clear_error();
  SSL_CTX *ctx = SSL_CTX_new(params->server ? TLS_server_method() : TLS_client_method());
  if (!ctx) return cns_problem_set(problem, CNS_ERR_MEMORY, "OpenSSL has no memory for a TLS context");
  struct nng_tls_engine_config made = {
      .ctx = ctx, .server = params->server, .check = params->check, .check_context = params->check_context};
  if (params->server_name) snprintf(made.server_name, sizeof made.server_name, "%s", params->server_name);
  struct cns_tls_pin pin;
  nng_tls_config *config = NULL;
  if (!harden(ctx))
    result = cns_problem_set(problem, CNS_ERR_LIBRARY, "OpenSSL refused our TLS settings");
  else if ((result = load_files(ctx, params, problem)) == 0 &&
           (result = cns_tls_pin_of(SSL_CTX_get0_certificate(ctx), &pin)) == 0 &&
           (result = hand_over(&made, &config)) != 0)
    cns_problem_set(problem, result, "nng made no TLS configuration with our engine");
  ERR_clear_error();
  if (result != 0) {
    SSL_CTX_free(ctx);
    return result;
  }
  *ret_config = config;
  *ret_own_pin = pin;
  return 0;
}
