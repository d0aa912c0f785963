/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What optimisers are worth where hospitals' patients differ: one table dealt out by label
 * skew (Dirichlet), the study's model, without cryptography, clipping and grid. Each method
 * is run with each setting of a small grid; of these the one counts whose loss on the
 * hospitals' validation patients is lowest (median over the seeds), and what is printed is
 * of the test patients, whom nobody trains or chooses on.
 *
 *   optimiser_study STUDY.json TABLE.csv [seeds] [hospitals] [alpha] [rounds] [epochs]
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/json.h"
#include "model/modelfile.h"
#include "model/predict.h"
#include "model/scaffold.h"
#include "model/split.h"

#define HOSPITALS_MAX 64
#define SEEDS_MAX 64
#define SETTINGS_MAX 16
#define EARLY 5 /* rounds */

static struct cns_problem problem;

static void check(int result) {
  if (result >= 0) return;
  fprintf(stderr, "optimiser_study: %s (%s)\n", problem.text, cns_error_name(result));
  exit(1);
}

static void *need(void *pointer) {
  if (!pointer) check(cns_problem_set(&problem, CNS_ERR_MEMORY, "out of memory"));
  return pointer;
}

struct parts {
  struct cns_table train[HOSPITALS_MAX], held, test; /* held: everybody's validation patients */
  size_t hospitals;
};

static void deal(const struct cns_plan *plan, const struct cns_table *all,
                 const struct cns_split_dirichlet_options *options, struct parts *parts) {
  uint16_t *part = need(calloc(all->rows, sizeof *part));
  bool *keep = need(calloc(all->rows, sizeof *keep)), *held = need(calloc(all->rows, sizeof *held));
  *parts = (struct parts){.hospitals = options->hospitals};
  check(cns_split_dirichlet(all->label, all->patient, all->rows, all->classes, options, part));
  for (size_t h = 0; h <= options->hospitals; h++) {
    struct cns_table whole, validation;
    for (size_t i = 0; i < all->rows; i++)
      keep[i] = part[i] == h;
    check(cns_table_select(all, keep, h == 0 ? &parts->test : &whole));
    if (h == 0) continue;
    check(cns_table_split(&whole, plan->seed, (uint32_t)h, 0.15, &parts->train[h - 1], &validation));
    for (size_t i = 0; i < validation.rows; i++)
      held[validation.source[i] - 1] = true;
    cns_table_deinit(&whole);
    cns_table_deinit(&validation);
  }
  for (size_t i = 0; i < all->rows; i++)
    keep[i] = held[all->source[i] - 1];
  check(cns_table_select(all, keep, &parts->held));
  free(part);
  free(keep);
  free(held);
}

static void parts_deinit(struct parts *parts) {
  for (size_t h = 0; h < parts->hospitals; h++)
    cns_table_deinit(&parts->train[h]);
  cns_table_deinit(&parts->held);
  cns_table_deinit(&parts->test);
}

/* ---- one training ---- */

struct setting {
  double rate; /* local */
  double proximal;
  bool scaffold;
  struct cns_server_optimiser server;
};

struct outcome {
  double held_loss, early_loss, loss, auc;
};

static struct cns_metrics evaluate(const struct cns_plan *plan, const float *params,
                                   const struct cns_table *table) {
  struct cns_metrics metrics;
  check(cns_model_evaluate(plan, params, table, &metrics, &problem));
  return metrics;
}

/* One hospital's vector is added to the sum. */
static void add(const struct cns_plan *plan, const struct parts *parts, size_t h, uint32_t round,
                uint64_t seed, const float *model, float *own, float *update, float *sum) {
  struct cns_network_seed order = {.study = seed, .round = round, .hospital = (uint32_t)h + 1};
  const struct cns_table *table = &parts->train[h];
  if (plan->scaffold.steps > 0) {
    check(cns_scaffold_train(plan, model, own, table, &order, NULL, update, NULL, &problem));
    check(cns_scaffold_move_own(plan, own, update, own, &problem));
  } else
    check(cns_network_train(plan, model, table, &order, NULL, update, NULL, &problem));
  for (size_t k = 0; k < cns_plan_round_dim(plan); k++)
    sum[k] += update[k] / (float)parts->hospitals;
}

