/* SPDX-License-Identifier: Apache-2.0 */
#include "model/split.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/rng.h"
#include "model/csv.h"
#include "model/split_internal.h"

#define FITTING_ROUNDS 200

static void dealing_deinit(struct cns_split_dealing *dealing) {
  free(dealing->label_of);
  free(dealing->part_of);
  free(dealing->order);
  free(dealing->shares);
  free(dealing->wanted);
  free(dealing->quota);
  free(dealing->per_class);
}

static int dealing_init(struct cns_split_dealing *dealing, const struct cns_split_wish *wish, size_t patients,
                        size_t classes) {
  *dealing = (struct cns_split_dealing){
      .wish = wish, .hospitals = wish->hospitals, .classes = classes, .patients = patients};
  size_t cells = wish->hospitals * classes;
  dealing->label_of = calloc(patients, sizeof *dealing->label_of);
  dealing->part_of = calloc(patients, sizeof *dealing->part_of);
  dealing->order = calloc(patients, sizeof *dealing->order);
  dealing->shares = calloc(wish->hospitals, sizeof *dealing->shares);
  dealing->wanted = calloc(cells, sizeof *dealing->wanted);
  dealing->quota = calloc(cells, sizeof *dealing->quota);
  dealing->per_class = calloc(classes, sizeof *dealing->per_class);
  if (dealing->label_of && dealing->part_of && dealing->order && dealing->shares && dealing->wanted &&
      dealing->quota && dealing->per_class)
    return 0;
  dealing_deinit(dealing);
  return CNS_ERR_MEMORY;
}

static int shuffle(struct cns_split_dealing *dealing) {
  struct cns_rng_seeded generator;
  cns_rng_seeded_init_label(&generator, dealing->wish->seed, dealing->wish->label);
  for (size_t i = 0; i < dealing->patients; i++)
    dealing->order[i] = (uint32_t)i;
  return cns_rng_shuffle(cns_rng_seeded(&generator), dealing->order, dealing->patients);
}

/* Share of all patients that each hospital should get. */
static void size_shares(const struct cns_split_wish *wish, double *shares) {
  double steps = wish->hospitals > 1 ? (double)(wish->hospitals - 1) : 1, sum = 0;
  for (size_t h = 0; h < wish->hospitals; h++)
    sum += shares[h] = pow(wish->size_ratio, -(double)h / steps);
  for (size_t h = 0; h < wish->hospitals; h++)
    shares[h] /= sum;
}

static int mix_alternating(struct cns_split_dealing *dealing) {
  const struct cns_split_options *options = dealing->wish->options;
  for (size_t h = 0; h < dealing->hospitals; h++)
    for (size_t c = 0; c < dealing->classes; c++)
      dealing->wanted[h * dealing->classes + c] =
          pow(options->mix_ratio, (h % 2 ? -0.5 : 0.5) * (double)c / (double)(dealing->classes - 1));
  return 0;
}

/* Iterative proportional fitting: cells with the wanted odds between the
 * hospitals' case mixes, sizes and class totals. */
static void fit(struct cns_split_dealing *dealing) {
  size_t hospitals = dealing->hospitals, classes = dealing->classes;
  double *cell = dealing->wanted, all = 0;
  for (size_t c = 0; c < classes; c++)
    all += (double)dealing->per_class[c];
  size_shares(dealing->wish, dealing->shares);
  for (int round = 0; round < FITTING_ROUNDS; round++) {
    for (size_t h = 0; h < hospitals; h++) {
      double sum = 0;
      for (size_t c = 0; c < classes; c++)
        sum += cell[h * classes + c];
      for (size_t c = 0; sum > 0 && c < classes; c++)
        cell[h * classes + c] *= dealing->shares[h] * all / sum;
    }
    for (size_t c = 0; c < classes; c++) {
      double sum = 0;
      for (size_t h = 0; h < hospitals; h++)
        sum += cell[h * classes + c];
      for (size_t h = 0; sum > 0 && h < hospitals; h++)
        cell[h * classes + c] *= (double)dealing->per_class[c] / sum;
    }
  }
}

/* Whole numbers with the right class totals: largest remainders get the rest. */
static void round_quotas(struct cns_split_dealing *dealing) {
  size_t hospitals = dealing->hospitals, classes = dealing->classes;
  for (size_t c = 0; c < classes; c++) {
    size_t given = 0;
    for (size_t h = 0; h < hospitals; h++) {
      dealing->quota[h * classes + c] = (size_t)dealing->wanted[h * classes + c];
      given += dealing->quota[h * classes + c];
    }
    for (; given < dealing->per_class[c]; given++) {
      size_t best = 0;
      double largest = -INFINITY;
      for (size_t h = 0; h < hospitals; h++) {
        double rest = dealing->wanted[h * classes + c] - (double)dealing->quota[h * classes + c];
        if (rest > largest) {
          largest = rest;
          best = h;
        }
      }
      dealing->quota[best * classes + c]++;
    }
  }
}

