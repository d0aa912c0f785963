/* SPDX-License-Identifier: Apache-2.0 */
/* `consilium budget carry` and `take`: a lost privacy ledger doesn't begin anew. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/budget.h"
#include "cli/cli.h"
#include "cli/verb_budget.h"
#include "store/carry.h"

/* The newest head of the hospital's lost ledger, if the coordinator has seen one. */
static int read_head(const char *path, bool *ret_has, struct cns_ledger_head *ret_head,
                     struct cns_problem *problem) {
  uint8_t *data = NULL;
  size_t len = 0;
  int r = cns_file_read(path, CNS_LEDGER_HEAD_BYTES + 1, &data, &len, problem);
  if (r == CNS_ERR_NOT_FOUND) return 0;
  if (!r &&
      (cns_ledger_head_decode(data, len, ret_head) || cns_ledger_head_verify(ret_head, &ret_head->owner)))
    r = cns_problem_set(problem, CNS_ERR_FORMAT, "%s: is no head of a privacy ledger", path);
  free(data);
  if (!r) *ret_has = true;
  return r;
}

static int fill(const struct cns_budget_view *view, const struct cns_roster_hospital *hospital,
                const char *folder, struct cns_carry *carry, struct cns_problem *problem) {
  const struct cns_site *site = view->site;
  char *head = NULL;
  carry->index = hospital->index;
  carry->identity = hospital->identity;
  carry->issued_at = (int64_t)time(NULL);
  memcpy(carry->name, hospital->name, sizeof carry->name);
  memcpy(carry->consortium, site->kit.roster.consortium, sizeof carry->consortium);
  snprintf(carry->study, sizeof carry->study, "%s", site->plan.name);
  if (asprintf(&head, "%s/%u.head", folder, hospital->index) < 0) return CNS_ERR_MEMORY;
  int r = read_head(head, &carry->has_head, &carry->head, problem);
  free(head);
  return r ? r : cns_carry_collect(view->ledger, &site->study, carry, problem);
}

/* Beside the heads too: the coordinator lets the new ledger in under this very statement. */
static int save(const char *folder, const struct cns_carry *carry, const uint8_t *data, size_t len,
                const char *out, struct cns_problem *problem) {
  char *path = NULL;
  if (asprintf(&path, "%s/%u.carried", folder, carry->index) < 0) return CNS_ERR_MEMORY;
  int r = cns_file_write(out, data, len, 0644, problem);
  if (!r) r = cns_file_write(path, data, len, 0600, problem);
  free(path);
  return r;
}

static int carry_over(const struct cns_budget_view *view, const char *name, const char *out,
                      struct cns_carry *carry, struct cns_problem *problem) {
  uint8_t *data = NULL;
  size_t len = 0;
  const struct cns_kit *kit = &view->site->kit;
  if (view->role != CNS_KIT_COORDINATOR)
    return cns_problem_set(problem, CNS_ERR_REFUSED, "%s: is no coordinator's kit", kit->folder);
  if (!view->ledger)
    return cns_problem_set(problem, CNS_ERR_REFUSED, "nothing is charged in this study: there is no ledger");
  const struct cns_roster_hospital *hospital = cns_roster_find_name(&kit->roster, name);
  if (!hospital || hospital->revoked)
    return cns_problem_set(problem, CNS_ERR_REFUSED, "the roster has no hospital %.40s that isn't revoked",
                           name);
  char *folder = cns_kit_path(kit->config.state_path, "ledgers");
  int r = folder ? fill(view, hospital, folder, carry, problem) : CNS_ERR_MEMORY;
  if (!r) r = cns_carry_issue(carry, kit->identity, &data, &len, problem);
  if (!r) r = save(folder, carry, data, len, out, problem);
  free(data);
  free(folder);
  return r;
}

/* The study's last attempt is stated whatever became of it. */
static size_t counting(const struct cns_carry *carry) {
  size_t count = 0;
  for (size_t k = 0; k < carry->count; k++)
    count += carry->rounds[k].refunded != CNS_LEDGER_EVERYONE;
  return count;
}

