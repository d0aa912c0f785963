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
 *    "rounds": [{"round", "attempt", "descriptor", "time", "refunded" (observers, 0..3),
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
 * old copy of a hospital's, into carry->rounds. CNS_ERR_LIMIT for more than CNS_CARRY_ROUNDS_MAX. */
CNS_MUST_CHECK int cns_carry_collect(struct cns_ledger *ledger, const struct cns_digest *study,
                                     struct cns_carry *carry, struct cns_problem *problem);
/* The whole file, malloc'd. */
CNS_MUST_CHECK int cns_carry_issue(const struct cns_carry *carry, const struct cns_identity *coordinator,
                                   uint8_t **ret_data, size_t *ret_len);
/* Verifies under the coordinator's key, and the head under its own. Deinit it. */
CNS_MUST_CHECK int cns_carry_open(const uint8_t *data, size_t len, const char *where,
                                  const struct cns_identity_public *coordinator, struct cns_carry *ret_carry,
                                  struct cns_problem *problem);
void cns_carry_deinit(struct cns_carry *carry);

/* Entries that a ledger has with all of them in it, at least. */
uint64_t cns_carry_entries(const struct cns_carry *carry);
/* Takes them into a hospital's ledger, whatever its limits say; rounds that it knows (from a backup) stay as
 * they are. study NULL: each is of the study that it was collected
 * with. data_set: noted with each; NULL: the one it was collected with. ret_added: how many were missing. The
 * same again adds nothing. CNS_ERR_REFUSED: the ledger has one of them as cancelled or refunded, which
 * contradicts the statement. */
CNS_MUST_CHECK int cns_carry_import(const struct cns_carry *carry, struct cns_ledger *ledger,
                                    const struct cns_digest *study, const struct cns_digest *data_set,
                                    size_t *ret_added, struct cns_problem *problem);
