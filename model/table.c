/* SPDX-License-Identifier: Apache-2.0 */
#include "model/table.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/json.h"
#include "model/columns.h"
#include "model/csv.h"
#include "model/number.h"

enum { MARK_MISSING = 1, MARK_CLIPPED = 2 };

/* What is known while rows come in. */
struct reading {
  const struct cns_plan *plan;
  enum cns_table_use use;
  struct cns_csv csv;
  struct cns_columns columns;
  struct cns_table table;
  struct cns_table_report report;
  size_t row_capacity;
  uint32_t *slots; /* open addressing: patient number + 1, or 0 */
  size_t slot_count;
  float *row;     /* one standardised row, */
  uint8_t *marks; /* and what was met in it, by feature */
};

static int no_memory(struct cns_problem *problem) {
  return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory for the table");
}

static bool is_missing(const char *cell) {
  static const char *const words[] = {"", "NA", "N/A", "NaN", "nan", "null", "NULL", "?"};
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
    if (strcmp(cell, words[i]) == 0) return true;
  return false;
}

/* Grows one array of the table to `rows` entries of `bytes` each. */
static int grow(void *array, size_t rows, size_t bytes) {
  void **pointer = array;
  if (bytes != 0 && rows > SIZE_MAX / bytes) return CNS_ERR_MEMORY;
  void *moved = realloc(*pointer, rows * bytes);
  if (!moved) return CNS_ERR_MEMORY;
  *pointer = moved;
  return 0;
}

static int reserve_row(struct reading *reading, struct cns_problem *problem) {
  struct cns_table *table = &reading->table;
  if (table->rows < reading->row_capacity) return 0;
  if (table->rows >= CNS_TABLE_ROWS_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "%s: more than %u rows", reading->csv.where,
                           CNS_TABLE_ROWS_MAX);
  size_t rows = reading->row_capacity ? 2 * reading->row_capacity : 256;
  if (rows > CNS_TABLE_ROWS_MAX) rows = CNS_TABLE_ROWS_MAX;
  if (grow(&table->x, rows, table->features * sizeof *table->x) < 0 ||
      grow(&table->label, rows, sizeof *table->label) < 0 ||
      grow(&table->patient, rows, sizeof *table->patient) < 0 ||
      grow(&table->source, rows, sizeof *table->source) < 0 ||
      grow(&table->patient_keys, rows, sizeof *table->patient_keys) < 0)
    return no_memory(problem);
  reading->row_capacity = rows;
  return 0;
}

static size_t slot_of(const struct reading *reading, const struct cns_digest *key) {
  uint64_t start;
  memcpy(&start, key->bytes, sizeof start);
  size_t slot = (size_t)start & (reading->slot_count - 1);
  while (reading->slots[slot] && memcmp(reading->table.patient_keys[reading->slots[slot] - 1].bytes,
                                        key->bytes, sizeof key->bytes) != 0)
    slot = (slot + 1) & (reading->slot_count - 1);
  return slot;
}

/* Keeps the table of slots at most half full. */
static int reserve_slots(struct reading *reading, struct cns_problem *problem) {
  if (2 * (reading->table.patients + 1) <= reading->slot_count) return 0;
  size_t count = reading->slot_count ? 2 * reading->slot_count : 1024;
  uint32_t *slots = calloc(count, sizeof *slots);
  if (!slots) return no_memory(problem);
  free(reading->slots);
  reading->slots = slots;
  reading->slot_count = count;
  for (size_t p = 0; p < reading->table.patients; p++)
    slots[slot_of(reading, &reading->table.patient_keys[p])] = (uint32_t)p + 1;
  return 0;
}

/* Number of the patient, new or known. The identifier itself is not kept. */
static int patient_number(struct reading *reading, const char *identifier, uint32_t *ret_number,
                          struct cns_problem *problem) {
  int r = reserve_slots(reading, problem);
  if (r < 0) return r;
  struct cns_digest key;
  cns_hash_once("consilium/1 patient key", identifier, strlen(identifier), &key);
  size_t slot = slot_of(reading, &key);
  if (!reading->slots[slot]) {
    reading->table.patient_keys[reading->table.patients++] = key;
    reading->slots[slot] = (uint32_t)reading->table.patients;
  }
  *ret_number = reading->slots[slot] - 1;
  return 0;
}

/* "FILE, line 18 (row 17), column "age"" without the cell's value. */
static int cell_problem(const struct reading *reading, const char *column, const char *what,
                        struct cns_problem *problem) {
  return cns_problem_set(problem, CNS_ERR_FORMAT, "%s, line %zu (data row %zu), column \"%s\": %s",
                         reading->csv.where, reading->csv.record_line, reading->report.rows_read, column,
                         what);
}

