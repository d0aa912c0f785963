/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/manifest.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void cns_manifest_deinit(struct cns_manifest *manifest) {
  free(manifest->members);
  free(manifest->outcomes);
  manifest->members = NULL;
  manifest->outcomes = NULL;
  manifest->member_count = 0;
}

static int allocate(struct cns_manifest *manifest, size_t count) {
  manifest->members = calloc(count ? count : 1, sizeof *manifest->members);
  manifest->outcomes = calloc(count ? count : 1, 1);
  manifest->member_count = (uint16_t)count;
  if (manifest->members && manifest->outcomes) return 0;
  cns_manifest_deinit(manifest);
  return CNS_ERR_MEMORY;
}

int cns_manifest_of_round(const struct cns_round *round, const struct cns_agreement *outcomes,
                          struct cns_manifest *ret_manifest) {
  const struct cns_descriptor *d = &round->descriptor;
  struct cns_manifest manifest = {
      .study = d->study,
      .plan = d->plan,
      .roster = d->roster,
      .policy = d->policy,
      .round = d->round,
      .attempt = d->attempt,
      .descriptor = round->digest,
      .transcript =
          round->transcript[round->closed == CNS_PHASE_FORFEIT ? CNS_PHASE_FORFEIT : CNS_PHASE_UNMASK],
      .parent = d->parent,
  };
  int r = allocate(&manifest, d->member_count);
  if (r < 0) return r;
  memcpy(manifest.members, d->members, d->member_count * sizeof *d->members);
  memcpy(manifest.outcomes, outcomes->outcomes, d->member_count);
  *ret_manifest = manifest;
  return 0;
}

size_t cns_manifest_included(const struct cns_manifest *manifest) {
  size_t included = 0;
  for (size_t k = 0; k < manifest->member_count; k++)
    included += manifest->outcomes[k] == CNS_INCLUDED;
  return included;
}

/* The public number of patients in the sum, on average. */
static double expected_patients(const struct cns_manifest *manifest) {
  double patients = 0; /* exact: at most 1000 * 2^20 */
  for (size_t k = 0; k < manifest->member_count; k++)
    if (manifest->outcomes[k] == CNS_INCLUDED) patients += manifest->members[k].weight;
  return manifest->privacy.sampling_rate * patients;
}

double cns_manifest_fraction(const struct cns_manifest *manifest) {
  return cns_adaptive_clip_fraction(manifest->clip.released, manifest->clip.unit,
                                    expected_patients(manifest));
}

void cns_manifest_estimate(const struct cns_manifest *manifest, double loss_max,
                           struct cns_noised_metrics_estimate *ret_estimate) {
  cns_noised_metrics_estimate(loss_max, &manifest->noised.sums, expected_patients(manifest), ret_estimate);
}

int cns_manifest_check_noised(const struct cns_manifest *manifest, const struct cns_noised_metrics *noised,
                              struct cns_problem *problem) {
  const struct cns_noised_metrics_estimate *said = &manifest->noised.estimate;
  struct cns_noised_metrics_estimate follows;
  bool has = manifest->noised.sums.unit > 0;
  if (has != (noised->share > 0))
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "the manifest of round %" PRIu64
                           " is %s noised metrics, and the study's rounds are %s",
                           manifest->round, has ? "with" : "without", has ? "without" : "with");
  if (!has) return 0;
  cns_manifest_estimate(manifest, noised->loss_max, &follows);
  if (cns_noised_metrics_agree(said, &follows)) return 0;
  return cns_problem_set(
      problem, CNS_ERR_REFUSED,
      "the manifest of round %" PRIu64
      " has a noised loss of %.10g +- %.3g and an accuracy of %.10g +- %.3g, but from what it says itself "
      "follow %.10g +- %.3g and %.10g +- %.3g",
      manifest->round, said->loss, said->loss_error, said->accuracy, said->accuracy_error, follows.loss,
      follows.loss_error, follows.accuracy, follows.accuracy_error);
}

