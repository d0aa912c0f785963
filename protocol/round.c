/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/round.h"

#include <stdlib.h>
#include <string.h>

/* The transition table of a round without an audit, and with one. */
static const enum cns_phase next_plain[CNS_PHASE_COUNT] = {
    [CNS_PHASE_NONE] = CNS_PHASE_KEYS,     [CNS_PHASE_KEYS] = CNS_PHASE_SHARES,
    [CNS_PHASE_SHARES] = CNS_PHASE_READY,  [CNS_PHASE_READY] = CNS_PHASE_UPLOAD,
    [CNS_PHASE_UPLOAD] = CNS_PHASE_AGREE,  [CNS_PHASE_AUDIT] = CNS_PHASE_DISPUTE,
    [CNS_PHASE_DISPUTE] = CNS_PHASE_AGREE, [CNS_PHASE_AGREE] = CNS_PHASE_UNMASK,
    [CNS_PHASE_UNMASK] = CNS_PHASE_RESULT, [CNS_PHASE_FORFEIT] = CNS_PHASE_RESULT,
    [CNS_PHASE_RESULT] = CNS_PHASE_RESULT, [CNS_PHASE_ABANDON] = CNS_PHASE_ABANDON,
};

static bool audited(const struct cns_round *round) {
  return round->descriptor.audit_level != CNS_AUDIT_NONE;
}

bool cns_round_has_answers(const struct cns_round *round, enum cns_phase phase) {
  if (phase == CNS_PHASE_AUDIT || phase == CNS_PHASE_DISPUTE || phase == CNS_PHASE_FORFEIT)
    return audited(round);
  return phase >= CNS_PHASE_KEYS && phase <= CNS_PHASE_UNMASK;
}

bool cns_phase_has_root(enum cns_phase phase) {
  return phase == CNS_PHASE_SHARES || phase == CNS_PHASE_READY || phase == CNS_PHASE_AUDIT ||
         phase == CNS_PHASE_DISPUTE;
}

enum cns_phase cns_round_next(const struct cns_round *round, enum cns_phase phase) {
  if ((unsigned)phase >= CNS_PHASE_COUNT) return CNS_PHASE_NONE;
  if (phase == CNS_PHASE_UPLOAD && audited(round)) return CNS_PHASE_AUDIT;
  return next_plain[phase];
}

enum cns_phase cns_round_previous(const struct cns_round *round, enum cns_phase phase) {
  if (phase == CNS_PHASE_FORFEIT && audited(round)) return CNS_PHASE_AGREE;
  if (phase == CNS_PHASE_ABANDON) return CNS_PHASE_NONE;
  for (enum cns_phase p = CNS_PHASE_NONE; p < CNS_PHASE_COUNT; p = (enum cns_phase)(p + 1)) {
    bool on_the_way = p == CNS_PHASE_NONE || cns_round_has_answers(round, p);
    if (on_the_way && cns_round_next(round, p) == phase) return p;
  }
  return CNS_PHASE_NONE;
}

int cns_round_init(struct cns_round *round, const struct cns_descriptor *descriptor) {
  struct cns_round fresh = {0};
  int r = cns_descriptor_digest(descriptor, &fresh.digest);
  if (r == 0) r = cns_descriptor_copy(descriptor, &fresh.descriptor);
  if (r < 0) return r;
  cns_transcript_start(&fresh.digest, &fresh.transcript[CNS_PHASE_NONE]);
  *round = fresh;
  return 0;
}

void cns_round_deinit(struct cns_round *round) {
  for (size_t p = 0; p < CNS_PHASE_COUNT; p++) {
    free(round->entries[p]);
    round->entries[p] = NULL;
  }
  free(round->opened);
  round->opened = NULL;
  round->opened_count = 0;
  cns_descriptor_deinit(&round->descriptor);
}

bool cns_round_present(const struct cns_round *round, enum cns_phase phase, size_t k) {
  return round->entries[phase] && round->entries[phase][k].standing == CNS_PRESENT;
}

bool cns_round_asked(const struct cns_round *round, enum cns_phase phase, size_t k) {
  switch (phase) {
  case CNS_PHASE_KEYS:
    return true;
  case CNS_PHASE_SHARES:
    return cns_round_present(round, CNS_PHASE_KEYS, k);
  case CNS_PHASE_READY:
    return cns_round_present(round, CNS_PHASE_SHARES, k);
  case CNS_PHASE_AUDIT: /* of U3 alone: for others there is nothing to audit */
    return audited(round) && cns_round_present(round, CNS_PHASE_UPLOAD, k);
  case CNS_PHASE_DISPUTE: /* at most; the coordinator asks those that contradict each other */
    return audited(round) && cns_round_present(round, CNS_PHASE_AUDIT, k);
  case CNS_PHASE_FORFEIT: /* and not accused */
    return audited(round) && cns_round_present(round, CNS_PHASE_READY, k);
  case CNS_PHASE_UPLOAD:
  case CNS_PHASE_AGREE:
  case CNS_PHASE_UNMASK:
    return cns_round_present(round, CNS_PHASE_READY, k); /* U2; later phases stay open */
  default:
    return false;
  }
}

