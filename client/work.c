/* SPDX-License-Identifier: Apache-2.0 */
#include "client/work.h"

#include <math.h>
#include <stdlib.h>

#include "dp/clip.h"
#include "dp/discrete_gaussian.h"
#include "dp/grid.h"
#include "model/model_view.h"
#include "model/predict.h"
#include "model/private.h"

struct cns_work {
  uv_work_t request;
  struct cns_work_input input;
  struct cns_model_map *model;
  atomic_bool cancelled;
  struct cns_work_result result;
  int error;
  struct cns_problem problem;
  cns_work_done *done;
  void *context;
};

static void wipe_free(void *memory, size_t len) {
  if (memory) cns_wipe(memory, len);
  free(memory);
}

/* By a whole number, so that a coordinate isn't beyond what the sum can hold
 * unless bounds are 2*sqrt(8) or more (dp/quantize.h). */
static void poison(const struct cns_work_input *in, size_t dim, uint32_t *x) {
  double squares = 0;
  for (size_t i = 0; i < dim; i++)
    squares += (double)(int32_t)x[i] * (double)(int32_t)x[i];
  if (squares == 0) return;
  uint32_t factor = (uint32_t)-llround(in->poison * (double)in->theta / sqrt(squares));
  for (size_t i = 0; i < dim; i++)
    x[i] *= factor;
}

static int train_update(struct cns_work *work, const float *params, float *update) {
  const struct cns_work_input *in = &work->input;
  size_t dim = cns_plan_dim(in->plan);
  int r = cns_network_train(in->plan, params, in->train, &in->seed, &work->cancelled, update,
                            &work->result.stats, &work->problem);
  if (!r) r = cns_clip(update, dim, in->clip_norm, &work->result.norm, &work->problem);
  if (r == CNS_ERR_RANGE) cns_problem_prefix(&work->problem, r, "the update trained here can't be used");
  if (!r)
    r = cns_quantize(update, dim, in->clip_norm, in->weight, in->scale_log2, in->rng, work->result.x,
                     &work->problem);
  return r;
}

/* Steps that one patient's extra numbers are worth, in their order; how many. */
static size_t extra_units(const struct cns_work_input *in, uint64_t *ret_units) {
  size_t count = 0;
  if (in->indicator > 0) ret_units[count++] = in->indicator;
  if (in->metric > 0) ret_units[count++] = in->metric;
  if (in->metric > 0) ret_units[count++] = in->metric;
  return count;
}

/* Numbers that get noise. */
static size_t update_dim(const struct cns_work_input *in) {
  uint64_t units[CNS_MECHANISM_EXTRAS_MAX];
  return cns_plan_dim(in->plan) + extra_units(in, units);
}

/* Each patient within the clip norm counts +a and each beyond -a, whatever the norm; of the
 * metrics each is within +-h. Cut off at so many patients, which moves no two sums apart. */
static void put_extras(const struct cns_work_input *in, const struct cns_private_stats *stats,
                       const struct cns_private_metrics *metrics, uint32_t *ret_x) {
  int64_t within = (int64_t)stats->sampled - 2 * (int64_t)stats->clipped;
  int64_t sums[CNS_MECHANISM_EXTRAS_MAX];
  uint64_t units[CNS_MECHANISM_EXTRAS_MAX];
  size_t count = 0;
  if (in->indicator > 0) sums[count++] = within * (int64_t)in->indicator;
  if (in->metric > 0) sums[count++] = metrics->loss;
  if (in->metric > 0) sums[count++] = metrics->right;
  (void)extra_units(in, units);
  for (size_t k = 0; k < count; k++) {
    int64_t most = (int64_t)(in->patients * units[k]);
    int64_t sum = sums[k] > most ? most : sums[k] < -most ? -most : sums[k];
    ret_x[k] = (uint32_t)(uint64_t)sum;
  }
  cns_wipe(sums, sizeof sums);
}

/* Who is in the sample, and how many, stays here. */
static int sum_gradients(struct cns_work *work, const float *params) {
  const struct cns_work_input *in = &work->input;
  size_t dim = cns_plan_dim(in->plan), patients = in->train->patients, sampled = 0;
  struct cns_private_stats stats = {0};
  struct cns_private_metrics metrics = {.loss_max = in->plan->noised_metrics.loss_max, .unit = in->metric};
  bool *sample = calloc(patients ? patients : 1, sizeof *sample);
  double *sum = malloc(dim * sizeof *sum);
  int r =
      sample && sum ? 0 : cns_problem_set(&work->problem, CNS_ERR_MEMORY, "not enough memory for gradients");
  if (!r) r = cns_private_sample(in->rng, in->sampling_rate, patients, sample, &sampled);
  if (!r)
    r = cns_private_gradient_metrics(in->plan, params, in->train, sample, in->clip_norm, &work->cancelled,
                                     sum, &stats, in->metric > 0 ? &metrics : NULL, &work->problem);
  if (!r) r = cns_grid_round(sum, dim, in->radius, in->scale_log2, in->rng, work->result.x, &work->problem);
  if (!r) put_extras(in, &stats, &metrics, work->result.x + dim);
  cns_wipe(&stats, sizeof stats);
  cns_wipe(&metrics, sizeof metrics);
  wipe_free(sample, patients * sizeof *sample);
  wipe_free(sum, dim * sizeof *sum);
  return r;
}

