/* SPDX-License-Identifier: Apache-2.0 */
/* Whole rounds of real agents over TLS on loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "client/agent_internal.h"
#include "client/site.h"
#include "dp/clip.h"
#include "model/modelfile.h"
#include "model/network.h"
#include "net/link_internal.h"
#include "store/registry.h"
#include "tests/client/fake.h"

#define LOGISTIC "{\"kind\": \"logistic\"}"
#define WIDE                                                                                                 \
  "{\"kind\": \"mlp\", \"hidden\": [600, 600], \"activation\": \"relu\"}" /* 23 chunks: more than a window   \
                                                                           */
#define TRAINING(rounds, rate)                                                                               \
  "{\"rounds\": " rounds ", \"local_epochs\": 2, \"learning_rate\": " rate ", \"momentum\": 0.5,"            \
  " \"batch\": 8, \"seed\": 99, \"clip_norm\": 1.5}"

static const uint64_t seed = 4711;

static struct fake *consortium(const char *model, const char *training) {
  const struct fake_options options = {.n = 4, .seed = seed, .model = model, .training = training};
  return fake_new(&options);
}

/* The weighted mean update in the plain, in double. */
static void train_plainly(struct fake *fake, const float *parent, uint64_t round, double *ret_params) {
  size_t dim = cns_plan_dim(&fake->plan);
  double total = 0;
  float *update = malloc(dim * sizeof *update);
  double *sum = calloc(dim, sizeof *sum);
  for (size_t k = 0; k < fake->n; k++) {
    struct cns_problem problem = {0};
    struct cns_table table, train, validation;
    char path[300];
    const struct cns_network_seed network_seed = {fake->plan.seed, round, 1, (uint32_t)(k + 1)};
    snprintf(path, sizeof path, "%s/data.csv", fake->peer[k].kit);
    assert_int_equal(cns_table_read(&fake->plan, path, CNS_TABLE_TRAINING, &table, NULL, &problem), 0);
    assert_int_equal(cns_table_split(&table, fake->plan.seed, (uint32_t)(k + 1), fake->plan.validation_share,
                                     &train, &validation),
                     0);
    assert_int_equal(
        cns_network_train(&fake->plan, parent, &train, &network_seed, NULL, update, NULL, &problem), 0);
    assert_int_equal(cns_clip(update, dim, fake->plan.clip_norm, NULL, &problem), 0);
    uint32_t weight = cns_policy_weight(&fake->kit.policy, table.patients);
    for (size_t i = 0; i < dim; i++)
      sum[i] += (double)weight * (double)update[i];
    total += weight;
    cns_table_deinit(&table);
    cns_table_deinit(&train);
    cns_table_deinit(&validation);
  }
  for (size_t i = 0; i < dim; i++)
    ret_params[i] = (double)parent[i] + sum[i] / total;
  free(sum);
  free(update);
}

static void assert_last_model_here(struct fake *fake, size_t k) {
  char path[400], hex[2 * CNS_DIGEST_BYTES + 1];
  struct cns_problem problem = {0};
  float *params = malloc(cns_plan_dim(&fake->plan) * sizeof *params);
  cns_hex_encode(fake->model_digest.bytes, CNS_DIGEST_BYTES, hex);
  snprintf(path, sizeof path, "%s/state/models/%s.model", fake->peer[k].kit, hex);
  if (cns_model_read(&fake->plan, path, params, &problem)) fail_msg("%s", problem.text);
  assert_memory_equal(params, fake->params, cns_plan_dim(&fake->plan) * sizeof *params);
  free(params);
}

static void two_rounds_give_the_weighted_mean(void **state) {
  (void)state;
  struct fake *fake = consortium(LOGISTIC, TRAINING("2", "0.5"));
  size_t dim = cns_plan_dim(&fake->plan);
  float *parent = malloc(dim * sizeof *parent);
  double *expected = malloc(dim * sizeof *expected);
  fake_start_all(fake);
  for (int round = 1; round <= 2; round++) {
    memcpy(parent, fake->params, dim * sizeof *parent);
    train_plainly(fake, parent, (uint64_t)round, expected);
    fake_begin(fake);
    fake_until(fake, fake->completed, round);
    for (size_t i = 0; i < dim; i++)
      if (fabs(expected[i] - (double)fake->params[i]) > 1e-4)
        fail_msg("round %d, parameter %zu: %g, expected %g", round, i, (double)fake->params[i], expected[i]);
    assert_true(fake->metrics.known && fake->metrics.rows > 20);
  }
  assert_true(fake->metrics.has_auc && fake->metrics.auc > 0.8);
  for (size_t k = 0; k < fake->n; k++) {
    fake_until(fake, fake->peer[k].finished, 1);
    fake_expect_log(fake, k, "round 2 attempt 1: we are included, 4 of 4 included");
    fake_expect_log(fake, k, "the coordinator has the whole masked update");
    fake_expect_log(fake, k, "study finished after round 2");
    assert_int_equal(fake->peer[k].declines, 0);
    assert_last_model_here(fake, k);
  }
  free(parent);
  free(expected);
  fake_free(fake);
}

