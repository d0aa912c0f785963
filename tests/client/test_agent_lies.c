/* SPDX-License-Identifier: Apache-2.0 */
/* One agent and a coordinator that lies: it declines with a sentence, and stays
 * there for honest rounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "client/agent_internal.h"
#include "client/consent.h"
#include "client/site.h"
#include "store/registry.h"
#include "tests/client/fake.h"

static const uint64_t seed = 815;
static struct fake *fake;

static int setup(void **state) {
  (void)state;
  const struct fake_options options = {.n = 5,
                                       .seed = seed,
                                       .model = "{\"kind\": \"logistic\"}",
                                       .training =
                                           "{\"rounds\": 4, \"local_epochs\": 1, \"learning_rate\": 0.1,"
                                           " \"momentum\": 0, \"batch\": 8, \"seed\": 1, \"clip_norm\": 2}"};
  fake = fake_new(&options);
  fake_consent(fake, 0);
  fake_start(fake, 0);
  fake_until(fake, fake->peer[0].joined, 1);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  fake_free(fake);
  return 0;
}

/* An honest announcement is answered. */
static void assert_still_there(void) {
  struct cns_descriptor descriptor;
  int before = fake->peer[0].answers;
  fake_describe(fake, &descriptor);
  fake_announce_to(fake, 0, &descriptor);
  fake_until(fake, fake->peer[0].answers, before + 1);
  cns_descriptor_deinit(&descriptor);
}

static struct cns_digest other_digest(void) {
  struct cns_digest digest;
  cns_hash_once("consilium/1 test digest", "other", 5, &digest);
  return digest;
}

static void other_parent(struct cns_descriptor *d) {
  d->parent = other_digest();
}
static void other_plan(struct cns_descriptor *d) {
  d->plan = other_digest();
}
static void other_study(struct cns_descriptor *d) {
  d->study = other_digest();
}
static void other_policy(struct cns_descriptor *d) {
  d->policy = other_digest();
}
static void later_round(struct cns_descriptor *d) {
  d->round = 2;
}
static void smaller_cohort(struct cns_descriptor *d) {
  d->member_count = 3;
  d->threshold = 3;
}
static void lower_threshold(struct cns_descriptor *d) {
  d->threshold--;
}
static void fewer_included(struct cns_descriptor *d) {
  d->minimum_included = 2;
}
static void larger_clip(struct cns_descriptor *d) {
  d->clip_norm *= 2;
}
static void other_weight(struct cns_descriptor *d) {
  d->members[0].weight += 5;
}
static void without_us(struct cns_descriptor *d) {
  memmove(d->members, d->members + 1, --d->member_count * sizeof *d->members);
  d->threshold = 3;
}
static void invented_member(struct cns_descriptor *d) {
  d->members[4].index = 77;
}
static void wrapping_scale(struct cns_descriptor *d) {
  d->scale_log2++;
}
static void coarser_scale(struct cns_descriptor *d) {
  d->scale_log2 -= 10;
}
static void no_metrics(struct cns_descriptor *d) {
  d->metrics_dim = 0;
}

static void tailored_descriptors_are_declined(void **state) {
  (void)state;
  static const struct {
    void (*change)(struct cns_descriptor *descriptor);
    const char *sentence;
  } lies[] = {
      {other_parent, "another model"},   {other_plan, "another study file"}, {other_study, "another study"},
      {other_policy, "another policy"},  {later_round, "the next round"},    {smaller_cohort, "cohort has 3"},
      {lower_threshold, "threshold is"}, {fewer_included, "sum of 2"},       {larger_clip, "clip norm is 4"},
      {other_weight, "weight"},          {without_us, "this hospital"},      {invented_member, "roster"},
      {coarser_scale, "step is"},        {wrapping_scale, "could wrap"},     {no_metrics, "metrics"},
  };
  for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
    struct cns_descriptor descriptor;
    fake_describe(fake, &descriptor);
    lies[i].change(&descriptor);
    fake_announce_to(fake, 0, &descriptor);
    const char *sentence = fake_declined(fake, 0, (int)i + 1);
    if (!strstr(sentence, lies[i].sentence)) fail_msg("lie %zu: %s", i, sentence);
    assert_true(cns_digest_equal(&fake->peer[0].declined.round, &fake->round));
    assert_int_equal(fake->peer[0].answers, 0);
    cns_descriptor_deinit(&descriptor);
  }
  assert_still_there();
}

