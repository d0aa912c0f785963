/* SPDX-License-Identifier: Apache-2.0 */
/* The hospital in phase forfeit: it judges each case itself, and only then
 * releases its share of a liar's s. docs/protocol.md, phase forfeit. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/hospital_internal.h"

#define REFUSE(...) return cns_problem_set(problem, CNS_ERR_REFUSED, __VA_ARGS__)

struct verdict_job {
  const struct cns_hospital *h;
  uint16_t index;
  uint16_t position;
  uint32_t z[CNS_SKETCH_MAX]; /* as the agreement has it, then as it really is */
  bool false_claim;
};

static int malformed(struct cns_problem *problem) {
  return cns_problem_set(problem, CNS_ERR_FORMAT, "a case of phase forfeit is malformed");
}

/* z must be the one in the agreement that t hospitals signed. */
static bool is_agreed(const struct verdict_job *job, const struct cns_claim *self) {
  const struct cns_hospital *h = job->h;
  const struct cns_digest *stated = cns_agreement_sketch(&h->agreement, job->position);
  struct cns_digest digest;
  cns_audit_sketch_digest(&h->round.transcript[CNS_PHASE_UPLOAD], job->index, job->z, self->words,
                          h->round.descriptor.sketch, &digest);
  return stated && cns_digest_equal(stated, &digest);
}

static int weigh_claim(struct verdict_job *job, const struct cns_claim *claim, struct cns_problem *problem) {
  const struct cns_hospital *h = job->h;
  const struct cns_descriptor *d = &h->round.descriptor;
  uint32_t difference[CNS_SKETCH_MAX];
  int partner = cns_descriptor_position(d, claim->partner);
  if (partner < 0) return malformed(problem);
  struct cns_claim_facts facts = {
      .round = &h->round,
      .nonce = h->agreement.nonce, /* checked with it */
      .root = h->sketches.roots[job->position],
      .point_b = h->points_b[job->position],
      .point_s = h->keys[job->position].s,
      .partner_s = h->keys[partner].s,
      .sketcher = h->config.sketcher,
      .parallel = h->config.parallel,
  };
  int r = cns_claim_check(&facts, claim, difference);
  if (r == CNS_ERR_PROOF)
    REFUSE("the evidence against hospital %u doesn't hold: nothing is released", job->index);
  if (r < 0) return r;
  /* z = A*y - q - sum of sign*p, with what was claimed: what was claimed too
   * much of a mask is missing in it. */
  int sign = claim->partner == claim->index ? 1 : cns_pair_sign(claim->index, claim->partner);
  cns_sketch_add(job->z, difference, sign, d->sketch);
  job->false_claim |= !cns_sketch_is_zero(difference, d->sketch);
  return 0;
}

static int weigh_claims(struct verdict_job *job, struct cns_reader *reader, struct cns_problem *problem) {
  uint32_t k = job->h->round.descriptor.sketch;
  uint16_t count = cns_read_u16(reader), before = 0;
  if (count == 0 || count > job->h->round.descriptor.member_count) return malformed(problem);
  for (uint16_t c = 0; c < count; c++) {
    struct cns_claim claim = {0};
    cns_claim_read(reader, job->index, k, &claim);
    bool in_order =
        c == 0 ? claim.partner == job->index : claim.partner != job->index && claim.partner > before;
    if (reader->error || !in_order) return malformed(problem);
    if (c == 0 && !is_agreed(job, &claim))
      REFUSE("the case against hospital %u is about another sketch than the agreement's", job->index);
    if (c > 0) before = claim.partner;
    int r = weigh_claim(job, &claim, problem);
    if (r < 0) return r;
  }
  return cns_reader_finish(reader) < 0 ? malformed(problem) : 0;
}

static int judge(const struct cns_hospital *h, uint16_t index, const uint8_t *bytes, size_t len,
                 struct cns_problem *problem) {
  const struct cns_descriptor *d = &h->round.descriptor;
  struct verdict_job job = {.h = h, .index = index, .position = (uint16_t)cns_descriptor_position(d, index)};
  struct cns_reader reader;
  bool within = true;
  cns_reader_init(&reader, bytes, len);
  const uint8_t *words = cns_read_view(&reader, (size_t)4 * d->sketch);
  if (!words) return malformed(problem);
  cns_audit_words_read(words, d->sketch, job.z);
  int r = weigh_claims(&job, &reader, problem);
  if (r == 0) r = cns_audit_within_bound(d, job.position, job.z, &within);
  if (r < 0) return r;
  if (!job.false_claim) REFUSE("hospital %u sent no false sketch: nothing is released", index);
  if (within)
    REFUSE("the true sketch of hospital %u is within the bound: it keeps its place, and nothing is released",
           index);
  return 0;
}

