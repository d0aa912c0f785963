/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hospital's table: CSV in (RFC 4180, UTF-8, header required), features
 * standardised with the study's *public* ranges only, x = 2*(v-min)/(max-min)-1,
 * so nothing about the data is needed or given away to prepare it. Values out
 * of range are clipped to it and counted. Missing values (empty, NA, N/A, NaN,
 * null, ?) drop the row or are imputed with the study's public value. Columns
 * that the study doesn't name are ignored.
 *
 * Sentences and reports name rows and columns, never a value of a patient.
 */
#pragma once

#include "crypto/hash.h"
#include "model/plan.h"

#define CNS_TABLE_BYTES_MAX ((size_t)1 << 30)
#define CNS_TABLE_ROWS_MAX 4000000u /* also what the metrics' range is made for */
#define CNS_TABLE_NO_LABEL UINT16_MAX

struct cns_table {
  size_t rows;
  size_t features;
  size_t classes;
  size_t patients;
  float *x;                        /* rows x features, row by row, each in [-1, 1] */
  uint16_t *label;                 /* rows; CNS_TABLE_NO_LABEL in a table for prediction */
  uint32_t *patient;               /* rows; 0..patients-1 */
  uint32_t *source;                /* rows; data row of the file, the first is 1 */
  struct cns_digest *patient_keys; /* patients; keyed hash of the identifier */
};

struct cns_table_report {
  size_t rows_read;          /* data rows of the file */
  size_t rows;               /* kept */
  size_t patients;           /* distinct, among the kept */
  size_t dropped_missing;    /* rows dropped for a missing feature */
  size_t dropped_unlabelled; /* rows dropped for a missing label */
  size_t features;
  size_t *missing_of; /* by feature: missing cells in rows that were read */
  size_t *imputed_of; /* by feature: cells imputed in kept rows */
  size_t *clipped_of; /* by feature: cells clipped to the public range in kept rows */
  size_t classes;
  size_t *rows_of_class;
  bool one_class; /* at most one class occurs: legal, and said */
};

enum cns_table_use {
  CNS_TABLE_TRAINING,   /* label column required */
  CNS_TABLE_PREDICTION, /* label and patient columns ignored, each row its own patient; a row with missing
                         * features is still dropped
                         */
};

/* Reads a file or parses text; where names its origin in sentences. CNS_ERR_FORMAT,
 * CNS_ERR_LIMIT, CNS_ERR_IO, CNS_ERR_NOT_FOUND with a sentence. ret_report may
 * be NULL. A table without any usable row is CNS_ERR_FORMAT. */
CNS_MUST_CHECK int cns_table_read(const struct cns_plan *plan, const char *path, enum cns_table_use use,
                                  struct cns_table *ret_table, struct cns_table_report *ret_report,
                                  struct cns_problem *problem);
CNS_MUST_CHECK int cns_table_parse(const struct cns_plan *plan, const char *text, size_t len,
                                   const char *where, enum cns_table_use use, struct cns_table *ret_table,
                                   struct cns_table_report *ret_report, struct cns_problem *problem);
void cns_table_deinit(struct cns_table *table); /* wipes and frees; fine on a zeroed struct */
void cns_table_report_deinit(struct cns_table_report *report);

/* Plain text of a few lines for the log and the screen; malloc'd. */
CNS_MUST_CHECK int cns_table_report_text(const struct cns_plan *plan, const struct cns_table_report *report,
                                         char **ret_text);

/*
 * Splits by patient: round(share * patients) of them, at least one if share > 0,
 * never all, go to validation: those with the smallest
 * H(seed, hospital index, patient key). All rows of a patient stay together.
 * Validation may have no rows (share 0, a single patient).
 */
CNS_MUST_CHECK int cns_table_split(const struct cns_table *table, uint64_t seed, uint32_t hospital,
                                   double share, struct cns_table *ret_train,
                                   struct cns_table *ret_validation);

/* Copy of the rows with keep[row] true (patients renumbered). */
CNS_MUST_CHECK int cns_table_select(const struct cns_table *table, const bool *keep,
                                    struct cns_table *ret_table);
