/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmarks/privacy_sketch.h"

#include <cblas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/bytes.h"

void privacy_check(int result) {
  if (result >= 0) return;
  fprintf(stderr, "privacy study: %s\n", cns_error_name(result));
  exit(1);
}

void *privacy_need(void *pointer) {
  if (!pointer) privacy_check(CNS_ERR_MEMORY);
  return pointer;
}

/* In (0, 1). */
double privacy_uniform(struct cns_rng rng) {
  uint8_t bytes[8];
  privacy_check(cns_rng_fill(rng, bytes, sizeof bytes));
  return ((double)(cns_load_le64(bytes) >> 11) + 0.5) * 0x1p-53;
}

double privacy_normal(struct cns_rng rng) {
  double u = privacy_uniform(rng);
  return sqrt(-2 * log(u)) * cos(2 * M_PI * privacy_uniform(rng));
}

size_t privacy_below(struct cns_rng rng, size_t bound) {
  uint64_t value = 0;
  privacy_check(cns_rng_uniform_u64(rng, bound, &value));
  return (size_t)value;
}

double privacy_dot(const double *a, const double *b, size_t len) {
  return cblas_ddot((int)len, a, 1, b, 1);
}

double privacy_relative_error(const double *found, const double *truth, size_t len) {
  double of = 0;
  for (size_t c = 0; c < len; c++)
    of += (found[c] - truth[c]) * (found[c] - truth[c]);
  return sqrt(of / privacy_dot(truth, truth, len));
}

/* ---- A ---- */

void privacy_matrix_init(struct privacy_matrix *matrix, size_t dim, uint32_t k,
                         const struct cns_sketch_key *keys, size_t audits) {
  uint32_t width = k / CNS_SKETCH_BLOCKS, *stream = PRIVACY_NEW(2 * dim, uint32_t);
  *matrix = (struct privacy_matrix){
      .dim = dim, .blocks = CNS_SKETCH_BLOCKS * audits, .width = width, .numbers = k * audits};
  matrix->place = PRIVACY_NEW(dim * matrix->blocks, uint8_t);
  for (size_t a = 0; a < audits; a++) {
    struct cns_mask_term term = {.sign = 1};
    memcpy(term.seed.bytes, keys[a].bytes, sizeof term.seed.bytes);
    memset(stream, 0, 2 * dim * sizeof *stream);
    privacy_check(cns_mask_apply(stream, 2 * dim, 0, &term, 1));
    for (size_t c = 0; c < dim; c++)
      for (size_t b = 0; b < CNS_SKETCH_BLOCKS; b++) {
        uint32_t byte = stream[2 * c + b / 4] >> (8 * (b % 4)) & 0xff;
        matrix->place[c * matrix->blocks + CNS_SKETCH_BLOCKS * a + b] =
            (uint8_t)((byte & PRIVACY_MINUS) | (byte & (width - 1)));
      }
  }
  free(stream);
}

void privacy_matrix_draw(struct privacy_matrix *matrix, size_t dim, uint32_t k, size_t audits,
                         struct cns_rng rng) {
  struct cns_sketch_key *keys = PRIVACY_NEW(audits, struct cns_sketch_key);
  for (size_t a = 0; a < audits; a++)
    privacy_check(cns_rng_fill(rng, keys[a].bytes, sizeof keys[a].bytes));
  privacy_matrix_init(matrix, dim, k, keys, audits);
  free(keys);
}

void privacy_matrix_deinit(struct privacy_matrix *matrix) {
  free(matrix->place);
  *matrix = (struct privacy_matrix){0};
}

static const uint8_t *column(const struct privacy_matrix *matrix, size_t c) {
  return matrix->place + c * matrix->blocks;
}

static size_t bucket(const struct privacy_matrix *matrix, const uint8_t *place, size_t b) {
  return b * matrix->width + (place[b] & (PRIVACY_MINUS - 1));
}

static double sign(const uint8_t *place, size_t b) {
  return place[b] & PRIVACY_MINUS ? -1 : 1;
}

void privacy_matrix_apply_blocks(const struct privacy_matrix *matrix, size_t first, size_t count,
                                 const double *x, double *ret_z) {
  memset(ret_z + first * matrix->width, 0, count * matrix->width * sizeof *ret_z);
  for (size_t c = 0; c < matrix->dim; c++) {
    const uint8_t *place = column(matrix, c);
    if (x[c] == 0) continue;
    for (size_t b = first; b < first + count; b++)
      ret_z[bucket(matrix, place, b)] += sign(place, b) * x[c];
  }
}

