/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/hospital.h"

#include <sodium.h>
#include <stdlib.h>

#include "protocol/hospital_internal.h"

static int allocate(struct cns_hospital *h) {
  size_t n = h->round.descriptor.member_count;
  h->secrets = sodium_malloc(sizeof *h->secrets + n * sizeof h->secrets->with[0]);
  h->keys = calloc(n, sizeof *h->keys);
  h->points_b = calloc(n, sizeof *h->points_b);
  h->share_good = calloc(n, 1);
  h->complaints = calloc(n, sizeof *h->complaints);
  h->sketches.roots = calloc(n, sizeof *h->sketches.roots);
  if (!h->secrets || !h->keys || !h->points_b || !h->share_good || !h->complaints || !h->sketches.roots)
    return CNS_ERR_MEMORY;
  sodium_memzero(h->secrets, sizeof *h->secrets + n * sizeof h->secrets->with[0]);
  return 0;
}

int cns_hospital_begin(const struct cns_hospital_config *config, const uint8_t *announcement, size_t len,
                       struct cns_hospital **ret_hospital, struct cns_problem *problem) {
  struct cns_descriptor descriptor;
  int r =
      cns_announcement_read(announcement, len, &config->roster->coordinator.identity, &descriptor, problem);
  if (r < 0) return r;
  struct cns_hospital *h = NULL;
  r = cns_descriptor_check(&descriptor, &config->expectation, problem);
  if (r < 0) goto out;
  h = calloc(1, sizeof *h);
  r = h ? cns_round_init(&h->round, &descriptor) : CNS_ERR_MEMORY;
  if (r < 0) goto out;
  h->config = *config;
  h->floor = config->expectation.floor;
  h->index = config->expectation.index;
  int own = cns_descriptor_position(&descriptor, h->index);
  h->own = (uint16_t)own;
  r = own < 0 ? CNS_ERR_ARGUMENT : allocate(h); /* index 0: a check without a hospital */
out:
  cns_descriptor_deinit(&descriptor);
  if (r < 0) {
    cns_hospital_free(h);
    return r;
  }
  *ret_hospital = h;
  return 0;
}

static void free_sketches(struct cns_hospital *h) {
  struct cns_hospital_sketches *s = &h->sketches;
  sodium_free(s->seeds);
  if (s->masks) cns_wipe(s->masks, h->term_count * h->round.descriptor.sketch * sizeof *s->masks);
  free(s->masks);
  free(s->partners);
  free(s->roots);
  free(s->forfeits);
  cns_wipe(s->own, sizeof s->own);
}

struct cns_hospital *cns_hospital_free(struct cns_hospital *h) {
  if (!h) return NULL;
  sodium_free(h->secrets); /* wipes */
  sodium_free(h->terms);
  free(h->keys);
  free(h->points_b);
  free(h->share_good);
  free(h->complaints);
  free_sketches(h);
  cns_agreement_deinit(&h->agreement);
  for (size_t p = 0; p < CNS_PHASE_COUNT; p++) {
    if (h->answers[p].bytes) cns_wipe(h->answers[p].bytes, h->answers[p].len);
    free(h->answers[p].bytes);
  }
  cns_round_deinit(&h->round);
  free(h);
  return NULL;
}

const struct cns_descriptor *cns_hospital_descriptor(const struct cns_hospital *h) {
  return &h->round.descriptor;
}

const struct cns_digest *cns_hospital_round(const struct cns_hospital *h) {
  return &h->round.digest;
}

enum cns_phase cns_hospital_answered(const struct cns_hospital *h) {
  return h->answered;
}

const struct cns_identity_public *cns_hospital_identity_of(const struct cns_hospital *h, size_t position) {
  const struct cns_roster_hospital *hospital =
      cns_roster_find(h->config.roster, h->round.descriptor.members[position].index);
  return hospital ? &hospital->identity : NULL; /* members were checked against the roster */
}

static int give(const struct cns_hospital *h, enum cns_phase phase, const uint8_t **ret_answer,
                size_t *ret_len) {
  *ret_answer = h->answers[phase].bytes;
  *ret_len = h->answers[phase].len;
  return 0;
}

int cns_hospital_keys(struct cns_hospital *h, const uint8_t **ret_answer, size_t *ret_len,
                      struct cns_problem *problem) {
  if (!h->answers[CNS_PHASE_KEYS].bytes) {
    int r = cns_hospital_answer_keys(h, problem);
    if (r < 0) return r;
  }
  return give(h, CNS_PHASE_KEYS, ret_answer, ret_len);
}

static int read_closings(struct cns_hospital *h, struct cns_reader *reader, struct cns_problem *problem) {
  uint16_t closings = cns_read_u16(reader);
  for (uint16_t k = 0; k < closings && !reader->error; k++) {
    size_t len = 0;
    const uint8_t *closing = cns_read_blob(reader, CNS_REQUEST_BYTES_MAX, &len);
    if (!closing) break;
    int r = cns_hospital_apply_closing(h, closing, len, problem);
    if (r < 0) return r;
  }
  if (reader->error)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "the coordinator's request is truncated");
  return 0;
}

/* Phases whose requests have nothing behind the lists. */
static bool ends_with_lists(enum cns_phase phase) {
  return phase != CNS_PHASE_AUDIT && phase != CNS_PHASE_DISPUTE && phase != CNS_PHASE_AGREE &&
         phase != CNS_PHASE_FORFEIT;
}

/* What is asked again gets the same; these two may be asked something else. */
static bool looks_again(enum cns_phase phase) {
  return phase == CNS_PHASE_AGREE || phase == CNS_PHASE_FORFEIT;
}

