/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The coordinator's last computation, as its daemon does it: from the last unmask answer
 * (the masks to be taken off are known) to the new model, on real vector files and into
 * the mapped file of a new model. With the sum that was kept while uploads came, and
 * without it, from the files.
 *
 *   aggregate_bench [--runs N] [--only N,D,DROPPED]
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "coordinator/aggregate.h"
#include "crypto/parallel.h"
#include "dp/quantize.h"
#include "store/model_file.h"

#define RUNS_MAX 999
#define CLIP 1.0
#define WEIGHT 100

struct size {
  size_t hospitals, dropped;
  uint64_t dim;
};

static const struct size sizes[] = {{16, 2, 10000}, {16, 2, 1000000}, {32, 2, 1000000}, {16, 2, 25000000}};

struct world {
  struct size size;
  char folder[64];
  struct cns_rng_seeded random;
  struct cns_descriptor descriptor;
  struct cns_member members[CNS_HOSPITALS_MAX];
  uint32_t weights[CNS_HOSPITALS_MAX];
  struct cns_vector_file *files[CNS_HOSPITALS_MAX];
  struct cns_mask_term *terms;
  size_t term_count;
  uint32_t *running;
  float *parent;
};

static void check(int error, const struct cns_problem *problem) {
  if (error >= 0) return;
  fprintf(stderr, "aggregate_bench: %s %s\n", cns_error_name(error), problem->text);
  exit(1);
}

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void file_name(char name[static 24], size_t h) {
  snprintf(name, 24, "h%zu", h);
}

/* Each included hospital's own mask, and its pair masks with those that are gone. */
static void draw_terms(struct world *w) {
  size_t included = w->size.hospitals - w->size.dropped;
  w->term_count = included * (1 + w->size.dropped);
  w->terms = calloc(w->term_count, sizeof *w->terms);
  if (!w->terms) check(CNS_ERR_MEMORY, &(struct cns_problem){0});
  for (size_t t = 0; t < w->term_count; t++) {
    check(cns_rng_fill(cns_rng_seeded(&w->random), w->terms[t].seed.bytes, CNS_MASK_SEED_BYTES), NULL);
    w->terms[t].sign = t % 2 ? 1 : -1;
  }
}

/* All masked vectors but the first are noise; that one makes the sum zero, without the masks. */
static void upload(struct world *w) {
  static const uint8_t key[CNS_VECTOR_FILE_KEY_BYTES] = {1};
  struct cns_problem problem = {0};
  size_t dim = (size_t)w->size.dim, included = w->size.hospitals - w->size.dropped;
  uint32_t *y = malloc(dim * sizeof *y), *rest = calloc(dim, sizeof *rest);
  w->running = calloc(dim, sizeof *w->running);
  w->parent = calloc(dim, sizeof *w->parent);
  if (!y || !rest || !w->running || !w->parent) check(CNS_ERR_MEMORY, &problem);
  check(cns_mask_apply(rest, dim, 0, w->terms, w->term_count), &problem);
  for (size_t h = included; h-- > 0;) {
    char name[24];
    file_name(name, h);
    check(cns_rng_fill(cns_rng_seeded(&w->random), (uint8_t *)y, dim * sizeof *y), &problem);
    for (size_t k = 0; k < dim; k++) {
      y[k] = h == 0 ? 0 - rest[k] : y[k];
      rest[k] += y[k];
      w->running[k] += y[k];
    }
    check(cns_vector_file_create(w->folder, name, dim, key, &w->files[h], &problem), &problem);
    check(cns_vector_file_write(w->files[h], 0, y, dim, &problem), &problem);
  }
  free(y);
  free(rest);
}

static void init(struct world *w, const struct size *size) {
  struct cns_descriptor *d = &w->descriptor;
  struct cns_problem problem = {0};
  *w = (struct world){.size = *size};
  cns_rng_seeded_init_label(&w->random, size->dim, "aggregate bench");
  const char *parent = getenv("TMPDIR");
  snprintf(w->folder, sizeof w->folder, "%s/aggregate-bench-XXXXXX", parent ? parent : "/tmp");
  if (!mkdtemp(w->folder)) check(CNS_ERR_IO, &problem);
  d->dim = size->dim;
  d->clip_norm = CLIP;
  d->colluders = 1;
  d->members = w->members;
  d->member_count = (uint16_t)size->hospitals;
  for (size_t k = 0; k < size->hospitals; k++) {
    w->weights[k] = WEIGHT;
    w->members[k] = (struct cns_member){(uint16_t)(k + 1), WEIGHT};
  }
  check(cns_quantize_choose_scale(CLIP, w->weights, size->hospitals, 1, &d->scale_log2, &problem), &problem);
  draw_terms(w);
  upload(w);
}

