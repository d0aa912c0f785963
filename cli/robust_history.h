/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `consilium robust flag --history DIR` remembers from call to call: a file
 * for each round, DIR/000001.round and so on, with the digest of the round's
 * input and the detection's memory after it. An input that is there already is
 * judged again as it was then, and not counted again.
 */
#pragma once

#include "crypto/hash.h"
#include "robust/detect.h"

#define CNS_ROBUST_HISTORY_ROUNDS_MAX 100000

struct cns_robust_history {
  const char *folder;
  int lock;                         /* descriptor of the folder, locked against other calls; -1: none */
  size_t round;                     /* of this input, from 1 */
  bool repeated;                    /* it was there already */
  struct cns_detect_history memory; /* before this round */
};

/* The folder is made if it isn't there (0700). CNS_ERR_FORMAT for a file that
 * can't be understood; CNS_ERR_LIMIT; CNS_ERR_IO and others of files. deinit it,
 * also after an error. */
CNS_MUST_CHECK int cns_robust_history_open(const char *folder, const struct cns_digest *input,
                                           struct cns_robust_history *history, struct cns_problem *problem);
/* Writes the round's file, unless it is there. memory: as it is after the round. */
CNS_MUST_CHECK int cns_robust_history_save(const struct cns_robust_history *history,
                                           const struct cns_digest *input, struct cns_problem *problem);
void cns_robust_history_deinit(struct cns_robust_history *history);