void privacy_matrix_apply(const struct privacy_matrix *matrix, const double *x, double *ret_z) {
  privacy_matrix_apply_blocks(matrix, 0, matrix->blocks, x, ret_z);
}

static double column_dot(const struct privacy_matrix *matrix, size_t c, const double *z) {
  const uint8_t *place = column(matrix, c);
  double sum = 0;
  for (size_t b = 0; b < matrix->blocks; b++)
    sum += sign(place, b) * z[bucket(matrix, place, b)];
  return sum;
}

static void column_add(const struct privacy_matrix *matrix, size_t c, double value, double *z) {
  const uint8_t *place = column(matrix, c);
  for (size_t b = 0; b < matrix->blocks; b++)
    z[bucket(matrix, place, b)] += sign(place, b) * value;
}

void privacy_matrix_transpose(const struct privacy_matrix *matrix, const double *z, double *ret_x) {
  for (size_t c = 0; c < matrix->dim; c++)
    ret_x[c] = column_dot(matrix, c, z);
}

/* ---- agreement ---- */

/* How often the value that coordinate c shows most often is there, less its empty buckets:
 * a true one's are hardly ever empty, unless it was taken before. */
static int agreement(const struct privacy_matrix *matrix, size_t c, const double *rest, bool taken,
                     double *ret_value) {
  const uint8_t *place = column(matrix, c);
  double shown[CNS_SKETCH_BLOCKS * 64];
  size_t count = 0, most = 0, empty = 0;
  for (size_t b = 0; b < matrix->blocks; b++) {
    double value = sign(place, b) * rest[bucket(matrix, place, b)];
    if (value != 0) shown[count++] = value;
  }
  if (!taken) empty = matrix->blocks - count;
  for (size_t i = 0; i + most < count; i++) {
    size_t same = 0;
    for (size_t j = i; j < count; j++)
      same += shown[j] == shown[i];
    if (same <= most) continue;
    most = same;
    *ret_value = shown[i];
  }
  return (int)most - (int)empty;
}

static bool all_zero(const double *z, size_t len) {
  for (size_t i = 0; i < len; i++)
    if (z[i] != 0) return false;
  return true;
}

bool privacy_decode_agreement(const struct privacy_matrix *matrix, const double *z, double *ret_x) {
  double *rest = PRIVACY_NEW(matrix->numbers, double), value = 0;
  int *counts = PRIVACY_NEW(matrix->dim, int);
  memcpy(rest, z, matrix->numbers * sizeof *rest);
  memset(ret_x, 0, matrix->dim * sizeof *ret_x);
  bool done = all_zero(rest, matrix->numbers);
  for (size_t pass = 0; !done && pass < 4 * matrix->numbers; pass++) {
    int most = 1;
    for (size_t c = 0; c < matrix->dim; c++) {
      counts[c] = agreement(matrix, c, rest, ret_x[c] != 0, &value);
      if (counts[c] > most) most = counts[c];
    }
    if (most < 2) break;
    for (size_t c = 0; c < matrix->dim; c++) {
      if (counts[c] < most || agreement(matrix, c, rest, ret_x[c] != 0, &value) < most) continue;
      column_add(matrix, c, -value, rest);
      ret_x[c] += value;
    }
    done = all_zero(rest, matrix->numbers);
  }
  free(rest);
  free(counts);
  return done;
}

/* ---- pursuit ---- */

struct pursuit {
  const struct privacy_matrix *matrix;
  size_t rows, taken;
  double *rest;    /* rows */
  double *basis;   /* terms x rows, orthonormal */
  double *factor;  /* terms x terms: column t in the basis */
  double *weights; /* terms: of z in the basis */
  size_t *chosen;
};

static size_t best_column(const struct pursuit *p, const double *x, size_t dim) {
  size_t best = dim;
  double most = 0;
  for (size_t c = 0; c < dim; c++) {
    double of = x[c] == 0 ? fabs(column_dot(p->matrix, c, p->rest)) : 0;
    if (of > most) {
      most = of;
      best = c;
    }
  }
  return best;
}

/* False: the column adds nothing to those taken. */
static bool take_column(struct pursuit *p, size_t c, size_t terms) {
  double *q = p->basis + p->taken * p->rows, *r = p->factor + p->taken * terms;
  memset(q, 0, p->rows * sizeof *q);
  column_add(p->matrix, c, 1, q);
  for (int twice = 0; twice < 2; twice++)
    for (size_t t = 0; t < p->taken; t++) {
      double of = privacy_dot(q, p->basis + t * p->rows, p->rows);
      r[t] += of;
      cblas_daxpy((int)p->rows, -of, p->basis + t * p->rows, 1, q, 1);
    }
  double norm = sqrt(privacy_dot(q, q, p->rows));
  if (norm < 1e-6) return false;
  cblas_dscal((int)p->rows, 1 / norm, q, 1);
  r[p->taken] = norm;
  p->weights[p->taken] = privacy_dot(q, p->rest, p->rows);
  cblas_daxpy((int)p->rows, -p->weights[p->taken], q, 1, p->rest, 1);
  p->chosen[p->taken++] = c;
  return true;
}

