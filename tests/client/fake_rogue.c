/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/client/fake_rogue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "protocol/claim.h"
#include "tests/client/fake_round.h"

#define WEIGHT 30 /* of who has not joined: fake_describe */

struct fake_rogue {
  size_t k;
  struct cns_kit kit;
  struct cns_rng_seeded rng;
  struct cns_hospital *machine;
  struct cns_digest round;
  uint32_t poison;
  fake_lie *lie;
};

void fake_rogue_new(struct fake *fake, size_t k, uint32_t poison, fake_lie *lie) {
  struct cns_problem problem = {0};
  struct fake_rogue *rogue = calloc(1, sizeof *rogue);
  assert_non_null(rogue);
  rogue->k = k;
  rogue->poison = poison;
  rogue->lie = lie;
  cns_rng_seeded_init_label(&rogue->rng, fake->seed, "rogue");
  if (cns_kit_load(fake->peer[k].kit, CNS_KIT_HOSPITAL, (int64_t)time(NULL), &rogue->kit, &problem))
    fail_msg("%s", problem.text);
  fake->rogue = rogue;
}

void fake_rogue_free(struct fake *fake) {
  if (!fake->rogue) return;
  cns_hospital_free(fake->rogue->machine);
  cns_kit_deinit(&fake->rogue->kit);
  free(fake->rogue);
  fake->rogue = NULL;
}

bool fake_is_rogue(const struct fake *fake, size_t k) {
  return fake->rogue && fake->rogue->k == k;
}

static void begin(struct fake *fake, struct fake_rogue *rogue) {
  const struct cns_descriptor *d = &fake->descriptor;
  struct cns_problem problem = {0};
  struct cns_writer announcement;
  const struct cns_hospital_config config = {.roster = &rogue->kit.roster,
                                             .policy = &rogue->kit.policy,
                                             .identity = rogue->kit.identity,
                                             .expectation = {.roster = &rogue->kit.roster,
                                                             .policy = &rogue->kit.policy,
                                                             .study = d->study,
                                                             .plan = d->plan,
                                                             .parent = d->parent,
                                                             .dim = d->dim,
                                                             .metrics_dim = d->metrics_dim,
                                                             .clip_norm = d->clip_norm,
                                                             .round = d->round,
                                                             .index = (uint16_t)(rogue->k + 1),
                                                             .own_weight = WEIGHT},
                                             .rng = cns_rng_seeded(&rogue->rng)};
  rogue->machine = cns_hospital_free(rogue->machine);
  rogue->round = fake->round;
  cns_writer_init(&announcement, CNS_REQUEST_BYTES_MAX);
  assert_int_equal(cns_coordinator_announcement(fake->machine, &announcement), 0);
  if (cns_hospital_begin(&config, announcement.data, announcement.len, &rogue->machine, &problem))
    fail_msg("%s", problem.text);
  cns_writer_deinit(&announcement);
}

static uint32_t *update(const struct fake *fake, const struct fake_rogue *rogue) {
  uint32_t *x = calloc(cns_descriptor_words(&fake->descriptor), sizeof *x);
  assert_non_null(x);
  for (uint64_t w = 0; w < fake->descriptor.dim; w++)
    x[w] = rogue->poison;
  return x;
}

/* Into the coordinator's memory, without the chunks' journey. */
static void upload(struct fake *fake, struct fake_rogue *rogue, const uint8_t **ret_answer, size_t *ret_len) {
  struct fake_peer *peer = &fake->peer[rogue->k];
  const struct cns_mask_term *terms = NULL;
  struct cns_digest root;
  size_t count = 0;
  uint64_t words = cns_descriptor_words(&fake->descriptor);
  uint32_t *y = update(fake, rogue);
  assert_int_equal(cns_hospital_masks(rogue->machine, &terms, &count), 0);
  assert_int_equal(cns_mask_apply(y, words, 0, terms, count), 0);
  peer->y = (uint8_t *)y; /* on little-endian machines */
  cns_upload_digest_init(&peer->digest, words);
  for (uint64_t c = 0; c < cns_chunk_count(words); c++)
    assert_int_equal(cns_upload_digest_add(&peer->digest, c, peer->y + c * CNS_CHUNK_WORDS * 4,
                                           (size_t)cns_chunk_words(words, c) * 4),
                     0);
  assert_int_equal(cns_upload_digest_final(&peer->digest, &root), 0);
  assert_int_equal(cns_hospital_uploaded(rogue->machine, &root, ret_answer, ret_len, NULL), 0);
}

