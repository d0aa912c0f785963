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
#include "model/scaffold.h"

struct cns_work {
  uv_work_t request;
  uv_loop_t *uv;
  struct cns_work_input input;
  struct cns_model_map *model;
  struct cns_trainer *trainer; /* NULL: the built-in one */
  bool commanded;              /* the command runs */
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

/* own: the hospital's control variate. */
static int train_model(struct cns_work *work, const float *model, float *own, float *update) {
  const struct cns_work_input *in = &work->input;
  if (!own)
    return cns_network_train(in->plan, model, in->train, &in->seed, &work->cancelled, update,
                             &work->result.stats, &work->problem);
  int r = cns_control_read(&in->control, own, &work->problem);
  if (r < 0) return r;
  work->result.control_lost = r == CNS_CONTROL_LOST;
  return cns_scaffold_train(in->plan, model, own, in->train, &in->seed, &work->cancelled, update,
                            &work->result.stats, &work->problem);
}

/* Durable before anything leaves: what becomes of the control variate if the clipped update counts. */
static int propose_control(struct cns_work *work, float *own, const float *update) {
  const struct cns_work_input *in = &work->input;
  if (!own) return 0;
  struct cns_control_round round = {in->seed.round, in->seed.attempt, in->round};
  int r = cns_scaffold_move_own(in->plan, own, update, own, &work->problem);
  return r ? r : cns_control_propose(&in->control, &round, own, &work->problem);
}

static int unusable(struct cns_work *work, int error) {
  return cns_problem_prefix(&work->problem, error, "the update trained here can't be used");
}

/* Whoever trained: a command's update is clipped as ours is. */
static int shorten(struct cns_work *work, float *update) {
  const struct cns_work_input *in = &work->input;
  size_t dim = cns_plan_round_dim(in->plan);
  int r = cns_clip(update, dim, in->clip_norm, &work->result.norm, &work->problem);
  if (r == CNS_ERR_RANGE) unusable(work, r);
  if (!r)
    r = cns_quantize(update, dim, in->clip_norm, in->weight, in->scale_log2, in->rng, work->result.x,
                     &work->problem);
  return r;
}

static int train_update(struct cns_work *work, const float *params, float *update) {
  const struct cns_work_input *in = &work->input;
  bool scaffold = in->plan->scaffold.steps > 0;
  size_t own_bytes = cns_plan_dim(in->plan) * sizeof(float);
  float *own = scaffold ? malloc(own_bytes) : NULL;
  if (scaffold && !own)
    return cns_problem_set(&work->problem, CNS_ERR_MEMORY, "not enough memory for the control variate");
  int r = train_model(work, params, own, update);
  if (r == CNS_ERR_RANGE) unusable(work, r);
  if (!r) r = shorten(work, update);
  if (!r) r = propose_control(work, own, update);
  wipe_free(own, own_bytes);
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
  return cns_plan_round_dim(in->plan) + extra_units(in, units);
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

static int finish(struct cns_work *work) {
  const struct cns_work_input *in = &work->input;
  size_t dim = update_dim(in);
  int r = check_norm(work, dim);
  if (!r && in->poison) poison(in, dim, work->result.x);
  return r ? r : add_noise(work, dim);
}

static int train(struct cns_work *work, const float *params, float *update) {
  int r =
      work->input.unit == CNS_UNIT_PATIENT ? sum_gradients(work, params) : train_update(work, params, update);
  return r ? r : finish(work);
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
  if (!r && work->trainer)
    r = cns_trainer_prepare(work->trainer, view.params, &work->problem);
  else if (!r)
    r = train(work, view.params, update);
  cns_model_view_deinit(&view);
  work->model = cns_model_map_free(work->model);
  return r;
}

static void drop_vector(struct cns_work *work) {
  wipe_free(work->result.x, (size_t)work->result.words * sizeof *work->result.x);
  work->result.x = NULL;
}

static void run(uv_work_t *request) {
  struct cns_work *work = request->data;
  size_t dim = cns_plan_round_dim(work->input.plan);
  size_t words =
      update_dim(&work->input) + (work->input.metrics ? cns_plan_metrics_dim(work->input.plan) : 0);
  float *update = malloc(dim * sizeof *update);
  work->result.x = calloc(words, sizeof *work->result.x);
  work->result.words = words;
  if (!update || !work->result.x)
    work->error = cns_problem_set(&work->problem, CNS_ERR_MEMORY, "not enough memory for the study's model");
  else
    work->error = work_with(work, update);
  if (work->error) drop_vector(work);
  wipe_free(update, dim * sizeof *update);
}

static void after(uv_work_t *request, int status) {
  struct cns_work *work = request->data;
  if (status == UV_ECANCELED || (!work->error && atomic_load(&work->cancelled)))
    work->error = CNS_ERR_CANCELLED;
  if (work->error) drop_vector(work);
  if (work->trainer) work->result.note = cns_trainer_report_text(work->trainer);
  work->done(work->context, work, work->error, &work->result, &work->problem);
  cns_trainer_free(work->trainer);
  free(work->result.note);
  cns_model_map_free(work->model);
  free(work);
}

/* ---- with a command: the folder on a worker, the command, what it wrote on a worker ---- */

static void run_collect(uv_work_t *request) {
  struct cns_work *work = request->data;
  size_t dim = cns_plan_dim(work->input.plan);
  float *update = work->error || atomic_load(&work->cancelled) ? NULL : malloc(dim * sizeof *update);
  int r = work->error ? work->error : CNS_ERR_CANCELLED;
  if (update) {
    r = cns_trainer_collect(work->trainer, update, &work->result.trainer, &work->problem);
    if (!r) r = shorten(work, update);
    if (!r) r = finish(work);
  } else if (!work->error && !atomic_load(&work->cancelled))
    r = cns_problem_set(&work->problem, CNS_ERR_MEMORY, "not enough memory for the study's model");
  work->error = r;
  cns_trainer_clear(work->trainer);
  wipe_free(update, dim * sizeof *update);
}

/* The folder goes in any case, and not on the loop's thread. */
static void commanded(void *context, int error, const struct cns_problem *problem) {
  struct cns_work *work = context;
  work->commanded = false;
  work->error = error;
  work->problem = *problem;
  if (uv_queue_work(work->uv, &work->request, run_collect, after) == 0) return;
  if (!error) work->error = CNS_ERR_LIBRARY;
  after(&work->request, 0);
}

static void after_prepare(uv_work_t *request, int status) {
  struct cns_work *work = request->data;
  if (status == 0 && !work->error && !atomic_load(&work->cancelled)) {
    work->error = cns_trainer_start(work->trainer, work->uv, commanded, work, &work->problem);
    work->commanded = !work->error;
    if (work->commanded) return;
  }
  after(request, status);
}

static int new_trainer(struct cns_work *work) {
  const struct cns_work_input *in = &work->input;
  const struct cns_trainer_task task = {.plan = in->plan,
                                        .train = in->train,
                                        .validation = in->validation,
                                        .seed = in->seed,
                                        .clip_norm = in->clip_norm};
  if (!in->trainer) return 0;
  if (in->unit == CNS_UNIT_PATIENT) return CNS_ERR_ARGUMENT;
  return cns_trainer_new(in->trainer, &task, &work->trainer);
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
  work->uv = uv;
  int r = new_trainer(work);
  if (!r && uv_queue_work(uv, &work->request, run, work->trainer ? after_prepare : after) != 0)
    r = CNS_ERR_LIBRARY;
  if (r) {
    cns_trainer_free(work->trainer);
    free(work);
    return r;
  }
  *ret_work = work;
  return 0;
}

void cns_work_cancel(struct cns_work *work) {
  atomic_store(&work->cancelled, true);
  if (work->commanded) {
    cns_trainer_cancel(work->trainer);
    return;
  }
  (void)uv_cancel((uv_req_t *)&work->request); /* fails, and need not succeed, once it runs */
}
