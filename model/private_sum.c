/* SPDX-License-Identifier: Apache-2.0 */
/* The weighted sum over patients; its error bound is in private_parts.h. */
#include <cblas.h>
#include <string.h>
#include <threads.h>

#include "model/private_parts.h"

/* Doubles of a strip, if that holds a tile's outputs and a bias: it stays in a
 * processor's cache until it has been added. */
#define STRIP ((size_t)65536)

static once_flag blas_once = ONCE_FLAG_INIT;

/* These functions run on worker threads, which BLAS's own would only fight. */
static void blas_single_threaded(void) {
  openblas_set_num_threads(1);
}

static size_t largest(size_t a, size_t b) {
  return a > b ? a : b;
}

/* partial is there only if there may be more blocks than go into one. */
static void place(struct cns_private_sum *sum, const struct cns_private_pass *pass, size_t rows_total,
                  struct cns_row_arena *arena) {
  size_t rows = pass->capacity < CNS_PRIVATE_BLOCK_ROWS ? pass->capacity : CNS_PRIVATE_BLOCK_ROWS;
  size_t inputs = 0, outputs = 0, weights = 0;
  for (size_t l = 0; l < pass->layers; l++) {
    const struct cns_private_layer *layer = &pass->layer[l];
    inputs = largest(inputs, layer->inputs);
    outputs = largest(outputs, layer->outputs);
    weights = largest(weights, layer->inputs * layer->outputs);
  }
  size_t least = largest(CNS_ROW_OUTER * inputs, outputs), most = largest(weights, outputs);
  sum->strip_doubles = largest(least, most < STRIP ? most : STRIP);
  sum->delta = cns_row_take(arena, rows * outputs * sizeof(double));
  sum->in = cns_row_take(arena, rows * inputs * sizeof(double));
  sum->strip = cns_row_take(arena, sum->strip_doubles * sizeof(double));
  sum->partial = sum->total;
  if (2 * rows_total / CNS_PRIVATE_BLOCK_ROWS + 1 > CNS_PRIVATE_PARTIAL)
    sum->partial = cns_row_take(arena, sum->dim * sizeof(double));
}

void cns_private_sum_deinit(struct cns_private_sum *sum) {
  cns_row_free(sum->arena.memory, sum->arena.used);
  *sum = (struct cns_private_sum){0};
}

int cns_private_sum_init(struct cns_private_sum *sum, const struct cns_private_pass *pass, size_t rows_total,
                         double *total) {
  call_once(&blas_once, blas_single_threaded);
  *sum = (struct cns_private_sum){.total = total, .dim = pass->plan->dim};
  memset(total, 0, sum->dim * sizeof *total);
  struct cns_row_arena count = {0};
  place(sum, pass, rows_total, &count);
  sum->arena.memory = cns_row_alloc(count.used);
  if (!sum->arena.memory) return CNS_ERR_MEMORY;
  place(sum, pass, rows_total, &sum->arena);
  return 0;
}

/* Rows of the block that BLAS is to add up: up to the last patient's who isn't
 * combined. None of these patients has more rows than a block. */
static size_t spread_rows(const struct cns_private_member *members, size_t count) {
  while (count > 0 && members[count - 1].factor.combined)
    count--;
  return count ? members[count - 1].first + members[count - 1].rows : 0;
}

/* Copies in double, factors multiplied into the deltas; those of combined
 * patients are zero here. */
static void spread(struct cns_private_sum *sum, const struct cns_private_layer *layer,
                   const struct cns_private_member *members, size_t count) {
  for (size_t m = 0; m < count; m++) {
    double factor = members[m].factor.combined ? 0 : members[m].factor.factor;
    for (size_t r = members[m].first; r < members[m].first + members[m].rows; r++) {
      const float *in = layer->in + r * layer->in_stride, *delta = layer->delta + r * layer->out_stride;
      for (size_t i = 0; i < layer->inputs; i++)
        sum->in[r * layer->inputs + i] = (double)in[i];
      for (size_t o = 0; o < layer->outputs; o++)
        sum->delta[r * layer->outputs + o] = factor * (double)delta[o];
    }
  }
}

