/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A round's work at the hospital, on a worker thread: metrics of the received
 * model on the validation rows; local training and clipping of the update, or, in
 * privacy unit patient, the sum of the clipped gradients of a random sample of the
 * patients and the extra numbers of those (dp/mechanism.h): for an adaptive clip norm how many
 * were within it, for noised metrics their loss and right answers; the integer grid; the
 * hospital's share of the noise. A command (client/trainer.h) may take the place of local training; clipping
 * and all that follows is done here. What comes out is x, the plain vector of the round: the update, the
 * extra numbers if there are any, and behind it the exact metrics.
 */
#pragma once

#include <uv.h>

#include "client/control.h"
#include "client/trainer.h"
#include "crypto/rng.h"
#include "dp/mechanism.h"
#include "model/network.h"
#include "store/model_file.h"

struct cns_work_input {
  const struct cns_plan *plan; /* must outlive the work, and so the tables */
  const struct cns_table *train, *validation;
  const struct cns_trainer_setup *trainer; /* NULL: the built-in one; not in unit patient */
  struct cns_network_seed seed;
  bool metrics;
  double clip_norm;
  uint32_t weight;
  int scale_log2;
  enum cns_privacy_unit unit;
  double sampling_rate; /* in unit patient */
  double radius;        /* of the sum in unit patient (dp/mechanism.h) */
  uint64_t indicator;   /* steps of one patient's indicator, of an adaptive clip norm; 0: it is fixed */
  uint64_t metric;   /* steps of one patient's loss, and right answer, of noised metrics; 0: there are none */
  uint64_t patients; /* whose extra numbers the vector may hold; 0 without any */
  uint64_t theta;    /* the integer vector's largest norm before the noise, steps */
  double sigma_local;         /* of the noise, steps; 0 for none */
  struct cns_rng rng;         /* of sampling, rounding and noise; used on the worker thread */
  struct cns_control control; /* with SCAFFOLD; its folder must outlive the work */
  struct cns_digest round;    /* whose sum the update is for; its numbers are the seed's */
  unsigned poison; /* the finished update is turned round and made so many bounds long; 0: it isn't */
};

struct cns_work_result {
  uint32_t *x; /* the receiver's, to be wiped; NULL on failure */
  uint64_t words;
  double norm; /* of the update before clipping; 0 in unit patient, as are the stats */
  struct cns_network_stats stats;
  struct cns_trainer_metrics trainer; /* of a command; then instead of the stats */
  char *note;                         /* of a command, for the log here alone; or NULL */
  bool control_lost;                  /* with SCAFFOLD: no control variate was here, and it began at zero */
};

struct cns_work;

/* done comes exactly once, on the loop's thread: 0, CNS_ERR_CANCELLED, or an
 * error with a sentence, among them CNS_ERR_RANGE for an update with NaN or
 * infinity. model: the round's model file, taken on success. */
typedef void cns_work_done(void *context, struct cns_work *work, int error, struct cns_work_result *result,
                           const struct cns_problem *problem);
CNS_MUST_CHECK int cns_work_start(uv_loop_t *uv, const struct cns_work_input *input,
                                  struct cns_model_map *model, cns_work_done *done, void *context,
                                  struct cns_work **ret_work);
/* Stops soon; done still comes. */
void cns_work_cancel(struct cns_work *work);
