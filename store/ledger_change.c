/* SPDX-License-Identifier: Apache-2.0 */
/* What is appended: which kind may follow which, and reservations against limits. */
#include <stdlib.h>

#include "store/ledger_internal.h"

static const char *const names[] = {[0] = "nothing",
                                    [CNS_LEDGER_RESERVED] = "reserved",
                                    [CNS_LEDGER_CHARGED] = "charged",
                                    [CNS_LEDGER_CANCELLED] = "cancelled",
                                    [CNS_LEDGER_REFUNDED] = "refunded",
                                    [CNS_LEDGER_RELEASED] = "released"};
#define STATES (sizeof(names) / sizeof(names[0]))

const char *cns_ledger_kind_name(enum cns_ledger_kind kind) {
  return (size_t)kind < STATES ? names[kind] : "unknown";
}

enum rule {
  APPEND,
  KNOWN, /* on record, and what follows from it still holds */
  EARLY, /* something is missing before */
  REFUSE,
};

/* A row for each kind that is asked for, a column for each state of the round. */
static const enum rule rules[STATES][STATES] = {
    /*                         nothing reserved charged cancelled refunded released */
    [CNS_LEDGER_RESERVED] = {APPEND, KNOWN, KNOWN, REFUSE, REFUSE, KNOWN},
    [CNS_LEDGER_CHARGED] = {EARLY, APPEND, KNOWN, REFUSE, REFUSE, KNOWN},
    [CNS_LEDGER_CANCELLED] = {EARLY, APPEND, REFUSE, KNOWN, REFUSE, REFUSE},
    [CNS_LEDGER_REFUNDED] = {EARLY, EARLY, APPEND, EARLY, KNOWN, REFUSE},
    [CNS_LEDGER_RELEASED] = {EARLY, EARLY, APPEND, REFUSE, REFUSE, KNOWN},
};

#define ON_RECORD 1

/* 0: may be appended. ON_RECORD: it is. */
static int decide(const struct cns_ledger_record *record, enum cns_ledger_kind kind, uint8_t observers,
                  struct cns_problem *problem) {
  enum cns_ledger_kind state = record ? record->state : 0;
  enum rule rule = rules[kind][state];
  if (rule == KNOWN && kind == CNS_LEDGER_REFUNDED && record->refunded != observers) rule = REFUSE;
  if (rule == APPEND) return 0;
  if (rule == KNOWN) return ON_RECORD;
  int error = rule == EARLY ? CNS_ERR_STATE : CNS_ERR_REFUSED;
  if (!record)
    return cns_problem_set(problem, error, "a round can't be %s in the privacy ledger: it was never reserved",
                           names[kind]);
  return cns_problem_set(
      problem, error, "round %llu, attempt %u, of study %s can't be %s in the privacy ledger: it is %s",
      (unsigned long long)record->round.round, record->round.attempt, record->round.study_name, names[kind],
      kind == state ? "refunded to other observers" : names[state]);
}

static int check_time(int64_t now, struct cns_problem *problem) {
  if (now >= 0 && now <= CNS_LEDGER_TIME_MAX) return 0;
  return cns_problem_set(problem, CNS_ERR_RANGE,
                         "the clock of this machine shows a time outside the years 1970 to 9999; set it");
}

static int64_t entry_time(const struct cns_ledger *ledger, int64_t now) {
  return now > ledger->position.time ? now : ledger->position.time;
}

static void observe_clock(struct cns_ledger *ledger, int64_t now) {
  ledger->behind_seconds = ledger->position.time > now ? ledger->position.time - now : 0;
}

bool cns_ledger_clock_set_back(const struct cns_ledger *ledger, struct cns_problem *ret_sentence) {
  if (ledger->behind_seconds <= CNS_LEDGER_CLOCK_TOLERANCE_SECONDS) return false;
  cns_problem_set(ret_sentence, 0,
                  "%s: the clock of this machine is %lld minutes before the privacy ledger's last entry: it "
                  "was set back, or forward before; entries bear that entry's time until the clock is past "
                  "it, and count in its month",
                  ledger->database.path, (long long)(ledger->behind_seconds / 60));
  return true;
}

int cns_ledger_append(struct cns_ledger *ledger, enum cns_ledger_kind kind, uint8_t observers,
                      const struct cns_ledger_round *round, int64_t now, struct cns_problem *problem) {
  if (ledger->position.sequence >= ledger->entries_max)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "%s: a privacy ledger has at most %llu entries",
                           ledger->database.path, (unsigned long long)ledger->entries_max);
  struct cns_ledger_entry entry = {
      .sequence = ledger->position.sequence + 1,
      .time = entry_time(ledger, now),
      .kind = kind,
      .observers = observers,
      .round = *round,
      .previous = ledger->position.digest,
  };
  return cns_ledger_insert(ledger, &entry, problem);
}

