/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/cursor.h"
#include "robust/cohort.h"

#define VERSION 1
#define TIGHT_FACTOR_MAX 100.0
/* So that a hospital whose data have changed back is ordinary again some rounds later. */
#define CUSUM_MAX 20.0
/* The limits are those of independent rounds; hospitals whose patients differ do
 * so in every round, so the nominal rate is taken this much smaller. */
#define DEPENDENCE 10
/* What one round counts at most: its own flag says the rest. */
#define SURPRISE_MAX 2.0
#define ENTRY_BYTES 22

static void add_flag(const struct cns_cohort *cohort, size_t row, enum cns_detect_statistic statistic,
                     double value, double threshold, double rate, struct cns_detect_result *result) {
  struct cns_detect_flag *flag = &result->flags[result->flag_count++];
  *flag = (struct cns_detect_flag){.row = row,
                                   .hospital = cns_cohort_index(cohort->input, row),
                                   .statistic = statistic,
                                   .value = value,
                                   .threshold = threshold,
                                   .median = NAN,
                                   .mad = NAN,
                                   .rate = rate,
                                   .strength = value / threshold,
                                   .twin = CNS_DETECT_NONE,
                                   .cluster = CNS_DETECT_NONE};
  cns_detect_flag_text(cohort, flag);
}

/* Page 1954 (CUSUM), Roberts 1959 (EWMA), on the surprise of each round. */
static void remember(struct cns_detect_memory *memory, double surprise) {
  if (memory->rounds == 0) *memory = (struct cns_detect_memory){.ewma = CNS_REFERENCE_MEAN};
  surprise = fmin(surprise, SURPRISE_MAX);
  memory->ewma += CNS_REFERENCE_EWMA_SHARE * (surprise - memory->ewma);
  memory->cusum = fmin(fmax(0, memory->cusum + surprise - CNS_REFERENCE_CUSUM_DRIFT), CUSUM_MAX);
  if (memory->rounds < UINT32_MAX) memory->rounds++;
}

int cns_detect_history_step(struct cns_detect_history *history, const struct cns_detect_input *input,
                            const struct cns_detect_options *options, struct cns_detect_result *result,
                            struct cns_problem *problem) {
  struct cns_cohort cohort = {.input = input, .n = input->hospitals};
  double rate;
  int r = cns_detect_rate_each(options, &rate, problem);
  if (r < 0) return r;
  if (result->hospitals != input->hospitals)
    return cns_problem_set(problem, CNS_ERR_ARGUMENT, "the result is of %zu hospitals, not of these %zu",
                           result->hospitals, input->hospitals);
  rate /= DEPENDENCE;
  double ewma_limit = cns_reference_ewma_limit(rate), cusum_limit = cns_reference_cusum_limit(rate);
  for (size_t i = 0; i < input->hospitals; i++) {
    uint16_t index = cns_cohort_index(input, i);
    if (index > CNS_HOSPITALS_MAX)
      return cns_problem_set(problem, CNS_ERR_RANGE, "hospital index %u is above %u", index,
                             CNS_HOSPITALS_MAX);
    struct cns_detect_memory *memory = &history->of[index];
    remember(memory, result->surprise[i]);
    if (memory->rounds < 2) continue; /* one round is no history */
    if (memory->ewma > ewma_limit)
      add_flag(&cohort, i, CNS_DETECT_EWMA, memory->ewma, ewma_limit, rate, result);
    if (memory->cusum > cusum_limit)
      add_flag(&cohort, i, CNS_DETECT_CUSUM, memory->cusum, cusum_limit, rate, result);
  }
  cns_detect_flags_sort(result->flags, result->flag_count);
  if (history->tight_rounds > 0 && --history->tight_rounds == 0) history->tight_factor = 0;
  return 0;
}

