/* SPDX-License-Identifier: Apache-2.0 */
/* Hospitals that break the protocol: they run the same machine, and change what
 * it is told and what it says. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/simulation_internal.h"
#include "protocol/unmask.h"

/* ---- who, and with whom ---- */

int cns_simulation_liars_choose(struct cns_simulation *s) {
  const struct cns_simulation_options *o = &s->options;
  struct cns_rng_seeded rng;
  cns_rng_seeded_init_label(&rng, o->seed, "simulation attackers");
  for (size_t k = 0; k < o->hospitals; k++)
    s->hospitals[k].mate = s->hospitals[k].partner = CNS_SIMULATION_NOBODY;
  for (size_t a = 0; a < o->attack_count; a++) {
    size_t single = CNS_SIMULATION_NOBODY;
    for (size_t chosen = 0; chosen < o->attacks[a].count;) {
      uint64_t k;
      int r = cns_rng_uniform_u64(cns_rng_seeded(&rng), o->hospitals, &k);
      if (r < 0) return r;
      if (s->hospitals[k].attack) continue;
      s->hospitals[k].attack = &o->attacks[a];
      s->result.malicious[k] = true;
      chosen++;
      if (o->attacks[a].lie != CNS_LIE_FALSE_PAIR_AGREED) continue;
      if (single == CNS_SIMULATION_NOBODY) {
        single = k;
        continue;
      }
      s->hospitals[k].mate = single;
      s->hospitals[single].mate = k;
      single = CNS_SIMULATION_NOBODY;
    }
  }
  return 0;
}

/* The next honest member behind p, one that stays if there is one. */
static size_t find_victim(const struct cns_simulation *s, size_t p) {
  for (int any = 0; any < 2; any++)
    for (size_t step = 1; step < s->members; step++) {
      const struct cns_simulation_hospital *other = cns_simulation_member(s, (p + step) % s->members);
      if (!other->attack && (any || other->silent_from == CNS_PHASE_COUNT))
        return s->cohort[(p + step) % s->members];
    }
  return CNS_SIMULATION_NOBODY;
}

/* The next of the same attack. */
static size_t find_next(const struct cns_simulation *s, size_t p) {
  for (size_t step = 1; step < s->members; step++) {
    size_t other = (p + step) % s->members;
    if (cns_simulation_member(s, other)->attack == cns_simulation_member(s, p)->attack)
      return s->cohort[other];
  }
  return CNS_SIMULATION_NOBODY;
}

void cns_simulation_liars_begin(struct cns_simulation *s) {
  for (size_t p = 0; p < s->members; p++) {
    struct cns_simulation_hospital *hospital = cns_simulation_member(s, p);
    hospital->partner = CNS_SIMULATION_NOBODY;
    hospital->silent_in = CNS_PHASE_NONE;
    if (!hospital->attack) continue;
    if (hospital->attack->lie == CNS_LIE_DROP)
      hospital->silent_from = s->options.audit ? CNS_PHASE_AUDIT : CNS_PHASE_AGREE;
    if (hospital->attack->lie == CNS_LIE_FALSE_PAIR) hospital->partner = find_victim(s, p);
    if (hospital->attack->lie == CNS_LIE_FALSE_PAIR_AGREED &&
        s->hospitals[hospital->mate].position != CNS_SIMULATION_NOBODY)
      hospital->partner = hospital->mate;
    if (hospital->attack->lie != CNS_LIE_REFUSE_OPENING) continue;
    hospital->partner = find_next(s, p);
    hospital->silent_in = hospital->partner == CNS_SIMULATION_NOBODY ? CNS_PHASE_AUDIT : CNS_PHASE_DISPUTE;
  }
}

/* ---- in phase audit ---- */

bool cns_simulation_lies_in_audit(const struct cns_simulation_hospital *hospital) {
  if (!hospital->attack) return false;
  enum cns_simulation_lie lie = hospital->attack->lie;
  bool about_pair =
      lie == CNS_LIE_FALSE_PAIR || lie == CNS_LIE_FALSE_PAIR_AGREED || lie == CNS_LIE_REFUSE_OPENING;
  return lie == CNS_LIE_FALSE_SELF || (about_pair && hospital->partner != CNS_SIMULATION_NOBODY);
}

/* A of the update that the liar claims to have sent: its honest one. */
static int sketch_own(struct cns_simulation *s, size_t p, const struct cns_hospital_audit *audit,
                      uint32_t *ret_sketch) {
  uint32_t *x = malloc(s->options.dim * sizeof *x);
  const uint32_t *const vectors[] = {x};
  struct cns_rng_seeded rng;
  char label[64];
  snprintf(label, sizeof label, "simulation claim %zu", p);
  cns_rng_seeded_init_label(&rng, s->options.seed + s->descriptor.round, label);
  int r = x ? cns_simulation_updates_honest(s, p, cns_rng_seeded(&rng), x, NULL) : CNS_ERR_MEMORY;
  if (r == 0)
    r = cns_sketch_vectors(&audit->key, audit->k, vectors, 1, audit->dim, (struct cns_parallel){0},
                           ret_sketch);
  free(x);
  return r;
}

/* A of what the second of an agreed pair claims, while the first sent it. */
static int sketch_agreed(struct cns_simulation *s, size_t second, const struct cns_hospital_audit *audit,
                         uint32_t *ret_sketch) {
  const struct cns_simulation_hospital *hospital = cns_simulation_member(s, second);
  uint32_t *x = malloc(s->options.dim * sizeof *x);
  const uint32_t *const vectors[] = {x};
  if (!x) return CNS_ERR_MEMORY;
  cns_simulation_round_freely(s->vectors.own + second * s->options.dim, s->options.dim,
                              ldexp(hospital->attack->scale * hospital->weight, s->descriptor.scale_log2), x);
  int r =
      cns_sketch_vectors(&audit->key, audit->k, vectors, 1, audit->dim, (struct cns_parallel){0}, ret_sketch);
  free(x);
  return r;
}