/* 0 with the label, 1 if it is missing. */
static int read_label(const struct reading *reading, uint16_t *ret_label, struct cns_problem *problem) {
  const struct cns_plan *plan = reading->plan;
  *ret_label = CNS_TABLE_NO_LABEL;
  if (reading->use == CNS_TABLE_PREDICTION) return 0;
  const char *cell = cns_csv_field(&reading->csv, reading->columns.label);
  /* A class may itself be called "NA" or "?". */
  for (size_t c = 0; c < plan->class_count; c++)
    if (strcmp(plan->classes[c], cell) == 0) {
      *ret_label = (uint16_t)c;
      return 0;
    }
  if (is_missing(cell)) return 1;
  return cell_problem(
      reading, plan->label_column,
      "the label is none of the study's classes; correct it, or clear the cell to leave the row out",
      problem);
}

/* Between -1 and 1 by the public range. */
static float standardise(const struct cns_plan_feature *feature, double value) {
  double inside = value < feature->min ? feature->min : value > feature->max ? feature->max : value;
  return (float)(2 * ((inside - feature->min) / (feature->max - feature->min)) - 1);
}

/* Fills row and marks. 0, or 1 if the row is to be dropped. */
static int read_features(struct reading *reading, struct cns_problem *problem) {
  const struct cns_plan *plan = reading->plan;
  bool drop = false;
  for (size_t f = 0; f < plan->feature_count; f++) {
    const struct cns_plan_feature *feature = &plan->features[f];
    const char *cell = cns_csv_field(&reading->csv, reading->columns.features[f]);
    double value = feature->impute;
    reading->marks[f] = is_missing(cell) ? MARK_MISSING : 0;
    if (reading->marks[f]) {
      reading->report.missing_of[f]++;
      drop = drop || feature->missing == CNS_MISSING_DROP;
    } else if (!cns_number_parse(cell, &value)) {
      return cell_problem(reading, feature->name,
                          cns_number_is_too_large(cell) ? "a number that is too large or too long; correct it"
                          : cns_number_has_comma(cell)
                              ? "not a number; write decimals with a point, not a comma"
                              : "not a number; correct it, or clear the cell if it is missing",
                          problem);
    }
    if (value < feature->min || value > feature->max) reading->marks[f] |= MARK_CLIPPED;
    reading->row[f] = standardise(feature, value);
  }
  return drop;
}

static void count_marks(struct reading *reading) {
  for (size_t f = 0; f < reading->table.features; f++) {
    reading->report.imputed_of[f] += (reading->marks[f] & MARK_MISSING) != 0;
    reading->report.clipped_of[f] += reading->marks[f] == MARK_CLIPPED;
  }
}

static int add_row(struct reading *reading, uint16_t label, struct cns_problem *problem) {
  struct cns_table *table = &reading->table;
  uint32_t patient = (uint32_t)reading->report.rows_read - 1;
  int r = reserve_row(reading, problem);
  if (r < 0) return r;
  if (reading->columns.patient != CNS_COLUMN_NONE) {
    const char *identifier = cns_csv_field(&reading->csv, reading->columns.patient);
    if (is_missing(identifier))
      return cell_problem(reading, reading->plan->patient_column,
                          "no patient identifier, so the patient's rows can't be kept together", problem);
    if (!cns_text_is_utf8(identifier))
      return cell_problem(reading, reading->plan->patient_column,
                          "an identifier that isn't UTF-8; save the table as UTF-8 text", problem);
    r = patient_number(reading, identifier, &patient, problem);
    if (r < 0) return r;
  } else {
    memset(&table->patient_keys[table->patients], 0, sizeof table->patient_keys[0]);
    patient = (uint32_t)table->patients++;
  }
  count_marks(reading);
  memcpy(table->x + table->rows * table->features, reading->row, table->features * sizeof *table->x);
  table->label[table->rows] = label;
  table->patient[table->rows] = patient;
  table->source[table->rows] = (uint32_t)reading->report.rows_read;
  if (label != CNS_TABLE_NO_LABEL) reading->report.rows_of_class[label]++;
  table->rows++;
  return 0;
}

