/* SPDX-License-Identifier: Apache-2.0 */
/* `consilium policy sign`: as a privacy officer, or as the authority where a policy loosens. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/verb_policy.h"
#include "protocol/policy_compare.h"
#include "store/kit.h"

#define KIND CNS_POLICY_KIND

struct call {
  const char *path, *signer_folder, *out;
  bool authority, json;
};

/* What was found out on the way, for the last words. */
struct findings {
  struct cns_problem loosens; /* what, if it does, than the one whose place it takes */
  bool officer_signed, authority_signed;
};

static const char *role_of(const struct call *call) {
  return call->authority ? "authority" : "officer";
}

static bool same_signature(const struct cns_document_signature *a, const struct cns_document_signature *b) {
  return strcmp(a->role, b->role) == 0 && cns_identity_public_equal(&a->key, &b->key);
}

/* The same policy is there already, signed by others: their signatures stay. */
static void take_over_signatures(const struct cns_document *from, struct cns_document *to) {
  for (size_t k = 0; k < from->signature_count; k++) {
    bool there = false;
    for (size_t m = 0; m < to->signature_count; m++)
      there = there || same_signature(&from->signatures[k], &to->signatures[m]);
    if (!there && to->signature_count < CNS_DOCUMENT_SIGNATURES_MAX)
      to->signatures[to->signature_count++] = from->signatures[k];
  }
}

static int check_versions(const char *out, const struct cns_policy *old, const struct cns_policy *policy,
                          struct cns_problem *problem) {
  if (old->version > policy->version)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "%s: has version %" PRIu64 ", higher than %" PRIu64
                           "; raise the version to replace it",
                           out, old->version, policy->version);
  if (old->version == policy->version && !cns_digest_equal(&old->digest, &policy->digest))
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "%s: is another policy with the same version, %" PRIu64
                           "; raise the version to replace it",
                           out, policy->version);
  return 0;
}

/* What may be at the place where the signed policy goes: nothing, an older
 * version, or the very same policy. */
static int check_place(const char *out, const struct cns_policy *policy, struct cns_document *document,
                       struct findings *findings, struct cns_problem *problem) {
  struct cns_document old_document = {0};
  struct cns_policy old;
  struct cns_problem detail = {0};
  int r = cns_policy_file_load(out, &old_document, &detail);
  if (r == CNS_ERR_NOT_FOUND) return 0;
  if (!r) r = cns_policy_file_open(&old_document, out, NULL, &old, &detail);
  if (r)
    cns_problem_set(problem, r, "what is there now isn't a policy: %s", detail.text);
  else
    r = check_versions(out, &old, policy, problem);
  if (!r && cns_digest_equal(&old.digest, &policy->digest)) take_over_signatures(&old_document, document);
  if (!r) cns_policy_loosens(&old, policy, &findings->loosens);
  cns_document_deinit(&old_document);
  return r;
}

static bool is_known(const struct call *call, const struct cns_roster *roster,
                     const struct cns_identity *signer) {
  const struct cns_identity_public *key = cns_identity_get_public(signer);
  if (call->authority) return cns_identity_public_equal(&roster->authority.identity, key);
  for (size_t i = 0; i < roster->officer_count; i++)
    if (cns_identity_public_equal(&roster->officers[i].identity, key)) return true;
  return false;
}

/* Is there a roster beside the place, and does the policy fit it? */
static int check_beside(const struct call *call, const struct cns_policy *policy,
                        const struct cns_identity *signer, struct cns_problem *problem) {
  const char *slash = strrchr(call->out, '/');
  struct cns_roster roster = {0};
  char *folder =
      slash ? strndup(call->out, slash == call->out ? 1 : (size_t)(slash - call->out)) : strdup(".");
  int r = folder ? cns_kit_roster_load(folder, &roster, problem) : CNS_ERR_MEMORY;
  free(folder);
  if (r) return r == CNS_ERR_NOT_FOUND ? 0 : r;
  r = cns_policy_check_roster(policy, &roster, problem);
  if (!r && !is_known(call, &roster, signer))
    r = cns_problem_set(problem, CNS_ERR_REFUSED, "%s",
                        call->authority ? "the key is not that of the roster's authority"
                                        : "the key is not one of the roster's privacy officers");
  cns_roster_deinit(&roster);
  return r;
}

