/* SPDX-License-Identifier: Apache-2.0 */
/* The demo with a privacy budget: DP-SGD with the patient as the unit. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/demo.h"
#include "dp/dp.h"
#include "model/central.h"
#include "model/modelfile.h"
#include "model/predict.h"

/* A little under the budget's delta, part of which goes to the sampler's error. */
#define DELTA_SHARE (1 - 1e-9)

static bool set(cJSON *object, const char *name, double value) {
  cJSON_DeleteItemFromObjectCaseSensitive(object, name);
  return cJSON_AddNumberToObject(object, name, value) != NULL;
}

static bool adapt_clip(cJSON *privacy) {
  cJSON *adaptive = cJSON_AddObjectToObject(privacy, "adaptive_clip");
  return adaptive && set(adaptive, "quantile", CNS_DEMO_ADAPTIVE_QUANTILE) &&
         set(adaptive, "rate", CNS_DEMO_ADAPTIVE_RATE) && set(adaptive, "share", CNS_DEMO_ADAPTIVE_SHARE) &&
         set(adaptive, "min", CNS_DEMO_ADAPTIVE_MIN) && set(adaptive, "max", CNS_DEMO_ADAPTIVE_MAX);
}

static bool add_metrics(cJSON *privacy) {
  cJSON *metrics = cJSON_AddObjectToObject(privacy, "metrics");
  return metrics && set(metrics, "share", CNS_DEMO_METRICS_SHARE) &&
         set(metrics, "loss_max", CNS_DEMO_METRICS_LOSS_MAX);
}

int cns_demo_make_private(const struct cns_demo_options *options, cJSON *study, struct cns_problem *problem) {
  cJSON *training = cJSON_GetObjectItemCaseSensitive(study, "training");
  double rounds = options->rounds ? (double)options->rounds : CNS_DEMO_ROUNDS_PRIVATE;
  struct cns_dp_calibration found;
  int r = cns_dp_calibrate(options->epsilon, options->delta * DELTA_SHARE, CNS_DEMO_RATE, (uint64_t)rounds,
                           NULL, &found, problem);
  if (r) return r;
  cJSON_DeleteItemFromObjectCaseSensitive(study, "privacy");
  cJSON_DeleteItemFromObjectCaseSensitive(study, "weighting");
  cJSON *privacy = cJSON_AddObjectToObject(study, "privacy");
  bool good = cJSON_IsObject(training) && privacy && set(training, "rounds", rounds) &&
              set(training, "local_epochs", 1) && set(training, "momentum", 0) &&
              set(training, "learning_rate", fmin(1.5, CNS_DEMO_LEARNING_RATE / found.noise_multiplier)) &&
              set(training, "clip_norm", CNS_DEMO_CLIP) && set(study, "validation_share", 0) &&
              cJSON_AddStringToObject(study, "weighting", "patients") &&
              set(privacy, "noise_multiplier", found.noise_multiplier) &&
              set(privacy, "sampling_rate", CNS_DEMO_RATE) &&
              (!options->adaptive_clip || adapt_clip(privacy)) && (!options->metrics || add_metrics(privacy));
  return good ? 0 : cns_problem_set(problem, CNS_ERR_FORMAT, "the study can't be turned into a private one");
}

/* One hospital may be missing, and the noise must suffice all the same. */
struct cns_privacy_choice cns_demo_privacy(const struct cns_demo_options *options) {
  return (struct cns_privacy_choice){.epsilon = options->epsilon,
                                     .delta = options->delta,
                                     .unit = CNS_UNIT_PATIENT,
                                     .placement = CNS_NOISE_DISTRIBUTED,
                                     .minimum_included = (uint16_t)(options->hospitals - 1)};
}

static int train_and_test(const struct cns_demo_parts *parts, const char *folder,
                          const struct cns_table *const *tables, size_t count, double factor,
                          const atomic_bool *cancel, float *params, double *ret_auc,
                          struct cns_problem *problem) {
  struct cns_metrics metrics;
  int r = cns_model_initial(&parts->plan, folder, params, problem);
  if (!r)
    r = cns_central_train(&parts->plan, tables, count, factor, cns_rng_system(), cancel, params, problem);
  if (!r) r = cns_model_evaluate(&parts->plan, params, &parts->test, &metrics, problem);
  if (!r) *ret_auc = metrics.has_auc ? metrics.auc : NAN;
  return r;
}

int cns_demo_compare_private(const struct cns_demo_parts *parts, const char *folder,
                             const atomic_bool *cancel, struct cns_demo_private_aucs *ret_aucs,
                             double *ret_alone, struct cns_problem *problem) {
  size_t n = parts->hospital_count;
  const struct cns_table **tables = calloc(n, sizeof *tables);
  float *params = calloc(parts->plan.dim, sizeof *params);
  int r = tables && params ? 0 : cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  for (size_t h = 0; h < n && !r; h++) {
    tables[h] = &parts->hospitals[h].train;
    r = train_and_test(parts, folder, &tables[h], 1, 1, cancel, params, &ret_alone[h], problem);
  }
  if (!r) r = train_and_test(parts, folder, tables, n, 1, cancel, params, &ret_aucs->central, problem);
  if (!r)
    r = train_and_test(parts, folder, tables, n, sqrt((double)n), cancel, params, &ret_aucs->local, problem);
  free(tables);
  free(params);
  return r;
}

void cns_demo_report_budget(const struct cns_demo_options *options, const struct cns_demo_parts *parts) {
  const struct cns_plan *plan = &parts->plan;
  printf(
      "Privacy budget: epsilon %g at delta %g for each patient. A round is one step of DP-SGD over all\n"
      "hospitals' patients: each patient takes part with probability %g, unseen by anybody; their\n"
      "gradients are clipped to length %g one by one; each hospital adds its share of noise of %.3f times\n"
      "that length, so that %lld of the %zu hospitals suffice for all of it; and the masks hide each\n"
      "hospital's sum as ever. Every hospital counts in a ledger of its own and refuses a round beyond.\n",
      options->epsilon, options->delta, plan->sampling_rate, plan->clip_norm, plan->noise_multiplier,
      (long long)options->hospitals - 1, parts->hospital_count);
  if (plan->adaptive_clip.share > 0)
    printf(
        "That length follows the median of the gradients' lengths, from %g on: which of them are within it\n"
        "is one number more in the same sum, under the same masks and %g of the same noise's worth.\n",
        plan->clip_norm, plan->adaptive_clip.share);
  if (plan->noised_metrics.share > 0)
    printf("Loss (at most %g of a patient) and accuracy on the patients that train are two numbers more in\n"
           "that sum, for %g of the noise's worth; their standard errors are of the noise alone.\n",
           plan->noised_metrics.loss_max, plan->noised_metrics.share);
  fflush(stdout);
}
