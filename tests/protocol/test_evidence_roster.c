/* SPDX-License-Identifier: Apache-2.0 */
/* Evidence belongs to the roster of its round: with a key that came later, a
 * liar could sign its past again. n = 8, c = 1, t = 5; the liar is member 2, the
 * honest one that is to be framed member 5. */
#include "tests/protocol/evidence.h"

#include <stdlib.h>
#include <string.h>

#define LIAR 2
#define HONEST 5

/* The dealer garbles the honest holder's share; the holder complains, rightly. */
static void play_complaint(struct federation *f, uint64_t seed) {
  struct attack_deal deal;
  struct cns_problem problem;
  federation_init(f, 8, 50, seed);
  federation_begin(f, 1, 1);
  attack_play_until(f, CNS_PHASE_SHARES);
  attack_deal_make(f, LIAR, &deal);
  deal.leaves[HONEST].sealed[0] ^= 1;
  assert_int_equal(attack_receive(f, LIAR, attack_deal_answer(f, LIAR, &deal), &problem), 0);
  attack_play_phase_without(f, LIAR);
  attack_close(f);
  attack_play_phase_without(f, LIAR);
  attack_close(f);
  attack_convicted(f, LIAR, CNS_BLAME_BAD_SHARE);
  assert_int_equal(f->hospitals[HONEST]->complaint_count, 1);
}

/* "The complaint is false": its dealer's message of phase keys signed again with
 * the new key, under which the signature that the complaint shows isn't valid. */
static void frame(const struct federation *f, const struct cns_identity *new_key, struct cns_writer *writer) {
  struct cns_message keys = *held(f, LIAR, CNS_PHASE_KEYS);
  const struct cns_merkle_path path = {.depth = 0};
  assert_int_equal(cns_message_sign(&keys, new_key), 0);
  start(f, writer, CNS_BLAME_FALSE_COMPLAINT, HONEST, CNS_PHASE_SHARES);
  put_message(writer, held(f, HONEST, CNS_PHASE_READY));
  put_complaint(writer, &f->hospitals[HONEST]->complaints[0]);
  put_path(writer, &path);
  put_message(writer, &keys);
  put_message(writer, held(f, HONEST, CNS_PHASE_KEYS));
}

static void a_key_that_was_replaced_later(void **state) {
  struct federation f;
  struct cns_rng_seeded rng;
  struct cns_identity *new_key = NULL;
  struct cns_writer writer;
  struct cns_problem problem = {0};
  enum cns_blame blame;
  uint16_t index = 0;
  play_complaint(&f, 1);
  const struct cns_digest of_the_round = f.roster.digest;
  cns_rng_seeded_init_label(&rng, 1, "replaced key");
  assert_int_equal(cns_identity_new(cns_rng_seeded(&rng), &new_key), 0);
  frame(&f, new_key, &writer);
  assert_int_equal(judge(&f, writer.data, writer.len, &index), CNS_ERR_PROOF); /* under the old key */

  f.roster.hospitals[LIAR].identity = *cns_identity_get_public(new_key);
  f.roster.version = 2;
  /* By itself it would carry: only the digest says which roster counts. */
  assert_int_equal(judge(&f, writer.data, writer.len, &index), 0);
  assert_int_equal(index, HONEST + 1);
  cns_hash_once("consilium/1 test digest", "roster 2", 8, &f.roster.digest);
  assert_int_equal(cns_evidence_check(&f.roster, writer.data, writer.len, &index, &blame, &problem),
                   CNS_ERR_PROOF);
  assert_non_null(strstr(problem.text, "another roster than version 2"));

  /* A descriptor that names the new roster is another round. */
  f.descriptor.roster = f.roster.digest;
  cns_writer_deinit(&writer);
  frame(&f, new_key, &writer);
  acquits(&f, &writer);
  f.descriptor.roster = of_the_round;
  cns_identity_free(new_key);
  federation_deinit(&f);
}

/* The other way about: what convicts a liar does so under the roster of the
 * round, and not under one in which nothing changed but the version. */
static void true_evidence_under_a_later_roster(void **state) {
  struct federation f;
  size_t count;
  uint16_t index = 0;
  play_complaint(&f, 2);
  const struct cns_verdict *verdicts = cns_coordinator_verdicts(f.coordinator, &count);
  const struct cns_digest of_the_round = f.roster.digest;
  assert_int_equal(count, 1);
  cns_hash_once("consilium/1 test digest", "roster 2", 8, &f.roster.digest);
  assert_int_equal(judge(&f, verdicts[0].evidence, verdicts[0].evidence_len, &index), CNS_ERR_PROOF);
  f.roster.digest = of_the_round;
  assert_int_equal(judge(&f, verdicts[0].evidence, verdicts[0].evidence_len, &index), 0);
  assert_int_equal(index, LIAR + 1);
  federation_deinit(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_key_that_was_replaced_later),
      cmocka_unit_test(true_evidence_under_a_later_roster),
  };
  return cmocka_run_group_tests_name("protocol evidence roster", tests, NULL, NULL);
}