int cns_detect_history_tighten(struct cns_detect_history *history, uint32_t rounds, double factor) {
  if (!(factor >= 1) || !(factor <= TIGHT_FACTOR_MAX)) return CNS_ERR_ARGUMENT;
  if (rounds == 0) return 0;
  if (rounds > history->tight_rounds) history->tight_rounds = rounds;
  history->tight_factor = fmax(history->tight_factor, factor);
  return 0;
}

double cns_detect_history_factor(const struct cns_detect_history *history) {
  return history->tight_rounds > 0 ? fmax(1, history->tight_factor) : 1;
}

void cns_detect_history_forget(struct cns_detect_history *history, uint16_t hospital) {
  if (hospital <= CNS_HOSPITALS_MAX) history->of[hospital] = (struct cns_detect_memory){0};
}

int cns_detect_history_encode(const struct cns_detect_history *history, uint8_t **ret_bytes,
                              size_t *ret_len) {
  struct cns_writer writer;
  uint32_t count = 0;
  for (size_t h = 0; h <= CNS_HOSPITALS_MAX; h++)
    count += history->of[h].rounds > 0;
  cns_writer_init(&writer, 32 + ENTRY_BYTES * (CNS_HOSPITALS_MAX + 1));
  cns_write_u8(&writer, VERSION);
  cns_write_u32(&writer, history->tight_rounds);
  cns_write_f64(&writer, history->tight_factor);
  cns_write_u32(&writer, count);
  for (size_t h = 0; h <= CNS_HOSPITALS_MAX; h++) {
    if (history->of[h].rounds == 0) continue;
    cns_write_u16(&writer, (uint16_t)h);
    cns_write_f64(&writer, history->of[h].ewma);
    cns_write_f64(&writer, history->of[h].cusum);
    cns_write_u32(&writer, history->of[h].rounds);
  }
  int r = cns_writer_finish(&writer);
  uint8_t *bytes = r == 0 ? malloc(writer.len) : NULL;
  if (bytes) {
    memcpy(bytes, writer.data, writer.len);
    *ret_bytes = bytes;
    *ret_len = writer.len;
  } else if (r == 0)
    r = CNS_ERR_MEMORY;
  cns_writer_deinit(&writer);
  return r;
}

static void read_entry(struct cns_reader *reader, struct cns_detect_history *history, uint32_t *next) {
  uint16_t h = cns_read_u16(reader);
  struct cns_detect_memory memory = {.ewma = cns_read_f64(reader), .cusum = cns_read_f64(reader)};
  memory.rounds = cns_read_u32(reader);
  if (h < *next || h > CNS_HOSPITALS_MAX || !isfinite(memory.ewma) || memory.ewma < 0 ||
      !(memory.cusum >= 0) || memory.cusum > CUSUM_MAX || memory.rounds == 0) {
    cns_reader_fail(reader, CNS_ERR_FORMAT);
    return;
  }
  history->of[h] = memory;
  *next = h + 1u;
}

int cns_detect_history_decode(const uint8_t *bytes, size_t len, struct cns_detect_history *ret_history) {
  struct cns_reader reader;
  struct cns_detect_history *history = calloc(1, sizeof *history);
  if (!history) return CNS_ERR_MEMORY;
  cns_reader_init(&reader, bytes, len);
  if (cns_read_u8(&reader) != VERSION) cns_reader_fail(&reader, CNS_ERR_VERSION);
  history->tight_rounds = cns_read_u32(&reader);
  history->tight_factor = cns_read_f64(&reader);
  uint32_t count = cns_read_u32(&reader), next = 0;
  bool tight = history->tight_rounds > 0;
  if (tight ? !(history->tight_factor >= 1 && history->tight_factor <= TIGHT_FACTOR_MAX)
            : history->tight_factor != 0)
    cns_reader_fail(&reader, CNS_ERR_FORMAT);
  for (uint32_t e = 0; e < count && reader.error == 0; e++)
    read_entry(&reader, history, &next);
  int r = cns_reader_finish(&reader);
  if (r == 0) *ret_history = *history;
  free(history);
  return r;
}
