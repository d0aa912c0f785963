/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/demo.h"

static const char masked_text[] =
    "What was protected: no update of a single hospital was seen by anybody, the coordinator\n"
    "included. Each left its hospital under masks that cancel only in the sum over all hospitals\n"
    "of the round; all traffic went through TLS 1.3 between certificates that a signed roster names. In\n"
    "a real federation the patients' rows never leave their hospital; here the demo dealt them out\n"
    "itself. What was not protected: ";
static const char audited_text[] =
    "of each update the coordinator saw as many numbers as the audit\n"
    "takes, and from them alone it can tell which share of a hospital's patients has the disease. ";
static const char noisy_text[] =
    "A patient who\n"
    "is known in two hospitals counts as two. Who took part, and with about how many patients, is\n"
    "public. The noise is worth what the budget says and no more: it doesn't protect a hospital's\n"
    "patients as a group, nor against a hospital's own staff. And here all keys were made on one\n"
    "machine: a real consortium enrols with `consilium kit`.\n";
static const char unprotected_text[] =
    "This federation adds no\n"
    "noise, so the sums and the models themselves say something about the patients behind them, and\n"
    "who compares the sums of successive rounds, one of them without a hospital, can narrow that\n"
    "hospital's update down. Who took part, and with about how many patients, is public. And here all\n"
    "keys were made on one machine: a real consortium enrols with `consilium kit`.\n";

static double number_of(const cJSON *json, const char *name) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, name);
  return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

static const char *text_of(const cJSON *json, const char *name) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, name);
  return cJSON_IsString(item) ? item->valuestring : "";
}

static double last_class_percent(const struct cns_demo_hospital *hospital) {
  return 100.0 * (double)hospital->last_class_rows / (double)hospital->rows;
}

void cns_demo_report_start(const struct cns_demo_parts *parts, const char *folder) {
  const struct cns_plan *plan = &parts->plan;
  printf("%zu hospitals train \"%s\" together: %zu columns, %zu parameters, %u rounds of %u epochs.\n",
         parts->hospital_count, plan->name, plan->feature_count, plan->dim, plan->rounds, plan->local_epochs);
  printf("%zu patients, of whom %zu are held out to test the models; the others, dealt out unevenly:\n",
         parts->patients, parts->test.patients);
  for (size_t h = 0; h < parts->hospital_count; h++)
    printf("  %-12s %4zu patients, %2.0f %% of class %s\n", parts->hospitals[h].name,
           parts->hospitals[h].patients, last_class_percent(&parts->hospitals[h]),
           plan->classes[plan->class_count - 1]);
  printf("A coordinator and each hospital as a process of its own, over TLS 1.3 on this machine, from\n"
         "fresh keys in %s\n",
         folder);
  fflush(stdout);
}

void cns_demo_report_audit(const struct cns_demo_parts *parts, const struct cns_demo_result *result) {
  if (result->sketch)
    printf("Every round is audited: of each masked update the coordinator learns %u numbers, random sums of\n"
           "its %zu entries, and leaves out who stands out. The demo's policy raises the sketch budget\n"
           "from 1/16 to %.2f numbers for each parameter, so that all %u rounds can be audited. What that\n"
           "costs: the more numbers a study reveals, the more the coordinator knows of what its hospitals'\n"
           "updates have in common, and their case mix it can read from one audit (docs/privacy.md).\n",
           result->sketch, parts->plan.dim, result->sketch_budget, parts->plan.rounds);
  else
    printf("No round is audited%s: nobody looks at what is under the masks.\n",
           result->too_small ? ", since the model is too small for it" : "");
  if (result->poisoned)
    printf("From round %d on %s is poisoned: it turns its update round, makes it %u times as long as\n"
           "clipping allows, and is honest in all else.\n",
           CNS_DEMO_POISON_FROM, result->poisoned, CNS_DEMO_POISON_BOUNDS);
  printf("\n");
  fflush(stdout);
}

static void print_size(const char *what, double bytes) {
  if (bytes < 1e6)
    printf(", %.1f kB %s", bytes / 1e3, what);
  else
    printf(", %.1f MB %s", bytes / 1e6, what);
}

static void print_missing(const cJSON *round) {
  const cJSON *one;
  bool any = false;
  cJSON_ArrayForEach(one, cJSON_GetObjectItemCaseSensitive(round, "missing")) {
    printf("%s%s: %s", any ? ", " : " (", text_of(one, "hospital"), text_of(one, "reason"));
    any = true;
  }
  if (any) printf(")");
}

