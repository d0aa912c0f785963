/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/agree.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/audit.h"

#define REFUSE(...) return cns_problem_set(problem, CNS_ERR_REFUSED, __VA_ARGS__)

static const char *const outcome_texts[CNS_OUTCOME_COUNT] = {
    "included",
    "missing in phase keys",
    "missing in phase shares",
    "missing in phase ready",
    "missing in phase upload",
    "missing in phase audit",
    "left out by the coordinator as disqualified",
    "left out because of a flag",
    "in quarantine",
    "missing in phase dispute",
    "convicted of a false sketch",
    "forfeited its place by a false sketch",
};

const char *cns_outcome_text(enum cns_outcome outcome) {
  return (unsigned)outcome < CNS_OUTCOME_COUNT ? outcome_texts[outcome] : "unknown";
}

bool cns_outcome_has_sketch(uint8_t outcome) {
  return outcome == CNS_INCLUDED || outcome == CNS_OUT_FLAGGED || outcome == CNS_OUT_QUARANTINED;
}

void cns_agreement_deinit(struct cns_agreement *agreement) {
  free(agreement->outcomes);
  free(agreement->sketches);
  *agreement = (struct cns_agreement){0};
}

void cns_agreement_write(struct cns_writer *writer, const struct cns_agreement *agreement) {
  cns_write_bytes(writer, agreement->nonce, sizeof agreement->nonce);
  cns_write_u16(writer, agreement->member_count);
  cns_write_bytes(writer, agreement->outcomes, agreement->member_count);
  cns_write_u16(writer, agreement->sketch_count);
  for (size_t k = 0; k < agreement->sketch_count; k++)
    cns_write_bytes(writer, agreement->sketches[k].bytes, CNS_DIGEST_BYTES);
}

static void *copy_of(const void *bytes, size_t len) {
  void *copy = malloc(len ? len : 1);
  if (copy && len) memcpy(copy, bytes, len);
  return copy;
}

int cns_agreement_read(const uint8_t *data, size_t len, struct cns_agreement *ret_agreement) {
  struct cns_agreement agreement = {0};
  struct cns_reader reader;
  size_t sketches = 0;
  cns_reader_init(&reader, data, len);
  cns_read_bytes(&reader, agreement.nonce, sizeof agreement.nonce);
  agreement.member_count = cns_read_u16(&reader);
  const uint8_t *outcomes = cns_read_view(&reader, agreement.member_count);
  agreement.sketch_count = cns_read_u16(&reader);
  const uint8_t *digests = cns_read_view(&reader, (size_t)agreement.sketch_count * CNS_DIGEST_BYTES);
  int r = cns_reader_finish(&reader);
  if (r < 0) return r;
  if (agreement.member_count == 0) return CNS_ERR_FORMAT;
  for (size_t k = 0; k < agreement.member_count; k++) {
    if (outcomes[k] >= CNS_OUTCOME_COUNT) return CNS_ERR_FORMAT;
    sketches += cns_outcome_has_sketch(outcomes[k]);
  }
  if (agreement.sketch_count != 0 && agreement.sketch_count != sketches) return CNS_ERR_FORMAT;
  agreement.outcomes = copy_of(outcomes, agreement.member_count);
  agreement.sketches = copy_of(digests, (size_t)agreement.sketch_count * CNS_DIGEST_BYTES);
  if (!agreement.outcomes || !agreement.sketches) {
    cns_agreement_deinit(&agreement);
    return CNS_ERR_MEMORY;
  }
  *ret_agreement = agreement;
  return 0;
}

int cns_agreement_copy(const struct cns_agreement *from, struct cns_agreement *ret_copy) {
  struct cns_agreement copy = *from;
  copy.outcomes = copy_of(from->outcomes, from->member_count);
  copy.sketches = copy_of(from->sketches, from->sketch_count * sizeof *from->sketches);
  if (!copy.outcomes || !copy.sketches) {
    cns_agreement_deinit(&copy);
    return CNS_ERR_MEMORY;
  }
  *ret_copy = copy;
  return 0;
}

size_t cns_agreement_included(const struct cns_agreement *agreement) {
  size_t included = 0;
  for (size_t k = 0; k < agreement->member_count; k++)
    included += agreement->outcomes[k] == CNS_INCLUDED;
  return included;
}

const struct cns_digest *cns_agreement_sketch(const struct cns_agreement *agreement, size_t k) {
  size_t place = 0;
  if (agreement->sketch_count == 0 || !cns_outcome_has_sketch(agreement->outcomes[k])) return NULL;
  for (size_t j = 0; j < k; j++)
    place += cns_outcome_has_sketch(agreement->outcomes[j]);
  return &agreement->sketches[place];
}

static enum cns_outcome outcome_of(const struct cns_round *round, size_t k) {
  struct cns_entry *const *entries = round->entries;
  if (entries[CNS_PHASE_KEYS][k].standing != CNS_PRESENT) return CNS_MISSING_KEYS;
  if (entries[CNS_PHASE_SHARES][k].standing != CNS_PRESENT) return CNS_MISSING_SHARES;
  if (entries[CNS_PHASE_READY][k].standing == CNS_DISQUALIFIED) return CNS_OUT_DISQUALIFIED;
  if (entries[CNS_PHASE_READY][k].standing != CNS_PRESENT) return CNS_MISSING_READY;
  if (entries[CNS_PHASE_UPLOAD][k].standing != CNS_PRESENT) return CNS_MISSING_UPLOAD;
  if (round->descriptor.audit_level != CNS_AUDIT_NONE && entries[CNS_PHASE_AUDIT][k].standing != CNS_PRESENT)
    return CNS_MISSING_AUDIT;
  return CNS_INCLUDED;
}

