/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/protocol/federation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct cns_identity *identity_of(uint64_t seed, const char *label) {
  struct cns_rng_seeded rng;
  struct cns_identity *identity = NULL;
  cns_rng_seeded_init_label(&rng, seed, label);
  assert_int_equal(cns_identity_new(cns_rng_seeded(&rng), &identity), 0);
  return identity;
}

static void make_roster(struct federation *f) {
  struct cns_roster *r = &f->roster;
  cns_hash_once("consilium/1 test digest", "roster", 6, &r->digest);
  snprintf(r->consortium, sizeof r->consortium, "test");
  r->version = 1;
  r->valid_until = INT64_MAX;
  r->authority.identity = *cns_identity_get_public(f->authority);
  r->coordinator.identity = *cns_identity_get_public(f->coordinator_identity);
  r->officer_count = 1;
  r->officers[0].identity = *cns_identity_get_public(f->officer);
  r->hospitals = calloc(f->n, sizeof *r->hospitals);
  assert_non_null(r->hospitals);
  r->hospital_count = f->n;
  for (size_t k = 0; k < f->n; k++) {
    struct cns_roster_hospital *hospital = &r->hospitals[k];
    hospital->index = (uint16_t)(k + 1);
    snprintf(hospital->name, sizeof hospital->name, "hospital-%zu", k + 1);
    hospital->identity = *cns_identity_get_public(f->identities[k]);
  }
}

void federation_init(struct federation *f, size_t n, uint64_t dim, uint64_t seed) {
  char label[64];
  memset(f, 0, sizeof *f);
  assert_true(n <= FEDERATION_MAX);
  assert_int_equal(cns_init(), 0);
  f->seed = seed;
  f->n = n;
  f->dim = dim;
  f->metrics_dim = 7;
  f->clip_norm = 10;
  f->authority = identity_of(seed, "authority");
  f->officer = identity_of(seed, "officer");
  f->coordinator_identity = identity_of(seed, "coordinator");
  for (size_t k = 0; k < n; k++) {
    snprintf(label, sizeof label, "hospital %zu", k);
    f->identities[k] = identity_of(seed, label);
    snprintf(label, sizeof label, "hospital %zu rng", k);
    cns_rng_seeded_init_label(&f->rngs[k], seed, label);
    f->silent_from[k] = CNS_PHASE_COUNT;
  }
  make_roster(f);
  cns_policy_default(&f->roster, &f->policy);
  f->policy.weights_mode = CNS_WEIGHTS_PATIENTS;
  f->policy.weight_cap = 1000;
  cns_hash_once("consilium/1 test digest", "policy", 6, &f->policy.digest);
  cns_study_digest("test", "study", &f->study);
  cns_hash_once("consilium/1 test digest", "plan", 4, &f->plan);
  cns_hash_once("consilium/1 test digest", "parent", 6, &f->parent);
}

void federation_init_audited(struct federation *f, size_t n, uint64_t seed) {
  struct cns_rng_seeded rng;
  federation_init(f, n, FEDERATION_DIM, seed);
  cns_policy_set_audit(&f->policy, FEDERATION_SKETCH);
  f->policy.sketch_budget = 100;
  cns_rng_seeded_init_label(&rng, seed, "nonce");
  assert_int_equal(cns_rng_fill(cns_rng_seeded(&rng), f->nonce, sizeof f->nonce), 0);
}

bool federation_is_silent(const struct federation *f, size_t k, enum cns_phase phase) {
  return cns_phase_order(f->silent_from[k]) <= cns_phase_order(phase);
}

static void end_round(struct federation *f) {
  f->coordinator = cns_coordinator_free(f->coordinator);
  cns_descriptor_deinit(&f->descriptor);
  for (size_t k = 0; k < f->n; k++) {
    f->hospitals[k] = cns_hospital_free(f->hospitals[k]);
    free(f->x[k]);
    free(f->y[k]);
    f->x[k] = f->y[k] = NULL;
  }
}

