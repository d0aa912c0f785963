/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of rounds with noise: what a hospital's ledger says, and how it is lost. Include after cmocka. */
#pragma once

#include <stdlib.h>
#include <string.h>

#include "client/agent_internal.h"
#include "tests/client/fake.h"

#define NOISY_TRAINING                                                                                       \
  "{\"rounds\": 5, \"local_epochs\": 1, \"learning_rate\": 0.5, \"momentum\": 0, \"batch\": 8,"              \
  " \"seed\": 99, \"clip_norm\": 1}"
#define NOISY_DELTA 1e-5
/* Multiplier 2, half of the patients: one round costs 1.36, two 1.84, three 2.21. */
#define NOISY_PATIENT "{\"noise_multiplier\": 2, \"sampling_rate\": 0.5}"
#define NOISY_ONE_ROUND 1.5
#define NOISY_TWO_ROUNDS 2.0

#define NOISY_ADAPTIVE                                                                                       \
  "{\"noise_multiplier\": 2, \"sampling_rate\": 0.5, \"adaptive_clip\": {\"quantile\": 0.5,"                 \
  " \"rate\": 0.5, \"share\": 0.05, \"min\": 0.5, \"max\": 2}}"

#define NOISY_METRICS                                                                                        \
  "{\"noise_multiplier\": 2, \"sampling_rate\": 0.5, \"metrics\": {\"share\": 0.1, \"loss_max\": 2}}"

static inline void noisy_attempts(struct cns_policy *policy) {
  policy->attempts_per_parent = 5;
}

static inline struct fake *noisy_study(enum cns_privacy_unit unit, const char *noise, double epsilon,
                                       void (*policy)(struct cns_policy *policy)) {
  const struct fake_options options = {
      .n = 4,
      .seed = 4713,
      .model = "{\"kind\": \"logistic\"}",
      .training = NOISY_TRAINING,
      .noise = noise,
      .privacy = {.epsilon = epsilon, .delta = NOISY_DELTA, .unit = unit, .placement = CNS_NOISE_DISTRIBUTED},
      .policy = policy ? policy : noisy_attempts};
  return fake_new(&options);
}

static inline struct fake *noisy_consortium(enum cns_privacy_unit unit, double epsilon,
                                            void (*policy)(struct cns_policy *policy)) {
  const char *noise =
      unit == CNS_UNIT_PATIENT ? NOISY_PATIENT : "{\"noise_multiplier\": 40, \"sampling_rate\": 1}";
  return noisy_study(unit, noise, epsilon, policy);
}

/* As another process reads it, the agent running or not. */
static inline struct cns_ledger *noisy_ledger(struct fake *fake, size_t k) {
  char path[300], key[310];
  struct cns_identity *owner = NULL;
  struct cns_digest subject;
  struct cns_ledger *ledger = NULL;
  struct cns_problem problem = {0};
  snprintf(path, sizeof path, "%s/data.csv.ledger", fake->peer[k].kit);
  snprintf(key, sizeof key, "%s.key", path);
  assert_int_equal(cns_identity_load(key, &owner, &problem), 0);
  cns_site_ledger_subject(&subject);
  if (cns_ledger_open_readonly(path, cns_identity_get_public(owner), &subject, &ledger, &problem))
    fail_msg("%s", problem.text);
  cns_identity_free(owner);
  return ledger;
}

static inline enum cns_ledger_kind noisy_state(struct fake *fake, size_t k, const struct cns_digest *round) {
  enum cns_ledger_kind kind = 0;
  struct cns_problem problem = {0};
  struct cns_ledger *ledger = noisy_ledger(fake, k);
  if (cns_ledger_state(ledger, round, &kind, &problem)) fail_msg("%s", problem.text);
  cns_ledger_free(ledger);
  return kind;
}

/* How many rounds count towards an observer. */
static inline size_t noisy_costs(struct fake *fake, size_t k, enum cns_ledger_observer observer) {
  struct cns_budget_cost *costs = NULL;
  size_t count = 0;
  struct cns_problem problem = {0};
  struct cns_ledger *ledger = noisy_ledger(fake, k);
  if (cns_ledger_costs(ledger, NULL, observer, 0, &costs, &count, &problem)) fail_msg("%s", problem.text);
  free(costs);
  cns_ledger_free(ledger);
  return count;
}

static inline void noisy_run(const char *command) {
  assert_int_equal(system(command), 0);
}

/* The disk as it is now, to which a killed agent, or a restored backup, comes back. */
static inline void noisy_remember_disk(struct fake *fake, size_t k) {
  char command[2000];
  const char *kit = fake->peer[k].kit;
  snprintf(command, sizeof command,
           "rm -rf '%s/old' && mkdir '%s/old' && cp -r '%s'/data.csv.ledger* '%s/state' '%s/old'", kit, kit,
           kit, kit, kit);
  noisy_run(command);
}

static inline void noisy_restore_disk(struct fake *fake, size_t k) {
  char command[2000];
  const char *kit = fake->peer[k].kit;
  snprintf(command, sizeof command, "rm -r '%s'/data.csv.ledger* '%s/state' && cp -r '%s'/old/* '%s'", kit,
           kit, kit, kit);
  noisy_run(command);
}

static inline void noisy_restore_ledger(struct fake *fake, size_t k) {
  char command[2000];
  const char *kit = fake->peer[k].kit;
  snprintf(command, sizeof command, "rm '%s'/data.csv.ledger* && cp '%s'/old/data.csv.ledger* '%s'", kit, kit,
           kit);
  noisy_run(command);
}

static inline void noisy_send_head(struct fake *fake, size_t k, const struct cns_ledger_head *head) {
  uint8_t bytes[CNS_LEDGER_HEAD_BYTES];
  struct cns_writer frame;
  assert_int_equal(cns_ledger_head_encode(head, bytes), 0);
  cns_writer_init(&frame, sizeof bytes);
  cns_write_bytes(&frame, bytes, sizeof bytes);
  fake_send(fake, k, CNS_WIRE_LEDGER, &frame);
  cns_writer_deinit(&frame);
}

static inline void noisy_ask_to_abandon(struct fake *fake, size_t k) {
  struct cns_writer frame;
  cns_writer_init(&frame, 64);
  cns_write_bytes(&frame, fake->round.bytes, CNS_DIGEST_BYTES);
  fake_send(fake, k, CNS_WIRE_ABANDON_ASK, &frame);
  cns_writer_deinit(&frame);
}

/* The first `count` signatures, to everyone. */
static inline void noisy_send_abandoned(struct fake *fake, size_t count) {
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

static enum cns_phase noisy_held;
static int noisy_reached;

static inline bool noisy_hold(struct fake *fake, enum cns_phase phase) {
  (void)fake;
  noisy_reached += phase == noisy_held;
  return phase != noisy_held;
}

/* Nobody is asked in that phase. */
static inline void noisy_hold_at(struct fake *fake, enum cns_phase phase) {
  noisy_held = phase;
  noisy_reached = 0;
  fake->on_phase = noisy_hold;
}

/* An attempt that everybody uploads to and that has no result. */
static inline void noisy_fail_after_upload(struct fake *fake) {
  noisy_hold_at(fake, CNS_PHASE_UNMASK);
  fake_begin(fake);
  fake_until(fake, noisy_reached, 1);
  fake->on_phase = NULL;
  fake_end(fake);
}
