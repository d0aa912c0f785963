/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench_world.h"
#include "model/network.h"
#include "model/split.h"

#define ROOT_SEED 0x726f6f74u /* apart from the test set's */

static int select_part(const struct cns_table *all, const uint16_t *part, uint16_t which,
                       struct cns_table *ret_table) {
  bool *keep = calloc(all->rows, sizeof *keep);
  if (!keep) return CNS_ERR_MEMORY;
  for (size_t i = 0; i < all->rows; i++)
    keep[i] = part[i] == which;
  int r = cns_table_select(all, keep, ret_table);
  free(keep);
  return r;
}

/* Holds `share` of each class's patients out. */
static int hold_out(const struct cns_table *all, double share, uint64_t seed, struct cns_table *ret_held,
                    struct cns_table *ret_rest, struct cns_problem *problem) {
  struct cns_split_options options = {
      .seed = seed, .hospitals = 1, .test_share = share, .size_ratio = 1, .mix_ratio = 1};
  uint16_t *part = calloc(all->rows, sizeof *part);
  int r = part ? cns_split_uneven(all->label, all->patient, all->rows, all->classes, &options, part)
               : CNS_ERR_MEMORY;
  if (r == CNS_ERR_RANGE)
    cns_problem_set(problem, r, "the table has too few patients to hold a share of %g out", share);
  struct cns_table held = {0}, rest = {0};
  if (r == 0) r = select_part(all, part, CNS_SPLIT_TEST, &held);
  if (r == 0) r = select_part(all, part, 1, &rest);
  free(part);
  if (r == 0 && held.rows == 0)
    r = cns_problem_set(problem, CNS_ERR_RANGE, "a share of %g of %zu patients is nobody", share,
                        all->patients);
  if (r < 0) {
    cns_table_deinit(&held);
    cns_table_deinit(&rest);
    return r;
  }
  *ret_held = held;
  *ret_rest = rest;
  return 0;
}

static int deal(struct cns_bench_world *world, const struct cns_table *train, struct cns_problem *problem) {
  uint16_t *part = calloc(train->rows, sizeof *part);
  int r = part ? cns_bench_split_deal(&world->experiment->splits[world->cell->split], train, world->n,
                                      world->seed, part, problem)
               : CNS_ERR_MEMORY;
  for (size_t h = 0; r == 0 && h < world->n; h++) {
    r = select_part(train, part, (uint16_t)h, &world->tables[h]);
    world->weights[h] = (double)world->tables[h].patients;
    world->whole_weights[h] = (uint32_t)world->tables[h].patients;
  }
  free(part);
  return r;
}

static int share_out(struct cns_bench_world *world, const struct cns_table *all,
                     struct cns_problem *problem) {
  const struct cns_bench_experiment *e = world->experiment;
  struct cns_table train = {0}, rest = {0};
  int r = hold_out(all, e->test_share, world->seed, &world->test, &train, problem);
  if (r == 0 && e->root_share > 0) {
    r = hold_out(&train, e->root_share, world->seed ^ ROOT_SEED, &world->tables[world->n], &rest, problem);
    if (r == 0) {
      cns_table_deinit(&train);
      train = rest;
    }
  }
  if (r == 0) r = deal(world, &train, problem);
  cns_table_deinit(&train);
  return r;
}

static void flip_labels(struct cns_table *table) {
  for (size_t i = 0; i < table->rows; i++)
    table->label[i] = (uint16_t)(table->classes - 1 - table->label[i]);
}

/* Seeded, or by the number of patients. */
static int choose_attackers(struct cns_bench_world *world) {
  const struct cns_bench_experiment *e = world->experiment;
  const struct cns_bench_attack *attack = &e->attacks[world->cell->attack];
  for (size_t a = 0; a < world->attacking; a++) {
    size_t best = SIZE_MAX;
    for (size_t h = 0; h < world->n && e->attackers != CNS_BENCH_RANDOM; h++) {
      if (world->malicious[h]) continue;
      if (best == SIZE_MAX || (e->attackers == CNS_BENCH_SMALLEST ? world->weights[h] < world->weights[best]
                                                                  : world->weights[h] > world->weights[best]))
        best = h;
    }
    while (e->attackers == CNS_BENCH_RANDOM) {
      uint64_t h;
      int r = cns_rng_uniform_u64(world->rng, world->n, &h);
      if (r < 0) return r;
      best = (size_t)h;
      if (!world->malicious[best]) break;
    }
    world->malicious[best] = true;
    world->attackers[a] = best;
    if (cns_attack_flips_labels(attack->attack.kind)) flip_labels(&world->tables[best]);
  }
  return 0;
}

