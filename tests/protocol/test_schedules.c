/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rounds under random schedules, each from one seed: messages lost, late,
 * repeated and out of order, hospitals that fall silent, phases closed with
 * whoever is there, and a coordinator that crashes at any point and is rebuilt
 * from its log. A round that completes is exact; nobody is ever named. With an
 * audit, up to c hospitals lie in every way that test_audit_liars.c and
 * test_forfeit.c know: every round ends, and no honest hospital is ever named.
 *
 * CNS_SCHEDULES=10000 in the environment, or as the argument, runs that many of
 * the latter.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/protocol/attack.h"

#define SCHEDULES 200
#define LYING_SCHEDULES 500
#define FLIGHT_MAX 24
#define LOG_MAX 512

struct parcel {
  bool to_coordinator;
  size_t member;
  struct attack_bytes bytes;
};

/* What the coordinator has in its journal: accepted answers and closings. */
struct entry {
  bool closing, decision;
  size_t member;
  int result; /* of receive */
  struct attack_bytes answer;
  bool upload;
  struct cns_digest root;
};

struct schedule {
  struct federation f;
  uint64_t seed;
  bool audited;
  uint64_t liars;
  bool shares[FEDERATION_MAX], twice[FEDERATION_MAX]; /* lies about shares, signs two answers */
  bool refuses[FEDERATION_MAX];                       /* says nothing in phase dispute */
  struct cns_rng_seeded rng;
  struct parcel flight[FLIGHT_MAX];
  size_t in_flight;
  struct entry log[LOG_MAX];
  size_t logged;
  size_t crashes;
  size_t ways[CNS_OUTCOME_COUNT], blames[CNS_BLAME_COUNT];
};

static size_t below(struct schedule *s, size_t bound) {
  uint64_t value;
  assert_int_equal(cns_rng_uniform_u64(cns_rng_seeded(&s->rng), bound, &value), 0);
  return (size_t)value;
}

static void send_parcel(struct schedule *s, bool to_coordinator, size_t member, struct attack_bytes bytes) {
  if (s->in_flight == FLIGHT_MAX || below(s, 8) == 0)
    attack_bytes_free(&bytes); /* lost */
  else
    s->flight[s->in_flight++] = (struct parcel){to_coordinator, member, bytes};
}

static void ask(struct schedule *s, size_t k) {
  struct federation *f = &s->f;
  if (!cns_coordinator_awaits(f->coordinator, k)) return;
  if (federation_is_silent(f, k, cns_coordinator_phase(f->coordinator))) return;
  if (s->refuses[k] && cns_coordinator_phase(f->coordinator) == CNS_PHASE_DISPUTE) return;
  if (cns_coordinator_phase(f->coordinator) == CNS_PHASE_KEYS) {
    const uint8_t *answer;
    size_t len;
    struct cns_problem problem = {0};
    assert_int_equal(cns_hospital_keys(f->hospitals[k], &answer, &len, &problem), 0);
    send_parcel(s, true, k, attack_bytes_copy(answer, len));
  } else
    send_parcel(s, false, k, attack_request(f, k));
}

static void write_log(struct schedule *s, struct entry entry) {
  assert_true(s->logged < LOG_MAX);
  s->log[s->logged++] = entry;
}

static struct attack_bytes lie_about(struct schedule *s, size_t k, struct attack_bytes answer);

static void deliver(struct schedule *s, const struct parcel *parcel) {
  struct federation *f = &s->f;
  struct cns_problem problem = {0};
  size_t k = parcel->member;
  if (!parcel->to_coordinator) {
    const uint8_t *answer;
    size_t len;
    int r = federation_handle(f, k, parcel->bytes.data, parcel->bytes.len, &answer, &len, &problem);
    /* A request that was overtaken is out of order; nothing worse may happen. */
    if (r != 0 && r != CNS_ERR_REFUSED)
      fail_msg("seed %llu: hospital %zu: %d %s", (unsigned long long)s->seed, k + 1, r, problem.text);
    if (r != 0) return;
    struct attack_bytes copy = attack_bytes_copy(answer, len);
    send_parcel(s, true, k, s->liars >> k & 1 ? lie_about(s, k, copy) : copy);
    return;
  }
  bool upload = cns_coordinator_phase(f->coordinator) == CNS_PHASE_UPLOAD, liar = s->liars >> k & 1;
  int r = cns_coordinator_receive(f->coordinator, k, parcel->bytes.data, parcel->bytes.len,
                                  upload ? &f->root[k] : NULL, &problem);
  if (r != 0 && r != CNS_ANSWER_KNOWN && r != CNS_ANSWER_LATE && !liar)
    fail_msg("seed %llu: answer of %zu: %d %s", (unsigned long long)s->seed, k + 1, r, problem.text);
  if (r == 0 || r == CNS_ANSWER_NAMED)
    write_log(s, (struct entry){.member = k,
                                .result = r,
                                .answer = attack_bytes_copy(parcel->bytes.data, parcel->bytes.len),
                                .upload = upload,
                                .root = f->root[k]});
}

