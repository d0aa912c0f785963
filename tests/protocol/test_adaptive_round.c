/* SPDX-License-Identifier: Apache-2.0 */
/* Rounds with an adaptive clip norm or noised metrics: their descriptors' bytes and what is refused in
 * them, and what of a manifest can be computed again. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/manifest.h"
#include "tests/protocol/attack.h"

#define OWN 4

static void make_adaptive(struct federation *f, struct cns_descriptor *d) {
  assert_int_equal(cns_descriptor_copy(&f->descriptor, d), 0);
  d->unit = CNS_UNIT_PATIENT;
  d->noise_placement = CNS_NOISE_DISTRIBUTED;
  d->noise_multiplier = 2;
  d->sampling_rate = 0.5;
  d->indicator_share = 0.05;
  d->dim++;
}

/* Eight bytes behind a descriptor that is otherwise as it was before there were any. */
static void the_share_is_at_the_end_and_only_there_if_there_is_one(void **state) {
  static const double bad[] = {0, -0.05, 0.51, 1e-7, NAN, INFINITY};
  struct federation f;
  struct cns_descriptor d, read;
  struct cns_writer with, without;
  federation_init(&f, 8, 50, 5);
  federation_begin(&f, 1, 1);
  make_adaptive(&f, &d);
  cns_writer_init(&with, CNS_DESCRIPTOR_BYTES_MAX);
  cns_writer_init(&without, CNS_DESCRIPTOR_BYTES_MAX);
  cns_descriptor_write(&with, &d);
  d.indicator_share = 0;
  cns_descriptor_write(&without, &d);
  assert_int_equal(with.len, without.len + 8);
  assert_memory_equal(with.data, without.data, without.len);
  assert_int_equal(cns_descriptor_read(with.data, with.len, &read), 0);
  assert_true(read.indicator_share == 0.05 && read.member_count == 8 && read.dim == d.dim);
  cns_descriptor_deinit(&read);
  for (size_t len = 0; len < with.len; len++) {
    if (len == without.len) continue; /* that of a fixed clip norm, with another digest */
    assert_int_equal(cns_descriptor_read(with.data, len, &read), CNS_ERR_FORMAT);
  }
  for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
    memcpy(with.data + without.len, &bad[k], 8); /* tests run on little-endian machines */
    assert_int_equal(cns_descriptor_read(with.data, with.len, &read), CNS_ERR_FORMAT);
  }
  cns_writer_deinit(&with);
  cns_writer_deinit(&without);
  cns_descriptor_deinit(&d);
  federation_deinit(&f);
}

/* Behind it those of noised metrics, with 0 before it if the clip norm is fixed. */
static void the_share_of_metrics_is_the_second_one(void **state) {
  static const double bad[] = {0, -0.05, 0.51, 1e-7, NAN, INFINITY};
  struct federation f;
  struct cns_descriptor d, read;
  (void)state;
  federation_init(&f, 8, 50, 5);
  federation_begin(&f, 1, 1);
  make_adaptive(&f, &d);
  for (int adaptive = 0; adaptive < 2; adaptive++) {
    struct cns_writer with, without;
    cns_writer_init(&with, CNS_DESCRIPTOR_BYTES_MAX);
    cns_writer_init(&without, CNS_DESCRIPTOR_BYTES_MAX);
    d.indicator_share = adaptive ? 0.05 : 0;
    d.metrics_share = 0;
    cns_descriptor_write(&without, &d);
    d.metrics_share = 0.1;
    cns_descriptor_write(&with, &d);
    assert_int_equal(with.len, without.len + (adaptive ? 8 : 16));
    assert_memory_equal(with.data, without.data, without.len);
    assert_int_equal(cns_descriptor_read(with.data, with.len, &read), 0);
    assert_true(read.metrics_share == 0.1 && read.indicator_share == d.indicator_share);
    cns_descriptor_deinit(&read);
    for (size_t len = 0; len < with.len; len++)
      if (len != without.len && len + 16 != with.len) /* those without metrics, or without both */
        assert_int_equal(cns_descriptor_read(with.data, len, &read), CNS_ERR_FORMAT);
    for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
      memcpy(with.data + with.len - 8, &bad[k], 8);
      assert_int_equal(cns_descriptor_read(with.data, with.len, &read), CNS_ERR_FORMAT);
    }
    const double good = 0.1, minus = -0.0;
    memcpy(with.data + with.len - 8, &good, 8);
    memcpy(with.data + with.len - 16, &minus, 8); /* one way to say that there is none */
    assert_int_equal(cns_descriptor_read(with.data, with.len, &read), CNS_ERR_FORMAT);
    cns_writer_deinit(&with);
    cns_writer_deinit(&without);
  }
  cns_descriptor_deinit(&d);
  federation_deinit(&f);
}

