/* SPDX-License-Identifier: Apache-2.0 */
/* The federation that is simulated: who belongs to it, and what it agreed on. */
#include "cli/simulation.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/simulation_internal.h"
#include "dp/clip.h"
#include "dp/quantize.h"
#include "protocol/audit.h"

/* Keys, shares, lists and answers: under 1 KiB a pair at 200 to 1000 hospitals, doubled. */
#define PAIR_BYTES 2048
#define BASE_BYTES ((uint64_t)64 << 20)
/* sum, plain, reference, and the model with its mean; update and x of a slot,
 * and what training holds. */
#define WORD_BYTES 28
#define SLOT_WORD_BYTES 8
#define TRAINING_WORD_BYTES 12
/* By hospital: its update and the copy that attackers work on; x and y. */
#define KEPT_WORD_BYTES 4
#define ATTACKED_WORD_BYTES 8
#define AUDITED_WORD_BYTES 8
#define SKETCH_DEFAULT 256
#define ALPHA_DEFAULT 1.0
/* No limit: of any length, in any number of rounds. */
#define SKETCH_BUDGET_NONE 1e6

static size_t threads_of(const struct cns_simulation_options *options) {
  size_t threads = cns_parallel_processors();
  return threads < options->hospitals ? threads : options->hospitals;
}

