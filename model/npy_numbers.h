/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The numbers of a .npy file a piece at a time, as floats: little-endian float16,
 * float32 or float64 of any shape up to eight dimensions, C order. For models, which
 * may be large; matrices in their own precision are model/npy_matrix.h's.
 */
#pragma once

#include "model/npy.h"

#define CNS_NPY_HEAD_BYTES 256 /* of what is written: a multiple of 64, and room for any shape */

struct cns_npy_numbers; /* an open file */

/* Checks header and length. Errors as cns_npy_matrix_read has them; what is no .npy file at all
 * is named by its content if that is known (model/foreign.h). */
CNS_MUST_CHECK int cns_npy_numbers_open(const char *path, struct cns_npy_numbers **ret_numbers,
                                        struct cns_problem *problem);
struct cns_npy_numbers *cns_npy_numbers_free(struct cns_npy_numbers *numbers);
size_t cns_npy_numbers_count(const struct cns_npy_numbers *numbers);
/* Sizes, cns_npy_numbers_dimensions of them; 0 dimensions: a single number. */
const uint64_t *cns_npy_numbers_shape(const struct cns_npy_numbers *numbers);
size_t cns_npy_numbers_dimensions(const struct cns_npy_numbers *numbers);
const char *cns_npy_numbers_type(const struct cns_npy_numbers *numbers); /* "<f4" */
/* begin+count is at most the number of numbers. float64 is rounded to the nearest float; what
 * is too large for one is CNS_ERR_RANGE, what is not finite stays so. */
CNS_MUST_CHECK int cns_npy_numbers_load(const struct cns_npy_numbers *numbers, size_t begin, size_t count,
                                        float *ret_values, struct cns_problem *problem);

/* What is in front of the numbers: version 1.0, C order, filled with spaces to exactly len bytes,
 * which is a multiple of 64. CNS_ERR_LIMIT if they don't suffice. */
CNS_MUST_CHECK int cns_npy_head_format(const char *type, const uint64_t *shape, size_t dimensions,
                                       uint8_t *out, size_t len);
