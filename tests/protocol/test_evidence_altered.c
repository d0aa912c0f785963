/* SPDX-License-Identifier: Apache-2.0 */
/* Genuine evidence of every kind, altered: it convicts the liar, or nobody. n = 8,
 * c = 1, t = 5; the liar is member 2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/protocol/attack.h"

#define LIAR 2
#define HONEST 5

static void begin_at(struct federation *f, enum cns_phase phase, uint64_t seed) {
  federation_init(f, 8, 50, seed);
  federation_begin(f, 1, 1);
  attack_play_until(f, phase);
}

static int judge(const struct federation *f, const uint8_t *evidence, size_t len, uint16_t *ret_index) {
  struct cns_problem problem = {0};
  enum cns_blame blame;
  int r = cns_evidence_check(&f->roster, evidence, len, ret_index, &blame, &problem);
  if (r < 0) assert_true(problem.text[0] != '\0');
  return r;
}

/* ---- alterations of genuine evidence ---- */

typedef void prepare(struct federation *f);

static void bad_keys(struct federation *f) {
  uint8_t body[CNS_KEYS_BODY_BYTES] = {1};
  struct cns_problem problem;
  begin_at(f, CNS_PHASE_KEYS, 20);
  assert_int_equal(
      attack_receive(f, LIAR, attack_answer(f, LIAR, body, sizeof body, NULL, NULL, 0), &problem),
      CNS_ANSWER_NAMED);
}

static void bad_deal(struct federation *f, int kind) {
  struct attack_deal deal;
  struct cns_problem problem;
  begin_at(f, CNS_PHASE_SHARES, 21);
  size_t t = f->descriptor.threshold;
  attack_deal_make(f, LIAR, &deal);
  if (kind == 0) memset(&deal.point_b, 0, sizeof deal.point_b);
  if (kind == 1) attack_deal_split(f, LIAR, &deal, &f->hospitals[LIAR]->secrets->s, t + 1, &deal.b, t);
  if (kind == 2) deal.leaves[HONEST].sealed[0] ^= 1;
  int r = attack_receive(f, LIAR, attack_deal_answer(f, LIAR, &deal), &problem);
  assert_int_equal(r, kind == 0 ? CNS_ANSWER_NAMED : 0);
  if (kind == 0) return;
  attack_play_phase_without(f, LIAR);
  attack_close(f);
  attack_play_phase_without(f, LIAR);
  attack_close(f);
}

static void bad_points(struct federation *f) {
  bad_deal(f, 0);
}

static void high_degree(struct federation *f) {
  bad_deal(f, 1);
}

static void bad_share(struct federation *f) {
  bad_deal(f, 2);
}

static void false_complaint(struct federation *f) {
  struct cns_problem problem;
  begin_at(f, CNS_PHASE_READY, 22);
  struct cns_complaint complaints[3] = {attack_complaint(f, LIAR, 1), attack_complaint(f, LIAR, HONEST),
                                        attack_complaint(f, LIAR, 6)};
  assert_int_equal(attack_receive(f, LIAR, attack_ready_answer(f, LIAR, complaints, 3), &problem), 0);
  attack_play_phase_without(f, LIAR);
  attack_close(f);
}

static void wrong_share(struct federation *f) {
  struct cns_problem problem;
  uint8_t body[2 + 8 * CNS_RELEASED_BYTES] = {8, 0};
  begin_at(f, CNS_PHASE_UNMASK, 23);
  for (size_t e = 0; e < 8; e++) {
    uint8_t *released = body + 2 + e * CNS_RELEASED_BYTES;
    released[0] = (uint8_t)(e + 1);
    released[2] = CNS_SHARE_B;
    released[3] = 9;
  }
  assert_int_equal(
      attack_receive(f, LIAR, attack_answer(f, LIAR, body, sizeof body, NULL, NULL, 0), &problem), 0);
}

static void equivocation(struct federation *f) {
  struct cns_problem problem;
  begin_at(f, CNS_PHASE_READY, 24);
  struct attack_bytes second = attack_answer(f, LIAR, NULL, 0, NULL, NULL, 0);
  federation_play_phase(f);
  assert_int_equal(attack_receive(f, LIAR, second, &problem), CNS_ANSWER_NAMED);
}

static void audited(struct federation *f, void (*lie)(struct federation *f, size_t k, uint32_t *masks)) {
  federation_init_audited(f, 8, 25);
  federation_begin(f, 1, 1);
  f->lie_partner[LIAR] = HONEST;
  f->lies[LIAR] = lie;
  while (cns_coordinator_phase(f->coordinator) != CNS_PHASE_RESULT) {
    federation_play_phase(f);
    attack_close(f);
  }
}