int cns_manifest_check_clip(const struct cns_manifest *manifest, const struct cns_adaptive_clip *adaptive,
                            struct cns_problem *problem) {
  const struct cns_manifest_clip *clip = &manifest->clip;
  if ((clip->norm > 0) != (adaptive->share > 0))
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "the manifest of round %" PRIu64 " is of %s clip norm, and the study's is %s",
                           manifest->round, clip->norm > 0 ? "an adaptive" : "a fixed",
                           clip->norm > 0 ? "fixed" : "adaptive");
  if (adaptive->share == 0) return 0;
  if (clip->norm < adaptive->min || clip->norm > adaptive->max)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "the manifest of round %" PRIu64
                           " has a clip norm of %.10g, and the study allows %g to %g",
                           manifest->round, clip->norm, adaptive->min, adaptive->max);
  double fraction = cns_manifest_fraction(manifest);
  if (cns_adaptive_clip_is_next(adaptive, clip->norm, fraction, clip->next)) return 0;
  return cns_problem_set(problem, CNS_ERR_REFUSED,
                         "the manifest of round %" PRIu64
                         " announces a clip norm of %.10g, but from what it says itself follows %.10g",
                         manifest->round, clip->next, cns_adaptive_clip_next(adaptive, clip->norm, fraction));
}

