/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"

bool cns_bench_is_taken(const struct cns_robust_about *about, const char *parameter) {
  size_t len = strlen(parameter);
  for (const char *at = about->params; *at; at += strcspn(at, " "), at += strspn(at, " "))
    if (strcspn(at, " ") == len && memcmp(at, parameter, len) == 0) return true;
  return false;
}

bool cns_bench_takes(const struct cns_robust_chain *chain, const char *parameter) {
  bool taken = cns_bench_is_taken(cns_robust_about_rule(chain->rule), parameter);
  for (size_t p = 0; p < chain->pre_count; p++)
    taken |= cns_bench_is_taken(cns_robust_about_pre(chain->pre[p]), parameter);
  return taken;
}

static bool merge_number(double *a, double b) {
  if (*a == 0) *a = b;
  return b == 0 || *a == b;
}

static bool merge_size(size_t *a, size_t b) {
  if (*a == 0) *a = b;
  return b == 0 || *a == b;
}

int cns_bench_merge(struct cns_robust_params *a, const struct cns_robust_params *b, const char *path,
                    struct cns_problem *problem) {
  bool agree = merge_number(&a->nu, b->nu);
  agree &= merge_number(&a->tau, b->tau);
  agree &= merge_number(&a->norm, b->norm);
  agree &= merge_size(&a->iterations, b->iterations);
  agree &= merge_size(&a->size, b->size);
  if (!a->variant) a->variant = b->variant;
  agree &= !b->variant || strcmp(a->variant, b->variant) == 0;
  if (agree) return 0;
  return cns_problem_set(problem, CNS_ERR_ARGUMENT,
                         "%s: one parameter has two values; what a rule and pre-aggregations both take, they "
                         "share",
                         path);
}

int cns_bench_chain(const struct cns_bench_experiment *e, const struct cns_bench_cell *cell, size_t byzantine,
                    struct cns_robust_chain *ret_chain, struct cns_problem *problem) {
  const struct cns_bench_pre *pre = &e->pres[cell->pre];
  const struct cns_bench_rule *rule = &e->rules[cell->rule];
  struct cns_robust_chain chain = {.pre_count = pre->count, .rule = rule->rule, .params = rule->params};
  for (size_t p = 0; p < pre->count; p++)
    chain.pre[p] = pre->kind[p];
  chain.params.byzantine = byzantine;
  chain.params.threads = 1;
  int r = cns_bench_merge(&chain.params, &pre->params, rule->label, problem);
  if (r == 0) *ret_chain = chain;
  return r;
}

/* Can rule and chain be computed for that many hospitals? 1: not with weights. */
static int check_setting(const struct cns_bench_experiment *e, const struct cns_bench_cell *cell,
                         struct cns_problem *problem) {
  struct cns_robust_chain chain;
  double *weights = calloc(e->hospitals, sizeof *weights);
  static const double reference = 1;
  if (!weights) return CNS_ERR_MEMORY;
  for (size_t i = 0; i < e->hospitals; i++)
    weights[i] = 1;
  int r = cns_bench_chain(e, cell, e->byzantine[cell->byzantine], &chain, problem);
  if (r == 0 && cns_bench_takes(&chain, "reference")) chain.params.reference = &reference;
  if (r == 0) r = cns_robust_chain_check(&chain, e->hospitals, problem);
  if (r == 0 && e->rules[cell->rule].weighted) {
    chain.params.weights = weights;
    r = cns_robust_chain_check(&chain, e->hospitals, problem);
    if (r == CNS_ERR_ARGUMENT) r = 1;
  }
  free(weights);
  return r;
}

static int skip(struct cns_bench_grid *grid, const struct cns_bench_cell *cell,
                const struct cns_problem *why) {
  struct cns_bench_skipped *more = realloc(grid->skipped, (grid->skipped_count + 1) * sizeof *more);
  if (!more) return CNS_ERR_MEMORY;
  grid->skipped = more;
  more[grid->skipped_count] = (struct cns_bench_skipped){.cell = *cell};
  snprintf(more[grid->skipped_count].why, sizeof more->why, "%s", why->text);
  grid->skipped_count++;
  return 0;
}

static int add_setting(struct cns_bench_grid *grid, const struct cns_bench_experiment *e,
                       struct cns_bench_cell cell, struct cns_problem *problem) {
  struct cns_problem why = {0};
  int r = check_setting(e, &cell, &why);
  /* What the rule can't do for so many hospitals is told; a parameter that is wrong is an error. */
  if (r == CNS_ERR_RANGE || r == 1) return skip(grid, &cell, &why);
  if (r < 0)
    return cns_problem_set(problem, r, "experiment \"%s\", rule \"%s\", pre \"%s\": %s", e->name,
                           e->rules[cell.rule].label, e->pres[cell.pre].label,
                           why.text[0] ? why.text : cns_error_name(r));
  if (grid->count + e->seed_count > CNS_BENCH_CELLS_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "the grid has more than %d cells", CNS_BENCH_CELLS_MAX);
  struct cns_bench_cell *more = realloc(grid->cells, (grid->count + e->seed_count) * sizeof *more);
  if (!more) return CNS_ERR_MEMORY;
  grid->cells = more;
  for (; cell.seed < e->seed_count; cell.seed++)
    grid->cells[grid->count++] = cell;
  return 0;
}

static int expand(struct cns_bench_grid *grid, const struct cns_bench_config *config, size_t index,
                  struct cns_problem *problem) {
  const struct cns_bench_experiment *e = &config->experiments[index];
  struct cns_bench_cell cell = {.experiment = (uint16_t)index};
  int r = 0;
  for (cell.split = 0; cell.split < e->split_count; cell.split++)
    for (cell.byzantine = 0; cell.byzantine < e->byzantine_count; cell.byzantine++)
      for (cell.audit = 0; cell.audit < e->audit_count; cell.audit++)
        for (cell.pre = 0; cell.pre < e->pre_count; cell.pre++)
          for (cell.rule = 0; cell.rule < e->rule_count; cell.rule++)
            for (cell.attack = 0; cell.attack < e->attack_count; cell.attack++) {
              cell.seed = 0;
              r = add_setting(grid, e, cell, problem);
              if (r < 0) return r;
            }
  return 0;
}

int cns_bench_grid_init(struct cns_bench_grid *grid, const struct cns_bench_config *config,
                        struct cns_problem *problem) {
  *grid = (struct cns_bench_grid){0};
  int r = 0;
  for (size_t e = 0; r == 0 && e < config->experiment_count; e++)
    r = expand(grid, config, e, problem);
  if (r == 0 && grid->count == 0)
    r = cns_problem_set(problem, CNS_ERR_RANGE, "no cell of the grid can be computed: %s",
                        grid->skipped_count ? grid->skipped[0].why : "it is empty");
  if (r < 0) cns_bench_grid_deinit(grid);
  return r;
}

void cns_bench_grid_deinit(struct cns_bench_grid *grid) {
  free(grid->cells);
  free(grid->skipped);
  *grid = (struct cns_bench_grid){0};
}

bool cns_bench_same_setting(const struct cns_bench_cell *a, const struct cns_bench_cell *b, bool any_attack) {
  return a->experiment == b->experiment && a->split == b->split && a->byzantine == b->byzantine &&
         a->audit == b->audit && a->pre == b->pre && a->rule == b->rule &&
         (any_attack || a->attack == b->attack);
}
