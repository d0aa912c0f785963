/* SPDX-License-Identifier: Apache-2.0 */
/* Networks, random patients and 113-bit arithmetic for the tests of model/private.h. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/rng.h"
#include "model/network.h"
#include "model/private_parts.h"

#define LENGTH_OF(array) (sizeof(array) / sizeof(array)[0])

#if defined(__SIZEOF_FLOAT128__)
__extension__ typedef __float128 quad;
#else
typedef long double quad;
#endif

static struct cns_rng_seeded generator;

static inline uint64_t below(uint64_t bound) {
  uint64_t value;
  assert_int_equal(cns_rng_uniform_u64(cns_rng_seeded(&generator), bound, &value), 0);
  return value;
}

/* In [-1, 1). */
static inline float uniform(void) {
  return (float)((double)below(1u << 24) / 0x1p23 - 1);
}

struct network {
  size_t features, classes, hidden[3], hidden_count;
  enum cns_plan_activation activation;
};

static const struct network networks[] = {
    {3, 2, {0}, 0, CNS_ACTIVATION_RELU},          {17, 5, {0}, 0, CNS_ACTIVATION_RELU},
    {4, 2, {19}, 1, CNS_ACTIVATION_RELU},         {30, 2, {33, 16}, 2, CNS_ACTIVATION_TANH},
    {7, 5, {20, 31, 12}, 3, CNS_ACTIVATION_RELU}, {5, 5, {9, 8, 7}, 3, CNS_ACTIVATION_TANH},
    {40, 2, {50, 40}, 2, CNS_ACTIVATION_RELU},
};

static inline struct cns_plan plan_of(const struct network *network) {
  struct cns_plan plan = {.class_count = network->classes,
                          .feature_count = network->features,
                          .kind = network->hidden_count ? CNS_MODEL_MLP : CNS_MODEL_LOGISTIC,
                          .hidden_count = network->hidden_count,
                          .activation = network->activation};
  memcpy(plan.hidden, network->hidden, sizeof network->hidden);
  for (size_t l = 0; l < cns_plan_layer_count(&plan); l++)
    plan.dim += cns_plan_layer_outputs(&plan, l) * (cns_plan_layer_inputs(&plan, l) + 1);
  return plan;
}

/* Uniform in +-reach/sqrt(inputs). */
static inline float *params_of(const struct cns_plan *plan, double reach) {
  float *params = malloc(plan->dim * sizeof *params);
  assert_non_null(params);
  for (size_t t = 0; t < cns_plan_tensor_count(plan); t++) {
    struct cns_plan_tensor tensor = cns_plan_tensor(plan, t);
    double width = reach / sqrt((double)cns_plan_layer_inputs(plan, t / 2));
    for (size_t k = 0; k < tensor.count; k++)
      params[tensor.offset + k] = (float)(width * (double)uniform());
  }
  return params;
}

/* Room for `rows` rows of `patients` patients; labels 0, patient 0, features 0. */
static inline struct cns_table table_of(const struct cns_plan *plan, size_t rows, size_t patients) {
  struct cns_table table = {.rows = rows,
                            .features = plan->feature_count,
                            .classes = plan->class_count,
                            .patients = patients,
                            .x = calloc(rows * plan->feature_count, sizeof(float)),
                            .label = calloc(rows, sizeof(uint16_t)),
                            .patient = calloc(rows, sizeof(uint32_t)),
                            .source = calloc(rows, sizeof(uint32_t)),
                            .patient_keys = calloc(patients, sizeof(struct cns_digest))};
  assert_true(table.x && table.label && table.patient && table.source && table.patient_keys);
  return table;
}

static inline void fill_row(struct cns_table *table, size_t row, size_t patient) {
  table->patient[row] = (uint32_t)patient;
  table->label[row] = (uint16_t)below(table->classes);
  for (size_t f = 0; f < table->features; f++)
    table->x[row * table->features + f] = uniform();
}

static inline void swap_rows(struct cns_table *table, size_t a, size_t b) {
  for (size_t f = 0; f < table->features; f++) {
    float x = table->x[a * table->features + f];
    table->x[a * table->features + f] = table->x[b * table->features + f];
    table->x[b * table->features + f] = x;
  }
  uint16_t label = table->label[a];
  table->label[a] = table->label[b];
  table->label[b] = label;
  uint32_t patient = table->patient[a];
  table->patient[a] = table->patient[b];
  table->patient[b] = patient;
}

/* Patients of 1..rows_max rows each, in random order. */
static inline struct cns_table random_table(const struct cns_plan *plan, size_t patients, size_t rows_max) {
  size_t rows = 0, *rows_of = calloc(patients, sizeof *rows_of);
  assert_non_null(rows_of);
  for (size_t p = 0; p < patients; p++)
    rows += rows_of[p] = 1 + below(rows_max);
  struct cns_table table = table_of(plan, rows, patients);
  size_t at = 0;
  for (size_t p = 0; p < patients; p++)
    for (size_t k = 0; k < rows_of[p]; k++)
      fill_row(&table, at++, p);
  free(rows_of);
  for (size_t i = rows; i > 1; i--)
    swap_rows(&table, i - 1, below(i));
  return table;
}

/* The table without one patient's rows; the others keep their order. */
static inline struct cns_table without(const struct cns_table *table, size_t patient) {
  bool *keep = calloc(table->rows, sizeof *keep);
  assert_non_null(keep);
  for (size_t i = 0; i < table->rows; i++)
    keep[i] = table->patient[i] != patient;
  struct cns_table part;
  assert_int_equal(cns_table_select(table, keep, &part), 0);
  free(keep);
  return part;
}

static inline bool *everybody(size_t patients) {
  bool *in = malloc(patients + 1);
  assert_non_null(in);
  memset(in, 1, patients + 1);
  return in;
}

static inline double *zeros(size_t count) {
  double *values = calloc(count, sizeof *values);
  assert_non_null(values);
  return values;
}

static inline double norm_of(const double *values, size_t count) {
  quad sum = 0;
  for (size_t k = 0; k < count; k++)
    sum += (quad)values[k] * (quad)values[k];
  return sqrt((double)sum);
}

static inline double distance(const double *a, const double *b, size_t count) {
  quad sum = 0;
  for (size_t k = 0; k < count; k++) {
    quad difference = (quad)a[k] - (quad)b[k];
    sum += difference * difference;
  }
  return sqrt((double)sum);
}
