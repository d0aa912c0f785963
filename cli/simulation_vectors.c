/* SPDX-License-Identifier: Apache-2.0 */
/* The vectors of a round: drawn, clipped, rounded, masked, added, unmasked. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/simulation_internal.h"
#include "dp/clip.h"
#include "dp/quantize.h"

/* Key schedules that are held at once: some 100 KiB. */
#define TERMS_AT_ONCE 256

static size_t min_size(size_t a, size_t b) {
  return a < b ? a : b;
}

int cns_simulation_vectors_new(struct cns_simulation *s) {
  struct cns_simulation_vectors *v = &s->vectors;
  size_t dim = s->options.dim;
  v->slots = calloc(s->threads, sizeof *v->slots);
  v->sum = malloc(dim * sizeof *v->sum);
  v->plain = malloc(dim * sizeof *v->plain);
  v->reference = malloc(dim * sizeof *v->reference);
  if (!v->slots || !v->sum || !v->plain || !v->reference) return CNS_ERR_MEMORY;
  if (cns_simulation_keeps(&s->options) && !(v->own = malloc(s->options.hospitals * dim * sizeof *v->own)))
    return CNS_ERR_MEMORY;
  if (s->training && !(v->mean = malloc(dim * sizeof *v->mean))) return CNS_ERR_MEMORY;
  if (s->options.audit) {
    v->x = malloc(s->options.hospitals * dim * sizeof *v->x);
    v->y = malloc(s->options.hospitals * dim * sizeof *v->y);
    if (!v->x || !v->y) return CNS_ERR_MEMORY;
  }
  for (size_t t = 0; t < s->threads; t++) {
    v->slots[t].update = malloc(dim * sizeof *v->slots[t].update);
    v->slots[t].x = malloc(dim * sizeof *v->slots[t].x);
    if (!v->slots[t].update || !v->slots[t].x) return CNS_ERR_MEMORY;
  }
  return 0;
}

void cns_simulation_vectors_free(struct cns_simulation *s) {
  struct cns_simulation_vectors *v = &s->vectors;
  for (size_t t = 0; v->slots && t < s->threads; t++) {
    free(v->slots[t].update);
    free(v->slots[t].x);
  }
  free(v->slots);
  free(v->sum);
  free(v->plain);
  free(v->reference);
  free(v->mean);
  free(v->own);
  free(v->x);
  free(v->y);
}

/* Near-normal coordinates (four uniforms each), with a norm from a quarter of
 * the clip norm to half above it. */
static int draw_update(struct cns_rng rng, double clip, float *update, size_t dim) {
  int16_t drawn[4 * 256];
  uint64_t at = 0;
  int r = cns_rng_uniform_u64(rng, 1u << 20, &at);
  double norm = clip * (0.25 + 1.25 * (double)at / (1u << 20));
  /* A uniform int16 has variance 2^32/12. */
  double factor = norm / (sqrt(4.0 * 0x1p32 / 12.0) * sqrt((double)dim));
  for (size_t first = 0; first < dim && r == 0; first += 256) {
    size_t len = min_size(256, dim - first);
    r = cns_rng_fill(rng, (uint8_t *)drawn, 4 * len * sizeof drawn[0]);
    for (size_t i = 0; i < len && r == 0; i++) {
      int sum = drawn[4 * i] + drawn[4 * i + 1] + drawn[4 * i + 2] + drawn[4 * i + 3];
      update[first + i] = (float)(factor * sum);
    }
  }
  return r;
}

int cns_simulation_draw(const struct cns_simulation *s, size_t hospital, uint64_t round, uint32_t attempt,
                        float *ret_update) {
  const struct cns_simulation_options *o = &s->options;
  struct cns_rng_seeded rng;
  char label[80];
  if (o->update) return o->update(o->context, hospital, ret_update, o->dim);
  snprintf(label, sizeof label, "simulation update %zu of %llu %u", hospital + 1, (unsigned long long)round,
           attempt);
  cns_rng_seeded_init_label(&rng, o->seed, label);
  int r = draw_update(cns_rng_seeded(&rng), o->clip_norm, ret_update, o->dim);
  cns_wipe(&rng, sizeof rng);
  return r;
}

