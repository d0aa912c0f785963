/* SPDX-License-Identifier: Apache-2.0 */
/* What docs/detection.md measures without masks, under them: real training on the
 * shipped data, 20 hospitals of which 4 attack, sketches of 256 numbers. */
#include "tests/cli/simulated.h"

#define HOSPITALS 20
#define ATTACKERS 4
#define ROUNDS 2

struct counts {
  size_t attackers, attackers_flagged, honest, honest_flagged;
};

static struct cns_simulation_options trained(double alpha, uint64_t seed) {
  return (struct cns_simulation_options){.hospitals = HOSPITALS,
                                         .dim = 12354,
                                         .seed = seed,
                                         .audit = true,
                                         .source = CNS_SIMULATION_TRAINED,
                                         .alpha = alpha};
}

static void count(const struct cns_simulation_options *options, size_t rounds, struct counts *counts) {
  struct cns_simulation *simulation = begin(options);
  assert_int_equal(cns_simulation_dim(simulation), 12354);
  for (size_t round = 0; round < rounds; round++) {
    const struct cns_simulation_result *result = play(simulation);
    assert_true(result->sketches_exact);
    assert_int_equal(result->blame_count, 0);
    for (size_t k = 0; k < HOSPITALS; k++) {
      bool flagged = is_flagged_at_all(result, k);
      *(result->malicious[k] ? &counts->attackers : &counts->honest) += 1;
      *(result->malicious[k] ? &counts->attackers_flagged : &counts->honest_flagged) += flagged;
    }
  }
  cns_simulation_free(simulation);
}

/* At least 0.95 of all, and of each kind nearly all. */
static void attacks_are_flagged(void **state) {
  static const char *const specs[] = {
      "alie:4:jitter=0.1", "min-max:4:jitter=0.1", "min-sum:4:jitter=0.05", "ipm:4:jitter=0.1",
      "mean-flip:4",       "mimic:4:jitter=0.05",  "model-replacement:4",   "model-replacement:4:scale=10",
  };
  for (int mixed = 0; mixed < 2; mixed++) {
    struct counts all = {0};
    for (size_t s = 0; s < sizeof specs / sizeof *specs; s++) {
      struct cns_simulation_options options = trained(mixed ? 0.3 : 1e9, 1 + s % 2);
      struct counts counts = {0};
      attack(&options, specs[s]);
      count(&options, ROUNDS, &counts);
      print_message("# %s, %s: %zu of %zu\n", specs[s], mixed ? "Dirichlet(0.3)" : "iid",
                    counts.attackers_flagged, counts.attackers);
      assert_int_equal(counts.attackers, ATTACKERS * ROUNDS);
      assert_true(counts.attackers_flagged + 1 >= counts.attackers);
      all.attackers += counts.attackers;
      all.attackers_flagged += counts.attackers_flagged;
    }
    assert_true((double)all.attackers_flagged >= 0.95 * (double)all.attackers);
  }
}

static void honest_hospitals_are_rarely_flagged(void **state) {
  for (int mixed = 0; mixed < 2; mixed++) {
    struct cns_simulation_options options = trained(mixed ? 0.3 : 1e9, 1);
    struct counts counts = {0};
    count(&options, 5, &counts);
    print_message("# nobody attacks, %s: %zu of %zu\n", mixed ? "Dirichlet(0.3)" : "iid",
                  counts.honest_flagged, counts.honest);
    assert_int_equal(counts.honest, 5 * HOSPITALS);
    assert_true((double)counts.honest_flagged <= 0.03 * (double)counts.honest);
  }
}

/* Poison that stays in the sum does harm; left out it does none. */
static void poison_has_an_effect(void **state) {
  double auc[3], loss[3];
  for (int run = 0; run < 3; run++) {
    struct cns_simulation_options options = trained(1, 3);
    if (run > 0) attack(&options, "model-replacement:4:scale=20");
    if (run == 2) options.on_flag = CNS_FLAG_EXCLUDE;
    struct cns_simulation *simulation = begin(&options);
    const struct cns_simulation_result *result = NULL;
    for (int round = 0; round < 3 && !(result && result->stopped); round++)
      result = play(simulation);
    assert_true(result->has_model);
    auc[run] = result->model_auc;
    loss[run] = result->model_loss;
    cns_simulation_free(simulation);
  }
  print_message("# AUC %.4f, poisoned %.4f, poison left out %.4f\n", auc[0], auc[1], auc[2]);
  assert_true(auc[0] > 0.97 && auc[1] < 0.9 && auc[2] > 0.97);
  assert_true(loss[1] > 2 * loss[0] && loss[2] < 2 * loss[0]);
}

static void the_nearest_model_is_taken(void **state) {
  static const struct {
    uint64_t wish, most;
  } cases[] = {{1, 34}, {62, 6}, {500, 16}, {4096, 2}, {12354, 0}, {100000, 2}};
  for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
    struct cns_simulation_options options = trained(1, 1);
    size_t widths[2], layers;
    options.hospitals = 4;
    options.audit = false;
    options.dim = cases[c].wish;
    struct cns_simulation *simulation = begin(&options);
    uint64_t dim = cns_simulation_dim(simulation);
    layers = cns_simulation_hidden(simulation, widths);
    assert_true(layers == 1 || layers == 2);
    assert_int_equal(dim,
                     layers == 1 ? 33 * widths[0] + 2 : (31 + widths[1]) * widths[0] + 3 * widths[1] + 2);
    assert_true((dim > cases[c].wish ? dim - cases[c].wish : cases[c].wish - dim) <= cases[c].most);
    cns_simulation_free(simulation);
  }
}

static int group_setup(void **state) {
  return cns_init();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(attacks_are_flagged),
      cmocka_unit_test(honest_hospitals_are_rarely_flagged),
      cmocka_unit_test(poison_has_an_effect),
      cmocka_unit_test(the_nearest_model_is_taken),
  };
  return cmocka_run_group_tests_name("cli simulation detect", tests, group_setup, NULL);
}