static void pursuit_init(struct pursuit *p, const struct privacy_matrix *matrix, const double *z,
                         size_t terms) {
  *p = (struct pursuit){.matrix = matrix,
                        .rows = matrix->numbers,
                        .rest = PRIVACY_NEW(matrix->numbers, double),
                        .basis = PRIVACY_NEW(terms * matrix->numbers, double),
                        .factor = PRIVACY_NEW(terms * terms, double),
                        .weights = PRIVACY_NEW(terms, double),
                        .chosen = PRIVACY_NEW(terms, size_t)};
  memcpy(p->rest, z, p->rows * sizeof *z);
}

/* Values of the columns taken; all else is zero. */
static void pursuit_finish(struct pursuit *p, size_t terms, double *ret_x) {
  memset(ret_x, 0, p->matrix->dim * sizeof *ret_x);
  for (size_t t = p->taken; t-- > 0;) {
    double value = p->weights[t];
    for (size_t u = t + 1; u < p->taken; u++)
      value -= p->factor[u * terms + t] * ret_x[p->chosen[u]];
    ret_x[p->chosen[t]] = value / p->factor[t * terms + t];
  }
  free(p->rest);
  free(p->basis);
  free(p->factor);
  free(p->weights);
  free(p->chosen);
}

void privacy_decode_pursuit(const struct privacy_matrix *matrix, const double *z, size_t terms,
                            double *ret_x) {
  struct pursuit p;
  pursuit_init(&p, matrix, z, terms);
  double start = sqrt(privacy_dot(z, z, p.rows));
  memset(ret_x, 0, matrix->dim * sizeof *ret_x);
  while (p.taken < terms && sqrt(privacy_dot(p.rest, p.rest, p.rows)) > 1e-9 * start) {
    size_t c = best_column(&p, ret_x, matrix->dim);
    if (c == matrix->dim || !take_column(&p, c, terms)) break;
    ret_x[c] = 1; /* taken; the values follow */
  }
  pursuit_finish(&p, terms, ret_x);
}

void privacy_decode_known(const struct privacy_matrix *matrix, const double *z, const bool *may,
                          double *ret_x) {
  struct pursuit p;
  size_t terms = 0;
  for (size_t c = 0; c < matrix->dim; c++)
    terms += may[c];
  if (terms > matrix->numbers) terms = matrix->numbers;
  pursuit_init(&p, matrix, z, terms);
  for (size_t c = 0; c < matrix->dim && p.taken < terms; c++)
    if (may[c]) (void)take_column(&p, c, terms);
  pursuit_finish(&p, terms, ret_x);
}

/* ---- least squares ---- */

double privacy_decode_least(const struct privacy_matrix *matrix, const double *z, size_t steps,
                            const double *truth) {
  size_t d = matrix->dim, n = matrix->numbers;
  double *x = PRIVACY_NEW(d, double), *g = PRIVACY_NEW(d, double), *p = PRIVACY_NEW(d, double);
  double *r = PRIVACY_NEW(n, double), *q = PRIVACY_NEW(n, double), best = 1;
  memcpy(r, z, n * sizeof *r);
  privacy_matrix_transpose(matrix, r, g);
  memcpy(p, g, d * sizeof *p);
  double gamma = privacy_dot(g, g, d), start = gamma;
  for (size_t step = 0; step < steps && gamma > 1e-24 * start; step++) {
    privacy_matrix_apply(matrix, p, q);
    double alpha = gamma / privacy_dot(q, q, n);
    cblas_daxpy((int)d, alpha, p, 1, x, 1);
    cblas_daxpy((int)n, -alpha, q, 1, r, 1);
    privacy_matrix_transpose(matrix, r, g);
    double next = privacy_dot(g, g, d);
    cblas_dscal((int)d, next / gamma, p, 1);
    cblas_daxpy((int)d, 1, g, 1, p, 1);
    gamma = next;
    best = fmin(best, privacy_relative_error(x, truth, d));
  }
  free(x);
  free(g);
  free(p);
  free(r);
  free(q);
  return best;
}
