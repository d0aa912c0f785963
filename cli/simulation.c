/* SPDX-License-Identifier: Apache-2.0 */
/* The federation that is simulated: who belongs to it, and what it agreed on. */
#include "cli/simulation.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/simulation_internal.h"
#include "dp/clip.h"
#include "dp/quantize.h"

/* Keys, shares, lists and answers: under 1 KiB a pair at 200 to 1000 hospitals, doubled. */
#define PAIR_BYTES 2048
#define BASE_BYTES ((uint64_t)64 << 20)
/* sum, plain, reference; update and x of a slot. */
#define WORD_BYTES 20
#define SLOT_WORD_BYTES 8

static size_t threads_of(const struct cns_simulation_options *options) {
  size_t threads = cns_parallel_processors();
  return threads < options->hospitals ? threads : options->hospitals;
}

uint64_t cns_simulation_memory_bytes(const struct cns_simulation_options *options) {
  uint64_t pairs = (uint64_t)options->hospitals * options->hospitals;
  return BASE_BYTES + pairs * PAIR_BYTES +
         options->dim * (WORD_BYTES + SLOT_WORD_BYTES * (uint64_t)threads_of(options));
}

int cns_simulation_colluders(size_t hospitals, size_t threshold, uint16_t *ret_colluders,
                             struct cns_problem *problem) {
  uint16_t usual = cns_policy_default_colluders(hospitals), most = (uint16_t)((hospitals - 1) / 3);
  size_t low = cns_policy_threshold(hospitals, usual), high = cns_policy_threshold(hospitals, most);
  if (threshold <= low) {
    *ret_colluders = usual;
    return 0;
  }
  /* Two neighbouring c may share a threshold: the larger promises more. */
  for (uint16_t c = most; c > usual; c--) {
    if (cns_policy_threshold(hospitals, c) != threshold) continue;
    *ret_colluders = c;
    return 0;
  }
  char range[64];
  if (low == high)
    snprintf(range, sizeof range, "%zu only", low);
  else
    snprintf(range, sizeof range, "from %zu to %zu", low, high);
  return cns_problem_set(problem, CNS_ERR_RANGE,
                         "the threshold of %zu hospitals can be %s, not %zu: it is floor((n+c)/2)+1 with c "
                         "colluders tolerated, and n >= 3c+1",
                         hospitals, range, threshold);
}

int cns_simulation_check(const struct cns_simulation_options *o, struct cns_problem *problem) {
  size_t dropped = 0;
  uint16_t colluders = 0;
  if (o->hospitals < CNS_SIMULATION_HOSPITALS_MIN || o->hospitals > CNS_HOSPITALS_MAX)
    return cns_problem_set(problem, CNS_ERR_RANGE,
                           "%zu hospitals: a round needs n >= %d hospitals (n >= 3c+1 with at least one "
                           "colluder tolerated), and at most %d are possible",
                           o->hospitals, CNS_SIMULATION_HOSPITALS_MIN, CNS_HOSPITALS_MAX);
  if (o->dim < 1 || o->dim > CNS_DIM_MAX)
    return cns_problem_set(problem, CNS_ERR_RANGE, "%" PRIu64 " parameters: 1 to %" PRIu64 " are possible",
                           o->dim, CNS_DIM_MAX);
  for (size_t p = 0; p < CNS_PHASE_COUNT; p++) {
    if (o->drops[p] > o->hospitals - dropped)
      return cns_problem_set(problem, CNS_ERR_RANGE,
                             "more hospitals are to be dropped than the %zu there are", o->hospitals);
    dropped += o->drops[p];
  }
  if (o->clip_norm != 0 && !(o->clip_norm >= CNS_CLIP_MIN && o->clip_norm <= CNS_CLIP_MAX))
    return cns_problem_set(problem, CNS_ERR_RANGE, "the clip norm %g is out of range", o->clip_norm);
  return cns_simulation_colluders(o->hospitals, o->threshold, &colluders, problem);
}

static int identity_of(uint64_t seed, const char *label, struct cns_identity **ret_identity) {
  struct cns_rng_seeded rng;
  cns_rng_seeded_init_label(&rng, seed, label);
  int r = cns_identity_new(cns_rng_seeded(&rng), ret_identity);
  cns_wipe(&rng, sizeof rng);
  return r;
}

static int make_hospitals(struct cns_simulation *s) {
  const struct cns_simulation_options *o = &s->options;
  struct cns_rng_seeded weights;
  cns_rng_seeded_init_label(&weights, o->seed, "simulation weights");
  for (size_t k = 0; k < o->hospitals; k++) {
    struct cns_simulation_hospital *hospital = &s->hospitals[k];
    char label[64];
    uint64_t steps = 0;
    snprintf(label, sizeof label, "simulation identity %zu", k + 1);
    int r = identity_of(o->seed, label, &hospital->identity);
    if (r == 0)
      r = cns_rng_uniform_u64(cns_rng_seeded(&weights),
                              (CNS_SIMULATION_WEIGHT_MAX - CNS_SIMULATION_WEIGHT_MIN) / 5 + 1, &steps);
    if (r < 0) return r;
    hospital->weight = o->weights ? o->weights[k] : CNS_SIMULATION_WEIGHT_MIN + 5 * (uint32_t)steps;
    snprintf(label, sizeof label, "simulation secrets %zu", k + 1);
    cns_rng_seeded_init_label(&hospital->rng, o->seed, label);
  }
  return 0;
}

