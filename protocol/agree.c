/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/agree.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

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
};

const char *cns_outcome_text(enum cns_outcome outcome) {
  return (unsigned)outcome < CNS_OUTCOME_COUNT ? outcome_texts[outcome] : "unknown";
}

void cns_agreement_deinit(struct cns_agreement *agreement) {
  free(agreement->outcomes);
  agreement->outcomes = NULL;
  agreement->member_count = 0;
}

void cns_agreement_write(struct cns_writer *writer, const struct cns_agreement *agreement) {
  cns_write_bytes(writer, agreement->nonce, sizeof agreement->nonce);
  cns_write_u16(writer, agreement->member_count);
  cns_write_bytes(writer, agreement->outcomes, agreement->member_count);
  cns_write_u16(writer, 0); /* digests of sketches: none without an audit */
}

int cns_agreement_read(const uint8_t *data, size_t len, struct cns_agreement *ret_agreement) {
  struct cns_agreement agreement = {0};
  struct cns_reader reader;
  cns_reader_init(&reader, data, len);
  cns_read_bytes(&reader, agreement.nonce, sizeof agreement.nonce);
  agreement.member_count = cns_read_u16(&reader);
  const uint8_t *outcomes = cns_read_view(&reader, agreement.member_count);
  uint16_t sketch_digests = cns_read_u16(&reader);
  int r = cns_reader_finish(&reader);
  if (r < 0) return r;
  if (sketch_digests != 0 || agreement.member_count == 0) return CNS_ERR_FORMAT;
  for (size_t k = 0; k < agreement.member_count; k++)
    if (outcomes[k] >= CNS_OUTCOME_COUNT) return CNS_ERR_FORMAT;
  agreement.outcomes = malloc(agreement.member_count);
  if (!agreement.outcomes) return CNS_ERR_MEMORY;
  memcpy(agreement.outcomes, outcomes, agreement.member_count);
  *ret_agreement = agreement;
  return 0;
}

size_t cns_agreement_included(const struct cns_agreement *agreement) {
  size_t included = 0;
  for (size_t k = 0; k < agreement->member_count; k++)
    included += agreement->outcomes[k] == CNS_INCLUDED;
  return included;
}

static enum cns_outcome outcome_of(struct cns_entry *const entries[CNS_PHASE_COUNT], size_t k) {
  if (entries[CNS_PHASE_KEYS][k].standing != CNS_PRESENT) return CNS_MISSING_KEYS;
  if (entries[CNS_PHASE_SHARES][k].standing != CNS_PRESENT) return CNS_MISSING_SHARES;
  if (entries[CNS_PHASE_READY][k].standing == CNS_DISQUALIFIED) return CNS_OUT_DISQUALIFIED;
  if (entries[CNS_PHASE_READY][k].standing != CNS_PRESENT) return CNS_MISSING_READY;
  if (entries[CNS_PHASE_UPLOAD][k].standing != CNS_PRESENT) return CNS_MISSING_UPLOAD;
  return CNS_INCLUDED;
}

int cns_agreement_derive(const struct cns_descriptor *descriptor,
                         struct cns_entry *const entries[CNS_PHASE_COUNT],
                         struct cns_agreement *ret_agreement) {
  struct cns_agreement agreement = {.member_count = descriptor->member_count};
  agreement.outcomes = calloc(agreement.member_count ? agreement.member_count : 1, 1);
  if (!agreement.outcomes) return CNS_ERR_MEMORY;
  for (size_t k = 0; k < agreement.member_count; k++)
    agreement.outcomes[k] = (uint8_t)outcome_of(entries, k);
  *ret_agreement = agreement;
  return 0;
}

int cns_agreement_check(const struct cns_agreement *agreement, const struct cns_descriptor *descriptor,
                        struct cns_entry *const entries[CNS_PHASE_COUNT], const struct cns_policy *policy,
                        const struct cns_floor *floor, struct cns_problem *problem) {
  size_t uploads = 0;
  if (agreement->member_count != descriptor->member_count)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "the agreement speaks of %u hospitals, the cohort has %u", agreement->member_count,
                           descriptor->member_count);
  if (!sodium_is_zero(agreement->nonce, sizeof agreement->nonce))
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "the agreement opens an audit nonce, but there is no audit");
  for (size_t k = 0; k < descriptor->member_count; k++) {
    enum cns_outcome expected = outcome_of(entries, k);
    if (agreement->outcomes[k] != expected)
      return cns_problem_set(problem, CNS_ERR_REFUSED,
                             "the agreement calls hospital %u \"%s\", but by the signed lists it is \"%s\"",
                             descriptor->members[k].index, cns_outcome_text(agreement->outcomes[k]),
                             cns_outcome_text(expected));
    uploads += expected == CNS_INCLUDED;
  }
  size_t needed = policy->minimum_included;
  if (needed < descriptor->minimum_included) needed = descriptor->minimum_included;
  if (needed < (size_t)descriptor->colluders + 2) needed = (size_t)descriptor->colluders + 2;
  if (needed < descriptor->threshold) needed = descriptor->threshold; /* |U3| >= t */
  if (needed < floor->included) needed = floor->included;
  if (uploads < needed)
    return cns_problem_set(problem, CNS_ERR_REFUSED, "only %zu updates would be in the sum; %zu are required",
                           uploads, needed);
  return 0;
}
