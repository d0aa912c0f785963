/* SPDX-License-Identifier: Apache-2.0 */
/* The privacy ledger of a hospital's data. It belongs to the data and not to a kit:
 * the same patients in two studies, or two consortia, add up. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/site_internal.h"

/* For a process that opens the same ledger: ten seconds. */
#define LOCK_WAITS 200
#define LOCK_WAIT_US 50000

static char *with(const char *path, const char *suffix) {
  char *longer = NULL;
  return asprintf(&longer, "%s%s", path, suffix) < 0 ? NULL : longer;
}

/* Beside the table itself: kits that link to the same one share its ledger. */
char *cns_site_ledger_path(const struct cns_site *site) {
  const struct cns_kit_config *config = &site->kit.config;
  if (config->ledger_path) return strdup(config->ledger_path);
  char *table = realpath(config->data_path, NULL);
  char *path = with(table ? table : config->data_path, ".ledger");
  free(table);
  return path;
}

void cns_site_ledger_subject(struct cns_digest *ret_subject) {
  cns_hash_once("consilium/1 data ledger", NULL, 0, ret_subject);
}

size_t cns_site_limits(const struct cns_site *site, struct cns_ledger_limit *ret_limits) {
  const struct cns_charge_data_limit data = {site->kit.config.data_epsilon, site->kit.config.data_delta};
  return cns_charge_limits(&site->kit.policy, &data, ret_limits);
}

/* Made with the first ledger. One without the other is no beginning but a loss. */
static int load_owner(const char *ledger, const char *path, struct cns_identity **ret_identity,
                      struct cns_problem *problem) {
  struct cns_problem found = {0};
  bool there = access(ledger, F_OK) == 0;
  int r = cns_identity_load(path, ret_identity, &found);
  if (r == 0 && !there) {
    *ret_identity = cns_identity_free(*ret_identity);
    return cns_problem_set(
        problem, CNS_ERR_STATE,
        "%s is not there, but its key is: it was lost or taken away. Restore the newest copy of "
        "it. If there is none, what it held is carried into a new one with a key of its own (consilium "
        "budget "
        "carry): move %s away first",
        ledger, path);
  }
  if (r && problem) *problem = found;
  if (r != CNS_ERR_NOT_FOUND || there) return r;
  r = cns_identity_new(cns_rng_system(), ret_identity);
  return r ? r : cns_identity_save(*ret_identity, path, problem);
}

/* Two agents that begin on the same data at once: key and ledger are made by one of them. The
 * lock is on the folder, and gone when this is closed. */
static int lock_folder(const char *path, int *ret_fd, struct cns_problem *problem) {
  char *copy = strdup(path);
  if (!copy) return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int r = fd < 0 ? -1 : flock(fd, LOCK_EX | LOCK_NB);
  for (int wait = 0; fd >= 0 && r != 0 && errno == EWOULDBLOCK && wait < LOCK_WAITS; wait++) {
    usleep(LOCK_WAIT_US);
    r = flock(fd, LOCK_EX | LOCK_NB);
  }
  if (r != 0) {
    int number = errno;
    r = cns_error_from_errno(number);
    cns_problem_set(problem, r, "%s: the folder can't be opened, or another process holds a lock on it (%s)",
                    copy, strerror(number));
    if (fd >= 0) close(fd);
  } else
    *ret_fd = fd;
  free(copy);
  return r;
}

static int open_locked(struct cns_site *site, const char *path, const char *key,
                       struct cns_problem *problem) {
  struct cns_digest subject;
  int lock = -1, r = lock_folder(path, &lock, problem);
  if (r) return r;
  cns_site_ledger_subject(&subject);
  r = load_owner(path, key, &site->ledger_identity, problem);
  if (!r) r = cns_ledger_open(path, site->ledger_identity, &subject, &site->ledger, problem);
  close(lock);
  return r;
}

/* The last attempt that this hospital signed; zeros if there is none. */
static int read_signed(const struct cns_site *site, uint64_t *ret_round, uint32_t *ret_attempt,
                       struct cns_digest *ret_digest, struct cns_problem *problem) {
  *ret_round = 0;
  *ret_attempt = 0;
  int r = cns_hospital_store_signed_round(site->store, &site->study, ret_round, ret_attempt, ret_digest);
  if (r == CNS_ERR_NOT_FOUND) return 0;
  return r ? cns_problem_set(problem, r, "the record of rounds can't be read (%s)", cns_error_name(r)) : 0;
}

static bool reaches(uint64_t last_round, uint32_t last_attempt, uint64_t round, uint32_t attempt) {
  return last_round > round || (last_round == round && last_attempt >= attempt);
}

/* A round that this hospital signed was reserved before. A ledger into which a lost one's charges were
 * carried lacks those that came to nothing, and goes on behind them. With site->ledger NULL: there is no
 * file, and none is made where one is missing. */
