/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS keys: ECDSA P-256 with a self-signed X.509 v3 certificate. Nobody's
 * signature on a certificate counts; the signed roster pins the SHA-256 of the
 * subject public key info. PEM in and out.
 */
#pragma once

#include "crypto/base.h"

#define CNS_TLS_PIN_BYTES 32

struct cns_tls_pin {
  uint8_t bytes[CNS_TLS_PIN_BYTES];
};

/* Writes key (0600) and certificate (0644). common_name: the party's name. */
CNS_MUST_CHECK int cns_certificate_create(const char *common_name, int64_t valid_from, int64_t valid_until,
                                          const char *key_path, const char *certificate_path,
                                          struct cns_tls_pin *ret_pin, struct cns_problem *problem);
CNS_MUST_CHECK int cns_certificate_pin(const char *certificate_path, struct cns_tls_pin *ret_pin,
                                       int64_t *ret_valid_until, struct cns_problem *problem);
