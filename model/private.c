/* SPDX-License-Identifier: Apache-2.0 */
#include "model/private.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/bytes.h"
#include "dp/clip.h"
#include "model/metrics.h"
#include "model/private_parts.h"

#define SAMPLES 512 /* patients for whom randomness is drawn at once */

int cns_private_sample(struct cns_rng rng, double rate, size_t patients, bool *ret_in, size_t *ret_count) {
  memset(ret_in, 0, patients * sizeof *ret_in);
  *ret_count = 0;
  if (!(rate >= 0 && rate <= 1)) return CNS_ERR_ARGUMENT;
  /* The product is exact, the conversion rounds down; below 1 it fits. */
  const bool all = rate == 1;
  const uint64_t bound = all ? 0 : (uint64_t)(rate * 0x1p64);
  uint8_t bytes[8 * SAMPLES];
  size_t count = 0;
  int r = 0;
  for (size_t at = 0; at < patients && r == 0; at += SAMPLES) {
    size_t n = patients - at < SAMPLES ? patients - at : SAMPLES;
    r = cns_rng_fill(rng, bytes, 8 * n);
    for (size_t k = 0; k < n && r == 0; k++) {
      ret_in[at + k] = all | (cns_load_le64(bytes + 8 * k) < bound);
      count += ret_in[at + k];
    }
  }
  cns_wipe(bytes, sizeof bytes);
  if (r < 0) {
    memset(ret_in, 0, patients * sizeof *ret_in);
    return r;
  }
  *ret_count = count;
  return 0;
}

double cns_private_sensitivity(double clip, size_t patients) {
  if (!(clip >= CNS_CLIP_MIN && clip <= CNS_CLIP_MAX) || patients > CNS_PRIVATE_PATIENTS_MAX) return NAN;
  /* A multiple of 2^-39 below 2, so exact; the product may round down. */
  double factor = 1 + 0x1p-30 + (double)patients * 0x1p-39;
  return nextafter(clip * factor, INFINITY);
}

/* The rows of each patient, in the table's order. */
struct roster {
  size_t patients;
  size_t *first;          /* [patients + 1], into row */
  uint32_t *row;          /* [rows] */
  size_t longest;         /* rows of one patient */
  size_t sampled_longest; /* of those who take part */
  size_t sampled_rows;
};

static void roster_deinit(struct roster *roster) {
  free(roster->first);
  free(roster->row);
}

static int roster_init(struct roster *roster, const struct cns_table *table, const bool *in) {
  size_t patients = table->patients;
  *roster = (struct roster){.patients = patients,
                            .first = calloc(patients + 2, sizeof(size_t)),
                            .row = calloc(table->rows ? table->rows : 1, sizeof(uint32_t))};
  if (!roster->first || !roster->row) {
    roster_deinit(roster);
    return CNS_ERR_MEMORY;
  }
  /* Counts two places on, so that filling in moves the ends to the beginnings. */
  for (size_t i = 0; i < table->rows; i++)
    roster->first[table->patient[i] + 2]++;
  for (size_t p = 0; p < patients; p++) {
    size_t rows = roster->first[p + 2];
    if (rows > roster->longest) roster->longest = rows;
    if (in[p]) roster->sampled_rows += rows;
    if (in[p] && rows > roster->sampled_longest) roster->sampled_longest = rows;
    roster->first[p + 2] += roster->first[p + 1];
  }
  for (size_t i = 0; i < table->rows; i++)
    roster->row[roster->first[table->patient[i] + 1]++] = (uint32_t)i;
  return 0;
}

/* What a step holds, and the block that is being filled. */
struct step {
  const struct cns_table *table;
  double clip;
  struct cns_private_pass pass;
  struct cns_private_sum sum;
  struct cns_private_stats stats;
  struct cns_private_factor *factor_of; /* by patient, or NULL */
  struct cns_private_metrics *metrics;  /* or NULL */
  size_t rows, count;
  uint32_t *row_of, *share; /* [pass.capacity] */
  struct cns_private_member member[CNS_PRIVATE_BLOCK_ROWS];
  uint32_t patient[CNS_PRIVATE_BLOCK_ROWS];
};

static bool is_right(const float *logits, size_t classes, size_t label) {
  for (size_t c = 0; c < classes; c++)
    if (c < label ? logits[c] >= logits[label] : logits[c] > logits[label]) return false;
  return true;
}

