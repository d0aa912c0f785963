/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/document.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGEST_CONTEXT "consilium/1 document digest"
#define SIGNATURE_CONTEXT "consilium/1 document"
#define LINE_START "-- consilium signature 1 "
#define HEX_DIGITS "0123456789abcdef"

static void compute_digest(const char *kind, const char *payload, size_t len, struct cns_digest *ret_digest) {
  struct cns_hash hash;
  cns_hash_init(&hash, DIGEST_CONTEXT);
  cns_hash_blob(&hash, kind, strlen(kind));
  cns_hash_blob(&hash, payload, len);
  cns_hash_final(&hash, ret_digest);
}

static bool is_role(const char *role) {
  size_t len = strlen(role);
  return len >= 1 && len <= 15 && strspn(role, "abcdefghijklmnopqrstuvwxyz") == len;
}

/* The next word of the line and the separator after it; false if it is empty,
 * longer than max, or not followed by that separator. */
static bool take_word(const char **at, const char *end, char separator, size_t max, char *out) {
  const char *stop = memchr(*at, separator, (size_t)(end - *at));
  size_t len = stop ? (size_t)(stop - *at) : 0;
  if (len == 0 || len > max) return false;
  memcpy(out, *at, len);
  out[len] = '\0';
  *at = stop + 1;
  return !memchr(out, '\0', len);
}

/* Lower-case hex only: one signature has one spelling. */
static bool take_hex(const char **at, const char *end, char separator, size_t bytes, uint8_t *ret_bytes) {
  char text[2 * CNS_SIGNATURE_BYTES + 1];
  if (!take_word(at, end, separator, 2 * bytes, text)) return false;
  if (strlen(text) != 2 * bytes || strspn(text, HEX_DIGITS) != 2 * bytes) return false;
  return cns_hex_decode(text, bytes, ret_bytes) == 0;
}

static bool parse_line(const char *kind, const char **at, const char *end,
                       struct cns_document_signature *ret_line) {
  char kind_found[16];
  if ((size_t)(end - *at) < sizeof LINE_START - 1 || memcmp(*at, LINE_START, sizeof LINE_START - 1) != 0)
    return false;
  *at += sizeof LINE_START - 1;
  if (!take_word(at, end, ' ', sizeof kind_found - 1, kind_found) || strcmp(kind_found, kind) != 0)
    return false;
  if (!take_word(at, end, ' ', sizeof ret_line->role - 1, ret_line->role) || !is_role(ret_line->role))
    return false;
  return take_hex(at, end, ' ', CNS_IDENTITY_BYTES, ret_line->key.bytes) &&
         take_hex(at, end, '\n', CNS_SIGNATURE_BYTES, ret_line->signature.bytes);
}

static struct cns_document_signature *find_line(struct cns_document *document, const char *role,
                                                const struct cns_identity_public *key) {
  for (size_t i = 0; i < document->signature_count; i++)
    if (strcmp(document->signatures[i].role, role) == 0 &&
        cns_identity_public_equal(&document->signatures[i].key, key))
      return &document->signatures[i];
  return NULL;
}

static int parse_lines(const char *kind, const char *at, const char *end, const char *where,
                       struct cns_document *document, struct cns_problem *problem) {
  while (at < end) {
    struct cns_document_signature line;
    if (document->signature_count == CNS_DOCUMENT_SIGNATURES_MAX)
      return cns_problem_set(problem, CNS_ERR_LIMIT, "%s: more than %d signatures", where,
                             CNS_DOCUMENT_SIGNATURES_MAX);
    if (!parse_line(kind, &at, end, &line))
      return cns_problem_set(
          problem, CNS_ERR_FORMAT,
          "%s: signature line %zu is damaged or is not one of a %s; get the file again from "
          "whoever signed it",
          where, document->signature_count + 1, kind);
    if (find_line(document, line.role, &line.key))
      return cns_problem_set(problem, CNS_ERR_FORMAT, "%s: signature line %zu repeats a signer", where,
                             document->signature_count + 1);
    document->signatures[document->signature_count++] = line;
  }
  return 0;
}

/* Canonical JSON has no line that begins with "-", so the first one that does
 * ends the payload. */
static size_t payload_length(const char *text, size_t len) {
  for (const char *p = text; (p = memchr(p, '\n', len - (size_t)(p - text)));) {
    p++;
    if ((size_t)(p - text) < len && *p == '-') return (size_t)(p - text);
  }
  return len;
}

static int new_payload(const char *kind, const char *text, size_t len, struct cns_document *document) {
  document->payload = malloc(len + 1);
  if (!document->payload) return CNS_ERR_MEMORY;
  memcpy(document->payload, text, len);
  document->payload[len] = '\0';
  document->payload_len = len;
  compute_digest(kind, text, len, &document->digest);
  return 0;
}

int cns_document_parse(const char *kind, const uint8_t *data, size_t len, const char *where,
                       struct cns_document *ret_document, struct cns_problem *problem) {
  const char *text = (const char *)data;
  struct cns_document document = {0};
  if (len == 0) return cns_problem_set(problem, CNS_ERR_FORMAT, "%s: is empty", where);
  if (len > CNS_JSON_BYTES_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "%s: larger than %u bytes", where, CNS_JSON_BYTES_MAX);
  size_t payload_len = payload_length(text, len);
  int r = parse_lines(kind, text + payload_len, text + len, where, &document, problem);
  if (!r) r = cns_json_check_canonical(text, payload_len, where, problem);
  if (r) return r;
  if ((r = new_payload(kind, text, payload_len, &document)))
    return cns_problem_set(problem, r, "%s: out of memory", where);
  *ret_document = document;
  return 0;
}