static void false_pair(struct federation *f) {
  audited(f, attack_lie_wildly);
}

static void false_self(struct federation *f) {
  audited(f, attack_lie_slightly);
}

static prepare *const cases[CNS_BLAME_COUNT] = {
    NULL,        bad_keys,     bad_points, high_degree, bad_share, false_complaint,
    wrong_share, equivocation, false_pair, false_self,
};

static struct attack_bytes evidence_of(const struct federation *f, enum cns_blame blame) {
  size_t count;
  const struct cns_verdict *verdicts = cns_coordinator_verdicts(f->coordinator, &count);
  attack_convicted(f, LIAR, blame);
  for (size_t v = 0; v < count; v++)
    if (verdicts[v].blame == blame) return attack_bytes_copy(verdicts[v].evidence, verdicts[v].evidence_len);
  fail_msg("no evidence of %s", cns_blame_name(blame));
  return (struct attack_bytes){0};
}

/* Every byte in turn, every length, every blame, every index, another roster. */
static void altered_evidence_convicts_nobody_else(void **state) {
  for (enum cns_blame blame = 1; blame < CNS_BLAME_COUNT; blame++) {
    struct federation f;
    uint16_t index;
    cases[blame](&f);
    struct attack_bytes e = evidence_of(&f, blame);
    for (size_t at = 0; at < e.len; at++) {
      uint8_t before = e.data[at];
      e.data[at] = (uint8_t)(before + 1 + at * 7 % 255);
      int r = judge(&f, e.data, e.len, &index);
      if (r == 0 && index != LIAR + 1) fail_msg("%s: byte %zu frames %u", cns_blame_name(blame), at, index);
      e.data[at] = before;
    }
    for (size_t len = 0; len < e.len; len += 1 + e.len / 200) {
      uint8_t *exact = malloc(len ? len : 1); /* so that a read beyond is seen */
      assert_non_null(exact);
      memcpy(exact, e.data, len);
      assert_true(judge(&f, exact, len, &index) < 0);
      free(exact);
    }
    for (unsigned other = 0; other < 256; other++) {
      e.data[1] = (uint8_t)other;
      if (other != blame) assert_true(judge(&f, e.data, e.len, &index) < 0);
    }
    e.data[1] = (uint8_t)blame;
    for (uint16_t k = 0; k <= f.n + 1; k++) {
      e.data[2] = (uint8_t)k;
      if (k != LIAR + 1) assert_true(judge(&f, e.data, e.len, &index) < 0);
    }
    e.data[2] = LIAR + 1;
    e.data = realloc(e.data, e.len + 1);
    assert_non_null(e.data);
    e.data[e.len] = 0;
    assert_int_equal(judge(&f, e.data, e.len + 1, &index), CNS_ERR_FORMAT);
    assert_int_equal(judge(&f, e.data, e.len, &index), 0);
    f.roster.hospitals[LIAR].identity = f.roster.hospitals[HONEST].identity;
    assert_true(judge(&f, e.data, e.len, &index) < 0);
    attack_bytes_free(&e);
    federation_deinit(&f);
  }
}

/* In which phase the lie is, and with or about whom, if there is somebody. */
static const enum cns_phase phases[CNS_BLAME_COUNT] = {
    [CNS_BLAME_BAD_KEYS] = CNS_PHASE_KEYS,         [CNS_BLAME_BAD_POINTS] = CNS_PHASE_SHARES,
    [CNS_BLAME_DEGREE] = CNS_PHASE_SHARES,         [CNS_BLAME_BAD_SHARE] = CNS_PHASE_SHARES,
    [CNS_BLAME_FALSE_COMPLAINT] = CNS_PHASE_READY, [CNS_BLAME_WRONG_SHARE] = CNS_PHASE_UNMASK,
    [CNS_BLAME_EQUIVOCATION] = CNS_PHASE_READY,    [CNS_BLAME_FALSE_PAIR] = CNS_PHASE_AUDIT,
    [CNS_BLAME_FALSE_SELF] = CNS_PHASE_AUDIT,
};
static const uint16_t others[CNS_BLAME_COUNT] = {
    [CNS_BLAME_BAD_SHARE] = HONEST + 1,
    [CNS_BLAME_FALSE_COMPLAINT] = 1 + 1, /* the first of three */
    [CNS_BLAME_WRONG_SHARE] = 1,
    [CNS_BLAME_FALSE_PAIR] = HONEST + 1,
};

