/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/watch.h"

#include <stdlib.h>
#include <string.h>

#define VERSION 1

bool cns_watch_is_empty(const struct cns_watch *watch) {
  static const struct cns_watch nothing;
  return memcmp(watch->revealed, nothing.revealed, sizeof nothing.revealed) == 0 &&
         memcmp(watch->quarantined, nothing.quarantined, sizeof nothing.quarantined) == 0 &&
         watch->audited_round == 0;
}

/* Version u8, audited round u64, entries u16, each index u16, revealed u64,
 * quarantined u64, statistic u8, audits u8; then the history as a blob. */
int cns_watch_encode(const struct cns_watch *watch, struct cns_writer *writer) {
  uint16_t count = 0;
  uint8_t *history = NULL;
  size_t len = 0;
  for (size_t i = 1; i <= CNS_HOSPITALS_MAX; i++)
    if (watch->revealed[i] || watch->quarantined[i]) count++;
  cns_write_u8(writer, VERSION);
  cns_write_u64(writer, watch->audited_round);
  cns_write_u16(writer, count);
  for (size_t i = 1; i <= CNS_HOSPITALS_MAX; i++) {
    if (!watch->revealed[i] && !watch->quarantined[i]) continue;
    cns_write_u16(writer, (uint16_t)i);
    cns_write_u64(writer, watch->revealed[i]);
    cns_write_u64(writer, watch->quarantined[i]);
    cns_write_u8(writer, watch->statistic[i]);
    cns_write_u8(writer, watch->audits[i]);
  }
  int r = cns_detect_history_encode(&watch->history, &history, &len);
  if (r == 0) cns_write_blob(writer, history, len);
  free(history);
  return r < 0 ? r : cns_writer_finish(writer);
}

static int read_entries(struct cns_reader *reader, struct cns_watch *watch) {
  uint16_t count = cns_read_u16(reader), last = 0;
  for (uint16_t k = 0; k < count && !reader->error; k++) {
    uint16_t index = cns_read_u16(reader);
    if (index <= last || index > CNS_HOSPITALS_MAX) return CNS_ERR_FORMAT;
    watch->revealed[index] = cns_read_u64(reader);
    watch->quarantined[index] = cns_read_u64(reader);
    watch->statistic[index] = cns_read_u8(reader);
    watch->audits[index] = cns_read_u8(reader);
    if (watch->statistic[index] >= CNS_DETECT_STATISTIC_COUNT) return CNS_ERR_FORMAT;
    last = index;
  }
  return reader->error;
}

int cns_watch_decode(const uint8_t *bytes, size_t len, struct cns_watch *ret_watch) {
  struct cns_reader reader;
  size_t history_len = 0;
  struct cns_watch *watch = calloc(1, sizeof *watch);
  if (!watch) return CNS_ERR_MEMORY;
  cns_reader_init(&reader, bytes, len);
  uint8_t version = cns_read_u8(&reader);
  int r = reader.error ? reader.error : version == VERSION ? 0 : CNS_ERR_VERSION;
  watch->audited_round = cns_read_u64(&reader);
  if (r == 0) r = read_entries(&reader, watch);
  const uint8_t *history = cns_read_blob(&reader, CNS_WATCH_BYTES_MAX, &history_len);
  if (r == 0) r = cns_reader_finish(&reader);
  if (r == 0) r = cns_detect_history_decode(history, history_len, &watch->history);
  if (r == 0) *ret_watch = *watch;
  free(watch);
  return r;
}

bool cns_watch_has_budget(const struct cns_watch *watch, uint16_t index, const struct cns_policy *policy,
                          uint64_t dim) {
  uint64_t budget = cns_policy_sketch_budget(policy, dim), spent = watch->revealed[index];
  return spent <= budget && budget - spent >= policy->sketch;
}

bool cns_watch_has_had_all(const struct cns_watch *watch, uint16_t index, uint64_t round,
                           const struct cns_policy *policy) {
  return watch->audited_round == round && watch->audits[index] >= policy->attempts_per_parent;
}

/* Everyone that is asked counts, whether or not it answers: what left it may
 * have been seen. */
static void count_revealed(struct cns_watch *watch, const struct cns_round *round) {
  const struct cns_descriptor *d = &round->descriptor;
  for (size_t k = 0; k < d->member_count; k++)
    if (cns_round_asked(round, CNS_PHASE_AUDIT, k)) {
      watch->revealed[d->members[k].index] += d->sketch;
      if (watch->audits[d->members[k].index] < UINT8_MAX) watch->audits[d->members[k].index]++;
    }
}

/* A false sketch that a faulty machine doesn't explain. */
static bool new_attack(const struct cns_coordinator *machine, size_t before) {
  size_t count = 0;
  const struct cns_verdict *verdicts = cns_coordinator_verdicts(machine, &count);
  for (size_t v = before; v < count; v++)
    if ((verdicts[v].blame == CNS_BLAME_FALSE_PAIR || verdicts[v].blame == CNS_BLAME_FALSE_SELF) &&
        !verdicts[v].within_bound)
      return true;
  return false;
}

bool cns_watch_closed(struct cns_watch *watch, const struct cns_coordinator *machine,
                      const struct cns_policy *policy, enum cns_phase phase, size_t verdicts_before,
                      uint32_t *ret_tight) {
  const struct cns_round *round = cns_coordinator_round(machine);
  bool changed = false;
  *ret_tight = 0;
  if (round->descriptor.audit_level == CNS_AUDIT_NONE) return false;
  enum cns_phase now = cns_coordinator_phase(machine);
  if (phase == CNS_PHASE_READY && now == CNS_PHASE_UPLOAD) {
    if (watch->audited_round != round->descriptor.round) memset(watch->audits, 0, sizeof watch->audits);
    watch->audited_round = round->descriptor.round;
    changed = true;
  }
  if (phase == CNS_PHASE_UPLOAD && now == CNS_PHASE_AUDIT) {
    count_revealed(watch, round);
    changed = true;
  }
  if (policy->tighten_rounds > 0 && new_attack(machine, verdicts_before) &&
      cns_detect_history_tighten(&watch->history, policy->tighten_rounds, policy->tighten_factor) == 0) {
    *ret_tight = policy->tighten_rounds;
    changed = true;
  }
  return changed;
}

void cns_watch_release(struct cns_watch *watch, uint16_t index) {
  watch->quarantined[index] = 0;
  watch->statistic[index] = 0;
  cns_detect_history_forget(&watch->history, index);
}