void cns_demo_report_round(const cJSON *round) {
  if (!cJSON_HasObjectItem(round, "rounds")) {
    printf("round %.0f attempt %.0f: no result: %s\n", number_of(round, "round"), number_of(round, "attempt"),
           text_of(round, "reason"));
    fflush(stdout);
    return;
  }
  printf("round %.0f/%.0f: %.0f of %.0f hospitals", number_of(round, "round"), number_of(round, "rounds"),
         number_of(round, "included"), number_of(round, "expected"));
  print_missing(round);
  printf(", %.1f %% of the weight", 100 * number_of(round, "weight_share"));
  if (cJSON_HasObjectItem(round, "loss")) printf(", loss %.4f", number_of(round, "loss"));
  if (cJSON_HasObjectItem(round, "noised_loss"))
    printf(", noised loss %.4f +- %.4f, noised accuracy %.4f +- %.4f", number_of(round, "noised_loss"),
           number_of(round, "noised_loss_error"), number_of(round, "noised_accuracy"),
           number_of(round, "noised_accuracy_error"));
  if (cJSON_HasObjectItem(round, "epsilon")) printf(", epsilon %.4f spent", number_of(round, "epsilon"));
  if (cJSON_HasObjectItem(round, "auc")) printf(", AUC %.4f", number_of(round, "auc"));
  if (cJSON_HasObjectItem(round, "clip_norm"))
    printf(", clip norm %.4g, then %.4g", number_of(round, "clip_norm"), number_of(round, "next_clip_norm"));
  print_size("up", number_of(round, "bytes_up"));
  print_size("down", number_of(round, "bytes_down"));
  printf(", %.2f s\n", number_of(round, "seconds"));
  fflush(stdout);
}

struct summary {
  double mean_alone, best_alone;
  size_t trained_patients;
};

static struct summary summarise(const struct cns_demo_parts *parts, const struct cns_demo_result *result) {
  struct summary summary = {0};
  for (size_t h = 0; h < parts->hospital_count; h++) {
    summary.mean_alone += result->alone[h] / (double)parts->hospital_count;
    if (!(result->alone[h] <= summary.best_alone)) summary.best_alone = result->alone[h];
    summary.trained_patients += parts->hospitals[h].patients;
  }
  return summary;
}

/* "0.0012 above", "0.0003 below", "equal to", at the four digits printed. */
static void print_against(double value, double other, const char *what, const char *end) {
  double difference = value - other;
  if (fabs(difference) < 0.00005)
    printf("equal to %s (%.4f)%s", what, other, end);
  else
    printf("%.4f %s %s (%.4f)%s", fabs(difference), difference > 0 ? "above" : "below", what, other, end);
}

static void print_auc(double auc) {
  if (isnan(auc))
    printf("no AUC\n");
  else
    printf("%.4f\n", auc);
}

static void add_auc(cJSON *json, const char *name, double auc) {
  if (!isnan(auc)) cJSON_AddNumberToObject(json, name, auc);
}

static void print_poisoned(const struct cns_demo_result *result) {
  if (result->poisoned && result->sketch)
    printf("%s was poisoned in %" PRIu64 " rounds: flagged in %" PRIu64 ", left out of %" PRIu64
           " sums. Honest hospitals were flagged %" PRIu64 " times.\n",
           result->poisoned, result->poisoned_rounds, result->flagged_rounds, result->left_out_rounds,
           result->false_flags);
  else if (result->poisoned)
    printf("%s was poisoned in %" PRIu64 " rounds, and nobody could see it%s.\n", result->poisoned,
           result->poisoned_rounds, result->too_small ? "" : ": without --no-audit it is flagged");
  else if (result->sketch)
    printf("Nobody was poisoned. Honest hospitals were flagged %" PRIu64 " times.\n", result->false_flags);
}

void cns_demo_report_text(const struct cns_demo_parts *parts, const struct cns_demo_result *result) {
  const struct cns_plan *plan = &parts->plan;
  struct summary summary = summarise(parts, result);
  if (isnan(result->local))
    printf("\nTest AUC on %zu patients whom no model has seen; same model, %u epochs each:\n\n",
           parts->test.patients, plan->rounds * plan->local_epochs);
  else
    printf("\nTest AUC on %zu patients whom no model has seen; same model, %u steps each, all with the same\n"
           "guarantee for each patient (own noise at each: hospitals that don't share it):\n\n",
           parts->test.patients, plan->rounds);
  printf("                        patients   test AUC\n");
  for (size_t h = 0; h < parts->hospital_count; h++) {
    printf("  %-12s alone     %6zu     ", parts->hospitals[h].name, parts->hospitals[h].patients);
    print_auc(result->alone[h]);
  }
  printf("  the federation         %6zu     ", summary.trained_patients);
  print_auc(result->federated);
  printf("  all data pooled        %6zu     ", summary.trained_patients);
  print_auc(result->pooled);
  if (!isnan(result->local)) {
    printf("  own noise at each      %6zu     ", summary.trained_patients);
    print_auc(result->local);
  }
  if (isnan(result->federated)) {
    printf("\nAll patients held out have the same class: there is no AUC to compare.\n");
  } else {
    printf("\nThe federation is ");
    print_against(result->federated, result->pooled, "the pooled data", ",\n");
    print_against(result->federated, summary.mean_alone, "the mean of the hospitals alone", " and\n");
    print_against(result->federated, summary.best_alone, "the best hospital alone", ".\n");
  }
  if (result->killed && result->back_round)
    printf("%s was killed in round %" PRIu64 " and took part again in round %" PRIu64 ".\n", result->killed,
           result->killed_round, result->back_round);
  if (result->killed && !result->back_round)
    printf("%s was killed in round %" PRIu64 " and was not back before the end.\n", result->killed,
           result->killed_round);
  print_poisoned(result);
  if (result->epsilon_spent > 0)
    printf("Spent by the coordinator's ledger and each hospital's own: epsilon %.4f.\n",
           result->epsilon_spent);
  printf("%.1f seconds in all.\n\n%s%s%s", result->seconds, masked_text, result->sketch ? audited_text : "",
         isnan(result->local) ? unprotected_text : noisy_text);
}

