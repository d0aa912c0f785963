/* SPDX-License-Identifier: Apache-2.0 */
/* Simulations for tests: options with attacks as they are written, rounds that
 * must succeed, and what no round may show. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/simulation.h"
#include "protocol/agree.h"

/* Drawn updates of the smallest length that an audit takes. */
static inline struct cns_simulation_options small(size_t hospitals, uint64_t seed) {
  return (struct cns_simulation_options){
      .hospitals = hospitals, .dim = 4096, .seed = seed, .audit = true, .sketch = 128, .clip_norm = 1};
}

static inline void attack(struct cns_simulation_options *options, const char *spec) {
  struct cns_problem problem = {0};
  if (cns_simulation_attack_parse(spec, &options->attacks[options->attack_count++], &problem) != 0)
    fail_msg("%s", problem.text);
}

static inline struct cns_simulation *begin(const struct cns_simulation_options *options) {
  struct cns_simulation *simulation = NULL;
  struct cns_problem problem = {0};
  if (cns_simulation_new(options, &simulation, &problem) != 0)
    fail_msg("seed %zu: %s", (size_t)options->seed, problem.text);
  return simulation;
}

/* Nobody honest is named, all evidence verifies, a sum is exact, and what is seen
 * under the masks is A*x. */
static inline const struct cns_simulation_result *play(struct cns_simulation *simulation) {
  const struct cns_simulation_result *result = NULL;
  struct cns_problem problem = {0};
  if (cns_simulation_round(simulation, &result, &problem) != 0) fail_msg("%s", problem.text);
  assert_int_equal(result->exact, result->completed);
  for (size_t b = 0; b < result->blame_count; b++) {
    assert_true(result->malicious[result->blames[b].hospital]);
    assert_true(result->blames[b].verifies);
  }
  return result;
}

static inline bool is_flagged(const struct cns_simulation_result *result, size_t hospital,
                              enum cns_detect_statistic statistic) {
  for (size_t f = 0; f < result->flag_count; f++)
    if (result->flags[f].row == hospital && result->flags[f].statistic == statistic) return true;
  return false;
}

static inline bool is_flagged_at_all(const struct cns_simulation_result *result, size_t hospital) {
  for (size_t f = 0; f < result->flag_count; f++)
    if (result->flags[f].row == hospital) return true;
  return false;
}

static inline bool is_blamed(const struct cns_simulation_result *result, size_t hospital,
                             enum cns_blame blame) {
  for (size_t b = 0; b < result->blame_count; b++)
    if (result->blames[b].hospital == hospital && result->blames[b].blame == blame) return true;
  return false;
}
