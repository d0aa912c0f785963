/* SPDX-License-Identifier: Apache-2.0 */
#include "model/network.h"

#include <cblas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>

#include "crypto/rng.h"
#include "model/metrics.h"

/* Rows that go through the layers at once; bounds the memory whatever the
 * batch, and is enough to keep the matrix kernels busy. */
#define CHUNK 512

static once_flag blas_once = ONCE_FLAG_INIT;

/* Worker threads call this; a pool of BLAS threads behind each of them would
 * only fight over the cores, and sums would depend on their number. */
static void blas_single_threaded(void) {
  openblas_set_num_threads(1);
}

struct work {
  const struct cns_plan *plan;
  size_t layers;
  size_t chunk, widest; /* rows; outputs of the widest layer */
  const float *input;
  float *output[CNS_PLAN_HIDDEN_MAX + 1]; /* of each layer, CHUNK rows; after the activation */
  float *delta[2];                        /* gradients at a layer's output and at its input */
};

static size_t chunk_rows(size_t rows) {
  return rows < CHUNK ? rows : CHUNK;
}

/* Rows, what a network makes of them, and what it learnt from them: no copy of
 * it stays behind on the heap. */
static void wipe_free(void *memory, size_t bytes) {
  if (memory) cns_wipe(memory, bytes);
  free(memory);
}

static void work_deinit(struct work *work) {
  for (size_t l = 0; l < work->layers; l++)
    wipe_free(work->output[l], work->chunk * cns_plan_layer_outputs(work->plan, l) * sizeof(float));
  for (size_t i = 0; i < 2; i++)
    wipe_free(work->delta[i], work->chunk * work->widest * sizeof(float));
}

static int work_init(struct work *work, const struct cns_plan *plan, size_t rows) {
  call_once(&blas_once, blas_single_threaded);
  *work = (struct work){.plan = plan, .layers = cns_plan_layer_count(plan)};
  size_t widest = 0, chunk = chunk_rows(rows ? rows : 1);
  bool ok = true;
  for (size_t l = 0; l < work->layers; l++) {
    size_t outputs = cns_plan_layer_outputs(plan, l);
    work->output[l] = calloc(chunk * outputs, sizeof(float));
    ok = ok && work->output[l];
    if (outputs > widest) widest = outputs;
  }
  work->chunk = chunk;
  work->widest = widest;
  for (size_t i = 0; i < 2; i++)
    ok = (work->delta[i] = calloc(chunk * widest, sizeof(float))) && ok;
  if (ok) return 0;
  work_deinit(work);
  return CNS_ERR_MEMORY;
}

static void activate(enum cns_plan_activation activation, float *values, size_t count) {
  for (size_t i = 0; i < count; i++)
    values[i] = activation == CNS_ACTIVATION_TANH ? tanhf(values[i]) : values[i] < 0 ? 0.0f : values[i];
}

/* Both derivatives can be told from the activation's value. */
static void activate_backward(enum cns_plan_activation activation, const float *values, float *delta,
                              size_t count) {
  for (size_t i = 0; i < count; i++)
    delta[i] *= activation == CNS_ACTIVATION_TANH ? 1 - values[i] * values[i] : values[i] > 0 ? 1.0f : 0.0f;
}

/* rows <= CHUNK. Logits are work->output of the last layer. */
static void forward(struct work *work, const float *params, const float *x, size_t rows) {
  const struct cns_plan *plan = work->plan;
  const float *in = work->input = x;
  for (size_t l = 0; l < work->layers; l++) {
    size_t inputs = cns_plan_layer_inputs(plan, l), outputs = cns_plan_layer_outputs(plan, l);
    const float *weight = params, *bias = params + inputs * outputs;
    float *out = work->output[l];
    for (size_t i = 0; i < rows; i++)
      memcpy(out + i * outputs, bias, outputs * sizeof *out);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)outputs, (int)inputs, 1, in,
                (int)inputs, weight, (int)inputs, 1, out, (int)outputs);
    if (l + 1 < work->layers) activate(plan->activation, out, rows * outputs);
    params = bias + outputs;
    in = out;
  }
}

