/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Internal: n rows of d floats or doubles, cut into parts that don't depend on
 * the number of threads. Sums are in double; parts are added up in their order.
 */
#pragma once

#include "robust/robust.h"

/* Compiled for several processors and chosen when the program starts, where the
 * compiler can do that. No sum is reordered or fused: the results are equal. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__GLIBC__) &&                 \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define CNS_VECTORISED __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define CNS_VECTORISED
#endif

struct cns_matrix {
  enum cns_robust_type type;
  const void *data;
  size_t n, d;
  size_t threads; /* 0: one for each core */
};

/* Runs task for 0..count-1 on the matrix's threads. */
void cns_matrix_run(const struct cns_matrix *matrix, size_t count, void (*task)(void *argument, size_t k),
                    void *argument);

static inline const void *cns_matrix_at(const struct cns_matrix *matrix, size_t row, size_t column) {
  return (const char *)matrix->data + (row * matrix->d + column) * (size_t)matrix->type;
}

/* `count` elements as doubles. */
void cns_matrix_read(const struct cns_matrix *matrix, size_t row, size_t column, size_t count, double *ret);
/* Rounds `count` doubles into vector[column..]; returns whether all are finite then. */
bool cns_matrix_write(enum cns_robust_type type, const double *values, size_t count, void *vector,
                      size_t column);

/*
 * squared[i*n+j] = ||row i - row j||^2, summed from the differences: a large common
 * mean cancels nothing. Not finite where a row isn't, or where a square overflows.
 * CNS_ERR_MEMORY.
 */
CNS_MUST_CHECK int cns_matrix_distances(const struct cns_matrix *matrix, double *ret_squared);
/* squared[i] = ||row i||^2, and the inner product with a vector (d elements, the
 * matrix's type) if there is one. CNS_ERR_MEMORY. */
CNS_MUST_CHECK int cns_matrix_norms(const struct cns_matrix *matrix, const void *vector, double *ret_squared,
                                    double *ret_products);

/* squared[i] = ||row i - vector||^2. CNS_ERR_MEMORY. */
CNS_MUST_CHECK int cns_matrix_gaps(const struct cns_matrix *matrix, const void *vector, double *ret_squared);

/* vector = sum of coefficient[i] * row i; rows with a zero aren't read. Returns whether all
 * of it is finite. */
CNS_MUST_CHECK bool cns_matrix_combine(const struct cns_matrix *matrix, const double *coefficient,
                                       void *ret_vector);
/* The same for m rows of n coefficients: an m x d matrix. CNS_ERR_MEMORY. */
CNS_MUST_CHECK int cns_matrix_product(const struct cns_matrix *matrix, const double *coefficient, size_t m,
                                      void *ret_matrix);
