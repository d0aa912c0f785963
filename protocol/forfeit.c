/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/forfeit.h"

#include <string.h>

size_t cns_forfeits_count(const struct cns_forfeits *forfeits) {
  return forfeits->rounds ? forfeits->ends[forfeits->rounds - 1] : 0;
}

size_t cns_forfeits_last(const struct cns_forfeits *forfeits) {
  return forfeits->rounds > 1 ? forfeits->ends[forfeits->rounds - 2] : 0;
}

bool cns_forfeits_has(const struct cns_forfeits *forfeits, uint16_t index) {
  for (size_t a = 0; a < cns_forfeits_count(forfeits); a++)
    if (forfeits->accused[a] == index) return true;
  return false;
}

bool cns_forfeits_continue(const struct cns_forfeits *earlier, const struct cns_forfeits *later) {
  size_t count = cns_forfeits_count(earlier);
  if (earlier->rounds > later->rounds) return false;
  return memcmp(earlier->ends, later->ends, earlier->rounds * sizeof *earlier->ends) == 0 &&
         memcmp(earlier->accused, later->accused, count * sizeof *earlier->accused) == 0;
}

void cns_forfeits_write(struct cns_writer *writer, const struct cns_forfeits *forfeits) {
  size_t at = 0;
  cns_write_u16(writer, forfeits->rounds);
  for (size_t f = 0; f < forfeits->rounds; f++) {
    cns_write_u16(writer, (uint16_t)(forfeits->ends[f] - at));
    for (; at < forfeits->ends[f]; at++)
      cns_write_u16(writer, forfeits->accused[at]);
  }
}

/* One round's; false for an empty one, an order that isn't ascending, a name twice. */
static bool read_round(struct cns_reader *reader, struct cns_forfeits *forfeits, size_t f) {
  size_t at = f ? forfeits->ends[f - 1] : 0;
  uint16_t count = cns_read_u16(reader), before = 0;
  if (count == 0 || count > CNS_HOSPITALS_MAX - at) return false;
  for (uint16_t a = 0; a < count; a++) {
    uint16_t index = cns_read_u16(reader);
    if (index <= before) return false;
    for (size_t other = 0; other < at; other++)
      if (forfeits->accused[other] == index) return false;
    forfeits->accused[at + a] = before = index;
  }
  forfeits->ends[f] = (uint16_t)(at + count);
  return !reader->error;
}

void cns_forfeits_read(struct cns_reader *reader, struct cns_forfeits *ret_forfeits) {
  struct cns_forfeits forfeits = {.rounds = cns_read_u16(reader)};
  bool good = forfeits.rounds > 0 && forfeits.rounds <= CNS_FORFEIT_ROUNDS_MAX;
  for (size_t f = 0; good && f < forfeits.rounds; f++)
    good = read_round(reader, &forfeits, f);
  if (!good)
    cns_reader_fail(reader, CNS_ERR_FORMAT);
  else
    *ret_forfeits = forfeits;
}

void cns_forfeits_transcript(const struct cns_digest *transcript_agree, const struct cns_forfeits *forfeits,
                             struct cns_digest *ret_transcript) {
  struct cns_hash hash;
  cns_hash_init(&hash, "consilium/1 forfeits");
  cns_hash_digest(&hash, transcript_agree);
  cns_hash_u16(&hash, forfeits->rounds);
  for (size_t f = 0; f < forfeits->rounds; f++)
    cns_hash_u16(&hash, forfeits->ends[f]);
  for (size_t a = 0; a < cns_forfeits_count(forfeits); a++)
    cns_hash_u16(&hash, forfeits->accused[a]);
  cns_hash_final(&hash, ret_transcript);
}