/* Commits, and reads back what is on the disk now, as anybody would. */
static int finish(struct cns_ledger *ledger, int error, struct cns_problem *problem) {
  if (!error) error = cns_database_commit(&ledger->database, problem);
  if (!error) return cns_ledger_refresh(ledger, problem);
  cns_database_rollback(&ledger->database);
  return error == ON_RECORD ? 0 : error;
}

static int change(struct cns_ledger *ledger, enum cns_ledger_kind kind, const struct cns_digest *descriptor,
                  uint8_t observers, int64_t now, struct cns_problem *problem) {
  int error = check_time(now, problem);
  if (!error) error = cns_ledger_begin(ledger, problem);
  if (error) return error;
  observe_clock(ledger, now);
  const struct cns_ledger_record *record = cns_ledger_book_find(&ledger->book, descriptor);
  error = decide(record, kind, observers, problem);
  if (!error) error = cns_ledger_append(ledger, kind, observers, &record->round, now, problem);
  return finish(ledger, error, problem);
}

int cns_ledger_charge(struct cns_ledger *ledger, const struct cns_digest *descriptor, int64_t now,
                      struct cns_problem *problem) {
  return change(ledger, CNS_LEDGER_CHARGED, descriptor, CNS_LEDGER_EVERYONE, now, problem);
}

int cns_ledger_cancel(struct cns_ledger *ledger, const struct cns_digest *descriptor, int64_t now,
                      struct cns_problem *problem) {
  return change(ledger, CNS_LEDGER_CANCELLED, descriptor, CNS_LEDGER_EVERYONE, now, problem);
}

int cns_ledger_refund(struct cns_ledger *ledger, const struct cns_digest *descriptor, uint8_t observers,
                      int64_t now, struct cns_problem *problem) {
  if (observers == 0 || (observers & ~CNS_LEDGER_EVERYONE) != 0)
    return cns_problem_set(problem, CNS_ERR_ARGUMENT, "a refund in the privacy ledger names no observer");
  return change(ledger, CNS_LEDGER_REFUNDED, descriptor, observers, now, problem);
}

int cns_ledger_release(struct cns_ledger *ledger, const struct cns_digest *descriptor, int64_t now,
                       struct cns_problem *problem) {
  return change(ledger, CNS_LEDGER_RELEASED, descriptor, CNS_LEDGER_EVERYONE, now, problem);
}

/* ---- reservations ---- */

static int check_limit(struct cns_ledger *ledger, const struct cns_ledger_round *round,
                       const struct cns_ledger_limit *limit, uint32_t month,
                       struct cns_budget_verdict *ret_verdict, struct cns_problem *problem) {
  const struct cns_digest *study = limit->scope == CNS_LEDGER_STUDY ? &round->study : NULL;
  struct cns_budget_limits limits = limit->limits;
  struct cns_budget_cost *total = NULL, *of_month = NULL;
  size_t total_count = 0, month_count = 0;
  if (!limits.subject) limits.subject = study ? "this study" : "all studies together";
  int error = cns_ledger_book_costs(&ledger->book, study, limit->observer, 0, &total, &total_count);
  if (!error)
    error = cns_ledger_book_costs(&ledger->book, study, limit->observer, month, &of_month, &month_count);
  if (!error) {
    struct cns_budget_spent spent = {total, total_count, of_month, month_count};
    error = cns_budget_allows(&limits, &spent, &round->costs[limit->observer], ret_verdict, problem);
  }
  free(total);
  free(of_month);
  return error;
}

static int check_limits(struct cns_ledger *ledger, const struct cns_ledger_round *round,
                        const struct cns_ledger_limit *limits, size_t count, uint32_t month,
                        struct cns_ledger_verdict *ret_verdict, struct cns_problem *problem) {
  static const char *const towards[] = {"the readers of the models", "the coordinator"};
  int error = 0;
  for (size_t k = 0; k < count && !error; k++) {
    struct cns_ledger_verdict verdict = {.observer = limits[k].observer, .scope = limits[k].scope};
    error = check_limit(ledger, round, &limits[k], month, &verdict.budget, problem);
    if (error != CNS_BUDGET_EXCEEDED) continue;
    cns_problem_set(problem, error, "privacy budget towards %s: %s", towards[verdict.observer],
                    verdict.budget.text);
    if (ret_verdict) *ret_verdict = verdict;
  }
  return error;
}

