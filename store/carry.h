/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a study has cost, for a hospital that has lost its privacy ledger with its machine: the
 * coordinator's statement of all rounds that it charged, signed by it. The new ledger takes each of
 * them in as a round of its own, with the cost it had, before anything else: nothing begins anew.
 * A round that the hospital missed counts too: the coordinator's ledger doesn't tell them apart, and too
 * much is the side to err on.
 *
 * Document of kind "charges", role of the signature "coordinator":
 *   {"consortium", "study", "hospital" (index), "name", "identity" (whom it is for: the hospital's key),
 *    "issued_at", "head" (of the lost ledger, the newest that the coordinator kept, hex of
 *    CNS_LEDGER_HEAD_BYTES; "" if it never saw one),
 *    "rounds": [{"round", "attempt", "descriptor", "time", "refunded" (observers, 0..3; 3: the last
 *                attempt of all, which came to nothing),
 *                "readers", "coordinator": {"noise_multiplier", "sampling_rate", "rounds", "extra_delta"}}]}
 */
#pragma once

#include "store/ledger.h"

#define CNS_CARRY_ROUNDS_MAX 20000

struct cns_carried_round {
  struct cns_ledger_round round; /* data_set: zeros */
  int64_t time;                  /* of the reservation */
  uint8_t refunded;              /* observers towards whom it doesn't count */
};

struct cns_carry {
  struct cns_digest digest; /* of the signed document */
  char consortium[CNS_NAME_MAX + 1];
  char study[CNS_NAME_MAX + 1];
  uint16_t index;
  char name[CNS_NAME_MAX + 1];
  struct cns_identity_public identity;
  int64_t issued_at;
  bool has_head;
  struct cns_ledger_head head;
  struct cns_carried_round *rounds;
  size_t count;
};

/* All rounds of the study (NULL: of all) that count towards somebody, from the coordinator's ledger, or an
 * old copy of a hospital's, into carry->rounds; of a study its last attempt too, whatever became of it: how
 * far the statement goes. CNS_ERR_LIMIT for more than CNS_CARRY_ROUNDS_MAX. */
CNS_MUST_CHECK int cns_carry_collect(struct cns_ledger *ledger, const struct cns_digest *study,
                                     struct cns_carry *carry, struct cns_problem *problem);
/* The whole file, malloc'd. CNS_ERR_LIMIT: it would be larger than CNS_JSON_BYTES_MAX. */
CNS_MUST_CHECK int cns_carry_issue(const struct cns_carry *carry, const struct cns_identity *coordinator,
                                   uint8_t **ret_data, size_t *ret_len, struct cns_problem *problem);
/* Verifies under the coordinator's key, and the head under its own. Deinit it. */
CNS_MUST_CHECK int cns_carry_open(const uint8_t *data, size_t len, const char *where,
                                  const struct cns_identity_public *coordinator, struct cns_carry *ret_carry,
                                  struct cns_problem *problem);
void cns_carry_deinit(struct cns_carry *carry);

/* Entries that a ledger has with all of them in it, at least. */
uint64_t cns_carry_entries(const struct cns_carry *carry);
/* How far it goes; zeros if it has no attempts. */
void cns_carry_last(const struct cns_carry *carry, uint64_t *ret_round, uint32_t *ret_attempt);
/* May a ledger with this head take the place of the one whose newest head is kept? The statement must be of
 * that very head: one that went on since has charges that the statement may lack. CNS_ERR_REFUSED, with a
 * sentence. Whom and which study the statement is for is the caller's to check. */
CNS_MUST_CHECK int cns_carry_allows(const struct cns_carry *carry, const struct cns_ledger_head *kept,
                                    const struct cns_ledger_head *head, struct cns_problem *problem);

/* Where attempts come from. */
struct cns_carry_source {
  const struct cns_carry *carry;
  const struct cns_digest *study;    /* each is of it; NULL: of the one it was collected with */
  const struct cns_digest *data_set; /* noted with each; NULL: the one it was collected with */
};
/* Takes them into a hospital's ledger, all in one transaction or none, whatever its limits say; rounds that
 * it knows (from a backup) stay as they are. now: seconds since 1970. ret_added: how many were missing, an
 * element a source. The same again adds nothing. CNS_ERR_REFUSED  the ledger, or another source, has one of
 * them with other values, or as cancelled or refunded towards somebody towards whom it counts here
 *   CNS_ERR_RANGE    of a time that is more than CNS_LEDGER_CLOCK_TOLERANCE_SECONDS still to come: all later
 *                    entries would bear it
 *   CNS_ERR_LIMIT    no room */
CNS_MUST_CHECK int cns_carry_import(const struct cns_carry_source *sources, size_t source_count,
                                    struct cns_ledger *ledger, int64_t now, size_t *ret_added,
                                    struct cns_problem *problem);