/* Name and place of each digest in the document. */
struct digest_field {
  const char *name;
  size_t offset;
};
#define DIGEST(field)                                                                                        \
  { #field, offsetof(struct cns_manifest, field) }
static const struct digest_field digest_fields[] = {
    DIGEST(study),      DIGEST(plan),   DIGEST(roster), DIGEST(policy), DIGEST(descriptor),
    DIGEST(transcript), DIGEST(parent), DIGEST(model),  DIGEST(sum),    DIGEST(journal_head),
};
#define DIGEST_FIELDS (sizeof digest_fields / sizeof digest_fields[0])

static bool add_hospitals(cJSON *json, const struct cns_manifest *manifest) {
  cJSON *hospitals = cJSON_AddArrayToObject(json, "hospitals");
  for (size_t k = 0; hospitals && k < manifest->member_count; k++) {
    cJSON *one = cJSON_CreateObject();
    if (!one || !cJSON_AddItemToArray(hospitals, one)) {
      cJSON_Delete(one);
      return false;
    }
    if (!cJSON_AddNumberToObject(one, "hospital", manifest->members[k].index) ||
        !cJSON_AddNumberToObject(one, "weight", manifest->members[k].weight) ||
        !cJSON_AddStringToObject(one, "outcome", cns_outcome_text(manifest->outcomes[k])))
      return false;
  }
  return hospitals != NULL;
}

static bool add_noised(cJSON *json, const struct cns_manifest_noised *noised) {
  const struct cns_noised_metrics_estimate *e = &noised->estimate;
  cJSON *object = cJSON_AddObjectToObject(json, "metrics");
  if (!object || !cJSON_AddNumberToObject(object, "loss", e->loss) ||
      !cJSON_AddNumberToObject(object, "loss_error", e->loss_error) ||
      !cJSON_AddNumberToObject(object, "accuracy", e->accuracy) ||
      !cJSON_AddNumberToObject(object, "accuracy_error", e->accuracy_error))
    return false;
  cJSON *released = cJSON_AddObjectToObject(object, "released");
  return released && cJSON_AddNumberToObject(released, "loss", (double)noised->sums.loss) &&
         cJSON_AddNumberToObject(released, "right", (double)noised->sums.right) &&
         cJSON_AddNumberToObject(released, "unit", (double)noised->sums.unit) &&
         cJSON_AddNumberToObject(released, "sigma", noised->sums.sigma);
}

static bool add_metrics(cJSON *json, const struct cns_manifest_metrics *metrics) {
  if (!metrics->known) return cJSON_AddNullToObject(json, "metrics") != NULL;
  cJSON *object = cJSON_AddObjectToObject(json, "metrics");
  if (!object || !cJSON_AddNumberToObject(object, "loss", metrics->loss) ||
      !cJSON_AddNumberToObject(object, "rows", (double)metrics->rows))
    return false;
  return metrics->has_auc ? cJSON_AddNumberToObject(object, "auc", metrics->auc) != NULL
                          : cJSON_AddNullToObject(object, "auc") != NULL;
}

static bool add_privacy(cJSON *json, const struct cns_manifest_privacy *p) {
  cJSON *privacy = cJSON_AddObjectToObject(json, "privacy");
  bool noisy = p->placement != CNS_NOISE_NONE;
  if (!privacy || !cJSON_AddStringToObject(privacy, "unit", cns_privacy_unit_name(p->unit)) ||
      !cJSON_AddStringToObject(privacy, "noise", cns_noise_placement_name(p->placement)))
    return false;
  if (!(noisy && isfinite(p->epsilon) ? cJSON_AddNumberToObject(privacy, "epsilon", p->epsilon)
                                      : cJSON_AddNullToObject(privacy, "epsilon")))
    return false;
  return !noisy || (cJSON_AddNumberToObject(privacy, "noise_multiplier", p->noise_multiplier) &&
                    cJSON_AddNumberToObject(privacy, "sampling_rate", p->sampling_rate) &&
                    cJSON_AddNumberToObject(privacy, "delta", p->delta));
}

static bool add_clip(cJSON *json, const struct cns_manifest_clip *clip) {
  if (clip->norm == 0) return true;
  cJSON *object = cJSON_AddObjectToObject(json, "clip");
  return object && cJSON_AddNumberToObject(object, "norm", clip->norm) &&
         cJSON_AddNumberToObject(object, "released", (double)clip->released) &&
         cJSON_AddNumberToObject(object, "unit", (double)clip->unit) &&
         cJSON_AddNumberToObject(object, "next", clip->next);
}

int cns_manifest_make(const struct cns_manifest *manifest, const struct cns_identity *coordinator,
                      uint8_t **ret_data, size_t *ret_len) {
  cJSON *json = cJSON_CreateObject();
  bool good = json != NULL;
  for (size_t k = 0; good && k < DIGEST_FIELDS; k++)
    good = cns_json_add_hex(json, digest_fields[k].name, (const uint8_t *)manifest + digest_fields[k].offset,
                            CNS_DIGEST_BYTES) == 0;
  good = good && cJSON_AddNumberToObject(json, "round", (double)manifest->round) &&
         cJSON_AddNumberToObject(json, "attempt", manifest->attempt) &&
         cJSON_AddNumberToObject(json, "clipped", (double)manifest->clipped) &&
         add_hospitals(json, manifest) &&
         (manifest->noised.sums.unit > 0 ? add_noised(json, &manifest->noised)
                                         : add_metrics(json, &manifest->metrics)) &&
         add_privacy(json, &manifest->privacy) && add_clip(json, &manifest->clip);
  if (!good) {
    cJSON_Delete(json);
    return CNS_ERR_MEMORY;
  }
  return cns_document_issue("manifest", json, "coordinator", coordinator, ret_data, ret_len);
}

static int outcome_from_text(const char *text, uint8_t *ret_outcome) {
  for (int outcome = 0; outcome < CNS_OUTCOME_COUNT; outcome++)
    if (strcmp(text, cns_outcome_text((enum cns_outcome)outcome)) == 0) {
      *ret_outcome = (uint8_t)outcome;
      return 0;
    }
  return CNS_ERR_FORMAT;
}

static int read_hospitals(const cJSON *json, struct cns_manifest *manifest, struct cns_problem *problem) {
  static const char *const names[] = {"hospital", "weight", "outcome", NULL};
  const cJSON *hospitals, *one;
  size_t k = 0;
  int r = cns_json_get_array(json, "", "hospitals", &hospitals, problem);
  if (r < 0) return r;
  int count = cJSON_GetArraySize(hospitals);
  if (count < 1 || count > CNS_HOSPITALS_MAX)
    return cns_problem_set(problem, CNS_ERR_RANGE, "the manifest names %d hospitals", count);
  r = allocate(manifest, (size_t)count);
  cJSON_ArrayForEach(one, hospitals) {
    int64_t index = 0, weight = 0;
    const char *outcome;
    if (r == 0) r = cns_json_only(one, "hospitals", names, problem);
    if (r == 0) r = cns_json_get_int(one, "hospitals", "hospital", 1, CNS_HOSPITALS_MAX, &index, problem);
    if (r == 0) r = cns_json_get_int(one, "hospitals", "weight", 1, UINT32_MAX, &weight, problem);
    if (r == 0) r = cns_json_get_string(one, "hospitals", "outcome", 100, &outcome, problem);
    if (r == 0 && outcome_from_text(outcome, &manifest->outcomes[k]) < 0)
      r = cns_problem_set(problem, CNS_ERR_FORMAT, "the manifest has an unknown outcome");
    if (r < 0) return r;
    manifest->members[k++] = (struct cns_member){.index = (uint16_t)index, .weight = (uint32_t)weight};
  }
  return r;
}

static int read_released(const cJSON *metrics, struct cns_noised_metrics_sums *sums,
                         struct cns_problem *problem) {
  static const char *const names[] = {"loss", "right", "unit", "sigma", NULL};
  static const char path[] = "metrics.released";
  const cJSON *object;
  int64_t unit = 0;
  int r = cns_json_get_object(metrics, "metrics", "released", &object, problem);
  if (r == 0) r = cns_json_only(object, path, names, problem);
  if (r == 0) r = cns_json_get_int(object, path, "loss", INT32_MIN, INT32_MAX, &sums->loss, problem);
  if (r == 0) r = cns_json_get_int(object, path, "right", INT32_MIN, INT32_MAX, &sums->right, problem);
  if (r == 0) r = cns_json_get_int(object, path, "unit", 1, INT32_MAX, &unit, problem);
  if (r == 0) r = cns_json_get_number(object, path, "sigma", 0, 0x1p31, &sums->sigma, problem);
  if (r == 0) sums->unit = (uint64_t)unit;
  return r;
}

static int read_noised(const cJSON *object, struct cns_manifest_noised *noised, struct cns_problem *problem) {
  static const char *const names[] = {"loss", "loss_error", "accuracy", "accuracy_error", "released", NULL};
  static const char path[] = "metrics";
  struct cns_noised_metrics_estimate *e = &noised->estimate;
  int r = cns_json_only(object, path, names, problem);
  if (r == 0) r = cns_json_get_number(object, path, "loss", -1e12, 1e12, &e->loss, problem);
  if (r == 0) r = cns_json_get_number(object, path, "loss_error", 0, 1e12, &e->loss_error, problem);
  if (r == 0) r = cns_json_get_number(object, path, "accuracy", -1e12, 1e12, &e->accuracy, problem);
  if (r == 0) r = cns_json_get_number(object, path, "accuracy_error", 0, 1e12, &e->accuracy_error, problem);
  return r ? r : read_released(object, &noised->sums, problem);
}

static int read_metrics(const cJSON *json, struct cns_manifest *manifest, struct cns_problem *problem) {
  static const char *const names[] = {"loss", "auc", "rows", NULL};
  struct cns_manifest_metrics *metrics = &manifest->metrics;
  const cJSON *object = cJSON_GetObjectItemCaseSensitive(json, "metrics");
  int64_t rows = 0;
  if (cJSON_IsNull(object)) return 0;
  if (cns_json_has(object, "released")) return read_noised(object, &manifest->noised, problem);
  int r = cns_json_get_object(json, "", "metrics", &object, problem);
  if (r == 0) r = cns_json_only(object, "metrics", names, problem);
  if (r == 0) r = cns_json_get_number(object, "metrics", "loss", 0, 1e6, &metrics->loss, problem);
  if (r == 0) r = cns_json_get_int(object, "metrics", "rows", 0, INT64_C(1) << 50, &rows, problem);
  metrics->has_auc = !cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(object, "auc"));
  if (r == 0 && metrics->has_auc)
    r = cns_json_get_number(object, "metrics", "auc", 0, 1, &metrics->auc, problem);
  metrics->rows = (uint64_t)rows;
  metrics->known = r == 0;
  return r;
}