static struct outcome train(const struct cns_plan *study, const struct parts *parts, const struct setting *s,
                            uint64_t seed) {
  struct cns_plan plan = *study; /* borrows */
  plan.learning_rate = s->rate;
  plan.proximal = s->proximal;
  plan.scaffold.steps = s->scaffold ? plan.local_epochs : 0;
  plan.scaffold.hospitals = (uint32_t)parts->hospitals;
  size_t dim = plan.dim;
  float *model = need(calloc(2 * dim, sizeof *model)), *update = need(calloc(2 * dim, sizeof *update));
  float *sum = need(calloc(2 * dim, sizeof *sum)), *own = need(calloc(parts->hospitals * dim, sizeof *own));
  float *m = need(calloc(dim, sizeof *m)), *v = need(calloc(dim, sizeof *v));
  struct outcome outcome = {.held_loss = INFINITY, .early_loss = INFINITY, .loss = INFINITY};
  check(cns_model_initial(&plan, ".", model, &problem));
  cns_server_optimiser_begin(&s->server, dim, m, v);
  for (uint32_t round = 1; round <= plan.rounds; round++) {
    memset(sum, 0, 2 * dim * sizeof *sum);
    for (size_t h = 0; h < parts->hospitals; h++)
      add(&plan, parts, h, round, seed, model, own + h * dim, update, sum);
    check(cns_server_optimiser_step(&s->server, model, sum, dim, m, v, model, &problem));
    if (s->scaffold)
      check(cns_scaffold_move_server(&plan, parts->hospitals, sum + dim, dim, model + dim, model + dim,
                                     &problem));
    if (round == EARLY) outcome.early_loss = evaluate(&plan, model, &parts->test).loss;
  }
  struct cns_metrics test = evaluate(&plan, model, &parts->test);
  outcome.held_loss = evaluate(&plan, model, &parts->held).loss;
  outcome.loss = test.loss;
  outcome.auc = test.auc;
  float *const all[] = {model, update, sum, own, m, v};
  for (size_t k = 0; k < sizeof all / sizeof all[0]; k++)
    free(all[k]);
  return outcome;
}

/* ---- methods ---- */

struct method {
  const char *name;
  struct setting settings[SETTINGS_MAX];
  size_t count;
};

static const double local_rates[] = {0.02, 0.1, 0.3};

static void try_rates(struct method *method, struct setting setting) {
  for (size_t k = 0; k < sizeof local_rates / sizeof local_rates[0]; k++) {
    setting.rate = local_rates[k];
    method->settings[method->count++] = setting;
  }
}

static void try_server(struct method *method, enum cns_server_optimiser_kind kind, double beta1,
                       const double *rates, size_t count) {
  for (size_t k = 0; k < count; k++)
    try_rates(method, (struct setting){.server = {kind, rates[k], beta1, 0.99, 1e-3}});
}

static size_t make_methods(struct method methods[static 7]) {
  static const struct cns_server_optimiser plain = {.kind = CNS_SERVER_FEDAVG, .learning_rate = 1};
  static const double proximals[] = {0.01, 0.1, 1}, momentum[] = {0.3, 1}, adaptive[] = {0.01, 0.03, 0.1};
  size_t n = 0;
  methods[n] = (struct method){.name = "FedAvg"};
  try_rates(&methods[n++], (struct setting){.server = plain});
  methods[n] = (struct method){.name = "FedProx"};
  for (size_t k = 0; k < 3; k++)
    try_rates(&methods[n], (struct setting){.proximal = proximals[k], .server = plain});
  n++;
  methods[n] = (struct method){.name = "FedAvgM"};
  try_server(&methods[n++], CNS_SERVER_FEDAVGM, 0.9, momentum, 2);
  methods[n] = (struct method){.name = "FedAdam"};
  try_server(&methods[n++], CNS_SERVER_FEDADAM, 0.9, adaptive, 3);
  methods[n] = (struct method){.name = "FedYogi"};
  try_server(&methods[n++], CNS_SERVER_FEDYOGI, 0.9, adaptive, 3);
  methods[n] = (struct method){.name = "FedAdagrad"};
  try_server(&methods[n++], CNS_SERVER_FEDADAGRAD, 0, adaptive, 3);
  methods[n] = (struct method){.name = "SCAFFOLD"};
  try_rates(&methods[n++], (struct setting){.scaffold = true, .server = plain});
  return n;
}

static int compare(const void *a, const void *b) {
  double left = *(const double *)a, right = *(const double *)b;
  return left < right ? -1 : left > right;
}