static int write_signed(const struct call *call, struct cns_document *document,
                        const struct cns_identity *signer, struct findings *findings,
                        struct cns_problem *problem) {
  uint8_t *data = NULL;
  size_t len = 0;
  int r = cns_document_sign(KIND, document, role_of(call), signer);
  if (!r) r = cns_document_serialize(KIND, document, &data, &len);
  if (r) return cns_problem_set(problem, r, "the policy couldn't be signed");
  for (size_t k = 0; k < document->signature_count; k++) {
    findings->officer_signed |= strcmp(document->signatures[k].role, "officer") == 0;
    findings->authority_signed |= strcmp(document->signatures[k].role, "authority") == 0;
  }
  r = cns_file_write(call->out, data, len, 0644, problem);
  free(data);
  return r;
}

static void print_needs(const struct call *call, const struct findings *findings) {
  FILE *say = cns_cli_beside(call->out);
  if (!findings->officer_signed)
    fprintf(say, "A privacy officer has to sign it too: consilium policy sign %s --as OFFICER\n", call->out);
  if (findings->loosens.text[0] && !findings->authority_signed)
    fprintf(
        say,
        "Compared with the policy that was there, %s.\nHospitals that have accepted that one take this one "
        "only with the authority's signature too:\n  consilium policy sign %s --as AUTHORITY --authority\n",
        findings->loosens.text, call->out);
}

static int print_signed(const struct call *call, const struct cns_document *document,
                        const struct cns_policy *policy, const struct findings *findings) {
  if (!call->json) {
    fprintf(cns_cli_beside(call->out), "\nSigned: %s\n", call->out);
    print_needs(call, findings);
    return cns_cli_finish(CNS_EXIT_OK);
  }
  cJSON *object = cJSON_CreateObject();
  cJSON_AddStringToObject(object, "file", call->out);
  cJSON_AddNumberToObject(object, "version", (double)policy->version);
  cJSON_AddStringToObject(object, "role", role_of(call));
  if (findings->loosens.text[0])
    cJSON_AddBoolToObject(object, "needs_authority", !findings->authority_signed);
  int r = cns_json_add_hex(object, "digest", document->digest.bytes, sizeof document->digest.bytes);
  if (!r) return cns_cli_print_json(object);
  cJSON_Delete(object);
  return cns_cli_fail(r, NULL);
}

static int sign(const struct call *call) {
  struct cns_problem problem = {0};
  struct cns_document document = {0};
  struct cns_identity *signer = NULL;
  struct cns_policy policy;
  struct findings findings = {0};
  char *key = cns_kit_path(call->signer_folder, "identity.key"), *text = NULL;
  int r = key ? cns_policy_file_load(call->path, &document, &problem) : CNS_ERR_MEMORY;
  if (!r) r = cns_policy_file_open(&document, call->path, NULL, &policy, &problem);
  if (!r) r = cns_policy_check_time(&policy, (int64_t)time(NULL), &problem);
  if (!r) r = cns_identity_load(key, &signer, &problem);
  if (!r) r = check_beside(call, &policy, signer, &problem);
  if (!r && strcmp(call->path, call->out) != 0)
    r = check_place(call->out, &policy, &document, &findings, &problem);
  if (!r) r = cns_policy_describe(&policy, 0, &text);
  if (!r) {
    if (!call->json) fputs(text, cns_cli_beside(call->out));
    r = write_signed(call, &document, signer, &findings, &problem);
  }
  int code = r ? cns_cli_fail(r, &problem) : print_signed(call, &document, &policy, &findings);
  free(text);
  free(key);
  cns_identity_free(signer);
  cns_document_deinit(&document);
  return code;
}

int cns_cli_policy_sign(int argc, char **argv) {
  struct call call = {0};
  int operands = 0;
  const struct cns_option table[] = {
      {"as", "DIR", "the signer's folder, with identity.key", CNS_OPTION_TEXT, &call.signer_folder, 0, 0},
      {"authority", NULL, "sign as the consortium's authority, not as an officer", CNS_OPTION_FLAG,
       &call.authority, 0, 0},
      {"out", "FILE", "where the signed policy goes (default: in place)", CNS_OPTION_TEXT, &call.out, 0, 0},
      {"json", NULL, "print JSON", CNS_OPTION_FLAG, &call.json, 0, 0},
      {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "policy sign FILE --as DIR [--authority] [--out FILE] [--json]",
      "Checks a policy, says what it means, and signs it as a privacy officer. A policy with a\n"
      "higher version, or another one with the same version, is not replaced. If a roster lies\n"
      "beside the signed policy, the policy must fit it and the officer must be in it.\n"
      "A version that loosens an earlier one needs the authority's signature too: --authority.",
      table, 1, 1};
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  if (!call.signer_folder) return cns_cli_usage_error("policy sign", "--as DIR is missing");
  call.path = argv[1];
  if (!call.out) call.out = call.path;
  return sign(&call);
}
