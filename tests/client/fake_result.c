/* SPDX-License-Identifier: Apache-2.0 */
/* The fake coordinator's results: the sum, the model and the manifest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dp/quantize.h"
#include "model/fedavg.h"
#include "model/metrics.h"
#include "tests/client/fake_round.h"

static uint32_t *unmasked_sum(struct fake *fake, const struct cns_agreement *agreement) {
  const struct cns_mask_term *terms;
  size_t count;
  uint64_t words = cns_descriptor_words(&fake->descriptor);
  uint32_t *sum = calloc(words, sizeof *sum);
  assert_non_null(sum);
  for (size_t k = 0; k < fake->n; k++)
    for (uint64_t w = 0; w < words && agreement->outcomes[k] == CNS_INCLUDED; w++) {
      uint32_t word;
      memcpy(&word, fake->peer[k].y + 4 * w, 4); /* tests run on little-endian machines */
      sum[w] += word;
    }
  assert_int_equal(cns_coordinator_unmasking(fake->machine, &terms, &count), 0);
  assert_int_equal(cns_mask_apply(sum, words, 0, terms, count), 0);
  return sum;
}

/* Mean of the included, in the range of an honest sum. */
static void mean_of(struct fake *fake, const uint32_t *sum, const uint32_t *included, size_t count,
                    float *mean) {
  struct cns_problem problem = {0};
  const struct cns_descriptor *d = &fake->descriptor;
  uint32_t weights[CNS_HOSPITALS_MAX];
  uint64_t clipped;
  struct cns_mechanism mechanism;
  struct cns_mechanism_numbers numbers;
  struct cns_quantize_range range;
  cns_descriptor_mechanism(d, weights, &mechanism);
  assert_int_equal(cns_mechanism_compute(&mechanism, &numbers, &problem), 0);
  assert_int_equal(cns_mechanism_range(&mechanism, &numbers, included, count, &range), 0);
  if (cns_dequantize_sum(sum, cns_plan_dim(&fake->plan), &range,
                         cns_mechanism_divisor(&mechanism, included, count), d->scale_log2, mean, &clipped,
                         &problem))
    fail_msg("%s", problem.text);
  assert_int_equal(clipped, 0);
  if (d->unit == CNS_UNIT_HOSPITAL) return;
  for (uint64_t i = 0; i < cns_plan_dim(&fake->plan); i++)
    mean[i] = (float)(-fake->plan.learning_rate * (double)mean[i]);
}

static void step_model(struct fake *fake, const struct cns_agreement *agreement) {
  struct cns_problem problem = {0};
  const struct cns_descriptor *d = &fake->descriptor;
  uint32_t *sum = unmasked_sum(fake, agreement), weights[FAKE_MAX];
  float *mean = malloc(d->dim * sizeof *mean);
  size_t included = 0;
  struct cns_metrics metrics = {0};
  for (size_t k = 0; k < fake->n; k++)
    if (agreement->outcomes[k] == CNS_INCLUDED) weights[included++] = d->members[k].weight;
  mean_of(fake, sum, weights, included, mean);
  if (d->metrics_dim &&
      cns_metrics_evaluate(fake->plan.class_count, sum + d->dim, included, &metrics, &problem))
    fail_msg("%s", problem.text);
  fake->metrics = (struct cns_manifest_metrics){d->metrics_dim > 0, metrics.has_auc, metrics.loss,
                                                metrics.auc, metrics.count};
  assert_int_equal(cns_fedavg_step(fake->params, mean, cns_plan_dim(&fake->plan), fake->params, &problem), 0);
  fake_set_model(fake);
  free(fake->sum);
  fake->sum = sum;
  free(mean);
}

/* Noised metrics, from the last two numbers of the update. */
static void estimate_metrics(const struct fake *fake, struct cns_manifest *manifest) {
  uint32_t weights[CNS_HOSPITALS_MAX];
  struct cns_mechanism mechanism;
  struct cns_mechanism_numbers numbers;
  const uint32_t *released = fake->sum + fake->descriptor.dim - 2;
  if (fake->plan.noised_metrics.share == 0) return;
  assert_int_equal(cns_descriptor_compute(&fake->descriptor, weights, &mechanism, &numbers, NULL), 0);
  manifest->noised.sums = (struct cns_noised_metrics_sums){
      .loss = (int32_t)released[0],
      .right = (int32_t)released[1],
      .unit = numbers.metric,
      .sigma = cns_mechanism_sum_sigma(&mechanism, &numbers, cns_manifest_included(manifest))};
  cns_manifest_estimate(manifest, fake->plan.noised_metrics.loss_max, &manifest->noised.estimate);
}

/* An adaptive clip norm, from the number of the update that follows the gradients'. */
static void adapt_clip(struct fake *fake, struct cns_manifest *manifest) {
  struct cns_mechanism_numbers numbers;
  const struct cns_adaptive_clip *adaptive = &fake->plan.adaptive_clip;
  if (adaptive->share == 0) return;
  assert_int_equal(cns_descriptor_numbers(&fake->descriptor, &numbers, NULL), 0);
  manifest->clip = (struct cns_manifest_clip){.norm = fake->clip_norm,
                                              .released = (int32_t)fake->sum[cns_plan_dim(&fake->plan)],
                                              .unit = numbers.indicator};
  manifest->clip.next =
      cns_adaptive_clip_next(adaptive, manifest->clip.norm, cns_manifest_fraction(manifest));
  fake->clip_norm = manifest->clip.next;
}

void fake_complete(struct fake *fake) {
  const struct cns_agreement *agreement = cns_coordinator_outcomes(fake->machine);
  struct cns_manifest manifest;
  memcpy(fake->outcomes, agreement->outcomes, fake->n);
  step_model(fake, agreement);
  assert_int_equal(cns_manifest_of_round(cns_coordinator_round(fake->machine), agreement, &manifest), 0);
  manifest.model = fake->model_digest;
  manifest.metrics = fake->metrics;
  manifest.privacy = (struct cns_manifest_privacy){
      .unit = (enum cns_privacy_unit)fake->descriptor.unit,
      .placement = (enum cns_noise_placement)fake->descriptor.noise_placement,
      .noise_multiplier = fake->descriptor.noise_multiplier,
      .sampling_rate = fake->descriptor.sampling_rate,
      .epsilon = fake->descriptor.noise_placement ? 1 : 0, /* the hospital's own ledger is what it goes by */
      .delta = fake->kit.policy.privacy.delta};
  adapt_clip(fake, &manifest);
  estimate_metrics(fake, &manifest);
  if (fake->on_manifest) fake->on_manifest(fake, &manifest);
  free(fake->manifest);
  fake->manifest = NULL;
  assert_int_equal(cns_manifest_make(&manifest, fake->kit.identity, &fake->manifest, &fake->manifest_len), 0);
  cns_manifest_deinit(&manifest);
  fake->model_round++;
  fake->attempt = 0;
  fake->machine = cns_coordinator_free(fake->machine);
  for (size_t k = 0; k < fake->n; k++)
    if (fake->peer[k].link) fake_send_manifest(fake, k, fake->manifest, fake->manifest_len);
  fake->completed++;
}
