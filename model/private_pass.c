/* SPDX-License-Identifier: Apache-2.0 */
/* Forward and backward through the network, each row by itself. */
#include <math.h>
#include <string.h>

#include "model/private_parts.h"

static float *take_block(const struct cns_private_pass *pass, struct cns_row_arena *arena, size_t stride) {
  return cns_row_take(arena, pass->capacity * stride * sizeof(float));
}

static void place(struct cns_private_pass *pass, struct cns_row_arena *arena) {
  size_t widest = 0;
  for (size_t l = 0; l < pass->layers; l++) {
    struct cns_private_layer *layer = &pass->layer[l];
    layer->in = take_block(pass, arena, layer->in_stride);
    layer->delta = take_block(pass, arena, layer->out_stride);
    if (layer->inputs > widest) widest = layer->inputs;
    if (layer->outputs > widest) widest = layer->outputs;
  }
  pass->logits = take_block(pass, arena, pass->layer[pass->layers - 1].out_stride);
  pass->panel = cns_row_take(arena, widest * CNS_ROW_LANES * sizeof(float));
}

void cns_private_pass_deinit(struct cns_private_pass *pass) {
  cns_row_free(pass->arena.memory, pass->arena.used);
  *pass = (struct cns_private_pass){0};
}

int cns_private_pass_init(struct cns_private_pass *pass, const struct cns_plan *plan, const float *params,
                          size_t rows_max) {
  *pass = (struct cns_private_pass){.plan = plan,
                                    .params = params,
                                    .layers = cns_plan_layer_count(plan),
                                    .capacity = cns_row_capacity(rows_max ? rows_max : 1)};
  size_t offset = 0;
  for (size_t l = 0; l < pass->layers; l++) {
    size_t inputs = cns_plan_layer_inputs(plan, l), outputs = cns_plan_layer_outputs(plan, l);
    pass->layer[l] = (struct cns_private_layer){.inputs = inputs,
                                                .outputs = outputs,
                                                .offset = offset,
                                                .in_stride = cns_row_stride(inputs),
                                                .out_stride = cns_row_stride(outputs)};
    offset += outputs * (inputs + 1);
  }
  struct cns_row_arena count = {0};
  place(pass, &count);
  pass->arena.memory = cns_row_alloc(count.used);
  if (!pass->arena.memory) return CNS_ERR_MEMORY;
  place(pass, &pass->arena);
  return 0;
}

static void activate(enum cns_plan_activation activation, float *values, size_t count) {
  for (size_t i = 0; i < count; i++)
    values[i] = activation == CNS_ACTIVATION_TANH ? tanhf(values[i]) : values[i] < 0 ? 0.0f : values[i];
}

static void forward(struct cns_private_pass *pass, size_t rows) {
  for (size_t l = 0; l < pass->layers; l++) {
    const struct cns_private_layer *layer = &pass->layer[l];
    const float *weight = pass->params + layer->offset;
    const struct cns_row_matrix transposed = {.inner = layer->inputs,
                                              .columns = layer->outputs,
                                              .values = weight,
                                              .inner_step = 1,
                                              .column_step = layer->inputs,
                                              .start = weight + layer->inputs * layer->outputs};
    bool last = l + 1 == pass->layers;
    float *out = last ? pass->logits : pass->layer[l + 1].in;
    cns_row_multiply(&transposed, layer->in, layer->in_stride, rows, pass->panel, out, layer->out_stride);
    if (last) break;
    for (size_t i = 0; i < rows; i++)
      activate(pass->plan->activation, out + i * layer->out_stride, layer->outputs);
  }
}

/* Softmax minus one-hot, over the patient's number of rows: at most 1 in absolute
 * value. NaN if a logit isn't finite. */
static void loss_backward_row(const float *logits, size_t classes, uint16_t label, uint32_t share,
                              float *delta) {
  double largest = -INFINITY, sum = 0, poison = 0;
  for (size_t c = 0; c < classes; c++) {
    if ((double)logits[c] > largest) largest = (double)logits[c];
    poison += 0 * (double)logits[c];
  }
  for (size_t c = 0; c < classes; c++)
    sum += exp((double)logits[c] - largest);
  for (size_t c = 0; c < classes; c++) {
    double p = exp((double)logits[c] - largest) / sum + poison;
    delta[c] = (float)((p - (c == label)) / (double)share);
  }
}

/* Times the activation function's derivative, which its value tells. */
static void activate_backward(enum cns_plan_activation activation, const float *values, float *delta,
                              size_t count) {
  for (size_t i = 0; i < count; i++)
    delta[i] *= activation == CNS_ACTIVATION_TANH ? 1 - values[i] * values[i] : values[i] > 0 ? 1.0f : 0.0f;
}

static void backward(struct cns_private_pass *pass, size_t rows) {
  for (size_t l = pass->layers; l-- > 1;) {
    const struct cns_private_layer *layer = &pass->layer[l];
    const struct cns_row_matrix weight = {.inner = layer->outputs,
                                          .columns = layer->inputs,
                                          .values = pass->params + layer->offset,
                                          .inner_step = layer->inputs,
                                          .column_step = 1};
    float *delta = pass->layer[l - 1].delta;
    cns_row_multiply(&weight, layer->delta, layer->out_stride, rows, pass->panel, delta, layer->in_stride);
    for (size_t i = 0; i < rows; i++)
      activate_backward(pass->plan->activation, layer->in + i * layer->in_stride,
                        delta + i * layer->in_stride, layer->inputs);
  }
}

void cns_private_pass_run(struct cns_private_pass *pass, const struct cns_table *table,
                          const uint32_t *row_of, const uint32_t *share, size_t rows) {
  const struct cns_private_layer *first = &pass->layer[0];
  for (size_t i = 0; i < rows; i++)
    memcpy(first->in + i * first->in_stride, table->x + row_of[i] * first->inputs,
           first->inputs * sizeof(float));
  forward(pass, rows);
  const struct cns_private_layer *last = &pass->layer[pass->layers - 1];
  for (size_t i = 0; i < rows; i++)
    loss_backward_row(pass->logits + i * last->out_stride, last->outputs, table->label[row_of[i]], share[i],
                      last->delta + i * last->out_stride);
  backward(pass, rows);
}
