/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rounds under random schedules, each from one seed: messages lost, late,
 * repeated and out of order, hospitals that fall silent, phases closed with
 * whoever is there, and a coordinator that crashes at any point and is rebuilt
 * from its log. A round that completes is exact; nobody is ever named.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/protocol/attack.h"

#define SCHEDULES 200
#define FLIGHT_MAX 24
#define LOG_MAX 256

struct parcel {
  bool to_coordinator;
  size_t member;
  struct attack_bytes bytes;
};

/* What the coordinator has in its journal: accepted answers and closings. */
struct entry {
  bool closing;
  size_t member;
  struct attack_bytes answer;
  bool upload;
  struct cns_digest root;
};

struct schedule {
  struct federation f;
  uint64_t seed;
  struct cns_rng_seeded rng;
  struct parcel flight[FLIGHT_MAX];
  size_t in_flight;
  struct entry log[LOG_MAX];
  size_t logged;
  size_t crashes;
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
  if (f->silent_from[k] <= cns_coordinator_phase(f->coordinator)) return;
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
    if (r == 0) send_parcel(s, true, k, attack_bytes_copy(answer, len));
    return;
  }
  bool upload = cns_coordinator_phase(f->coordinator) == CNS_PHASE_UPLOAD;
  int r = cns_coordinator_receive(f->coordinator, k, parcel->bytes.data, parcel->bytes.len,
                                  upload ? &f->root[k] : NULL, &problem);
  if (r != 0 && r != CNS_ANSWER_KNOWN && r != CNS_ANSWER_LATE)
    fail_msg("seed %llu: answer of %zu: %d %s", (unsigned long long)s->seed, k + 1, r, problem.text);
  if (r == 0)
    write_log(s, (struct entry){.member = k,
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
    int r = entry->closing
                ? cns_coordinator_close(f->coordinator, &problem)
                : cns_coordinator_receive(f->coordinator, entry->member, entry->answer.data,
                                          entry->answer.len, entry->upload ? &entry->root : NULL, &problem);
    if (r != 0) fail_msg("seed %llu: replay: %d %s", (unsigned long long)s->seed, r, problem.text);
  }
  assert_int_equal(cns_coordinator_phase(f->coordinator), before->phase);
  assert_int_equal(cns_coordinator_end(f->coordinator), before->end);
  assert_memory_equal(f->coordinator->heads, before->heads, sizeof before->heads);
  assert_memory_equal(f->coordinator->round.transcript, before->round.transcript,
                      sizeof before->round.transcript);
  assert_int_equal(f->coordinator->term_count, before->term_count);
  assert_int_equal(f->coordinator->verdict_count, before->verdict_count);
  cns_coordinator_free(before);
  s->crashes++;
}

/* As a scheduler would: when all have answered, or after a while without. */
static void maybe_close(struct schedule *s) {
  struct cns_problem problem = {0};
  if (cns_coordinator_awaited(s->f.coordinator) > 0 && below(s, 60) > 0) return;
  write_log(s, (struct entry){.closing = true});
  assert_int_equal(cns_coordinator_close(s->f.coordinator, &problem), 0);
}

static bool run(struct schedule *s, uint64_t seed) {
  struct federation *f = &s->f;
  memset(s, 0, sizeof *s);
  s->seed = seed;
  cns_rng_seeded_init_label(&s->rng, seed, "schedule");
  federation_init(f, 4 + below(s, 5), 20, seed);
  for (size_t k = 0; k < f->n; k++)
    if (below(s, 6) == 0) f->silent_from[k] = (enum cns_phase)(CNS_PHASE_KEYS + below(s, 7));
  federation_begin(f, 1, 1);
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
    if (below(s, 60) == 0) crash(s);
  }
  crash(s);
  attack_check_names(f, 0);
  bool completed = cns_coordinator_end(f->coordinator) == CNS_END_COMPLETED;
  if (completed && !federation_sum_is_exact(f)) fail_msg("seed %llu: wrong sum", (unsigned long long)seed);
  if (!completed) assert_int_equal(cns_coordinator_end(f->coordinator), CNS_END_TOO_FEW);
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
    completed += run(s, seed);
    crashes += s->crashes;
  }
  free(s);
  /* Both ends are met, and crashes in between. */
  assert_true(completed > SCHEDULES / 5 && completed < SCHEDULES);
  assert_true(crashes > 3 * SCHEDULES / 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(random_schedules),
  };
  return cmocka_run_group_tests_name("protocol schedules", tests, NULL, NULL);
}
