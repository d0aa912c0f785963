/* SPDX-License-Identifier: Apache-2.0 */
/* What follows from flags, and what is remembered between rounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/rng.h"
#include "robust/cohort.h"
#include "robust/detect.h"

#define SEED 3
enum { N = 10 };

static struct cns_detect_flag flags[8 * N];
static struct cns_detect_result result;
static struct cns_detect_policy policy;
static struct cns_detect_exclusion out[N];
static size_t count, spared;

static int setup(void **state) {
  return cns_init();
}

static void begin(void) {
  result = (struct cns_detect_result){.hospitals = N, .flags = flags};
  policy = (struct cns_detect_policy){
      .on_flag = CNS_DETECT_EXCLUDE, .on_twins = CNS_DETECT_REPORT, .exclusions_max = N, .remain_min = 1};
}

static void flag(size_t row, enum cns_detect_statistic statistic, double strength, size_t cluster) {
  flags[result.flag_count++] = (struct cns_detect_flag){.row = row,
                                                        .hospital = (uint16_t)(row + 1),
                                                        .statistic = statistic,
                                                        .strength = strength,
                                                        .twin = CNS_DETECT_NONE,
                                                        .cluster = cluster};
  cns_detect_flags_sort(flags, result.flag_count);
}

static void decide(void) {
  assert_int_equal(cns_detect_decide(&result, &policy, out, &count, &spared), 0);
}

static void the_strongest_go_first_up_to_the_limits(void **state) {
  begin();
  flag(3, CNS_DETECT_DISTANCE, 2, CNS_DETECT_NONE);
  flag(5, CNS_DETECT_DIRECTION, 4, CNS_DETECT_NONE);
  flag(1, CNS_DETECT_BOUND, 1.5, CNS_DETECT_NONE); /* the bound before all else */
  flag(7, CNS_DETECT_DIRECTION, 2, CNS_DETECT_NONE);
  flag(3, CNS_DETECT_SIZE, 3, CNS_DETECT_NONE);
  decide();
  assert_int_equal(count, 4);
  static const size_t order[] = {1, 5, 3, 7};
  for (size_t e = 0; e < 4; e++) {
    assert_int_equal(out[e].row, order[e]);
    assert_int_equal(out[e].action, CNS_DETECT_EXCLUDE);
    assert_int_equal(flags[out[e].flag].row, order[e]);
  }
  assert_int_equal(spared, 0);
  policy.exclusions_max = 2;
  decide();
  assert_int_equal(count, 2);
  assert_int_equal(spared, 2);
  policy.exclusions_max = N;
  policy.remain_min = N - 1;
  policy.on_flag = CNS_DETECT_QUARANTINE;
  decide();
  assert_int_equal(count, 1);
  assert_int_equal(out[0].row, 1);
  assert_int_equal(out[0].action, CNS_DETECT_QUARANTINE);
  policy.remain_min = N + 5;
  decide();
  assert_int_equal(count, 0);
  policy.on_flag = CNS_DETECT_REPORT;
  decide();
  assert_true(count == 0 && spared == 0);
}

static void twins_are_never_all_excluded(void **state) {
  begin();
  flag(2, CNS_DETECT_TWINS, 3, 2);
  flag(4, CNS_DETECT_TWINS, 3, 2);
  flag(6, CNS_DETECT_TWINS, 2, 6);
  flag(8, CNS_DETECT_TWINS, 4, 6);
  flag(9, CNS_DETECT_TWINS, 4, 6);
  decide();
  assert_int_equal(count, 0); /* reported by default */
  policy.on_twins = CNS_DETECT_EXCLUDE;
  decide();
  assert_int_equal(count, 3);
  static const size_t order[] = {8, 9, 4}; /* 6: least strength; 2: smaller index of equals */
  for (size_t e = 0; e < 3; e++)
    assert_int_equal(out[e].row, order[e]);
  assert_int_equal(spared, 0);
  flag(2, CNS_DETECT_DIRECTION, 5, CNS_DETECT_NONE); /* out by itself: then its twin stays */
  decide();
  assert_int_equal(count, 3);
  assert_int_equal(out[0].row, 2);
  for (size_t e = 0; e < count; e++)
    assert_true(out[e].row != 4 && out[e].row != 6);
}

/* Whatever the flags are: the limits hold, and nobody is excluded twice. */
static void limits_hold_for_any_flags(void **state) {
  struct cns_rng_seeded generator;
  cns_rng_seeded_init_label(&generator, SEED, "policy");
  for (int run = 0; run < 3000; run++) {
    uint64_t draw[6];
    begin();
    for (int f = 0; f < run % 12; f++) {
      for (size_t i = 0; i < 6; i++)
        assert_int_equal(cns_rng_uniform_u64(cns_rng_seeded(&generator), 10, &draw[i]), 0);
      enum cns_detect_statistic statistic = (enum cns_detect_statistic)(draw[1] % CNS_DETECT_STATISTIC_COUNT);
      flag(draw[0], statistic, 1 + (double)draw[2],
           statistic == CNS_DETECT_TWINS ? draw[0] / 5 * 5 : CNS_DETECT_NONE);
    }
    assert_int_equal(cns_rng_uniform_u64(cns_rng_seeded(&generator), 27 * 11 * 11, &draw[0]), 0);
    policy = (struct cns_detect_policy){.on_flag = (enum cns_detect_action)(draw[0] % 3),
                                        .on_twins = (enum cns_detect_action)(draw[0] / 3 % 3),
                                        .exclusions_max = draw[0] / 27 % 11,
                                        .remain_min = draw[0] / 27 / 11};
    decide();
    assert_true(count <= policy.exclusions_max);
    assert_true(count == 0 || N - count >= policy.remain_min);
    bool seen[N] = {false};
    for (size_t e = 0; e < count; e++) {
      assert_false(seen[out[e].row]);
      assert_int_not_equal(out[e].action, CNS_DETECT_REPORT);
      seen[out[e].row] = true;
    }
  }
}