static int allocate(struct cns_bench_world *world) {
  size_t n = world->n, dim = world->dim;
  if (dim > SIZE_MAX / (n + 1) / sizeof(double)) return CNS_ERR_LIMIT;
  world->malicious = calloc(n, sizeof *world->malicious);
  world->attackers = calloc(n, sizeof *world->attackers);
  world->excluded = calloc(n, sizeof *world->excluded);
  world->tables = calloc(n + 1, sizeof *world->tables);
  world->weights = calloc(n, sizeof *world->weights);
  world->whole_weights = calloc(n, sizeof *world->whole_weights);
  world->chosen_weights = calloc(n, sizeof *world->chosen_weights);
  world->params = calloc(dim, sizeof *world->params);
  world->momentum = calloc((n + 1) * dim, sizeof *world->momentum);
  world->updates = calloc((n + 1) * dim, sizeof *world->updates);
  world->chosen = calloc(n * dim, sizeof *world->chosen);
  world->aggregate = calloc(dim, sizeof *world->aggregate);
  world->without = calloc(dim, sizeof *world->without);
  if (world->experiment->influence) world->own = calloc(n * dim, sizeof *world->own);
  bool good = world->malicious && world->attackers && world->excluded && world->tables && world->weights &&
              world->whole_weights && world->chosen_weights && world->params && world->momentum &&
              world->updates && world->chosen && world->aggregate && world->without &&
              (world->own || !world->experiment->influence);
  return good ? 0 : CNS_ERR_MEMORY;
}

static void make_plan(struct cns_bench_world *world, const struct cns_table *all) {
  const struct cns_bench_experiment *e = world->experiment;
  world->plan = (struct cns_plan){.class_count = all->classes,
                                  .feature_count = all->features,
                                  .kind = e->model,
                                  .activation = e->activation,
                                  .hidden_count = e->hidden_count,
                                  .rounds = e->rounds,
                                  .local_epochs = e->training.epochs,
                                  .learning_rate = e->training.learning_rate,
                                  .momentum = e->training.momentum,
                                  .batch = e->training.batch,
                                  .seed = world->seed};
  memcpy(world->plan.hidden, e->hidden, sizeof world->plan.hidden);
  for (size_t l = 0; l < cns_plan_layer_count(&world->plan); l++)
    world->plan.dim += (cns_plan_layer_inputs(&world->plan, l) + 1) * cns_plan_layer_outputs(&world->plan, l);
  world->dim = world->plan.dim;
}

int cns_bench_world_init(struct cns_bench_world *world, const struct cns_table *all,
                         struct cns_problem *problem) {
  const struct cns_bench_experiment *e = world->experiment;
  world->n = e->hospitals;
  world->seed = e->seeds[world->cell->seed];
  world->attacking = e->attacks[world->cell->attack].none ? 0 : e->byzantine[world->cell->byzantine];
  make_plan(world, all);
  if (world->dim > CNS_PLAN_DIM_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "the model would have %zu parameters; at most %zu",
                           world->dim, CNS_PLAN_DIM_MAX);
  cns_rng_seeded_init_label(&world->generator, world->seed, "bench world");
  world->rng = cns_rng_seeded(&world->generator);
  int r = allocate(world);
  if (r == 0) r = share_out(world, all, problem);
  if (r == 0) r = choose_attackers(world);
  if (r == 0) r = cns_network_init(&world->plan, world->seed, world->params);
  if (r == 0 && e->audits[world->cell->audit].open) r = cns_bench_audit_init(world, problem);
  return r;
}

void cns_bench_world_deinit(struct cns_bench_world *world) {
  for (size_t h = 0; world->tables && h <= world->n; h++)
    cns_table_deinit(&world->tables[h]);
  cns_table_deinit(&world->test);
  cns_bench_audit_deinit(world);
  free(world->malicious);
  free(world->attackers);
  free(world->excluded);
  free(world->tables);
  free(world->weights);
  free(world->whole_weights);
  free(world->chosen_weights);
  free(world->params);
  free(world->momentum);
  free(world->updates);
  free(world->own);
  free(world->chosen);
  free(world->aggregate);
  free(world->without);
}