static void an_old_or_second_descriptor_is_declined(void **state) {
  (void)state;
  struct cns_descriptor descriptor;
  fake->attempt = 4;
  assert_still_there(); /* attempt 5 */
  fake_describe(fake, &descriptor);
  descriptor.attempt = 3;
  fake_announce_to(fake, 0, &descriptor);
  assert_non_null(strstr(fake_declined(fake, 0, 1), "not newer than round 1 attempt 5"));
  descriptor.attempt = 5;
  descriptor.nonce_commitment = other_digest(); /* the same numbers, another R */
  fake_announce_to(fake, 0, &descriptor);
  assert_non_null(strstr(fake_declined(fake, 0, 2), "not newer than round 1 attempt 5"));
  cns_descriptor_deinit(&descriptor);
  assert_int_equal(fake->peer[0].answers, 1);
  assert_still_there();
}

static void an_unsigned_announcement_is_declined(void **state) {
  (void)state;
  struct cns_descriptor descriptor;
  struct cns_writer frame;
  fake_describe(fake, &descriptor);
  cns_writer_init(&frame, CNS_REQUEST_BYTES_MAX);
  assert_int_equal(cns_announcement_write(&frame, &descriptor, fake->kit.identity), 0);
  frame.data[frame.len - 1] ^= 1;
  fake_send(fake, 0, CNS_WIRE_ANNOUNCE, &frame);
  fake_declined(fake, 0, 1);
  cns_writer_deinit(&frame);
  cns_descriptor_deinit(&descriptor);
  assert_int_equal(fake->peer[0].answers, 0);
  assert_still_there();
}

static void requests_out_of_turn_are_declined(void **state) {
  (void)state;
  struct cns_writer frame;
  assert_still_there();
  for (uint8_t phase = 0; phase < 12; phase++) {
    cns_writer_init(&frame, 256);
    cns_write_u8(&frame, CNS_REQUEST_VERSION);
    cns_write_bytes(&frame, fake->round.bytes, CNS_DIGEST_BYTES);
    cns_write_u8(&frame, phase);
    cns_write_u16(&frame, 0);
    fake_send(fake, 0, CNS_WIRE_REQUEST, &frame);
    fake_declined(fake, 0, phase + 1);
    cns_writer_deinit(&frame);
  }
  cns_writer_init(&frame, 256);
  cns_wire_write_digest_u64(&frame, &fake->round, 0);
  fake_send(fake, 0, CNS_WIRE_UPLOAD_FROM, &frame); /* nothing was masked: nothing may leave */
  assert_non_null(strstr(fake_declined(fake, 0, 13), "isn't open"));
  cns_writer_deinit(&frame);
  assert_int_equal(fake->peer[0].answers, 1);
  assert_still_there();
}

/* ---- models and manifests ---- */

static void make_manifest(uint64_t round, struct cns_digest parent, uint8_t **ret_data, size_t *ret_len) {
  struct cns_member members[5];
  uint8_t outcomes[5] = {CNS_MISSING_KEYS};
  for (uint16_t k = 0; k < 5; k++)
    members[k] = (struct cns_member){(uint16_t)(k + 1), 30};
  const struct cns_manifest manifest = {.study = fake->study,
                                        .plan = fake->kit.study_document.digest,
                                        .roster = fake->kit.roster.digest,
                                        .policy = fake->kit.policy.digest,
                                        .round = round,
                                        .attempt = 1,
                                        .descriptor = other_digest(),
                                        .parent = parent,
                                        .model = fake->model_digest,
                                        .member_count = 5,
                                        .members = members,
                                        .outcomes = outcomes};
  assert_int_equal(cns_manifest_make(&manifest, fake->kit.identity, ret_data, ret_len), 0);
}

