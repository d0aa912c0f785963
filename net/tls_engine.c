/* SPDX-License-Identifier: Apache-2.0 */
#include <openssl/err.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "net/tls_internal.h"

#define ENGINE_NAME "consilium-openssl"

static pthread_mutex_t table_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct nng_tls_engine_conn *table;
static pthread_mutex_t engine_mutex = PTHREAD_MUTEX_INITIALIZER;
static BIO_METHOD *bio_method;

void cns_tls_conn_fail(struct nng_tls_engine_conn *conn, bool by_us, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  pthread_mutex_lock(&table_mutex);
  if (!conn->info.failed) {
    conn->info.failed = true;
    conn->info.alert_sent = by_us;
    vsnprintf(conn->info.failure, sizeof conn->info.failure, fmt, args);
  }
  pthread_mutex_unlock(&table_mutex);
  va_end(args);
}

void cns_tls_conn_set_pin(struct nng_tls_engine_conn *conn, const struct cns_tls_pin *pin) {
  pthread_mutex_lock(&table_mutex);
  conn->info.pin = *pin;
  conn->info.has_pin = true;
  pthread_mutex_unlock(&table_mutex);
}

int cns_tls_stream_info(const struct nng_stream *stream, struct cns_tls_info *ret_info) {
  int result = CNS_ERR_NOT_FOUND;
  pthread_mutex_lock(&table_mutex);
  for (struct nng_tls_engine_conn *conn = table; conn; conn = conn->next)
    if (conn->stream == stream) {
      *ret_info = conn->info;
      result = 0;
      break;
    }
  pthread_mutex_unlock(&table_mutex);
  return result;
}

/* -- the BIO: OpenSSL reads and writes nng's buffers directly -- */

static int transport_write(BIO *bio, const char *data, int len) {
  struct nng_tls_engine_conn *conn = BIO_get_data(bio);
  size_t count = (size_t)len;
  BIO_clear_retry_flags(bio);
  int rv = nng_tls_engine_send(conn->transport, (const uint8_t *)data, &count);
  if (rv == 0) return (int)count;
  if (rv == NNG_EAGAIN) BIO_set_retry_write(bio);
  return -1;
}

static int transport_read(BIO *bio, char *data, int len) {
  struct nng_tls_engine_conn *conn = BIO_get_data(bio);
  size_t count = (size_t)len;
  BIO_clear_retry_flags(bio);
  int rv = nng_tls_engine_recv(conn->transport, (uint8_t *)data, &count);
  if (rv == 0) return (int)count;
  if (rv == NNG_EAGAIN) BIO_set_retry_read(bio);
  return -1;
}

static long transport_ctrl(BIO *bio, int command, long number, void *pointer) {
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static int bio_method_init(void) {
  if (bio_method) return 0;
  BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "nng stream");
  if (!method || BIO_meth_set_write(method, transport_write) != 1 ||
      BIO_meth_set_read(method, transport_read) != 1 || BIO_meth_set_ctrl(method, transport_ctrl) != 1) {
    BIO_meth_free(method);
    return CNS_ERR_LIBRARY;
  }
  bio_method = method;
  return 0;
}

/* -- connections; every function below runs under nng's lock of the stream -- */

static void note_alert(const SSL *ssl, int where, int value) {
  if (!(where & SSL_CB_READ) || !(where & SSL_CB_ALERT)) return;
  struct nng_tls_engine_conn *conn = SSL_get_app_data(ssl);
  int alert = value & 0xff;
  switch (alert) {
  case SSL_AD_CLOSE_NOTIFY:
    return;
  case SSL_AD_CERTIFICATE_REVOKED:
    cns_tls_conn_fail(conn, false, "the other side says that our certificate is revoked in its roster");
    return;
  case SSL_AD_UNKNOWN_CA:
  case SSL_AD_BAD_CERTIFICATE:
    cns_tls_conn_fail(conn, false, "the other side doesn't find our certificate in its roster (alert: %s)",
                      SSL_alert_desc_string_long(alert));
    return;
  case SSL_AD_CERTIFICATE_EXPIRED:
    cns_tls_conn_fail(conn, false, "the other side says that our certificate has expired");
    return;
  default:
    cns_tls_conn_fail(conn, false, "the other side broke TLS off (alert: %s)",
                      SSL_alert_desc_string_long(alert));
  }
}