int cns_agreement_derive(const struct cns_round *round, struct cns_agreement *ret_agreement) {
  struct cns_agreement agreement = {.member_count = round->descriptor.member_count};
  agreement.outcomes = calloc(agreement.member_count ? agreement.member_count : 1, 1);
  if (!agreement.outcomes) return CNS_ERR_MEMORY;
  for (size_t k = 0; k < agreement.member_count; k++)
    agreement.outcomes[k] = (uint8_t)outcome_of(round, k);
  *ret_agreement = agreement;
  return 0;
}

static bool has_opened_pair(const struct cns_round *round, size_t k) {
  for (size_t o = 0; o < round->opened_count; o++)
    if (round->opened[o].opener == k || round->opened[o].partner == k) return true;
  return false;
}

/* Of those that answered the audit, what may become of k? */
static bool may_be(const struct cns_round *round, size_t k, uint8_t outcome) {
  if (round->descriptor.audit_level == CNS_AUDIT_NONE) return outcome == CNS_INCLUDED;
  switch (outcome) {
  case CNS_INCLUDED:
  case CNS_OUT_FLAGGED:
  case CNS_OUT_QUARANTINED:
    return true;
  case CNS_MISSING_DISPUTE:
    return !cns_round_present(round, CNS_PHASE_DISPUTE, k);
  case CNS_OUT_CONVICTED:
    return has_opened_pair(round, k);
  default:
    return false;
  }
}

static int check_outcomes(const struct cns_agreement *agreement, const struct cns_round *round,
                          struct cns_problem *problem) {
  const struct cns_descriptor *d = &round->descriptor;
  for (size_t k = 0; k < d->member_count; k++) {
    enum cns_outcome expected = outcome_of(round, k);
    uint8_t outcome = agreement->outcomes[k];
    if (expected == CNS_INCLUDED ? !may_be(round, k, outcome) : outcome != expected)
      REFUSE("the agreement calls hospital %u \"%s\", but by the signed lists it is \"%s\"",
             d->members[k].index, cns_outcome_text(outcome), cns_outcome_text(expected));
  }
  for (size_t o = 0; o < round->opened_count; o++)
    if (agreement->outcomes[round->opened[o].opener] != CNS_OUT_CONVICTED &&
        agreement->outcomes[round->opened[o].partner] != CNS_OUT_CONVICTED)
      REFUSE("hospitals %u and %u contradict each other, and the agreement convicts neither",
             d->members[round->opened[o].opener].index, d->members[round->opened[o].partner].index);
  return 0;
}

static int check_audit(const struct cns_agreement *agreement, const struct cns_round *round,
                       const struct cns_policy *policy, struct cns_problem *problem) {
  size_t excluded = 0, sketches = 0;
  if (round->descriptor.audit_level == CNS_AUDIT_NONE) {
    if (!sodium_is_zero(agreement->nonce, sizeof agreement->nonce) || agreement->sketch_count != 0)
      REFUSE("the agreement opens an audit nonce or has sketches, but there is no audit");
    return 0;
  }
  if (!cns_nonce_opens(&round->descriptor, agreement->nonce))
    REFUSE("the agreement opens another audit nonce than the descriptor commits to");
  for (size_t k = 0; k < agreement->member_count; k++) {
    uint8_t outcome = agreement->outcomes[k];
    excluded += outcome == CNS_OUT_FLAGGED || outcome == CNS_OUT_QUARANTINED;
    sketches += cns_outcome_has_sketch(outcome);
  }
  if (excluded > policy->maximum_exclusions)
    REFUSE("the agreement leaves out %zu hospitals by the coordinator's judgement; the policy allows %u",
           excluded, policy->maximum_exclusions);
  if (agreement->sketch_count != sketches)
    REFUSE("the agreement has %u digests of sketches, and %zu hospitals have one", agreement->sketch_count,
           sketches);
  return 0;
}

size_t cns_agreement_minimum(const struct cns_descriptor *descriptor, const struct cns_policy *policy,
                             const struct cns_floor *floor) {
  size_t needed = policy->minimum_included;
  if (needed < descriptor->minimum_included) needed = descriptor->minimum_included;
  if (needed < (size_t)descriptor->colluders + 2) needed = (size_t)descriptor->colluders + 2;
  if (needed < floor->included) needed = floor->included;
  return needed;
}

int cns_agreement_check(const struct cns_agreement *agreement, const struct cns_round *round,
                        const struct cns_policy *policy, const struct cns_floor *floor,
                        struct cns_problem *problem) {
  const struct cns_descriptor *d = &round->descriptor;
  if (agreement->member_count != d->member_count)
    REFUSE("the agreement speaks of %u hospitals, the cohort has %u", agreement->member_count,
           d->member_count);
  int r = check_audit(agreement, round, policy, problem);
  if (r == 0) r = check_outcomes(agreement, round, problem);
  if (r < 0) return r;
  size_t uploads = cns_round_count(round, CNS_PHASE_UPLOAD); /* U3 */
  size_t included = cns_agreement_included(agreement), needed = cns_agreement_minimum(d, policy, floor);
  if (uploads < d->threshold)
    REFUSE("only %zu updates were uploaded; %u are required", uploads, d->threshold);
  if (included < needed) REFUSE("only %zu updates would be in the sum; %zu are required", included, needed);
  return 0;
}