static struct cns_detect_history *new_history(void) {
  struct cns_detect_history *history = calloc(1, sizeof *history);
  assert_non_null(history);
  return history;
}

/* One round in which hospital 4 is a little unusual (surprise as given). */
static void round_of(struct cns_detect_history *history, double surprise, bool *ret_flagged) {
  static double weights[N], surprises[N];
  struct cns_detect_input input = {.hospitals = N, .weights = weights, .columns = 1};
  struct cns_detect_options options = cns_detect_options_default();
  begin();
  for (size_t i = 0; i < N; i++)
    surprises[i] = i == 3 ? surprise : 0.3;
  result.surprise = surprises;
  assert_int_equal(cns_detect_history_step(history, &input, &options, &result, NULL), 0);
  *ret_flagged = cns_detect_is_flagged(&result, 3);
  for (size_t i = 0; i < N; i++)
    assert_true(i == 3 || !cns_detect_is_flagged(&result, i));
}

static void a_little_in_every_round_adds_up(void **state) {
  struct cns_detect_history *history = new_history();
  bool flagged = false;
  int rounds = 0;
  for (; rounds < 50 && !flagged; rounds++)
    round_of(history, 1.8, &flagged);
  assert_in_range(rounds, 3, 12);
  assert_non_null(strstr(result.flags[0].text, "hospital 4"));
  for (int quiet = 0; quiet < 30; quiet++) /* and is forgotten again */
    round_of(history, 0.3, &flagged);
  assert_false(flagged);
  round_of(history, 9, &flagged); /* a single loud round is the round's own flag, not theirs */
  assert_false(flagged);
  cns_detect_history_forget(history, 4);
  assert_int_equal(history->of[4].rounds, 0);
  free(history);
}

static void tight_rounds_are_counted_down(void **state) {
  struct cns_detect_history *history = new_history();
  bool flagged;
  assert_true(cns_detect_history_factor(history) == 1);
  assert_int_equal(cns_detect_history_tighten(history, 2, 3), 0);
  assert_int_equal(cns_detect_history_tighten(history, 1, 2), 0); /* the larger stays */
  assert_int_equal(cns_detect_history_tighten(history, 1, 0.5), CNS_ERR_ARGUMENT);
  assert_int_equal(cns_detect_history_tighten(history, 1, NAN), CNS_ERR_ARGUMENT);
  for (int round = 0; round < 3; round++) {
    assert_true(cns_detect_history_factor(history) == (round < 2 ? 3 : 1));
    round_of(history, 0, &flagged);
  }
  free(history);
}

static void history_survives_its_bytes(void **state) {
  struct cns_detect_history *history = new_history(), *copy = new_history();
  uint8_t *bytes, *again;
  size_t len, again_len;
  bool flagged;
  for (int round = 0; round < 3; round++)
    round_of(history, 1.5, &flagged);
  assert_int_equal(cns_detect_history_tighten(history, 5, 2), 0);
  assert_int_equal(cns_detect_history_encode(history, &bytes, &len), 0);
  assert_int_equal(cns_detect_history_decode(bytes, len, copy), 0);
  assert_int_equal(cns_detect_history_encode(copy, &again, &again_len), 0);
  assert_int_equal(len, again_len);
  assert_memory_equal(bytes, again, len);
  assert_true(copy->of[4].ewma == history->of[4].ewma && copy->of[4].rounds == 3 && copy->tight_rounds == 5);
  struct cns_detect_history untouched = *copy;
  for (size_t cut = 0; cut < len; cut++)
    assert_true(cns_detect_history_decode(bytes, cut, copy) < 0);
  bytes[0] = 9;
  assert_int_equal(cns_detect_history_decode(bytes, len, copy), CNS_ERR_VERSION);
  bytes[0] = 1;
  bytes[17 + 22] = 1; /* the second hospital's index: no longer ascending */
  assert_int_equal(cns_detect_history_decode(bytes, len, copy), CNS_ERR_FORMAT);
  assert_memory_equal(&untouched, copy, sizeof untouched);
  free(bytes);
  free(again);
  free(history);
  free(copy);
}

static void names_are_fixed(void **state) {
  assert_string_equal(cns_detect_statistic_name(CNS_DETECT_BOUND), "norm-bound");
  assert_string_equal(cns_detect_statistic_name(CNS_DETECT_CUSUM), "cusum");
  assert_string_equal(cns_detect_statistic_name((enum cns_detect_statistic)99), "unknown");
  assert_string_equal(cns_detect_action_name(CNS_DETECT_QUARANTINE), "quarantine");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_strongest_go_first_up_to_the_limits),
      cmocka_unit_test(twins_are_never_all_excluded),
      cmocka_unit_test(limits_hold_for_any_flags),
      cmocka_unit_test(a_little_in_every_round_adds_up),
      cmocka_unit_test(tight_rounds_are_counted_down),
      cmocka_unit_test(history_survives_its_bytes),
      cmocka_unit_test(names_are_fixed),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
