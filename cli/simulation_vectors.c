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

static int make_input(struct cns_simulation *s, struct cns_simulation_slot *slot) {
  const struct cns_simulation_options *o = &s->options;
  struct cns_rng_seeded rng;
  char label[80];
  snprintf(label, sizeof label, "simulation update %zu of %llu %u", slot->k + 1,
           (unsigned long long)s->descriptor.round, s->descriptor.attempt);
  cns_rng_seeded_init_label(&rng, o->seed, label);
  int r = o->update ? o->update(o->context, slot->k, slot->update, o->dim)
                    : draw_update(cns_rng_seeded(&rng), o->clip_norm, slot->update, o->dim);
  if (r == 0) r = cns_clip(slot->update, o->dim, o->clip_norm, NULL, &slot->problem);
  if (r == 0)
    r = cns_quantize(slot->update, o->dim, o->clip_norm, s->hospitals[slot->k].weight,
                     s->descriptor.scale_log2, cns_rng_seeded(&rng), slot->x, &slot->problem);
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
  int r = cns_hospital_masks(s->hospitals[slot->k].machine, &terms, &count);
  double start = cns_simulation_now_ms();
  if (r == 0) r = cns_mask_apply(slot->x, s->options.dim, 0, terms, count);
  slot->mask_ms = cns_simulation_now_ms() - start;
  if (r == 0) r = hash_upload(slot->x, s->options.dim, &slot->root);
  slot->result = r;
}

/* Additions go over the vector in chunks, and over the slots in their order, so
 * that the reference in floating point doesn't depend on the threads. */
struct addition {
  struct cns_simulation *s;
  size_t slot_count;
};

static void add_inputs_task(void *argument, size_t chunk) {
  const struct addition *job = argument;
  const struct cns_simulation_vectors *v = &job->s->vectors;
  size_t first = chunk * CNS_CHUNK_WORDS, len = cns_chunk_words(job->s->options.dim, chunk);
  for (size_t t = 0; t < job->slot_count; t++) {
    double weight = job->s->hospitals[v->slots[t].k].weight;
    for (size_t w = first; w < first + len; w++) {
      v->plain[w] += (int32_t)v->slots[t].x[w];
      v->reference[w] += weight * (double)v->slots[t].update[w];
    }
  }
}

static void add_uploads_task(void *argument, size_t chunk) {
  const struct addition *job = argument;
  const struct cns_simulation_vectors *v = &job->s->vectors;
  size_t first = chunk * CNS_CHUNK_WORDS, len = cns_chunk_words(job->s->options.dim, chunk);
  for (size_t t = 0; t < job->slot_count; t++)
    for (size_t w = first; w < first + len; w++)
      v->sum[w] += v->slots[t].x[w];
}

static int deliver(struct cns_simulation *s, const struct cns_simulation_slot *slot,
                   struct cns_problem *problem) {
  struct cns_simulation_hospital *hospital = &s->hospitals[slot->k];
  struct cns_signature receipt;
  int r = cns_hospital_uploaded(hospital->machine, &slot->root, &hospital->answer, &hospital->answer_len,
                                problem);
  if (r == 0)
    r = cns_coordinator_receive(s->coordinator, slot->k, hospital->answer, hospital->answer_len, &slot->root,
                                problem);
  if (r == 0) r = cns_coordinator_receipt(s->coordinator, slot->k, &receipt);
  if (r != 0) return r < 0 ? r : CNS_ERR_STATE; /* all are honest */
  hospital->bytes_up += 4 * s->options.dim + hospital->answer_len;
  hospital->bytes_down += sizeof receipt;
  hospital->uploaded = true;
  hospital->mask_ms = slot->mask_ms;
  return 0;
}

static int first_failure(const struct addition *job, struct cns_problem *problem) {
  for (size_t t = 0; t < job->slot_count; t++) {
    const struct cns_simulation_slot *slot = &job->s->vectors.slots[t];
    if (slot->result == 0) continue;
    *problem = slot->problem;
    return cns_problem_prefix(problem, slot->result, "the update of hospital %zu", slot->k + 1);
  }
  return 0;
}

