/* SPDX-License-Identifier: Apache-2.0 */
#include "model/columns.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEAR_MAX 3
#define NEAR_CHARS 40 /* longer names aren't compared letter by letter */

struct named {
  const char *name;
  size_t index;
};

static int compare_named(const void *a, const void *b) {
  return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

static char folded(char c) {
  if (c == '-' || c == ' ' || c == '.') return '_';
  return (char)tolower((unsigned char)c);
}

/* Levenshtein's distance of the folded names, or a large number. */
static size_t distance(const char *a, const char *b) {
  size_t a_len = strlen(a), b_len = strlen(b);
  if (a_len > NEAR_CHARS || b_len > NEAR_CHARS) return SIZE_MAX;
  size_t row[NEAR_CHARS + 1];
  for (size_t j = 0; j <= b_len; j++)
    row[j] = j;
  for (size_t i = 1; i <= a_len; i++) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b_len; j++) {
      size_t changed = diagonal + (folded(a[i - 1]) != folded(b[j - 1]));
      diagonal = row[j];
      size_t other = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
      row[j] = changed < other ? changed : other;
    }
  }
  return row[b_len];
}

static bool is_printable(const char *name) {
  for (; *name; name++)
    if ((unsigned char)*name < 0x20 || *name == 0x7F) return false;
  return true;
}

static bool is_near(const char *wanted, const char *found) {
  size_t len = strlen(wanted);
  if (!*found || strlen(found) > NEAR_CHARS || !is_printable(found)) return false;
  if (len >= 4 && (strcasestr(found, wanted) || (strlen(found) >= 4 && strcasestr(wanted, found))))
    return true;
  return distance(wanted, found) <= (len < 5 ? 1 : 2);
}

static int missing_column(const struct cns_csv *header, const char *wanted, struct cns_problem *problem) {
  char near[NEAR_MAX * (NEAR_CHARS + 8)] = "";
  size_t used = 0, listed = 0;
  for (size_t i = 0; i < header->field_count && listed < NEAR_MAX; i++) {
    const char *found = cns_csv_field(header, i);
    if (!is_near(wanted, found)) continue;
    used += (size_t)snprintf(near + used, sizeof near - used, "%s\"%s\"", listed++ ? ", " : "", found);
  }
  const char *separated = "";
  if (header->field_count == 1 && strpbrk(cns_csv_field(header, 0), ";\t|"))
    separated =
        "; the columns seem to be separated by something else than commas: save the table with commas";
  return cns_problem_set(problem, CNS_ERR_FORMAT,
                         "%s: the study needs a column \"%s\", and there is none%s%s%s", header->where,
                         wanted, used ? "; similar: " : "", near, separated);
}

static int check_duplicates(const struct cns_csv *header, const struct named *sorted,
                            struct cns_problem *problem) {
  for (size_t i = 1; i < header->field_count; i++) {
    if (!*sorted[i].name || strcmp(sorted[i - 1].name, sorted[i].name) != 0) continue;
    if (!is_printable(sorted[i].name))
      return cns_problem_set(problem, CNS_ERR_FORMAT, "%s: a column name occurs twice", header->where);
    return cns_problem_set(problem, CNS_ERR_FORMAT, "%s: the column \"%.100s\" occurs twice in the header",
                           header->where, sorted[i].name);
  }
  return 0;
}

static int find(const struct cns_csv *header, const struct named *sorted, const char *name, size_t *ret_index,
                struct cns_problem *problem) {
  struct named key = {.name = name};
  const struct named *found = bsearch(&key, sorted, header->field_count, sizeof *sorted, compare_named);
  if (!found) return missing_column(header, name, problem);
  *ret_index = found->index;
  return 0;
}

int cns_columns_find(const struct cns_plan *plan, const struct cns_csv *header, bool training,
                     struct cns_columns *ret_columns, struct cns_problem *problem) {
  struct cns_columns columns = {
      .count = header->field_count, .label = CNS_COLUMN_NONE, .patient = CNS_COLUMN_NONE};
  struct named *sorted = calloc(header->field_count, sizeof *sorted);
  columns.features = calloc(plan->feature_count, sizeof *columns.features);
  int r = sorted && columns.features ? 0 : cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  if (r == 0) {
    for (size_t i = 0; i < header->field_count; i++)
      sorted[i] = (struct named){.name = cns_csv_field(header, i), .index = i};
    qsort(sorted, header->field_count, sizeof *sorted, compare_named);
    r = check_duplicates(header, sorted, problem);
  }
  for (size_t f = 0; r == 0 && f < plan->feature_count; f++)
    r = find(header, sorted, plan->features[f].name, &columns.features[f], problem);
  if (r == 0 && training) r = find(header, sorted, plan->label_column, &columns.label, problem);
  if (r == 0 && training) r = find(header, sorted, plan->patient_column, &columns.patient, problem);
  free(sorted);
  if (r < 0) {
    cns_columns_deinit(&columns);
    return r;
  }
  *ret_columns = columns;
  return 0;
}

void cns_columns_deinit(struct cns_columns *columns) {
  free(columns->features);
  *columns = (struct cns_columns){0};
}