static cJSON *hospitals_json(const struct cns_demo_parts *parts, const struct cns_demo_result *result) {
  cJSON *array = cJSON_CreateArray();
  for (size_t h = 0; h < parts->hospital_count; h++) {
    const struct cns_demo_hospital *hospital = &parts->hospitals[h];
    cJSON *one = cJSON_CreateObject();
    cJSON_AddStringToObject(one, "name", hospital->name);
    cJSON_AddNumberToObject(one, "patients", (double)hospital->patients);
    cJSON_AddNumberToObject(one, "last_class_share", last_class_percent(hospital) / 100);
    add_auc(one, "alone_auc", result->alone[h]);
    cJSON_AddItemToArray(array, one);
  }
  return array;
}

cJSON *cns_demo_report_json(const struct cns_demo_options *options, const struct cns_demo_parts *parts,
                            const struct cns_demo_result *result) {
  struct summary summary = summarise(parts, result);
  cJSON *json = cJSON_CreateObject();
  cJSON_AddStringToObject(json, "study", parts->plan.name);
  cJSON_AddNumberToObject(json, "seed", (double)options->seed);
  cJSON_AddNumberToObject(json, "parameters", (double)parts->plan.dim);
  cJSON_AddNumberToObject(json, "epochs", parts->plan.rounds * parts->plan.local_epochs);
  cJSON_AddNumberToObject(json, "test_patients", (double)parts->test.patients);
  cJSON_AddItemToObject(json, "hospitals", hospitals_json(parts, result));
  add_auc(json, "federated_auc", result->federated);
  add_auc(json, "pooled_auc", result->pooled);
  if (options->epsilon > 0) {
    add_auc(json, "own_noise_auc", result->local);
    cJSON_AddNumberToObject(json, "epsilon", options->epsilon);
    cJSON_AddNumberToObject(json, "delta", options->delta);
    cJSON_AddNumberToObject(json, "epsilon_spent", result->epsilon_spent);
    cJSON_AddNumberToObject(json, "noise_multiplier", parts->plan.noise_multiplier);
  }
  add_auc(json, "alone_auc_mean", summary.mean_alone);
  add_auc(json, "alone_auc_best", summary.best_alone);
  cJSON_AddItemToObject(json, "rounds", cJSON_Duplicate(result->rounds, true));
  if (result->killed) {
    cJSON *killed = cJSON_AddObjectToObject(json, "killed");
    cJSON_AddStringToObject(killed, "hospital", result->killed);
    cJSON_AddNumberToObject(killed, "round", (double)result->killed_round);
    if (result->back_round) cJSON_AddNumberToObject(killed, "back_round", (double)result->back_round);
  }
  if (result->poisoned) {
    cJSON *poisoned = cJSON_AddObjectToObject(json, "poisoned");
    cJSON_AddStringToObject(poisoned, "hospital", result->poisoned);
    cJSON_AddNumberToObject(poisoned, "from_round", CNS_DEMO_POISON_FROM);
    cJSON_AddNumberToObject(poisoned, "rounds", (double)result->poisoned_rounds);
    cJSON_AddNumberToObject(poisoned, "flagged", (double)result->flagged_rounds);
    cJSON_AddNumberToObject(poisoned, "left_out", (double)result->left_out_rounds);
  }
  if (result->sketch) {
    cJSON_AddNumberToObject(json, "sketch", result->sketch);
    cJSON_AddNumberToObject(json, "false_flags", (double)result->false_flags);
  }
  if (options->keep) cJSON_AddStringToObject(json, "folder", options->keep);
  cJSON_AddNumberToObject(json, "seconds", result->seconds);
  return json;
}
