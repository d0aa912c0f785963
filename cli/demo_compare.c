/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "cli/demo.h"
#include "model/fedavg.h"
#include "model/modelfile.h"
#include "model/predict.h"

struct cns_demo_compare {
  const struct cns_demo_parts *parts;
  const char *folder;
  pthread_t thread;
  bool joined;
  atomic_bool cancel, done;
  /* the thread's until it is joined */
  double *alone;
  double pooled, local;
  int result;
  struct cns_problem problem;
};

/* A federation of one: as many rounds and epochs, and no clipping. */
static int train(struct cns_demo_compare *compare, const struct cns_table *table, uint32_t hospital,
                 float *params, float *update) {
  const struct cns_plan *plan = &compare->parts->plan;
  int r = cns_model_initial(plan, compare->folder, params, &compare->problem);
  for (uint32_t round = 1; round <= plan->rounds && !r; round++) {
    const struct cns_network_seed seed = {
        .study = plan->seed, .round = round, .attempt = 1, .hospital = hospital};
    r = cns_network_train(plan, params, table, &seed, &compare->cancel, update, NULL, &compare->problem);
    if (!r) r = cns_fedavg_step(params, update, plan->dim, params, &compare->problem);
  }
  return r;
}

static int compute(struct cns_demo_compare *compare) {
  const struct cns_demo_parts *parts = compare->parts;
  size_t dim = parts->plan.dim;
  float *params = calloc(dim, sizeof *params), *update = calloc(dim, sizeof *update);
  int r = params && update ? 0 : cns_problem_set(&compare->problem, CNS_ERR_MEMORY, "out of memory");
  for (size_t h = 0; h <= parts->hospital_count && !r; h++) {
    const struct cns_table *table = h == 0 ? &parts->pooled : &parts->hospitals[h - 1].train;
    struct cns_metrics metrics;
    r = train(compare, table, (uint32_t)h, params, update);
    if (!r) r = cns_model_evaluate(&parts->plan, params, &parts->test, &metrics, &compare->problem);
    if (!r) *(h == 0 ? &compare->pooled : &compare->alone[h - 1]) = metrics.has_auc ? metrics.auc : NAN;
  }
  free(params);
  free(update);
  return r;
}

static int compute_private(struct cns_demo_compare *compare) {
  struct cns_demo_private_aucs aucs = {0};
  int r = cns_demo_compare_private(compare->parts, compare->folder, &compare->cancel, &aucs, compare->alone,
                                   &compare->problem);
  compare->pooled = aucs.central;
  compare->local = aucs.local;
  return r;
}

static void *work(void *context) {
  struct cns_demo_compare *compare = context;
  bool private = compare->parts->plan.noise_multiplier > 0;
  compare->local = NAN;
  compare->result = private ? compute_private(compare) : compute(compare);
  atomic_store(&compare->done, true);
  return NULL;
}

int cns_demo_compare_start(const struct cns_demo_parts *parts, const char *folder,
                           struct cns_demo_compare **ret_compare, struct cns_problem *problem) {
  struct cns_demo_compare *compare = calloc(1, sizeof *compare);
  if (compare) compare->alone = calloc(parts->hospital_count, sizeof *compare->alone);
  if (!compare || !compare->alone) {
    free(compare);
    return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  }
  compare->parts = parts;
  compare->folder = folder;
  if (pthread_create(&compare->thread, NULL, work, compare) != 0) {
    free(compare->alone);
    free(compare);
    return cns_problem_set(problem, CNS_ERR_LIBRARY, "no thread can be started for the comparison");
  }
  *ret_compare = compare;
  return 0;
}

bool cns_demo_compare_is_done(const struct cns_demo_compare *compare) {
  return atomic_load(&compare->done);
}

static void join(struct cns_demo_compare *compare) {
  if (!compare->joined) pthread_join(compare->thread, NULL);
  compare->joined = true;
}

int cns_demo_compare_finish(struct cns_demo_compare *compare, double *ret_alone, double *ret_pooled,
                            double *ret_local, struct cns_problem *problem) {
  join(compare);
  if (compare->result) {
    *problem = compare->problem;
    return cns_problem_prefix(problem, compare->result, "training for comparison");
  }
  for (size_t h = 0; h < compare->parts->hospital_count; h++)
    ret_alone[h] = compare->alone[h];
  *ret_pooled = compare->pooled;
  *ret_local = compare->local;
  return 0;
}

struct cns_demo_compare *cns_demo_compare_free(struct cns_demo_compare *compare) {
  if (!compare) return NULL;
  atomic_store(&compare->cancel, true);
  join(compare);
  free(compare->alone);
  free(compare);
  return NULL;
}
