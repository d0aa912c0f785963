/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a trained model gives away who was in its training data. Failures end the
 * program. */
#pragma once

#include <stdint.h>

#include "model/statistics.h"

/* How the model is trained. */
struct membership_training {
  double epsilon; /* 0: FedAvg without noise, */
  uint32_t times; /* for so many times the study's rounds */
  /* Not 0: takes the place of what epsilon takes, to see what steps and clipping do by themselves. */
  double noise_multiplier;
};

/* Of a reader who knows a patient's row and label, has the model, and says "was in it" if
 * the loss is below a threshold (Yeom et al. 2018, arXiv 1709.01604), chosen on the other
 * seeds, where it knows the answer. Advantage: right alarms less false ones; by seed. */
struct membership_result {
  double *ordinary;    /* all patients */
  double *mislabelled; /* those whose label was turned round before training: what a model
                          can only have by heart */
  double *auc;         /* of the model on the patients held out, their labels as they are */
};

#define MEMBERSHIP_MISLABELLED 20 /* in the training data; and as many held out */

/* ret_result: arrays of `seeds` numbers, at least 2; seeds first, first+1, ... */
void membership_models(const struct membership_training *training, uint64_t first, size_t seeds,
                       struct membership_result *ret_result);
