/* SPDX-License-Identifier: Apache-2.0 */
/* From released shares to the masks that must be taken off the sum. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/coordinator_internal.h"

struct rebuild_job {
  struct cns_coordinator *c;
  struct cns_scalar *secrets; /* by expected release; sodium_malloc'd */
  size_t *first_term;         /* where its masks go */
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

static int masks_of_leaver(const struct cns_coordinator *c, size_t e, const struct cns_scalar *s,
                           struct cns_mask_term *terms) {
  const struct cns_digest *ready = &c->round.transcript[CNS_PHASE_READY];
  uint16_t leaver = c->expected[e].dealer;
  for (size_t q = 0; q < c->expected_count; q++) {
    struct cns_point shared;
    if (c->expected[q].kind != CNS_SHARE_B) continue;
    uint16_t included = c->expected[q].dealer;
    int r = cns_point_mul(s, &c->members[c->expected_positions[q]].keys.s, &shared);
    if (r < 0) return r;
    cns_pair_seed(ready, included, leaver, &shared, &terms->seed);
    terms->sign = -cns_pair_sign(included, leaver);
    cns_wipe(&shared, sizeof shared);
    terms++;
  }
  return 0;
}

static void rebuild_one(void *argument, size_t e) {
  struct rebuild_job *job = argument;
  struct cns_coordinator *c = job->c;
  struct cns_mask_term *terms = &c->terms[job->first_term[e]];
  int r = rebuild_secret(job, e, &job->secrets[e]);
  if (r == 0 && c->expected[e].kind == CNS_SHARE_S) r = masks_of_leaver(c, e, &job->secrets[e], terms);
  if (r == 0 && c->expected[e].kind == CNS_SHARE_B) {
    cns_self_seed(&c->round.transcript[CNS_PHASE_READY], c->expected[e].dealer, &job->secrets[e],
                  &terms->seed);
    terms->sign = -1;
  }
  job->results[e] = r;
}

static int lay_out_terms(struct cns_coordinator *c, size_t *first_term) {
  size_t included = 0, total = 0;
  for (size_t e = 0; e < c->expected_count; e++)
    included += c->expected[e].kind == CNS_SHARE_B;
  for (size_t e = 0; e < c->expected_count; e++) {
    first_term[e] = total;
    total += c->expected[e].kind == CNS_SHARE_B ? 1 : included;
  }
  c->terms = sodium_malloc((total ? total : 1) * sizeof *c->terms);
  c->term_count = total;
  return c->terms ? 0 : CNS_ERR_MEMORY;
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
  size_t count = job->c->expected_count ? job->c->expected_count : 1;
  job->secrets = sodium_malloc(count * sizeof *job->secrets);
  job->first_term = calloc(count, sizeof *job->first_term);
  job->results = calloc(count, sizeof *job->results);
  if (!job->secrets || !job->first_term || !job->results) return CNS_ERR_MEMORY;
  int r = prepare_weights(job);
  return r < 0 ? r : lay_out_terms(job->c, job->first_term);
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
  if (r == 0 && too_few)
    cns_coordinator_stop(
        c, CNS_END_TOO_FEW,
        "too many released shares don't match their points: the round ends without a result");
  else if (r == CNS_ERR_PROOF || r == CNS_ERR_FORMAT) {
    cns_problem_set(problem, r, "a rebuilt secret doesn't give its published point");
    cns_coordinator_stop(c, CNS_END_BROKEN, "a rebuilt secret doesn't give its published point");
    r = 0;
  } else if (r == 0)
    c->end = CNS_END_COMPLETED;
  sodium_free(job.secrets);
  free(job.first_term);
  free(job.results);
  free(job.usual);
  free(job.weights);
  return r;
}
