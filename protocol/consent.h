/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hospital's consent to a study: a document of kind "consent", role
 * "hospital", signed with its identity. It goes to the coordinator, so the number
 * of patients in it is not the exact one but what the policy rounds it to
 * (cns_policy_patients); the hospital's weight follows from it.
 *
 * Fields: consortium, study (name), plan (digest of the signed study document),
 * hospital (index), name, patients, given_at (UTC time).
 */
#pragma once

#include "protocol/policy.h"

#define CNS_PATIENTS_MAX 4000000u

struct cns_consent {
  char consortium[CNS_NAME_MAX + 1];
  char study[CNS_NAME_MAX + 1];
  struct cns_digest plan;
  uint16_t index;
  char name[CNS_NAME_MAX + 1];
  uint32_t patients; /* 1..CNS_PATIENTS_MAX */
  int64_t given_at;
};

/* Signed document, serialised; malloc'd. */
CNS_MUST_CHECK int cns_consent_make(const struct cns_consent *consent, const struct cns_identity *hospital,
                                    uint8_t **ret_data, size_t *ret_len);
/* Verifies under the roster's key of the hospital it names. */
CNS_MUST_CHECK int cns_consent_open(const uint8_t *data, size_t len, const char *where,
                                    const struct cns_roster *roster, struct cns_consent *ret_consent,
                                    struct cns_problem *problem);
