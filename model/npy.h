/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers from a .npy file: NumPy's format, versions 1.0 and 2.0, C order,
 * little-endian. A matrix (two dimensions, float32 or float64), or an array of
 * any shape whose elements may also be integers or booleans. Anything else is
 * refused with a sentence; pickled objects, which run code when they are read,
 * are never looked into.
 */
#pragma once

#include "crypto/base.h"

#define CNS_NPY_BYTES_MAX ((size_t)1 << 33)
#define CNS_NPY_HEADER_MAX 10000u /* what NumPy itself reads without being asked to trust a file */
#define CNS_NPY_COLUMNS_MAX ((size_t)1 << 28)

struct cns_npy {
  size_t rows, columns; /* each at least 1 */
  float *values;        /* rows x columns, row by row, all finite */
};

#define CNS_NPY_DIMENSIONS_MAX 8

struct cns_npy_array {
  size_t dimensions; /* 0: a single number */
  size_t shape[CNS_NPY_DIMENSIONS_MAX];
  size_t count;  /* elements, at least 1 */
  float *values; /* count, the last index fastest, all finite */
};

/* float64 values are rounded to the nearest float32. CNS_ERR_FORMAT for what is
 * no such file, or not of exactly the length that its header says;
 * CNS_ERR_UNSUPPORTED for other types, orders and shapes; CNS_ERR_LIMIT;
 * CNS_ERR_RANGE, naming row and column, for a number that is not finite as a
 * float32. where: file name or other origin, for the sentence. */
CNS_MUST_CHECK int cns_npy_parse(const uint8_t *data, size_t len, const char *where, struct cns_npy *ret_npy,
                                 struct cns_problem *problem);
/* The same of a file; and CNS_ERR_NOT_FOUND, CNS_ERR_IO. */
CNS_MUST_CHECK int cns_npy_read(const char *path, struct cns_npy *ret_npy, struct cns_problem *problem);
void cns_npy_deinit(struct cns_npy *npy); /* fine on a zeroed struct */

/* Types |b1, |u1, |i1, <u2, <i2, <u4, <i4, <u8, <i8, <f4, <f8, rounded to the
 * nearest float32. Errors as above. */
CNS_MUST_CHECK int cns_npy_parse_array(const uint8_t *data, size_t len, const char *where,
                                       struct cns_npy_array *ret_array, struct cns_problem *problem);
CNS_MUST_CHECK int cns_npy_read_array(const char *path, struct cns_npy_array *ret_array,
                                      struct cns_problem *problem);
void cns_npy_array_deinit(struct cns_npy_array *array); /* fine on a zeroed struct */
