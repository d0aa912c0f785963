/* SPDX-License-Identifier: Apache-2.0 */
/* What was charged in a ledger that is lost goes into another one, all of it or nothing: an agent that starts
 * after half of it would cancel what is only reserved, and take part with the rest of the budget. */
#include "store/carry.h"
#include "store/ledger_internal.h"

static int refuse(const struct cns_ledger_round *round, const char *known, struct cns_problem *problem) {
  return cns_problem_set(problem, CNS_ERR_REFUSED,
                         "round %llu, attempt %u, of study %s was charged, and is in this ledger %s: the two "
                         "contradict each other; the consortium decides. Nothing was carried over",
                         (unsigned long long)round->round, round->attempt, round->study_name, known);
}

/* The data as they were in a round are this ledger's own knowledge. */
static bool same_values(const struct cns_ledger_record *record, const struct cns_ledger_round *round) {
  struct cns_ledger_round other = *round;
  other.data_set = record->round.data_set;
  return cns_ledger_round_equal(&record->round, &other);
}

static int check_known(const struct cns_ledger_record *record, const struct cns_carried_round *carried,
                       const struct cns_ledger_round *round, struct cns_problem *problem) {
  uint8_t free_of = record->state == CNS_LEDGER_CANCELLED ? CNS_LEDGER_EVERYONE : record->refunded;
  if (!same_values(record, round)) return refuse(round, "with other values", problem);
  if (free_of & ~carried->refunded)
    return refuse(round,
                  record->state == CNS_LEDGER_CANCELLED ? "as cancelled" : "as refunded to more observers",
                  problem);
  return 0;
}

/* The book follows at once: the next one may be the same attempt again. */
static int put(struct cns_ledger *ledger, enum cns_ledger_kind kind, uint8_t observers,
               const struct cns_ledger_round *round, int64_t time, struct cns_problem *problem) {
  int r = cns_ledger_append(ledger, kind, observers, round, time, problem);
  return r ? r : cns_ledger_refresh(ledger, problem);
}

/* A kept copy may end in the middle of a round. */
static int import_round(struct cns_ledger *ledger, const struct cns_carried_round *carried,
                        const struct cns_ledger_round *round, size_t *added, struct cns_problem *problem) {
  const struct cns_ledger_record *record = cns_ledger_book_find(&ledger->book, &round->descriptor);
  bool reserved = record && record->state == CNS_LEDGER_RESERVED;
  int r = record ? check_known(record, carried, round, problem) : 0;
  if (r || (record && !reserved)) return r;
  struct cns_ledger_round entry = reserved ? record->round : *round;
  uint8_t refunded = carried->refunded;
  ++*added;
  if (!reserved) r = put(ledger, CNS_LEDGER_RESERVED, CNS_LEDGER_EVERYONE, &entry, carried->time, problem);
  if (!r && refunded == CNS_LEDGER_EVERYONE)
    return put(ledger, CNS_LEDGER_CANCELLED, CNS_LEDGER_EVERYONE, &entry, carried->time, problem);
  if (!r) r = put(ledger, CNS_LEDGER_CHARGED, CNS_LEDGER_EVERYONE, &entry, carried->time, problem);
  if (!r && refunded) r = put(ledger, CNS_LEDGER_REFUNDED, refunded, &entry, carried->time, problem);
  return r;
}

static int import_source(struct cns_ledger *ledger, const struct cns_carry_source *source, size_t *added,
                         struct cns_problem *problem) {
  int r = 0;
  for (size_t k = 0; k < source->carry->count && !r; k++) {
    struct cns_ledger_round round = source->carry->rounds[k].round;
    if (source->study) round.study = *source->study;
    if (source->data_set) round.data_set = *source->data_set;
    r = cns_ledger_check_round(&round, problem);
    if (!r) r = import_round(ledger, &source->carry->rounds[k], &round, added, problem);
  }
  return r;
}

static int check_times(const struct cns_carry *carry, int64_t now, struct cns_problem *problem) {
  for (size_t k = 0; k < carry->count; k++) {
    int64_t time = carry->rounds[k].time;
    if (time >= 0 && time <= now + CNS_LEDGER_CLOCK_TOLERANCE_SECONDS) continue;
    return cns_problem_set(
        problem, CNS_ERR_RANGE,
        "round %llu, attempt %u, was charged at a time that is still to come: this machine's "
        "clock is wrong, or the other's was. Nothing was carried over",
        (unsigned long long)carry->rounds[k].round.round, carry->rounds[k].round.attempt);
  }
  return 0;
}

/* What was read back within the transaction is gone with it. */
static void forget(struct cns_ledger *ledger) {
  cns_database_rollback(&ledger->database);
  cns_ledger_book_deinit(&ledger->book);
  ledger->position = (struct cns_ledger_position){0};
  cns_ledger_genesis(&ledger->owner, &ledger->subject, &ledger->position.digest);
}

static int check_room(const struct cns_ledger *ledger, uint64_t attempts, struct cns_problem *problem) {
  uint64_t needed = ledger->position.sequence + cns_ledger_book_unfinished(&ledger->book) + 3 * attempts;
  if (needed <= ledger->entries_max) return 0;
  return cns_problem_set(
      problem, CNS_ERR_LIMIT,
      "%s: the privacy ledger has no room for %llu attempts more: it has at most %llu entries",
      ledger->database.path, (unsigned long long)attempts, (unsigned long long)ledger->entries_max);
}

int cns_carry_import(const struct cns_carry_source *sources, size_t source_count, struct cns_ledger *ledger,
                     int64_t now, size_t *ret_added, struct cns_problem *problem) {
  uint64_t attempts = 0;
  int r = 0;
  for (size_t k = 0; k < source_count && !r; k++) {
    r = check_times(sources[k].carry, now, problem);
    attempts += sources[k].carry->count;
    ret_added[k] = 0;
  }
  if (!r) r = cns_ledger_begin(ledger, problem);
  if (r) return r;
  r = check_room(ledger, attempts, problem);
  for (size_t k = 0; k < source_count && !r; k++)
    r = import_source(ledger, &sources[k], &ret_added[k], problem);
  if (!r) r = cns_database_commit(&ledger->database, problem);
  if (r) forget(ledger);
  return r;
}
