/* SPDX-License-Identifier: Apache-2.0 */
/* Tables for the bench: the shipped one, CSV with a study file or without, NumPy's arrays. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench_data.h"
#include "cli/demo_data.h"
#include "crypto/json.h"
#include "model/npz.h"

int cns_bench_table_new(size_t rows, size_t features, struct cns_table *ret_table, const char *where,
                        struct cns_problem *problem) {
  struct cns_table table = {.rows = rows, .features = features, .patients = rows};
  if (features < 1 || features > CNS_PLAN_FEATURES_MAX || rows < 2 || rows > CNS_TABLE_ROWS_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT,
                           "%s: %zu rows with %zu features each; 2 to %u rows and 1 to %d features are read",
                           where, rows, features, CNS_TABLE_ROWS_MAX, CNS_PLAN_FEATURES_MAX);
  table.x = calloc(rows * features, sizeof *table.x);
  table.label = calloc(rows, sizeof *table.label);
  table.patient = calloc(rows, sizeof *table.patient);
  table.source = calloc(rows, sizeof *table.source);
  table.patient_keys = calloc(rows, sizeof *table.patient_keys);
  if (!table.x || !table.label || !table.patient || !table.source || !table.patient_keys) {
    cns_table_deinit(&table);
    return cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory", where);
  }
  for (size_t i = 0; i < rows; i++) {
    table.patient[i] = (uint32_t)i; /* each row is a patient */
    table.source[i] = (uint32_t)i + 1;
  }
  *ret_table = table;
  return 0;
}

void cns_bench_scale(struct cns_table *table, bool together) {
  size_t features = table->features, groups = together ? 1 : features, width = together ? features : 1;
  for (size_t g = 0; g < groups; g++) {
    float low = INFINITY, high = -INFINITY;
    for (size_t i = 0; i < table->rows; i++)
      for (size_t k = g; k < g + width; k++) {
        low = fminf(low, table->x[i * features + k]);
        high = fmaxf(high, table->x[i * features + k]);
      }
    for (size_t i = 0; i < table->rows; i++)
      for (size_t k = g; k < g + width; k++) {
        float *x = &table->x[i * features + k];
        double span = (double)high - (double)low;
        *x = span > 0 ? (float)(2 * ((double)*x - (double)low) / span - 1) : 0;
      }
  }
}

static int load_study(const struct cns_bench_source *source, struct cns_table *table,
                      struct cns_problem *problem) {
  struct cns_plan plan = {0};
  uint8_t *text = NULL;
  size_t len = 0;
  bool shipped = source->kind == CNS_BENCH_SHIPPED;
  int r = shipped ? cns_plan_parse((const char *)cns_demo_data_study, cns_demo_data_study_bytes,
                                   "the built-in study", &plan, problem)
                  : cns_file_read(source->study, CNS_PLAN_BYTES_MAX, &text, &len, problem);
  if (r == 0 && !shipped) r = cns_plan_parse((const char *)text, len, source->study, &plan, problem);
  if (r == 0 && !plan.has_table) r = cns_plan_check_built_in(&plan, problem);
  if (r == 0)
    r = shipped ? cns_table_parse(&plan, (const char *)cns_demo_data_table, cns_demo_data_table_bytes,
                                  "the built-in table", CNS_TABLE_TRAINING, table, NULL, problem)
                : cns_table_read(&plan, source->path, CNS_TABLE_TRAINING, table, NULL, problem);
  cns_plan_deinit(&plan);
  free(text);
  return r;
}

