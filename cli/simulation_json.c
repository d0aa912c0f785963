/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <sys/resource.h>

#include "cli/cli.h"
#include "cli/simulation_print.h"
#include "protocol/agree.h"

static void add_index(cJSON *list, size_t k) {
  cJSON_AddItemToArray(list, cJSON_CreateNumber((double)(k + 1)));
}

/* Indices of all whose first missing phase is this one. */
static cJSON *missing_in(const struct cns_simulation_result *result, size_t hospitals, enum cns_phase phase) {
  cJSON *list = cJSON_CreateArray();
  for (size_t k = 0; list && k < hospitals; k++)
    if (result->missing[k] == phase) add_index(list, k);
  return list;
}

static void add_indices(cJSON *json, const char *name, const bool *chosen, size_t hospitals) {
  cJSON *list = cJSON_AddArrayToObject(json, name);
  for (size_t k = 0; list && k < hospitals; k++)
    if (chosen[k]) add_index(list, k);
}

static void add_missing(cJSON *json, const struct cns_simulation_options *options,
                        const struct cns_simulation_result *result) {
  enum cns_phase phases[CNS_PHASE_COUNT];
  size_t count = cns_simulation_phases(options->audit, phases);
  cJSON *missing = cJSON_AddObjectToObject(json, "missing");
  for (size_t p = 0; missing && p < count; p++) {
    cJSON *list = missing_in(result, options->hospitals, phases[p]);
    if (cJSON_GetArraySize(list) > 0)
      cJSON_AddItemToObject(missing, cns_phase_name(phases[p]), list);
    else
      cJSON_Delete(list);
  }
}

static cJSON *add_entry(cJSON *list, size_t hospital, const char *reason) {
  cJSON *entry = cJSON_CreateObject();
  cJSON_AddNumberToObject(entry, "hospital", (double)(hospital + 1));
  cJSON_AddStringToObject(entry, "reason", reason);
  cJSON_AddItemToArray(list, entry);
  return entry;
}

static bool is_first_flag(const struct cns_simulation_result *result, size_t f) {
  for (size_t earlier = 0; earlier < f; earlier++)
    if (result->flags[earlier].row == result->flags[f].row) return false;
  return true;
}

static void add_statistics(cJSON *entry, const struct cns_simulation_result *result, size_t hospital) {
  cJSON *list = cJSON_AddArrayToObject(entry, "statistics");
  for (size_t f = 0; f < result->flag_count; f++)
    if (result->flags[f].row == hospital)
      cJSON_AddItemToArray(list, cJSON_CreateString(cns_detect_statistic_name(result->flags[f].statistic)));
}

/* One entry a hospital, by its strongest flag. */
static void add_flagged(cJSON *json, const struct cns_simulation_result *result) {
  cJSON *list = cJSON_AddArrayToObject(json, "flagged");
  for (size_t f = 0; list && f < result->flag_count; f++) {
    const struct cns_detect_flag *flag = &result->flags[f];
    if (!is_first_flag(result, f)) continue;
    cJSON *entry = add_entry(list, flag->row, cns_detect_statistic_name(flag->statistic));
    cJSON_AddNumberToObject(entry, "value", flag->value);
    cJSON_AddNumberToObject(entry, "threshold", flag->threshold);
    cJSON_AddNumberToObject(entry, "median", flag->median);
    cJSON_AddNumberToObject(entry, "mad", flag->mad);
    cJSON_AddNumberToObject(entry, "rate", flag->rate);
    cJSON_AddNumberToObject(entry, "strength", flag->strength);
    cJSON_AddStringToObject(entry, "text", flag->text);
    add_statistics(entry, result, flag->row);
  }
}

static bool is_excluded(uint8_t outcome) {
  return outcome == CNS_OUT_DISQUALIFIED || outcome == CNS_OUT_FLAGGED || outcome == CNS_OUT_QUARANTINED ||
         outcome == CNS_OUT_CONVICTED || outcome == CNS_OUT_FORFEITED;
}

