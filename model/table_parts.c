/* SPDX-License-Identifier: Apache-2.0 */
/* Copies, splits and the report of a table (declared in model/table.h). */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/table.h"

void cns_table_deinit(struct cns_table *table) {
  if (table->x) cns_wipe(table->x, table->rows * table->features * sizeof *table->x);
  if (table->label) cns_wipe(table->label, table->rows * sizeof *table->label);
  if (table->patient_keys) cns_wipe(table->patient_keys, table->patients * sizeof *table->patient_keys);
  free(table->x);
  free(table->label);
  free(table->patient);
  free(table->source);
  free(table->patient_keys);
  *table = (struct cns_table){0};
}

void cns_table_report_deinit(struct cns_table_report *report) {
  free(report->missing_of);
  free(report->imputed_of);
  free(report->clipped_of);
  free(report->rows_of_class);
  *report = (struct cns_table_report){0};
}

/* calloc that gives a block for zero entries too. */
static void *array(size_t count, size_t bytes) {
  return calloc(count ? count : 1, bytes);
}

static int table_init(const struct cns_table *like, size_t rows, struct cns_table *table) {
  *table = (struct cns_table){.features = like->features, .classes = like->classes};
  table->x = array(rows, like->features * sizeof *table->x);
  table->label = array(rows, sizeof *table->label);
  table->patient = array(rows, sizeof *table->patient);
  table->source = array(rows, sizeof *table->source);
  table->patient_keys = array(like->patients < rows ? like->patients : rows, sizeof *table->patient_keys);
  if (table->x && table->label && table->patient && table->source && table->patient_keys) return 0;
  cns_table_deinit(table);
  return CNS_ERR_MEMORY;
}

int cns_table_select(const struct cns_table *table, const bool *keep, struct cns_table *ret_table) {
  size_t rows = 0;
  for (size_t i = 0; i < table->rows; i++)
    rows += keep[i];
  struct cns_table part;
  uint32_t *renumbered = array(table->patients, sizeof *renumbered); /* new number + 1 */
  if (!renumbered) return CNS_ERR_MEMORY;
  int r = table_init(table, rows, &part);
  for (size_t i = 0; r == 0 && i < table->rows; i++) {
    if (!keep[i]) continue;
    uint32_t *number = &renumbered[table->patient[i]];
    if (!*number) {
      part.patient_keys[part.patients++] = table->patient_keys[table->patient[i]];
      *number = (uint32_t)part.patients;
    }
    memcpy(part.x + part.rows * part.features, table->x + i * table->features,
           part.features * sizeof *part.x);
    part.label[part.rows] = table->label[i];
    part.patient[part.rows] = *number - 1;
    part.source[part.rows++] = table->source[i];
  }
  free(renumbered);
  if (r == 0) *ret_table = part;
  return r;
}

struct ranked {
  struct cns_digest rank;
  size_t patient;
};

static int compare_ranked(const void *a, const void *b) {
  const struct ranked *x = a, *y = b;
  int order = memcmp(x->rank.bytes, y->rank.bytes, sizeof x->rank.bytes);
  return order ? order : (x->patient > y->patient) - (x->patient < y->patient);
}

/* held[patient] for those that go to validation. */
static int choose_validation(const struct cns_table *table, uint64_t seed, uint32_t hospital, double share,
                             bool *held) {
  size_t count = (size_t)llround(share * (double)table->patients);
  if (share > 0 && count == 0) count = 1;
  if (count >= table->patients) count = table->patients ? table->patients - 1 : 0;
  struct ranked *ranked = array(table->patients, sizeof *ranked);
  if (!ranked) return CNS_ERR_MEMORY;
  for (size_t p = 0; p < table->patients; p++) {
    struct cns_hash hash;
    cns_hash_init(&hash, "consilium/1 validation split");
    cns_hash_u64(&hash, seed);
    cns_hash_u32(&hash, hospital);
    cns_hash_digest(&hash, &table->patient_keys[p]);
    cns_hash_final(&hash, &ranked[p].rank);
    ranked[p].patient = p;
  }
  qsort(ranked, table->patients, sizeof *ranked, compare_ranked);
  for (size_t k = 0; k < count && k < table->patients; k++)
    held[ranked[k].patient] = true;
  free(ranked);
  return 0;
}

int cns_table_split(const struct cns_table *table, uint64_t seed, uint32_t hospital, double share,
                    struct cns_table *ret_train, struct cns_table *ret_validation) {
  if (!(share >= 0 && share <= 0.5)) return CNS_ERR_ARGUMENT;
  struct cns_table train = {0}, validation = {0};
  bool *held = array(table->patients, sizeof *held), *keep = array(table->rows, sizeof *keep);
  int r = held && keep ? choose_validation(table, seed, hospital, share, held) : CNS_ERR_MEMORY;
  for (size_t i = 0; r == 0 && i < table->rows; i++)
    keep[i] = !held[table->patient[i]];
  if (r == 0) r = cns_table_select(table, keep, &train);
  for (size_t i = 0; r == 0 && i < table->rows; i++)
    keep[i] = !keep[i];
  if (r == 0) r = cns_table_select(table, keep, &validation);
  free(held);
  free(keep);
  if (r < 0) {
    cns_table_deinit(&train);
    return r;
  }
  *ret_train = train;
  *ret_validation = validation;
  return 0;
}

/* Appends to a growing text; sets *text NULL when memory runs out. */
static void CNS_PRINTF(2, 3) say(char **text, const char *fmt, ...) {
  if (!*text) return;
  char *piece = NULL, *joined = NULL;
  va_list args;
  va_start(args, fmt);
  if (vasprintf(&piece, fmt, args) < 0) piece = NULL;
  va_end(args);
  if (piece && asprintf(&joined, "%s%s", *text, piece) < 0) joined = NULL;
  free(piece);
  free(*text);
  *text = joined;
}

static void say_columns(char **text, const struct cns_plan *plan, const size_t *counts, const char *what) {
  size_t columns = 0, listed = 0;
  for (size_t f = 0; f < plan->feature_count; f++)
    columns += counts[f] > 0;
  if (columns == 0) return;
  say(text, "%s: ", what);
  for (size_t f = 0; f < plan->feature_count && listed < 10; f++)
    if (counts[f] > 0) say(text, "%s%s %zu", listed++ ? ", " : "", plan->features[f].name, counts[f]);
  if (columns > listed) say(text, ", and %zu more columns", columns - listed);
  say(text, "\n");
}

int cns_table_report_text(const struct cns_plan *plan, const struct cns_table_report *report,
                          char **ret_text) {
  char *text = strdup("");
  say(&text, "%zu rows of %zu patients used, of %zu read\n", report->rows, report->patients,
      report->rows_read);
  if (report->dropped_missing) say(&text, "%zu rows dropped for a missing value\n", report->dropped_missing);
  if (report->dropped_unlabelled)
    say(&text, "%zu rows dropped for a missing label\n", report->dropped_unlabelled);
  say(&text, "rows by class:");
  for (size_t c = 0; c < report->classes; c++)
    say(&text, "%s %s %zu", c ? "," : "", plan->classes[c], report->rows_of_class[c]);
  say(&text, "\n");
  if (report->one_class)
    say(&text, "only one class occurs here: training is possible, an AUC of this site alone is not\n");
  say_columns(&text, plan, report->missing_of, "missing values by column");
  say_columns(&text, plan, report->imputed_of, "filled with the study's value by column");
  say_columns(&text, plan, report->clipped_of, "out of the study's range and clipped to it by column");
  if (!text) return CNS_ERR_MEMORY;
  *ret_text = text;
  return 0;
}
