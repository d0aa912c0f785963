/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hospital's consent to a study, given by a person who has read what it is:
 * study, policy, what of the hospital's table will be used, and the public
 * weight that follows. Signed with the hospital's identity and kept in the
 * agent's state folder; the coordinator gets it when the agent connects.
 */
#pragma once

#include "protocol/consent.h"

struct cns_client_consent_options {
  const char *kit_folder;
  bool assume_yes;
  /* Asked unless assume_yes, with the whole text to be agreed to: 0 agrees, any
   * error is passed on. NULL: CNS_ERR_STATE. */
  int (*ask)(void *context, const char *text);
  void *context;
};

struct cns_client_consent_result {
  struct cns_consent consent;
  uint32_t weight; /* public, cns_policy_weight */
  char *text;      /* what was agreed to; malloc'd */
};

/* Errors: of cns_kit_load and cns_table_read; CNS_ERR_STATE if an agent runs on
 * this kit; what ask returned. */
CNS_MUST_CHECK int cns_client_consent(const struct cns_client_consent_options *options,
                                      struct cns_client_consent_result *ret_result,
                                      struct cns_problem *problem);
/* From the next start on the agent takes no part. 0 also without a consent. */
CNS_MUST_CHECK int cns_client_consent_withdraw(const char *kit_folder, struct cns_problem *problem);