/* Another model, known by the manifest of `round` that is sent. */
static void publish(uint64_t round, struct cns_digest parent) {
  uint8_t *manifest = NULL;
  size_t len = 0;
  fake->model[fake->model_len - 1] ^= 1; /* the last bits of a parameter: still a number */
  cns_registry_model_digest(fake->model, fake->model_len, &fake->model_digest);
  make_manifest(round, parent, &manifest, &len);
  fake_send_manifest(fake, 0, manifest, len);
  free(manifest);
}

static void accept_first_model(void) {
  publish(1, fake->model_digest);
  fake->model_round = 1;
  fake->attempt = 0;
}

static void a_wrong_model_is_declined(void **state) {
  (void)state;
  struct cns_descriptor descriptor;
  accept_first_model();
  fake->damage_model = true;
  fake_describe(fake, &descriptor);
  fake_announce_to(fake, 0, &descriptor);
  assert_non_null(strstr(fake_declined(fake, 0, 1), "isn't the one that its manifest names"));
  cns_descriptor_deinit(&descriptor);
  fake->damage_model = false;
  fake->model_len--; /* other lengths than this study's models have are not taken at all */
  fake_describe(fake, &descriptor);
  fake_announce_to(fake, 0, &descriptor);
  assert_non_null(strstr(fake_declined(fake, 0, 2), "doesn't fit"));
  cns_descriptor_deinit(&descriptor);
  fake->model_len++;
  assert_still_there();
  assert_int_equal(fake->peer[0].model_gets, 3);
}

static int notices;

/* A notice after it: the manifest before has been looked at. */
static void settle(const char *expected) {
  struct cns_writer frame;
  char text[32];
  snprintf(text, sizeof text, "notice %d", ++notices);
  cns_writer_init(&frame, 64);
  cns_wire_write_notice(&frame, 0, text);
  fake_send(fake, 0, CNS_WIRE_NOTICE, &frame);
  cns_writer_deinit(&frame);
  fake_expect_log(fake, 0, text);
  if (!fake_logged(fake, 0, expected)) fail_msg("not in the log: %s\n%s", expected, fake->peer[0].log);
}

static void a_forked_history_is_refused(void **state) {
  (void)state;
  struct cns_digest initial = fake->model_digest, first;
  accept_first_model();
  settle("round 1 attempt 1: we are missing");
  first = fake->model_digest;
  publish(1, initial); /* another model for the same round */
  settle("a model was refused");
  publish(2, other_digest());
  settle("doesn't follow from the one accepted here");
  publish(9, first);
  settle("but the study has only 4");
  fake->model_round = 0;
  publish(3, other_digest()); /* rounds missed may be skipped over */
  settle("round 3 attempt 1");
  publish(2, first); /* never back */
  settle("a model was refused");
  fake->model_round = 3;
  fake->attempt = 0;
  for (int i = 0; i < 2; i++) /* the model of round 3 was published before the last one */
    fake->model[fake->model_len - 1] ^= (uint8_t)(i == 0);
  cns_registry_model_digest(fake->model, fake->model_len, &fake->model_digest);
  assert_still_there();
}

/* The manifest of a round that this hospital takes part in. */
static void publish_of(const struct cns_manifest *manifest, const char *expected) {
  uint8_t *data = NULL;
  size_t len = 0;
  assert_int_equal(cns_manifest_make(manifest, fake->kit.identity, &data, &len), 0);
  fake_send_manifest(fake, 0, data, len);
  settle(expected);
  free(data);
}