/* Test set first, stratified; then quota by quota, in shuffled order. */
static int deal(struct cns_split_dealing *dealing) {
  size_t classes = dealing->classes;
  int r = shuffle(dealing);
  if (r < 0) return r;
  size_t *test_left = calloc(classes, sizeof *test_left);
  if (!test_left) return CNS_ERR_MEMORY;
  for (size_t p = 0; p < dealing->patients; p++)
    dealing->per_class[dealing->label_of[p]]++;
  for (size_t c = 0; c < classes; c++) {
    test_left[c] = (size_t)llround(dealing->wish->test_share * (double)dealing->per_class[c]);
    dealing->per_class[c] -= test_left[c];
  }
  r = dealing->wish->mix(dealing);
  if (r == 0) {
    fit(dealing);
    round_quotas(dealing);
  }
  for (size_t k = 0; r == 0 && k < dealing->patients; k++) {
    size_t p = dealing->order[k], c = dealing->label_of[p];
    if (test_left[c] > 0) {
      test_left[c]--;
      dealing->part_of[p] = CNS_SPLIT_TEST;
      continue;
    }
    size_t h = 0;
    while (dealing->quota[h * classes + c] == 0)
      h++;
    dealing->quota[h * classes + c]--;
    dealing->part_of[p] = (uint16_t)(h + 1);
  }
  free(test_left);
  return r;
}

static int check_parts(const struct cns_split_dealing *dealing) {
  for (size_t h = 1; h <= dealing->hospitals; h++) {
    size_t p = 0;
    while (p < dealing->patients && dealing->part_of[p] != h)
      p++;
    if (p == dealing->patients) return CNS_ERR_RANGE;
  }
  return 0;
}

static bool options_are_sound(const struct cns_split_options *options) {
  return options->hospitals >= 1 && options->hospitals <= CNS_HOSPITALS_MAX && options->test_share >= 0 &&
         options->test_share < 1 && options->size_ratio >= 1 && options->size_ratio <= 1e6 &&
         options->mix_ratio >= 1 && options->mix_ratio <= 1e6;
}

int cns_split_deal(const uint16_t *label, const uint32_t *groups, size_t rows, size_t classes,
                   const struct cns_split_wish *wish, uint16_t *ret_part) {
  if (rows == 0 || rows > UINT32_MAX || classes < 2 || classes > UINT16_MAX) return CNS_ERR_ARGUMENT;
  size_t patients = 0;
  for (size_t i = 0; i < rows; i++) {
    size_t number = groups ? groups[i] : i;
    if (label[i] >= classes || number >= rows) return CNS_ERR_ARGUMENT;
    if (number >= patients) patients = number + 1;
  }
  struct cns_split_dealing dealing;
  int r = dealing_init(&dealing, wish, patients, classes);
  if (r < 0) return r;
  for (size_t i = rows; i-- > 0;) /* backwards: the first row decides */
    dealing.label_of[groups ? groups[i] : i] = label[i];
  r = deal(&dealing);
  if (r == 0) r = check_parts(&dealing);
  for (size_t i = 0; r == 0 && i < rows; i++)
    ret_part[i] = dealing.part_of[groups ? groups[i] : i];
  dealing_deinit(&dealing);
  return r;
}

int cns_split_uneven(const uint16_t *label, const uint32_t *groups, size_t rows, size_t classes,
                     const struct cns_split_options *options, uint16_t *ret_part) {
  if (!options_are_sound(options)) return CNS_ERR_ARGUMENT;
  struct cns_split_wish wish = {.seed = options->seed,
                                .label = "uneven split",
                                .hospitals = options->hospitals,
                                .test_share = options->test_share,
                                .size_ratio = options->size_ratio,
                                .mix = mix_alternating,
                                .options = options};
  return cns_split_deal(label, groups, rows, classes, &wish, ret_part);
}

/* Appends the current record with a line break at its end. */
static void append_record(const struct cns_csv *csv, char *out, size_t *at) {
  size_t len = csv->record_end - csv->record_begin;
  memcpy(out + *at, csv->text + csv->record_begin, len);
  *at += len;
  if (len == 0 || out[*at - 1] != '\n') out[(*at)++] = '\n';
}

int cns_split_csv(const char *text, size_t len, const uint16_t *part, size_t record_count, uint16_t which,
                  char **ret_text, size_t *ret_len, struct cns_problem *problem) {
  struct cns_csv csv;
  char *out = malloc(len + 2);
  if (!out) return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  size_t at = 0, record = 0;
  cns_csv_init(&csv, text, len, "table");
  int r = cns_csv_next(&csv, problem);
  if (r == 0) append_record(&csv, out, &at);
  while (r == 0 && (r = cns_csv_next(&csv, problem)) == 0) {
    if (record < record_count && part[record] == which) append_record(&csv, out, &at);
    record++;
  }
  cns_csv_deinit(&csv);
  if (r == CNS_CSV_END && record != record_count)
    r = cns_problem_set(problem, CNS_ERR_ARGUMENT, "the table has %zu rows, not %zu", record, record_count);
  if (r < 0) {
    free(out);
    return r;
  }
  out[at] = 0;
  *ret_text = out;
  *ret_len = at;
  return 0;
}
