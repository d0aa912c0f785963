/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What audit level open reveals: the tables of docs/privacy.md.
 *
 *   privacy_study [all|mix|inner|sparse|trap|repeated|metrics] [seeds] [hospitals] [alpha] [auxiliary]
 *                 [clip] [first_seed] [STUDY.json TABLE.csv]
 *
 * auxiliary: the reader's share of the patients. clip 0: the study's. Without files: the
 * shipped breast-cancer study, from the repository's top.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "benchmarks/privacy_experiments.h"
#include "crypto/json.h"

#define LENGTH_OF(array) (sizeof(array) / sizeof(array)[0])

struct study {
  struct cns_plan plan;
  struct cns_table table;
  struct privacy_world_options world;
  uint64_t seeds;
};

static void check(int result, const struct cns_problem *problem) {
  if (result >= 0) return;
  fprintf(stderr, "privacy_study: %s (%s)\n", problem->text, cns_error_name(result));
  exit(1);
}

static void load(const char *study_path, const char *table_path, struct study *study) {
  struct cns_problem problem = {{0}};
  uint8_t *text;
  size_t len;
  check(cns_file_read(study_path, CNS_PLAN_BYTES_MAX, &text, &len, &problem), &problem);
  check(cns_plan_parse((const char *)text, len, study_path, &study->plan, &problem), &problem);
  free(text);
  check(cns_table_read(&study->plan, table_path, CNS_TABLE_TRAINING, &study->table, NULL, &problem),
        &problem);
}

static void print_sizes(const char *first) {
  printf("%-28s", first);
  for (size_t s = 0; s < PRIVACY_SIZES; s++)
    if (privacy_sizes[s] == 0)
      printf("  full");
    else
      printf("  k=%-3u", privacy_sizes[s]);
  printf("\n");
}

static void show_mix(const struct study *study) {
  static struct privacy_mix mix;
  struct privacy_mix_options options = {.world = study->world, .seeds = study->seeds, .imagined = 120};
  privacy_mix(&study->plan, &study->table, &options, &mix);
  printf("\nCase mix of %zu hospitals, read with %zu patients of one's own\n", mix.hospitals, mix.auxiliary);
  printf("correlation with the true share of the last class\n");
  print_sizes("round");
  for (int of_error = 0; of_error < 2; of_error++) {
    if (of_error) printf("mean error of that share (saying the same of all: %.3f)\n", mix.guess);
    for (size_t m = 0; m <= PRIVACY_MOMENTS; m++) {
      if (m < PRIVACY_MOMENTS)
        printf("%-27u", privacy_moments[m]);
      else
        printf("%-27s", "1, 2, 3 together");
      for (size_t s = 0; s < PRIVACY_SIZES; s++)
        printf(" %6.3f", of_error ? mix.of[m][s].mean_error : mix.of[m][s].correlation);
      printf("\n");
    }
  }
  printf("relative error of the whole update, rebuilt from imagined ones\n");
  for (size_t m = 0; m < PRIVACY_MOMENTS; m++) {
    printf("%-27u", privacy_moments[m]);
    for (size_t s = 0; s < PRIVACY_SIZES; s++)
      printf(" %6.3f", mix.rebuilt[m][s]);
    printf("  nothing read: %.3f\n", mix.blind[m]);
  }
}

static void show_inner(const struct study *study) {
  static const char *const names[] = {"Gaussian", "another hospital's update", "class against class",
                                      "one entry"};
  static struct privacy_inner inner;
  privacy_inner(&study->plan, &study->table, &study->world, 10 * study->seeds, &inner);
  printf("\nError of the cosine with a direction, times sqrt(k); in brackets what its variance says\n");
  printf("%-27s cosine", "direction");
  for (size_t s = 1; s < PRIVACY_SIZES; s++)
    printf("  k=%-12u", privacy_sizes[s]);
  printf("\n");
  for (int d = 0; d < PRIVACY_DIRECTIONS; d++) {
    printf("%-27s %6.3f", names[d], inner.cosine[d]);
    for (size_t s = 1; s < PRIVACY_SIZES; s++)
      printf("  %.3f (%.3f) ", inner.error[d][s] * sqrt(privacy_sizes[s]),
             inner.theory[d][s] * sqrt(privacy_sizes[s]));
    printf("\n");
  }
}

static const size_t counts[] = {4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384};

static void print_counts(const char *first) {
  printf("%s", first);
  for (size_t i = 0; i < LENGTH_OF(counts); i++)
    printf(" %4zu", counts[i]);
  printf("\n");
}

