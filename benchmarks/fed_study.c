/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What federation is worth, without any cryptography: plain FedAvg over a table
 * dealt out unevenly, against each hospital alone and against the pooled data,
 * same model, same budget of epochs, over several seeds. Used to choose the
 * numbers in a study file.
 *
 *   fed_study STUDY.json TABLE.csv [seeds] [hospitals] [size_ratio] [mix_ratio]
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "crypto/json.h"
#include "dp/clip.h"
#include "dp/quantize.h"
#include "model/fedavg.h"
#include "model/modelfile.h"
#include "model/predict.h"
#include "model/split.h"

#define HOSPITALS_SHOWN 64

static struct cns_problem problem;

static void check(int result) {
  if (result >= 0) return;
  fprintf(stderr, "fed_study: %s (%s)\n", problem.text, cns_error_name(result));
  exit(1);
}

static void *need(void *pointer) {
  if (!pointer) check(cns_problem_set(&problem, CNS_ERR_MEMORY, "out of memory"));
  return pointer;
}

struct parts {
  struct cns_table train[HOSPITALS_SHOWN + 1]; /* [0]: pooled */
  struct cns_table held[HOSPITALS_SHOWN];      /* validation of hospital i+1 */
  struct cns_table test;
  size_t hospitals;
};

/* The federation sees the hospitals' training rows; so do pooled and alone. */
static void deal(const struct cns_plan *plan, const struct cns_table *all,
                 const struct cns_split_options *options, struct parts *parts) {
  uint16_t *part = need(calloc(all->rows, sizeof *part));
  bool *keep = need(calloc(all->rows, sizeof *keep)), *pooled = need(calloc(all->rows, sizeof *pooled));
  *parts = (struct parts){.hospitals = options->hospitals};
  check(cns_split_uneven(all->label, all->patient, all->rows, all->classes, options, part));
  for (size_t h = 0; h <= options->hospitals; h++) {
    struct cns_table whole;
    for (size_t i = 0; i < all->rows; i++)
      keep[i] = part[i] == h;
    check(cns_table_select(all, keep, h == 0 ? &parts->test : &whole));
    if (h == 0) continue;
    check(cns_table_split(&whole, plan->seed, (uint32_t)h, plan->validation_share, &parts->train[h],
                          &parts->held[h - 1]));
    for (size_t i = 0; i < parts->train[h].rows; i++)
      pooled[parts->train[h].source[i] - 1] = true;
    cns_table_deinit(&whole);
  }
  for (size_t i = 0; i < all->rows; i++)
    keep[i] = pooled[all->source[i] - 1];
  check(cns_table_select(all, keep, &parts->train[0]));
  free(part);
  free(keep);
  free(pooled);
}

static void parts_deinit(struct parts *parts) {
  for (size_t h = 0; h <= parts->hospitals; h++)
    cns_table_deinit(&parts->train[h]);
  for (size_t h = 0; h < parts->hospitals; h++)
    cns_table_deinit(&parts->held[h]);
  cns_table_deinit(&parts->test);
}

static double test_auc(const struct cns_plan *plan, const float *params, const struct cns_table *table) {
  struct cns_metrics metrics;
  check(cns_model_evaluate(plan, params, table, &metrics, &problem));
  return metrics.auc;
}

/* A federation of one: the same number of rounds and epochs, no clipping. */
static double train_alone(const struct cns_plan *plan, const struct cns_table *table, uint32_t hospital,
                          uint64_t split_seed, const struct cns_table *test) {
  float *params = need(calloc(plan->dim, sizeof *params)), *update = need(calloc(plan->dim, sizeof *update));
  check(cns_model_initial(plan, ".", params, &problem));
  for (uint32_t round = 1; round <= plan->rounds; round++) {
    struct cns_network_seed seed = {.study = plan->seed + split_seed, .round = round, .hospital = hospital};
    check(cns_network_train(plan, params, table, &seed, NULL, update, NULL, &problem));
    check(cns_fedavg_step(params, update, plan->dim, params, &problem));
  }
  double auc = test_auc(plan, params, test);
  free(params);
  free(update);
  return auc;
}

