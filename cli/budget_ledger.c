/* SPDX-License-Identifier: Apache-2.0 */
/* `consilium budget ledger`: the entries, for people. */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/verb_budget.h"

static void format_time(int64_t seconds, char out[static 32]) {
  time_t value = (time_t)seconds;
  struct tm tm;
  if (!gmtime_r(&value, &tm) || strftime(out, 32, "%Y-%m-%d %H:%M:%S", &tm) == 0) snprintf(out, 32, "?");
}

static const char *whom(uint8_t observers) {
  if (observers == CNS_LEDGER_BIT(CNS_LEDGER_READERS)) return " to readers only";
  if (observers == CNS_LEDGER_BIT(CNS_LEDGER_COORDINATOR)) return " to the coordinator only";
  return "";
}

static void print_cost(const struct cns_ledger_round *round) {
  const struct cns_budget_cost *readers = &round->costs[CNS_LEDGER_READERS],
                               *coordinator = &round->costs[CNS_LEDGER_COORDINATOR];
  printf("noise multiplier %.4g, sampling rate %.4g", readers->noise_multiplier, readers->sampling_rate);
  if (coordinator->noise_multiplier <= 0)
    printf("; towards the coordinator no noise");
  else if (coordinator->noise_multiplier < readers->noise_multiplier)
    printf("; towards the coordinator %.4g", coordinator->noise_multiplier);
}

static int print_entry(void *context, const struct cns_ledger_entry *entry) {
  char when[32], name[sizeof entry->round.study_name];
  (void)context;
  format_time(entry->time, when);
  snprintf(name, sizeof name, "%s", entry->round.study_name);
  cns_text_clean(name);
  printf("%5" PRIu64 "  %s  %s round %" PRIu64 " attempt %" PRIu32 ": %s%s", entry->sequence, when, name,
         entry->round.round, entry->round.attempt, cns_ledger_kind_name(entry->kind), whom(entry->observers));
  if (entry->kind == CNS_LEDGER_RESERVED) {
    printf(", ");
    print_cost(&entry->round);
  }
  printf("\n");
  return 0;
}

static cJSON *cost_json(const struct cns_budget_cost *cost) {
  cJSON *json = cJSON_CreateObject();
  if (cost->noise_multiplier > 0)
    cJSON_AddNumberToObject(json, "noise_multiplier", cost->noise_multiplier);
  else
    cJSON_AddNullToObject(json, "noise_multiplier");
  if (cost->noise_multiplier <= 0) cJSON_AddBoolToObject(json, "unprotected", true);
  cJSON_AddNumberToObject(json, "sampling_rate", cost->sampling_rate);
  cJSON_AddNumberToObject(json, "extra_delta", cost->extra_delta);
  return json;
}

static int add_entry(void *context, const struct cns_ledger_entry *entry) {
  cJSON *json = cJSON_CreateObject(), *costs, *observers;
  int r = json ? cns_json_add_time(json, "time", entry->time) : CNS_ERR_MEMORY;
  cJSON_AddNumberToObject(json, "sequence", (double)entry->sequence);
  cJSON_AddStringToObject(json, "study", entry->round.study_name);
  cJSON_AddNumberToObject(json, "round", (double)entry->round.round);
  cJSON_AddNumberToObject(json, "attempt", entry->round.attempt);
  cJSON_AddStringToObject(json, "kind", cns_ledger_kind_name(entry->kind));
  observers = cJSON_AddArrayToObject(json, "observers");
  costs = cJSON_AddObjectToObject(json, "costs");
  for (enum cns_ledger_observer o = CNS_LEDGER_READERS; o < CNS_LEDGER_OBSERVERS; o++) {
    if (!(entry->observers & CNS_LEDGER_BIT(o))) continue;
    cJSON_AddItemToArray(observers, cJSON_CreateString(cns_observer_name(o)));
    cJSON_AddItemToObject(costs, cns_observer_name(o), cost_json(&entry->round.costs[o]));
  }
  if (!r)
    r = cns_json_add_hex(json, "descriptor", entry->round.descriptor.bytes,
                         sizeof entry->round.descriptor.bytes);
  if (!r) r = cns_json_add_hex(json, "digest", entry->digest.bytes, sizeof entry->digest.bytes);
  cJSON_AddItemToArray(context, json);
  return r;
}

static int print_list(const struct cns_budget_view *view, struct cns_problem *problem) {
  if (!cns_budget_view_counts(view))
    printf("No noise is added under this policy, so there is no ledger.\n");
  else if (!view->ledger)
    printf("There is no ledger yet (%s): nothing was spent.\n", view->ledger_path);
  return view->ledger ? cns_ledger_entries(view->ledger, 1, print_entry, NULL, problem) : 0;
}

int cns_cli_budget_ledger(int argc, char **argv) {
  struct cns_budget_view view = {0};
  struct cns_problem problem = {0};
  bool json = false;
  int operands = 0;
  const struct cns_option table[] = {{"json", NULL, "print JSON", CNS_OPTION_FLAG, &json, 0, 0},
                                     {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "budget ledger KIT [--json]",
      "Lists the entries of the privacy ledger of a coordinator's or a hospital's kit: what each\n"
      "attempt of a round cost and what became of it. All signatures and digests are checked.",
      table, 1, 1};
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  cJSON *entries = json ? cJSON_CreateArray() : NULL;
  r = cns_budget_view_open(argv[1], &view, &problem);
  if (!r && json && view.ledger) r = cns_ledger_entries(view.ledger, 1, add_entry, entries, &problem);
  if (!r && !json) r = print_list(&view, &problem);
  cns_budget_view_deinit(&view);
  if (r) {
    cJSON_Delete(entries);
    return cns_cli_fail(r, &problem);
  }
  return json ? cns_cli_print_json(entries) : cns_cli_finish(CNS_EXIT_OK);
}
