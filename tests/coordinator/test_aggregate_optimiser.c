/* SPDX-License-Identifier: Apache-2.0 */
/* Sums of several rounds through a server optimiser whose state lies on the disk, against the
 * same optimiser on whole arrays in memory. Nothing is masked here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/aggregate.h"
#include "crypto/rng.h"
#include "dp/quantize.h"

#define COUNT 3
#define ROUNDS 3
#define DIM (2 * CNS_OPTIMISER_BLOCK + 78)
#define SEED 20211

struct world {
  char folder[64];
  struct cns_rng_seeded random;
  struct cns_descriptor descriptor;
  struct cns_member members[COUNT];
  uint32_t weights[COUNT];
  uint32_t *x;
  struct cns_vector_file *files[COUNT];
  float *parent, *params, *expected, *mean, *m, *v;
  struct cns_server_optimiser numbers;
  struct cns_optimiser_version version; /* of parent */
};

static void init(struct world *w, const struct cns_server_optimiser *numbers) {
  struct cns_problem problem = {0};
  *w = (struct world){.numbers = *numbers};
  cns_rng_seeded_init_label(&w->random, SEED, "aggregate optimiser");
  snprintf(w->folder, sizeof w->folder, "/tmp/consilium-optimiser-XXXXXX");
  assert_non_null(mkdtemp(w->folder));
  for (size_t h = 0; h < COUNT; h++)
    w->members[h] = (struct cns_member){(uint16_t)(h + 1), w->weights[h] = 10 + (uint32_t)h};
  w->descriptor = (struct cns_descriptor){
      .dim = DIM, .clip_norm = 2, .colluders = 1, .members = w->members, .member_count = COUNT};
  assert_int_equal(cns_quantize_choose_scale(2, w->weights, COUNT, 1, &w->descriptor.scale_log2, &problem),
                   0);
  w->x = malloc(COUNT * DIM * sizeof *w->x);
  float **arrays[] = {&w->parent, &w->params, &w->expected, &w->mean, &w->m, &w->v};
  for (size_t k = 0; k < sizeof arrays / sizeof arrays[0]; k++)
    assert_non_null(*arrays[k] = calloc(DIM, sizeof(float)));
  cns_server_optimiser_begin(numbers, DIM, w->m, w->v);
  w->version = (struct cns_optimiser_version){.dim = DIM, .arrays = cns_server_optimiser_arrays(numbers)};
}

static void deinit(struct world *w) {
  assert_int_equal(cns_optimiser_state_sweep(w->folder, NULL, NULL), 0);
  assert_int_equal(rmdir(w->folder), 0);
  float *const arrays[] = {w->parent, w->params, w->expected, w->mean, w->m, w->v};
  for (size_t k = 0; k < sizeof arrays / sizeof arrays[0]; k++)
    free(arrays[k]);
  free(w->x);
}

/* This round's uploads, and what they are to come to. */
static void upload(struct world *w) {
  static const uint8_t key[CNS_VECTOR_FILE_KEY_BYTES] = {7};
  struct cns_problem problem = {0};
  uint64_t clipped;
  uint32_t *sum = calloc(DIM, sizeof *sum);
  for (size_t h = 0; h < COUNT; h++) {
    char name[16];
    uint64_t theta;
    uint32_t *x = w->x + h * DIM;
    snprintf(name, sizeof name, "h%zu", h);
    assert_int_equal(cns_quantize_theta(2, w->weights[h], w->descriptor.scale_log2, &theta), 0);
    assert_int_equal(cns_rng_fill(cns_rng_seeded(&w->random), (uint8_t *)x, DIM * sizeof *x), 0);
    for (size_t k = 0; k < DIM; k++)
      sum[k] += x[k] = (x[k] % (uint32_t)theta) >> (k % 20);
    assert_int_equal(cns_vector_file_create(w->folder, name, DIM, key, &w->files[h], &problem), 0);
    assert_int_equal(cns_vector_file_write(w->files[h], 0, x, DIM, &problem), 0);
  }
  assert_int_equal(cns_dequantize(sum, DIM, 2, w->weights, COUNT, 1, w->descriptor.scale_log2, w->mean,
                                  &clipped, &problem),
                   0);
  assert_int_equal(
      cns_server_optimiser_step(&w->numbers, w->parent, w->mean, DIM, w->m, w->v, w->expected, &problem), 0);
  free(sum);
}

static void forget(struct world *w) {
  struct cns_problem problem = {0};
  for (size_t h = 0; h < COUNT; h++) {
    char name[16];
    snprintf(name, sizeof name, "h%zu", h);
    w->files[h] = cns_vector_file_free(w->files[h]);
    assert_int_equal(cns_vector_file_delete(w->folder, name, &problem), 0);
  }
}

static int compute(struct world *w, bool threads, struct cns_optimiser *optimiser,
                   struct cns_problem *problem) {
  const struct cns_optimiser_version *from = w->version.round > 0 ? &w->version : NULL;
  struct cns_aggregation a = {.descriptor = &w->descriptor,
                              .uploads = w->files,
                              .weights = w->weights,
                              .count = COUNT,
                              .parent = w->parent,
                              .learning_rate = 1,
                              .classes = 2,
                              .params = w->params};
  *optimiser = (struct cns_optimiser){.numbers = &w->numbers};
  int r = 0;
  if (w->version.arrays > 0)
    r = cns_optimiser_change_begin(w->folder, from, DIM, w->version.arrays, &optimiser->change, problem);
  if (threads) a.parallel = cns_parallel_threads();
  a.optimiser = *optimiser;
  memset(w->params, 0xFF, DIM * sizeof(float));
  return r ? r : cns_aggregate(&a, problem);
}