static int make_roster(struct cns_simulation *s) {
  struct cns_roster *roster = &s->roster;
  size_t n = s->options.hospitals;
  cns_hash_once("consilium/1 simulation", "roster", 6, &roster->digest);
  snprintf(roster->consortium, sizeof roster->consortium, "simulation");
  roster->version = 1;
  roster->valid_until = INT64_MAX;
  roster->authority.identity = *cns_identity_get_public(s->authority);
  roster->coordinator.identity = *cns_identity_get_public(s->coordinator_identity);
  roster->officer_count = 1;
  roster->officers[0].identity = *cns_identity_get_public(s->officer);
  roster->hospitals = calloc(n, sizeof *roster->hospitals);
  if (!roster->hospitals) return CNS_ERR_MEMORY;
  roster->hospital_count = n;
  for (size_t k = 0; k < n; k++) {
    struct cns_roster_hospital *hospital = &roster->hospitals[k];
    hospital->index = (uint16_t)(k + 1);
    snprintf(hospital->name, sizeof hospital->name, "hospital-%zu", k + 1);
    hospital->identity = *cns_identity_get_public(s->hospitals[k].identity);
  }
  return 0;
}

static int make_policy(struct cns_simulation *s, struct cns_problem *problem) {
  struct cns_policy *policy = &s->policy;
  size_t n = s->options.hospitals;
  int r = cns_simulation_colluders(n, s->options.threshold, &policy->colluders, problem);
  if (r < 0) return r;
  uint16_t colluders = policy->colluders;
  cns_policy_default(&s->roster, policy);
  cns_hash_once("consilium/1 simulation", "policy", 6, &policy->digest);
  policy->colluders = colluders;
  policy->minimum_cohort = (uint16_t)(colluders == 1 ? 4 : 3 * colluders + 1);
  policy->minimum_included = (uint16_t)(colluders + 2);
  policy->metrics = false;
  policy->clip_norm_max = s->options.clip_norm;
  policy->weight_cap = 1;
  for (size_t k = 0; k < n; k++)
    if (s->hospitals[k].weight > policy->weight_cap) policy->weight_cap = s->hospitals[k].weight;
  policy->weight_round_to = 1;
  return 0;
}

static int make_federation(struct cns_simulation *s, struct cns_problem *problem) {
  size_t n = s->options.hospitals;
  s->hospitals = calloc(n, sizeof *s->hospitals);
  s->result.included = calloc(n, sizeof *s->result.included);
  s->result.missing = calloc(n, sizeof *s->result.missing);
  if (!s->hospitals || !s->result.included || !s->result.missing) return CNS_ERR_MEMORY;
  int r = identity_of(s->options.seed, "simulation authority", &s->authority);
  if (r == 0) r = identity_of(s->options.seed, "simulation officer", &s->officer);
  if (r == 0) r = identity_of(s->options.seed, "simulation coordinator", &s->coordinator_identity);
  if (r == 0) r = make_hospitals(s);
  if (r == 0) r = make_roster(s);
  if (r == 0) r = make_policy(s, problem);
  if (r == 0) r = cns_simulation_vectors_new(s);
  cns_study_digest("simulation", "simulation", &s->study);
  cns_hash_once("consilium/1 simulation", "plan", 4, &s->plan);
  cns_hash_once("consilium/1 simulation", "initial model", 13, &s->parent);
  return r;
}

int cns_simulation_new(const struct cns_simulation_options *options, struct cns_simulation **ret_simulation,
                       struct cns_problem *problem) {
  int r = cns_simulation_check(options, problem);
  if (r < 0) return r;
  struct cns_simulation *s = calloc(1, sizeof *s);
  if (!s) return CNS_ERR_MEMORY;
  s->options = *options;
  s->threads = threads_of(options);
  if (s->options.clip_norm == 0) s->options.clip_norm = CNS_SIMULATION_CLIP_NORM;
  s->parallel = cns_parallel_threads();
  r = make_federation(s, problem);
  s->options.weights = NULL; /* copied; the caller's may go */
  if (r < 0) {
    cns_simulation_free(s);
    if (r == CNS_ERR_MEMORY)
      cns_problem_set(problem, r, "not enough memory for %zu hospitals and %" PRIu64 " parameters",
                      options->hospitals, options->dim);
    return r;
  }
  *ret_simulation = s;
  return 0;
}

struct cns_simulation *cns_simulation_free(struct cns_simulation *s) {
  if (!s) return NULL;
  for (size_t k = 0; s->hospitals && k < s->options.hospitals; k++) {
    cns_hospital_free(s->hospitals[k].machine);
    cns_identity_free(s->hospitals[k].identity);
    cns_wipe(&s->hospitals[k].rng, sizeof s->hospitals[k].rng);
  }
  cns_coordinator_free(s->coordinator);
  cns_writer_deinit(&s->announcement);
  cns_descriptor_deinit(&s->descriptor);
  cns_identity_free(s->authority);
  cns_identity_free(s->officer);
  cns_identity_free(s->coordinator_identity);
  cns_simulation_vectors_free(s);
  free(s->hospitals);
  free(s->roster.hospitals);
  free(s->result.included);
  free(s->result.missing);
  free(s);
  return NULL;
}
