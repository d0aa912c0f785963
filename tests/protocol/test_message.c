/* SPDX-License-Identifier: Apache-2.0 */
/* What m_i and T_p are bound to: with any of it changed, they are others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/message.h"

#define N 3

static void all_different(const struct cns_digest *digests, size_t count) {
  for (size_t a = 0; a < count; a++)
    for (size_t b = 0; b < a; b++)
      if (cns_digest_equal(&digests[a], &digests[b])) fail_msg("change %zu is like %zu", a, b);
}

static void the_transcript_is_bound_to_everything_in_the_list(void **state) {
  enum { NONE, PREVIOUS, PHASE, INDEX, STANDING, OTHER_STANDING, MESSAGE, LENGTH, CHANGES };
  struct cns_digest digests[CHANGES];
  for (int change = 0; change < CHANGES; change++) {
    struct cns_digest previous = {{1}};
    enum cns_phase phase = CNS_PHASE_READY;
    struct cns_member members[N] = {{.index = 1}, {.index = 2}, {.index = 3}};
    struct cns_entry entries[N] = {{CNS_PRESENT, {{4}}}, {CNS_PRESENT, {{5}}}, {CNS_PRESENT, {{6}}}};
    struct cns_descriptor descriptor = {.member_count = N, .members = members};
    if (change == PREVIOUS) previous.bytes[31] ^= 1;
    if (change == PHASE) phase = CNS_PHASE_UPLOAD;
    if (change == INDEX) members[2].index = 4;
    if (change == STANDING) entries[1].standing = CNS_DISQUALIFIED;
    if (change == OTHER_STANDING) entries[1].standing = CNS_ABSENT; /* whatever its m_i says */
    if (change == MESSAGE) entries[1].message.bytes[31] ^= 1;
    if (change == LENGTH) descriptor.member_count = N - 1;
    cns_transcript_next(&previous, phase, &descriptor, entries, &digests[change]);
  }
  all_different(digests, CHANGES);
}

static void a_message_is_bound_to_all_of_its_fields(void **state) {
  enum { NONE, ROUND, PHASE, INDEX, TRANSCRIPT, BODY, BODY_LENGTH, ROOT, CHANGES };
  struct cns_digest digests[CHANGES];
  for (int change = 0; change < CHANGES; change++) {
    uint8_t body[4] = {1, 2, 3, 0};
    struct cns_message message = {
        .round = {{1}},
        .phase = CNS_PHASE_KEYS,
        .index = 2,
        .transcript = {{3}},
        .body = body,
        .body_len = 3,
        .root = {{4}},
    };
    if (change == ROUND) message.round.bytes[31] ^= 1;
    if (change == PHASE) message.phase = CNS_PHASE_SHARES;
    if (change == INDEX) message.index = 258;
    if (change == TRANSCRIPT) message.transcript.bytes[31] ^= 1;
    if (change == BODY) body[2] ^= 1;
    if (change == BODY_LENGTH) message.body_len = 4;
    if (change == ROOT) message.root.bytes[31] ^= 1;
    cns_message_digest(&message, &digests[change]);
  }
  all_different(digests, CHANGES);
}

/* A head is signed for its round and phase. */
static void a_head_is_bound_to_round_and_phase(void **state) {
  struct cns_rng_seeded rng;
  struct cns_identity *coordinator = NULL;
  struct cns_signature signature;
  const struct cns_digest round = {{1}}, other = {{2}}, transcript = {{3}};
  cns_rng_seeded_init_label(&rng, 1, "coordinator");
  assert_int_equal(cns_init(), 0);
  assert_int_equal(cns_identity_new(cns_rng_seeded(&rng), &coordinator), 0);
  const struct cns_identity_public *who = cns_identity_get_public(coordinator);
  assert_int_equal(cns_transcript_sign(coordinator, &round, CNS_PHASE_KEYS, &transcript, &signature), 0);
  assert_int_equal(cns_transcript_verify(who, &round, CNS_PHASE_KEYS, &transcript, &signature), 0);
  assert_true(cns_transcript_verify(who, &other, CNS_PHASE_KEYS, &transcript, &signature) < 0);
  assert_true(cns_transcript_verify(who, &round, CNS_PHASE_SHARES, &transcript, &signature) < 0);
  assert_true(cns_transcript_verify(who, &round, CNS_PHASE_KEYS, &other, &signature) < 0);
  cns_identity_free(coordinator);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_transcript_is_bound_to_everything_in_the_list),
      cmocka_unit_test(a_message_is_bound_to_all_of_its_fields),
      cmocka_unit_test(a_head_is_bound_to_round_and_phase),
  };
  return cmocka_run_group_tests_name("protocol message", tests, NULL, NULL);
}
