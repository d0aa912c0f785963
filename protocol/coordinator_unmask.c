/* SPDX-License-Identifier: Apache-2.0 */
/* From released shares to the masks that must be taken off the sum. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/coordinator_internal.h"

struct rebuild_job {
  struct cns_coordinator *c;
  int *results;
  /* The first t holders of the first secret with their Lagrange weights. They
   * are those of all others too, unless somebody released a wrong share. */
  uint16_t *usual;
  struct cns_scalar *weights;
};

/* Positions of t holders whose share of this secret matches; their number. */
static size_t holders_of(const struct cns_coordinator *c, size_t e, uint16_t *ret_positions) {
  size_t n = c->round.descriptor.member_count, t = c->round.descriptor.threshold, found = 0;
  for (size_t k = 0; k < n && found < t; k++)
    if (c->members[k].released_good && c->members[k].released_good[e]) ret_positions[found++] = (uint16_t)k;
  return found;
}

static int combine(const struct rebuild_job *job, const uint16_t *holders, const struct cns_scalar *shares,
                   struct cns_scalar *ret_secret) {
  const struct cns_descriptor *d = &job->c->round.descriptor;
  size_t t = d->threshold;
  if (memcmp(holders, job->usual, t * sizeof *holders) == 0)
    return cns_shamir_combine_weighted(job->weights, shares, t, ret_secret);
  uint16_t *indices = calloc(t, sizeof *indices);
  if (!indices) return CNS_ERR_MEMORY;
  for (size_t k = 0; k < t; k++)
    indices[k] = d->members[holders[k]].index;
  int r = cns_shamir_combine(indices, shares, t, ret_secret);
  free(indices);
  return r;
}

/* Any t shares that match their points rebuild the secret; it must give the
 * point that the dealer published. */
static int rebuild_secret(const struct rebuild_job *job, size_t e, struct cns_scalar *ret_secret) {
  const struct cns_coordinator *c = job->c;
  size_t t = c->round.descriptor.threshold;
  const struct cns_coordinator_member *dealer = &c->members[c->expected_positions[e]];
  uint16_t *holders = calloc(t, sizeof *holders);
  struct cns_scalar *shares = sodium_malloc(t * sizeof *shares);
  struct cns_point point, computed;
  int r = holders && shares ? 0 : CNS_ERR_MEMORY;
  if (r == 0 && holders_of(c, e, holders) < t) r = CNS_ERR_NOT_FOUND;
  for (size_t k = 0; k < t && r == 0; k++)
    shares[k] = c->members[holders[k]].released[e].share;
  if (r == 0) r = combine(job, holders, shares, ret_secret);
  if (r == 0) r = cns_point_base(ret_secret, &computed);
  if (r == 0) {
    point = dealer->keys.s;
    if (c->expected[e].kind == CNS_SHARE_B)
      memcpy(point.bytes, dealer->messages[CNS_PHASE_SHARES].view.body, CNS_POINT_BYTES);
    if (!cns_point_equal(&computed, &point)) r = CNS_ERR_PROOF;
  }
  free(holders);
  sodium_free(shares);
  return r;
}

static void rebuild_one(void *argument, size_t e) {
  struct rebuild_job *job = argument;
  struct cns_coordinator *c = job->c;
  job->results[e] = rebuild_secret(job, e, &c->secrets[c->expected_positions[e]]);
}

static int prepare_weights(struct rebuild_job *job) {
  const struct cns_descriptor *d = &job->c->round.descriptor;
  size_t t = d->threshold;
  job->usual = calloc(t, sizeof *job->usual);
  job->weights = calloc(t, sizeof *job->weights);
  uint16_t *indices = calloc(t, sizeof *indices);
  int r = job->usual && job->weights && indices ? 0 : CNS_ERR_MEMORY;
  /* Fewer than t leave zeros in the list, which no list of t holders equals. */
  if (r == 0 && job->c->expected_count > 0 && holders_of(job->c, 0, job->usual) == t) {
    for (size_t k = 0; k < t; k++)
      indices[k] = d->members[job->usual[k]].index;
    r = cns_shamir_weights(indices, t, job->weights);
  }
  free(indices);
  return r;
}

static int prepare(struct rebuild_job *job) {
  size_t n = job->c->round.descriptor.member_count;
  job->results = calloc(n, sizeof *job->results);
  job->c->secrets = sodium_malloc(n * sizeof *job->c->secrets);
  job->c->forfeited = sodium_malloc(n * sizeof *job->c->forfeited);
  if (!job->results || !job->c->secrets || !job->c->forfeited) return CNS_ERR_MEMORY;
  return prepare_weights(job);
}

