/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"
#include "crypto/rng.h"
#include "model/split.h"

#define ALIKE 1e9 /* Dirichlet's alpha: the same mix everywhere */

static int shuffle(uint32_t *items, size_t count, uint64_t seed, const char *label) {
  struct cns_rng_seeded generator;
  cns_rng_seeded_init_label(&generator, seed, label);
  return cns_rng_shuffle(cns_rng_seeded(&generator), items, count);
}

/* Patients one after another in chance order; stably by the label of their first row if sorted. */
static int order_patients(const struct cns_table *table, uint64_t seed, bool sorted, uint32_t *order) {
  uint16_t *label = calloc(table->patients, sizeof *label);
  uint32_t *shuffled = calloc(table->patients, sizeof *shuffled);
  int r = label && shuffled ? 0 : CNS_ERR_MEMORY;
  for (size_t i = table->rows; r == 0 && i-- > 0;) /* backwards: the first row decides */
    label[table->patient[i]] = table->label[i];
  for (size_t p = 0; r == 0 && p < table->patients; p++)
    shuffled[p] = (uint32_t)p;
  if (r == 0) r = shuffle(shuffled, table->patients, seed, "bench patients");
  size_t at = 0;
  for (size_t c = 0; r == 0 && c < (sorted ? table->classes : 1); c++)
    for (size_t p = 0; p < table->patients; p++)
      if (!sorted || label[shuffled[p]] == c) order[at++] = shuffled[p];
  free(label);
  free(shuffled);
  return r;
}

/* Piece `piece` of `pieces` of the patients: where it begins. */
static size_t begin_of(size_t piece, size_t pieces, size_t patients) {
  return (size_t)((double)piece * (double)patients / (double)pieces);
}

/* Sorted by label, cut into hospitals x classes pieces, and each hospital gets `classes` of them
 * (McMahan et al. 2017, section 3). */
static int deal_labels(const struct cns_table *table, size_t hospitals, size_t classes, uint64_t seed,
                       const uint32_t *order, uint16_t *part_of) {
  size_t pieces = hospitals * classes;
  uint32_t *piece_of = calloc(pieces, sizeof *piece_of);
  int r = piece_of ? 0 : CNS_ERR_MEMORY;
  for (size_t i = 0; r == 0 && i < pieces; i++)
    piece_of[i] = (uint32_t)i;
  if (r == 0) r = shuffle(piece_of, pieces, seed, "bench pieces");
  for (size_t i = 0; r == 0 && i < pieces; i++)
    for (size_t k = begin_of(piece_of[i], pieces, table->patients);
         k < begin_of((size_t)piece_of[i] + 1, pieces, table->patients); k++)
      part_of[order[k]] = (uint16_t)(i / classes);
  free(piece_of);
  return r;
}

/* The last hospital gets `share` of the patients (one at least), the others the rest in equal parts. */
static void deal_one_small(const struct cns_table *table, size_t hospitals, double share,
                           const uint32_t *order, uint16_t *part_of) {
  size_t small = (size_t)llround(share * (double)table->patients);
  if (small < 1) small = 1;
  size_t others = table->patients > small ? table->patients - small : 0;
  for (size_t k = 0; k < table->patients; k++)
    part_of[order[k]] = (uint16_t)(k < others ? k * (hospitals - 1) / others : hospitals - 1);
}

static int deal_patients(const struct cns_bench_split *split, const struct cns_table *table, size_t hospitals,
                         uint64_t seed, uint16_t *ret_part) {
  uint32_t *order = calloc(table->patients, sizeof *order);
  uint16_t *part_of = calloc(table->patients, sizeof *part_of);
  bool by_label = split->kind == CNS_BENCH_BY_LABEL;
  int r = order && part_of ? order_patients(table, seed, by_label, order) : CNS_ERR_MEMORY;
  if (r == 0 && by_label)
    r = deal_labels(table, hospitals, (size_t)split->value, seed, order, part_of);
  else if (r == 0)
    deal_one_small(table, hospitals, split->value, order, part_of);
  for (size_t i = 0; r == 0 && i < table->rows; i++)
    ret_part[i] = part_of[table->patient[i]];
  free(order);
  free(part_of);
  return r;
}

static bool all_have_some(const struct cns_table *table, size_t hospitals, const uint16_t *part) {
  for (size_t h = 0; h < hospitals; h++) {
    size_t i = 0;
    while (i < table->rows && part[i] != h)
      i++;
    if (i == table->rows) return false;
  }
  return true;
}

int cns_bench_split_deal(const struct cns_bench_split *split, const struct cns_table *table, size_t hospitals,
                         uint64_t seed, uint16_t *ret_part, struct cns_problem *problem) {
  struct cns_split_dirichlet_options options = {
      .seed = seed,
      .hospitals = hospitals,
      .size_ratio = split->kind == CNS_BENCH_BY_SIZE ? split->value : 1,
      .alpha = split->kind == CNS_BENCH_DIRICHLET ? split->value : ALIKE};
  int r;
  if (split->kind == CNS_BENCH_ONE_SMALL || split->kind == CNS_BENCH_BY_LABEL) {
    r = deal_patients(split, table, hospitals, seed, ret_part);
  } else {
    r = cns_split_dirichlet(table->label, table->patient, table->rows, table->classes, &options, ret_part);
    for (size_t i = 0; r == 0 && i < table->rows; i++)
      ret_part[i]--; /* part 0 is the test set, which was held out before */
  }
  if (r == CNS_ERR_RANGE || (r == 0 && !all_have_some(table, hospitals, ret_part)))
    return cns_problem_set(
        problem, CNS_ERR_RANGE,
        "split \"%s\": the %zu patients for training can't be dealt to %zu hospitals so that "
        "each has one: choose fewer hospitals",
        split->label, table->patients, hospitals);
  return r;
}
