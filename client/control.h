/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hospital's control variate of SCAFFOLD (model/scaffold.h), in its state folder:
 * control.current, and control.ROUND-ATTEMPT.proposed, what it becomes if the update of that
 * round is in the round's sum. As private as an update, and as the table: the files are
 * 0600 and never leave. A proposal is durable before the update leaves, and becomes the
 * present one when the round's manifest says that the hospital is included.
 */
#pragma once

#include "crypto/hash.h"
#include "protocol/manifest.h"

struct cns_control {
  const char *folder;      /* the state folder */
  struct cns_digest study; /* cns_study_digest */
  size_t dim;              /* floats */
};

/* c_i; zeros if there is none. CNS_CONTROL_LOST: none is there, or a damaged one, which a hospital
 * that was in a sum before should hear of. */
#define CNS_CONTROL_LOST 1
CNS_MUST_CHECK int cns_control_read(const struct cns_control *control, float *ret_own,
                                    struct cns_problem *problem);

struct cns_control_round {
  uint64_t number;
  uint32_t attempt;
  struct cns_digest digest; /* of its descriptor */
};
/* What it becomes if the update of this round is in the sum. */
CNS_MUST_CHECK int cns_control_propose(const struct cns_control *control,
                                       const struct cns_control_round *round, const float *own,
                                       struct cns_problem *problem);
/*
 * With each manifest that is accepted, once or again: the proposal of its round counts if the
 * hospital is included; all proposals up to that round are gone then, and those of later
 * ones stay. CNS_CONTROL_DROPPED: there was one of an earlier round, whose manifest never came;
 * whether it was in that sum isn't known, and it counts as not.
 */
#define CNS_CONTROL_DROPPED 1
CNS_MUST_CHECK int cns_control_settle(const struct cns_control *control, const struct cns_manifest *manifest,
                                      uint16_t index, struct cns_problem *problem);