static int make_input(struct cns_simulation *s, struct cns_simulation_slot *slot) {
  const struct cns_simulation_options *o = &s->options;
  const struct cns_simulation_hospital *hospital = cns_simulation_member(s, slot->p);
  struct cns_rng_seeded rng;
  char label[80];
  snprintf(label, sizeof label, "simulation rounding %zu of %llu %u", s->cohort[slot->p] + 1,
           (unsigned long long)s->descriptor.round, s->descriptor.attempt);
  cns_rng_seeded_init_label(&rng, o->seed, label);
  int r = 0;
  if (s->vectors.own) {
    memcpy(slot->update, s->vectors.own + slot->p * o->dim, o->dim * sizeof *slot->update);
    r = cns_simulation_updates_round(s, slot->p, cns_rng_seeded(&rng), slot->x, &slot->problem);
  } else {
    r = cns_simulation_draw(s, s->cohort[slot->p], s->descriptor.round, s->descriptor.attempt, slot->update);
    if (r == 0) r = cns_clip(slot->update, o->dim, o->clip_norm, NULL, &slot->problem);
    if (r == 0)
      r = cns_quantize(slot->update, o->dim, o->clip_norm, hospital->weight, s->descriptor.scale_log2,
                       cns_rng_seeded(&rng), slot->x, &slot->problem);
  }
  if (r == 0 && s->vectors.x) memcpy(s->vectors.x + slot->p * o->dim, slot->x, o->dim * sizeof *slot->x);
  cns_wipe(&rng, sizeof rng);
  return r;
}

static int hash_upload(const uint32_t *words, uint64_t count, struct cns_digest *ret_root) {
  struct cns_upload_digest digest;
  cns_upload_digest_init(&digest, count);
  int r = 0;
  for (uint64_t chunk = 0; chunk < cns_chunk_count(count) && r == 0; chunk++)
    r = cns_upload_digest_add(&digest, chunk, (const uint8_t *)(words + chunk * CNS_CHUNK_WORDS),
                              (size_t)cns_chunk_words(count, chunk) * 4);
  return r < 0 ? r : cns_upload_digest_final(&digest, ret_root);
}

static void input_task(void *argument, size_t t) {
  struct cns_simulation *s = argument;
  s->vectors.slots[t].result = make_input(s, &s->vectors.slots[t]);
}

static void mask_task(void *argument, size_t t) {
  struct cns_simulation *s = argument;
  struct cns_simulation_slot *slot = &s->vectors.slots[t];
  const struct cns_mask_term *terms = NULL;
  size_t count = 0;
  int r = cns_hospital_masks(cns_simulation_member(s, slot->p)->machine, &terms, &count);
  double start = cns_simulation_now_ms();
  if (r == 0) r = cns_mask_apply(slot->x, s->options.dim, 0, terms, count);
  slot->mask_ms = cns_simulation_now_ms() - start;
  if (r == 0) r = hash_upload(slot->x, s->options.dim, &slot->root);
  if (r == 0 && s->vectors.y)
    memcpy(s->vectors.y + slot->p * s->options.dim, slot->x, s->options.dim * sizeof *slot->x);
  slot->result = r;
}

/* What is added, and whose it is. */
struct addend {
  const struct cns_simulation_hospital *hospital;
  const float *update; /* clipped */
  const uint32_t *x, *y;
};

/* Additions go over the vector in chunks, and over the hospitals in their order,
 * so that the reference in floating point doesn't depend on the threads. */
struct addition {
  struct cns_simulation *s;
  size_t count;
  struct addend *addends;
};

