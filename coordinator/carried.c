/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hospital that has lost its ledger begins another one. It is let in once, if this coordinator's operator
 * has made a statement of charges for the identity key that the roster has for it now (`consilium budget
 * carry`, which leaves a copy in <state>/ledgers/<index>.carried), and if the new ledger has at least the
 * entries that taking the statement in makes.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/server_internal.h"
#include "store/carry.h"

static char *statement_path(const struct cns_server *s, const struct cns_roster_hospital *hospital,
                            const char *suffix) {
  char name[48];
  snprintf(name, sizeof name, "%u.carried%s", hospital->index, suffix);
  return cns_kit_path(s->heads, name);
}

/* CNS_ERR_NOT_FOUND, or an error with a sentence. */
static int load(const struct cns_server *s, const struct cns_roster_hospital *hospital,
                struct cns_carry *ret_carry, struct cns_problem *problem) {
  uint8_t *data = NULL;
  size_t len = 0;
  char *path = statement_path(s, hospital, "");
  int r = path ? cns_file_read(path, CNS_JSON_BYTES_MAX, &data, &len, problem) : CNS_ERR_MEMORY;
  if (r == 0)
    r = cns_carry_open(data, len, path, cns_identity_get_public(s->kit.identity), ret_carry, problem);
  free(data);
  free(path);
  return r;
}

int cns_carried_accept(struct cns_server *s, const struct cns_roster_hospital *hospital,
                       const struct cns_ledger_head *head, const struct cns_ledger_head *kept,
                       char ret_why[static 200]) {
  struct cns_carry carry = {0};
  struct cns_problem problem = {0};
  int r = load(s, hospital, &carry, &problem);
  if (r == CNS_ERR_NOT_FOUND) return r;
  if (r < 0) {
    snprintf(ret_why, 200, "%.190s", problem.text);
    return r;
  }
  uint64_t entries = cns_carry_entries(&carry);
  if (carry.index != hospital->index || !cns_identity_public_equal(&carry.identity, &hospital->identity))
    r = CNS_ERR_NOT_FOUND; /* of an earlier machine */
  else if (!cns_digest_equal(&head->subject, &kept->subject) || head->sequence < entries) {
    r = CNS_ERR_REFUSED;
    snprintf(ret_why, 200,
             "its new privacy ledger has %" PRIu64 " entries, and the statement of charges makes %" PRIu64
             ": there, consilium budget take",
             head->sequence, entries);
  } else
    cns_report(s, "ledger",
               "hospital %s has a new privacy ledger, with the %zu attempts in it that were charged before",
               hospital->name, carry.count);
  cns_carry_deinit(&carry);
  return r;
}

int cns_carried_done(struct cns_server *s, const struct cns_roster_hospital *hospital,
                     struct cns_problem *problem) {
  char *path = statement_path(s, hospital, ""), *used = statement_path(s, hospital, ".used");
  int r = path && used ? 0 : CNS_ERR_MEMORY;
  if (r == 0 && rename(path, used) != 0)
    r = cns_problem_set(problem, cns_error_from_errno(errno), "%s: can't be renamed (%s)", path,
                        strerror(errno));
  free(path);
  free(used);
  return r;
}
