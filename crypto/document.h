/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A signed document is a text file: the payload (canonical JSON, see json.h)
 * followed by one line per signature:
 *
 *   -- consilium signature 1 <kind> <role> <key, hex> <signature, hex>
 *
 * The signature is Ed25519 under the context "consilium/1 document" over
 * H("consilium/1 document digest", kind, role-independent payload bytes).
 * What was verified is byte for byte what is parsed.
 */
#pragma once

#include "crypto/identity.h"
#include "crypto/json.h"

#define CNS_DOCUMENT_SIGNATURES_MAX 32

struct cns_document_signature {
  char role[16];
  struct cns_identity_public key;
  struct cns_signature signature;
};

struct cns_document {
  char *payload; /* NUL-terminated */
  size_t payload_len;
  struct cns_digest digest; /* of kind and payload: the document's name everywhere */
  struct cns_document_signature signatures[CNS_DOCUMENT_SIGNATURES_MAX];
  size_t signature_count;
};

/* Parses and checks shape and canonical form; verifies *no* signature yet.
 * kind: "roster", "policy", "study", "consent", "manifest". */
CNS_MUST_CHECK int cns_document_parse(const char *kind, const uint8_t *data, size_t len, const char *where,
                                      struct cns_document *ret_document, struct cns_problem *problem);
/* New unsigned document from JSON (made canonical). */
CNS_MUST_CHECK int cns_document_from_json(const char *kind, const cJSON *json,
                                          struct cns_document *ret_document);
void cns_document_deinit(struct cns_document *document);
/* Adds (or replaces) the signer's signature under a role of 1..15 letters. */
CNS_MUST_CHECK int cns_document_sign(const char *kind, struct cns_document *document, const char *role,
                                     const struct cns_identity *identity);
/* 0 if a line with this role and this key verifies; CNS_ERR_SIGNATURE with a
 * sentence otherwise. */
CNS_MUST_CHECK int cns_document_verify(const char *kind, const struct cns_document *document,
                                       const char *role, const struct cns_identity_public *key,
                                       struct cns_problem *problem);
/* All in one for a document with one signer: takes the JSON (also on failure; NULL is
 * CNS_ERR_MEMORY), signs it, gives the whole file, malloc'd. */
CNS_MUST_CHECK int cns_document_issue(const char *kind, cJSON *json, const char *role,
                                      const struct cns_identity *identity, uint8_t **ret_data,
                                      size_t *ret_len);
/* The whole file, payload and signature lines; malloc'd. */
CNS_MUST_CHECK int cns_document_serialize(const char *kind, const struct cns_document *document,
                                          uint8_t **ret_data, size_t *ret_len);
