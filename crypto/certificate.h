/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS keys: ECDSA P-256 with a self-signed X.509 v3 certificate. Nobody's
 * signature on a certificate counts; the signed roster pins the SHA-256 of the
 * subject public key info. PEM in and out.
 */
#pragma once

#include "crypto/base.h"

#define CNS_TLS_PIN_BYTES 32
#define CNS_CERTIFICATE_BYTES_MAX 16384

struct cns_tls_pin {
  uint8_t bytes[CNS_TLS_PIN_BYTES];
};

/* Writes key (0600, must not exist yet) and certificate (0644). common_name:
 * the party's name, 1..64 printable ASCII characters. */
CNS_MUST_CHECK int cns_certificate_create(const char *common_name, int64_t valid_from, int64_t valid_until,
                                          const char *key_path, const char *certificate_path,
                                          struct cns_tls_pin *ret_pin, struct cns_problem *problem);
CNS_MUST_CHECK int cns_certificate_pin(const char *certificate_path, struct cns_tls_pin *ret_pin,
                                       int64_t *ret_valid_until, struct cns_problem *problem);
/* The same of PEM text: exactly one certificate, for a P-256 key. */
CNS_MUST_CHECK int cns_certificate_pin_pem(const void *pem, size_t len, const char *where,
                                           struct cns_tls_pin *ret_pin, int64_t *ret_valid_until,
                                           struct cns_problem *problem);
/* Is the key file private (CNS_ERR_PERMISSION), readable and the one of this
 * pin (CNS_ERR_FORMAT)? */
CNS_MUST_CHECK int cns_certificate_check_key(const char *key_path, const struct cns_tls_pin *pin,
                                             struct cns_problem *problem);