/* Once nothing came out, more entries don't either. */
static void sparse_row(struct privacy_sparse_options options) {
  double last = 1;
  for (size_t i = 0; i < LENGTH_OF(counts); i++) {
    options.nonzero = counts[i];
    if (last > 0) last = privacy_sparse(&options);
    printf(" %4.2f", last);
    fflush(stdout);
  }
  printf("\n");
}

static void show_sparse(const struct study *study) {
  static const size_t dims[] = {8192, 32768, 100000};
  static const double powers[] = {0.5, 1, 1.5, 2};
  printf("\nVectors with s nonzero entries that come out of one sketch exactly, share of %llu\n",
         (unsigned long long)(4 * study->seeds));
  print_counts("by          d    k  s =");
  for (int pursuit = 0; pursuit < 2; pursuit++)
    for (size_t d = 0; d < LENGTH_OF(dims); d++)
      for (uint32_t k = 128; k <= 1024; k *= 2) {
        if (pursuit && (k > 256 || dims[d] > 8192)) continue;
        printf("%-9s %6zu %4u    ", pursuit ? "pursuit" : "agreement", dims[d], k);
        sparse_row((struct privacy_sparse_options){.seed = study->world.seed,
                                                   .dim = dims[d],
                                                   .audits = 1,
                                                   .trials = 4 * study->seeds,
                                                   .k = k,
                                                   .pursuit = pursuit});
      }
  printf("\nEntries that fall off like rank^-p: relative error of what pursuit finds (of the k/8 largest)\n");
  printf("     d    k");
  for (size_t p = 0; p < LENGTH_OF(powers); p++)
    printf("          p=%-3g", powers[p]);
  printf("\n");
  for (size_t d = 0; d < 2; d++)
    for (uint32_t k = 128; k <= 512; k *= 2) {
      printf("%6zu %4u", d ? (size_t)100000 : (size_t)8192, k);
      for (size_t p = 0; p < LENGTH_OF(powers); p++) {
        struct privacy_sparse_options options = {
            .seed = study->world.seed, .dim = d ? 100000 : 8192, .trials = study->seeds, .k = k};
        struct privacy_compressible result;
        privacy_compressible(&options, powers[p], &result);
        printf("  %.3f (%.3f)", result.found, result.best);
        fflush(stdout);
      }
      printf("\n");
    }
}

static void show_real(const struct study *study) {
  struct privacy_world world;
  privacy_world_init(&world, &study->plan, &study->table, &study->world);
  printf("\nReal updates, the same (mean of %zu hospitals)\nround", world.n);
  for (uint32_t k = 128; k <= 256; k *= 2)
    printf("      k=%-8u", k);
  printf("\n");
  for (uint32_t round = 1; round <= 10; round++) {
    privacy_world_train(&world, round, 1);
    if (round == 1 || round == 10) {
      printf("%5u", round);
      for (uint32_t k = 128; k <= 256; k *= 2) {
        double found = 0, best = 0;
        for (size_t h = 0; h < world.n; h++) {
          struct privacy_compressible one;
          privacy_compressible_real(world.updates + h * world.dim, world.dim, k, world.rng, &one);
          found += one.found / (double)world.n;
          best += one.best / (double)world.n;
        }
        printf("  %.3f (%.3f)", found, best);
      }
      printf("\n");
    }
    privacy_world_advance(&world);
  }
  privacy_world_deinit(&world);
}

static void show_trap(const struct study *study) {
  static const size_t live[] = {1, 3, 7};
  static const double deviations[] = {-1e3, 1.5, 2, 2.5};
  if (study->plan.kind != CNS_MODEL_MLP || study->plan.activation != CNS_ACTIVATION_RELU) {
    printf("\nThe model has no ReLU that could be dead.\n");
    return;
  }
  printf("\nModels with all ReLUs dead but a few: updates that come out exactly, and hospitals of which a\n"
         "patient's row is read; last, sums of all hospitals without an audit out of which a row is read\n");
  printf("live units  threshold  nonzero    k  exact  row    sum\n");
  for (size_t d = 0; d < LENGTH_OF(deviations); d++)
    for (size_t l = 0; l < LENGTH_OF(live); l++)
      for (uint32_t k = 128; k <= 256; k *= 2) {
        struct privacy_trap trap;
        privacy_trap(&study->plan, &study->table, &study->world, study->seeds, k, live[l], deviations[d],
                     &trap);
        if (deviations[d] < 0)
          printf("%10zu  always on  ", live[l]);
        else
          printf("%10zu  mean+%.1fsd ", live[l], deviations[d]);
        printf("%7.1f %4u  %.3f  %.3f  %.3f\n", trap.nonzero, k, (double)trap.recovered / (double)trap.rounds,
               (double)trap.rows / (double)trap.rounds, (double)trap.from_sum / (double)trap.sums);
      }
}