static void add_excluded(cJSON *json, const struct cns_simulation_options *options,
                         const struct cns_simulation_result *result) {
  static const char *const reasons[CNS_OUTCOME_COUNT] = {
      [CNS_OUT_DISQUALIFIED] = "disqualified", [CNS_OUT_FLAGGED] = "flagged",
      [CNS_OUT_QUARANTINED] = "quarantined",   [CNS_OUT_CONVICTED] = "convicted",
      [CNS_OUT_FORFEITED] = "forfeited",
  };
  cJSON *list = cJSON_AddArrayToObject(json, "excluded");
  for (size_t k = 0; list && k < options->hospitals; k++) {
    if (result->quarantined[k] != 0) {
      cJSON *entry = add_entry(list, k, "in quarantine");
      cJSON_AddNumberToObject(entry, "since_round", (double)result->quarantined[k]);
      cJSON_AddStringToObject(entry, "text", "kept out of the cohort until it is released");
    } else if (is_excluded(result->outcome[k])) {
      cJSON *entry = add_entry(list, k, reasons[result->outcome[k]]);
      cJSON_AddStringToObject(entry, "text", cns_outcome_text(result->outcome[k]));
    }
  }
}

static void add_blamed(cJSON *json, const struct cns_simulation_options *options,
                       const struct cns_simulation_result *result) {
  char name[128];
  cJSON *list = cJSON_AddArrayToObject(json, "blamed");
  for (size_t b = 0; list && b < result->blame_count; b++) {
    const struct cns_simulation_blame *blame = &result->blames[b];
    cJSON *entry = add_entry(list, blame->hospital, cns_blame_name(blame->blame));
    cJSON_AddStringToObject(entry, "phase", cns_phase_name(blame->phase));
    cJSON_AddBoolToObject(entry, "within_bound", blame->within_bound);
    cJSON_AddBoolToObject(entry, "evidence_verifies", blame->verifies);
    cJSON_AddNumberToObject(entry, "evidence_bytes", (double)blame->evidence_bytes);
    if (!options->evidence) continue;
    cns_simulation_evidence_name(result, blame, name);
    cJSON_AddStringToObject(entry, "evidence_file", name);
  }
}

static void add_found(cJSON *json, const struct cns_simulation_options *options,
                      const struct cns_simulation_result *result) {
  add_flagged(json, result);
  add_excluded(json, options, result);
  add_blamed(json, options, result);
}

static double peak_rss_mib(void) {
  struct rusage usage;
  if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
  return (double)usage.ru_maxrss / 1024.0;
}

static void add_costs(cJSON *json, const struct cns_simulation_options *options,
                      const struct cns_simulation_result *result) {
  enum cns_phase phases[CNS_PHASE_COUNT];
  size_t count = cns_simulation_phases(options->audit, phases);
  cJSON *phase_ms = cJSON_AddObjectToObject(json, "phase_ms");
  for (size_t p = 0; p < count; p++)
    cJSON_AddNumberToObject(phase_ms, cns_phase_name(phases[p]), result->phase_ms[phases[p]]);
  cJSON_AddNumberToObject(phase_ms, "result", result->phase_ms[CNS_PHASE_RESULT]);
  cJSON_AddNumberToObject(json, "client_mask_ms_median", result->client_mask_ms_median);
  cJSON_AddNumberToObject(json, "server_unmask_ms", result->server_unmask_ms);
  if (options->audit) {
    cJSON_AddNumberToObject(json, "client_audit_ms_median", result->client_audit_ms_median);
    cJSON_AddNumberToObject(json, "server_sketch_ms", result->server_sketch_ms);
    cJSON_AddNumberToObject(json, "audit_bytes_up_per_hospital", result->audit_bytes_up_per_hospital);
  }
  cJSON_AddNumberToObject(json, "bytes_up_per_hospital", result->bytes_up_per_hospital);
  cJSON_AddNumberToObject(json, "bytes_down_per_hospital", result->bytes_down_per_hospital);
  cJSON_AddNumberToObject(json, "peak_rss_mib", peak_rss_mib());
}