static int conn_init(nng_tls_engine_conn *conn, void *transport, nng_tls_engine_config *config) {
  if (!config->ctx) return NNG_EINVAL; /* not made by cns_tls_config_new */
  conn->transport = transport;
  conn->stream = transport;
  conn->config = config;
  BIO *bio = BIO_new(bio_method);
  conn->ssl = SSL_new(config->ctx);
  bool named =
      conn->ssl && (!config->server_name[0] || SSL_set_tlsext_host_name(conn->ssl, config->server_name) == 1);
  if (!bio || !named || SSL_set_app_data(conn->ssl, conn) != 1) {
    BIO_free(bio);
    SSL_free(conn->ssl);
    conn->ssl = NULL;
    return NNG_ENOMEM;
  }
  BIO_set_data(bio, conn);
  BIO_set_init(bio, 1);
  SSL_set_bio(conn->ssl, bio, bio);
  SSL_set_info_callback(conn->ssl, note_alert);
  if (config->server)
    SSL_set_accept_state(conn->ssl);
  else
    SSL_set_connect_state(conn->ssl);
  pthread_mutex_lock(&table_mutex);
  conn->next = table;
  table = conn;
  pthread_mutex_unlock(&table_mutex);
  return 0;
}

/* nng calls this also for a connection that was never initialised (a failed
 * dial), all zero then. */
static void conn_fini(nng_tls_engine_conn *conn) {
  pthread_mutex_lock(&table_mutex);
  for (struct nng_tls_engine_conn **at = &table; *at; at = &(*at)->next)
    if (*at == conn) {
      *at = conn->next;
      break;
    }
  pthread_mutex_unlock(&table_mutex);
  SSL_free(conn->ssl);
  conn->ssl = NULL;
  cns_wipe(&conn->info, sizeof conn->info);
}

static void conn_close(nng_tls_engine_conn *conn) {
  if (conn->closed || !conn->ssl) return;
  conn->closed = true;
  ERR_clear_error();
  if (conn->info.established && !conn->info.failed) SSL_shutdown(conn->ssl); /* best effort */
  ERR_clear_error();
}

/* Why OpenSSL gave up, in words, when no callback of ours has said it yet. */
static void fail_from_errors(struct nng_tls_engine_conn *conn) {
  unsigned long code = ERR_peek_last_error();
  const char *reason = code ? ERR_reason_error_string(code) : NULL;
  bool during = !conn->info.established;
  switch (ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0) {
  case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
    cns_tls_conn_fail(conn, true, "it showed no certificate; the roster's are required");
    return;
  case SSL_R_UNSUPPORTED_PROTOCOL:
  case SSL_R_VERSION_TOO_LOW:
    cns_tls_conn_fail(conn, true, "it doesn't offer TLS 1.3");
    return;
  case SSL_R_HTTP_REQUEST:
  case SSL_R_WRONG_VERSION_NUMBER:
    cns_tls_conn_fail(conn, true, "it doesn't speak TLS");
    return;
  default:
    cns_tls_conn_fail(conn, true, "TLS %s failed: %s", during ? "handshake" : "connection",
                      reason ? reason : "no reason known");
  }
}

/* 0 done; NNG_EAGAIN; or an error, recorded. */
static int finish(struct nng_tls_engine_conn *conn, int rv) {
  switch (SSL_get_error(conn->ssl, rv)) {
  case SSL_ERROR_WANT_READ:
  case SSL_ERROR_WANT_WRITE:
    return NNG_EAGAIN;
  case SSL_ERROR_ZERO_RETURN:
    return NNG_ECONNSHUT;
  case SSL_ERROR_SYSCALL:
    if (ERR_peek_error() == 0) return NNG_ECLOSED; /* the transport is gone */
    break;
  default:
    break;
  }
  fail_from_errors(conn);
  ERR_clear_error();
  return NNG_EPEERAUTH;
}

