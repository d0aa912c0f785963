/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cli/audit_options.h"
#include "cli/privacy_options.h"
#include "cli/verb_policy.h"
#include "store/kit.h"

#define KIND CNS_POLICY_KIND

static bool is_folder(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

int cns_policy_file_load(const char *path, struct cns_document *ret_document, struct cns_problem *problem) {
  uint8_t *data = NULL;
  size_t len = 0;
  cJSON *json = NULL;
  int r = cns_file_read(path, CNS_KIT_CONFIG_BYTES_MAX, &data, &len, problem);
  if (r) return r;
  if (strstr((const char *)data, "\n-- consilium signature ")) {
    r = cns_document_parse(KIND, data, len, path, ret_document, problem);
  } else {
    r = cns_json_parse((const char *)data, len, path, &json, problem);
    if (!r) r = cns_document_from_json(KIND, json, ret_document);
    cJSON_Delete(json);
  }
  free(data);
  return r;
}

int cns_policy_file_open(const struct cns_document *document, const char *path,
                         const struct cns_roster *roster, struct cns_policy *ret_policy,
                         struct cns_problem *problem) {
  uint8_t *data = NULL;
  size_t len = 0;
  int r = cns_document_serialize(KIND, document, &data, &len);
  if (r) return r;
  r = cns_policy_open(data, len, path, roster, ret_policy, problem);
  free(data);
  return r;
}

char *cns_policy_file_path(const char *operand, bool *ret_folder) {
  *ret_folder = is_folder(operand);
  return *ret_folder ? cns_kit_path(operand, "policy.json") : strdup(operand);
}

static const char *signer_name(const struct cns_document *document, const struct cns_roster *roster) {
  for (size_t i = 0; i < roster->officer_count; i++)
    if (cns_document_verify(KIND, document, "officer", &roster->officers[i].identity, NULL) == 0)
      return roster->officers[i].name;
  return NULL;
}

static bool authority_signed(const struct cns_document *document, const struct cns_roster *roster) {
  return cns_document_verify(KIND, document, "authority", &roster->authority.identity, NULL) == 0;
}

static int print_policy(const struct cns_document *document, const struct cns_policy *policy,
                        const struct cns_roster *roster, bool json) {
  const char *signer = roster ? signer_name(document, roster) : NULL;
  char *text = NULL;
  if (json) {
    cJSON *object = cJSON_CreateObject(), *content = cJSON_Parse(document->payload);
    cJSON_AddItemToObject(object, "policy", content);
    cJSON_AddBoolToObject(object, "verified", signer != NULL);
    if (signer) {
      cJSON_AddStringToObject(object, "signed_by", signer);
      cJSON_AddBoolToObject(object, "signed_by_authority", authority_signed(document, roster));
    }
    int r = cns_json_add_hex(object, "digest", document->digest.bytes, sizeof document->digest.bytes);
    if (!r) return cns_cli_print_json(object);
    cJSON_Delete(object);
    return cns_cli_fail(r, NULL);
  }
  int r = cns_policy_describe(policy, roster ? cns_roster_active_count(roster) : 0, &text);
  if (r) return cns_cli_fail(r, NULL);
  fputs(text, stdout);
  free(text);
  if (signer)
    printf("\nSigned by %s, a privacy officer of the roster%s.\n", signer,
           authority_signed(document, roster) ? ", and by the authority" : "");
  else if (document->signature_count > 0)
    printf("\nSigned, but without the roster it can't be said by whom: give the kit's folder to check it.\n");
  else
    printf("\nNot signed: not in force.\n");
  return cns_cli_finish(CNS_EXIT_OK);
}

static int show(const char *operand, bool json) {
  struct cns_problem problem = {0};
  struct cns_document document = {0};
  struct cns_roster roster = {0};
  struct cns_policy policy;
  bool folder = false;
  char *path = cns_policy_file_path(operand, &folder);
  int r = path ? 0 : CNS_ERR_MEMORY;
  if (!r && folder) r = cns_kit_roster_load(operand, &roster, &problem);
  if (!r) r = cns_policy_file_load(path, &document, &problem);
  if (!r) r = cns_policy_file_open(&document, path, folder ? &roster : NULL, &policy, &problem);
  int code = r ? cns_cli_fail(r, &problem) : print_policy(&document, &policy, folder ? &roster : NULL, json);
  cns_document_deinit(&document);
  cns_roster_deinit(&roster);
  free(path);
  return code;
}

static int run_show(int argc, char **argv) {
  bool json = false;
  int operands = 0;
  const struct cns_option table[] = {{"json", NULL, "print JSON", CNS_OPTION_FLAG, &json, 0, 0},
                                     {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "policy show FILE|KIT [--json]",
      "Says in plain sentences what a policy allows. Of a kit, or the authority's folder, the\n"
      "signature is checked too.",
      table, 1, 1};
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  return r ? cns_cli_parse_exit(r) : show(argv[1], json);
}

/* One above the version in force. */
static int next_version(const char *authority, uint64_t *ret_version, struct cns_problem *problem) {
  struct cns_document document = {0};
  struct cns_policy policy;
  char *path = cns_kit_path(authority, "policy.json");
  int r = path ? cns_policy_file_load(path, &document, problem) : CNS_ERR_MEMORY;
  if (!r) r = cns_policy_file_open(&document, path, NULL, &policy, problem);
  free(path);
  cns_document_deinit(&document);
  if (r == CNS_ERR_NOT_FOUND) *ret_version = 1;
  if (r) return r == CNS_ERR_NOT_FOUND ? 0 : r;
  *ret_version = policy.version + 1;
  return 0;
}

/* What the options ask for. */
struct choice {
  struct cns_audit_choice audit;
  struct cns_privacy_choice privacy;
};

static int make_policy(const char *federation, const struct choice *choice, struct cns_policy *ret_policy,
                       struct cns_problem *problem) {
  struct cns_roster roster = {0};
  struct cns_study study = {0};
  struct cns_policy policy;
  uint64_t version = 0;
  char *authority = cns_kit_path(federation, "authority"),
       *path = cns_kit_path(federation, "authority/study.json");
  int r = authority && path ? cns_kit_roster_load(authority, &roster, problem) : CNS_ERR_MEMORY;
  if (!r) r = cns_study_load(path, &study, problem);
  if (!r) r = next_version(authority, &version, problem);
  if (!r) {
    cns_kit_study_policy(&roster, &study.plan, (int64_t)time(NULL), &policy);
    policy.version = version;
    r = cns_kit_add_audit(&policy, cns_plan_dim(&study.plan), &choice->audit, problem);
    if (!r) r = cns_kit_add_privacy(&policy, &study.plan, &choice->privacy, NULL, problem);
  }
  if (!r) r = cns_policy_check_roster(&policy, &roster, problem);
  if (!r) *ret_policy = policy;
  cns_study_deinit(&study);
  cns_roster_deinit(&roster);
  free(path);
  free(authority);
  return r;
}

static int create(const char *federation, const struct choice *choice, const char *out, bool json) {
  struct cns_problem problem = {0};
  struct cns_policy policy;
  struct cns_document document = {0};
  struct stat info;
  FILE *say = cns_cli_beside(out);
  int r = make_policy(federation, choice, &policy, &problem);
  if (!r && stat(out, &info) == 0 && S_ISREG(info.st_mode) && say == stdout)
    r = cns_problem_set(&problem, CNS_ERR_EXISTS,
                        "%s: exists already; give another --out, or remove it first", out);
  if (!r) r = cns_policy_to_document(&policy, &document);
  if (!r) r = cns_file_write(out, document.payload, document.payload_len, 0644, &problem);
  cns_document_deinit(&document);
  if (r) return cns_cli_fail(r, &problem);
  if (json) {
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "file", out);
    cJSON_AddNumberToObject(object, "version", (double)policy.version);
    return cns_cli_print_json(object);
  }
  fprintf(say,
          "An unsigned policy, version %" PRIu64 ", is in %s: read it, change it, then\n"
          "  consilium policy sign %s --as OFFICER --out %s/authority/policy.json\n"
          "  consilium kit issue --federation %s\n",
          policy.version, out, out, federation, federation);
  return cns_cli_finish(CNS_EXIT_OK);
}

static int run_new(int argc, char **argv) {
  const char *federation = NULL, *out = NULL;
  struct cns_audit_call audit = {0};
  struct cns_privacy_call privacy = {0};
  struct choice choice = {0};
  char *default_out = NULL;
  bool json = false;
  int operands = 0;
  const struct cns_option table[] = {
      {"federation", "DIR", "the federation's folder", CNS_OPTION_TEXT, &federation, 0, 0},
      {"out", "FILE", "the new file (default: policy.json in the federation)", CNS_OPTION_TEXT, &out, 0, 0},
      CNS_AUDIT_OPTIONS(audit),
      CNS_PRIVACY_OPTIONS(privacy),
      {"json", NULL, "print JSON", CNS_OPTION_FLAG, &json, 0, 0},
      {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "policy new --federation DIR [OPTION]...",
      "Writes the default policy, unsigned, for the hospitals that the roster has now.", table, 0, 0};
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  if (!federation) return cns_cli_usage_error("policy new", "--federation DIR is missing");
  r = cns_cli_parse_audit("policy new", &audit, &choice.audit);
  if (!r) r = cns_cli_parse_privacy("policy new", &privacy, &choice.privacy);
  if (r) return r;
  if (!out) out = default_out = cns_kit_path(federation, "policy.json");
  int code = out ? create(federation, &choice, out, json) : cns_cli_fail(CNS_ERR_MEMORY, NULL);
  free(default_out);
  return code;
}

int cns_cli_policy(int argc, char **argv) {
  static const struct cns_verb verbs[] = {
      {"show", "say what a policy means", run_show},
      {"new", "write the default policy for the present roster, unsigned", run_new},
      {"diff", "say what a later policy changes, and whether it loosens anything", cns_cli_policy_diff},
      {"sign", "sign a policy as a privacy officer, or as the authority", cns_cli_policy_sign},
      {NULL, NULL, NULL}};
  return cns_cli_dispatch("consilium policy", "What the consortium's privacy officers allow.", verbs, argc,
                          argv);
}
