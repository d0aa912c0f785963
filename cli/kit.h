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

#include "protocol/roster.h"

struct cns_federation_options {
  const char *consortium;   /* NULL: the study's name */
  const char *study_path;   /* plain JSON, or a document signed by anybody */
  const char *const *names; /* of the hospitals */
  size_t name_count;        /* 0 only with enrol */
  const char *address;      /* NULL: tls+tcp://127.0.0.1:7443 */
  bool enrol;               /* hospitals come later, with `kit approve` */
  int64_t now_seconds;      /* start of validity */
};

#define CNS_FEDERATION_ADDRESS "tls+tcp://127.0.0.1:7443"
#define CNS_CERTIFICATE_SECONDS (2 * 365 * INT64_C(86400))
#define CNS_ROSTER_SECONDS (2 * 365 * INT64_C(86400))
#define CNS_POLICY_SECONDS (365 * INT64_C(86400))

/*
 * folder must not exist or be empty (CNS_ERR_EXISTS). Whole or not at all: what
 * was begun is removed again on failure. ret_authority: for people to compare.
 */
CNS_MUST_CHECK int cns_kit_create_federation(const char *folder, const struct cns_federation_options *options,
                                             struct cns_identity_public *ret_authority,
                                             struct cns_problem *problem);