void federation_deinit(struct federation *f) {
  end_round(f);
  for (size_t k = 0; k < f->n; k++)
    cns_identity_free(f->identities[k]);
  cns_identity_free(f->authority);
  cns_identity_free(f->officer);
  cns_identity_free(f->coordinator_identity);
  free(f->roster.hospitals);
}

struct cns_hospital_config federation_hospital_config(struct federation *f, size_t k) {
  return (struct cns_hospital_config){
      .roster = &f->roster,
      .policy = &f->policy,
      .identity = f->identities[k],
      .rng = cns_rng_seeded(&f->rngs[k]),
      .expectation =
          {
              .roster = &f->roster,
              .policy = &f->policy,
              .study = f->study,
              .plan = f->plan,
              .parent = f->parent,
              .dim = f->dim,
              .metrics_dim = f->metrics_dim,
              .clip_norm = f->clip_norm,
              .round = f->descriptor.round,
              .index = (uint16_t)(k + 1),
              .own_weight = (uint32_t)(k % 7 + 1),
          },
  };
}

static void make_descriptor(struct federation *f, uint64_t round, uint32_t attempt) {
  struct cns_problem problem = {0};
  struct cns_descriptor *d = &f->descriptor;
  *d = (struct cns_descriptor){
      .study = f->study,
      .round = round,
      .attempt = attempt,
      .parent = f->parent,
      .plan = f->plan,
      .roster = f->roster.digest,
      .policy = f->policy.digest,
      .dim = f->dim,
      .metrics_dim = f->metrics_dim,
      .clip_norm = f->clip_norm,
      .bits = 32,
      .colluders = f->policy.colluders,
      .threshold = cns_policy_threshold(f->n, f->policy.colluders),
      .minimum_included = f->policy.minimum_included,
      .member_count = (uint16_t)f->n,
      .members = calloc(f->n, sizeof *d->members),
  };
  assert_non_null(d->members);
  for (size_t k = 0; k < f->n; k++)
    d->members[k] = (struct cns_member){.index = (uint16_t)(k + 1), .weight = (uint32_t)(k % 7 + 1)};
  assert_int_equal(cns_descriptor_choose_scale(d, &problem), 0);
  if (f->policy.audit_level == CNS_AUDIT_NONE || f->unaudited) return;
  d->audit_level = (uint8_t)f->policy.audit_level;
  d->sketch = f->policy.sketch;
  cns_nonce_commit(f->nonce, &d->nonce_commitment);
}

void federation_begin(struct federation *f, uint64_t round, uint32_t attempt) {
  struct cns_problem problem = {0};
  struct cns_writer announcement;
  end_round(f);
  make_descriptor(f, round, attempt);
  struct cns_coordinator_config config = {
      .roster = &f->roster,
      .policy = &f->policy,
      .identity = f->coordinator_identity,
      .nonce = f->nonce,
  };
  assert_int_equal(cns_coordinator_begin(&config, &f->descriptor, &f->coordinator, &problem), 0);
  cns_writer_init(&announcement, CNS_REQUEST_BYTES_MAX);
  assert_int_equal(cns_coordinator_announcement(f->coordinator, &announcement), 0);
  for (size_t k = 0; k < f->n; k++) {
    struct cns_hospital_config hospital = federation_hospital_config(f, k);
    int r = cns_hospital_begin(&hospital, announcement.data, announcement.len, &f->hospitals[k], &problem);
    if (r != 0) fail_msg("hospital %zu refuses: %s", k + 1, problem.text);
  }
  cns_writer_deinit(&announcement);
  federation_draw_inputs(f);
}