/* Whatever the machine is told to say of its masks, it is told what adds up with it. */
static void lie(struct fake *fake, struct fake_rogue *rogue, const uint8_t **ret_answer, size_t *ret_len) {
  const struct cns_parallel alone = {0};
  struct cns_problem problem = {0};
  struct cns_hospital_audit a;
  const struct cns_mask_term *terms = NULL;
  size_t count = 0;
  uint32_t of_x[CNS_SKETCH_MAX], of_y[CNS_SKETCH_MAX], *x = update(fake, rogue);
  const uint32_t *const vectors[] = {x}, *const uploaded[] = {(const void *)fake->peer[rogue->k].y};
  assert_int_equal(cns_hospital_audit(rogue->machine, &a), 0);
  assert_int_equal(cns_hospital_masks(rogue->machine, &terms, &count), 0);
  uint32_t *masks = calloc(count * a.k, sizeof *masks);
  assert_non_null(masks);
  assert_int_equal(cns_sketch_masks(&a.key, a.k, a.seeds, a.count, a.dim, alone, masks), 0);
  assert_int_equal(cns_sketch_vectors(&a.key, a.k, vectors, 1, a.dim, alone, of_x), 0);
  assert_int_equal(cns_sketch_vectors(&a.key, a.k, uploaded, 1, a.dim, alone, of_y), 0);
  if (rogue->lie) rogue->lie(&a, of_x, masks);
  memcpy(of_x, of_y, a.k * sizeof *of_x);
  for (size_t m = 0; m < count; m++)
    cns_sketch_add(of_x, masks + m * a.k, -terms[m].sign, a.k);
  if (cns_hospital_audited(rogue->machine, masks, of_y, of_x, ret_answer, ret_len, &problem))
    fail_msg("%s", problem.text);
  free(masks);
  free(x);
}

static void respond(struct fake *fake, struct fake_rogue *rogue) {
  struct cns_problem problem = {0};
  struct cns_writer request;
  const uint8_t *answer = NULL;
  size_t len = 0;
  cns_writer_init(&request, CNS_REQUEST_BYTES_MAX);
  int r = cns_coordinator_request(fake->machine, rogue->k, &request);
  if (r == 0) {
    r = cns_hospital_handle(rogue->machine, request.data, request.len, &answer, &len, &problem);
    if (r < 0) fail_msg("rogue: %s", problem.text);
    if (r == CNS_HOSPITAL_UPLOAD) upload(fake, rogue, &answer, &len);
    if (r == CNS_HOSPITAL_AUDIT) lie(fake, rogue, &answer, &len);
    fake_take_answer(fake, &fake->peer[rogue->k], answer, len);
  }
  cns_writer_deinit(&request);
}

void fake_rogue_work(struct fake *fake) {
  struct fake_rogue *rogue = fake->rogue;
  const uint8_t *answer = NULL;
  size_t len = 0;
  if (!rogue || !fake->machine || !cns_coordinator_awaits(fake->machine, rogue->k)) return;
  if (cns_coordinator_phase(fake->machine) != CNS_PHASE_KEYS) {
    respond(fake, rogue);
    return;
  }
  if (!rogue->machine || !cns_digest_equal(&rogue->round, &fake->round)) begin(fake, rogue);
  assert_int_equal(cns_hospital_keys(rogue->machine, &answer, &len, NULL), 0);
  fake_take_answer(fake, &fake->peer[rogue->k], answer, len);
}