/* ---- the masks that are to come off ---- */

struct term_job {
  struct cns_coordinator *c;
  int *results;
};

/* Block 0 has the self masks of the still included; every other block the pair
 * masks of one that isn't, with them. */
static void make_term(void *argument, size_t t) {
  struct term_job *job = argument;
  struct cns_coordinator *c = job->c;
  const struct cns_descriptor *d = &c->round.descriptor;
  const struct cns_digest *ready = &c->round.transcript[CNS_PHASE_READY];
  struct cns_mask_term *term = &c->terms[t];
  size_t block = t / c->still_count, k = c->still[t % c->still_count];
  uint16_t index = d->members[k].index;
  struct cns_point shared;
  if (block == 0) {
    cns_self_seed(ready, index, &c->secrets[k], &term->seed);
    term->sign = -1;
    return;
  }
  size_t other = c->others[block - 1];
  bool forfeited = c->agreement.outcomes[other] == CNS_INCLUDED;
  int r =
      cns_point_mul(forfeited ? &c->forfeited[other] : &c->secrets[other], &c->members[k].keys.s, &shared);
  if (r == 0) {
    cns_pair_seed(ready, index, d->members[other].index, &shared, &term->seed);
    term->sign = -cns_pair_sign(index, d->members[other].index);
    cns_wipe(&shared, sizeof shared);
  }
  job->results[t] = r;
}

static bool has_forfeited(const struct cns_coordinator *c, size_t k) {
  return cns_forfeits_has(&c->audit.forfeits, c->round.descriptor.members[k].index);
}

/* Who is still in, and who isn't: leavers first, then the forfeited in the order
 * of their forfeits, so that blocks keep their places. */
static void sort_members(struct cns_coordinator *c) {
  const struct cns_forfeits *forfeits = &c->audit.forfeits;
  c->still_count = c->other_count = 0;
  for (size_t e = 0; e < c->expected_count; e++) {
    uint16_t k = c->expected_positions[e];
    if (c->expected[e].kind == CNS_SHARE_S)
      c->others[c->other_count++] = k;
    else if (!has_forfeited(c, k))
      c->still[c->still_count++] = k;
  }
  for (size_t a = 0; a < cns_forfeits_count(forfeits); a++)
    c->others[c->other_count++] =
        (uint16_t)cns_descriptor_position(&c->round.descriptor, forfeits->accused[a]);
}

int cns_coordinator_make_terms(struct cns_coordinator *c) {
  sodium_free(c->terms);
  sort_members(c);
  c->term_count = c->still_count * (1 + c->other_count);
  c->terms = sodium_malloc((c->term_count ? c->term_count : 1) * sizeof *c->terms);
  struct term_job job = {.c = c, .results = calloc(c->term_count ? c->term_count : 1, sizeof *job.results)};
  int r = c->terms && job.results ? 0 : CNS_ERR_MEMORY;
  if (r == 0) cns_parallel_run(c->config.parallel, c->term_count, make_term, &job);
  for (size_t t = 0; t < c->term_count && r == 0; t++)
    r = job.results[t];
  free(job.results);
  return r;
}

int cns_coordinator_rebuild(struct cns_coordinator *c, struct cns_problem *problem) {
  size_t count = c->expected_count;
  struct rebuild_job job = {.c = c};
  int r = prepare(&job);
  if (r == 0) cns_parallel_run(c->config.parallel, count, rebuild_one, &job);
  bool too_few = false;
  for (size_t e = 0; e < count && r == 0; e++) {
    too_few |= job.results[e] == CNS_ERR_NOT_FOUND;
    if (job.results[e] < 0 && job.results[e] != CNS_ERR_NOT_FOUND) r = job.results[e];
  }
  free(job.results);
  free(job.usual);
  free(job.weights);
  if (r == 0 && too_few) {
    cns_coordinator_stop(
        c, CNS_END_TOO_FEW,
        "too many released shares don't match their points: the round ends without a result");
    return 0;
  }
  if (r == CNS_ERR_PROOF || r == CNS_ERR_FORMAT) {
    cns_problem_set(problem, r, "a rebuilt secret doesn't give its published point");
    cns_coordinator_stop(c, CNS_END_BROKEN, "a rebuilt secret doesn't give its published point");
    return 0;
  }
  if (r == 0) r = cns_agreement_copy(&c->agreement, &c->outcomes);
  if (r == 0) r = cns_coordinator_make_terms(c);
  return r < 0 ? r : cns_coordinator_check_claims(c, 0);
}