/* Adds V of one combined patient for `outputs` outputs from `from` on. */
static void add_combined(const struct cns_private_layer *layer, const struct cns_private_member *member,
                         size_t from, size_t outputs, double *strip) {
  for (size_t o = 0; o < outputs; o += CNS_ROW_OUTER)
    for (size_t i = 0; i < layer->inputs; i += CNS_ROW_INNER) {
      struct cns_private_tile tile;
      cns_private_tile(layer, member->first, member->rows, from + o, i, &tile);
      for (size_t p = 0; p < tile.outputs && o + p < outputs; p++)
        for (size_t q = 0; q < tile.inputs; q++)
          strip[(o + p) * layer->inputs + i + q] += member->factor.factor * tile.value[p * CNS_ROW_INNER + q];
    }
}

static void add_strip(struct cns_private_sum *sum, size_t offset, size_t count) {
  double *partial = sum->partial + offset;
  for (size_t k = 0; k < count; k++)
    partial[k] += sum->strip[k];
}

static void add_bias(struct cns_private_sum *sum, const struct cns_private_layer *layer,
                     const struct cns_private_member *members, size_t count, size_t rows) {
  memset(sum->strip, 0, layer->outputs * sizeof(double));
  for (size_t r = 0; r < rows; r++)
    for (size_t o = 0; o < layer->outputs; o++)
      sum->strip[o] += sum->delta[r * layer->outputs + o];
  for (size_t m = 0; m < count; m++)
    for (size_t o = 0; members[m].factor.combined && o < layer->outputs; o++)
      sum->strip[o] +=
          members[m].factor.factor * cns_private_bias(layer, members[m].first, members[m].rows, o);
  add_strip(sum, layer->offset + layer->inputs * layer->outputs, layer->outputs);
}

static void add_weight(struct cns_private_sum *sum, const struct cns_private_layer *layer,
                       const struct cns_private_member *members, size_t count, size_t rows) {
  size_t inputs = layer->inputs, outputs = layer->outputs;
  /* Whole tiles, which end within the rows' padding. */
  size_t height = sum->strip_doubles / inputs / CNS_ROW_OUTER * CNS_ROW_OUTER;
  for (size_t from = 0; from < outputs; from += height) {
    size_t n = outputs - from < height ? outputs - from : height;
    if (rows > 0)
      cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)n, (int)inputs, (int)rows, 1,
                  sum->delta + from, (int)outputs, sum->in, (int)inputs, 0, sum->strip, (int)inputs);
    else
      memset(sum->strip, 0, n * inputs * sizeof(double));
    for (size_t m = 0; m < count; m++)
      if (members[m].factor.combined) add_combined(layer, &members[m], from, n, sum->strip);
    add_strip(sum, layer->offset + from * inputs, n * inputs);
  }
}

/* Empties partial into total. */
void cns_private_sum_finish(struct cns_private_sum *sum) {
  if (sum->partial == sum->total) return;
  for (size_t k = 0; k < sum->dim; k++)
    sum->total[k] += sum->partial[k];
  memset(sum->partial, 0, sum->dim * sizeof(double));
  sum->blocks = 0;
}

void cns_private_sum_add(struct cns_private_sum *sum, const struct cns_private_pass *pass,
                         const struct cns_private_member *members, size_t count) {
  size_t rows = spread_rows(members, count);
  for (size_t l = 0; l < pass->layers; l++) {
    const struct cns_private_layer *layer = &pass->layer[l];
    if (rows > 0) spread(sum, layer, members, count);
    add_weight(sum, layer, members, count, rows);
    add_bias(sum, layer, members, count, rows);
  }
  if (++sum->blocks == CNS_PRIVATE_PARTIAL) cns_private_sum_finish(sum);
}
