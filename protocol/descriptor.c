/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/descriptor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "dp/adaptive_clip.h"
#include "dp/noised_metrics.h"

static const char *const phase_names[CNS_PHASE_COUNT] = {
    "none",  "keys",   "shares", "ready",   "upload",  "audit",
    "agree", "unmask", "result", "abandon", "dispute", "forfeit",
};
static const uint8_t phase_order[CNS_PHASE_COUNT] = {
    [CNS_PHASE_KEYS] = 1,    [CNS_PHASE_SHARES] = 2,  [CNS_PHASE_READY] = 3,    [CNS_PHASE_UPLOAD] = 4,
    [CNS_PHASE_AUDIT] = 5,   [CNS_PHASE_DISPUTE] = 6, [CNS_PHASE_AGREE] = 7,    [CNS_PHASE_UNMASK] = 8,
    [CNS_PHASE_FORFEIT] = 9, [CNS_PHASE_RESULT] = 10, [CNS_PHASE_ABANDON] = 11,
};

const char *cns_phase_name(enum cns_phase phase) {
  return (unsigned)phase < CNS_PHASE_COUNT ? phase_names[phase] : "unknown";
}

unsigned cns_phase_order(enum cns_phase phase) {
  return (unsigned)phase < CNS_PHASE_COUNT ? phase_order[phase] : UINT8_MAX;
}

void cns_study_digest(const char *consortium, const char *name, struct cns_digest *ret_digest) {
  struct cns_hash hash;
  cns_hash_init(&hash, "consilium/1 study name");
  cns_hash_blob(&hash, consortium, strlen(consortium));
  cns_hash_blob(&hash, name, strlen(name));
  cns_hash_final(&hash, ret_digest);
}

void cns_descriptor_deinit(struct cns_descriptor *descriptor) {
  free(descriptor->members);
  descriptor->members = NULL;
  descriptor->member_count = 0;
}

int cns_descriptor_copy(const struct cns_descriptor *from, struct cns_descriptor *ret_copy) {
  struct cns_member *members = calloc(from->member_count ? from->member_count : 1, sizeof *members);
  if (!members) return CNS_ERR_MEMORY;
  if (from->member_count) memcpy(members, from->members, from->member_count * sizeof *members);
  *ret_copy = *from;
  ret_copy->members = members;
  return 0;
}

void cns_descriptor_write(struct cns_writer *writer, const struct cns_descriptor *d) {
  cns_write_bytes(writer, d->study.bytes, CNS_DIGEST_BYTES);
  cns_write_u64(writer, d->round);
  cns_write_u32(writer, d->attempt);
  cns_write_bytes(writer, d->parent.bytes, CNS_DIGEST_BYTES);
  cns_write_bytes(writer, d->plan.bytes, CNS_DIGEST_BYTES);
  cns_write_bytes(writer, d->roster.bytes, CNS_DIGEST_BYTES);
  cns_write_bytes(writer, d->policy.bytes, CNS_DIGEST_BYTES);
  cns_write_u64(writer, d->dim);
  cns_write_u32(writer, d->metrics_dim);
  cns_write_f64(writer, d->clip_norm);
  cns_write_u8(writer, (uint8_t)d->scale_log2);
  cns_write_u8(writer, d->bits);
  cns_write_u8(writer, d->audit_level);
  cns_write_u8(writer, d->unit);
  cns_write_u8(writer, d->noise_placement);
  cns_write_f64(writer, d->noise_multiplier);
  cns_write_f64(writer, d->sampling_rate);
  cns_write_u32(writer, d->sketch);
  cns_write_u16(writer, d->colluders);
  cns_write_u16(writer, d->threshold);
  cns_write_u16(writer, d->minimum_included);
  for (size_t p = 0; p < CNS_PHASE_COUNT; p++)
    cns_write_u32(writer, d->deadline_ms[p]);
  cns_write_bytes(writer, d->nonce_commitment.bytes, CNS_DIGEST_BYTES);
  cns_write_u16(writer, d->member_count);
  for (size_t k = 0; k < d->member_count; k++) {
    cns_write_u16(writer, d->members[k].index);
    cns_write_u32(writer, d->members[k].weight);
  }
  if (d->indicator_share != 0 || d->metrics_share != 0) cns_write_f64(writer, d->indicator_share);
  if (d->metrics_share != 0) cns_write_f64(writer, d->metrics_share);
}

