/* SPDX-License-Identifier: Apache-2.0 */
/* Internal to the readers of .npy files: what their header says. */
#pragma once

#include "model/npy.h"

#define CNS_NPY_SHAPE_MAX 8 /* dimensions that are told apart in a sentence */
/* The header and what is before it, at most. */
#define CNS_NPY_PREFIX_MAX (CNS_NPY_HEADER_MAX + 12)

struct cns_npy_header {
  char descr[16]; /* "<f4" */
  bool fortran;   /* column by column */
  uint64_t shape[CNS_NPY_SHAPE_MAX];
  size_t dimensions; /* may be more than CNS_NPY_SHAPE_MAX */
  size_t bytes;      /* where the elements begin */
};

/* A little-endian float32 (size 4) or float64 (8). */
double cns_npy_load_float(const uint8_t *bytes, size_t size);
/* len: of the whole file; data: its first bytes, CNS_NPY_PREFIX_MAX of them or all.
 * CNS_ERR_FORMAT, CNS_ERR_UNSUPPORTED or CNS_ERR_LIMIT with a sentence. Neither type
 * nor shape are judged. */
CNS_MUST_CHECK int cns_npy_header_parse(const uint8_t *data, size_t len, const char *where,
                                        struct cns_npy_header *ret_header, struct cns_problem *problem);