/* In the order of the patient's rows, each of whose logits are a function of that row. */
static void add_metrics(struct step *step, const struct cns_private_member *member) {
  const struct cns_private_pass *pass = &step->pass;
  struct cns_private_metrics *metrics = step->metrics;
  size_t classes = pass->plan->class_count, stride = pass->layer[pass->layers - 1].out_stride, right = 0;
  double loss = 0;
  for (size_t i = member->first; i < member->first + member->rows; i++) {
    const float *logits = pass->logits + i * stride;
    size_t label = step->table->label[step->row_of[i]];
    loss += cns_metrics_loss(classes, logits, label);
    right += is_right(logits, classes, label);
  }
  loss /= (double)member->rows;
  metrics->loss += cns_noised_metrics_loss_steps(metrics->loss_max, metrics->unit, loss);
  metrics->right += cns_noised_metrics_right_steps(metrics->unit, right, member->rows);
}

static int block_close(struct step *step, struct cns_problem *problem) {
  if (step->count == 0) return 0;
  cns_private_pass_run(&step->pass, step->table, step->row_of, step->share, step->rows);
  for (size_t m = 0; m < step->count; m++) {
    struct cns_private_member *member = &step->member[m];
    if (cns_private_factor(&step->pass, member->first, member->rows, step->clip, &member->factor) < 0)
      return cns_problem_set(problem, CNS_ERR_RANGE,
                             "a patient's gradient is not a finite number, so it can't be clipped; the step "
                             "is refused: the model has diverged, or the table holds such a number");
    step->stats.clipped += member->factor.factor < 1;
    step->stats.combined += member->factor.combined;
    if (step->factor_of) step->factor_of[step->patient[m]] = member->factor;
    if (step->metrics) add_metrics(step, member);
  }
  cns_private_sum_add(&step->sum, &step->pass, step->member, step->count);
  step->stats.sampled += step->count;
  step->stats.rows += step->rows;
  step->rows = step->count = 0;
  return 0;
}

static void block_add(struct step *step, const struct roster *roster, size_t patient) {
  size_t rows = roster->first[patient + 1] - roster->first[patient];
  for (size_t k = 0; k < rows; k++) {
    step->row_of[step->rows + k] = roster->row[roster->first[patient] + k];
    step->share[step->rows + k] = (uint32_t)rows;
  }
  step->member[step->count] = (struct cns_private_member){.first = step->rows, .rows = rows};
  step->patient[step->count++] = (uint32_t)patient;
  step->rows += rows;
}

static int step_run(struct step *step, const struct roster *roster, const bool *in, const atomic_bool *cancel,
                    struct cns_problem *problem) {
  int r = 0;
  for (size_t p = 0; p < roster->patients && r == 0; p++) {
    size_t rows = roster->first[p + 1] - roster->first[p];
    if (!in[p] || rows == 0) continue;
    if (step->count > 0 && step->rows + rows > CNS_PRIVATE_BLOCK_ROWS) {
      if (cancel && atomic_load(cancel))
        return cns_problem_set(problem, CNS_ERR_CANCELLED, "the step was stopped");
      r = block_close(step, problem);
    }
    if (r == 0) block_add(step, roster, p);
  }
  if (r == 0 && cancel && atomic_load(cancel))
    return cns_problem_set(problem, CNS_ERR_CANCELLED, "the step was stopped");
  if (r == 0) r = block_close(step, problem);
  if (r == 0) cns_private_sum_finish(&step->sum);
  return r;
}

static void step_deinit(struct step *step) {
  cns_row_free(step->row_of, step->pass.capacity * sizeof(uint32_t));
  cns_row_free(step->share, step->pass.capacity * sizeof(uint32_t));
  cns_private_sum_deinit(&step->sum);
  cns_private_pass_deinit(&step->pass);
}

static int step_init(struct step *step, const struct cns_plan *plan, const float *params,
                     const struct roster *roster, double *total) {
  size_t rows = roster->sampled_rows < CNS_PRIVATE_BLOCK_ROWS ? roster->sampled_rows : CNS_PRIVATE_BLOCK_ROWS;
  if (roster->sampled_longest > rows) rows = roster->sampled_longest;
  int r = cns_private_pass_init(&step->pass, plan, params, rows);
  if (r < 0) return r;
  r = cns_private_sum_init(&step->sum, &step->pass, roster->sampled_rows, total);
  step->row_of = cns_row_alloc(step->pass.capacity * sizeof(uint32_t));
  step->share = cns_row_alloc(step->pass.capacity * sizeof(uint32_t));
  if (r == 0 && step->row_of && step->share) return 0;
  step_deinit(step);
  return CNS_ERR_MEMORY;
}