static void check_facts(const struct federation *f, enum cns_blame blame,
                        const struct cns_conviction *conviction) {
  assert_int_equal(conviction->index, LIAR + 1);
  assert_int_equal(conviction->blame, blame);
  assert_int_equal(conviction->round, 1);
  assert_int_equal(conviction->attempt, 1);
  assert_true(cns_digest_equal(&conviction->study, &f->descriptor.study));
  assert_true(cns_digest_equal(&conviction->roster, &f->roster.digest));
}

static void evidence_says_what_it_is_about(void **state) {
  for (enum cns_blame blame = 1; blame < CNS_BLAME_COUNT; blame++) {
    struct federation f;
    struct cns_conviction proven = {0}, claimed = {0};
    struct cns_problem problem = {0};
    cases[blame](&f);
    struct attack_bytes e = evidence_of(&f, blame);
    assert_int_equal(cns_evidence_judge(&f.roster, e.data, e.len, &proven, &problem), 0);
    check_facts(&f, blame, &proven);
    if (proven.phase != phases[blame] || proven.other != others[blame])
      fail_msg("%s: phase %s, other %u", cns_blame_name(blame), cns_phase_name(proven.phase), proven.other);
    assert_int_equal(cns_evidence_read(e.data, e.len, &claimed, &problem), 0);
    check_facts(&f, blame, &claimed);
    assert_int_equal(claimed.phase, CNS_PHASE_NONE);
    assert_int_equal(claimed.other, 0);
    attack_bytes_free(&e);
    federation_deinit(&f);
  }
}

/* Of evidence, the head alone: version, blame, index, descriptor. */
static void heads_that_are_none(void **state) {
  struct federation f;
  struct cns_conviction claim = {.index = 77};
  bad_keys(&f);
  struct attack_bytes e = evidence_of(&f, CNS_BLAME_BAD_KEYS);
  size_t head = 8u + (e.data[4] | (size_t)e.data[5] << 8);
  for (size_t len = 0; len < head; len++) {
    struct cns_problem problem = {0};
    uint8_t *exact = malloc(len ? len : 1);
    assert_non_null(exact);
    memcpy(exact, e.data, len);
    assert_int_equal(cns_evidence_read(exact, len, &claim, &problem), CNS_ERR_FORMAT);
    assert_non_null(strstr(problem.text, "malformed"));
    free(exact);
  }
  assert_int_equal(cns_evidence_read(e.data, head, &claim, NULL), 0);
  claim.index = 77;
  for (unsigned version = 0; version < 256; version++) {
    struct cns_problem problem = {0};
    if (version == CNS_EVIDENCE_VERSION) continue;
    e.data[0] = (uint8_t)version;
    assert_int_equal(cns_evidence_read(e.data, e.len, &claim, &problem), CNS_ERR_VERSION);
    assert_non_null(strstr(problem.text, "another version"));
  }
  e.data[0] = CNS_EVIDENCE_VERSION;
  for (unsigned blame = 0; blame < 256; blame++) {
    e.data[1] = (uint8_t)blame;
    bool known = blame > 0 && blame < CNS_BLAME_COUNT;
    assert_int_equal(cns_evidence_read(e.data, e.len, &claim, NULL), known ? 0 : CNS_ERR_FORMAT);
    if (!known) assert_int_equal(claim.index, blame == 0 ? 77 : LIAR + 1);
  }
  attack_bytes_free(&e);
  federation_deinit(&f);
}

/* What is wrong is said. */
static void why_it_does_not_convict(void **state) {
  struct federation f;
  struct cns_conviction conviction;
  struct cns_problem problem = {0};
  equivocation(&f);
  struct attack_bytes e = evidence_of(&f, CNS_BLAME_EQUIVOCATION);
  e.data[e.len - 1] ^= 1; /* of the second signature */
  assert_int_equal(cns_evidence_judge(&f.roster, e.data, e.len, &conviction, &problem), CNS_ERR_PROOF);
  assert_non_null(
      strstr(problem.text, "hospital 3: a message in it isn't signed with the key of hospital 3"));
  e.data[e.len - 1] ^= 1;
  e.data[2] = HONEST + 1;
  assert_int_equal(cns_evidence_judge(&f.roster, e.data, e.len, &conviction, &problem), CNS_ERR_PROOF);
  assert_non_null(strstr(problem.text, "is of hospital 3, where one of hospital 6 is needed"));
  attack_bytes_free(&e);
  federation_deinit(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(altered_evidence_convicts_nobody_else),
      cmocka_unit_test(evidence_says_what_it_is_about),
      cmocka_unit_test(heads_that_are_none),
      cmocka_unit_test(why_it_does_not_convict),
  };
  return cmocka_run_group_tests_name("protocol evidence altered", tests, NULL, NULL);
}
