/* SPDX-License-Identifier: Apache-2.0 */
/* Where each round stands: always computed from the entries, never stored. */
#include <stdlib.h>
#include <time.h>

#include "crypto/bytes.h"
#include "store/ledger_internal.h"

#define SLOTS_MIN 64

void cns_ledger_book_deinit(struct cns_ledger_book *book) {
  free(book->records);
  free(book->slots);
  *book = (struct cns_ledger_book){0};
}

uint32_t cns_ledger_month(int64_t time) {
  time_t seconds = (time_t)time;
  struct tm utc;
  if (time < 0 || time > CNS_LEDGER_TIME_MAX || !gmtime_r(&seconds, &utc)) return 0;
  return (uint32_t)(utc.tm_year + 1900) * 100 + (uint32_t)utc.tm_mon + 1;
}

/* The slot of a descriptor, or the empty one where it would be. Digests are spread
 * evenly, and only the owner's own are in here. */
static size_t find_slot(const struct cns_ledger_book *book, const struct cns_digest *descriptor) {
  size_t at = (size_t)cns_load_le64(descriptor->bytes) & (book->slot_count - 1);
  while (book->slots[at] != 0 &&
         !cns_digest_equal(&book->records[book->slots[at] - 1].round.descriptor, descriptor))
    at = (at + 1) & (book->slot_count - 1);
  return at;
}

struct cns_ledger_record *cns_ledger_book_find(const struct cns_ledger_book *book,
                                               const struct cns_digest *descriptor) {
  if (book->slot_count == 0) return NULL;
  uint32_t found = book->slots[find_slot(book, descriptor)];
  return found ? &book->records[found - 1] : NULL;
}

static int grow_slots(struct cns_ledger_book *book) {
  size_t slot_count = book->slot_count ? book->slot_count * 2 : SLOTS_MIN;
  uint32_t *slots = calloc(slot_count, sizeof(*slots));
  if (!slots) return CNS_ERR_MEMORY;
  free(book->slots);
  book->slots = slots;
  book->slot_count = slot_count;
  for (size_t k = 0; k < book->count; k++)
    slots[find_slot(book, &book->records[k].round.descriptor)] = (uint32_t)k + 1;
  return 0;
}

static int make_room(struct cns_ledger_book *book) {
  if (book->count == book->capacity) {
    size_t capacity = book->capacity ? book->capacity * 2 : SLOTS_MIN / 2;
    struct cns_ledger_record *records = realloc(book->records, capacity * sizeof(*records));
    if (!records) return CNS_ERR_MEMORY;
    book->records = records;
    book->capacity = capacity;
  }
  return 2 * (book->count + 1) > book->slot_count ? grow_slots(book) : 0;
}

static int add(struct cns_ledger_book *book, const struct cns_ledger_entry *entry) {
  int error = make_room(book);
  if (error) return error;
  size_t slot = find_slot(book, &entry->round.descriptor);
  book->records[book->count] = (struct cns_ledger_record){
      .round = entry->round, .month = cns_ledger_month(entry->time), .state = CNS_LEDGER_RESERVED};
  book->slots[slot] = (uint32_t)++book->count;
  return 0;
}

int cns_ledger_book_apply(struct cns_ledger_book *book, const struct cns_ledger_entry *entry) {
  struct cns_ledger_record *record = cns_ledger_book_find(book, &entry->round.descriptor);
  if (entry->kind == CNS_LEDGER_RESERVED) return record ? CNS_ERR_FORMAT : add(book, entry);
  bool early = entry->kind == CNS_LEDGER_CHARGED || entry->kind == CNS_LEDGER_CANCELLED;
  enum cns_ledger_kind before = early ? CNS_LEDGER_RESERVED : CNS_LEDGER_CHARGED;
  if (!record || record->state != before || !cns_ledger_round_equal(&record->round, &entry->round))
    return CNS_ERR_FORMAT;
  record->state = entry->kind;
  if (entry->kind == CNS_LEDGER_REFUNDED) record->refunded = entry->observers;
  return 0;
}

static bool counts(const struct cns_ledger_record *record, const struct cns_digest *study,
                   enum cns_ledger_observer observer, uint32_t month) {
  return record->state != CNS_LEDGER_CANCELLED && (record->refunded & CNS_LEDGER_BIT(observer)) == 0 &&
         (!study || cns_digest_equal(&record->round.study, study)) && (month == 0 || record->month == month);
}

int cns_ledger_book_costs(const struct cns_ledger_book *book, const struct cns_digest *study,
                          enum cns_ledger_observer observer, uint32_t month,
                          struct cns_budget_cost **ret_costs, size_t *ret_count) {
  struct cns_budget_cost *costs = NULL;
  size_t count = 0;
  for (size_t k = 0; k < book->count; k++)
    count += counts(&book->records[k], study, observer, month);
  if (count > 0) {
    costs = calloc(count, sizeof(*costs));
    if (!costs) return CNS_ERR_MEMORY;
  }
  size_t at = 0;
  for (size_t k = 0; k < book->count; k++)
    if (counts(&book->records[k], study, observer, month))
      costs[at++] = book->records[k].round.costs[observer];
  *ret_costs = costs;
  *ret_count = count;
  return 0;
}

uint64_t cns_ledger_book_unfinished(const struct cns_ledger_book *book) {
  uint64_t entries = 0;
  for (size_t k = 0; k < book->count; k++)
    entries += book->records[k].state == CNS_LEDGER_RESERVED  ? 2
               : book->records[k].state == CNS_LEDGER_CHARGED ? 1
                                                              : 0;
  return entries;
}

uint64_t cns_ledger_book_cancelled(const struct cns_ledger_book *book, const struct cns_digest *study) {
  uint64_t rounds = 0;
  for (size_t k = 0; k < book->count; k++)
    rounds += book->records[k].state == CNS_LEDGER_CANCELLED &&
              cns_digest_equal(&book->records[k].round.study, study);
  return rounds;
}

static bool is_reserved(const struct cns_ledger_record *record, const struct cns_digest *study) {
  return record->state == CNS_LEDGER_RESERVED && cns_digest_equal(&record->round.study, study);
}

int cns_ledger_book_reserved(const struct cns_ledger_book *book, const struct cns_digest *study,
                             struct cns_digest **ret_descriptors, size_t *ret_count) {
  struct cns_digest *descriptors = NULL;
  size_t count = 0, at = 0;
  for (size_t k = 0; k < book->count; k++)
    count += is_reserved(&book->records[k], study);
  if (count > 0) {
    descriptors = calloc(count, sizeof(*descriptors));
    if (!descriptors) return CNS_ERR_MEMORY;
  }
  for (size_t k = 0; k < book->count; k++)
    if (is_reserved(&book->records[k], study)) descriptors[at++] = book->records[k].round.descriptor;
  *ret_descriptors = descriptors;
  *ret_count = count;
  return 0;
}