/* Whole numbers 0..classes-1, of which at least two occur. */
static int take_labels(const struct cns_npy_array *labels, const char *where, struct cns_table *table,
                       struct cns_problem *problem) {
  if (labels->count != table->rows)
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "%s: has %zu labels for %zu rows of features; one for each row is needed", where,
                           labels->count, table->rows);
  bool differ = false;
  for (size_t i = 0; i < table->rows; i++) {
    float value = labels->values[i];
    if (!(value >= 0) || value >= CNS_PLAN_CLASSES_MAX || value != floorf(value))
      return cns_problem_set(problem, CNS_ERR_RANGE,
                             "%s: label %zu (from 0) is %g; labels are whole numbers from 0 to %d", where, i,
                             (double)value, CNS_PLAN_CLASSES_MAX - 1);
    table->label[i] = (uint16_t)value;
    if ((size_t)table->label[i] + 1 > table->classes) table->classes = (size_t)table->label[i] + 1;
    differ |= table->label[i] != table->label[0];
  }
  if (!differ) return cns_problem_set(problem, CNS_ERR_RANGE, "%s: all labels are the same", where);
  return 0;
}

static int from_arrays(const struct cns_npy_array *features, const struct cns_npy_array *labels,
                       const char *of_features, const char *of_labels, struct cns_table *ret_table,
                       struct cns_problem *problem) {
  struct cns_table table = {0};
  if (features->dimensions < 2)
    return cns_problem_set(
        problem, CNS_ERR_UNSUPPORTED,
        "%s: has %zu dimensions; rows x features are needed, or rows x the sides of an image", of_features,
        features->dimensions);
  size_t rows = features->shape[0];
  int r = cns_bench_table_new(rows, features->count / rows, &table, of_features, problem);
  if (r < 0) return r;
  memcpy(table.x, features->values, features->count * sizeof *table.x);
  cns_bench_scale(&table, features->dimensions > 2);
  r = take_labels(labels, of_labels, &table, problem);
  if (r < 0)
    cns_table_deinit(&table);
  else
    *ret_table = table;
  return r;
}

static int load_arrays(const struct cns_bench_source *source, struct cns_table *table,
                       struct cns_problem *problem) {
  struct cns_npy_array features = {0}, labels = {0};
  struct cns_npz npz = {0};
  int r;
  if (source->kind == CNS_BENCH_NPZ) {
    r = cns_npz_open(source->path, &npz, problem);
    if (r == 0) r = cns_npz_array(&npz, source->features, &features, problem);
    if (r == 0) r = cns_npz_array(&npz, source->labels, &labels, problem);
  } else {
    r = cns_npy_read_array(source->path, &features, problem);
    if (r == 0) r = cns_npy_read_array(source->labels, &labels, problem);
  }
  bool archive = source->kind == CNS_BENCH_NPZ;
  if (r == 0)
    r = from_arrays(&features, &labels, archive ? source->features : source->path, source->labels, table,
                    problem);
  cns_npy_array_deinit(&features);
  cns_npy_array_deinit(&labels);
  cns_npz_deinit(&npz);
  return r;
}

static void digest_of(const struct cns_table *table, struct cns_digest *ret_digest) {
  struct cns_hash hash;
  cns_hash_init(&hash, "consilium/1 bench data");
  cns_hash_u64(&hash, table->rows);
  cns_hash_u64(&hash, table->features);
  cns_hash_u64(&hash, table->classes);
  cns_hash_bytes(&hash, table->x, table->rows * table->features * sizeof *table->x);
  cns_hash_bytes(&hash, table->label, table->rows * sizeof *table->label);
  cns_hash_bytes(&hash, table->patient, table->rows * sizeof *table->patient);
  cns_hash_final(&hash, ret_digest);
}

int cns_bench_data_load(const struct cns_bench_source *source, struct cns_bench_data *ret_data,
                        struct cns_problem *problem) {
  struct cns_bench_data data = {0};
  int r;
  if (source->kind == CNS_BENCH_SHIPPED || source->study)
    r = load_study(source, &data.table, problem);
  else
    r = source->kind == CNS_BENCH_CSV ? cns_bench_csv_load(source, &data.table, problem)
                                      : load_arrays(source, &data.table, problem);
  if (r < 0) return r;
  digest_of(&data.table, &data.digest);
  *ret_data = data;
  return 0;
}

void cns_bench_data_deinit(struct cns_bench_data *data) {
  cns_table_deinit(&data->table);
}
