/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/enrol.h"
#include "cli/folder.h"
#include "cli/kit.h"
#include "store/kit.h"

#define KIND "request"
#define ROLE "hospital"

void cns_digest_spoken(const struct cns_digest *digest, char ret_text[static CNS_DIGEST_SPOKEN_CHARS]) {
  char hex[2 * 16 + 1];
  cns_hex_encode(digest->bytes, 16, hex);
  for (size_t i = 0; i < 8; i++) {
    memcpy(ret_text + 5 * i, hex + 4 * i, 4);
    ret_text[5 * i + 4] = i < 7 ? ' ' : '\0';
  }
}

static int add_certificate(cJSON *json, const char *path, struct cns_problem *problem) {
  uint8_t *pem = NULL;
  size_t len = 0;
  int r = cns_file_read(path, CNS_CERTIFICATE_BYTES_MAX, &pem, &len, problem);
  if (r) return r;
  bool added = cJSON_AddStringToObject(json, "certificate", (const char *)pem);
  free(pem);
  return added ? 0 : cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory", path);
}

static int sign_request(const cJSON *json, const char *folder, struct cns_document *ret_document,
                        struct cns_problem *problem) {
  struct cns_identity *identity = NULL;
  struct cns_document document = {0};
  char *path = cns_kit_path(folder, "identity.key");
  int r = path ? cns_identity_load(path, &identity, problem) : CNS_ERR_MEMORY;
  free(path);
  if (!r) r = cns_document_from_json(KIND, json, &document);
  if (!r) r = cns_document_sign(KIND, &document, ROLE, identity);
  cns_identity_free(identity);
  if (r)
    cns_document_deinit(&document);
  else
    *ret_document = document;
  return r;
}

/* Makes and saves a signed request with a certificate of the folder. */
static int save_request(const char *folder, const char *file, const char *name, const char *certificate,
                        const struct cns_identity_public *identity, const struct cns_tls_pin *pin,
                        struct cns_digest *ret_digest, struct cns_problem *problem) {
  struct cns_document document = {0};
  cJSON *json = cJSON_CreateObject();
  int r = json && cJSON_AddStringToObject(json, "name", name) ? 0 : CNS_ERR_MEMORY;
  if (!r) r = cns_json_add_hex(json, "identity", identity->bytes, sizeof identity->bytes);
  if (!r) r = cns_json_add_hex(json, "tls", pin->bytes, sizeof pin->bytes);
  if (!r) r = add_certificate(json, certificate, problem);
  if (!r) r = sign_request(json, folder, &document, problem);
  cJSON_Delete(json);
  if (!r) r = cns_kit_document_save(folder, file, KIND, &document, problem);
  if (!r) *ret_digest = document.digest;
  cns_document_deinit(&document);
  return r;
}

static int fill_folder(const char *folder, const char *name, int64_t now_seconds,
                       struct cns_digest *ret_digest, struct cns_problem *problem) {
  struct cns_identity_public identity;
  struct cns_tls_pin pin;
  int r = cns_kit_create_keys(folder, name, now_seconds, &identity, &pin, problem);
  if (r) return r;
  char *certificate = cns_kit_path(folder, "tls.crt");
  if (!certificate) return cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory", folder);
  r = save_request(folder, CNS_REQUEST_FILE, name, certificate, &identity, &pin, ret_digest, problem);
  free(certificate);
  return r;
}

/* The pair that isn't in use. */
static int renew_pair(const struct cns_kit *kit, int64_t now_seconds, struct cns_digest *ret_digest,
                      struct cns_problem *problem) {
  size_t len = strlen(kit->tls_certificate_path);
  bool second = len >= 12 && strcmp(kit->tls_certificate_path + len - 12, "tls.next.crt") == 0;
  char *key = cns_kit_path(kit->folder, second ? "tls.key" : "tls.next.key");
  char *certificate = cns_kit_path(kit->folder, second ? "tls.crt" : "tls.next.crt");
  struct cns_tls_pin pin;
  int r = key && certificate ? 0 : cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory", kit->folder);
  if (!r && ((unlink(key) && errno != ENOENT) || (unlink(certificate) && errno != ENOENT)))
    r = cns_problem_set(problem, cns_error_from_errno(errno), "%s: an earlier renewal can't be removed (%s)",
                        kit->folder, strerror(errno));
  if (!r)
    r = cns_certificate_create(kit->config.name, now_seconds - CNS_CLOCK_SLACK_SECONDS,
                               now_seconds + CNS_CERTIFICATE_SECONDS, key, certificate, &pin, problem);
  if (!r)
    r = save_request(kit->folder, CNS_RENEWAL_FILE, kit->config.name, certificate,
                     cns_identity_get_public(kit->identity), &pin, ret_digest, problem);
  free(key);
  free(certificate);
  return r;
}