static void commit(struct world *w, struct cns_optimiser *optimiser) {
  struct cns_problem problem = {0};
  struct cns_optimiser_version to = w->version;
  to.round++;
  cns_hash_once("consilium/1 test digest", &to.round, sizeof to.round, &to.model);
  if (optimiser->change) assert_int_equal(cns_optimiser_change_commit(optimiser->change, &to, &problem), 0);
  cns_optimiser_change_free(optimiser->change);
  w->version = to;
  memcpy(w->parent, w->params, DIM * sizeof(float));
}

static const struct cns_server_optimiser kinds[] = {
    {CNS_SERVER_FEDAVG, 0.5, 0, 0, 0},          {CNS_SERVER_FEDAVGM, 1, 0.9, 0, 0},
    {CNS_SERVER_FEDADAM, 0.1, 0.9, 0.99, 1e-3}, {CNS_SERVER_FEDYOGI, 0.1, 0.9, 0.99, 1e-3},
    {CNS_SERVER_FEDADAGRAD, 0.1, 0.9, 0, 1e-3},
};

/* Each round is also computed twice before it counts, as after kills: once without a commit, and
 * once with a commit that no manifest follows. */
static void rounds_and_repeated_rounds(void **state) {
  for (size_t c = 0; c < sizeof kinds / sizeof kinds[0]; c++) {
    struct world w;
    struct cns_problem problem = {0};
    struct cns_optimiser optimiser;
    init(&w, &kinds[c]);
    for (int round = 0; round < ROUNDS; round++) {
      upload(&w);
      assert_int_equal(compute(&w, true, &optimiser, &problem), 0);
      cns_optimiser_change_free(optimiser.change);
      struct cns_optimiser_version before = w.version;
      float *parent = malloc(DIM * sizeof *parent);
      memcpy(parent, w.parent, DIM * sizeof *parent);
      assert_int_equal(compute(&w, false, &optimiser, &problem), 0);
      assert_memory_equal(w.params, w.expected, DIM * sizeof *w.params);
      commit(&w, &optimiser);
      w.version = before;
      memcpy(w.parent, parent, DIM * sizeof *parent);
      free(parent);
      assert_int_equal(compute(&w, true, &optimiser, &problem), 0);
      assert_memory_equal(w.params, w.expected, DIM * sizeof *w.params);
      commit(&w, &optimiser);
      forget(&w);
    }
    deinit(&w);
  }
}

/* Damage in a late block is found when it is read, and the round isn't void but stops. */
static void damaged_state_stops_the_round(void **state) {
  struct world w;
  struct cns_problem problem = {0};
  struct cns_optimiser optimiser;
  char path[200], hex[2 * CNS_DIGEST_BYTES + 1];
  init(&w, &kinds[2]);
  upload(&w);
  assert_int_equal(compute(&w, true, &optimiser, &problem), 0);
  commit(&w, &optimiser);
  cns_hex_encode(w.version.model.bytes, CNS_DIGEST_BYTES, hex);
  snprintf(path, sizeof path, "%s/%020d-%s.optimiser", w.folder, 1, hex);
  FILE *file = fopen(path, "r+");
  assert_non_null(file);
  assert_int_equal(fseek(file, -3, SEEK_END), 0);
  assert_int_equal(fputc(0x55, file), 0x55);
  assert_int_equal(fclose(file), 0);
  assert_int_equal(compute(&w, true, &optimiser, &problem), CNS_ERR_FORMAT);
  assert_non_null(strstr(problem.text, "damaged"));
  cns_optimiser_change_free(optimiser.change);
  forget(&w);
  deinit(&w);
}

/* The second half of the vector moves the control variate by |S|/N of its mean, the first the model; the
 * border lies within a block. */
static void the_second_half_is_the_control_variate(void **state) {
  static const struct cns_server_optimiser fedavg = {CNS_SERVER_FEDAVG, 0.5, 0, 0, 0};
  const struct cns_plan plan = {
      .dim = DIM / 2, .learning_rate = 0.25, .scaffold = {.steps = 8, .hospitals = 4}};
  for (int threads = 0; threads < 2; threads++) {
    struct world w;
    struct cns_problem problem = {0};
    init(&w, &fedavg);
    w.descriptor.dim = 2 * plan.dim;
    for (size_t k = 0; k < DIM; k++)
      w.parent[k] = (float)(k % 1000) / 512;
    upload(&w);
    struct cns_aggregation a = {.descriptor = &w.descriptor,
                                .uploads = w.files,
                                .weights = w.weights,
                                .count = COUNT,
                                .parent = w.parent,
                                .scaffold = &plan,
                                .learning_rate = 1,
                                .optimiser = {.numbers = &fedavg},
                                .classes = 2,
                                .params = w.params};
    if (threads) a.parallel = cns_parallel_threads();
    assert_int_equal(cns_aggregate(&a, &problem), 0);
    for (size_t k = 0; k < 2 * plan.dim; k++) {
      double factor = k < plan.dim ? 0.5 : 0.75 / (0.25 * 8);
      float expected = (float)((double)w.parent[k] + factor * (double)w.mean[k]);
      if (w.params[k] != expected)
        fail_msg("%zu: %.9g, expected %.9g", k, (double)w.params[k], (double)expected);
    }
    forget(&w);
    deinit(&w);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_second_half_is_the_control_variate),
      cmocka_unit_test(rounds_and_repeated_rounds),
      cmocka_unit_test(damaged_state_stops_the_round),
  };
  if (cns_init() < 0) return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