/* Softmax minus one-hot, over `total`, into delta[0]; returns the rows' loss. */
static double loss_backward(struct work *work, const uint16_t *label, size_t rows, size_t total) {
  size_t classes = work->plan->class_count;
  const float *logits = work->output[work->layers - 1];
  double loss = 0;
  for (size_t i = 0; i < rows; i++) {
    const float *row = logits + i * classes;
    double row_loss = cns_metrics_loss(classes, row, label[i]);
    double log_sum = row_loss + (double)row[label[i]];
    for (size_t c = 0; c < classes; c++) {
      double p = exp((double)row[c] - log_sum);
      work->delta[0][i * classes + c] = (float)((p - (c == label[i])) / (double)total);
    }
    loss += row_loss;
  }
  return loss;
}

/* Adds the rows' part of the gradient, delta[0] being that of the logits. */
static void backward(struct work *work, const float *params, size_t rows, float *gradient) {
  const struct cns_plan *plan = work->plan;
  size_t end = plan->dim;
  for (size_t l = work->layers; l-- > 0;) {
    size_t inputs = cns_plan_layer_inputs(plan, l), outputs = cns_plan_layer_outputs(plan, l);
    const float *in = l > 0 ? work->output[l - 1] : work->input, *delta = work->delta[0];
    float *bias = gradient + end - outputs;
    end -= outputs * (inputs + 1);
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)outputs, (int)inputs, (int)rows, 1, delta,
                (int)outputs, in, (int)inputs, 1, gradient + end, (int)inputs);
    for (size_t i = 0; i < rows; i++)
      for (size_t o = 0; o < outputs; o++)
        bias[o] += delta[i * outputs + o];
    if (l == 0) break;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, (int)inputs, (int)outputs, 1, delta,
                (int)outputs, params + end, (int)inputs, 0, work->delta[1], (int)inputs);
    activate_backward(plan->activation, in, work->delta[1], rows * inputs);
    float *swap = work->delta[0];
    work->delta[0] = work->delta[1];
    work->delta[1] = swap;
  }
}

/* Loss summed over the rows; the gradient of their mean is added to `gradient` (may be NULL). */
static double loss_and_gradient(struct work *work, const float *params, const float *x, const uint16_t *label,
                                size_t rows, float *gradient) {
  double loss = 0;
  for (size_t at = 0; at < rows; at += CHUNK) {
    size_t n = chunk_rows(rows - at);
    forward(work, params, x + at * work->plan->feature_count, n);
    loss += loss_backward(work, label + at, n, rows);
    if (gradient) backward(work, params, n, gradient);
  }
  return loss;
}

static bool labels_fit(const struct cns_plan *plan, const uint16_t *label, size_t rows) {
  for (size_t i = 0; i < rows; i++)
    if (label[i] >= plan->class_count) return false;
  return true;
}

int cns_network_gradient(const struct cns_plan *plan, const float *params, const float *x,
                         const uint16_t *label, size_t rows, double *ret_loss, float *ret_gradient) {
  if (rows == 0 || !labels_fit(plan, label, rows)) return CNS_ERR_ARGUMENT;
  struct work work;
  int r = work_init(&work, plan, rows);
  if (r < 0) return r;
  if (ret_gradient) memset(ret_gradient, 0, plan->dim * sizeof *ret_gradient);
  *ret_loss = loss_and_gradient(&work, params, x, label, rows, ret_gradient) / (double)rows;
  work_deinit(&work);
  return 0;
}

int cns_network_logits(const struct cns_plan *plan, const float *params, const float *x, size_t rows,
                       float *ret_logits) {
  struct work work;
  int r = work_init(&work, plan, rows);
  if (r < 0) return r;
  for (size_t at = 0; at < rows; at += CHUNK) {
    size_t n = chunk_rows(rows - at);
    forward(&work, params, x + at * plan->feature_count, n);
    memcpy(ret_logits + at * plan->class_count, work.output[work.layers - 1],
           n * plan->class_count * sizeof *ret_logits);
  }
  work_deinit(&work);
  return 0;
}

/* Uniform within +-reach; four bytes of the generator each. */
static int draw_weights(struct cns_rng rng, double reach, float *ret_weights, size_t count) {
  uint8_t bytes[4096];
  for (size_t k = 0; k < count; k++) {
    size_t at = 4 * k % sizeof bytes, left = 4 * (count - k);
    int r = at == 0 ? cns_rng_fill(rng, bytes, left < sizeof bytes ? left : sizeof bytes) : 0;
    if (r < 0) return r;
    uint32_t bits = (uint32_t)bytes[at] | (uint32_t)bytes[at + 1] << 8 | (uint32_t)bytes[at + 2] << 16;
    /* 24 bits, centred: exact in double, so only the last product rounds. */
    ret_weights[k] = (float)(reach * (((double)bits + 0.5) * 0x1p-23 - 1));
  }
  return 0;
}