static int read_noise(const cJSON *privacy, struct cns_manifest_privacy *p, struct cns_problem *problem) {
  static const char *const names[] = {"unit",          "noise", "epsilon", "noise_multiplier",
                                      "sampling_rate", "delta", NULL};
  static const char path[] = "privacy";
  bool spent = !cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(privacy, "epsilon"));
  int r = cns_json_only(privacy, path, names, problem);
  p->epsilon = INFINITY;
  if (r == 0 && spent) r = cns_json_get_number(privacy, path, "epsilon", 0, 1e9, &p->epsilon, problem);
  if (r == 0)
    r = cns_json_get_number(privacy, path, "noise_multiplier", 0, 1e9, &p->noise_multiplier, problem);
  if (r == 0) r = cns_json_get_number(privacy, path, "sampling_rate", 0, 1, &p->sampling_rate, problem);
  return r ? r : cns_json_get_number(privacy, path, "delta", 0, 1, &p->delta, problem);
}

static int read_privacy(const cJSON *json, struct cns_manifest_privacy *p, struct cns_problem *problem) {
  static const char *const names[] = {"unit", "noise", "epsilon", NULL};
  const cJSON *privacy;
  const char *unit, *noise;
  int r = cns_json_get_object(json, "", "privacy", &privacy, problem);
  if (r == 0) r = cns_json_get_string(privacy, "privacy", "unit", 32, &unit, problem);
  if (r == 0) r = cns_json_get_string(privacy, "privacy", "noise", 32, &noise, problem);
  if (r < 0) return r;
  if (!cns_privacy_unit_find(unit, &p->unit) || !cns_noise_placement_find(noise, &p->placement))
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "privacy.unit or privacy.noise is not one of the known words");
  return p->placement == CNS_NOISE_NONE ? cns_json_only(privacy, "privacy", names, problem)
                                        : read_noise(privacy, p, problem);
}