int cns_document_from_json(const char *kind, const cJSON *json, struct cns_document *ret_document) {
  struct cns_document document = {0};
  int r = cns_json_canonical(json, &document.payload, &document.payload_len);
  if (r) return r;
  /* Text that isn't UTF-8, say: better refused here than by everybody who reads it. */
  r = cns_json_check_canonical(document.payload, document.payload_len, kind, NULL);
  if (r) {
    cns_document_deinit(&document);
    return r;
  }
  compute_digest(kind, document.payload, document.payload_len, &document.digest);
  *ret_document = document;
  return 0;
}

void cns_document_deinit(struct cns_document *document) {
  if (!document) return;
  free(document->payload);
  *document = (struct cns_document){0};
}

int cns_document_sign(const char *kind, struct cns_document *document, const char *role,
                      const struct cns_identity *identity) {
  struct cns_document_signature line = {0};
  struct cns_digest digest;
  if (!document->payload || !is_role(role)) return CNS_ERR_ARGUMENT;
  compute_digest(kind, document->payload, document->payload_len, &digest);
  if (!cns_digest_equal(&digest, &document->digest)) return CNS_ERR_ARGUMENT; /* made as another kind */
  snprintf(line.role, sizeof line.role, "%s", role);
  line.key = *cns_identity_get_public(identity);
  int r = cns_sign(identity, SIGNATURE_CONTEXT, &digest, &line.signature);
  if (r) return r;
  struct cns_document_signature *place = find_line(document, role, &line.key);
  if (!place) {
    if (document->signature_count == CNS_DOCUMENT_SIGNATURES_MAX) return CNS_ERR_LIMIT;
    place = &document->signatures[document->signature_count++];
  }
  *place = line;
  return 0;
}

int cns_document_verify(const char *kind, const struct cns_document *document, const char *role,
                        const struct cns_identity_public *key, struct cns_problem *problem) {
  char hex[2 * CNS_IDENTITY_BYTES + 1];
  struct cns_digest digest;
  if (!document->payload) return CNS_ERR_ARGUMENT;
  compute_digest(kind, document->payload, document->payload_len, &digest);
  cns_hex_encode(key->bytes, sizeof key->bytes, hex);
  bool found = false;
  for (size_t i = 0; i < document->signature_count; i++) {
    const struct cns_document_signature *line = &document->signatures[i];
    if (strcmp(line->role, role) != 0 || !cns_identity_public_equal(&line->key, key)) continue;
    found = true;
    if (cns_verify(key, SIGNATURE_CONTEXT, &digest, &line->signature) == 0) return 0;
  }
  if (found)
    return cns_problem_set(
        problem, CNS_ERR_SIGNATURE,
        "the %s's signature as %s by key %.16s... doesn't match its content: it was altered after "
        "it was signed",
        kind, role, hex);
  return cns_problem_set(problem, CNS_ERR_SIGNATURE, "the %s is not signed as %s by key %.16s...", kind, role,
                         hex);
}

int cns_document_serialize(const char *kind, const struct cns_document *document, uint8_t **ret_data,
                           size_t *ret_len) {
  enum { LINE_MAX_BYTES = 300 };
  if (!document->payload || document->signature_count > CNS_DOCUMENT_SIGNATURES_MAX || strlen(kind) > 15)
    return CNS_ERR_ARGUMENT;
  char *text = malloc(document->payload_len + document->signature_count * LINE_MAX_BYTES + 1);
  if (!text) return CNS_ERR_MEMORY;
  memcpy(text, document->payload, document->payload_len);
  size_t len = document->payload_len;
  for (size_t i = 0; i < document->signature_count; i++) {
    const struct cns_document_signature *line = &document->signatures[i];
    char key[2 * CNS_IDENTITY_BYTES + 1], signature[2 * CNS_SIGNATURE_BYTES + 1];
    cns_hex_encode(line->key.bytes, sizeof line->key.bytes, key);
    cns_hex_encode(line->signature.bytes, sizeof line->signature.bytes, signature);
    len += (size_t)snprintf(text + len, LINE_MAX_BYTES, LINE_START "%s %s %s %s\n", kind, line->role, key,
                            signature);
  }
  text[len] = '\0';
  *ret_data = (uint8_t *)text;
  *ret_len = len;
  return 0;
}

int cns_document_issue(const char *kind, cJSON *json, const char *role, const struct cns_identity *identity,
                       uint8_t **ret_data, size_t *ret_len) {
  struct cns_document document;
  int r = json ? cns_document_from_json(kind, json, &document) : CNS_ERR_MEMORY;
  cJSON_Delete(json);
  if (r < 0) return r;
  r = cns_document_sign(kind, &document, role, identity);
  if (r == 0) r = cns_document_serialize(kind, &document, ret_data, ret_len);
  cns_document_deinit(&document);
  return r;
}