/* Whom it is about, before any evidence is looked at. */
static int check_accused(const struct cns_hospital *h, const struct cns_forfeits *forfeits,
                         struct cns_problem *problem) {
  const struct cns_forfeits *held = h->sketches.forfeits;
  size_t count = cns_forfeits_count(forfeits), included = cns_agreement_included(&h->agreement);
  size_t needed = cns_agreement_minimum(&h->round.descriptor, h->config.policy, &h->floor);
  if (held && (!cns_forfeits_continue(held, forfeits) || held->rounds >= forfeits->rounds))
    REFUSE("the forfeits that are asked for aren't those that were answered, and more");
  for (size_t a = 0; a < count; a++) {
    int position = cns_descriptor_position(&h->round.descriptor, forfeits->accused[a]);
    if (position < 0 || h->agreement.outcomes[position] != CNS_INCLUDED)
      REFUSE("hospital %u is to forfeit a place that it doesn't have", forfeits->accused[a]);
    if (position == h->own) REFUSE("this hospital is asked for shares against itself");
  }
  if (included < needed + count)
    REFUSE("with %zu forfeits only %zu updates would be in the sum; %zu are required", count,
           included > count ? included - count : 0, needed);
  return 0;
}

static int release(struct cns_hospital *h, const struct cns_forfeits *forfeits) {
  size_t first = cns_forfeits_last(forfeits), count = cns_forfeits_count(forfeits) - first;
  struct cns_released *released = sodium_malloc(count * sizeof *released);
  struct cns_forfeits *kept = malloc(sizeof *kept);
  struct cns_digest transcript;
  struct cns_writer body;
  int r = released && kept ? 0 : CNS_ERR_MEMORY;
  cns_writer_init(&body, CNS_MESSAGE_BODY_MAX);
  for (size_t a = 0; a < count && r == 0; a++) {
    int position = cns_descriptor_position(&h->round.descriptor, forfeits->accused[first + a]);
    if (!h->share_good[position]) r = CNS_ERR_STATE;
    released[a] = (struct cns_released){.dealer = forfeits->accused[first + a],
                                        .kind = CNS_SHARE_S,
                                        .share = h->secrets->with[position].share.s};
  }
  if (r == 0) cns_released_write(&body, released, count);
  if (r == 0) r = cns_writer_finish(&body);
  if (r == 0) {
    struct cns_hospital_answer *held = &h->answers[CNS_PHASE_FORFEIT]; /* of the round before */
    if (held->bytes) cns_wipe(held->bytes, held->len);
    free(held->bytes);
    *held = (struct cns_hospital_answer){0};
    cns_forfeits_transcript(&h->round.transcript[CNS_PHASE_AGREE], forfeits, &transcript);
    r = cns_hospital_seal(h, CNS_PHASE_FORFEIT, &transcript, body.data, body.len, NULL);
  }
  if (r == 0) {
    *kept = *forfeits;
    free(h->sketches.forfeits);
    h->sketches.forfeits = kept;
    kept = NULL;
  }
  free(kept);
  cns_writer_deinit(&body);
  sodium_free(released);
  return r;
}

static int judge_all(const struct cns_hospital *h, const struct cns_forfeits *forfeits,
                     struct cns_reader *reader, struct cns_problem *problem) {
  for (size_t a = cns_forfeits_last(forfeits); a < cns_forfeits_count(forfeits); a++) {
    size_t len = 0;
    const uint8_t *bytes = cns_read_blob(reader, CNS_FORFEIT_CASE_BYTES_MAX, &len);
    if (!bytes) return malformed(problem);
    int r = judge(h, forfeits->accused[a], bytes, len, problem);
    if (r < 0) return r;
  }
  return cns_reader_finish(reader) < 0 ? malformed(problem) : 0;
}

int cns_hospital_answer_forfeit(struct cns_hospital *h, const uint8_t *tail, size_t len,
                                struct cns_problem *problem) {
  const struct cns_forfeits *held = h->sketches.forfeits;
  struct cns_forfeits forfeits = {0};
  struct cns_reader reader;
  if (h->abandoned) REFUSE("this round was abandoned; its shares are never released");
  cns_reader_init(&reader, tail, len);
  cns_forfeits_read(&reader, &forfeits);
  if (reader.error)
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "the forfeits in the coordinator's request are malformed");
  if (held && held->rounds == forfeits.rounds && cns_forfeits_continue(held, &forfeits)) return 0;
  int r = check_accused(h, &forfeits, problem);
  if (r == 0) r = judge_all(h, &forfeits, &reader, problem);
  if (r < 0) return r;
  r = release(h, &forfeits);
  if (r < 0) return cns_problem_set(problem, r, "the shares of phase forfeit could not be released");
  return 0;
}
