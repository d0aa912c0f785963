/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of a CSV text (RFC 4180): quoted fields with doubled quotes and line
 * breaks, CRLF or LF, an optional UTF-8 byte order mark. Spaces and tabs around
 * a field are dropped, empty lines skipped. A NUL byte, a quote inside an
 * unquoted field, an unclosed quote and anything above a limit are refused.
 */
#pragma once

#include "crypto/base.h"

#define CNS_CSV_COLUMNS_MAX 20000
#define CNS_CSV_FIELD_MAX 65536 /* bytes */

/* cns_csv_next: no record is left. */
#define CNS_CSV_END 1

struct cns_csv_field {
  size_t offset; /* into scratch */
  size_t len;
};

struct cns_csv {
  const char *text;
  const char *where; /* for sentences */
  size_t len;
  size_t at;
  size_t line;         /* of `at`, from 1 */
  size_t record_line;  /* where the current record begins */
  size_t record_begin; /* its bytes in text, line break included */
  size_t record_end;
  char *scratch; /* decoded fields, each followed by NUL */
  size_t scratch_len;
  size_t scratch_capacity;
  struct cns_csv_field *fields;
  size_t field_count;
  size_t field_capacity;
};

/* text and where must outlive the reader. */
void cns_csv_init(struct cns_csv *csv, const char *text, size_t len, const char *where);
void cns_csv_deinit(struct cns_csv *csv); /* wipes what was decoded */
/* 0: a record was read; CNS_CSV_END; CNS_ERR_FORMAT, CNS_ERR_LIMIT with a sentence. */
CNS_MUST_CHECK int cns_csv_next(struct cns_csv *csv, struct cns_problem *problem);
/* NUL-terminated field of the current record; valid until the next one. */
const char *cns_csv_field(const struct cns_csv *csv, size_t index);