static void show_repeated(const struct study *study) {
  static const size_t audits[] = {1, 2, 3, 6, 12, 24, 36, 48, 60};
  double distance, cosine;
  privacy_freshness(&study->plan, &study->table, &study->world, &distance, &cosine);
  printf("\nTwo trainings of one hospital on one model: relative distance %.3f, cosine %.3f\n", distance,
         cosine);
  printf("m audits of one update with m matrices, k = 256, d = %zu: relative error of the update rebuilt\n",
         study->plan.dim);
  printf("   m  numbers/d  same    freshly trained\n");
  for (size_t a = 0; a < LENGTH_OF(audits); a++) {
    struct privacy_repeated repeated;
    privacy_repeated(&study->plan, &study->table, &study->world, 256, audits[a], 400, &repeated);
    printf("%4zu  %8.3f   %.4f  %.4f\n", audits[a], (double)repeated.numbers / (double)study->plan.dim,
           repeated.same, repeated.fresh);
    fflush(stdout);
  }
  printf("\nThe same sparse vector audited m times: share that comes out exactly, d = 8192, k = 128,\nby "
         "pursuit\n");
  print_counts("   m  s =");
  for (size_t m = 1; m <= 8; m *= 2) {
    printf("%4zu     ", m);
    sparse_row((struct privacy_sparse_options){.seed = study->world.seed,
                                               .dim = 8192,
                                               .audits = m,
                                               .trials = 4 * study->seeds,
                                               .k = 128,
                                               .pursuit = true});
  }
}

static void show_metrics(const struct study *study) {
  struct privacy_metrics metrics;
  privacy_metrics(&study->plan, &study->table, &study->world, study->seeds, &metrics);
  printf(
      "\nMetrics of two rounds, one hospital missing in the second: its validation rows by class come out\n"
      "exactly for %zu of %zu hospitals; their share against that of all its rows: correlation %.3f, mean "
      "error %.3f\n",
      metrics.exact, metrics.hospitals, metrics.of_all.correlation, metrics.of_all.mean_error);
}

static const struct part {
  const char *name;
  void (*show)(const struct study *study);
} parts[] = {{"mix", show_mix},        {"inner", show_inner}, {"sparse", show_sparse},
             {"sparse", show_real},    {"trap", show_trap},   {"repeated", show_repeated},
             {"metrics", show_metrics}};

static double argument(int argc, char **argv, int index, double otherwise) {
  return argc > index ? strtod(argv[index], NULL) : otherwise;
}

int main(int argc, char **argv) {
  struct study study = {0};
  const char *wanted = argc > 1 ? argv[1] : "all";
  bool known = strcmp(wanted, "all") == 0;
  for (size_t p = 0; p < LENGTH_OF(parts); p++)
    known |= strcmp(wanted, parts[p].name) == 0;
  if (!known) {
    fprintf(stderr, "privacy_study: no part \"%s\": all, mix, inner, sparse, trap, repeated or metrics\n",
            wanted);
    return 2;
  }
  if (cns_init() != 0) return 1;
  load(argc > 9 ? argv[8] : "examples/breast-cancer/study.json",
       argc > 9 ? argv[9] : "examples/breast-cancer/wdbc.csv", &study);
  double clip = argument(argc, argv, 6, 0);
  study.seeds = (uint64_t)argument(argc, argv, 2, 5);
  study.world = (struct privacy_world_options){.seed = (uint64_t)argument(argc, argv, 7, 1),
                                               .hospitals = (size_t)argument(argc, argv, 3, 20),
                                               .alpha = argument(argc, argv, 4, 0.3),
                                               .auxiliary_share = argument(argc, argv, 5, 0.1),
                                               .clip = clip > 0 ? clip : study.plan.clip_norm};
  printf("%s: %zu parameters, %zu hospitals, Dirichlet(%g), clip %g, seeds %llu..%llu\n", study.plan.name,
         study.plan.dim, study.world.hospitals, study.world.alpha, study.world.clip,
         (unsigned long long)study.world.seed, (unsigned long long)(study.world.seed + study.seeds - 1));
  for (size_t p = 0; p < LENGTH_OF(parts); p++)
    if (strcmp(wanted, "all") == 0 || strcmp(wanted, parts[p].name) == 0) parts[p].show(&study);
  cns_table_deinit(&study.table);
  cns_plan_deinit(&study.plan);
  return 0;
}