size_t cns_round_count(const struct cns_round *round, enum cns_phase phase) {
  size_t count = 0;
  for (size_t k = 0; k < round->descriptor.member_count; k++)
    count += cns_round_present(round, phase, k);
  return count;
}

size_t cns_round_positions(const struct cns_round *round, enum cns_phase phase, uint16_t *ret_positions) {
  size_t count = 0;
  for (size_t k = 0; k < round->descriptor.member_count; k++)
    if (cns_round_present(round, phase, k)) ret_positions[count++] = (uint16_t)k;
  return count;
}

void cns_round_close(struct cns_round *round, enum cns_phase phase, struct cns_entry *entries) {
  enum cns_phase previous = cns_round_previous(round, phase);
  if (phase == CNS_PHASE_FORFEIT) /* may be repeated */
    previous = round->closed == CNS_PHASE_FORFEIT ? CNS_PHASE_FORFEIT : CNS_PHASE_UNMASK;
  cns_transcript_next(&round->transcript[previous], phase, &round->descriptor, entries,
                      &round->transcript[phase]);
  free(round->entries[phase]);
  round->entries[phase] = entries;
  round->closed = phase;
}

size_t cns_round_minimum(const struct cns_round *round) {
  size_t t = round->descriptor.threshold, u = round->descriptor.minimum_included;
  return t > u ? t : u;
}

size_t cns_round_releases(const struct cns_round *round, const struct cns_agreement *agreement,
                          struct cns_released *ret_expected, uint16_t *ret_positions) {
  size_t count = 0;
  for (size_t k = 0; k < round->descriptor.member_count; k++) {
    if (!cns_round_present(round, CNS_PHASE_READY, k)) continue;
    struct cns_released expected = {.dealer = round->descriptor.members[k].index};
    expected.kind = agreement->outcomes[k] == CNS_INCLUDED ? CNS_SHARE_B : CNS_SHARE_S;
    ret_expected[count] = expected;
    ret_positions[count++] = (uint16_t)k;
  }
  return count;
}

static const char announcement_context[] = "consilium/1 announcement";

int cns_announcement_write(struct cns_writer *writer, const struct cns_descriptor *descriptor,
                           const struct cns_identity *coordinator) {
  struct cns_digest digest;
  struct cns_signature signature;
  struct cns_writer inner;
  cns_writer_init(&inner, CNS_DESCRIPTOR_BYTES_MAX);
  cns_descriptor_write(&inner, descriptor);
  int r = cns_writer_finish(&inner);
  if (r == 0) r = cns_descriptor_digest(descriptor, &digest);
  if (r == 0) r = cns_sign(coordinator, announcement_context, &digest, &signature);
  if (r == 0) {
    cns_write_blob(writer, inner.data, inner.len);
    cns_write_bytes(writer, signature.bytes, CNS_SIGNATURE_BYTES);
    r = cns_writer_finish(writer);
  }
  cns_writer_deinit(&inner);
  return r;
}

int cns_announcement_read(const uint8_t *data, size_t len, const struct cns_identity_public *coordinator,
                          struct cns_descriptor *ret_descriptor, struct cns_problem *problem) {
  struct cns_reader reader;
  struct cns_digest digest;
  struct cns_signature signature;
  size_t body_len = 0;
  cns_reader_init(&reader, data, len);
  const uint8_t *body = cns_read_blob(&reader, CNS_DESCRIPTOR_BYTES_MAX, &body_len);
  cns_read_bytes(&reader, signature.bytes, CNS_SIGNATURE_BYTES);
  int r = cns_reader_finish(&reader);
  if (r < 0) return cns_problem_set(problem, CNS_ERR_FORMAT, "the announcement of a round is malformed");
  cns_hash_once("consilium/1 descriptor", body, body_len, &digest);
  if (cns_verify(coordinator, announcement_context, &digest, &signature) < 0)
    return cns_problem_set(problem, CNS_ERR_SIGNATURE,
                           "the announcement of a round isn't signed by the roster's coordinator");
  r = cns_descriptor_read(body, body_len, ret_descriptor);
  if (r < 0) return cns_problem_set(problem, r, "the descriptor of the announced round is malformed");
  return 0;
}

static const char abandon_context[] = "consilium/1 abandon";

static void abandon_digest(const struct cns_digest *round, uint16_t index, struct cns_digest *ret_digest) {
  struct cns_hash hash;
  cns_hash_init(&hash, abandon_context);
  cns_hash_digest(&hash, round);
  cns_hash_u16(&hash, index);
  cns_hash_final(&hash, ret_digest);
}

int cns_abandon_sign(const struct cns_identity *hospital, const struct cns_digest *round, uint16_t index,
                     struct cns_signature *ret_signature) {
  struct cns_digest digest;
  abandon_digest(round, index, &digest);
  return cns_sign(hospital, abandon_context, &digest, ret_signature);
}

int cns_abandon_verify(const struct cns_identity_public *hospital, const struct cns_digest *round,
                       uint16_t index, const struct cns_signature *signature) {
  struct cns_digest digest;
  abandon_digest(round, index, &digest);
  return cns_verify(hospital, abandon_context, &digest, signature);
}
