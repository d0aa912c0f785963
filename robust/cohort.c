/* SPDX-License-Identifier: Apache-2.0 */
#include "robust/cohort.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "robust/geometry.h"

/* Of plain vectors: below it spreads are rounding. */
#define FLOOR_OF_VECTORS 1e-6
/* Squares of n*k such numbers, and their ratios, stay doubles. */
#define NUMBER_MAX 1e100

uint16_t cns_cohort_index(const struct cns_detect_input *input, size_t row) {
  return input->hospital ? input->hospital[row] : (uint16_t)(row + 1);
}

void cns_cohort_name(const struct cns_cohort *cohort, size_t row, char ret_name[static 72]) {
  if (cohort->input->name && cohort->input->name[row]) {
    snprintf(ret_name, 72, "%s", cohort->input->name[row]);
    cns_text_clean(ret_name);
  } else
    snprintf(ret_name, 72, "hospital %u", cns_cohort_index(cohort->input, row));
}

static int check_row(const struct cns_detect_input *input, size_t row, struct cns_problem *problem) {
  unsigned index = cns_cohort_index(input, row);
  for (size_t c = 0; c < input->columns; c++)
    if (!(fabs(input->rows[row * input->columns + c]) <= NUMBER_MAX))
      return cns_problem_set(problem, CNS_ERR_RANGE,
                             "number %zu of hospital %u is not finite: its row can't be compared", c, index);
  double weight = input->weights[row];
  if (!(weight >= 1e-30) || !(weight <= 1e30))
    return cns_problem_set(problem, CNS_ERR_RANGE, "the weight of hospital %u is not a positive number",
                           index);
  if (input->bounds && (!(input->bounds[row] > 0) || !(input->bounds[row] <= NUMBER_MAX)))
    return cns_problem_set(problem, CNS_ERR_RANGE, "the norm bound of hospital %u is not a positive number",
                           index);
  return 0;
}

static int check_input(const struct cns_detect_input *input, struct cns_problem *problem) {
  if (input->hospitals < CNS_DETECT_COHORT_MIN || input->hospitals > CNS_HOSPITALS_MAX)
    return cns_problem_set(problem, CNS_ERR_ARGUMENT, "detection compares %u to %u hospitals, not %zu",
                           CNS_DETECT_COHORT_MIN, CNS_HOSPITALS_MAX, input->hospitals);
  if (input->columns < 1 || input->columns > CNS_DETECT_COLUMNS_MAX || !input->rows || !input->weights ||
      input->blocks < 1)
    return cns_problem_set(problem, CNS_ERR_ARGUMENT, "detection needs 1 to %u numbers a hospital",
                           CNS_DETECT_COLUMNS_MAX);
  bool seen[CNS_HOSPITALS_MAX + 1] = {false};
  for (size_t i = 0; i < input->hospitals; i++) {
    uint16_t index = cns_cohort_index(input, i);
    if (index > CNS_HOSPITALS_MAX || seen[index])
      return cns_problem_set(problem, CNS_ERR_RANGE, "hospital index %u comes twice or is above %u", index,
                             CNS_HOSPITALS_MAX);
    seen[index] = true;
    int r = check_row(input, i, problem);
    if (r < 0) return r;
  }
  return 0;
}

void cns_cohort_deinit(struct cns_cohort *cohort) {
  free(cohort->rows);
  free(cohort->gram);
  free(cohort->squared);
  free(cohort->length);
  free(cohort->twin);
  *cohort = (struct cns_cohort){0};
}

static int allocate(struct cns_cohort *cohort) {
  size_t n = cohort->n;
  cohort->rows = malloc(n * cohort->columns * sizeof *cohort->rows);
  cohort->gram = malloc(n * n * sizeof *cohort->gram);
  cohort->squared = malloc(n * n * sizeof *cohort->squared);
  cohort->length = malloc(n * sizeof *cohort->length);
  cohort->twin = calloc(n, sizeof *cohort->twin);
  return cohort->rows && cohort->gram && cohort->squared && cohort->length && cohort->twin ? 0
                                                                                           : CNS_ERR_MEMORY;
}

int cns_cohort_init(struct cns_cohort *cohort, const struct cns_detect_input *input,
                    struct cns_problem *problem) {
  int r = check_input(input, problem);
  if (r < 0) return r;
  *cohort = (struct cns_cohort){.input = input, .n = input->hospitals, .columns = input->columns};
  r = allocate(cohort);
  if (r == 0) {
    for (size_t i = 0; i < cohort->n; i++)
      for (size_t c = 0; c < cohort->columns; c++)
        cohort->rows[i * cohort->columns + c] =
            input->rows[i * cohort->columns + c] / input->weights[i] / sqrt(input->blocks);
    cns_geometry_gram(cohort->rows, cohort->n, cohort->columns, cohort->gram);
    cns_geometry_distances(cohort->rows, cohort->gram, cohort->n, cohort->columns, cohort->squared);
    for (size_t i = 0; i < cohort->n; i++)
      cohort->length[i] = sqrt(cohort->gram[i * cohort->n + i]);
    cohort->noise_floor = input->blocks > 1 ? 1 / sqrt(2 * (double)cohort->columns) : FLOOR_OF_VECTORS;
    r = cns_cohort_find_twins(cohort);
  }
  if (r < 0) {
    cns_cohort_deinit(cohort);
    return cns_problem_set(problem, r, "out of memory");
  }
  return 0;
}
