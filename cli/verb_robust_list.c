/* SPDX-License-Identifier: Apache-2.0 */
/* consilium robust list: what there is, with formulas and sources. */
#include <stdio.h>

#include "cli/robust_call.h"
#include "robust/attack.h"

static const char *const needs[] = {
    [CNS_ATTACK_NEEDS_NOTHING] = "",
    [CNS_ATTACK_NEEDS_OWN] = "own updates (the honest mean without --own)",
    [CNS_ATTACK_NEEDS_FLIPPED] = "--own, updates trained on flipped labels",
    [CNS_ATTACK_NEEDS_TARGET] = "--param target=FILE.npy, the update that the poisoned model needs",
    [CNS_ATTACK_NEEDS_RULE] = "--rule",
};

/* The words of a list as an array. */
static void add_words(cJSON *object, const char *name, const char *list) {
  cJSON *array = cJSON_AddArrayToObject(object, name);
  char word[64];
  int used = 0;
  for (; array && sscanf(list, " %63s%n", word, &used) == 1; list += used)
    cJSON_AddItemToArray(array, cJSON_CreateString(word));
}

static void add_step(cJSON *list, const struct cns_robust_about *about) {
  cJSON *object = cJSON_CreateObject();
  cJSON_AddStringToObject(object, "name", about->name);
  cJSON_AddStringToObject(object, "formula", about->formula);
  cJSON_AddStringToObject(object, "breakdown", about->breakdown);
  cJSON_AddStringToObject(object, "cost", about->cost);
  cJSON_AddStringToObject(object, "source", about->source);
  add_words(object, "params", about->params);
  add_words(object, "variants", about->variants);
  cJSON_AddBoolToObject(object, "takes_byzantine", about->takes_byzantine);
  cJSON_AddBoolToObject(object, "takes_weights", about->takes_weights);
  cJSON_AddItemToArray(list, object);
}

static void add_attack(cJSON *list, const struct cns_attack_about *about) {
  cJSON *object = cJSON_CreateObject();
  cJSON_AddStringToObject(object, "name", about->name);
  cJSON_AddStringToObject(object, "formula", about->formula);
  cJSON_AddStringToObject(object, "source", about->source);
  cJSON_AddStringToObject(object, "parameter", about->parameter);
  cJSON_AddStringToObject(object, "default", about->standard);
  cJSON_AddStringToObject(object, "needs", needs[about->need]);
  cJSON_AddItemToArray(list, object);
}

static int list_json(void) {
  cJSON *json = cJSON_CreateObject();
  cJSON *rules = cJSON_AddArrayToObject(json, "rules"), *pre = cJSON_AddArrayToObject(json, "pre"),
        *attacks = cJSON_AddArrayToObject(json, "attacks");
  for (int k = 0; k < CNS_ROBUST_RULE_COUNT; k++)
    add_step(rules, cns_robust_about_rule((enum cns_robust_rule)k));
  for (int k = 0; k < CNS_ROBUST_PRE_COUNT; k++)
    add_step(pre, cns_robust_about_pre((enum cns_robust_pre)k));
  for (int k = 0; k < CNS_ATTACK_KIND_COUNT; k++)
    add_attack(attacks, cns_attack_about((enum cns_attack_kind)k));
  return cns_cli_print_json(json);
}

static void print_step(const struct cns_robust_about *about) {
  printf("  %s\n      %s\n      %s; %s; %s\n", about->name, about->formula, about->breakdown, about->cost,
         about->source);
  if (*about->params) printf("      parameters: %s\n", about->params);
  if (*about->variants) printf("      variants: %s\n", about->variants);
  if (about->takes_weights) printf("      takes weights\n");
}

static int list_text(void) {
  printf("Rules (--rule): the formula; the largest f of n rows; the cost for n rows of d; the source\n");
  for (int k = 0; k < CNS_ROBUST_RULE_COUNT; k++)
    print_step(cns_robust_about_rule((enum cns_robust_rule)k));
  printf("\nBefore a rule (--pre)\n");
  for (int k = 0; k < CNS_ROBUST_PRE_COUNT; k++)
    print_step(cns_robust_about_pre((enum cns_robust_pre)k));
  printf("\nAttacks (--attack): what each attacker sends; the source\n");
  for (int k = 0; k < CNS_ATTACK_KIND_COUNT; k++) {
    const struct cns_attack_about *about = cns_attack_about((enum cns_attack_kind)k);
    printf("  %s\n      %s\n      %s\n", about->name, about->formula, about->source);
    if (*about->parameter)
      printf("      parameters: %s (default: %s), jitter (0)\n", about->parameter, about->standard);
    if (*needs[about->need]) printf("      needs %s\n", needs[about->need]);
  }
  return cns_cli_finish(CNS_EXIT_OK);
}

int cns_cli_robust_list(int argc, char **argv) {
  bool json = false;
  const struct cns_option table[] = {{"json", NULL, "print JSON", CNS_OPTION_FLAG, &json, 0, 0},
                                     {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "robust list [--json]",
      "Lists the rules, what may come before them and the attacks, each with its formula, the\n"
      "largest number of bad rows, cost, parameters and source.",
      table, 0, 0};
  int operands = 0, r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  return json ? list_json() : list_text();
}
