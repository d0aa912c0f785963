/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A matrix of numbers from a .npy file: NumPy's format, versions 1.0 and 2.0,
 * two dimensions, C order, float32 or float64 in little-endian order. Anything
 * else is refused with a sentence. Pickled objects can't occur: only the two
 * types are read.
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
