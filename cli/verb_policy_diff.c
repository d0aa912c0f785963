/* SPDX-License-Identifier: Apache-2.0 */
/* `consilium policy diff`: what a later policy changes, in sentences. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/verb_policy.h"
#include "protocol/policy_compare.h"

struct difference {
  struct cns_policy old, new;
  struct cns_policy_change changes[CNS_POLICY_CHANGES_MAX];
  size_t count, loosening;
};

static int load(const char *operand, struct cns_policy *ret_policy, struct cns_problem *problem) {
  struct cns_document document = {0};
  bool folder = false;
  char *path = cns_policy_file_path(operand, &folder);
  int r = path ? cns_policy_file_load(path, &document, problem) : CNS_ERR_MEMORY;
  if (!r) r = cns_policy_file_open(&document, path, NULL, ret_policy, problem);
  cns_document_deinit(&document);
  free(path);
  return r;
}

static int print_json(const struct difference *d) {
  cJSON *json = cJSON_CreateObject(), *changes = cJSON_AddArrayToObject(json, "changes");
  cJSON_AddNumberToObject(json, "old_version", (double)d->old.version);
  cJSON_AddNumberToObject(json, "new_version", (double)d->new.version);
  cJSON_AddBoolToObject(json, "loosens", d->loosening > 0);
  for (size_t k = 0; k < d->count; k++) {
    cJSON *one = cJSON_CreateObject();
    cJSON_AddStringToObject(one, "field", d->changes[k].field);
    cJSON_AddStringToObject(one, "direction", cns_policy_direction_name(d->changes[k].direction));
    cJSON_AddStringToObject(one, "text", d->changes[k].text);
    cJSON_AddItemToArray(changes, one);
  }
  return cns_cli_print_json(json);
}

static int print_text(struct difference *d) {
  if (d->count == 0) {
    printf("Both allow the same.\n");
    return cns_cli_finish(CNS_EXIT_OK);
  }
  for (size_t k = 0; k < d->count; k++) {
    cns_text_clean(d->changes[k].text);
    printf("%-11s %s.\n", cns_policy_direction_name(d->changes[k].direction), d->changes[k].text);
  }
  if (d->loosening > 0)
    printf(
        "\nIt loosens the policy: hospitals that have accepted the old one take it only with the signature\n"
        "of the consortium's authority beside that of a privacy officer (consilium policy sign "
        "--authority).\n");
  else
    printf("\nNothing is loosened: the signature of a privacy officer is enough.\n");
  return cns_cli_finish(CNS_EXIT_OK);
}

int cns_cli_policy_diff(int argc, char **argv) {
  struct cns_problem problem = {0};
  struct difference d = {0};
  bool json = false;
  int operands = 0;
  const struct cns_option table[] = {{"json", NULL, "print JSON", CNS_OPTION_FLAG, &json, 0, 0},
                                     {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "policy diff OLD NEW [--json]",
      "What the policy NEW changes against OLD, each marked as loosening, tightening or neutral.\n"
      "Both are files, or kits or the authority's folder. Signatures are not looked at.",
      table, 2, 2};
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  r = load(argv[1], &d.old, &problem);
  if (!r) r = load(argv[2], &d.new, &problem);
  if (r) return cns_cli_fail(r, &problem);
  d.count = cns_policy_compare(&d.old, &d.new, d.changes);
  for (size_t k = 0; k < d.count; k++)
    d.loosening += d.changes[k].direction == CNS_CHANGE_LOOSENING;
  return json ? print_json(&d) : print_text(&d);
}