static void a_cut_upload_goes_on_at_the_next_missing_chunk(void **state) {
  (void)state;
  for (uint64_t forgotten = 0; forgotten <= 2; forgotten += 2) {
    struct fake *fake = consortium(WIDE, TRAINING("1", "0.05"));
    fake_start_all(fake);
    fake->cut_peer = 2;
    fake->cut_chunk = 3;
    fake->forget_chunks = forgotten;
    fake_begin(fake);
    fake_until(fake, fake->completed, 1);
    assert_int_equal(fake->peer[1].opened, 2);
    assert_int_equal(fake->peer[1].upload_opens, 2);
    assert_int_equal(fake->peer[1].resent, forgotten);
    assert_int_equal(fake->peer[1].next, 23);
    assert_int_equal(fake->peer[0].upload_opens, 1);
    fake_until(fake, fake->peer[1].finished, 1);
    fake_expect_log(fake, 1, "we are included, 4 of 4");
    fake_free(fake);
  }
}

static void a_model_comes_in_two_pieces(void **state) {
  (void)state;
  struct fake *fake = consortium(WIDE, TRAINING("1", "0.05"));
  fake_start_all(fake);
  fake->model_bytes_max = 2 * CNS_WIRE_MODEL_PIECE;
  fake_begin(fake);
  for (size_t k = 0; k < fake->n; k++)
    fake_until(fake, fake->peer[k].finished, 1);
  size_t twice = 0;
  for (size_t k = 0; k < fake->n; k++) {
    twice += fake->peer[k].model_gets == 2;
    if (fake->peer[k].model_gets == 2) assert_int_equal(fake->peer[k].model_offset, 2 * CNS_WIRE_MODEL_PIECE);
    assert_last_model_here(fake, k);
  }
  assert_int_equal(twice, 1);
  fake_free(fake);
}

static bool restart_first(struct fake *fake, enum cns_phase phase) {
  if (phase != CNS_PHASE_READY) return true;
  fake->on_phase = NULL;
  fake_stop(fake, 0);
  fake_start(fake, 0);
  return true;
}

static void restarted_is_missing_and_back_in_the_next_round(void **state) {
  (void)state;
  struct fake *fake = consortium(LOGISTIC, TRAINING("2", "0.5"));
  fake_start_all(fake);
  fake->on_phase = restart_first;
  fake_begin(fake);
  assert_non_null(strstr(fake_declined(fake, 0, 1), "no part in that round"));
  fake_until(fake, fake->completed, 1);
  assert_int_equal(fake->peer[0].joined, 2);
  fake_begin(fake);
  fake_until(fake, fake->completed, 2);
  fake_expect_log(fake, 0, "round 1 attempt 1: we are missing");
  fake_expect_log(fake, 0, "round 2 attempt 1: we are included, 4 of 4");
  fake_expect_log(fake, 1, "round 1 attempt 1: we are included, 3 of 4");
  fake_free(fake);
}

/* The same announcement after a restart: its keys are gone, others may not be made. */
static void an_announcement_from_before_a_restart_is_declined(void **state) {
  (void)state;
  struct fake *fake = consortium(LOGISTIC, TRAINING("2", "0.5"));
  struct cns_descriptor descriptor;
  fake_consent(fake, 0);
  fake_start(fake, 0);
  fake_until(fake, fake->peer[0].joined, 1);
  fake_describe(fake, &descriptor);
  fake_announce_to(fake, 0, &descriptor);
  fake_until(fake, fake->peer[0].answers, 1);
  fake_announce_to(fake, 0, &descriptor); /* without a restart: the same keys */
  fake_until(fake, fake->peer[0].answers, 2);
  fake_stop(fake, 0);
  fake_start(fake, 0);
  fake_until(fake, fake->peer[0].joined, 2);
  fake_announce_to(fake, 0, &descriptor);
  assert_non_null(strstr(fake_declined(fake, 0, 1), "its secrets of that round are gone"));
  descriptor.attempt = ++fake->attempt;
  fake_announce_to(fake, 0, &descriptor);
  fake_until(fake, fake->peer[0].answers, 3);
  cns_descriptor_deinit(&descriptor);
  fake_free(fake);
}