static void expect_refusal(struct federation *f, const struct cns_descriptor *d,
                           const struct cns_hospital_config *config, const char *sentence) {
  struct cns_problem problem = {0};
  int r = attack_announce(f, d, config, &problem);
  if (sentence ? r != CNS_ERR_REFUSED || !strstr(problem.text, sentence) : r != 0)
    fail_msg("%d '%s', expected '%s'", r, problem.text, sentence ? sentence : "");
}

static void rounds_with_another_indicator_are_refused(void **state) {
  struct federation f;
  struct cns_descriptor d;
  federation_init(&f, 8, 50, 5);
  federation_begin(&f, 1, 1);
  make_adaptive(&f, &d);
  cns_policy_set_privacy(&f.policy, CNS_UNIT_PATIENT, CNS_NOISE_DISTRIBUTED, 3, 1e-5);
  struct cns_hospital_config config = federation_hospital_config(&f, OWN);
  config.expectation.noise_multiplier = 2;
  config.expectation.sampling_rate = 0.5;
  config.expectation.dim = d.dim;
  config.expectation.indicator_share = 0.05;
  assert_int_equal(cns_descriptor_choose_scale(&d, NULL), 0);
  expect_refusal(&f, &d, &config, NULL);
  d.clip_norm = config.expectation.clip_norm * (1 + 0x1p-52);
  expect_refusal(&f, &d, &config, "from the study and the result before it follows");
  d.clip_norm = config.expectation.clip_norm;
  d.indicator_share = 0.25;
  assert_int_equal(cns_descriptor_choose_scale(&d, NULL), 0);
  expect_refusal(&f, &d, &config, "a share of 0.25");
  d.indicator_share = config.expectation.indicator_share = 0;
  assert_int_equal(cns_descriptor_choose_scale(&d, NULL), 0);
  expect_refusal(&f, &d, &config, NULL);
  config.expectation.indicator_share = 0.05;
  expect_refusal(&f, &d, &config, "a share of 0 is");
  config.expectation.indicator_share = 0;
  d.dim = config.expectation.dim = d.dim + 2;
  d.metrics_share = config.expectation.metrics_share = 0.1;
  assert_int_equal(cns_descriptor_choose_scale(&d, NULL), 0);
  expect_refusal(&f, &d, &config, "has noised metrics, and the policy's metrics are others");
  f.policy.metrics_noised = true;
  expect_refusal(&f, &d, &config, NULL);
  config.expectation.metrics_share = 0.2;
  expect_refusal(&f, &d, &config, "a share of 0.1 is for metrics");
  d.metrics_share = config.expectation.metrics_share = 0;
  assert_int_equal(cns_descriptor_choose_scale(&d, NULL), 0);
  expect_refusal(&f, &d, &config, "is without noised metrics, and the policy's metrics are \"noised\"");
  cns_descriptor_deinit(&d);
  federation_deinit(&f);
}

/* ---- manifests ---- */

static const struct cns_adaptive_clip adaptive = {
    .quantile = 0.5, .rate = 0.2, .share = 0.05, .min = 0.1, .max = 10};

/* Weights 1 to 7 and 1; hospital 3 isn't in the sum: 26 patients, half of whom are expected. */
static struct cns_manifest adaptive_manifest(struct federation *f) {
  static uint8_t outcomes[8];
  struct cns_manifest m = {.study = f->study,
                           .round = 3,
                           .attempt = 1,
                           .member_count = 8,
                           .members = f->descriptor.members,
                           .outcomes = outcomes,
                           .privacy = {.unit = CNS_UNIT_PATIENT,
                                       .placement = CNS_NOISE_DISTRIBUTED,
                                       .noise_multiplier = 2,
                                       .sampling_rate = 0.5,
                                       .epsilon = 1,
                                       .delta = 1e-5},
                           .clip = {.norm = 2.0 / 3, .released = -13 * 1000, .unit = 1000}};
  memset(outcomes, CNS_INCLUDED, sizeof outcomes);
  outcomes[2] = CNS_INCLUDED + 1;
  m.clip.next = 2.0 / 3 * exp(0.2 * 0.5); /* none of 13 is within */
  return m;
}

