/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/simulation_print.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>

#include "cli/cli.h"
#include "protocol/agree.h"

#define MIB (1024.0 * 1024.0)

size_t cns_simulation_phases(bool audit, enum cns_phase ret_phases[static CNS_PHASE_COUNT]) {
  static const enum cns_phase all[] = {CNS_PHASE_KEYS,   CNS_PHASE_SHARES, CNS_PHASE_READY,
                                       CNS_PHASE_UPLOAD, CNS_PHASE_AUDIT,  CNS_PHASE_DISPUTE,
                                       CNS_PHASE_AGREE,  CNS_PHASE_UNMASK, CNS_PHASE_FORFEIT};
  size_t count = 0;
  for (size_t p = 0; p < sizeof all / sizeof all[0]; p++) {
    bool of_audit = all[p] == CNS_PHASE_AUDIT || all[p] == CNS_PHASE_DISPUTE || all[p] == CNS_PHASE_FORFEIT;
    if (audit || !of_audit) ret_phases[count++] = all[p];
  }
  return count;
}

static void print_flags(const struct cns_simulation_result *result) {
  for (size_t f = 0; f < result->flag_count; f++)
    printf("  flagged   %s\n", result->flags[f].text);
}

static void print_excluded(const struct cns_simulation_options *options,
                           const struct cns_simulation_result *result) {
  for (size_t k = 0; k < options->hospitals; k++) {
    uint8_t outcome = result->outcome[k];
    if (result->quarantined[k] != 0)
      printf("  excluded  hospital %zu: in quarantine since round %" PRIu64 "\n", k + 1,
             result->quarantined[k]);
    else if (outcome == CNS_OUT_DISQUALIFIED || outcome == CNS_OUT_FLAGGED ||
             outcome == CNS_OUT_QUARANTINED || outcome == CNS_OUT_CONVICTED || outcome == CNS_OUT_FORFEITED)
      printf("  excluded  hospital %zu: %s\n", k + 1, cns_outcome_text(outcome));
  }
}

static void print_blames(const struct cns_simulation_options *options,
                         const struct cns_simulation_result *result) {
  char name[128];
  for (size_t b = 0; b < result->blame_count; b++) {
    const struct cns_simulation_blame *blame = &result->blames[b];
    printf("  blamed    hospital %zu: %s in phase %s%s; its evidence (%zu bytes) %s\n", blame->hospital + 1,
           cns_blame_name(blame->blame), cns_phase_name(blame->phase),
           blame->within_bound ? ", which a faulty machine explains" : "", blame->evidence_bytes,
           blame->verifies ? "verifies" : "DOES NOT VERIFY");
    if (!options->evidence) continue;
    cns_simulation_evidence_name(result, blame, name);
    printf("            consilium evidence verify %s/%s --roster %s\n", options->evidence, name,
           options->evidence);
  }
}

void cns_simulation_print_round(const struct cns_simulation_options *options,
                                const struct cns_simulation_result *result) {
  double total_ms = 0;
  for (size_t p = 0; p < CNS_PHASE_COUNT; p++)
    total_ms += result->phase_ms[p];
  printf("round %" PRIu64 " attempt %u: %zu of %zu included, %s, %.2f s", result->round, result->attempt,
         result->included_count, options->hospitals,
         !result->completed ? "no result"
         : result->exact    ? "exact"
                            : "NOT exact",
         total_ms / 1e3);
  if (result->has_model) printf(", model AUC %.4f", result->model_auc);
  printf("\n");
  print_flags(result);
  print_excluded(options, result);
  print_blames(options, result);
}