static int reached;

static bool hold_unmask(struct fake *fake, enum cns_phase phase) {
  (void)fake;
  reached = phase == CNS_PHASE_UNMASK;
  return phase != CNS_PHASE_UNMASK;
}

static void ask_to_abandon(struct fake *fake, size_t k) {
  struct cns_writer frame;
  cns_writer_init(&frame, 64);
  cns_write_bytes(&frame, fake->round.bytes, CNS_DIGEST_BYTES);
  fake_send(fake, k, CNS_WIRE_ABANDON_ASK, &frame);
  cns_writer_deinit(&frame);
}

static void send_abandoned(struct fake *fake, size_t count) {
  struct cns_wire_abandon abandons[FAKE_MAX];
  struct cns_writer frame;
  for (size_t k = 0; k < count; k++)
    abandons[k] = (struct cns_wire_abandon){(uint16_t)(k + 1), fake->peer[k].abandon};
  cns_writer_init(&frame, 1024);
  cns_wire_write_abandoned(&frame, &fake->round, abandons, count);
  for (size_t k = 0; k < fake->n; k++)
    fake_send(fake, k, CNS_WIRE_ABANDONED, &frame);
  cns_writer_deinit(&frame);
}

/* Is the announcement of that round, with what was answered, still on record? */
static bool remembers(struct fake *fake, size_t k, const struct cns_digest *round) {
  struct cns_site site;
  struct cns_problem problem = {0};
  uint8_t *bytes = NULL;
  size_t len;
  bool any = false;
  if (cns_site_open(fake->peer[k].kit, &site, &problem)) fail_msg("%s", problem.text);
  for (uint8_t phase = CNS_PHASE_NONE; phase < CNS_PHASE_COUNT; phase++) {
    if (cns_hospital_store_get_message(site.store, round, phase, &bytes, &len, &problem) != 0) continue;
    any = true;
    free(bytes);
  }
  cns_site_deinit(&site);
  return any;
}

static uint64_t spent_of(struct fake *fake, size_t k) {
  struct cns_site site;
  struct cns_problem problem = {0};
  uint64_t spent = 0;
  if (cns_site_open(fake->peer[k].kit, &site, &problem)) fail_msg("%s", problem.text);
  assert_int_equal(cns_hospital_store_count_spent(site.store, &fake->model_digest, &spent), 0);
  cns_site_deinit(&site);
  return spent;
}

/* A round that stops before its sum is opened: spent, signed away by all, and
 * refunded; also at a hospital that was restarted in between. */
static void an_abandoned_round_is_refunded(void **state) {
  (void)state;
  struct fake *fake = consortium(LOGISTIC, TRAINING("1", "0.5"));
  fake_start_all(fake);
  fake->on_phase = hold_unmask;
  reached = 0;
  fake_begin(fake);
  fake_until(fake, reached, 1);
  fake->on_phase = NULL;
  struct cns_writer unmask;
  cns_writer_init(&unmask, CNS_REQUEST_BYTES_MAX);
  assert_int_equal(cns_coordinator_request(fake->machine, 1, &unmask), 0);
  const struct cns_digest failed = fake->round;
  fake_stop(fake, 0);
  assert_int_equal(spent_of(fake, 0), 1);
  assert_true(remembers(fake, 0, &failed));
  fake->machine = cns_coordinator_free(fake->machine);
  fake_start(fake, 0);
  fake_until(fake, fake->peer[0].joined, 2);
  for (size_t k = 0; k < fake->n; k++) {
    ask_to_abandon(fake, k);
    fake_until(fake, fake->peer[k].abandons, 1);
  }
  fake_send(fake, 1, CNS_WIRE_REQUEST, &unmask); /* never, after that */
  assert_non_null(strstr(fake_declined(fake, 1, 1), "no part in that round"));
  cns_writer_deinit(&unmask);
  send_abandoned(fake, 2); /* fewer than t */
  send_abandoned(fake, fake->n);
  fake_begin(fake);
  fake_until(fake, fake->completed, 1);
  for (size_t k = 0; k < fake->n; k++) {
    fake_expect_log(fake, k, "too few hospitals have validly signed");
    fake_expect_log(fake, k, "no longer charged");
    fake_expect_log(fake, k, "round 1 attempt 2: we are included, 4 of 4");
  }
  fake_stop(fake, 0);
  assert_false(remembers(fake, 0, &failed));
  fake_free(fake);
}