static int answer(struct cns_hospital *h, enum cns_phase phase, const uint8_t *tail, size_t tail_len,
                  struct cns_problem *problem) {
  if (ends_with_lists(phase) && tail_len > 0)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "the coordinator's request is malformed at its end");
  switch (phase) {
  case CNS_PHASE_SHARES:
    return cns_hospital_answer_shares(h, problem);
  case CNS_PHASE_READY:
    return cns_hospital_answer_ready(h, problem);
  case CNS_PHASE_UPLOAD: {
    int r = h->terms ? 0 : cns_hospital_make_masks(h);
    return r < 0 ? r : CNS_HOSPITAL_UPLOAD;
  }
  case CNS_PHASE_AUDIT:
    return cns_hospital_open_audit(h, tail, tail_len, problem);
  case CNS_PHASE_DISPUTE:
    return cns_hospital_answer_dispute(h, tail, tail_len, problem);
  case CNS_PHASE_AGREE:
    return cns_hospital_answer_agree(h, tail, tail_len, problem);
  case CNS_PHASE_FORFEIT:
    return cns_hospital_answer_forfeit(h, tail, tail_len, problem);
  case CNS_PHASE_UNMASK:
    return cns_hospital_answer_unmask(h, problem);
  default:
    return cns_problem_set(problem, CNS_ERR_FORMAT, "the coordinator asks for phase %s, which has no answer",
                           cns_phase_name(phase));
  }
}

int cns_hospital_handle(struct cns_hospital *h, const uint8_t *request, size_t len,
                        const uint8_t **ret_answer, size_t *ret_len, struct cns_problem *problem) {
  struct cns_reader reader;
  struct cns_digest round;
  cns_reader_init(&reader, request, len);
  uint8_t version = cns_read_u8(&reader);
  cns_read_bytes(&reader, round.bytes, sizeof round.bytes);
  enum cns_phase phase = (enum cns_phase)cns_read_u8(&reader);
  if (reader.error || version != CNS_REQUEST_VERSION || phase >= CNS_PHASE_COUNT)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "the coordinator's request is malformed");
  if (!cns_digest_equal(&round, &h->round.digest))
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "the request belongs to another round than the one joined");
  if (phase < CNS_PHASE_SHARES || !cns_round_has_answers(&h->round, phase) ||
      !h->answers[CNS_PHASE_KEYS].bytes)
    return cns_problem_set(problem, CNS_ERR_REFUSED, "the request is out of order");
  int r = read_closings(h, &reader, problem);
  if (r < 0) return r;
  size_t tail_len = cns_reader_left(&reader);
  const uint8_t *tail = cns_read_view(&reader, tail_len);
  if (h->round.closed != cns_round_previous(&h->round, phase))
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "phase %s was asked for when the last closed phase is %s", cns_phase_name(phase),
                           cns_phase_name(h->round.closed));
  if (!h->answers[phase].bytes || looks_again(phase)) {
    r = answer(h, phase, tail, tail_len, problem);
    if (r != 0) return r;
  }
  return give(h, phase, ret_answer, ret_len);
}

int cns_hospital_masks(const struct cns_hospital *h, const struct cns_mask_term **ret_terms,
                       size_t *ret_count) {
  if (!h->terms) return CNS_ERR_STATE;
  *ret_terms = h->terms;
  *ret_count = h->term_count;
  return 0;
}

int cns_hospital_uploaded(struct cns_hospital *h, const struct cns_digest *root, const uint8_t **ret_answer,
                          size_t *ret_len, struct cns_problem *problem) {
  if (!h->terms) return CNS_ERR_STATE;
  if (h->has_upload && !cns_digest_equal(&h->upload_root, root))
    return cns_problem_set(problem, CNS_ERR_STATE, "a second, different upload in one round");
  h->has_upload = true;
  h->upload_root = *root;
  if (!h->answers[CNS_PHASE_UPLOAD].bytes) {
    int r = cns_hospital_answer_upload(h, problem);
    if (r < 0) return r;
  }
  return give(h, CNS_PHASE_UPLOAD, ret_answer, ret_len);
}

int cns_hospital_audited(struct cns_hospital *h, const uint32_t *masks, const uint32_t *of_y,
                         const uint32_t *of_x, const uint8_t **ret_answer, size_t *ret_len,
                         struct cns_problem *problem) {
  if (!h->sketches.opened) return CNS_ERR_STATE;
  if (!h->answers[CNS_PHASE_AUDIT].bytes) {
    int r = cns_hospital_answer_audit(h, masks, of_y, of_x, problem);
    if (r < 0) return r;
  }
  return give(h, CNS_PHASE_AUDIT, ret_answer, ret_len);
}

uint8_t cns_hospital_slot(const struct cns_hospital *h, enum cns_phase phase) {
  unsigned again = phase == CNS_PHASE_FORFEIT && h->sketches.forfeits ? h->sketches.forfeits->rounds - 1u : 0;
  _Static_assert(CNS_PHASE_FORFEIT + 1 == CNS_PHASE_COUNT && CNS_PHASE_COUNT + CNS_FORFEIT_ROUNDS_MAX < 256,
                 "forfeits are numbered behind all phases");
  return (uint8_t)((unsigned)phase + again);
}

int cns_hospital_abandon(struct cns_hospital *h, struct cns_signature *ret_signature) {
  if (h->answers[CNS_PHASE_UNMASK].bytes || h->answers[CNS_PHASE_FORFEIT].bytes) return CNS_ERR_STATE;
  h->abandoned = true; /* before the signature exists */
  return cns_abandon_sign(h->config.identity, &h->round.digest, h->index, ret_signature);
}