static void deliver_any(struct schedule *s) {
  if (s->in_flight == 0) return;
  size_t which = below(s, s->in_flight);
  struct parcel parcel = s->flight[which];
  bool again = below(s, 6) == 0;
  if (!again) s->flight[which] = s->flight[--s->in_flight];
  deliver(s, &parcel);
  if (!again) attack_bytes_free(&parcel.bytes);
}

/* The same calls give the same machine: heads, requests, everything it says. */
static void crash(struct schedule *s) {
  struct federation *f = &s->f;
  struct cns_problem problem = {0};
  struct cns_coordinator *before = f->coordinator;
  struct cns_coordinator_config config = before->config;
  assert_int_equal(cns_coordinator_begin(&config, &f->descriptor, &f->coordinator, &problem), 0);
  for (size_t e = 0; e < s->logged; e++) {
    const struct entry *entry = &s->log[e];
    int r = 0;
    if (entry->decision)
      r = cns_coordinator_decide(f->coordinator, f->decisions, &problem);
    else if (entry->closing) {
      federation_sketch(f); /* computed again, from what is stored */
      r = cns_coordinator_close(f->coordinator, &problem);
    } else
      r = cns_coordinator_receive(f->coordinator, entry->member, entry->answer.data, entry->answer.len,
                                  entry->upload ? &entry->root : NULL, &problem);
    if (r != entry->result)
      fail_msg("seed %llu: replay: %d %s", (unsigned long long)s->seed, r, problem.text);
  }
  assert_int_equal(cns_coordinator_phase(f->coordinator), before->phase);
  assert_int_equal(cns_coordinator_end(f->coordinator), before->end);
  assert_memory_equal(f->coordinator->heads, before->heads, sizeof before->heads);
  assert_memory_equal(f->coordinator->round.transcript, before->round.transcript,
                      sizeof before->round.transcript);
  assert_int_equal(f->coordinator->term_count, before->term_count);
  assert_int_equal(f->coordinator->verdict_count, before->verdict_count);
  assert_int_equal(f->coordinator->audit.forfeits.rounds, before->audit.forfeits.rounds);
  assert_int_equal(f->coordinator->audit.cases.len, before->audit.cases.len);
  if (before->audit.cases.len > 0)
    assert_memory_equal(f->coordinator->audit.cases.data, before->audit.cases.data, before->audit.cases.len);
  for (size_t v = 0; v < before->verdict_count; v++) {
    assert_int_equal(f->coordinator->verdicts[v].evidence_len, before->verdicts[v].evidence_len);
    assert_memory_equal(f->coordinator->verdicts[v].evidence, before->verdicts[v].evidence,
                        before->verdicts[v].evidence_len);
  }
  cns_coordinator_free(before);
  s->crashes++;
}

/* As a scheduler would: when all have answered, or after a while without. */
static void maybe_close(struct schedule *s) {
  struct cns_problem problem = {0};
  if (cns_coordinator_awaited(s->f.coordinator) > 0 && below(s, s->audited ? 400 : 60) > 0) return;
  write_log(s, (struct entry){.closing = true});
  federation_sketch(&s->f);
  assert_int_equal(cns_coordinator_close(s->f.coordinator, &problem), 0);
  if (below(s, 20) == 0) crash(s); /* before the decision too */
  if (!cns_coordinator_is_undecided(s->f.coordinator)) return;
  if (cns_coordinator_decide(s->f.coordinator, s->f.decisions, &problem) != 0) {
    memset(s->f.decisions, 0, sizeof s->f.decisions); /* it would leave too few */
    assert_int_equal(cns_coordinator_decide(s->f.coordinator, s->f.decisions, &problem), 0);
  }
  write_log(s, (struct entry){.decision = true});
}

/* ---- liars ---- */