struct federation_notes {
  double largest_norm;
  size_t clipped;
  double auc_error; /* largest |masked-histogram AUC - exact AUC| on the test set */
};

static void note_metrics(const struct cns_plan *plan, const float *params, const struct cns_table *test,
                         struct federation_notes *notes) {
  uint32_t *vector = need(calloc(cns_plan_metrics_dim(plan), sizeof *vector));
  struct cns_metrics binned;
  check(cns_model_metrics(plan, params, test, vector, &problem));
  check(cns_metrics_evaluate(plan->class_count, vector, 1, &binned, &problem));
  notes->auc_error = fmax(notes->auc_error, fabs(binned.auc - test_auc(plan, params, test)));
  free(vector);
}

/* With clipping and the integer grid, as in a real round, but no masks. */
static double train_federated(const struct cns_plan *plan, const struct parts *parts, uint64_t split_seed,
                              struct federation_notes *notes) {
  size_t dim = plan->dim;
  float *params = need(calloc(dim, sizeof *params)), *update = need(calloc(dim, sizeof *update));
  float *m = need(calloc(dim, sizeof *m)), *v = need(calloc(dim, sizeof *v));
  uint32_t *x = need(calloc(dim, sizeof *x)), *sum = need(calloc(dim, sizeof *sum)), weights[HOSPITALS_SHOWN];
  struct cns_rng_seeded generator;
  int8_t scale;
  uint64_t clipped;
  cns_rng_seeded_init_label(&generator, split_seed, "fed_study");
  for (size_t h = 0; h < parts->hospitals; h++)
    weights[h] = plan->weighting == CNS_WEIGHTING_EQUAL ? 1 : (uint32_t)parts->train[h + 1].patients;
  check(cns_quantize_choose_scale(plan->clip_norm, weights, parts->hospitals, 1, &scale, &problem));
  check(cns_model_initial(plan, ".", params, &problem));
  cns_server_optimiser_begin(&plan->server_optimiser, dim, m, v);
  for (uint32_t round = 1; round <= plan->rounds; round++) {
    memset(sum, 0, dim * sizeof *sum);
    for (size_t h = 0; h < parts->hospitals; h++) {
      struct cns_network_seed seed = {
          .study = plan->seed + split_seed, .round = round, .hospital = (uint32_t)h + 1};
      double norm;
      check(cns_network_train(plan, params, &parts->train[h + 1], &seed, NULL, update, NULL, &problem));
      check(cns_clip(update, dim, plan->clip_norm, &norm, &problem));
      notes->largest_norm = fmax(notes->largest_norm, norm);
      notes->clipped += norm > plan->clip_norm;
      check(cns_quantize(update, dim, plan->clip_norm, weights[h], scale, cns_rng_seeded(&generator), x,
                         &problem));
      for (size_t k = 0; k < dim; k++)
        sum[k] += x[k];
    }
    check(cns_dequantize(sum, dim, plan->clip_norm, weights, parts->hospitals, 1, scale, update, &clipped,
                         &problem));
    check(cns_server_optimiser_step(&plan->server_optimiser, params, update, dim, m, v, params, &problem));
    note_metrics(plan, params, &parts->test, notes);
  }
  double auc = test_auc(plan, params, &parts->test);
  free(params);
  free(update);
  free(m);
  free(v);
  free(x);
  free(sum);
  return auc;
}