static int read_record(struct reading *reading, struct cns_problem *problem) {
  size_t expected = reading->columns.count, found = reading->csv.field_count;
  reading->report.rows_read++;
  if (reading->report.rows_read > CNS_TABLE_ROWS_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "%s: more than %u rows", reading->csv.where,
                           CNS_TABLE_ROWS_MAX);
  if (found != expected)
    return cns_problem_set(
        problem, CNS_ERR_FORMAT, "%s, line %zu (data row %zu): %zu fields, but the header has %zu columns",
        reading->csv.where, reading->csv.record_line, reading->report.rows_read, found, expected);
  uint16_t label;
  int unlabelled = read_label(reading, &label, problem);
  if (unlabelled < 0) return unlabelled;
  int incomplete = read_features(reading, problem);
  if (incomplete < 0) return incomplete;
  reading->report.dropped_unlabelled += unlabelled;
  reading->report.dropped_missing += !unlabelled && incomplete;
  return unlabelled || incomplete ? 0 : add_row(reading, label, problem);
}

static int reading_init(struct reading *reading, const struct cns_plan *plan, struct cns_problem *problem) {
  struct cns_table_report *report = &reading->report;
  reading->table.features = report->features = plan->feature_count;
  reading->table.classes = report->classes = plan->class_count;
  report->missing_of = calloc(plan->feature_count, sizeof(size_t));
  report->imputed_of = calloc(plan->feature_count, sizeof(size_t));
  report->clipped_of = calloc(plan->feature_count, sizeof(size_t));
  report->rows_of_class = calloc(plan->class_count, sizeof(size_t));
  reading->row = calloc(plan->feature_count, sizeof *reading->row);
  reading->marks = calloc(plan->feature_count, 1);
  bool ok = reading->marks && report->missing_of && report->imputed_of && report->clipped_of &&
            report->rows_of_class && reading->row;
  return ok ? 0 : no_memory(problem);
}

static void reading_deinit(struct reading *reading) {
  if (reading->row) cns_wipe(reading->row, reading->table.features * sizeof *reading->row);
  free(reading->row);
  free(reading->marks);
  free(reading->slots);
  cns_columns_deinit(&reading->columns);
  cns_csv_deinit(&reading->csv);
}

static int read_all(struct reading *reading, struct cns_problem *problem) {
  int r = cns_csv_next(&reading->csv, problem);
  if (r == CNS_CSV_END)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "%s: empty; the first line must name the columns",
                           reading->csv.where);
  if (r == 0)
    r = cns_columns_find(reading->plan, &reading->csv, reading->use == CNS_TABLE_TRAINING, &reading->columns,
                         problem);
  while (r == 0) {
    r = cns_csv_next(&reading->csv, problem);
    if (r == 0) r = read_record(reading, problem);
  }
  if (r < 0) return r;
  struct cns_table_report *report = &reading->report;
  report->rows = reading->table.rows;
  report->patients = reading->table.patients;
  size_t present = 0;
  for (size_t c = 0; c < report->classes; c++)
    present += report->rows_of_class[c] > 0;
  report->one_class = present <= 1;
  if (report->rows == 0)
    return cns_problem_set(
        problem, CNS_ERR_FORMAT,
        "%s: no usable row (%zu read, %zu dropped for missing values, %zu for a missing label)",
        reading->csv.where, report->rows_read, report->dropped_missing, report->dropped_unlabelled);
  return 0;
}

int cns_table_parse(const struct cns_plan *plan, const char *text, size_t len, const char *where,
                    enum cns_table_use use, struct cns_table *ret_table, struct cns_table_report *ret_report,
                    struct cns_problem *problem) {
  if (len > CNS_TABLE_BYTES_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "%s: a table may have at most 1 GiB", where);
  struct reading reading = {.plan = plan, .use = use};
  cns_csv_init(&reading.csv, text, len, where);
  int r = reading_init(&reading, plan, problem);
  if (r == 0) r = read_all(&reading, problem);
  reading_deinit(&reading);
  if (r < 0) {
    cns_table_deinit(&reading.table);
    cns_table_report_deinit(&reading.report);
    return r;
  }
  *ret_table = reading.table;
  if (ret_report)
    *ret_report = reading.report;
  else
    cns_table_report_deinit(&reading.report);
  return 0;
}

int cns_table_read(const struct cns_plan *plan, const char *path, enum cns_table_use use,
                   struct cns_table *ret_table, struct cns_table_report *ret_report,
                   struct cns_problem *problem) {
  uint8_t *data;
  size_t len;
  int r = cns_file_read(path, CNS_TABLE_BYTES_MAX, &data, &len, problem);
  if (r < 0) return r;
  r = cns_table_parse(plan, (const char *)data, len, path, use, ret_table, ret_report, problem);
  cns_wipe(data, len);
  free(data);
  return r;
}