uint64_t cns_simulation_memory_bytes(const struct cns_simulation_options *options) {
  uint64_t n = options->hospitals, pairs = n * n, kept = 0, slot = SLOT_WORD_BYTES;
  if (cns_simulation_keeps(options)) kept += KEPT_WORD_BYTES;
  if (options->attack_count > 0) kept += ATTACKED_WORD_BYTES;
  if (options->audit) kept += AUDITED_WORD_BYTES;
  if (options->source == CNS_SIMULATION_TRAINED) slot += TRAINING_WORD_BYTES;
  return BASE_BYTES + pairs * (PAIR_BYTES + (options->audit ? 4ull * options->sketch : 0)) +
         options->dim * (WORD_BYTES + slot * (uint64_t)threads_of(options) + kept * n);
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

static int check_drops(const struct cns_simulation_options *o, struct cns_problem *problem) {
  size_t gone = 0, attackers = 0;
  for (size_t a = 0; a < o->attack_count; a++)
    attackers += o->attacks[a].count;
  if (o->attack_count > 0 && attackers + 2 > o->hospitals)
    return cns_problem_set(problem, CNS_ERR_RANGE,
                           "%zu of %zu hospitals are to attack: at least two must be honest", attackers,
                           o->hospitals);
  for (size_t p = 0; p < CNS_PHASE_COUNT; p++) {
    if (o->drops[p] > o->hospitals - attackers - gone)
      return cns_problem_set(problem, CNS_ERR_RANGE,
                             "more hospitals are to be dropped than the %zu there are%s",
                             o->hospitals - attackers, attackers ? " besides the attackers" : "");
    gone += o->drops[p];
  }
  if (!o->audit && (o->drops[CNS_PHASE_AUDIT] > 0 || o->drops[CNS_PHASE_DISPUTE] > 0))
    return cns_problem_set(problem, CNS_ERR_RANGE,
                           "without an audit there are no phases audit and dispute to drop in");
  return 0;
}

static bool needs_audit(enum cns_simulation_lie lie) {
  return lie == CNS_LIE_FALSE_PAIR || lie == CNS_LIE_FALSE_PAIR_AGREED || lie == CNS_LIE_FALSE_SELF ||
         lie == CNS_LIE_REFUSE_OPENING;
}

static int check_attacks(const struct cns_simulation_options *o, struct cns_problem *problem) {
  if (o->attack_count > CNS_SIMULATION_ATTACKS_MAX)
    return cns_problem_set(problem, CNS_ERR_RANGE, "at most %d attacks at once", CNS_SIMULATION_ATTACKS_MAX);
  for (size_t a = 0; a < o->attack_count; a++) {
    const struct cns_simulation_attack *attack = &o->attacks[a];
    const struct cns_attack *numbers = &attack->numbers;
    if (needs_audit(attack->lie) && !o->audit)
      return cns_problem_set(problem, CNS_ERR_RANGE,
                             "attack '%s' is a lie in the audit: it needs --audit open",
                             cns_simulation_lie_name(attack->lie));
    if (attack->lie == CNS_LIE_NUMBERS && numbers->kind == CNS_ATTACK_MIMIC && numbers->has_strength &&
        numbers->strength >= (double)(o->hospitals - attack->count))
      return cns_problem_set(problem, CNS_ERR_RANGE,
                             "attack 'mimic': there are only %zu hospitals to copy, from 0 on",
                             o->hospitals - attack->count);
  }
  return 0;
}

static int check_audit(const struct cns_simulation_options *o, struct cns_problem *problem) {
  uint64_t least = (uint64_t)CNS_SKETCH_WORDS_PER_NUMBER * o->sketch;
  if (!o->audit) return 0;
  if (!cns_sketch_size_valid(o->sketch))
    return cns_problem_set(problem, CNS_ERR_RANGE, "a sketch has 128, 256, 512 or 1024 numbers, not %u",
                           o->sketch);
  if (least < CNS_AUDIT_DIM_MIN) least = CNS_AUDIT_DIM_MIN;
  if (o->dim < least)
    return cns_problem_set(problem, CNS_ERR_RANGE,
                           "an audit with sketches of %u numbers needs at least %" PRIu64
                           " parameters, not %" PRIu64 ": they would say too much of a shorter update",
                           o->sketch, least, o->dim);
  if (o->sketch_budget != 0 && !(o->sketch_budget > 0 && o->sketch_budget <= SKETCH_BUDGET_NONE))
    return cns_problem_set(problem, CNS_ERR_RANGE, "the sketch budget %g is out of range", o->sketch_budget);
  if (o->sketch_budget != 0 && (uint64_t)(o->sketch_budget * (double)o->dim) < o->sketch)
    return cns_problem_set(problem, CNS_ERR_RANGE,
                           "a sketch budget of %g allows %.0f numbers of %" PRIu64
                           " parameters, and one round needs %u",
                           o->sketch_budget, floor(o->sketch_budget * (double)o->dim), o->dim, o->sketch);
  return 0;
}

/* What is left open, filled in. */
static struct cns_simulation_options completed(const struct cns_simulation_options *options) {
  struct cns_simulation_options o = *options;
  if (o.audit && o.sketch == 0) o.sketch = SKETCH_DEFAULT;
  if (o.alpha == 0) o.alpha = ALPHA_DEFAULT;
  return o;
}

int cns_simulation_check(const struct cns_simulation_options *options, struct cns_problem *problem) {
  const struct cns_simulation_options filled = completed(options), *o = &filled;
  uint16_t colluders = 0;
  if (o->hospitals < CNS_SIMULATION_HOSPITALS_MIN || o->hospitals > CNS_HOSPITALS_MAX)
    return cns_problem_set(problem, CNS_ERR_RANGE,
                           "%zu hospitals: a round needs n >= %d hospitals (n >= 3c+1 with at least one "
                           "colluder tolerated), and at most %d are possible",
                           o->hospitals, CNS_SIMULATION_HOSPITALS_MIN, CNS_HOSPITALS_MAX);
  if (o->dim < 1 || o->dim > CNS_DIM_MAX)
    return cns_problem_set(problem, CNS_ERR_RANGE, "%" PRIu64 " parameters: 1 to %" PRIu64 " are possible",
                           o->dim, CNS_DIM_MAX);
  if (o->clip_norm != 0 && !(o->clip_norm >= CNS_CLIP_MIN && o->clip_norm <= CNS_CLIP_MAX))
    return cns_problem_set(problem, CNS_ERR_RANGE, "the clip norm %g is out of range", o->clip_norm);
  if (!(o->alpha >= 1e-3 && o->alpha <= 1e9))
    return cns_problem_set(problem, CNS_ERR_RANGE, "alpha is from 0.001 to 1e9, not %g", o->alpha);
  int r = check_drops(o, problem);
  if (r == 0) r = check_attacks(o, problem);
  if (r == 0) r = check_audit(o, problem);
  return r < 0 ? r : cns_simulation_colluders(o->hospitals, o->threshold, &colluders, problem);
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
    hospital->weight = o->weights    ? o->weights[k]
                       : s->training ? cns_simulation_training_patients(s->training, k)
                                     : CNS_SIMULATION_WEIGHT_MIN + 5 * (uint32_t)steps;
    snprintf(label, sizeof label, "simulation secrets %zu", k + 1);
    cns_rng_seeded_init_label(&hospital->rng, o->seed, label);
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

static void set_audit(struct cns_simulation *s) {
  const struct cns_simulation_options *o = &s->options;
  if (!o->audit) return;
  cns_policy_set_audit(&s->policy, o->sketch);
  s->policy.sketch_budget = o->sketch_budget != 0 ? o->sketch_budget : SKETCH_BUDGET_NONE;
  s->policy.on_flag = o->on_flag;
  s->policy.false_positive_rate = CNS_SIMULATION_FLAG_RATE;
  s->policy.tighten_rounds = 0; /* so that rates mean the same in every round */
  s->policy.tighten_factor = 1;
}

/* Whom the attacks take, what they are trained on, and the norm to clip to, which
 * honest updates give. */
static int make_data(struct cns_simulation *s, struct cns_problem *problem) {
  struct cns_simulation_options *o = &s->options;
  int r = cns_simulation_liars_choose(s);
  if (r == 0) r = cns_simulation_vectors_new(s);
  if (r == 0 && o->clip_norm == 0 && o->source != CNS_SIMULATION_DRAWN)
    r = cns_simulation_updates_measure(s, &o->clip_norm, problem);
  if (o->clip_norm == 0) o->clip_norm = CNS_SIMULATION_CLIP_NORM;
  for (size_t k = 0; k < o->hospitals && r == 0 && s->training; k++) {
    const struct cns_simulation_attack *attack = s->hospitals[k].attack;
    if (attack && attack->lie == CNS_LIE_NUMBERS && cns_attack_flips_labels(attack->numbers.kind))
      cns_simulation_training_flip(s->training, k);
  }
  return r;
}

static int allocate(struct cns_simulation *s) {
  size_t n = s->options.hospitals;
  struct cns_simulation_result *result = &s->result;
  s->hospitals = calloc(n, sizeof *s->hospitals);
  s->cohort = calloc(n, sizeof *s->cohort);
  result->included = calloc(n, sizeof *result->included);
  result->malicious = calloc(n, sizeof *result->malicious);
  result->quarantined = calloc(n, sizeof *result->quarantined);
  result->outcome = calloc(n, sizeof *result->outcome);
  result->missing = calloc(n, sizeof *result->missing);
  s->watch = calloc(1, sizeof *s->watch);
  return s->hospitals && s->cohort && result->included && result->malicious && result->quarantined &&
                 result->outcome && result->missing && s->watch
             ? 0
             : CNS_ERR_MEMORY;
}

static int make_federation(struct cns_simulation *s, struct cns_problem *problem) {
  int r = allocate(s);
  if (r == 0) r = identity_of(s->options.seed, "simulation authority", &s->authority);
  if (r == 0) r = identity_of(s->options.seed, "simulation officer", &s->officer);
  if (r == 0) r = identity_of(s->options.seed, "simulation coordinator", &s->coordinator_identity);
  if (r == 0 && s->options.source == CNS_SIMULATION_TRAINED)
    r = cns_simulation_training_new(&s->options, &s->training, problem);
  if (r < 0) return r;
  if (s->training) s->options.dim = cns_simulation_training_dim(s->training);
  r = make_hospitals(s);
  if (r < 0) return r;
  for (; s->members < s->options.hospitals; s->members++)
    s->cohort[s->members] = s->hospitals[s->members].position = s->members;
  r = make_data(s, problem);
  if (r == 0) r = cns_simulation_roster_make(s, problem);
  if (r == 0) r = cns_simulation_evidence_begin(s, problem);
  if (r == 0) r = make_policy(s, problem);
  set_audit(s);
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
  s->options = completed(options);
  s->threads = threads_of(options);
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

uint64_t cns_simulation_dim(const struct cns_simulation *s) {
  return s->options.dim;
}

size_t cns_simulation_hidden(const struct cns_simulation *s, size_t ret_widths[static 2]) {
  return s->training ? cns_simulation_training_hidden(s->training, ret_widths) : 0;
}

static void free_hospital(struct cns_simulation_hospital *hospital) {
  cns_hospital_free(hospital->machine);
  cns_identity_free(hospital->identity);
  cns_writer_deinit(&hospital->forged);
  free(hospital->poison);
  free(hospital->of_x);
  cns_wipe(&hospital->rng, sizeof hospital->rng);
}

struct cns_simulation *cns_simulation_free(struct cns_simulation *s) {
  if (!s) return NULL;
  for (size_t k = 0; s->hospitals && k < s->options.hospitals; k++)
    free_hospital(&s->hospitals[k]);
  cns_coordinator_free(s->coordinator);
  cns_writer_deinit(&s->announcement);
  cns_descriptor_deinit(&s->descriptor);
  cns_identity_free(s->authority);
  cns_identity_free(s->officer);
  cns_identity_free(s->coordinator_identity);
  cns_simulation_vectors_free(s);
  cns_simulation_training_free(s->training);
  free(s->hospitals);
  free(s->cohort);
  free(s->watch);
  cns_roster_deinit(&s->roster);
  cns_document_deinit(&s->roster_document);
  free(s->result.included);
  free(s->result.malicious);
  free(s->result.quarantined);
  free(s->result.outcome);
  free(s->result.missing);
  free(s->result.flags);
  free(s->result.blames);
  free(s);
  return NULL;
}