/* On the very vector that leaves, in integers: whatever was computed before, it
 * can't change the sum by more than the noise is made for. */
static int check_norm(struct cns_work *work, size_t dim) {
  const struct cns_work_input *in = &work->input;
  uint64_t units[CNS_MECHANISM_EXTRAS_MAX];
  size_t extras = extra_units(in, units);
  const uint32_t *extra = work->result.x + dim - extras;
  bool good = cns_grid_within(work->result.x, dim, in->theta);
  for (size_t k = 0; k < extras; k++)
    good = good && llabs((int64_t)(int32_t)extra[k]) <= (int64_t)(units[k] * in->patients);
  if (in->indicator > 0) good = good && (int64_t)(int32_t)extra[0] % (int64_t)in->indicator == 0;
  if (good) return 0;
  return cns_problem_set(&work->problem, CNS_ERR_RANGE,
                         "the update computed here is longer than the round's bound: this machine computes "
                         "wrongly, and nothing of it is sent");
}

static int add_noise(struct cns_work *work, size_t dim) {
  struct cns_discrete_gaussian *noise = NULL;
  if (work->input.sigma_local == 0) return 0;
  int r = cns_discrete_gaussian_new(work->input.sigma_local, &noise, &work->problem);
  if (!r) r = cns_discrete_gaussian_add(noise, work->input.rng, work->result.x, dim);
  cns_discrete_gaussian_free(noise);
  return r;
}

static int train(struct cns_work *work, const float *params, float *update) {
  const struct cns_work_input *in = &work->input;
  size_t dim = update_dim(in);
  int r = in->unit == CNS_UNIT_PATIENT ? sum_gradients(work, params) : train_update(work, params, update);
  if (!r) r = check_norm(work, dim);
  if (!r && in->poison) poison(in, dim, work->result.x);
  return r ? r : add_noise(work, dim);
}

/* The model's parameters are read in its file; the vector's and the update's memory is
 * touched only when they are written. */
static int work_with(struct cns_work *work, float *update) {
  const struct cns_work_input *in = &work->input;
  struct cns_model_view view = {0};
  size_t dim = update_dim(in), len;
  const uint8_t *bytes = cns_model_map_bytes(work->model, &len);
  int r = cns_model_view(in->plan, bytes, len, "the received model", &view, &work->problem);
  if (!r && in->metrics)
    r = cns_model_metrics(in->plan, view.params, in->validation, work->result.x + dim, &work->problem);
  if (!r) r = train(work, view.params, update);
  cns_model_view_deinit(&view);
  work->model = cns_model_map_free(work->model);
  return r;
}

static void run(uv_work_t *request) {
  struct cns_work *work = request->data;
  size_t dim = cns_plan_dim(work->input.plan);
  size_t words =
      update_dim(&work->input) + (work->input.metrics ? cns_plan_metrics_dim(work->input.plan) : 0);
  float *update = malloc(dim * sizeof *update);
  work->result.x = calloc(words, sizeof *work->result.x);
  work->result.words = words;
  if (!update || !work->result.x)
    work->error = cns_problem_set(&work->problem, CNS_ERR_MEMORY, "not enough memory for the study's model");
  else
    work->error = work_with(work, update);
  if (work->error) {
    wipe_free(work->result.x, words * sizeof *work->result.x);
    work->result.x = NULL;
  }
  wipe_free(update, dim * sizeof *update);
}

static void after(uv_work_t *request, int status) {
  struct cns_work *work = request->data;
  if (status == UV_ECANCELED || (!work->error && atomic_load(&work->cancelled))) {
    wipe_free(work->result.x, (size_t)work->result.words * sizeof *work->result.x);
    work->result.x = NULL;
    work->error = CNS_ERR_CANCELLED;
  }
  work->done(work->context, work, work->error, &work->result, &work->problem);
  cns_model_map_free(work->model);
  free(work);
}

int cns_work_start(uv_loop_t *uv, const struct cns_work_input *input, struct cns_model_map *model,
                   cns_work_done *done, void *context, struct cns_work **ret_work) {
  struct cns_work *work = calloc(1, sizeof *work);
  if (!work) return CNS_ERR_MEMORY;
  work->request.data = work;
  work->input = *input;
  work->model = model;
  work->done = done;
  work->context = context;
  if (uv_queue_work(uv, &work->request, run, after) != 0) {
    free(work);
    return CNS_ERR_LIBRARY;
  }
  *ret_work = work;
  return 0;
}

void cns_work_cancel(struct cns_work *work) {
  atomic_store(&work->cancelled, true);
  (void)uv_cancel((uv_req_t *)&work->request); /* fails, and need not succeed, once it runs */
}
