/* SPDX-License-Identifier: Apache-2.0 */
/* Upper bounds of one patient's gradient norm, and the clip factor from them. */
#include <math.h>

#include "model/private_parts.h"

/* Relative room for the few roundings of a square root, a quotient and the like. */
#define ROOM 0x1p-50
/* Of a sum of squares in combined_squares: no term goes through 2^17 roundings. */
#define COMBINED_ROOM 0x1p-35

static const float *row_in(const struct cns_private_layer *layer, size_t row) {
  return layer->in + row * layer->in_stride;
}

static const float *row_delta(const struct cns_private_layer *layer, size_t row) {
  return layer->delta + row * layer->out_stride;
}

/* <outer(delta_r, (in_r, 1)), outer(delta_s, (in_s, 1))> */
static double pair(const struct cns_private_layer *layer, size_t r, size_t s) {
  return (cns_row_dot(row_in(layer, r), row_in(layer, s), layer->inputs) + 1) *
         cns_row_dot(row_delta(layer, r), row_delta(layer, s), layer->outputs);
}

/*
 * |G|^2 is the sum over layers and pairs of rows of what pair() computes. Each of the
 * elementary terms, a product of four floats, goes through at most
 *
 *   n = inputs + outputs + 2 + layers * rows * (rows + 1) / 2
 *
 * roundings; doubling is exact. So the computed square is off by at most gamma_n
 * times the sum of the absolute values, which for one layer is at most
 * (sum over rows of |delta_r| |(in_r, 1)|)^2 by Cauchy and Schwarz: `spread`^2.
 * gamma_n < 1.01*n*u, and spread^2 itself is computed to within a factor of 1 +- 2^-30
 * since n < 2^20; n * 2u = n * 2^-52 covers both and the last addition.
 */
static void ghost(const struct cns_private_pass *pass, size_t first, size_t rows, double *ret_norm,
                  double *ret_terms) {
  double square = 0, spread_square = 0;
  size_t widest = 0;
  for (size_t l = 0; l < pass->layers; l++) {
    const struct cns_private_layer *layer = &pass->layer[l];
    double spread = 0;
    for (size_t r = first; r < first + rows; r++) {
      double own = pair(layer, r, r);
      square += own;
      spread += sqrt(own);
      for (size_t s = first; s < r; s++)
        square += 2 * pair(layer, r, s);
    }
    spread_square += spread * spread;
    if (layer->inputs + layer->outputs > widest) widest = layer->inputs + layer->outputs;
  }
  double roundings = (double)(widest + 2 + pass->layers * rows * (rows + 1) / 2);
  double bound = square + roundings * 0x1p-52 * spread_square;
  /* Rows that cancel may leave a square below zero: by less than what was added. */
  *ret_norm = bound < 0 ? 0 : sqrt(bound) * (1 + ROOM);
  *ret_terms = sqrt(spread_square) * (1 + 0x1p-30);
}

double cns_private_bias(const struct cns_private_layer *layer, size_t first, size_t rows, size_t output) {
  double sum = 0;
  for (size_t r = first; r < first + rows; r++)
    sum += (double)row_delta(layer, r)[output];
  return sum;
}

void cns_private_tile(const struct cns_private_layer *layer, size_t first, size_t rows, size_t output,
                      size_t input, struct cns_private_tile *ret_tile) {
  cns_row_outer(row_delta(layer, first) + output, layer->out_stride, row_in(layer, first) + input,
                layer->in_stride, rows, ret_tile->value);
  size_t outputs = layer->outputs - output, inputs = layer->inputs - input;
  ret_tile->outputs = outputs < CNS_ROW_OUTER ? outputs : CNS_ROW_OUTER;
  ret_tile->inputs = inputs < CNS_ROW_INNER ? inputs : CNS_ROW_INNER;
}

static double tile_squares(const struct cns_private_tile *tile) {
  double sum = 0;
  for (size_t o = 0; o < tile->outputs; o++)
    for (size_t i = 0; i < tile->inputs; i++)
      sum += tile->value[o * CNS_ROW_INNER + i] * tile->value[o * CNS_ROW_INNER + i];
  return sum;
}

/* |G'|^2: at most 32 additions in a tile, 8,192 over the inputs, 16,384 over the
 * outputs, 65,536 for the bias. */
static double combined_squares(const struct cns_private_pass *pass, size_t first, size_t rows) {
  double total = 0;
  for (size_t l = 0; l < pass->layers; l++) {
    const struct cns_private_layer *layer = &pass->layer[l];
    double weights = 0, biases = 0;
    for (size_t o = 0; o < layer->outputs; o += CNS_ROW_OUTER) {
      double strip = 0;
      for (size_t i = 0; i < layer->inputs; i += CNS_ROW_INNER) {
        struct cns_private_tile tile;
        cns_private_tile(layer, first, rows, o, i, &tile);
        strip += tile_squares(&tile);
      }
      weights += strip;
    }
    for (size_t o = 0; o < layer->outputs; o++) {
      double bias = cns_private_bias(layer, first, rows, o);
      biases += bias * bias;
    }
    total += weights + biases;
  }
  return total;
}

/* Inner products of all pairs cost rows * (inputs + outputs) a row, the sum of
 * outer products inputs * outputs. */
static bool pairs_are_cheaper(const struct cns_private_pass *pass, size_t rows) {
  size_t pairs = 0, outer = 0;
  for (size_t l = 0; l < pass->layers; l++) {
    pairs += pass->layer[l].inputs + pass->layer[l].outputs;
    outer += pass->layer[l].inputs * pass->layer[l].outputs;
  }
  return rows == 1 || (rows <= CNS_PRIVATE_BLOCK_ROWS && rows * pairs <= outer);
}

static double factor_of(double norm, double clip) {
  return norm <= clip ? 1 : clip / norm * (1 - ROOM);
}

int cns_private_factor(const struct cns_private_pass *pass, size_t first, size_t rows, double clip,
                       struct cns_private_factor *ret_factor) {
  struct cns_private_factor result = {0};
  if (pairs_are_cheaper(pass, rows)) {
    ghost(pass, first, rows, &result.norm, &result.terms);
    if (!isfinite(result.norm) || !isfinite(result.terms)) return CNS_ERR_RANGE;
    result.factor = factor_of(result.norm, clip);
  }
  if (!pairs_are_cheaper(pass, rows) || result.factor * result.terms > CNS_PRIVATE_CANCEL * clip) {
    double norm = sqrt(combined_squares(pass, first, rows)) * (1 + COMBINED_ROOM);
    if (!isfinite(norm)) return CNS_ERR_RANGE;
    result = (struct cns_private_factor){
        .norm = norm, .terms = norm, .factor = factor_of(norm, clip), .combined = true};
  }
  *ret_factor = result;
  return 0;
}
