/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"
#include "model/split.h"

#include <math.h>

enum { ROWS = 569, MALIGNANT = 212 };

static int setup(void **state) {
  return cns_init();
}

static void draw_labels(uint16_t *label) {
  for (size_t i = 0; i < ROWS; i++)
    label[i] = (i * 212) % 569 < MALIGNANT; /* 212 and 569 share no factor: exactly 212 ones */
}

static void split_is_uneven_and_complete(void **state) {
  uint16_t label[ROWS], part[ROWS], again[ROWS];
  size_t rows[6] = {0}, ones[6] = {0};
  struct cns_split_options options = {
      .seed = 4, .hospitals = 5, .test_share = 0.2, .size_ratio = 5.6, .mix_ratio = 4};
  draw_labels(label);
  assert_int_equal(cns_split_uneven(label, NULL, ROWS, 2, &options, part), 0);
  for (size_t i = 0; i < ROWS; i++) {
    assert_true(part[i] <= 5);
    rows[part[i]]++;
    ones[part[i]] += label[i];
  }
  assert_int_equal(ones[0], 42); /* 20 % of each class */
  assert_int_equal(rows[0], 42 + 71);
  static const double shares[] = {0.396, 0.257, 0.167, 0.109, 0.071};
  for (size_t h = 1; h <= 5; h++)
    assert_true(fabs((double)rows[h] / 456 - shares[h - 1]) < 0.01);
  /* Odds between neighbours differ by the ratio, up to whole patients. */
  double odds1 = (double)ones[1] / (double)(rows[1] - ones[1]),
         odds2 = (double)ones[2] / (double)(rows[2] - ones[2]);
  assert_true(odds1 / odds2 > 3 && odds1 / odds2 < 5.3);
  assert_int_equal(cns_split_uneven(label, NULL, ROWS, 2, &options, again), 0);
  assert_memory_equal(part, again, sizeof part);
  options.seed++;
  assert_int_equal(cns_split_uneven(label, NULL, ROWS, 2, &options, again), 0);
  assert_memory_not_equal(part, again, sizeof part);
}

static void patients_stay_together(void **state) {
  uint16_t label[ROWS], part[ROWS], of_patient[200];
  uint32_t groups[ROWS];
  struct cns_split_options options = {
      .seed = 4, .hospitals = 7, .test_share = 0.1, .size_ratio = 3, .mix_ratio = 2};
  draw_labels(label);
  for (size_t i = 0; i < ROWS; i++)
    groups[i] = (uint32_t)(i * 31 % 200);
  assert_int_equal(cns_split_uneven(label, groups, ROWS, 2, &options, part), 0);
  for (size_t i = 0; i < ROWS; i++)
    of_patient[groups[i]] = part[i];
  for (size_t i = 0; i < ROWS; i++)
    assert_int_equal(part[i], of_patient[groups[i]]);
}

static void impossible_splits_are_refused(void **state) {
  uint16_t label[3] = {0, 1, 0}, part[3];
  struct cns_split_options options = {.hospitals = 4, .size_ratio = 1, .mix_ratio = 1};
  assert_int_equal(cns_split_uneven(label, NULL, 3, 2, &options, part), CNS_ERR_RANGE);
  options.hospitals = 0;
  assert_int_equal(cns_split_uneven(label, NULL, 3, 2, &options, part), CNS_ERR_ARGUMENT);
  options.hospitals = 2;
  options.test_share = 1;
  assert_int_equal(cns_split_uneven(label, NULL, 3, 2, &options, part), CNS_ERR_ARGUMENT);
  options.test_share = NAN;
  assert_int_equal(cns_split_uneven(label, NULL, 3, 2, &options, part), CNS_ERR_ARGUMENT);
  options.test_share = 0;
  label[1] = 2;
  assert_int_equal(cns_split_uneven(label, NULL, 3, 2, &options, part), CNS_ERR_ARGUMENT);
}

/* Mean over hospitals of the larger class's share: near 1 for a small alpha. */
static double purity(double alpha, uint64_t seed, size_t *ret_smallest) {
  uint16_t label[ROWS], part[ROWS];
  size_t rows[21] = {0}, ones[21] = {0}, total = 0;
  struct cns_split_dirichlet_options options = {
      .seed = seed, .hospitals = 20, .size_ratio = 1, .alpha = alpha};
  draw_labels(label);
  assert_int_equal(cns_split_dirichlet(label, NULL, ROWS, 2, &options, part), 0);
  for (size_t i = 0; i < ROWS; i++) {
    assert_in_range(part[i], 1, 20);
    rows[part[i]]++;
    ones[part[i]] += label[i];
    total += label[i];
  }
  assert_int_equal(total, MALIGNANT);
  double sum = 0;
  *ret_smallest = ROWS;
  for (size_t h = 1; h <= 20; h++) {
    size_t zeros = rows[h] - ones[h];
    if (rows[h] < *ret_smallest) *ret_smallest = rows[h];
    sum += (double)(zeros > ones[h] ? zeros : ones[h]) / (double)rows[h] / 20;
  }
  return sum;
}