/* Once its masks are fixed and before they are added: poison, or other masks. */
static void spoil_update(struct schedule *s, size_t k) {
  const struct cns_mask_term other = {.seed = {{9}}, .sign = 1};
  if (below(s, 4) == 0)
    assert_int_equal(cns_mask_apply(s->f.x[k], s->f.descriptor.dim, 0, &other, 1), 0);
  else
    attack_poison(&s->f, k);
}

static void make_liar(struct schedule *s, size_t k, size_t partner) {
  static void (*const lies[])(struct federation * f, size_t k, uint32_t * masks) = {attack_lie_self,
                                                                                    attack_lie_pair,
                                                                                    attack_lie_along,
                                                                                    attack_lie_slightly,
                                                                                    attack_lie_to_all,
                                                                                    attack_lie_wildly,
                                                                                    NULL};
  struct federation *f = &s->f;
  s->liars |= (uint64_t)1 << k;
  f->lies[k] = lies[below(s, sizeof lies / sizeof lies[0])];
  f->lie_partner[k] = partner;
  s->shares[k] = below(s, 3) == 0;
  s->twice[k] = below(s, 3) == 0;
  s->refuses[k] = below(s, 3) == 0;
  f->silent_from[k] = CNS_PHASE_COUNT;
  if (below(s, 3) > 0) spoil_update(s, k);
}

/* Up to c liars; two of them may be in league. */
static void make_liars(struct schedule *s) {
  struct federation *f = &s->f;
  size_t count = 1 + below(s, f->policy.colluders), first = below(s, f->n), second = first;
  while (second == first)
    second = below(s, f->n);
  bool league = below(s, 2) == 0;
  make_liar(s, first, count > 1 && league ? second : below(s, f->n));
  if (count < 2) return;
  make_liar(s, second, league ? first : below(s, f->n));
  if (!league) return;
  f->lies[first] = attack_lie_pair;
  f->lies[second] = attack_lie_along;
}

/* An answer with released shares, of which one is replaced, or an answer that
 * says something else. */
static struct attack_bytes lie_about(struct schedule *s, size_t k, struct attack_bytes answer) {
  struct cns_message message = {0};
  struct cns_reader reader;
  static const uint8_t other[] = "something else";
  enum cns_phase phase = cns_coordinator_phase(s->f.coordinator);
  cns_reader_init(&reader, answer.data, answer.len);
  cns_message_read(&reader, &message);
  if (message.phase != phase) return answer;
  bool shares = phase == CNS_PHASE_UNMASK || phase == CNS_PHASE_FORFEIT;
  if (s->shares[k] && shares && message.body_len > 36) {
    struct attack_bytes body = attack_bytes_copy(message.body, message.body_len);
    body.data[6] ^= 1;
    attack_bytes_free(&answer);
    answer = attack_answer(&s->f, k, body.data, body.len, NULL, NULL, 0);
    attack_bytes_free(&body);
  }
  if (s->twice[k] && below(s, 4) == 0)
    send_parcel(s, true, k, attack_answer(&s->f, k, other, sizeof other, NULL, NULL, 0));
  return answer;
}

/* ---- a round ---- */

/* Two colluders from seven hospitals on. */
static void audited_set_up(struct schedule *s, uint64_t seed) {
  static const size_t sizes[] = {4, 4, 4, 5, 5, 6, 7, 7};
  struct federation *f = &s->f;
  federation_init_audited(f, sizes[below(s, sizeof sizes / sizeof sizes[0])], seed);
  for (size_t k = 0; k < f->n; k++)
    s->refuses[k] = below(s, 8) == 0;
  if (f->n < 7) return;
  f->policy.colluders = 2;
  f->policy.minimum_cohort = 7;
  f->policy.minimum_included = 4;
}

static void set_up(struct schedule *s, uint64_t seed) {
  struct federation *f = &s->f;
  if (s->audited)
    audited_set_up(s, seed);
  else
    federation_init(f, 4 + below(s, 5), 20, seed);
  for (size_t k = 0; k < f->n; k++)
    if (below(s, s->audited ? 12 : 6) == 0)
      f->silent_from[k] = (enum cns_phase)(CNS_PHASE_KEYS + below(s, 7));
  federation_begin(f, 1, 1);
  if (!s->audited) return;
  make_liars(s);
  for (size_t k = 0; k < f->n; k++)
    if (below(s, 20) == 0) f->decisions[k] = CNS_OUT_FLAGGED;
}

