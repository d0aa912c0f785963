/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hospital that has lost its ledger begins another one. It is let in once, if this coordinator's operator
 * has made a statement of charges for the identity key that the roster has for it now (`consilium budget
 * carry`, which leaves a copy in <state>/ledgers/<index>.carried), if the lost ledger wasn't shown again
 * since, and if the new one has at least the entries that taking the statement in makes.
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

static int check_whose(const struct cns_server *s, const struct cns_roster_hospital *hospital,
                       const struct cns_carry *carry, struct cns_problem *problem) {
  if (strcmp(carry->consortium, s->kit.roster.consortium) != 0 || strcmp(carry->study, s->plan.name) != 0 ||
      carry->index != hospital->index)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "the statement of charges in %s is for another study or hospital", s->heads);
  if (!cns_identity_public_equal(&carry->identity, &hospital->identity))
    return cns_problem_set(
        problem, CNS_ERR_REFUSED,
        "the statement of charges was made for an identity key that the hospital had before: "
        "make a new one (consilium budget carry)");
  return 0;
}

int cns_carried_accept(struct cns_server *s, struct cns_session *session, const struct cns_ledger_head *head,
                       const struct cns_ledger_head *kept, struct cns_problem *problem) {
  struct cns_carry carry = {0};
  const struct cns_roster_hospital *hospital = session->hospital;
  /* A statement of thousands of attempts takes a moment to read. */
  if (!cns_report_within(s, &session->strangers, CNS_SERVER_STRANGERS_MAX))
    return cns_problem_set(problem, CNS_ERR_REFUSED, "it has shown others too often: start the agent again");
  int r = load(s, hospital, &carry, problem);
  if (r == CNS_ERR_NOT_FOUND)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "the newest copy must be restored; if there is none: consilium budget carry");
  if (!r) r = check_whose(s, hospital, &carry, problem);
  if (!r) r = cns_carry_allows(&carry, kept, head, problem);
  if (!r)
    cns_report(s, "ledger",
               "hospital %s goes on with a new privacy ledger of %" PRIu64
               " entries in the place of one with %" PRIu64
               "; that the %zu attempts of the statement of charges are among them can't be seen from here",
               hospital->name, head->sequence, kept->sequence, carry.count);
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