/* What the words about the self mask (partner: oneself) or a pair's mask are changed by. */
static int make_lie(struct cns_simulation *s, size_t p, const struct cns_hospital_audit *audit,
                    const uint32_t *of_x, uint32_t *ret_lie) {
  const struct cns_simulation_hospital *hospital = cns_simulation_member(s, p);
  uint32_t own[CNS_SKETCH_MAX];
  uint16_t index = (uint16_t)(s->cohort[p] + 1);
  memset(ret_lie, 0, audit->k * sizeof *ret_lie);
  if (hospital->attack->lie == CNS_LIE_REFUSE_OPENING) {
    ret_lie[0] = index; /* another change than the other side's */
    return 0;
  }
  if (hospital->attack->lie == CNS_LIE_FALSE_PAIR_AGREED) {
    size_t other = s->hospitals[hospital->partner].position, second = p > other ? p : other;
    int r = sketch_agreed(s, second, audit, own);
    if (r == 0) cns_sketch_add(ret_lie, own, 1, audit->k); /* + for the first: its index is the lower */
    return r;
  }
  int r = sketch_own(s, p, audit, own);
  int sign = hospital->attack->lie == CNS_LIE_FALSE_SELF
                 ? 1
                 : cns_pair_sign(index, (uint16_t)(hospital->partner + 1));
  if (r < 0) return r;
  cns_sketch_add(ret_lie, of_x, sign, audit->k);
  cns_sketch_add(ret_lie, own, -sign, audit->k);
  return 0;
}

int cns_simulation_liars_sketch(struct cns_simulation *s, size_t p, const struct cns_hospital_audit *audit,
                                const uint32_t *of_y, uint32_t *masks, uint32_t *of_x) {
  const struct cns_simulation_hospital *hospital = cns_simulation_member(s, p);
  const struct cns_mask_term *terms = NULL;
  uint32_t lie[CNS_SKETCH_MAX];
  size_t count = 0, m = 0;
  int r = cns_hospital_masks(hospital->machine, &terms, &count);
  if (r == 0) r = make_lie(s, p, audit, of_x, lie);
  if (r < 0) return r;
  if (hospital->attack->lie != CNS_LIE_FALSE_SELF)
    for (m = 1; m < audit->count && audit->partners[m] != s->hospitals[hospital->partner].position;)
      m++;
  if (m == audit->count) return 0; /* the other left before: there is no such mask */
  cns_sketch_add(masks + m * audit->k, lie, 1, audit->k);
  memcpy(of_x, of_y, audit->k * sizeof *of_x);
  for (m = 0; m < audit->count; m++)
    cns_sketch_add(of_x, masks + m * audit->k, -terms[m].sign, audit->k);
  return 0;
}

/* ---- in any phase ---- */

/* The answer's message with another body or root, signed again, in `forged`. */
static int forge(struct cns_simulation *s, size_t p, bool share) {
  struct cns_simulation_hospital *hospital = cns_simulation_member(s, p);
  struct cns_message message;
  struct cns_reader reader;
  cns_reader_init(&reader, hospital->answer, hospital->answer_len);
  cns_message_read(&reader, &message);
  if (reader.error) return CNS_ERR_STATE;
  uint8_t *body = malloc(message.body_len + 1);
  if (!body) return CNS_ERR_MEMORY;
  memcpy(body, message.body, message.body_len);
  message.body = body;
  if (share && message.body_len >= 2 + CNS_RELEASED_BYTES) {
    memset(body + 2 + 3, 0, CNS_SCALAR_BYTES);
    body[2 + 3] = 7;
  } else if (message.body_len > 0)
    body[message.body_len - 1] ^= 1;
  else
    message.root.bytes[0] ^= 1;
  int r = cns_message_sign(&message, hospital->identity);
  cns_writer_deinit(&hospital->forged);
  cns_writer_init(&hospital->forged, CNS_ANSWER_BYTES_MAX);
  cns_message_write(&hospital->forged, &message);
  free(body);
  return r < 0 ? r : cns_writer_finish(&hospital->forged);
}

int cns_simulation_liars_answer(struct cns_simulation *s, size_t p, enum cns_phase phase) {
  struct cns_simulation_hospital *hospital = cns_simulation_member(s, p);
  if (!hospital->attack || !hospital->answer || hospital->attack->lie != CNS_LIE_WRONG_SHARE ||
      phase != CNS_PHASE_UNMASK)
    return 0;
  int r = forge(s, p, true);
  if (r < 0) return r;
  hospital->answer = hospital->forged.data;
  hospital->answer_len = hospital->forged.len;
  return 0;
}

int cns_simulation_liars_answer_again(struct cns_simulation *s, size_t p, enum cns_phase phase,
                                      struct cns_problem *problem) {
  struct cns_simulation_hospital *hospital = cns_simulation_member(s, p);
  if (!hospital->attack || hospital->attack->lie != CNS_LIE_EQUIVOCATE ||
      phase != (s->options.audit ? CNS_PHASE_AUDIT : CNS_PHASE_AGREE))
    return 0;
  int r = forge(s, p, false);
  if (r < 0) return r;
  hospital->bytes_up += hospital->forged.len;
  r = cns_coordinator_receive(s->coordinator, p, hospital->forged.data, hospital->forged.len, NULL, problem);
  return r == CNS_ANSWER_NAMED ? 0 : r < 0 ? r : CNS_ERR_STATE;
}