static void a_manifest_keeps_to_what_was_announced(void **state) {
  (void)state;
  struct cns_descriptor d;
  uint8_t outcomes[FAKE_MAX] = {CNS_INCLUDED}, few[FAKE_MAX];
  struct cns_digest digest;
  fake_describe(fake, &d);
  fake_announce_to(fake, 0, &d);
  fake_until(fake, fake->peer[0].answers, 1);
  assert_int_equal(cns_descriptor_digest(&d, &digest), 0);
  memset(few, CNS_MISSING_UPLOAD, sizeof few);
  memset(few, CNS_INCLUDED, (size_t)d.minimum_included - 1);
  struct cns_manifest good = {.study = d.study,
                              .plan = d.plan,
                              .roster = d.roster,
                              .policy = d.policy,
                              .round = d.round,
                              .attempt = d.attempt,
                              .descriptor = digest,
                              .parent = d.parent,
                              .model = other_digest(),
                              .member_count = d.member_count,
                              .members = d.members,
                              .outcomes = outcomes};
  struct cns_manifest bad = good;
  bad.attempt++;
  publish_of(&bad, "contradicts the round that was announced here");
  bad = good;
  bad.policy = other_digest();
  publish_of(&bad, "contradicts the round that was announced here");
  bad = good;
  bad.member_count--;
  publish_of(&bad, "contradicts the round that was announced here");
  bad = good;
  bad.outcomes = few;
  publish_of(&bad, "has a sum of");
  d.members[1].weight++; /* good's, too, from here on */
  publish_of(&good, "contradicts the round that was announced here");
  assert_false(fake_logged(fake, 0, "we are included"));
  d.members[1].weight--;
  publish_of(&good, "we are included");
  cns_descriptor_deinit(&d);
}

/* ---- what the hospital's own record forbids ---- */

static void spent_updates_are_counted(void **state) {
  (void)state;
  struct cns_site site;
  struct cns_problem problem = {0};
  struct cns_descriptor descriptor;
  fake_stop(fake, 0);
  if (cns_site_open(fake->peer[0].kit, &site, &problem)) fail_msg("%s", problem.text);
  for (uint8_t k = 0; k < fake->kit.policy.attempts_per_parent; k++) {
    struct cns_digest round = other_digest();
    round.bytes[0] = k;
    assert_int_equal(cns_hospital_store_spend(site.store, &fake->model_digest, &round, &problem), 0);
  }
  cns_site_deinit(&site);
  fake_start(fake, 0);
  fake_until(fake, fake->peer[0].joined, 2);
  fake_describe(fake, &descriptor);
  fake_announce_to(fake, 0, &descriptor);
  assert_non_null(strstr(fake_declined(fake, 0, 1), "2 updates of this model were already sent"));
  cns_descriptor_deinit(&descriptor);
}