static void deinit(struct world *w) {
  struct cns_problem problem = {0};
  for (size_t h = 0; h < w->size.hospitals - w->size.dropped; h++) {
    char name[24];
    file_name(name, h);
    cns_vector_file_free(w->files[h]);
    check(cns_vector_file_delete(w->folder, name, &problem), &problem);
  }
  free(w->terms);
  free(w->running);
  free(w->parent);
  rmdir(w->folder);
}

/* Milliseconds; the new model's file is made outside, as room for it. */
static double run(struct world *w, bool running) {
  struct cns_problem problem = {0};
  struct cns_model_draft *draft = NULL;
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/model", w->folder);
  check(cns_model_draft_new(path, (size_t)w->size.dim * sizeof(float), &draft, &problem), &problem);
  float *params = (float *)(void *)cns_model_draft_bytes(draft, NULL);
  struct cns_aggregation a = {.descriptor = &w->descriptor,
                              .uploads = w->files,
                              .weights = w->weights,
                              .count = w->size.hospitals - w->size.dropped,
                              .running = running ? w->running : NULL,
                              .terms = w->terms,
                              .term_count = w->term_count,
                              .parent = w->parent,
                              .learning_rate = 1,
                              .classes = 2,
                              .parallel = cns_parallel_threads(),
                              .params = params};
  double begin = now_ms();
  check(cns_aggregate(&a, &problem), &problem);
  double ms = now_ms() - begin;
  for (size_t k = 0; k < w->size.dim; k++)
    if (params[k] != 0) check(CNS_ERR_STATE, &problem); /* a mask was left on */
  cns_model_draft_free(draft);
  return ms;
}

static int compare(const void *a, const void *b) {
  const double *x = a, *y = b;
  return (*x > *y) - (*x < *y);
}

static double median(struct world *w, bool running, size_t runs) {
  double ms[RUNS_MAX];
  (void)run(w, running);
  for (size_t k = 0; k < runs; k++)
    ms[k] = run(w, running);
  qsort(ms, runs, sizeof *ms, compare);
  return ms[runs / 2];
}

static void measure(const struct size *size, size_t runs) {
  struct world w;
  struct rusage usage;
  init(&w, size);
  double kept = median(&w, true, runs), read = median(&w, false, runs);
  getrusage(RUSAGE_SELF, &usage);
  printf("%9zu %8zu %10llu %6zu %14.1f %14.1f %10ld\n", size->hospitals, size->dropped,
         (unsigned long long)size->dim, w.term_count, kept, read, usage.ru_maxrss / 1024);
  fflush(stdout);
  deinit(&w);
}

int main(int argc, char **argv) {
  if (cns_init() < 0) return 1;
  size_t runs = 31;
  struct size only = {0};
  for (int k = 1; k < argc; k++) {
    unsigned long long dim = 0;
    bool known =
        k + 1 < argc && ((strcmp(argv[k], "--runs") == 0 && sscanf(argv[k + 1], "%zu", &runs) == 1) ||
                         (strcmp(argv[k], "--only") == 0 &&
                          sscanf(argv[k + 1], "%zu,%llu,%zu", &only.hospitals, &dim, &only.dropped) == 3));
    if (dim) only.dim = dim;
    k++;
    if (known && runs >= 1 && runs <= RUNS_MAX && only.dropped + 4 <= (only.hospitals ? only.hospitals : 4) &&
        only.hospitals <= CNS_HOSPITALS_MAX)
      continue;
    fprintf(stderr, "usage: aggregate_bench [--runs N] [--only HOSPITALS,PARAMETERS,DROPPED]\n");
    return 2;
  }
  printf("The coordinator's sum: ms, median of %zu runs, %zu processors\n%9s %8s %10s %6s %14s %14s %10s\n",
         runs, cns_parallel_processors(), "hospitals", "dropped", "parameters", "masks", "sum was kept",
         "from files", "peak MiB");
  if (only.hospitals) measure(&only, runs);
  for (size_t k = 0; !only.hospitals && k < sizeof sizes / sizeof sizes[0]; k++)
    measure(&sizes[k], sizes[k].dim > 10000000 && runs > 5 ? 5 : runs);
  return 0;
}