static void add_inputs_task(void *argument, size_t chunk) {
  const struct addition *job = argument;
  const struct cns_simulation_vectors *v = &job->s->vectors;
  size_t first = chunk * CNS_CHUNK_WORDS, len = cns_chunk_words(job->s->options.dim, chunk);
  double step = ldexp(1, -job->s->descriptor.scale_log2);
  for (size_t a = 0; a < job->count; a++) {
    const struct addend *addend = &job->addends[a];
    bool own = cns_simulation_sends_own(addend->hospital);
    double weight = addend->hospital->weight;
    for (size_t w = first; w < first + len; w++) {
      v->plain[w] += (int32_t)addend->x[w];
      v->reference[w] += own ? weight * (double)addend->update[w] : step * (int32_t)addend->x[w];
    }
  }
}

static void add_uploads_task(void *argument, size_t chunk) {
  const struct addition *job = argument;
  const struct cns_simulation_vectors *v = &job->s->vectors;
  size_t first = chunk * CNS_CHUNK_WORDS, len = cns_chunk_words(job->s->options.dim, chunk);
  for (size_t a = 0; a < job->count; a++)
    for (size_t w = first; w < first + len; w++)
      v->sum[w] += job->addends[a].y[w];
}

void cns_simulation_add_included(struct cns_simulation *s) {
  const struct cns_agreement *outcomes = cns_coordinator_outcomes(s->coordinator);
  struct addend addends[CNS_HOSPITALS_MAX];
  struct addition job = {.s = s, .addends = addends};
  size_t dim = s->options.dim, chunks = cns_chunk_count(dim);
  if (!s->options.audit) return; /* they were added when they came */
  for (size_t p = 0; p < s->members; p++)
    if (outcomes->outcomes[p] == CNS_INCLUDED)
      addends[job.count++] = (struct addend){.hospital = cns_simulation_member(s, p),
                                             .update = s->vectors.own + p * dim,
                                             .x = s->vectors.x + p * dim,
                                             .y = s->vectors.y + p * dim};
  cns_parallel_run(s->parallel, chunks, add_inputs_task, &job);
  cns_parallel_run(s->parallel, chunks, add_uploads_task, &job);
}

static int deliver(struct cns_simulation *s, const struct cns_simulation_slot *slot,
                   struct cns_problem *problem) {
  struct cns_simulation_hospital *hospital = cns_simulation_member(s, slot->p);
  struct cns_signature receipt;
  int r = cns_hospital_uploaded(hospital->machine, &slot->root, &hospital->answer, &hospital->answer_len,
                                problem);
  if (r == 0)
    r = cns_coordinator_receive(s->coordinator, slot->p, hospital->answer, hospital->answer_len, &slot->root,
                                problem);
  if (r == 0) r = cns_coordinator_receipt(s->coordinator, slot->p, &receipt);
  if (r != 0) return r < 0 ? r : CNS_ERR_STATE; /* nobody lies about that */
  hospital->bytes_up += 4 * s->options.dim + hospital->answer_len;
  hospital->bytes_down += sizeof receipt;
  hospital->uploaded = true;
  hospital->mask_ms = slot->mask_ms;
  return 0;
}

static int first_failure(const struct cns_simulation *s, size_t slot_count, struct cns_problem *problem) {
  for (size_t t = 0; t < slot_count; t++) {
    const struct cns_simulation_slot *slot = &s->vectors.slots[t];
    if (slot->result == 0) continue;
    *problem = slot->problem;
    return cns_problem_prefix(problem, slot->result, "the update of hospital %zu", s->cohort[slot->p] + 1);
  }
  return 0;
}

static int upload_batch(struct cns_simulation *s, size_t slot_count, struct cns_problem *problem) {
  struct addend addends[CNS_PARALLEL_THREADS_MAX];
  struct addition job = {.s = s, .addends = addends, .count = slot_count};
  size_t chunks = cns_chunk_count(s->options.dim);
  for (size_t t = 0; t < slot_count; t++) {
    const struct cns_simulation_slot *slot = &s->vectors.slots[t];
    addends[t] = (struct addend){
        .hospital = cns_simulation_member(s, slot->p), .update = slot->update, .x = slot->x, .y = slot->x};
  }
  cns_parallel_run(s->parallel, slot_count, input_task, s);
  int r = first_failure(s, slot_count, problem);
  if (r < 0) return r;
  /* With an audit it isn't known yet who stays. */
  if (!s->options.audit) cns_parallel_run(s->parallel, chunks, add_inputs_task, &job);
  cns_parallel_run(s->parallel, slot_count, mask_task, s);
  r = first_failure(s, slot_count, problem);
  for (size_t t = 0; t < slot_count && r == 0; t++)
    r = deliver(s, &s->vectors.slots[t], problem);
  if (r == 0 && !s->options.audit) cns_parallel_run(s->parallel, chunks, add_uploads_task, &job);
  return r;
}