static int check_arguments(const struct cns_ledger_round *round, const struct cns_ledger_limit *limits,
                           size_t limit_count, int64_t now, struct cns_problem *problem) {
  if (limit_count > CNS_LEDGER_LIMITS_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "a reservation is checked against %d limits at most",
                           CNS_LEDGER_LIMITS_MAX);
  for (size_t k = 0; k < limit_count; k++)
    if ((unsigned)limits[k].observer >= CNS_LEDGER_OBSERVERS || (unsigned)limits[k].scope > CNS_LEDGER_ALL)
      return cns_problem_set(problem, CNS_ERR_ARGUMENT, "a limit names no observer, or no scope");
  int error = check_time(now, problem);
  return error ? error : cns_ledger_check_round(round, problem);
}

/* This reservation and all that may follow it must have room beside what others still need. */
static int check_room(const struct cns_ledger *ledger, const struct cns_ledger_round *round,
                      struct cns_problem *problem) {
  uint64_t needed = ledger->position.sequence + cns_ledger_book_unfinished(&ledger->book) + 3;
  if (needed > ledger->entries_max)
    return cns_problem_set(problem, CNS_ERR_LIMIT,
                           "%s: the privacy ledger is full: it has at most %llu entries, and what is left "
                           "is kept for rounds that are under way",
                           ledger->database.path, (unsigned long long)ledger->entries_max);
  if (cns_ledger_book_cancelled(&ledger->book, &round->study) >= ledger->cancelled_max)
    return cns_problem_set(problem, CNS_ERR_LIMIT,
                           "%llu rounds of study %s were announced and came to nothing: no more are taken "
                           "into the privacy ledger",
                           (unsigned long long)ledger->cancelled_max, round->study_name);
  return 0;
}

/* What is on record of the same round must be the same. */
static int decide_reservation(const struct cns_ledger_record *record, const struct cns_ledger_round *round,
                              struct cns_problem *problem) {
  if (record && !cns_ledger_round_equal(&record->round, round))
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "round %llu, attempt %u, of study %s is in the privacy ledger with other values",
                           (unsigned long long)record->round.round, record->round.attempt,
                           record->round.study_name);
  return decide(record, CNS_LEDGER_RESERVED, CNS_LEDGER_EVERYONE, problem);
}

static int refuse_again(const struct cns_ledger_record *record, struct cns_problem *problem) {
  return cns_problem_set(problem, CNS_ERR_EXISTS,
                         "round %llu, attempt %u, is in the data's privacy ledger already, as %s: it isn't "
                         "joined again",
                         (unsigned long long)record->round.round, record->round.attempt,
                         names[record->state]);
}

/* Known and new are told apart within the transaction: another process may be at it. */
static int reserve(struct cns_ledger *ledger, const struct cns_ledger_round *round, bool once,
                   const struct cns_ledger_limit *limits, size_t limit_count, int64_t now,
                   struct cns_ledger_verdict *ret_verdict, struct cns_problem *problem) {
  int error = check_arguments(round, limits, limit_count, now, problem);
  if (!error) error = cns_ledger_begin(ledger, problem);
  if (error) return error;
  observe_clock(ledger, now);
  const struct cns_ledger_record *record = cns_ledger_book_find(&ledger->book, &round->descriptor);
  error = once && record ? refuse_again(record, problem) : decide_reservation(record, round, problem);
  if (error) return finish(ledger, error, problem);
  uint32_t month = cns_ledger_month(entry_time(ledger, now));
  error = check_room(ledger, round, problem);
  if (!error) error = check_limits(ledger, round, limits, limit_count, month, ret_verdict, problem);
  if (error) {
    cns_database_rollback(&ledger->database);
    return error;
  }
  error = cns_ledger_append(ledger, CNS_LEDGER_RESERVED, CNS_LEDGER_EVERYONE, round, now, problem);
  return finish(ledger, error, problem);
}

int cns_ledger_reserve(struct cns_ledger *ledger, const struct cns_ledger_round *round,
                       const struct cns_ledger_limit *limits, size_t limit_count, int64_t now,
                       struct cns_ledger_verdict *ret_verdict, struct cns_problem *problem) {
  return reserve(ledger, round, false, limits, limit_count, now, ret_verdict, problem);
}

int cns_ledger_reserve_once(struct cns_ledger *ledger, const struct cns_ledger_round *round,
                            const struct cns_ledger_limit *limits, size_t limit_count, int64_t now,
                            struct cns_ledger_verdict *ret_verdict, struct cns_problem *problem) {
  return reserve(ledger, round, true, limits, limit_count, now, ret_verdict, problem);
}