int cns_cli_budget_carry(int argc, char **argv) {
  struct cns_budget_view view = {0};
  struct cns_carry carry = {0};
  struct cns_problem problem = {0};
  const char *name = NULL, *out = NULL;
  int operands = 0;
  const struct cns_option table[] = {
      {"hospital", "NAME", "whose ledger is lost", CNS_OPTION_TEXT, &name, 0, 0},
      {"out", "FILE", "where the statement goes", CNS_OPTION_TEXT, &out, 0, 0},
      {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "budget carry KIT --hospital NAME --out FILE",
      "At the coordinator, which may be running: a signed statement of all that was charged in the\n"
      "study, for a hospital that has lost its privacy ledger, and for the identity key that the\n"
      "roster has for it now. Its new ledger is let in once, if it holds as much.",
      table, 1, 1};
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  if (!name || !out) return cns_cli_usage_error("budget carry", "--hospital NAME and --out FILE are needed");
  r = cns_budget_view_open(argv[1], &view, &problem);
  if (!r) r = carry_over(&view, name, out, &carry, &problem);
  if (!r)
    printf("%s: %zu attempts that count, for hospital %u, %s. There, before its agent is started:\n"
           "  consilium budget take KIT %s\n",
           out, counting(&carry), carry.index, carry.name, out);
  cns_carry_deinit(&carry);
  cns_budget_view_deinit(&view);
  return r ? cns_cli_fail(r, &problem) : cns_cli_finish(CNS_EXIT_OK);
}

static int check_for_us(const struct cns_site *site, const struct cns_carry *carry,
                        struct cns_problem *problem) {
  const struct cns_kit *kit = &site->kit;
  const char *what = NULL;
  if (strcmp(carry->consortium, kit->roster.consortium) != 0 || strcmp(carry->study, site->plan.name) != 0)
    what = "another study";
  else if (carry->index != kit->config.index ||
           !cns_identity_public_equal(&carry->identity, cns_identity_get_public(kit->identity)))
    what = "another hospital, or other keys of this one";
  else if (site->kit.policy.noise_placement == CNS_NOISE_NONE)
    what = "a study in which nothing is charged";
  return what ? cns_problem_set(problem, CNS_ERR_REFUSED, "the statement is for %s", what) : 0;
}

/* A copy of the lost ledger's head, from whoever kept one, must not be newer than the coordinator's. */
static int check_copy(const struct cns_carry *carry, const char *path, struct cns_problem *problem) {
  struct cns_ledger_head copy;
  bool has = false;
  if (!path) return 0;
  int r = read_head(path, &has, &copy, problem);
  if (!r && !has) r = cns_problem_set(problem, CNS_ERR_NOT_FOUND, "%s: is not there", path);
  if (r) return r;
  if (carry->has_head && cns_identity_public_equal(&carry->head.owner, &copy.owner) &&
      cns_digest_equal(&carry->head.subject, &copy.subject) && carry->head.sequence >= copy.sequence)
    return 0;
  return cns_problem_set(problem, CNS_ERR_REFUSED,
                         "the lost ledger had %" PRIu64
                         " entries by the copy of its head, and the coordinator "
                         "shows a head with %" PRIu64 ", or another ledger's: its statement is older, or not "
                         "right",
                         copy.sequence, carry->has_head ? carry->head.sequence : 0);
}

/* An old copy of the lost ledger can't be gone on with, since its end was shown to the coordinator. What it
 * holds, of all studies, counts. */
static int read_backup(const struct cns_site *site, const char *path, struct cns_carry *ret_carry,
                       struct cns_problem *problem) {
  struct cns_digest subject;
  struct cns_identity *owner = NULL;
  struct cns_ledger *ledger = NULL;
  char *key = NULL;
  if (!path) return 0;
  if (asprintf(&key, "%s.key", path) < 0) return CNS_ERR_MEMORY;
  cns_site_ledger_subject(&subject);
  int r = cns_identity_load(key, &owner, problem);
  if (!r && cns_identity_public_equal(cns_identity_get_public(owner),
                                      cns_identity_get_public(site->ledger_identity)))
    r = cns_problem_set(problem, CNS_ERR_REFUSED,
                        "%s: is the copy of the ledger that is in use here; keep it elsewhere, so that a new "
                        "one is begun",
                        path);
  if (!r) r = cns_ledger_open_readonly(path, cns_identity_get_public(owner), &subject, &ledger, problem);
  if (!r) r = cns_carry_collect(ledger, NULL, ret_carry, problem);
  cns_ledger_free(ledger);
  cns_identity_free(owner);
  free(key);
  return r;
}

/* In one piece: the statement's attempts in the ledger and not the backup's, or the other way, would pass for
 * all of it. ret_added: of the backup, and of the statement. */
static int take_in(struct cns_site *site, const struct cns_carry *carry, const char *backup,
                   size_t ret_added[static 2], struct cns_problem *problem) {
  struct cns_carry old = {0};
  const struct cns_carry_source sources[] = {{&old, NULL, NULL}, {carry, &site->study, &site->data_set}};
  int r = cns_site_open_carried(site, carry, problem);
  if (!r) r = read_backup(site, backup, &old, problem);
  if (!r) r = cns_carry_import(sources, 2, site->ledger, (int64_t)time(NULL), ret_added, problem);
  cns_carry_deinit(&old);
  return r;
}

/* Each attempt has at most three entries at a hospital. */
static void print_taken(const struct cns_carry *carry, const char *backup, size_t from_backup, size_t added) {
  if (backup) printf("%zu attempts, of all studies, are taken from %s.\n", from_backup, backup);
  printf("%zu attempts of study %s are stated, %zu of which count; %zu of them were missing in the ledger "
         "and are "
         "in it now.\n",
         carry->count, carry->study, counting(carry), added);
  if (carry->has_head && carry->head.sequence > 3 * (uint64_t)carry->count)
    printf("The lost ledger had %" PRIu64
           " entries, more than these attempts explain: attempts that came to\n"
           "nothing, other studies on these data, or a statement that lacks something. What other studies\n"
           "cost, their coordinators state; until then set \"budget\" in config.json lower.\n",
           carry->head.sequence);
}

int cns_cli_budget_take(int argc, char **argv) {
  struct cns_site site = {0};
  struct cns_carry carry = {0};
  struct cns_problem problem = {0};
  const char *copy = NULL, *backup = NULL;
  uint8_t *data = NULL;
  size_t len = 0, added[2] = {0};
  int operands = 0;
  const struct cns_option table[] = {
      {"backup", "FILE", "an old copy of the lost ledger, with FILE.key beside it", CNS_OPTION_TEXT, &backup,
       0, 0},
      {"head", "FILE", "a copy of the lost ledger's head that somebody kept", CNS_OPTION_TEXT, &copy, 0, 0},
      {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "budget take KIT FILE [--backup FILE] [--head FILE]",
      "At a hospital whose privacy ledger was lost, with its agent stopped: takes the coordinator's\n"
      "statement of charges into the new ledger of the data, and what an old copy holds.",
      table, 2, 2};
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  r = cns_file_read(argv[2], CNS_JSON_BYTES_MAX, &data, &len, &problem);
  if (!r) r = cns_site_open_without_ledger(argv[1], &site, &problem);
  if (!r) r = cns_carry_open(data, len, argv[2], &site.kit.roster.coordinator.identity, &carry, &problem);
  if (!r) r = check_for_us(&site, &carry, &problem);
  if (!r) r = check_copy(&carry, copy, &problem);
  if (!r) r = take_in(&site, &carry, backup, added, &problem);
  if (!r) print_taken(&carry, backup, added[0], added[1]);
  free(data);
  cns_carry_deinit(&carry);
  cns_site_deinit(&site);
  return r ? cns_cli_fail(r, &problem) : cns_cli_finish(CNS_EXIT_OK);
}