int cns_simulation_upload(struct cns_simulation *s, struct cns_problem *problem) {
  struct cns_simulation_vectors *v = &s->vectors;
  size_t dim = s->options.dim, slot_count = 0;
  memset(v->sum, 0, dim * sizeof *v->sum);
  memset(v->plain, 0, dim * sizeof *v->plain);
  for (size_t w = 0; w < dim; w++)
    v->reference[w] = 0;
  int r = 0;
  for (size_t p = 0; p < s->members && r == 0; p++) {
    if (cns_simulation_member(s, p)->wants_upload) {
      struct cns_simulation_slot *slot = &v->slots[slot_count++];
      slot->p = p;
      slot->problem = (struct cns_problem){0};
    }
    if (slot_count < s->threads && p + 1 < s->members) continue;
    r = upload_batch(s, slot_count, problem);
    slot_count = 0;
  }
  return r;
}

struct removal {
  struct cns_simulation *s;
  const struct cns_mask_term *terms;
  size_t term_count, tasks;
  uint32_t *shares; /* by terms: what each task takes off, dim words a task */
  int *results;
};

static int remove_masks(uint32_t *words, size_t len, uint64_t first, const struct cns_mask_term *terms,
                        size_t count) {
  int r = 0;
  for (size_t at = 0; at < count && r == 0; at += TERMS_AT_ONCE)
    r = cns_mask_apply(words, len, first, terms + at, min_size(TERMS_AT_ONCE, count - at));
  return r;
}

static void remove_range_task(void *argument, size_t task) {
  struct removal *job = argument;
  size_t dim = job->s->options.dim;
  size_t first = dim / job->tasks * task, end = task + 1 == job->tasks ? dim : first + dim / job->tasks;
  job->results[task] =
      remove_masks(job->s->vectors.sum + first, end - first, first, job->terms, job->term_count);
}

static void remove_terms_task(void *argument, size_t task) {
  struct removal *job = argument;
  size_t dim = job->s->options.dim;
  size_t first = job->term_count * task / job->tasks, end = job->term_count * (task + 1) / job->tasks;
  job->results[task] = remove_masks(job->shares + task * dim, dim, 0, job->terms + first, end - first);
}

/* Long vectors are cut into ranges. For short ones a range a thread would open
 * every key for a few words: there the masks are dealt out, each thread adds its
 * own up, and the parts are added to the sum. */
int cns_simulation_unmask(struct cns_simulation *s) {
  size_t threads = s->threads, dim = s->options.dim;
  bool by_range = dim >= threads * CNS_CHUNK_WORDS;
  struct removal job = {.s = s, .tasks = threads};
  int r = cns_coordinator_unmasking(s->coordinator, &job.terms, &job.term_count);
  if (r < 0) return r;
  job.results = calloc(threads, sizeof *job.results);
  job.shares = calloc(by_range ? 1 : threads * dim, sizeof *job.shares);
  r = job.results && job.shares ? 0 : CNS_ERR_MEMORY;
  if (r == 0) cns_parallel_run(s->parallel, threads, by_range ? remove_range_task : remove_terms_task, &job);
  for (size_t task = 0; task < threads && r == 0; task++) {
    r = job.results[task];
    for (size_t w = 0; w < dim && !by_range && r == 0; w++)
      s->vectors.sum[w] += job.shares[task * dim + w];
  }
  free(job.results);
  free(job.shares);
  return r;
}