int cns_network_init(const struct cns_plan *plan, uint64_t seed, float *ret_params) {
  struct cns_rng_seeded generator;
  cns_rng_seeded_init_label(&generator, seed, "initial model");
  struct cns_rng rng = cns_rng_seeded(&generator);
  memset(ret_params, 0, plan->dim * sizeof *ret_params);
  if (plan->kind == CNS_MODEL_LOGISTIC) return 0;
  for (size_t t = 0; t < cns_plan_tensor_count(plan); t += 2) {
    struct cns_plan_tensor tensor = cns_plan_tensor(plan, t);
    bool relu =
        tensor.shape[0] && t + 2 < cns_plan_tensor_count(plan) && plan->activation == CNS_ACTIVATION_RELU;
    double fan = (double)(relu ? tensor.shape[1] : tensor.shape[0] + tensor.shape[1]);
    double reach = sqrt(6 / fan);
    int r = draw_weights(rng, reach, ret_params + tensor.offset, tensor.count);
    if (r < 0) return r;
  }
  return 0;
}

/* What local training holds: beside the parameters one vector of their size, whether there is momentum or
 * not. A model of a gigabyte costs two. */
struct trainer {
  struct work work;
  const struct cns_table *table;
  const float *parent;
  const float *correction; /* NULL: none */
  size_t batch;            /* rows at a time, at the most */
  struct cns_rng_seeded generator;
  float *params;   /* the caller's, where the update will be */
  float *velocity; /* without momentum the gradient */
  float *batch_x;
  uint16_t *batch_label;
  uint32_t *order;
};

static void trainer_deinit(struct trainer *trainer) {
  work_deinit(&trainer->work);
  const struct cns_plan *plan = trainer->work.plan;
  wipe_free(trainer->velocity, plan->dim * sizeof(float));
  wipe_free(trainer->batch_x, trainer->batch * plan->feature_count * sizeof(float));
  wipe_free(trainer->batch_label, trainer->batch * sizeof(uint16_t));
  free(trainer->order);
}

void cns_network_shuffles(const struct cns_network_seed *seed, struct cns_rng_seeded *ret_generator) {
  char label[96];
  snprintf(label, sizeof label, "shuffle: round %llu, attempt %u, hospital %u",
           (unsigned long long)seed->round, seed->attempt, seed->hospital);
  cns_rng_seeded_init_label(ret_generator, seed->study, label);
}

static int trainer_init(struct trainer *trainer, const struct cns_plan *plan, const float *parent,
                        const float *correction, const struct cns_table *table,
                        const struct cns_network_seed *seed, float *params) {
  size_t batch = plan->batch < table->rows ? plan->batch : table->rows;
  *trainer = (struct trainer){
      .table = table, .parent = parent, .correction = correction, .batch = batch, .params = params};
  int r = work_init(&trainer->work, plan, batch);
  if (r < 0) return r;
  trainer->velocity = calloc(plan->dim, sizeof(float));
  trainer->batch_x = calloc(batch * plan->feature_count, sizeof(float));
  trainer->batch_label = calloc(batch, sizeof(uint16_t));
  trainer->order = calloc(table->rows, sizeof(uint32_t));
  if (!trainer->velocity || !trainer->batch_x || !trainer->batch_label || !trainer->order) {
    trainer_deinit(trainer);
    return CNS_ERR_MEMORY;
  }
  memcpy(trainer->params, parent, plan->dim * sizeof(float));
  for (size_t i = 0; i < table->rows; i++)
    trainer->order[i] = (uint32_t)i;
  cns_network_shuffles(seed, &trainer->generator);
  return 0;
}

/* v <- momentum*v, to which the gradient is added where it is computed. */
static void decay(struct trainer *trainer) {
  const struct cns_plan *plan = trainer->work.plan;
  float momentum = (float)plan->momentum;
  if (momentum == 0)
    memset(trainer->velocity, 0, plan->dim * sizeof *trainer->velocity);
  else
    for (size_t k = 0; k < plan->dim; k++)
      trainer->velocity[k] *= momentum;
}

/* Beside the rows' loss: FedProx's mu/2 |w - w0|^2, and SCAFFOLD's constant. */
static void adjust_gradient(struct trainer *trainer) {
  const struct cns_plan *plan = trainer->work.plan;
  float mu = (float)plan->proximal;
  if (mu > 0)
    for (size_t k = 0; k < plan->dim; k++)
      trainer->velocity[k] += mu * (trainer->params[k] - trainer->parent[k]);
  if (trainer->correction)
    for (size_t k = 0; k < plan->dim; k++)
      trainer->velocity[k] += trainer->correction[k];
}

