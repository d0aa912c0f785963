/* SPDX-License-Identifier: Apache-2.0 */
#include "model/csv.h"

#include <stdlib.h>
#include <string.h>

void cns_csv_init(struct cns_csv *csv, const char *text, size_t len, const char *where) {
  *csv = (struct cns_csv){.text = text, .len = len, .where = where, .line = 1};
  if (len >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) csv->at = 3;
}

void cns_csv_deinit(struct cns_csv *csv) {
  if (csv->scratch) cns_wipe(csv->scratch, csv->scratch_capacity);
  free(csv->scratch);
  free(csv->fields);
  *csv = (struct cns_csv){0};
}

const char *cns_csv_field(const struct cns_csv *csv, size_t index) {
  return csv->scratch + csv->fields[index].offset;
}

static int no_memory(const struct cns_csv *csv, struct cns_problem *problem) {
  return cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory", csv->where);
}

static int put(struct cns_csv *csv, char byte, struct cns_problem *problem) {
  if (csv->scratch_len == csv->scratch_capacity) {
    size_t larger = csv->scratch_capacity ? 2 * csv->scratch_capacity : 1024;
    char *moved = malloc(larger);
    if (!moved) return no_memory(csv, problem);
    if (csv->scratch) {
      memcpy(moved, csv->scratch, csv->scratch_len);
      cns_wipe(csv->scratch, csv->scratch_capacity);
      free(csv->scratch);
    }
    csv->scratch = moved;
    csv->scratch_capacity = larger;
  }
  csv->scratch[csv->scratch_len++] = byte;
  return 0;
}

static int fail(const struct cns_csv *csv, int error, const char *what, struct cns_problem *problem) {
  return cns_problem_set(problem, error, "%s, line %zu: %s", csv->where, csv->line, what);
}

static bool at_break(const struct cns_csv *csv) {
  if (csv->at >= csv->len) return true;
  char c = csv->text[csv->at];
  return c == '\n' || (c == '\r' && csv->at + 1 < csv->len && csv->text[csv->at + 1] == '\n');
}

static bool at_blank(const struct cns_csv *csv) {
  return csv->at < csv->len && (csv->text[csv->at] == ' ' || csv->text[csv->at] == '\t');
}

static void skip_break(struct cns_csv *csv) {
  if (csv->at >= csv->len) return;
  csv->at += csv->text[csv->at] == '\r' ? 2 : 1;
  csv->line++;
}

/* One byte of content. */
static int take(struct cns_csv *csv, size_t begin, struct cns_problem *problem) {
  char c = csv->text[csv->at];
  if (c == 0) return fail(csv, CNS_ERR_FORMAT, "holds a NUL byte; save the table as UTF-8 text", problem);
  if (csv->scratch_len - begin >= CNS_CSV_FIELD_MAX)
    return fail(csv, CNS_ERR_LIMIT, "a field is longer than 65,536 bytes (is a quote missing?)", problem);
  csv->at++;
  return put(csv, c, problem);
}

static int read_quoted(struct cns_csv *csv, size_t begin, struct cns_problem *problem) {
  size_t opened = csv->line;
  for (csv->at++;;) {
    if (csv->at >= csv->len)
      return cns_problem_set(problem, CNS_ERR_FORMAT, "%s: the quote opened in line %zu is never closed",
                             csv->where, opened);
    if (csv->text[csv->at] == '"') {
      csv->at++;
      if (csv->at >= csv->len || csv->text[csv->at] != '"') break;
    } else if (csv->text[csv->at] == '\n') {
      csv->line++;
    }
    int r = take(csv, begin, problem);
    if (r < 0) return r;
  }
  while (at_blank(csv))
    csv->at++;
  if (!at_break(csv) && csv->text[csv->at] != ',')
    return fail(csv, CNS_ERR_FORMAT, "text follows a closing quote", problem);
  return 0;
}

static int read_plain(struct cns_csv *csv, size_t begin, struct cns_problem *problem) {
  while (!at_break(csv) && csv->text[csv->at] != ',') {
    if (csv->text[csv->at] == '"')
      return fail(csv, CNS_ERR_FORMAT, "a quote inside a field that is not quoted", problem);
    if (csv->text[csv->at] == '\r')
      return fail(csv, CNS_ERR_FORMAT, "a carriage return without line feed; save with LF or CRLF", problem);
    int r = take(csv, begin, problem);
    if (r < 0) return r;
  }
  return 0;
}

/* Registers scratch from begin on as a field, trimmed. */
static int end_field(struct cns_csv *csv, size_t begin, struct cns_problem *problem) {
  const char *s = csv->scratch;
  while (csv->scratch_len > begin && (s[csv->scratch_len - 1] == ' ' || s[csv->scratch_len - 1] == '\t'))
    csv->scratch_len--;
  while (begin < csv->scratch_len && (s[begin] == ' ' || s[begin] == '\t'))
    begin++;
  if (csv->field_count == CNS_CSV_COLUMNS_MAX)
    return fail(csv, CNS_ERR_LIMIT, "more than 20,000 columns", problem);
  if (csv->field_count == csv->field_capacity) {
    size_t larger = csv->field_capacity ? 2 * csv->field_capacity : 64;
    struct cns_csv_field *fields = realloc(csv->fields, larger * sizeof *fields);
    if (!fields) return no_memory(csv, problem);
    csv->fields = fields;
    csv->field_capacity = larger;
  }
  csv->fields[csv->field_count++] = (struct cns_csv_field){.offset = begin, .len = csv->scratch_len - begin};
  return put(csv, 0, problem);
}

static int read_field(struct cns_csv *csv, struct cns_problem *problem) {
  size_t begin = csv->scratch_len;
  while (at_blank(csv))
    csv->at++;
  bool quoted = csv->at < csv->len && csv->text[csv->at] == '"';
  int r = quoted ? read_quoted(csv, begin, problem) : read_plain(csv, begin, problem);
  return r < 0 ? r : end_field(csv, begin, problem);
}

int cns_csv_next(struct cns_csv *csv, struct cns_problem *problem) {
  while (csv->at < csv->len && at_break(csv))
    skip_break(csv);
  csv->scratch_len = 0;
  csv->field_count = 0;
  csv->record_line = csv->line;
  csv->record_begin = csv->at;
  if (csv->at >= csv->len) return CNS_CSV_END;
  for (;;) {
    int r = read_field(csv, problem);
    if (r < 0) return r;
    if (at_break(csv)) break;
    csv->at++; /* the comma */
  }
  skip_break(csv);
  csv->record_end = csv->at;
  return 0;
}
