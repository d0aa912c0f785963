/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the judging of evidence, shared by its files only. */
#pragma once

#include "protocol/verdict.h"

struct cns_court {
  const struct cns_roster *roster;
  struct cns_round round; /* with the lists that came with the evidence */
  struct cns_reader reader;
  enum cns_blame blame;
  uint16_t accused;
  uint16_t other;       /* with whom, or about whom, it lied; 0: nobody */
  enum cns_phase phase; /* of the accused's message */
  char doubt[160];      /* why it doesn't convict */
};

/* evidence.c: notes why the evidence doesn't convict; returns CNS_ERR_PROOF. */
int cns_court_doubt(struct cns_court *court, const char *fmt, ...) CNS_PRINTF(2, 3);
/* The message isn't in the lists; the accused signed under other lists. */
int cns_court_unlisted(struct cns_court *court, const struct cns_message *message);
int cns_court_other_view(struct cns_court *court);

/* The next message blob; it must be of this round, of this phase
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