/* One step on rows order[at..at+n-1]; returns their summed loss. */
static double step(struct trainer *trainer, size_t at, size_t n) {
  const struct cns_plan *plan = trainer->work.plan;
  size_t features = plan->feature_count;
  for (size_t i = 0; i < n; i++) {
    size_t row = trainer->order[at + i];
    memcpy(trainer->batch_x + i * features, trainer->table->x + row * features, features * sizeof(float));
    trainer->batch_label[i] = trainer->table->label[row];
  }
  decay(trainer);
  double loss = loss_and_gradient(&trainer->work, trainer->params, trainer->batch_x, trainer->batch_label, n,
                                  trainer->velocity);
  adjust_gradient(trainer);
  float rate = (float)plan->learning_rate;
  for (size_t k = 0; k < plan->dim; k++)
    trainer->params[k] -= rate * trainer->velocity[k];
  return loss;
}

static int train_epochs(struct trainer *trainer, const atomic_bool *cancel, struct cns_network_stats *stats,
                        struct cns_problem *problem) {
  const struct cns_plan *plan = trainer->work.plan;
  size_t rows = trainer->table->rows;
  for (uint32_t epoch = 0; epoch < plan->local_epochs; epoch++) {
    double loss = 0;
    int r = cns_rng_shuffle(cns_rng_seeded(&trainer->generator), trainer->order, trainer->table->rows);
    if (r < 0) return cns_problem_set(problem, r, "no randomness for the shuffle");
    for (size_t at = 0; at < rows; at += plan->batch) {
      if (cancel && atomic_load(cancel))
        return cns_problem_set(problem, CNS_ERR_CANCELLED, "training was stopped");
      loss += step(trainer, at, rows - at < plan->batch ? rows - at : plan->batch);
      stats->steps++;
    }
    stats->last_loss = loss / (double)rows;
    if (epoch == 0) stats->first_loss = stats->last_loss;
    if (!isfinite(loss))
      return cns_problem_set(problem, CNS_ERR_RANGE,
                             "training diverged in epoch %u: the loss is not a finite number; the study's "
                             "learning rate or momentum is too high for this data",
                             epoch + 1);
  }
  return 0;
}

/* The trained parameters become the update. */
static int finish_update(const struct trainer *trainer, const float *parent, struct cns_problem *problem) {
  for (size_t k = 0; k < trainer->work.plan->dim; k++) {
    trainer->params[k] -= parent[k];
    if (!isfinite(trainer->params[k]))
      return cns_problem_set(problem, CNS_ERR_RANGE,
                             "parameter %zu of the trained model is not a finite number; nothing is sent", k);
  }
  return 0;
}

int cns_network_train(const struct cns_plan *plan, const float *parent, const struct cns_table *table,
                      const struct cns_network_seed *seed, const atomic_bool *cancel, float *ret_update,
                      struct cns_network_stats *ret_stats, struct cns_problem *problem) {
  return cns_network_train_corrected(plan, parent, NULL, table, seed, cancel, ret_update, ret_stats, problem);
}

int cns_network_train_corrected(const struct cns_plan *plan, const float *parent, const float *correction,
                                const struct cns_table *table, const struct cns_network_seed *seed,
                                const atomic_bool *cancel, float *ret_update,
                                struct cns_network_stats *ret_stats, struct cns_problem *problem) {
  memset(ret_update, 0, plan->dim * sizeof *ret_update);
  if (table->rows == 0 || table->features != plan->feature_count ||
      !labels_fit(plan, table->label, table->rows))
    return cns_problem_set(problem, CNS_ERR_ARGUMENT,
                           "there are no labelled rows for this study to train on");
  struct trainer trainer;
  struct cns_network_stats stats = {0};
  int r = trainer_init(&trainer, plan, parent, correction, table, seed, ret_update);
  if (r < 0) return cns_problem_set(problem, r, "out of memory for training");
  r = train_epochs(&trainer, cancel, &stats, problem);
  if (r == 0) r = finish_update(&trainer, parent, problem);
  trainer_deinit(&trainer);
  if (r < 0) {
    memset(ret_update, 0, plan->dim * sizeof *ret_update);
    return r;
  }
  if (ret_stats) *ret_stats = stats;
  return 0;
}