void federation_draw_inputs(struct federation *f) {
  uint64_t words = cns_descriptor_words(&f->descriptor);
  struct cns_rng_seeded rng;
  cns_rng_seeded_init_label(&rng, f->seed, "inputs");
  for (size_t k = 0; k < f->n; k++) {
    f->x[k] = calloc(words, sizeof **f->x);
    assert_non_null(f->x[k]);
    assert_int_equal(cns_rng_fill(cns_rng_seeded(&rng), (uint8_t *)f->x[k], words * 4), 0);
    int shift = f->descriptor.audit_level == CNS_AUDIT_NONE ? 12 : 16; /* well within every bound */
    for (uint64_t w = 0; w < words; w++)
      f->x[k][w] = (uint32_t)((int32_t)f->x[k][w] >> shift);
  }
}

void federation_sketch_of(const struct federation *f, const uint32_t *vector, uint32_t *ret_sketch) {
  struct cns_sketch_key key;
  const uint32_t *const vectors[] = {vector};
  assert_int_equal(cns_coordinator_sketch_key(f->coordinator, &key), 0);
  assert_int_equal(cns_sketch_vectors(&key, f->descriptor.sketch, vectors, 1, f->descriptor.dim,
                                      (struct cns_parallel){0}, ret_sketch),
                   0);
}

void federation_sketch(struct federation *f) {
  uint32_t of_y[CNS_SKETCH_MAX];
  for (size_t k = 0; k < f->n; k++) {
    if (!cns_coordinator_wants_sketch(f->coordinator, k)) continue;
    federation_sketch_of(f, f->y[k], of_y);
    assert_int_equal(cns_coordinator_set_sketch(f->coordinator, k, of_y), 0);
  }
}

int federation_close(struct federation *f, struct cns_problem *problem) {
  federation_sketch(f);
  int r = cns_coordinator_close(f->coordinator, problem);
  if (r == 0 && cns_coordinator_is_undecided(f->coordinator))
    r = cns_coordinator_decide(f->coordinator, f->decisions, problem);
  return r;
}

/* A hospital sketches with A as it derives it itself. */
static int audit(struct federation *f, size_t k, const uint8_t **ret_answer, size_t *ret_len,
                 struct cns_problem *problem) {
  struct cns_hospital_audit a;
  assert_int_equal(cns_hospital_audit(f->hospitals[k], &a), 0);
  uint32_t *masks = calloc(a.count * a.k, sizeof *masks), sketches[2 * CNS_SKETCH_MAX];
  const uint32_t *const vectors[] = {f->y[k], f->x[k]};
  assert_non_null(masks);
  assert_int_equal(cns_sketch_masks(&a.key, a.k, a.seeds, a.count, a.dim, (struct cns_parallel){0}, masks),
                   0);
  assert_int_equal(cns_sketch_vectors(&a.key, a.k, vectors, 2, a.dim, (struct cns_parallel){0}, sketches), 0);
  uint32_t *of_x = sketches + a.k;
  if (f->lies[k]) {
    f->lies[k](f, k, masks);
    memcpy(of_x, sketches, a.k * sizeof *of_x); /* A*y less what is claimed: what will be taken for A*x */
    for (size_t m = 0; m < a.count; m++)
      cns_sketch_add(of_x, masks + m * a.k,
                     m == 0 ? -1 : -cns_pair_sign((uint16_t)(k + 1), (uint16_t)(a.partners[m] + 1)), a.k);
  }
  memcpy(f->of_y[k], sketches, a.k * sizeof *sketches);
  int r = cns_hospital_audited(f->hospitals[k], masks, sketches, of_x, ret_answer, ret_len, problem);
  free(masks);
  return r;
}

static void upload(struct federation *f, size_t k) {
  const struct cns_mask_term *terms;
  size_t count;
  uint64_t words = cns_descriptor_words(&f->descriptor);
  struct cns_upload_digest digest;
  assert_int_equal(cns_hospital_masks(f->hospitals[k], &terms, &count), 0);
  free(f->y[k]);
  f->y[k] = malloc(words * 4);
  assert_non_null(f->y[k]);
  memcpy(f->y[k], f->x[k], words * 4);
  assert_int_equal(cns_mask_apply(f->y[k], words, 0, terms, count), 0);
  cns_upload_digest_init(&digest, words);
  for (uint64_t chunk = 0; chunk < cns_chunk_count(words); chunk++)
    assert_int_equal(cns_upload_digest_add(&digest, chunk,
                                           (const uint8_t *)(f->y[k] + chunk * CNS_CHUNK_WORDS),
                                           (size_t)cns_chunk_words(words, chunk) * 4),
                     0);
  assert_int_equal(cns_upload_digest_final(&digest, &f->root[k]), 0);
}