static int shake_hands(struct nng_tls_engine_conn *conn) {
  if (conn->closed) return NNG_ECLOSED;
  if (conn->info.failed) return NNG_EPEERAUTH;
  if (conn->info.established) return 0;
  ERR_clear_error();
  int rv = SSL_do_handshake(conn->ssl);
  if (rv != 1) return finish(conn, rv);
  uint8_t exporter[CNS_TLS_EXPORTER_BYTES];
  if (SSL_version(conn->ssl) != TLS1_3_VERSION || !conn->info.has_pin ||
      SSL_export_keying_material(conn->ssl, exporter, sizeof exporter, CNS_TLS_EXPORTER_LABEL,
                                 strlen(CNS_TLS_EXPORTER_LABEL), NULL, 0, 0) != 1) {
    cns_tls_conn_fail(conn, true, "TLS handshake completed without what we need from it");
    return NNG_EPEERAUTH;
  }
  pthread_mutex_lock(&table_mutex);
  memcpy(conn->info.exporter, exporter, sizeof exporter);
  conn->info.established = true;
  pthread_mutex_unlock(&table_mutex);
  cns_wipe(exporter, sizeof exporter);
  return 0;
}

/* To nng a failed handshake is a finished one: an error here would make it
 * close the socket at once, and unread data turn that into a reset that
 * overtakes our alert. The owner learns of the failure from recv and send, lets
 * recv drain what comes until the peer has gone, and closes. */
static int conn_handshake(nng_tls_engine_conn *conn) {
  int rv = shake_hands(conn);
  return rv == NNG_EPEERAUTH ? 0 : rv;
}

static int drain(struct nng_tls_engine_conn *conn) {
  uint8_t scratch[4096];
  size_t count;
  int rv;
  do {
    count = sizeof scratch;
  } while ((rv = nng_tls_engine_recv(conn->transport, scratch, &count)) == 0);
  return rv;
}

static int conn_recv(nng_tls_engine_conn *conn, uint8_t *data, size_t *len) {
  int rv = shake_hands(conn);
  if (rv == 0) {
    size_t count = 0;
    ERR_clear_error();
    if (SSL_read_ex(conn->ssl, data, *len, &count) == 1) {
      *len = count;
      return 0;
    }
    rv = finish(conn, 0);
  }
  if (rv != NNG_EPEERAUTH) return rv;
  if (conn->reported) return drain(conn);
  conn->reported = true;
  return rv;
}

static int conn_send(nng_tls_engine_conn *conn, const uint8_t *data, size_t *len) {
  int rv = shake_hands(conn);
  if (rv != 0) return rv;
  size_t count = 0;
  ERR_clear_error();
  if (SSL_write_ex(conn->ssl, data, *len, &count) == 1) {
    *len = count;
    return 0;
  }
  return finish(conn, 0);
}

static bool conn_verified(nng_tls_engine_conn *conn) {
  return conn->info.established && !conn->info.failed;
}

static nng_tls_engine_conn_ops conn_ops = {
    .size = sizeof(struct nng_tls_engine_conn),
    .init = conn_init,
    .fini = conn_fini,
    .close = conn_close,
    .handshake = conn_handshake,
    .recv = conn_recv,
    .send = conn_send,
    .verified = conn_verified,
};

static const nng_tls_engine engine = {
    .version = NNG_TLS_ENGINE_V1,
    .config_ops = &cns_tls_config_ops,
    .conn_ops = &conn_ops,
    .name = ENGINE_NAME,
    .description = "OpenSSL 3, TLS 1.3 with pinned certificates",
    .fips_mode = false,
};

int cns_tls_engine_init(struct cns_problem *problem) {
  pthread_mutex_lock(&engine_mutex);
  int result = bio_method_init();
  /* Asking for the name initialises nng. */
  if (result == 0 && strcmp(nng_tls_engine_name(), ENGINE_NAME) != 0) {
    if (nng_tls_engine_register(&engine) != 0 || strcmp(nng_tls_engine_name(), ENGINE_NAME) != 0)
      result = CNS_ERR_LIBRARY;
  }
  pthread_mutex_unlock(&engine_mutex);
  if (result != 0)
    return cns_problem_set(problem, result, "nng didn't take our TLS engine; it uses '%s'",
                           nng_tls_engine_name());
  return 0;
}