static int check_signed_rounds(const struct cns_site *site, const char *path, struct cns_problem *problem) {
  uint64_t round, last = 0;
  uint32_t attempt, last_attempt = 0;
  struct cns_digest digest;
  enum cns_ledger_kind known = 0;
  int r = read_signed(site, &round, &attempt, &digest, problem);
  if (r || round == 0) return r;
  if (site->ledger) r = cns_ledger_state(site->ledger, &digest, &known, problem);
  if (!r && site->ledger)
    r = cns_ledger_last_attempt(site->ledger, &site->study, &last, &last_attempt, problem);
  if (r == CNS_ERR_NOT_FOUND) r = 0;
  if (r || (int)known != 0 || reaches(last, last_attempt, round, attempt)) return r;
  if (round <= site->kit.config.lost_through) return 0;
  return cns_problem_set(
      problem, CNS_ERR_REFUSED,
      "%s lacks round %llu of this study, in which this hospital took part. It was restored from an old "
      "copy: restore the newest one; or it was lost: what it cost is carried over (consilium budget carry); "
      "or the table lies elsewhere now: name its ledger in config.json; or "
      "the study ran without noise before: a budget needs a study of its own",
      path, (unsigned long long)round);
}

static bool same_file(const char *a, const char *b) {
  struct stat one, other;
  return stat(a, &one) == 0 && stat(b, &other) == 0 && one.st_dev == other.st_dev &&
         one.st_ino == other.st_ino;
}

/* One beside a link to the table is in the way: which of two counts? */
static int check_beside_link(const struct cns_site *site, const char *path, struct cns_problem *problem) {
  if (site->kit.config.ledger_path) return 0;
  char *beside = with(site->kit.config.data_path, ".ledger");
  int r = beside ? 0 : cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  if (!r && access(beside, F_OK) == 0 && !same_file(beside, path))
    r = cns_problem_set(problem, CNS_ERR_REFUSED,
                        "there is %s, but the ledger of a table that is linked to is %s: say in config.json "
                        "which one counts (\"ledger\"), or move the older one there with its key",
                        beside, path);
  free(beside);
  return r;
}

/* A statement from before this hospital's last round would leave out what that one cost. */
static int check_reaches_record(const struct cns_site *site, const struct cns_carry *carry,
                                struct cns_problem *problem) {
  uint64_t round, last;
  uint32_t attempt, last_attempt;
  struct cns_digest digest;
  if (!carry->has_head && carry->count == 0)
    return cns_problem_set(
        problem, CNS_ERR_REFUSED,
        "the statement says that nothing was charged, and that no ledger of this hospital was "
        "ever shown: if that is so, the agent is simply started; if not, it isn't right");
  int r = read_signed(site, &round, &attempt, &digest, problem);
  if (r || round == 0) return r;
  cns_carry_last(carry, &last, &last_attempt);
  if (reaches(last, last_attempt, round, attempt)) return 0;
  return cns_problem_set(
      problem, CNS_ERR_REFUSED,
      "the statement ends with round %llu, attempt %u, and by this hospital's own record it "
      "took part in round %llu, attempt %u: ask the coordinator for a newer one",
      (unsigned long long)last, last_attempt, (unsigned long long)round, attempt);
}

/* The owner of the lost one goes on with it, or gives it up: the coordinator takes no other from that key. */
static int check_new_owner(const struct cns_site *site, const struct cns_carry *carry, const char *path,
                           struct cns_problem *problem) {
  const struct cns_identity_public *owner = cns_identity_get_public(site->ledger_identity);
  if (!carry->has_head || !cns_identity_public_equal(&carry->head.owner, owner)) return 0;
  return cns_problem_set(
      problem, CNS_ERR_REFUSED,
      "%s has the key of the ledger that is said to be lost. If it is the newest copy, nothing "
      "needs to be carried over; if it is an older one, move it and its key elsewhere, for "
      "--backup: the new ledger needs a key of its own",
      path);
}

int cns_site_open_carried(struct cns_site *site, const struct cns_carry *carry, struct cns_problem *problem) {
  char *path = cns_site_ledger_path(site), *key = path ? with(path, ".key") : NULL;
  int r = key ? 0 : cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  if (!r) r = check_reaches_record(site, carry, problem);
  if (!r) r = check_beside_link(site, path, problem);
  if (!r) r = open_locked(site, path, key, problem);
  if (!r) r = check_new_owner(site, carry, path, problem);
  if (r) cns_problem_prefix(problem, r, "the privacy ledger of the data");
  free(path);
  free(key);
  return r;
}

int cns_site_open_ledger(struct cns_site *site, struct cns_problem *problem) {
  char *path = cns_site_ledger_path(site), *key = path ? with(path, ".key") : NULL;
  int r = key ? 0 : cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  if (!r) r = check_beside_link(site, path, problem);
  if (!r && access(path, F_OK) != 0 && access(key, F_OK) != 0) r = check_signed_rounds(site, path, problem);
  if (!r) r = open_locked(site, path, key, problem);
  if (!r) r = check_signed_rounds(site, path, problem);
  if (r) cns_problem_prefix(problem, r, "the privacy ledger of the data");
  free(path);
  free(key);
  return r;
}