static void read_fixed(struct cns_reader *reader, struct cns_descriptor *d) {
  cns_read_bytes(reader, d->study.bytes, CNS_DIGEST_BYTES);
  d->round = cns_read_u64(reader);
  d->attempt = cns_read_u32(reader);
  cns_read_bytes(reader, d->parent.bytes, CNS_DIGEST_BYTES);
  cns_read_bytes(reader, d->plan.bytes, CNS_DIGEST_BYTES);
  cns_read_bytes(reader, d->roster.bytes, CNS_DIGEST_BYTES);
  cns_read_bytes(reader, d->policy.bytes, CNS_DIGEST_BYTES);
  d->dim = cns_read_u64(reader);
  d->metrics_dim = cns_read_u32(reader);
  d->clip_norm = cns_read_f64(reader);
  d->scale_log2 = (int8_t)cns_read_u8(reader);
  d->bits = cns_read_u8(reader);
  d->audit_level = cns_read_u8(reader);
  d->unit = cns_read_u8(reader);
  d->noise_placement = cns_read_u8(reader);
  d->noise_multiplier = cns_read_f64(reader);
  d->sampling_rate = cns_read_f64(reader);
  d->sketch = cns_read_u32(reader);
  d->colluders = cns_read_u16(reader);
  d->threshold = cns_read_u16(reader);
  d->minimum_included = cns_read_u16(reader);
  for (size_t p = 0; p < CNS_PHASE_COUNT; p++)
    d->deadline_ms[p] = cns_read_u32(reader);
  cns_read_bytes(reader, d->nonce_commitment.bytes, CNS_DIGEST_BYTES);
  d->member_count = cns_read_u16(reader);
}

static bool shape_is_sound(const struct cns_descriptor *d) {
  if (d->round == 0 || d->attempt == 0) return false;
  if (d->dim == 0 || d->dim > CNS_DIM_MAX || d->metrics_dim > CNS_METRICS_DIM_MAX) return false;
  if (!isfinite(d->clip_norm) || !(d->clip_norm > 0)) return false;
  if (!isfinite(d->noise_multiplier) || !isfinite(d->sampling_rate)) return false;
  if (d->member_count == 0 || d->member_count > CNS_HOSPITALS_MAX) return false;
  for (size_t p = 0; p < CNS_PHASE_COUNT; p++)
    if (d->deadline_ms[p] > CNS_DEADLINE_MS_MAX) return false;
  return true;
}

/* At the end, and only there if the clip norm is adaptive, or with noised metrics the
 * second one of two: rounds without keep their bytes. */
#define SHARE_BYTES 8
#define SHARES_MAX 2

static bool shares_are_sound(const struct cns_descriptor *d, size_t shares) {
  bool adaptive =
      d->indicator_share >= CNS_ADAPTIVE_CLIP_SHARE_MIN && d->indicator_share <= CNS_ADAPTIVE_CLIP_SHARE_MAX;
  bool noised =
      d->metrics_share >= CNS_NOISED_METRICS_SHARE_MIN && d->metrics_share <= CNS_NOISED_METRICS_SHARE_MAX;
  if (shares == 0) return true;
  if (shares == 1) return adaptive && d->dim >= 2;
  /* +0 in full: one way to write it, and no other. */
  bool fixed = d->indicator_share == 0 && !signbit(d->indicator_share);
  return noised && (adaptive ? d->dim >= 4 : fixed && d->dim >= 3);
}

static bool members_are_sound(const struct cns_descriptor *d) {
  for (size_t k = 0; k < d->member_count; k++) {
    const struct cns_member *member = &d->members[k];
    if (member->index == 0 || member->index > CNS_HOSPITALS_MAX || member->weight == 0) return false;
    if (k > 0 && member->index <= d->members[k - 1].index) return false;
  }
  return true;
}