static void dirichlet_mixes_follow_alpha(void **state) {
  double mixed = 0, iid = 0, pure = 0;
  size_t smallest;
  for (uint64_t seed = 1; seed <= 10; seed++) {
    iid += purity(1e9, seed, &smallest) / 10;
    assert_in_range(smallest, 27, 29);
    mixed += purity(1, seed, &smallest) / 10;
    assert_in_range(smallest, 26, 29);
    pure += purity(0.01, seed, &smallest) / 10;
    assert_true(smallest >= 20);
  }
  print_message("# larger class: %.3f iid, %.3f alpha 1, %.3f alpha 0.01\n", iid, mixed, pure);
  assert_true(fabs(iid - 357.0 / 569) < 0.02);
  assert_true(mixed > 0.7 && mixed < 0.85); /* max(u, 1-u) of a uniform u: 0.75 before fitting */
  assert_true(pure > 0.88);                 /* not 1, since sizes and class totals are kept */
}

static void dirichlet_follows_seed_and_size(void **state) {
  uint16_t label[ROWS], part[ROWS], again[ROWS];
  size_t rows[6] = {0};
  struct cns_split_dirichlet_options options = {
      .seed = 4, .hospitals = 5, .test_share = 0.2, .size_ratio = 5.6, .alpha = 0.3};
  draw_labels(label);
  assert_int_equal(cns_split_dirichlet(label, NULL, ROWS, 2, &options, part), 0);
  assert_int_equal(cns_split_dirichlet(label, NULL, ROWS, 2, &options, again), 0);
  assert_memory_equal(part, again, sizeof part);
  for (size_t i = 0; i < ROWS; i++)
    rows[part[i]]++;
  assert_int_equal(rows[0], 42 + 71);
  assert_true(rows[1] > 160 && rows[5] < 45);
  options.seed++;
  assert_int_equal(cns_split_dirichlet(label, NULL, ROWS, 2, &options, again), 0);
  assert_memory_not_equal(part, again, sizeof part);
  static const double bad[] = {0, -1, NAN, INFINITY};
  for (size_t i = 0; i < 4; i++) {
    options.alpha = bad[i];
    assert_int_equal(cns_split_dirichlet(label, NULL, ROWS, 2, &options, part), CNS_ERR_ARGUMENT);
  }
  options.alpha = 1;
  options.hospitals = ROWS;
  assert_int_equal(cns_split_dirichlet(label, NULL, ROWS, 2, &options, part), CNS_ERR_RANGE);
}

static void csv_parts_are_byte_for_byte(void **state) {
  static const char text[] = "\xEF\xBB\xBFid,v\r\na,1\r\nb,\"2\n2\"\n\nc,3";
  static const uint16_t part[] = {1, 2, 2};
  char *out;
  size_t len;
  assert_int_equal(cns_split_csv(text, sizeof text - 1, part, 3, 2, &out, &len, NULL), 0);
  assert_string_equal(out, "id,v\r\nb,\"2\n2\"\nc,3\n");
  assert_int_equal(len, strlen(out));
  free(out);
  assert_int_equal(cns_split_csv(text, sizeof text - 1, part, 3, 7, &out, &len, NULL), 0);
  assert_string_equal(out, "id,v\r\n");
  free(out);
  assert_int_equal(cns_split_csv(text, sizeof text - 1, part, 2, 1, &out, &len, NULL), CNS_ERR_ARGUMENT);
  assert_int_equal(cns_split_csv("\"a", 2, part, 0, 1, &out, &len, NULL), CNS_ERR_FORMAT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(split_is_uneven_and_complete),    cmocka_unit_test(patients_stay_together),
      cmocka_unit_test(impossible_splits_are_refused),   cmocka_unit_test(dirichlet_mixes_follow_alpha),
      cmocka_unit_test(dirichlet_follows_seed_and_size), cmocka_unit_test(csv_parts_are_byte_for_byte),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
