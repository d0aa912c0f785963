/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The roster: who belongs to the consortium, signed by its authority. Role of
 * the signature: "authority". Hospitals carry an index 1..CNS_HOSPITALS_MAX
 * for life; it is their evaluation point in Shamir's scheme.
 *
 * JSON fields (all required):
 *   consortium  string, 1..64 printable characters
 *   version     integer >= 1; a lower one than seen before is refused
 *   valid_from, valid_until   UTC times
 *   authority   {"name", "identity"}            identity: 64 hex digits (Ed25519)
 *   coordinator {"name", "identity", "tls", "address"}   tls: SHA-256 of the
 *               certificate's subject public key info; address: nng URL that
 *               hospitals dial
 *   officers    [{"name", "identity"}], 1..16
 *   hospitals   [{"index", "name", "identity", "tls", "revoked"}], sorted by index; if known also
 *               "tls_until", UTC time: end of the certificate's validity; of a revoked one
 *               "revoked_at", UTC time, and "reason", 1..120 printable characters for everybody;
 *               names: 1..32 of a-z 0-9 . _ - (not . or - first); names and pins
 *               unique; may be empty. An identity belongs to one party only.
 */
#pragma once

#include "crypto/certificate.h"
#include "crypto/document.h"

#define CNS_NAME_MAX 64
#define CNS_OFFICERS_MAX 16
#define CNS_ADDRESS_MAX 255
#define CNS_REASON_MAX 120

struct cns_party {
  char name[CNS_NAME_MAX + 1];
  struct cns_identity_public identity;
};

struct cns_roster_hospital {
  uint16_t index;
  bool revoked;
  char name[CNS_NAME_MAX + 1];
  struct cns_identity_public identity;
  struct cns_tls_pin pin;
  int64_t pin_until;  /* seconds since 1970; 0: not told */
  int64_t revoked_at; /* 0: not told */
  char reason[CNS_REASON_MAX + 1];
};

struct cns_roster {
  struct cns_digest digest; /* of the signed document */
  char consortium[CNS_NAME_MAX + 1];
  uint64_t version;
  int64_t valid_from, valid_until; /* seconds since 1970 */
  struct cns_party authority;
  struct cns_party coordinator;
  struct cns_tls_pin coordinator_pin;
  char address[CNS_ADDRESS_MAX + 1];
  struct cns_party officers[CNS_OFFICERS_MAX];
  size_t officer_count;
  struct cns_roster_hospital *hospitals; /* sorted by index */
  size_t hospital_count;
};

/* Parses and verifies under `authority` (the one key a party is provisioned
 * with; NULL: trust the key that the file names, for display only). Doesn't
 * look at the clock. */
CNS_MUST_CHECK int cns_roster_open(const uint8_t *data, size_t len, const char *where,
                                   const struct cns_identity_public *authority, struct cns_roster *ret_roster,
                                   struct cns_problem *problem);
void cns_roster_deinit(struct cns_roster *roster);
/* Unsigned document of a roster's contents (for the authority to sign). */
CNS_MUST_CHECK int cns_roster_to_document(const struct cns_roster *roster, struct cns_document *ret_document);
/* The rules on names, keys, order and times that _open applies. */
CNS_MUST_CHECK int cns_roster_check(const struct cns_roster *roster, struct cns_problem *problem);
/* tls+tcp:// or wss://; on one machine ipc:// and tcp:// on loopback; printable, not too long. */
CNS_MUST_CHECK int cns_roster_check_address(const char *address, struct cns_problem *problem);
/* Hospitals that are not revoked. */
size_t cns_roster_active_count(const struct cns_roster *roster);
/* 1..CNS_NAME_MAX bytes without control characters, and not blank. */
bool cns_roster_is_text(const char *text);
/* 1..CNS_REASON_MAX bytes without control characters. */
bool cns_roster_is_reason(const char *text);
/* 1..32 of a-z 0-9 . _ - and not beginning with . or - */
bool cns_roster_is_name(const char *name);
/* Within valid_from..valid_until? CNS_ERR_REFUSED with a sentence. */
CNS_MUST_CHECK int cns_roster_check_time(const struct cns_roster *roster, int64_t now_seconds,
                                         struct cns_problem *problem);
/* NULL if unknown. */
const struct cns_roster_hospital *cns_roster_find(const struct cns_roster *roster, uint16_t index);
const struct cns_roster_hospital *cns_roster_find_name(const struct cns_roster *roster, const char *name);
const struct cns_roster_hospital *cns_roster_find_identity(const struct cns_roster *roster,
                                                           const struct cns_identity_public *identity);
