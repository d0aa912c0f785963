/* SPDX-License-Identifier: Apache-2.0 */
/* What a reader of sketches does with them: A as a matrix, of any width and of
 * several audits on top of each other, and three ways to go back from A*x to x.
 * For benchmarks/privacy_study.c. Failures end the program. */
#pragma once

#include "crypto/rng.h"
#include "crypto/sketch.h"

#define PRIVACY_MINUS 0x80u

/* count sketches of 8 blocks each. A width that crypto/sketch.h doesn't offer (k
 * below 128) is made the same way: the low bits of a byte are the bucket. */
struct privacy_matrix {
  size_t dim;
  size_t blocks; /* 8 an audit */
  uint32_t width;
  size_t numbers; /* blocks * width: all that is known */
  uint8_t *place; /* dim x blocks: bucket, and PRIVACY_MINUS */
};

/* k: 8 * a power of two up to 1024; one key for each audit. */
void privacy_matrix_init(struct privacy_matrix *matrix, size_t dim, uint32_t k,
                         const struct cns_sketch_key *keys, size_t audits);
void privacy_matrix_draw(struct privacy_matrix *matrix, size_t dim, uint32_t k, size_t audits,
                         struct cns_rng rng);
void privacy_matrix_deinit(struct privacy_matrix *matrix);
/* A*x and transposed(A)*z; the audits' numbers one after the other. */
void privacy_matrix_apply(const struct privacy_matrix *matrix, const double *x, double *ret_z);
void privacy_matrix_transpose(const struct privacy_matrix *matrix, const double *z, double *ret_x);
/* Only the blocks first .. first+count-1. */
void privacy_matrix_apply_blocks(const struct privacy_matrix *matrix, size_t first, size_t count,
                                 const double *x, double *ret_z);

/*
 * A sparse vector of whole numbers from z = A*x. A coordinate that is alone in some of
 * its buckets shows the same value, up to A's sign, in all of them; the one that shows
 * it most often is taken for true and subtracted, again and again, until nothing is
 * left. True: nothing was left.
 */
bool privacy_decode_agreement(const struct privacy_matrix *matrix, const double *z, double *ret_x);
/* Orthogonal matching pursuit (Pati, Rezaiifar, Krishnaprasad 1993), up to `terms` coordinates. */
void privacy_decode_pursuit(const struct privacy_matrix *matrix, const double *z, size_t terms,
                            double *ret_x);
/* Where it is known which entries may be other than zero: least squares over them. */
void privacy_decode_known(const struct privacy_matrix *matrix, const double *z, const bool *may,
                          double *ret_x);
/* Least squares from zero (conjugate gradients, Hestenes and Stiefel 1952), stopped at
 * the step that comes nearest to `truth`: more than a reader could know. Returns the
 * relative error there. */
double privacy_decode_least(const struct privacy_matrix *matrix, const double *z, size_t steps,
                            const double *truth);

/* Small helpers of the study. */
void privacy_check(int result);
void *privacy_need(void *pointer);
#define PRIVACY_NEW(count, type) ((type *)privacy_need(calloc((count) + 1, sizeof(type))))
double privacy_uniform(struct cns_rng rng);
double privacy_normal(struct cns_rng rng);
size_t privacy_below(struct cns_rng rng, size_t bound);
double privacy_dot(const double *a, const double *b, size_t len);
double privacy_relative_error(const double *found, const double *truth, size_t len);