static void limit_files(rlim_t bytes) {
  struct rlimit limit;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
  limit.rlim_cur = bytes == RLIM_INFINITY ? limit.rlim_max : bytes;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void a_full_disk_costs_the_round_only(void **state) {
  (void)state;
  struct cns_descriptor descriptor;
  signal(SIGXFSZ, SIG_IGN);
  fake_describe(fake, &descriptor);
  fake_announce_to(fake, 0, &descriptor);
  limit_files(1);
  const char *sentence = fake_declined(fake, 0, 1);
  limit_files(RLIM_INFINITY);
  assert_non_null(strstr(sentence, "no space left"));
  assert_int_equal(fake->peer[0].answers, 0);
  cns_descriptor_deinit(&descriptor);
  assert_still_there();
}

/* Noise in every type of frame: ignored or declined, never worse. */
static void noise(void **state) {
  (void)state;
  struct cns_rng_seeded seeded;
  struct cns_rng rng;
  assert_still_there();
  cns_rng_seeded_init_label(&seeded, seed, "noise");
  rng = cns_rng_seeded(&seeded);
  for (int i = 0; i < 600; i++) {
    uint8_t bytes[200];
    uint64_t len = 0, type = 0, real = 0;
    assert_int_equal(cns_rng_fill(rng, bytes, sizeof bytes), 0);
    assert_int_equal(cns_rng_uniform_u64(rng, sizeof bytes, &len), 0);
    assert_int_equal(cns_rng_uniform_u64(rng, 12, &type), 0);
    assert_int_equal(cns_rng_uniform_u64(rng, 2, &real), 0);
    if (real) memcpy(bytes + (type == 1), fake->round.bytes, CNS_DIGEST_BYTES);
    if (real && type == 1) bytes[0] = CNS_REQUEST_VERSION;
    uint8_t wire = type < 11 ? (uint8_t)(CNS_WIRE_ANNOUNCE + type) : CNS_WIRE_MODEL;
    assert_int_equal(cns_link_send(fake->peer[0].link, wire, bytes, (size_t)(len + 1)), 0);
  }
  assert_still_there();
  assert_true(fake_logged(fake, 0, "malformed"));
  assert_int_equal(fake->peer[0].opened, 1);
}

static void send_word(uint8_t type, const char *sentence) {
  struct cns_writer frame;
  cns_writer_init(&frame, CNS_WIRE_SENTENCE_MAX + 64);
  if (type == CNS_WIRE_ENDED)
    cns_wire_write_word(&frame, &fake->round, 0, sentence);
  else
    cns_wire_write_notice(&frame, CNS_PHASE_KEYS, sentence);
  fake_send(fake, 0, type, &frame);
  cns_writer_deinit(&frame);
}

static void send_bytes(uint8_t type, const void *bytes, size_t len) {
  struct cns_writer frame;
  cns_writer_init(&frame, 256);
  cns_write_bytes(&frame, bytes, len);
  fake_send(fake, 0, type, &frame);
  cns_writer_deinit(&frame);
}

/* Each of these frames is worth a line. A coordinator that sends them without
 * end must not fill the hospital's disk; an honest round is still written down. */
static void the_log_is_not_the_coordinator_s_to_fill(void **state) {
  (void)state;
  enum { TIMES = 200 };
  char word[CNS_WIRE_SENTENCE_MAX];
  memset(word, 'w', sizeof word - 1);
  word[sizeof word - 1] = '\0';
  assert_still_there();
  for (int i = 0; i < TIMES; i++) {
    uint8_t receipt[CNS_DIGEST_BYTES + CNS_SIGNATURE_BYTES] = {0};
    memcpy(receipt, fake->round.bytes, CNS_DIGEST_BYTES);
    send_word(CNS_WIRE_NOTICE, word);
    send_word(CNS_WIRE_REFUSED, word);
    send_word(CNS_WIRE_ENDED, word);
    send_bytes(CNS_WIRE_RECEIPT, receipt, sizeof receipt);
    send_bytes(CNS_WIRE_RECEIPT, "short", 5);
    send_bytes(CNS_WIRE_MANIFEST, "nothing", 7);
    send_bytes(CNS_WIRE_ABANDONED, receipt, sizeof receipt);
    send_bytes(CNS_WIRE_ABANDON_ASK, word, CNS_DIGEST_BYTES);
    send_bytes(CNS_WIRE_ANNOUNCE, word, 100);
    send_bytes(CNS_WIRE_UPLOAD_FROM, word, CNS_DIGEST_BYTES + 8);
    send_bytes(CNS_WIRE_MODEL, word, 100);
    send_bytes(77, "of no known type", 16);
  }
  assert_still_there(); /* behind all of those */
  assert_int_equal(fake_count_log(fake, 0, "isn't written down"), 1);
  assert_true(fake_count_log(fake, 0, "\n") < CNS_AGENT_LINES_MAX + 20);
  /* What a study has a bounded number of is written all the same. */
  accept_first_model();
  fake_expect_log(fake, 0, "round 1 attempt 1: we are missing");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(tailored_descriptors_are_declined),
      TEST(an_old_or_second_descriptor_is_declined),
      TEST(an_unsigned_announcement_is_declined),
      TEST(requests_out_of_turn_are_declined),
      TEST(a_wrong_model_is_declined),
      TEST(a_forked_history_is_refused),
      TEST(a_manifest_keeps_to_what_was_announced),
      TEST(spent_updates_are_counted),
      TEST(a_full_disk_costs_the_round_only),
      TEST(noise),
      TEST(the_log_is_not_the_coordinator_s_to_fill),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
