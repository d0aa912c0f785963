/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench_data.h"
#include "crypto/json.h"
#include "model/csv.h"
#include "model/number.h"

struct reading {
  const struct cns_bench_source *source;
  struct cns_csv csv;
  size_t columns, label;
  size_t *feature; /* columns of features, in order */
  size_t features, rows;
  char *classes[CNS_PLAN_CLASSES_MAX];
  size_t class_count;
  struct cns_table table;
};

static bool is_ignored(const struct cns_bench_source *source, const char *name) {
  for (const cJSON *item = source->ignore ? source->ignore->child : NULL; item; item = item->next)
    if (cJSON_IsString(item) && strcmp(item->valuestring, name) == 0) return true;
  return false;
}

static int read_header(struct reading *reading, struct cns_problem *problem) {
  const struct cns_bench_source *source = reading->source;
  int r = cns_csv_next(&reading->csv, problem);
  if (r == CNS_CSV_END) return cns_problem_set(problem, CNS_ERR_FORMAT, "%s: is empty", source->path);
  if (r < 0) return r;
  reading->columns = reading->csv.field_count;
  reading->label = SIZE_MAX;
  reading->feature = calloc(reading->columns, sizeof *reading->feature);
  if (!reading->feature) return CNS_ERR_MEMORY;
  for (size_t c = 0; c < reading->columns; c++) {
    const char *name = cns_csv_field(&reading->csv, c);
    if (strcmp(name, source->label) == 0 && reading->label == SIZE_MAX)
      reading->label = c;
    else if (strcmp(name, source->label) == 0)
      return cns_problem_set(problem, CNS_ERR_FORMAT, "%s: two columns are named \"%s\"", source->path, name);
    else if (!is_ignored(source, name))
      reading->feature[reading->features++] = c;
  }
  if (reading->label == SIZE_MAX)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "%s: has no column \"%s\"", source->path, source->label);
  for (const cJSON *item = source->ignore ? source->ignore->child : NULL; item; item = item->next) {
    size_t c = 0;
    while (cJSON_IsString(item) && c < reading->columns &&
           strcmp(cns_csv_field(&reading->csv, c), item->valuestring) != 0)
      c++;
    if (!cJSON_IsString(item) || c == reading->columns)
      return cns_problem_set(problem, CNS_ERR_FORMAT,
                             "%s: data.ignore names a column \"%.60s\" that isn't there", source->path,
                             cJSON_IsString(item) ? item->valuestring : "?");
  }
  return 0;
}

static int check_record(const struct reading *reading, struct cns_problem *problem) {
  if (reading->csv.field_count == reading->columns) return 0;
  return cns_problem_set(problem, CNS_ERR_FORMAT, "%s, line %zu: %zu fields, but the header has %zu",
                         reading->source->path, reading->csv.record_line, reading->csv.field_count,
                         reading->columns);
}

static int find_class(const struct reading *reading, const char *name) {
  for (size_t c = 0; c < reading->class_count; c++)
    if (strcmp(reading->classes[c], name) == 0) return (int)c;
  return -1;
}

static int by_name(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

/* First pass: how many rows, which classes. */
static int count_rows(struct reading *reading, struct cns_problem *problem) {
  const char *path = reading->source->path;
  int r;
  while ((r = cns_csv_next(&reading->csv, problem)) == 0) {
    r = check_record(reading, problem);
    if (r < 0) return r;
    const char *name = cns_csv_field(&reading->csv, reading->label);
    if (!*name)
      return cns_problem_set(problem, CNS_ERR_FORMAT, "%s, line %zu: the label is missing", path,
                             reading->csv.record_line);
    if (++reading->rows > CNS_TABLE_ROWS_MAX)
      return cns_problem_set(problem, CNS_ERR_LIMIT, "%s: more than %u rows", path, CNS_TABLE_ROWS_MAX);
    if (find_class(reading, name) >= 0) continue;
    if (reading->class_count == CNS_PLAN_CLASSES_MAX)
      return cns_problem_set(problem, CNS_ERR_LIMIT, "%s: column \"%s\" has more than %d different values",
                             path, reading->source->label, CNS_PLAN_CLASSES_MAX);
    if (!(reading->classes[reading->class_count] = strdup(name))) return CNS_ERR_MEMORY;
    reading->class_count++;
  }
  if (r < 0) return r;
  if (reading->class_count < 2)
    return cns_problem_set(problem, CNS_ERR_RANGE,
                           "%s: column \"%s\" must have at least two different values", path,
                           reading->source->label);
  qsort(reading->classes, reading->class_count, sizeof reading->classes[0], by_name);
  return 0;
}

static int read_row(struct reading *reading, size_t row, struct cns_problem *problem) {
  struct cns_table *table = &reading->table;
  table->label[row] = (uint16_t)find_class(reading, cns_csv_field(&reading->csv, reading->label));
  for (size_t k = 0; k < reading->features; k++) {
    const char *text = cns_csv_field(&reading->csv, reading->feature[k]);
    double value;
    if (!cns_number_parse(text, &value) || !isfinite((float)value))
      return cns_problem_set(problem, CNS_ERR_FORMAT,
                             "%s, line %zu, column %zu: is no finite number; columns that are none go into "
                             "data.ignore, rows without one must be removed",
                             reading->source->path, reading->csv.record_line, reading->feature[k] + 1);
    table->x[row * reading->features + k] = (float)value;
  }
  return 0;
}

/* Second pass. */
static int read_rows(struct reading *reading, const char *text, size_t len, struct cns_problem *problem) {
  int r =
      cns_bench_table_new(reading->rows, reading->features, &reading->table, reading->source->path, problem);
  if (r < 0) return r;
  cns_csv_deinit(&reading->csv);
  cns_csv_init(&reading->csv, text, len, reading->source->path);
  r = cns_csv_next(&reading->csv, problem); /* the header */
  for (size_t row = 0; r == 0 && row < reading->rows; row++) {
    r = cns_csv_next(&reading->csv, problem);
    if (r == 0) r = read_row(reading, row, problem);
  }
  reading->table.classes = reading->class_count;
  if (r == 0) cns_bench_scale(&reading->table, false);
  return r;
}

int cns_bench_csv_load(const struct cns_bench_source *source, struct cns_table *ret_table,
                       struct cns_problem *problem) {
  struct reading reading = {.source = source};
  uint8_t *text = NULL;
  size_t len = 0;
  int r = cns_file_read(source->path, CNS_TABLE_BYTES_MAX, &text, &len, problem);
  if (r < 0) return r;
  cns_csv_init(&reading.csv, (const char *)text, len, source->path);
  r = read_header(&reading, problem);
  if (r == 0) r = count_rows(&reading, problem);
  if (r == 0) r = read_rows(&reading, (const char *)text, len, problem);
  cns_csv_deinit(&reading.csv);
  for (size_t c = 0; c < reading.class_count; c++)
    free(reading.classes[c]);
  free(reading.feature);
  free(text);
  if (r < 0)
    cns_table_deinit(&reading.table);
  else
    *ret_table = reading.table;
  return r;
}