int cns_descriptor_read(const uint8_t *data, size_t len, struct cns_descriptor *ret_descriptor) {
  struct cns_reader reader;
  struct cns_descriptor d = {0};
  cns_reader_init(&reader, data, len);
  read_fixed(&reader, &d);
  if (reader.error) return reader.error;
  if (!shape_is_sound(&d)) return CNS_ERR_FORMAT;
  size_t left = cns_reader_left(&reader), members = (size_t)d.member_count * 6;
  size_t shares = left < members ? 0 : (left - members) / SHARE_BYTES;
  if (shares > SHARES_MAX || left != members + shares * SHARE_BYTES) return CNS_ERR_FORMAT;
  d.members = calloc(d.member_count, sizeof *d.members);
  if (!d.members) return CNS_ERR_MEMORY;
  for (size_t k = 0; k < d.member_count; k++) {
    d.members[k].index = cns_read_u16(&reader);
    d.members[k].weight = cns_read_u32(&reader);
  }
  if (shares > 0) d.indicator_share = cns_read_f64(&reader);
  if (shares > 1) d.metrics_share = cns_read_f64(&reader);
  int r = cns_reader_finish(&reader);
  if (r == 0 && (!members_are_sound(&d) || !shares_are_sound(&d, shares))) r = CNS_ERR_FORMAT;
  if (r < 0) {
    cns_descriptor_deinit(&d);
    return r;
  }
  *ret_descriptor = d;
  return 0;
}

int cns_descriptor_digest(const struct cns_descriptor *descriptor, struct cns_digest *ret_digest) {
  struct cns_writer writer;
  cns_writer_init(&writer, CNS_DESCRIPTOR_BYTES_MAX);
  cns_descriptor_write(&writer, descriptor);
  int r = cns_writer_finish(&writer);
  if (r == 0) cns_hash_once("consilium/1 descriptor", writer.data, writer.len, ret_digest);
  cns_writer_deinit(&writer);
  return r;
}

int cns_descriptor_position(const struct cns_descriptor *descriptor, uint16_t index) {
  size_t low = 0, high = descriptor->member_count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (descriptor->members[middle].index < index)
      low = middle + 1;
    else
      high = middle;
  }
  if (low < descriptor->member_count && descriptor->members[low].index == index) return (int)low;
  return -1;
}

uint64_t cns_descriptor_words(const struct cns_descriptor *descriptor) {
  return descriptor->dim + descriptor->metrics_dim;
}

void cns_descriptor_mechanism(const struct cns_descriptor *d, uint32_t *weights,
                              struct cns_mechanism *ret_mechanism) {
  for (size_t k = 0; k < d->member_count; k++)
    weights[k] = d->members[k].weight;
  *ret_mechanism = (struct cns_mechanism){
      .unit = (enum cns_privacy_unit)d->unit,
      .placement = (enum cns_noise_placement)d->noise_placement,
      .noise_multiplier = d->noise_multiplier,
      .sampling_rate = d->sampling_rate,
      .clip = d->clip_norm,
      .indicator_share = d->indicator_share,
      .metrics_share = d->metrics_share,
      .dim = d->dim,
      .scale_log2 = d->scale_log2,
      .colluders = d->colluders,
      .minimum_included = d->minimum_included,
      .count = d->member_count,
      .weights = weights,
  };
}

int cns_descriptor_compute(const struct cns_descriptor *d, uint32_t *weights,
                           struct cns_mechanism *ret_mechanism, struct cns_mechanism_numbers *ret_numbers,
                           struct cns_problem *problem) {
  cns_descriptor_mechanism(d, weights, ret_mechanism);
  return cns_mechanism_compute(ret_mechanism, ret_numbers, problem);
}

int cns_descriptor_numbers(const struct cns_descriptor *d, struct cns_mechanism_numbers *ret_numbers,
                           struct cns_problem *problem) {
  uint32_t weights[CNS_HOSPITALS_MAX];
  struct cns_mechanism mechanism;
  return cns_descriptor_compute(d, weights, &mechanism, ret_numbers, problem);
}

int cns_descriptor_bound(const struct cns_descriptor *d, size_t k, uint64_t *ret_bound) {
  uint32_t weights[CNS_HOSPITALS_MAX];
  struct cns_mechanism mechanism;
  struct cns_mechanism_numbers numbers;
  int r = cns_descriptor_compute(d, weights, &mechanism, &numbers, NULL);
  return r ? r : cns_mechanism_bound(&mechanism, weights[k], numbers.sigma_local, ret_bound);
}

int cns_descriptor_choose_scale(struct cns_descriptor *d, struct cns_problem *problem) {
  uint32_t weights[CNS_HOSPITALS_MAX];
  struct cns_mechanism mechanism;
  int8_t scale = 0;
  cns_descriptor_mechanism(d, weights, &mechanism);
  int r = cns_mechanism_choose_scale(&mechanism, &scale, problem);
  if (r == 0) d->scale_log2 = scale;
  return r;
}