static int read_clip(const cJSON *json, struct cns_manifest_clip *clip, struct cns_problem *problem) {
  static const char *const names[] = {"norm", "released", "unit", "next", NULL};
  static const char path[] = "clip";
  const cJSON *object;
  int64_t unit = 0;
  if (!cns_json_has(json, path)) return 0;
  int r = cns_json_get_object(json, "", path, &object, problem);
  if (r == 0) r = cns_json_only(object, path, names, problem);
  if (r == 0) r = cns_json_get_number(object, path, "norm", 1e-30, 1e30, &clip->norm, problem);
  if (r == 0) r = cns_json_get_int(object, path, "released", INT32_MIN, INT32_MAX, &clip->released, problem);
  if (r == 0) r = cns_json_get_int(object, path, "unit", 1, INT32_MAX, &unit, problem);
  if (r == 0) r = cns_json_get_number(object, path, "next", 1e-30, 1e30, &clip->next, problem);
  clip->unit = (uint64_t)unit;
  return r;
}

static int parse(const struct cns_document *document, const char *where, struct cns_manifest *manifest,
                 struct cns_problem *problem) {
  static const char *const names[] = {
      "study", "plan",    "roster",  "policy",  "descriptor", "transcript",   "parent",    "model", "sum",
      "round", "attempt", "clipped", "metrics", "privacy",    "journal_head", "hospitals", "clip",  NULL};
  cJSON *json;
  int64_t round = 0, attempt = 0, clipped = 0;
  int r = cns_json_parse(document->payload, document->payload_len, where, &json, problem);
  if (r < 0) return r;
  r = cns_json_only(json, "", names, problem);
  for (size_t k = 0; r == 0 && k < DIGEST_FIELDS; k++)
    r = cns_json_get_hex(json, "", digest_fields[k].name, CNS_DIGEST_BYTES,
                         (uint8_t *)manifest + digest_fields[k].offset, problem);
  if (r == 0) r = cns_json_get_int(json, "", "round", 1, INT64_C(1) << 50, &round, problem);
  if (r == 0) r = cns_json_get_int(json, "", "attempt", 1, UINT32_MAX, &attempt, problem);
  if (r == 0) r = cns_json_get_int(json, "", "clipped", 0, INT64_C(1) << 50, &clipped, problem);
  if (r == 0) r = read_hospitals(json, manifest, problem);
  if (r == 0) r = read_metrics(json, manifest, problem);
  if (r == 0) r = read_privacy(json, &manifest->privacy, problem);
  if (r == 0) r = read_clip(json, &manifest->clip, problem);
  manifest->round = (uint64_t)round;
  manifest->attempt = (uint32_t)attempt;
  manifest->clipped = (uint64_t)clipped;
  cJSON_Delete(json);
  return r;
}

int cns_manifest_open(const uint8_t *data, size_t len, const char *where, const struct cns_roster *roster,
                      struct cns_manifest *ret_manifest, struct cns_problem *problem) {
  struct cns_document document;
  struct cns_manifest manifest = {0};
  int r = cns_document_parse("manifest", data, len, where, &document, problem);
  if (r < 0) return r;
  if (roster)
    r = cns_document_verify("manifest", &document, "coordinator", &roster->coordinator.identity, problem);
  if (r == 0) r = parse(&document, where, &manifest, problem);
  cns_document_deinit(&document);
  if (r < 0) {
    cns_manifest_deinit(&manifest);
    return r;
  }
  *ret_manifest = manifest;
  return 0;
}
