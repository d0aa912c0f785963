/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the judging of evidence, shared by its files only. */
#pragma once

#include "protocol/verdict.h"

struct cns_court {
  const struct cns_roster *roster;
  struct cns_round round; /* with the lists that came with the evidence */
  struct cns_reader reader;
  uint16_t accused;
  bool other_roster; /* than the one that the round was made under */
};

/* evidence.c: the next message blob; it must be of this round, of this phase
 * (none: any) and of this hospital, and signed by it. */
CNS_MUST_CHECK int cns_court_message(struct cns_court *court, enum cns_phase phase, uint16_t index,
                                     struct cns_message *ret_message);
/* Is it the message that the list of its phase has? */
bool cns_court_listed(const struct cns_court *court, const struct cns_message *message);
/* Keys from the next message, which must be the listed one if that is said. */
CNS_MUST_CHECK int cns_court_keys(struct cns_court *court, uint16_t index, bool must_be_listed,
                                  struct cns_keys *ret_keys);

/* evidence_sketch.c */
CNS_MUST_CHECK int cns_court_try_sketch(struct cns_court *court, bool self);