int cns_renewal_create(const char *folder, int64_t now_seconds, struct cns_digest *ret_digest,
                       struct cns_problem *problem) {
  struct cns_kit kit = {0};
  int r = cns_kit_load_expired(folder, CNS_KIT_HOSPITAL, now_seconds, &kit, problem);
  if (!r) r = renew_pair(&kit, now_seconds, ret_digest, problem);
  cns_kit_deinit(&kit);
  return r;
}

int cns_request_create(const char *folder, const char *name, int64_t now_seconds,
                       struct cns_digest *ret_digest, struct cns_problem *problem) {
  struct cns_folder_claim claim;
  struct cns_held_signals held;
  int r = cns_kit_check_name(name, problem);
  if (r) return r;
  cns_hold_signals(&held);
  r = cns_claim_folder(folder, &claim, problem);
  if (!r) {
    r = fill_folder(folder, name, now_seconds, ret_digest, problem);
    cns_claim_end(&claim, r != 0);
  }
  cns_release_signals(&held);
  return r;
}

static int read_request(const cJSON *json, struct cns_request *request, struct cns_problem *problem) {
  static const char *const fields[] = {"name", "identity", "tls", "certificate", NULL};
  const char *name = NULL, *certificate = NULL;
  struct cns_tls_pin pin;
  int64_t until = 0;
  int r = cns_json_only(json, "", fields, problem);
  if (!r) r = cns_json_get_string(json, "", "name", CNS_NAME_MAX, &name, problem);
  if (!r) r = cns_json_get_hex(json, "", "tls", CNS_TLS_PIN_BYTES, request->pin.bytes, problem);
  if (!r) r = cns_json_get_string(json, "", "certificate", CNS_CERTIFICATE_BYTES_MAX, &certificate, problem);
  if (!r) r = cns_certificate_pin_pem(certificate, strlen(certificate), "certificate", &pin, &until, problem);
  if (r) return r;
  request->pin_until = until;
  if ((r = cns_kit_check_name(name, problem))) return r;
  if (memcmp(pin.bytes, request->pin.bytes, sizeof pin.bytes) != 0)
    return cns_problem_set(problem, CNS_ERR_SIGNATURE, "tls is not the pin of the certificate");
  memcpy(request->name, name, strlen(name) + 1);
  return 0;
}

static int open_request(const struct cns_document *document, const char *path, struct cns_request *request,
                        struct cns_problem *problem) {
  cJSON *json = NULL;
  int r = cns_json_parse(document->payload, document->payload_len, path, &json, problem);
  if (r) return r;
  /* Signed by the key that is in it; nothing else is looked at before. */
  r = cns_json_get_hex(json, "", "identity", CNS_IDENTITY_BYTES, request->identity.bytes, problem);
  if (!r) r = cns_document_verify(KIND, document, ROLE, &request->identity, problem);
  if (!r) r = read_request(json, request, problem);
  cJSON_Delete(json);
  if (r) return cns_problem_prefix(problem, r, "%s", path);
  request->digest = document->digest;
  return 0;
}

int cns_request_load(const char *path, struct cns_request *ret_request, struct cns_problem *problem) {
  struct cns_request request = {0};
  struct cns_document document;
  uint8_t *data = NULL;
  size_t len = 0;
  int r = cns_file_read(path, 2 * CNS_CERTIFICATE_BYTES_MAX, &data, &len, problem);
  if (r) return r;
  r = cns_document_parse(KIND, data, len, path, &document, problem);
  free(data);
  if (r) return r;
  r = open_request(&document, path, &request, problem);
  cns_document_deinit(&document);
  if (!r) *ret_request = request;
  return r;
}
