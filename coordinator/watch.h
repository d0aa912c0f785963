/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the coordinator remembers of hospitals from round to round because of
 * audits: detection's history, who is in quarantine, and how many numbers each
 * has revealed. Plain values; the journal holds it whole each time it changed,
 * and the latest is in force.
 */
#pragma once

#include "protocol/coordinator.h"
#include "robust/detect.h"

struct cns_watch {
  struct cns_detect_history history;
  /* By roster index. */
  uint64_t revealed[CNS_HOSPITALS_MAX + 1];    /* numbers A*x that it was asked for in this study */
  uint64_t quarantined[CNS_HOSPITALS_MAX + 1]; /* the round that put it there; 0: it isn't */
  uint8_t statistic[CNS_HOSPITALS_MAX + 1];    /* cns_detect_statistic that did */
  /* The round of which an audited attempt asked for uploads: no other attempt on
   * its model goes without an audit. */
  uint64_t audited_round;
  uint8_t audits[CNS_HOSPITALS_MAX + 1]; /* on that round's model, that it was asked for; never refunded */
};

/* Anything that a restart must know? */
bool cns_watch_is_empty(const struct cns_watch *watch);
CNS_MUST_CHECK int cns_watch_encode(const struct cns_watch *watch, struct cns_writer *writer);
/* CNS_ERR_FORMAT, CNS_ERR_VERSION: ret_watch is untouched. */
CNS_MUST_CHECK int cns_watch_decode(const uint8_t *bytes, size_t len, struct cns_watch *ret_watch);
#define CNS_WATCH_BYTES_MAX (256u * 1024u)

/* May this hospital reveal k more of updates of this length? */
bool cns_watch_has_budget(const struct cns_watch *watch, uint16_t index, const struct cns_policy *policy,
                          uint64_t dim);
/* Has it had all audits of this round's model that the policy allows? */
bool cns_watch_has_had_all(const struct cns_watch *watch, uint16_t index, uint64_t round,
                           const struct cns_policy *policy);
/* After a closing of the machine, which closed `phase`: uploads that were asked
 * for, numbers that are asked for, and liars that make thresholds tighten. The
 * first verdict that is new: `verdicts_before`. True if something changed; *ret_tight
 * is the number of rounds that became tight by it. Does the same in a replay. */
bool cns_watch_closed(struct cns_watch *watch, const struct cns_coordinator *machine,
                      const struct cns_policy *policy, enum cns_phase phase, size_t verdicts_before,
                      uint32_t *ret_tight);
/* A hospital is let in again; it begins anew. */
void cns_watch_release(struct cns_watch *watch, uint16_t index);