static void add_audit(cJSON *json, const struct cns_simulation_options *options,
                      const struct cns_simulation *simulation, const struct cns_simulation_result *result) {
  size_t widths[2], layers = cns_simulation_hidden(simulation, widths);
  cJSON_AddStringToObject(json, "audit", options->audit ? "open" : "none");
  if (options->audit) {
    cJSON_AddNumberToObject(json, "sketch", options->sketch);
    cJSON_AddBoolToObject(json, "sketches_exact", result->sketches_exact);
    cJSON_AddNumberToObject(json, "influence", result->influence);
    cJSON_AddStringToObject(json, "effective", result->effective);
    cJSON_AddStringToObject(json, "claim", result->claim);
    cJSON_AddNumberToObject(json, "attack_influence", result->attack_influence);
  }
  if (!result->has_model) return;
  cJSON *model = cJSON_AddObjectToObject(json, "model");
  cJSON *hidden = cJSON_AddArrayToObject(model, "hidden");
  for (size_t l = 0; l < layers; l++)
    cJSON_AddItemToArray(hidden, cJSON_CreateNumber((double)widths[l]));
  cJSON_AddNumberToObject(model, "loss", result->model_loss);
  cJSON_AddNumberToObject(model, "auc", result->model_auc);
}

cJSON *cns_simulation_round_json(const struct cns_simulation_options *options,
                                 const struct cns_simulation_result *result) {
  cJSON *json = cJSON_CreateObject();
  cJSON_AddNumberToObject(json, "round", (double)result->round);
  cJSON_AddNumberToObject(json, "attempt", result->attempt);
  cJSON_AddBoolToObject(json, "completed", result->completed);
  cJSON_AddBoolToObject(json, "exact", result->exact);
  cJSON_AddNumberToObject(json, "included_count", (double)result->included_count);
  if (options->audit) cJSON_AddBoolToObject(json, "sketches_exact", result->sketches_exact);
  if (result->has_model) cJSON_AddNumberToObject(json, "auc", result->model_auc);
  add_found(json, options, result);
  return json;
}

int cns_simulation_print_json(const struct cns_simulation_options *options,
                              const struct cns_simulation *simulation,
                              const struct cns_simulation_result *result, cJSON *rounds) {
  cJSON *json = cJSON_CreateObject();
  cJSON_AddNumberToObject(json, "hospitals", (double)options->hospitals);
  cJSON_AddNumberToObject(json, "dim", (double)result->dim);
  add_indices(json, "included", result->included, options->hospitals);
  add_missing(json, options, result);
  cJSON_AddBoolToObject(json, "exact", result->exact);
  cJSON_AddBoolToObject(json, "completed", result->completed);
  cJSON_AddStringToObject(json, "reason", result->reason);
  add_indices(json, "attackers", result->malicious, options->hospitals);
  add_found(json, options, result);
  add_costs(json, options, result);
  cJSON_AddNumberToObject(json, "round", (double)result->round);
  cJSON_AddNumberToObject(json, "attempt", result->attempt);
  cJSON_AddNumberToObject(json, "cohort", (double)result->cohort_count);
  cJSON_AddNumberToObject(json, "threshold", result->threshold);
  cJSON_AddNumberToObject(json, "colluders", result->colluders);
  cJSON_AddNumberToObject(json, "clip_norm", result->clip_norm);
  cJSON_AddNumberToObject(json, "model_bytes", (double)result->model_bytes);
  cJSON_AddNumberToObject(json, "max_error", result->max_error);
  add_audit(json, options, simulation, result);
  cJSON_AddNumberToObject(json, "seed", (double)options->seed);
  cJSON_AddItemToObject(json, "rounds", rounds);
  return cns_cli_print_json(json);
}
