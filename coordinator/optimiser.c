/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server optimiser's state (docs/optimisers.md): durable under the new model's name
 * before the manifest is, and until the manifest is the version before stays too. So
 * whenever the daemon is killed, the round is computed again from the same state.
 */
#include "coordinator/optimiser.h"

#include <stdlib.h>

#include "coordinator/server_internal.h"
#include "model/fedavg.h"

int cns_optimiser_step(const struct cns_optimiser *optimiser, uint64_t first, size_t count,
                       const float *parent, const float *mean_update, float *ret_params,
                       struct cns_problem *problem) {
  const struct cns_server_optimiser *o = optimiser->numbers;
  size_t arrays = o ? cns_server_optimiser_arrays(o) : 0, block = (size_t)(first / CNS_OPTIMISER_BLOCK);
  float *const state = arrays ? malloc(arrays * count * sizeof *state) : NULL;
  if (arrays && !state) return CNS_ERR_MEMORY;
  float *const of[CNS_OPTIMISER_ARRAYS_MAX] = {state, arrays > 1 ? state + count : NULL};
  int r = arrays ? cns_optimiser_change_read(optimiser->change, block, of, problem) : 0;
  if (r == CNS_OPTIMISER_NONE) {
    cns_server_optimiser_begin(o, count, of[0], of[1]);
    r = 0;
  }
  if (r == 0) {
    r = o ? cns_server_optimiser_step(o, parent, mean_update, count, of[0], of[1], ret_params, problem)
          : cns_fedavg_step(parent, mean_update, count, ret_params, problem);
    if (r == CNS_ERR_RANGE)
      cns_problem_prefix(problem, r, "from parameter %llu on", (unsigned long long)first);
  }
  const float *const moved[CNS_OPTIMISER_ARRAYS_MAX] = {of[0], of[1]};
  if (r == 0 && arrays) r = cns_optimiser_change_write(optimiser->change, block, moved, problem);
  free(state);
  return r;
}

/* ---- the daemon's ---- */

static struct cns_optimiser_version version_of(const struct cns_server *s, uint64_t round) {
  return (struct cns_optimiser_version){
      .round = round,
      .model = s->model,
      .plan = s->kit.study_document.digest,
      .dim = cns_plan_dim(&s->plan),
      .arrays = cns_server_optimiser_arrays(&s->plan.server_optimiser),
  };
}

/* Is there a state that the next round goes on from? A new version of the study begins anew. */
static bool has_state(const struct cns_server *s) {
  return cns_server_optimiser_arrays(&s->plan.server_optimiser) > 0 && s->completed > 0 && s->same_version;
}

int cns_optimiser_check(const struct cns_server *s, struct cns_problem *problem) {
  struct cns_optimiser_version version = version_of(s, s->completed);
  if (has_state(s)) return cns_optimiser_state_check(s->optimiser_path, &version, problem);
  return 0;
}

int cns_optimiser_begin(const struct cns_server *s, struct cns_optimiser *ret_optimiser,
                        struct cns_problem *problem) {
  struct cns_optimiser_version from = version_of(s, s->completed);
  const struct cns_optimiser_version *known = has_state(s) ? &from : NULL;
  int r = cns_optimiser_state_sweep(s->optimiser_path, known, problem);
  ret_optimiser->numbers = &s->plan.server_optimiser;
  ret_optimiser->change = NULL;
  if (r < 0 || from.arrays == 0) return r;
  return cns_optimiser_change_begin(s->optimiser_path, known, from.dim, from.arrays, &ret_optimiser->change,
                                    problem);
}

int cns_optimiser_commit(const struct cns_server *s, struct cns_optimiser *optimiser, uint64_t round,
                         struct cns_problem *problem) {
  struct cns_optimiser_version to = version_of(s, round);
  int r = optimiser->change ? cns_optimiser_change_commit(optimiser->change, &to, problem) : 0;
  cns_optimiser_end(optimiser);
  return r;
}

void cns_optimiser_end(struct cns_optimiser *optimiser) {
  optimiser->change = cns_optimiser_change_free(optimiser->change);
}

int cns_optimiser_tidy(const struct cns_server *s, struct cns_problem *problem) {
  struct cns_optimiser_version keep = version_of(s, s->completed);
  if (s->job_running) return 0; /* it has swept, and its own file must stay */
  return cns_optimiser_state_sweep(s->optimiser_path, has_state(s) ? &keep : NULL, problem);
}

uint64_t cns_optimiser_bytes(const struct cns_server *s) {
  size_t arrays = cns_server_optimiser_arrays(&s->plan.server_optimiser);
  return arrays ? cns_optimiser_state_bytes(cns_plan_dim(&s->plan), arrays) : 0;
}
