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
};

/* Any t shares that match their points rebuild the secret; it must give the
 * point that the dealer published. */
static int rebuild_secret(const struct cns_coordinator *c, size_t e, struct cns_scalar *ret_secret) {
  size_t n = c->round.descriptor.member_count, t = c->round.descriptor.threshold, found = 0;
  const struct cns_coordinator_member *dealer = &c->members[c->expected_positions[e]];
  uint16_t *indices = calloc(t, sizeof *indices);
  struct cns_scalar *shares = sodium_malloc(t * sizeof *shares);
  struct cns_point point, computed;
  int r = indices && shares ? 0 : CNS_ERR_MEMORY;
  for (size_t k = 0; k < n && found < t && r == 0; k++) {
    if (!c->members[k].released_good || !c->members[k].released_good[e]) continue;
    indices[found] = c->round.descriptor.members[k].index;
    shares[found++] = c->members[k].released[e].share;
  }
  if (r == 0 && found < t) r = CNS_ERR_NOT_FOUND;
  if (r == 0) r = cns_shamir_combine(indices, shares, t, ret_secret);
  if (r == 0) r = cns_point_base(ret_secret, &computed);
  if (r == 0) {
    point = dealer->keys.s;
    if (c->expected[e].kind == CNS_SHARE_B)
      memcpy(point.bytes, dealer->messages[CNS_PHASE_SHARES].view.body, CNS_POINT_BYTES);
    if (!cns_point_equal(&computed, &point)) r = CNS_ERR_PROOF;
  }
  free(indices);
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
  int r = rebuild_secret(c, e, &job->secrets[e]);
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

int cns_coordinator_rebuild(struct cns_coordinator *c, struct cns_problem *problem) {
  size_t count = c->expected_count;
  struct rebuild_job job = {
      .c = c,
      .secrets = sodium_malloc((count ? count : 1) * sizeof *job.secrets),
      .first_term = calloc(count ? count : 1, sizeof *job.first_term),
      .results = calloc(count ? count : 1, sizeof *job.results),
  };
  int r = job.secrets && job.first_term && job.results ? lay_out_terms(c, job.first_term) : CNS_ERR_MEMORY;
  if (r == 0 && c->config.parallel.run)
    c->config.parallel.run(c->config.parallel.context, count, rebuild_one, &job);
  else if (r == 0)
    for (size_t e = 0; e < count; e++)
      rebuild_one(&job, e);
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
  return r;
}
