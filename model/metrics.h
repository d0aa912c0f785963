/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loss and AUC of a model over all hospitals, from sums of counts only, so that
 * they can travel under a mask of their own (docs/protocol.md, "Metrics"): a
 * site with one class, or with no validation patient, counts too.
 *
 * The vector of u32, for one score (two classes: the second is positive) or one
 * score per class (more: one against the rest):
 *   for each score: 64 counts of positives by bin, then 64 of negatives;
 *   then rows, loss low word, loss high word.
 * A score is the log-odds z = log p - log(1-p); its bin is
 * 32 + 32*asinh(z)/asinh(64), clamped to 0..63: bins 0.15 wide around even odds
 * and wider, about 15 % of z, where the model is confident, so that neither an
 * untrained nor a very sure model falls into a few bins.
 * A row's loss is capped at 16 nats and counted in units of 2^-16; a hospital's
 * sum is split into its low 20 bits and the rest. With at most
 * CNS_METRICS_ROWS_MAX rows a hospital and 1,000 hospitals no word wraps.
 */
#pragma once

#include "crypto/base.h"

#define CNS_METRICS_BINS 64
#define CNS_METRICS_ROWS_MAX 4000000u
#define CNS_METRICS_LOSS_MAX 16.0

struct cns_metrics {
  uint64_t count;     /* rows */
  double loss;        /* mean cross-entropy in nats; 0 if count is 0 */
  bool has_auc;       /* some class has positives and negatives */
  double auc;         /* macro average over those classes; 0.5 without any */
  size_t auc_classes; /* how many entered; 1 for two classes */
};

size_t cns_metrics_scores(size_t classes); /* 1 for two classes, else classes */
size_t cns_metrics_dim(size_t classes);

/* From logits (rows x classes) and labels. CNS_ERR_LIMIT above the row limit,
 * CNS_ERR_RANGE for a logit that is not finite; rows 0 gives zeros. */
CNS_MUST_CHECK int cns_metrics_fill(size_t classes, const float *logits, const uint16_t *label, size_t rows,
                                    uint32_t *ret_vector, struct cns_problem *problem);

/*
 * From the sum over `hospitals` vectors. Pairs in one bin count half in the
 * AUC. CNS_ERR_RANGE, with a sentence, if the sum can't come from such vectors
 * (counts that don't agree, loss above its cap): the metrics are void.
 */
CNS_MUST_CHECK int cns_metrics_evaluate(size_t classes, const uint32_t *sum, size_t hospitals,
                                        struct cns_metrics *ret_metrics, struct cns_problem *problem);

/* Log-odds of class c against the rest from one row's logits. */
double cns_metrics_score(size_t classes, const float *logits, size_t c);
/* Cross-entropy of one row in nats, uncapped. */
double cns_metrics_loss(size_t classes, const float *logits, size_t label);

/* Exact AUC (Mann-Whitney, ties half) of scores; positive[i] tells the class.
 * Returns 1 and 0.5 if one class is missing. NaN scores are CNS_ERR_RANGE. */
CNS_MUST_CHECK int cns_auc_exact(const double *score, const bool *positive, size_t count, double *ret_auc);
/* The same numbers as _fill and _evaluate, exactly (loss uncapped). */
CNS_MUST_CHECK int cns_metrics_exact(size_t classes, const float *logits, const uint16_t *label, size_t rows,
                                     struct cns_metrics *ret_metrics, struct cns_problem *problem);