static void print_phases(const struct cns_simulation_options *options,
                         const struct cns_simulation_result *result) {
  enum cns_phase phases[CNS_PHASE_COUNT];
  size_t count = cns_simulation_phases(options->audit, phases);
  printf("\n  %-8s %12s   missing\n", "phase", "ms");
  for (size_t p = 0; p < count; p++) {
    size_t missing = 0;
    for (size_t k = 0; k < options->hospitals; k++)
      missing += result->missing[k] == phases[p];
    printf("  %-8s %12.1f   %zu\n", cns_phase_name(phases[p]), result->phase_ms[phases[p]], missing);
  }
  printf("  %-8s %12.1f\n\n", "result", result->phase_ms[CNS_PHASE_RESULT]);
}

static double peak_rss_mib(void) {
  struct rusage usage;
  if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
  return (double)usage.ru_maxrss / 1024.0;
}

static void print_attackers(const struct cns_simulation_options *options,
                            const struct cns_simulation_result *result) {
  const char *separator = "";
  if (options->attack_count == 0) return;
  printf("  %-34s ", "attackers");
  for (size_t k = 0; k < options->hospitals; k++) {
    if (!result->malicious[k]) continue;
    printf("%s%zu", separator, k + 1);
    separator = ", ";
  }
  printf("\n");
}

static void print_audit(const struct cns_simulation_options *options,
                        const struct cns_simulation_result *result) {
  if (!options->audit) return;
  printf("  %-34s %.1f ms (median)\n", "sketching one hospital's masks", result->client_audit_ms_median);
  printf("  %-34s %.1f ms\n", "sketching all uploads", result->server_sketch_ms);
  printf("  %-34s %.1f KiB\n", "sent by a hospital for the audit",
         result->audit_bytes_up_per_hospital / 1024);
  printf("  %-34s %s\n", "sketches under the masks are exact",
         result->sketches_exact ? "yes, bit for bit" : "NO");
  if (options->attack_count > 0)
    printf("  %-34s %.2f of their bounds together\n", "attackers move the sum by", result->attack_influence);
}

static void print_model(const struct cns_simulation *simulation, const struct cns_simulation_result *result) {
  size_t widths[2], layers = cns_simulation_hidden(simulation, widths);
  if (layers == 0) return;
  printf("  %-34s %" PRIu64 " parameters, hidden layers of %zu", "model", result->dim, widths[0]);
  if (layers > 1) printf(" and %zu", widths[1]);
  printf("\n  %-34s %.4g\n", "clip norm", result->clip_norm);
  if (result->has_model)
    printf("  %-34s %.4f, AUC %.4f (over all hospitals' rows)\n", "loss", result->model_loss,
           result->model_auc);
}

int cns_simulation_print_table(const struct cns_simulation_options *options,
                               const struct cns_simulation *simulation,
                               const struct cns_simulation_result *result) {
  print_phases(options, result);
  print_model(simulation, result);
  print_attackers(options, result);
  printf("  %-34s %u of %zu (%u colluders tolerated)\n", "threshold", result->threshold, result->cohort_count,
         result->colluders);
  printf("  %-34s %.1f ms (median)\n", "masking one update", result->client_mask_ms_median);
  print_audit(options, result);
  if (result->completed) {
    printf("  %-34s %.1f ms\n", "unmasking the sum", result->server_unmask_ms);
    printf("  %-34s %s\n", "sum equals the plain sum", result->exact ? "yes, all coordinates" : "NO");
    printf("  %-34s %.3g\n", "largest error of the mean", result->max_error);
  }
  printf("  %-34s %.3f MiB\n", "sent by a hospital", result->bytes_up_per_hospital / MIB);
  printf("  %-34s %.3f MiB, and %.3f MiB of model\n", "received by a hospital",
         result->bytes_down_per_hospital / MIB, (double)result->model_bytes / MIB);
  printf("  %-34s %.1f MiB, all hospitals and the coordinator\n", "peak memory", peak_rss_mib());
  if (result->effective[0]) printf("\n  %s\n", result->effective);
  if (result->claim[0]) printf("\n  %s\n", result->claim);
  if (!result->completed) printf("\n  %s\n", result->reason);
  return cns_cli_finish(CNS_EXIT_OK);
}