static void load(const char *study_path, const char *table_path, struct cns_plan *plan,
                 struct cns_table *table) {
  uint8_t *text;
  size_t len;
  check(cns_file_read(study_path, CNS_PLAN_BYTES_MAX, &text, &len, &problem));
  check(cns_plan_parse((const char *)text, len, study_path, plan, &problem));
  free(text);
  if (plan->scaffold.steps > 0)
    check(cns_problem_set(&problem, CNS_ERR_UNSUPPORTED, "%s: SCAFFOLD is what optimiser_study is for",
                          study_path));
  struct cns_table_report report;
  char *lines;
  check(cns_table_read(plan, table_path, CNS_TABLE_TRAINING, table, &report, &problem));
  check(cns_table_report_text(plan, &report, &lines));
  printf("%s%zu parameters\n", lines, plan->dim);
  free(lines);
  cns_table_report_deinit(&report);
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

struct totals {
  double pooled, federated, alone, best, worst_gap;
  struct federation_notes notes;
  double federated_seconds;
};

static void one_seed(const struct cns_plan *plan, const struct cns_table *table,
                     const struct cns_split_options *options, struct totals *totals) {
  struct parts parts;
  deal(plan, table, options, &parts);
  double pooled = train_alone(plan, &parts.train[0], 0, options->seed, &parts.test);
  double begin = seconds();
  double federated = train_federated(plan, &parts, options->seed, &totals->notes);
  totals->federated_seconds += seconds() - begin;
  double mean = 0, best = 0;
  printf("%4llu  %.4f  %.4f ", (unsigned long long)options->seed, pooled, federated);
  for (size_t h = 1; h <= parts.hospitals; h++) {
    double alone = train_alone(plan, &parts.train[h], (uint32_t)h, options->seed, &parts.test);
    size_t positive = 0;
    for (size_t i = 0; i < parts.train[h].rows; i++)
      positive += parts.train[h].label[i] == 1;
    printf(" %.4f (%zu/%zu)", alone, positive, parts.train[h].rows);
    mean += alone / (double)parts.hospitals;
    best = fmax(best, alone);
  }
  printf("\n");
  totals->pooled += pooled;
  totals->federated += federated;
  totals->alone += mean;
  totals->best += best;
  totals->worst_gap = fmax(totals->worst_gap, best - federated);
  parts_deinit(&parts);
}

static double argument(int argc, char **argv, int index, double otherwise) {
  return argc > index ? strtod(argv[index], NULL) : otherwise;
}

int main(int argc, char **argv) {
  if (argc < 3 || cns_init() != 0) {
    fprintf(stderr, "usage: fed_study STUDY.json TABLE.csv [seeds] [hospitals] [size_ratio] [mix_ratio]\n");
    return 2;
  }
  struct cns_plan plan;
  struct cns_table table;
  load(argv[1], argv[2], &plan, &table);
  double n = argument(argc, argv, 3, 10);
  struct cns_split_options options = {.hospitals = (size_t)argument(argc, argv, 4, 5),
                                      .test_share = 0.2,
                                      .size_ratio = argument(argc, argv, 5, 5.6),
                                      .mix_ratio = argument(argc, argv, 6, 4)};
  if (options.hospitals < 1 || options.hospitals > HOSPITALS_SHOWN)
    check(cns_problem_set(&problem, CNS_ERR_ARGUMENT, "1 to %d hospitals", HOSPITALS_SHOWN));
  struct totals totals = {0};
  printf("test AUC; alone with (rows of class %s / rows)\nseed  pooled  federated  alone\n", plan.classes[1]);
  for (options.seed = 1; options.seed <= (uint64_t)n; options.seed++)
    one_seed(&plan, &table, &options, &totals);
  printf("mean  pooled %.4f  federated %.4f  alone %.4f  best alone %.4f\n", totals.pooled / n,
         totals.federated / n, totals.alone / n, totals.best / n);
  printf("best alone above federated by at most %.4f; largest update norm %.3f (clip %.3f, %zu clipped); "
         "histogram "
         "AUC off by at most %.5f; federated training %.2f s a seed\n",
         totals.worst_gap, totals.notes.largest_norm, plan.clip_norm, totals.notes.clipped,
         totals.notes.auc_error, totals.federated_seconds / n);
  cns_table_deinit(&table);
  cns_plan_deinit(&plan);
  return 0;
}
