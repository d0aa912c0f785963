/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matrices and vectors of float or double, from and to .npy files (NumPy's
 * format, versions 1.0 and 2.0, little-endian), in the precision that the file
 * has. NaN and infinity are numbers here like others: whoever can't use them
 * says so.
 */
#pragma once

#include "model/npy.h"

struct cns_npy_matrix {
  size_t element_bytes; /* 4: float, 8: double */
  size_t dimensions;    /* 1: a vector, with rows 1; or 2 */
  size_t rows, columns; /* each at least 1 */
  void *values;         /* rows x columns, row by row */
  uint8_t *bytes;       /* internal: what was allocated; room for a header, then the values */
};

/* Zeros. CNS_ERR_LIMIT beyond CNS_NPY_BYTES_MAX; CNS_ERR_MEMORY. */
CNS_MUST_CHECK int cns_npy_matrix_new(size_t element_bytes, size_t dimensions, size_t rows, size_t columns,
                                      struct cns_npy_matrix *ret_matrix, struct cns_problem *problem);
/* A file with '<f4' or '<f8' elements in one or two dimensions; Fortran order is
 * turned round. CNS_ERR_FORMAT for what is no such file, or not exactly as long
 * as its header says; CNS_ERR_UNSUPPORTED for other types and shapes;
 * CNS_ERR_LIMIT; CNS_ERR_NOT_FOUND, CNS_ERR_IO, CNS_ERR_PERMISSION. */
CNS_MUST_CHECK int cns_npy_matrix_read(const char *path, struct cns_npy_matrix *ret_matrix,
                                       struct cns_problem *problem);
/* The same, for few numbers of which it doesn't matter how they are stored: '<i4'
 * and '<i8' too, at most `max` of them, each finite (CNS_ERR_RANGE); a vector, or a
 * matrix of one row or column. malloc'd. */
CNS_MUST_CHECK int cns_npy_matrix_read_numbers(const char *path, size_t max, double **ret_numbers,
                                               size_t *ret_count, struct cns_problem *problem);
/* Version 1.0, C order. Whole or not at all (cns_file_write, mode 0644). */
CNS_MUST_CHECK int cns_npy_matrix_write(const char *path, const struct cns_npy_matrix *matrix,
                                        struct cns_problem *problem);
/* To the other precision, in new memory; a double is rounded to the nearest float
 * (what is too large for one becomes infinite). */
CNS_MUST_CHECK int cns_npy_matrix_convert(struct cns_npy_matrix *matrix, size_t element_bytes,
                                          struct cns_problem *problem);
void cns_npy_matrix_deinit(struct cns_npy_matrix *matrix); /* fine on a zeroed struct */