static int upload_batch(struct addition *job, struct cns_problem *problem) {
  struct cns_simulation *s = job->s;
  size_t chunks = cns_chunk_count(s->options.dim);
  cns_parallel_run(s->parallel, job->slot_count, input_task, s);
  int r = first_failure(job, problem);
  if (r < 0) return r;
  cns_parallel_run(s->parallel, chunks, add_inputs_task, job);
  cns_parallel_run(s->parallel, job->slot_count, mask_task, s);
  r = first_failure(job, problem);
  for (size_t t = 0; t < job->slot_count && r == 0; t++)
    r = deliver(s, &s->vectors.slots[t], problem);
  if (r == 0) cns_parallel_run(s->parallel, chunks, add_uploads_task, job);
  return r;
}

int cns_simulation_upload(struct cns_simulation *s, struct cns_problem *problem) {
  struct cns_simulation_vectors *v = &s->vectors;
  struct addition job = {.s = s};
  size_t n = s->options.hospitals, dim = s->options.dim;
  memset(v->sum, 0, dim * sizeof *v->sum);
  memset(v->plain, 0, dim * sizeof *v->plain);
  for (size_t w = 0; w < dim; w++)
    v->reference[w] = 0;
  int r = 0;
  for (size_t k = 0; k < n && r == 0; k++) {
    if (s->hospitals[k].wants_upload) {
      struct cns_simulation_slot *slot = &v->slots[job.slot_count++];
      slot->k = k;
      slot->problem = (struct cns_problem){0};
    }
    if (job.slot_count < s->threads && k + 1 < n) continue;
    r = upload_batch(&job, problem);
    job.slot_count = 0;
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

struct comparison {
  struct cns_simulation *s;
  uint32_t weights[CNS_HOSPITALS_MAX]; /* of the included */
  size_t included;
  double total_weight;
  struct cns_simulation_chunk {
    int result;
    bool exact;
    double max_error;
    uint64_t clipped;
    struct cns_problem problem;
  } * chunks;
};

static void compare_task(void *argument, size_t k) {
  struct comparison *job = argument;
  struct cns_simulation *s = job->s;
  struct cns_simulation_chunk *chunk = &job->chunks[k];
  const struct cns_simulation_vectors *v = &s->vectors;
  size_t first = k * CNS_CHUNK_WORDS, len = cns_chunk_words(s->options.dim, k);
  float mean[CNS_CHUNK_WORDS];
  chunk->result = cns_dequantize(v->sum + first, len, s->options.clip_norm, job->weights, job->included,
                                 s->descriptor.colluders, s->descriptor.scale_log2, mean, &chunk->clipped,
                                 &chunk->problem);
  chunk->exact = true;
  for (size_t w = 0; w < len; w++) {
    double error = fabs((double)mean[w] - v->reference[first + w] / job->total_weight);
    chunk->exact &= (int64_t)(int32_t)v->sum[first + w] == v->plain[first + w];
    if (error > chunk->max_error) chunk->max_error = error;
  }
}

/* Whose vectors were added must be whom the agreement includes. */
static int collect_weights(struct comparison *job) {
  struct cns_simulation *s = job->s;
  const struct cns_agreement *outcomes = cns_coordinator_outcomes(s->coordinator);
  for (size_t k = 0; k < s->options.hospitals; k++) {
    bool included = outcomes->outcomes[k] == CNS_INCLUDED;
    if (included != s->hospitals[k].uploaded) return CNS_ERR_STATE;
    if (!included) continue;
    job->weights[job->included++] = s->hospitals[k].weight;
    job->total_weight += s->hospitals[k].weight;
  }
  return 0;
}

int cns_simulation_compare(struct cns_simulation *s, struct cns_problem *problem) {
  size_t count = cns_chunk_count(s->options.dim);
  struct comparison job = {.s = s};
  int r = collect_weights(&job);
  if (r < 0) return r;
  job.chunks = calloc(count, sizeof *job.chunks);
  if (!job.chunks) return CNS_ERR_MEMORY;
  cns_parallel_run(s->parallel, count, compare_task, &job);
  s->result.exact = true;
  for (size_t k = 0; k < count && r == 0; k++) {
    const struct cns_simulation_chunk *chunk = &job.chunks[k];
    r = chunk->result;
    if (r < 0) *problem = chunk->problem;
    s->result.exact &= chunk->exact;
    if (chunk->max_error > s->result.max_error) s->result.max_error = chunk->max_error;
    s->result.clipped_coordinates += chunk->clipped;
  }
  free(job.chunks);
  return r;
}