static bool run(struct schedule *s, uint64_t seed, bool audited) {
  struct federation *f = &s->f;
  memset(s, 0, sizeof *s);
  s->seed = seed;
  s->audited = audited;
  cns_rng_seeded_init_label(&s->rng, seed, audited ? "lying schedule" : "schedule");
  set_up(s, seed);
  size_t steps = 0;
  while (cns_coordinator_phase(f->coordinator) != CNS_PHASE_RESULT) {
    if (++steps > 100000) fail_msg("seed %llu: no end", (unsigned long long)seed);
    switch (below(s, 4)) {
    case 0:
      ask(s, below(s, f->n));
      break;
    case 1:
      maybe_close(s);
      break;
    default:
      deliver_any(s);
    }
    if (below(s, s->audited ? 300 : 60) == 0) crash(s);
  }
  if (!audited || seed % 4 == 0) crash(s);
  attack_check_names(f, s->liars);
  bool completed = cns_coordinator_end(f->coordinator) == CNS_END_COMPLETED;
  if (completed && !federation_sum_is_exact(f)) fail_msg("seed %llu: wrong sum", (unsigned long long)seed);
  if (!completed) assert_int_equal(cns_coordinator_end(f->coordinator), CNS_END_TOO_FEW);
  for (size_t k = 0; completed && k < f->n; k++)
    s->ways[attack_outcome(f, k)]++;
  for (size_t v = 0; v < f->coordinator->verdict_count; v++)
    s->blames[f->coordinator->verdicts[v].blame]++;
  for (size_t p = 0; p < s->in_flight; p++)
    attack_bytes_free(&s->flight[p].bytes);
  for (size_t e = 0; e < s->logged; e++)
    attack_bytes_free(&s->log[e].answer);
  federation_deinit(f);
  return completed;
}

static void random_schedules(void **state) {
  struct schedule *s = malloc(sizeof *s);
  size_t completed = 0, crashes = 0;
  assert_non_null(s);
  for (uint64_t seed = 1; seed <= SCHEDULES; seed++) {
    completed += run(s, seed, false);
    crashes += s->crashes;
  }
  free(s);
  /* Both ends are met, and crashes in between. */
  assert_true(completed > SCHEDULES / 5 && completed < SCHEDULES);
  assert_true(crashes > 3 * SCHEDULES / 2);
}

static uint64_t lying_schedules = LYING_SCHEDULES;

static void schedules_with_liars(void **state) {
  struct schedule *s = malloc(sizeof *s);
  size_t completed = 0, ways[CNS_OUTCOME_COUNT] = {0}, blames[CNS_BLAME_COUNT] = {0};
  assert_non_null(s);
  for (uint64_t seed = 1; seed <= lying_schedules; seed++) {
    completed += run(s, seed, true);
    for (size_t o = 0; o < CNS_OUTCOME_COUNT; o++)
      ways[o] += s->ways[o];
    for (size_t b = 0; b < CNS_BLAME_COUNT; b++)
      blames[b] += s->blames[b];
  }
  free(s);
  print_message(
      "# %zu of %llu rounds completed; convicted %zu, forfeited %zu, missing in a dispute %zu, flagged %zu\n",
      completed, (unsigned long long)lying_schedules, ways[CNS_OUT_CONVICTED], ways[CNS_OUT_FORFEITED],
      ways[CNS_MISSING_DISPUTE], ways[CNS_OUT_FLAGGED]);
  /* Every end is met, and every lie comes to light in some. */
  assert_true(completed > lying_schedules / 5);
  if (lying_schedules < LYING_SCHEDULES) return;
  assert_true(completed < lying_schedules);
  assert_true(ways[CNS_OUT_CONVICTED] && ways[CNS_OUT_FORFEITED] && ways[CNS_MISSING_DISPUTE] &&
              ways[CNS_OUT_FLAGGED]);
  assert_true(blames[CNS_BLAME_FALSE_PAIR] && blames[CNS_BLAME_FALSE_SELF] && blames[CNS_BLAME_WRONG_SHARE] &&
              blames[CNS_BLAME_EQUIVOCATION]);
}

int main(int argc, char **argv) {
  const char *number = argc > 1 ? argv[1] : getenv("CNS_SCHEDULES");
  if (number) lying_schedules = strtoull(number, NULL, 10);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(random_schedules),
      cmocka_unit_test(schedules_with_liars),
  };
  return cmocka_run_group_tests_name("protocol schedules", tests, NULL, NULL);
}
