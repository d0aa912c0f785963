/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a federation's folders: the work behind `consilium init`, which `demo`
 * uses too.
 *
 *   DIR/authority/             identity.key, roster.json, policy.json, study.json
 *   DIR/officer/               identity.key
 *   DIR/coordinator/           kit (store/kit.h)
 *   DIR/hospitals/<name>/      kit each
 */
#pragma once

#include "cli/study.h"
#include "protocol/policy.h"
#include "protocol/roster.h"

#define CNS_FEDERATION_ADDRESS "tls+tcp://127.0.0.1:7443"
#define CNS_FEDERATION_HOSPITALS_MIN 4 /* a cohort has at least as many */
#define CNS_CERTIFICATE_SECONDS (2 * 365 * INT64_C(86400))
#define CNS_ROSTER_SECONDS (2 * 365 * INT64_C(86400))
#define CNS_POLICY_SECONDS (365 * INT64_C(86400))
/* Validity begins a little in the past, for clocks that are behind. */
#define CNS_CLOCK_SLACK_SECONDS INT64_C(3600)

/* The audit that a new policy asks for. */
struct cns_audit_choice {
  uint32_t sketch; /* 0: none */
  enum cns_on_flag on_flag;
  double budget; /* 0: the default */
};

/* The privacy budget that a new policy has; the study says how much noise. */
struct cns_privacy_choice {
  double epsilon; /* 0: no noise */
  double delta;
  enum cns_privacy_unit unit;
  enum cns_noise_placement placement;
  uint16_t minimum_included; /* 0: the default */
};

struct cns_federation_options {
  const char *consortium;   /* NULL: the study's name */
  const char *study_path;   /* plain JSON, or a document signed by anybody */
  const char *const *names; /* of the hospitals */
  size_t name_count;        /* 0 only with enrol */
  const char *address;      /* that hospitals dial; NULL: CNS_FEDERATION_ADDRESS */
  const char *listen;       /* that the coordinator listens on; NULL: address */
  bool enrol;               /* hospitals come later, with `kit approve` */
  int64_t now_seconds;      /* start of validity */
  struct cns_audit_choice audit;
  struct cns_privacy_choice privacy;
};

/*
 * folder must not exist or be empty (CNS_ERR_EXISTS). Whole or not at all: what
 * was begun is removed again on failure. ret_authority: for people to compare.
 */
CNS_MUST_CHECK int cns_kit_create_federation(const char *folder, const struct cns_federation_options *options,
                                             struct cns_identity_public *ret_authority,
                                             struct cns_problem *problem);

/* What can be told from the options alone: names, addresses. With a sentence. */
CNS_MUST_CHECK int cns_federation_check_options(const struct cns_federation_options *options,
                                                struct cns_problem *problem);
/* May a new hospital have this name? CNS_ERR_FORMAT with a sentence. */
CNS_MUST_CHECK int cns_kit_check_name(const char *name, struct cns_problem *problem);
/* identity.key, tls.key and tls.crt of a new party. */
CNS_MUST_CHECK int cns_kit_create_keys(const char *folder, const char *name, int64_t now_seconds,
                                       struct cns_identity_public *ret_identity, struct cns_tls_pin *ret_pin,
                                       struct cns_problem *problem);
/* The default policy for this roster that allows this study and no more. */
void cns_kit_study_policy(const struct cns_roster *roster, const struct cns_plan *plan, int64_t now_seconds,
                          struct cns_policy *ret_policy);
/* Adds the audit. CNS_ERR_REFUSED with a sentence if no round could follow such a
 * policy with models of dim parameters. */
CNS_MUST_CHECK int cns_kit_add_audit(struct cns_policy *policy, uint64_t dim,
                                     const struct cns_audit_choice *choice, struct cns_problem *problem);
/* Adds noise and budget, with the study's noise multiplier and sampling rate as floor
 * and ceiling. CNS_ERR_REFUSED with a sentence if no round of the study could follow
 * such a policy; ret_rounds (may be NULL): how many of its rounds the budget allows. */
CNS_MUST_CHECK int cns_kit_add_privacy(struct cns_policy *policy, const struct cns_plan *plan,
                                       const struct cns_privacy_choice *choice, uint64_t *ret_rounds,
                                       struct cns_problem *problem);
/* Signs the roster as its authority; ret_document is what goes into kits. */
CNS_MUST_CHECK int cns_kit_sign_roster(const struct cns_roster *roster, const struct cns_identity *authority,
                                       struct cns_document *ret_document, struct cns_problem *problem);