/* Who unmasked never signs that it did not. */
static void who_unmasked_does_not_abandon(void **state) {
  (void)state;
  struct fake *fake = consortium(LOGISTIC, TRAINING("2", "0.5"));
  fake_start_all(fake);
  fake_begin(fake);
  fake_until(fake, fake->completed, 1);
  ask_to_abandon(fake, 2);
  fake_until(fake, fake->peer[2].declines, 1);
  assert_int_equal(fake->peer[2].abandons, 0);
  fake_free(fake);
}

/* Sent away after each JOIN: it keeps coming, ever more slowly, and its log
 * doesn't grow with that. Welcome again, it takes part. */
static void who_is_turned_away_slows_down(void **state) {
  (void)state;
  struct fake *fake = consortium(LOGISTIC, TRAINING("1", "0.5"));
  fake->turn_away = "the consent is for another version of the study file";
  fake_consent(fake, 0);
  fake_start(fake, 0);
  for (int i = 1; i <= 2 * (int)CNS_AGENT_LINK_LINES_MAX; i++) {
    fake_until(fake, fake->peer[0].joined, i);
    assert_true(cns_dialer_failures(fake->peer[0].agent->dialer) + 1 >= (unsigned)i);
  }
  assert_true(fake_logged(fake, 0, "the other side says: the consent is for another version"));
  assert_true(fake_count_log(fake, 0, "onnect") <= CNS_AGENT_LINK_LINES_MAX);
  assert_int_equal(fake_count_log(fake, 0, "isn't written down"), 1);
  fake->turn_away = NULL;
  int joined = fake->peer[0].joined;
  fake_until(fake, fake->peer[0].joined, joined + 1);
  for (size_t k = 1; k < fake->n; k++) {
    fake_consent(fake, k);
    fake_start(fake, k);
    fake_until(fake, fake->peer[k].joined, 1);
  }
  fake_begin(fake);
  fake_until(fake, fake->completed, 1);
  fake_expect_log(fake, 0, "round 1 attempt 1: we are included, 4 of 4");
  fake_free(fake);
}

/* Deep, steep and without a bound: some unit always lives on in each of them,
 * and the layers multiply until nothing is finite any more. */
static void an_update_that_is_not_finite_is_declined(void **state) {
  (void)state;
  struct fake *fake =
      consortium("{\"kind\": \"mlp\", \"hidden\": [128, 128, 128, 128], \"activation\": \"relu\"}",
                 "{\"rounds\": 1, \"local_epochs\": 30, \"learning_rate\": 100, "
                 "\"momentum\": 0.9, \"batch\": 8, \"seed\": 1, \"clip_norm\": 1.5}");
  fake_start_all(fake);
  fake_begin(fake);
  for (size_t k = 0; k < fake->n; k++) {
    const char *sentence = fake_declined(fake, k, 1);
    assert_non_null(strstr(sentence, "round 1 goes on without us: the update trained here can't be used"));
    assert_non_null(strstr(sentence, "finite"));
    assert_int_equal(fake->peer[k].answers, 0);
    assert_non_null(fake->peer[k].link); /* still there for the next round */
  }
  fake_free(fake);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(two_rounds_give_the_weighted_mean),
      cmocka_unit_test(a_cut_upload_goes_on_at_the_next_missing_chunk),
      cmocka_unit_test(a_model_comes_in_two_pieces),
      cmocka_unit_test(restarted_is_missing_and_back_in_the_next_round),
      cmocka_unit_test(an_announcement_from_before_a_restart_is_declined),
      cmocka_unit_test(an_abandoned_round_is_refunded),
      cmocka_unit_test(who_unmasked_does_not_abandon),
      cmocka_unit_test(who_is_turned_away_slows_down),
      cmocka_unit_test(an_update_that_is_not_finite_is_declined),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
