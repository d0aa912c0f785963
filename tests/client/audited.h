/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of audited rounds. Include after cmocka. */
#pragma once

#include "client/agent_internal.h"
#include "protocol/claim.h"
#include "tests/client/fake.h"

#define K 128u
/* 64*2 + 64 + 64*64 + 64 + 64 + 1 and a few: a little over the 4096 that an audit needs. */
#define MODEL "{\"kind\": \"mlp\", \"hidden\": [64, 64], \"activation\": \"relu\"}"
#define TRAINING                                                                                             \
  "{\"rounds\": 3, \"local_epochs\": 1, \"learning_rate\": 0.05, \"momentum\": 0.5, \"batch\": 8,"           \
  " \"seed\": 99, \"clip_norm\": 1.5}"

static inline void audited_policy(struct cns_policy *policy) {
  cns_policy_set_audit(policy, K);
}

/* Five hospitals, under a policy that was changed like this. */
static inline struct fake *audited_consortium(void (*policy)(struct cns_policy *policy)) {
  const struct fake_options options = {
      .n = 5, .seed = 4712, .model = MODEL, .training = TRAINING, .policy = policy};
  return fake_new(&options);
}

static enum cns_phase held;
static int reached;

/* Nobody is asked in that phase until the test does. */
static inline bool hold(struct fake *fake, enum cns_phase phase) {
  (void)fake;
  reached += phase == held;
  return phase != held;
}

static inline void hold_at(struct fake *fake, enum cns_phase phase) {
  held = phase;
  reached = 0;
  fake->on_phase = hold;
}

static inline void ask_to_abandon(struct fake *fake, size_t k) {
  struct cns_writer frame;
  cns_writer_init(&frame, 64);
  cns_write_bytes(&frame, fake->round.bytes, CNS_DIGEST_BYTES);
  fake_send(fake, k, CNS_WIRE_ABANDON_ASK, &frame);
  cns_writer_deinit(&frame);
}