static void what_follows_from_a_manifest_is_computed_again(void **state) {
  struct federation f;
  struct cns_problem problem = {0};
  struct cns_manifest read;
  uint8_t *bytes = NULL;
  size_t len = 0;
  federation_init(&f, 8, 50, 5);
  federation_begin(&f, 1, 1);
  struct cns_manifest m = adaptive_manifest(&f);
  assert_true(cns_manifest_fraction(&m) == 0);
  assert_int_equal(cns_manifest_make(&m, f.coordinator_identity, &bytes, &len), 0);
  if (cns_manifest_open(bytes, len, "manifest", &f.roster, &read, &problem)) fail_msg("%s", problem.text);
  assert_memory_equal(&read.clip, &m.clip, sizeof m.clip); /* not a bit is lost in decimals */
  if (cns_manifest_check_clip(&read, &adaptive, &problem)) fail_msg("%s", problem.text);
  cns_manifest_deinit(&read);
  assert_int_equal(cns_manifest_open(bytes, len, "manifest", NULL, &read, &problem), 0);
  cns_manifest_deinit(&read);
  free(bytes);
  struct cns_manifest other = m;
  other.clip.released++;
  assert_int_equal(cns_manifest_check_clip(&other, &adaptive, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "from what it says itself follows"));
  other = m;
  other.privacy.sampling_rate = 0.25;                                        /* then none of six and a half */
  assert_int_equal(cns_manifest_check_clip(&other, &adaptive, &problem), 0); /* and it is cut off at none */
  other.clip.released = 13 * 500;
  assert_int_equal(cns_manifest_check_clip(&other, &adaptive, &problem), CNS_ERR_REFUSED);
  other = m;
  other.clip.norm = 0.05;
  assert_int_equal(cns_manifest_check_clip(&other, &adaptive, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "the study allows 0.1 to 10"));
  federation_deinit(&f);
}

static void noised_metrics_are_computed_again(void **state) {
  const struct cns_noised_metrics noised = {.share = 0.1, .loss_max = 2}, none = {0};
  struct federation f;
  struct cns_problem problem = {0};
  struct cns_manifest read;
  uint8_t *bytes = NULL;
  size_t len = 0;
  (void)state;
  federation_init(&f, 8, 50, 5);
  federation_begin(&f, 1, 1);
  struct cns_manifest m = adaptive_manifest(&f);
  assert_int_equal(cns_manifest_check_noised(&m, &none, &problem), 0);
  assert_int_equal(cns_manifest_check_noised(&m, &noised, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "is without noised metrics"));
  m.noised.sums =
      (struct cns_noised_metrics_sums){.loss = -6501, .right = 9777, .unit = 1000, .sigma = 333.25};
  cns_manifest_estimate(&m, 2, &m.noised.estimate);
  /* 13 patients are expected. */
  assert_true(fabs(m.noised.estimate.loss - (1 - 6501.0 / 13000)) < 1e-15);
  assert_true(fabs(m.noised.estimate.accuracy - (1 + 9777.0 / 13000) / 2) < 1e-15);
  assert_int_equal(cns_manifest_make(&m, f.coordinator_identity, &bytes, &len), 0);
  if (cns_manifest_open(bytes, len, "manifest", &f.roster, &read, &problem)) fail_msg("%s", problem.text);
  assert_memory_equal(&read.noised, &m.noised, sizeof m.noised); /* not a bit is lost in decimals */
  assert_false(read.metrics.known);
  if (cns_manifest_check_noised(&read, &noised, &problem)) fail_msg("%s", problem.text);
  assert_int_equal(cns_manifest_check_noised(&read, &none, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "is with noised metrics, and the study's rounds are without"));
  read.noised.sums.loss++;
  assert_int_equal(cns_manifest_check_noised(&read, &noised, &problem), CNS_ERR_REFUSED);
  cns_manifest_deinit(&read);
  free(bytes);
  federation_deinit(&f);
}

/* Manifests from before there were adaptive clip norms. */
static void of_a_fixed_clip_norm_a_manifest_says_nothing(void **state) {
  const struct cns_adaptive_clip fixed = {0};
  struct federation f;
  struct cns_problem problem = {0};
  struct cns_manifest read;
  uint8_t *bytes = NULL;
  size_t len = 0;
  federation_init(&f, 8, 50, 5);
  federation_begin(&f, 1, 1);
  struct cns_manifest m = adaptive_manifest(&f);
  assert_int_equal(cns_manifest_check_clip(&m, &fixed, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "is of an adaptive clip norm, and the study's is fixed"));
  m.clip = (struct cns_manifest_clip){0};
  assert_int_equal(cns_manifest_make(&m, f.coordinator_identity, &bytes, &len), 0);
  assert_null(memmem(bytes, len, "\"clip\"", 6));
  assert_int_equal(cns_manifest_open(bytes, len, "manifest", &f.roster, &read, &problem), 0);
  assert_int_equal(cns_manifest_check_clip(&read, &fixed, &problem), 0);
  assert_int_equal(cns_manifest_check_clip(&read, &adaptive, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "is of a fixed clip norm"));
  cns_manifest_deinit(&read);
  free(bytes);
  federation_deinit(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_share_is_at_the_end_and_only_there_if_there_is_one),
      cmocka_unit_test(the_share_of_metrics_is_the_second_one),
      cmocka_unit_test(noised_metrics_are_computed_again),
      cmocka_unit_test(rounds_with_another_indicator_are_refused),
      cmocka_unit_test(what_follows_from_a_manifest_is_computed_again),
      cmocka_unit_test(of_a_fixed_clip_norm_a_manifest_says_nothing),
  };
  if (cns_init() < 0) return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