/* Of one of the outcome's numbers, which begins at `offset`. */
static double median(const struct outcome *outcomes, size_t count, size_t offset) {
  double values[SEEDS_MAX];
  for (size_t k = 0; k < count; k++)
    memcpy(&values[k], (const char *)&outcomes[k] + offset, sizeof values[k]);
  qsort(values, count, sizeof *values, compare);
  return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static void setting_text(const struct setting *s, char *out, size_t room) {
  int at = snprintf(out, room, "local rate %g", s->rate);
  if (s->proximal > 0) at += snprintf(out + at, room - (size_t)at, ", mu %g", s->proximal);
  if (s->server.kind != CNS_SERVER_FEDAVG)
    snprintf(out + at, room - (size_t)at, ", server's %g", s->server.learning_rate);
}

static void study_method(const struct cns_plan *plan, const struct parts *parts, size_t seeds,
                         const struct method *method) {
  struct outcome outcomes[SEEDS_MAX], best[SEEDS_MAX];
  size_t chosen = 0;
  double lowest = INFINITY;
  for (size_t c = 0; c < method->count; c++) {
    for (size_t seed = 0; seed < seeds; seed++)
      outcomes[seed] = train(plan, &parts[seed], &method->settings[c], seed + 1);
    double held = median(outcomes, seeds, offsetof(struct outcome, held_loss));
    if (c > 0 && !(held < lowest)) continue;
    lowest = held;
    chosen = c;
    memcpy(best, outcomes, sizeof best);
  }
  char text[80];
  setting_text(&method->settings[chosen], text, sizeof text);
  printf("| %-10s | %-34s | %.4f | %.4f | %.4f |\n", method->name, text,
         median(best, seeds, offsetof(struct outcome, early_loss)),
         median(best, seeds, offsetof(struct outcome, loss)),
         median(best, seeds, offsetof(struct outcome, auc)));
  fflush(stdout);
}

static void load(const char *study_path, const char *table_path, struct cns_plan *plan,
                 struct cns_table *table) {
  uint8_t *text;
  size_t len;
  check(cns_file_read(study_path, CNS_PLAN_BYTES_MAX, &text, &len, &problem));
  check(cns_plan_parse((const char *)text, len, study_path, plan, &problem));
  free(text);
  check(cns_table_read(plan, table_path, CNS_TABLE_TRAINING, table, NULL, &problem));
  plan->momentum = 0; /* in all methods: SCAFFOLD has none */
}

static double argument(int argc, char **argv, int index, double otherwise) {
  return argc > index ? strtod(argv[index], NULL) : otherwise;
}

int main(int argc, char **argv) {
  if (argc < 3 || cns_init() != 0) {
    fprintf(stderr,
            "usage: optimiser_study STUDY.json TABLE.csv [seeds] [hospitals] [alpha] [rounds] [epochs]\n");
    return 2;
  }
  struct cns_plan plan;
  struct cns_table table;
  load(argv[1], argv[2], &plan, &table);
  double seeds = argument(argc, argv, 3, 11);
  struct cns_split_dirichlet_options options = {.hospitals = (size_t)argument(argc, argv, 4, 5),
                                                .test_share = 0.25,
                                                .size_ratio = 1,
                                                .alpha = argument(argc, argv, 5, 0.1)};
  plan.rounds = (uint32_t)argument(argc, argv, 6, 15);
  plan.local_epochs = (uint32_t)argument(argc, argv, 7, 10);
  if (options.hospitals < 2 || options.hospitals > HOSPITALS_MAX || !(seeds >= 1 && seeds <= SEEDS_MAX))
    check(cns_problem_set(&problem, CNS_ERR_ARGUMENT, "2 to %d hospitals and 1 to %d seeds", HOSPITALS_MAX,
                          SEEDS_MAX));
  struct parts *parts = need(calloc((size_t)seeds, sizeof *parts));
  for (size_t seed = 0; seed < (size_t)seeds; seed++) {
    options.seed = seed + 1;
    deal(&plan, &table, &options, &parts[seed]);
  }
  struct method methods[7];
  size_t count = make_methods(methods);
  printf("%zu parameters, %zu hospitals, Dirichlet(%g), %u rounds of %u epochs, medians over %g seeds\n\n"
         "| method | setting | test loss after %d rounds | in the end | test AUC |\n|---|---|---|---|---|\n",
         plan.dim, options.hospitals, options.alpha, plan.rounds, plan.local_epochs, seeds, EARLY);
  for (size_t k = 0; k < count; k++)
    study_method(&plan, parts, (size_t)seeds, &methods[k]);
  for (size_t seed = 0; seed < (size_t)seeds; seed++)
    parts_deinit(&parts[seed]);
  free(parts);
  cns_table_deinit(&table);
  cns_plan_deinit(&plan);
  return 0;
}