int federation_handle(struct federation *f, size_t k, const uint8_t *request, size_t len,
                      const uint8_t **ret_answer, size_t *ret_len, struct cns_problem *problem) {
  int r = cns_hospital_handle(f->hospitals[k], request, len, ret_answer, ret_len, problem);
  if (r == CNS_HOSPITAL_UPLOAD) {
    upload(f, k);
    r = cns_hospital_uploaded(f->hospitals[k], &f->root[k], ret_answer, ret_len, problem);
  } else if (r == CNS_HOSPITAL_AUDIT)
    r = audit(f, k, ret_answer, ret_len, problem);
  return r;
}

int federation_answer(struct federation *f, size_t k, const uint8_t **ret_answer, size_t *ret_len,
                      struct cns_problem *problem) {
  struct cns_writer request;
  if (cns_coordinator_phase(f->coordinator) == CNS_PHASE_KEYS)
    return cns_hospital_keys(f->hospitals[k], ret_answer, ret_len, problem);
  cns_writer_init(&request, CNS_REQUEST_BYTES_MAX);
  int r = cns_coordinator_request(f->coordinator, k, &request);
  if (r == 0) r = federation_handle(f, k, request.data, request.len, ret_answer, ret_len, problem);
  cns_writer_deinit(&request);
  return r;
}

void federation_play_phase(struct federation *f) {
  enum cns_phase phase = cns_coordinator_phase(f->coordinator);
  for (size_t k = 0; k < f->n; k++) {
    struct cns_problem problem = {0};
    const uint8_t *answer;
    size_t len;
    if (federation_is_silent(f, k, phase) || !cns_coordinator_awaits(f->coordinator, k)) continue;
    int r = federation_answer(f, k, &answer, &len, &problem);
    if (r != 0) fail_msg("hospital %zu in phase %s: %d %s", k + 1, cns_phase_name(phase), r, problem.text);
    r = cns_coordinator_receive(f->coordinator, k, answer, len,
                                phase == CNS_PHASE_UPLOAD ? &f->root[k] : NULL, &problem);
    if (r != 0) fail_msg("answer %zu in phase %s: %d %s", k + 1, cns_phase_name(phase), r, problem.text);
  }
}

void federation_play(struct federation *f) {
  while (cns_coordinator_phase(f->coordinator) != CNS_PHASE_RESULT) {
    struct cns_problem problem = {0};
    federation_play_phase(f);
    int r = federation_close(f, &problem);
    if (r != 0) fail_msg("closing: %d %s", r, problem.text);
  }
}

bool federation_sum_is_exact(struct federation *f) {
  const struct cns_mask_term *terms;
  size_t count;
  uint64_t words = cns_descriptor_words(&f->descriptor);
  const struct cns_agreement *agreement = cns_coordinator_outcomes(f->coordinator);
  uint32_t *sum = calloc(words, 4), *plain = calloc(words, 4);
  assert_non_null(sum);
  assert_non_null(plain);
  for (size_t k = 0; k < f->n; k++)
    for (uint64_t w = 0; w < words && agreement->outcomes[k] == CNS_INCLUDED; w++) {
      sum[w] += f->y[k][w];
      plain[w] += f->x[k][w];
    }
  assert_int_equal(cns_coordinator_unmasking(f->coordinator, &terms, &count), 0);
  assert_int_equal(cns_mask_apply(sum, words, 0, terms, count), 0);
  bool exact = memcmp(sum, plain, words * 4) == 0;
  free(sum);
  free(plain);
  return exact;
}