static int check(const struct cns_plan *plan, const float *params, const struct cns_table *table, double clip,
                 struct cns_problem *problem) {
  if (!(clip >= CNS_CLIP_MIN && clip <= CNS_CLIP_MAX))
    return cns_problem_set(problem, CNS_ERR_ARGUMENT, "the clip norm is not between 1e-30 and 1e30");
  if (table->features != plan->feature_count)
    return cns_problem_set(problem, CNS_ERR_ARGUMENT, "the table does not have the study's features");
  if (table->rows > CNS_TABLE_ROWS_MAX || table->patients > CNS_PRIVATE_PATIENTS_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "the table has more than %u rows or patients",
                           CNS_TABLE_ROWS_MAX);
  for (size_t i = 0; i < table->rows; i++)
    if (table->label[i] >= plan->class_count || table->patient[i] >= table->patients)
      return cns_problem_set(problem, CNS_ERR_ARGUMENT, "row %zu has no label or no patient", i + 1);
  for (size_t k = 0; k < plan->dim; k++)
    if (!isfinite(params[k]))
      return cns_problem_set(problem, CNS_ERR_RANGE, "parameter %zu of the model is not a finite number", k);
  return 0;
}

/* The arguments are good; total gets the sum. */
static int gradient(const struct cns_plan *plan, const float *params, const struct roster *roster,
                    const bool *in, const atomic_bool *cancel, struct step *step, double *total,
                    struct cns_problem *problem) {
  if (roster->longest > CNS_PRIVATE_ROWS_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "a patient has more than %u rows", CNS_PRIVATE_ROWS_MAX);
  int r = step_init(step, plan, params, roster, total);
  if (r < 0) return cns_problem_set(problem, r, "out of memory for the step");
  r = step_run(step, roster, in, cancel, problem);
  step_deinit(step);
  return r;
}

/* given: the table, the clip norm, and where factors and metrics go. */
static int run(const struct step *given, const struct cns_plan *plan, const float *params, const bool *in,
               const atomic_bool *cancel, double *ret_sum, struct cns_private_stats *ret_stats,
               struct cns_problem *problem) {
  struct roster roster;
  const struct cns_table *table = given->table;
  double clip = given->clip;
  struct step step = *given;
  if (step.metrics) step.metrics->loss = step.metrics->right = 0;
  int r = check(plan, params, table, clip, problem);
  if (r == 0) {
    r = roster_init(&roster, table, in);
    if (r < 0) (void)cns_problem_set(problem, r, "out of memory for the step");
  }
  if (r == 0) {
    r = gradient(plan, params, &roster, in, cancel, &step, ret_sum, problem);
    roster_deinit(&roster);
  }
  if (r < 0 && step.metrics) step.metrics->loss = step.metrics->right = 0;
  if (r < 0)
    memset(ret_sum, 0, plan->dim * sizeof *ret_sum);
  else if (ret_stats)
    *ret_stats = step.stats;
  cns_wipe(&step, sizeof step);
  return r;
}

int cns_private_gradient_factors(const struct cns_plan *plan, const float *params,
                                 const struct cns_table *table, const bool *in, double clip,
                                 const atomic_bool *cancel, double *ret_sum,
                                 struct cns_private_factor *ret_factor, struct cns_private_stats *ret_stats,
                                 struct cns_problem *problem) {
  const struct step given = {.table = table, .clip = clip, .factor_of = ret_factor};
  return run(&given, plan, params, in, cancel, ret_sum, ret_stats, problem);
}

int cns_private_gradient_metrics(const struct cns_plan *plan, const float *params,
                                 const struct cns_table *table, const bool *in, double clip,
                                 const atomic_bool *cancel, double *ret_sum,
                                 struct cns_private_stats *ret_stats, struct cns_private_metrics *metrics,
                                 struct cns_problem *problem) {
  const struct step given = {.table = table, .clip = clip, .metrics = metrics};
  return run(&given, plan, params, in, cancel, ret_sum, ret_stats, problem);
}

int cns_private_gradient(const struct cns_plan *plan, const float *params, const struct cns_table *table,
                         const bool *in, double clip, const atomic_bool *cancel, double *ret_sum,
                         struct cns_private_stats *ret_stats, struct cns_problem *problem) {
  return cns_private_gradient_factors(plan, params, table, in, clip, cancel, ret_sum, NULL, ret_stats,
                                      problem);
}
