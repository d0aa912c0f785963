/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One patient against the mechanism of unit patient, in the position that is worst for
 * the patient: the attacker knows everybody else's data, has chosen the model, sees the
 * sum of each round as it is opened (integers, with noise), and is itself one of three
 * hospitals, so that it knows a third of the noise. It has to tell whether the patient's
 * rows are in a hospital's table or not.
 *
 * What a round does is done by the functions that a hospital calls. `flaw` breaks one
 * thing, while the accounting goes on as if it weren't broken.
 *
 * The model is a logistic regression with one feature in whose first parameters a patient
 * with x = 1 of class 0 has the gradient zero, and one with x = -1 a gradient u or, of the
 * other class, -u, longer than the clip norm. The patient has u; the others have nothing,
 * or -u (`opposed`).
 */
#pragma once

#include "crypto/rng.h"
#include "dp/discrete_gaussian.h"
#include "dp/mechanism.h"
#include "model/plan.h"
#include "model/table.h"

enum game_flaw {
  GAME_SOUND,
  GAME_HALF_NOISE,    /* half the standard deviation */
  GAME_FIXED_BATCH,   /* of q*n patients without replacement, accounted as if each came by chance */
  GAME_EVERYBODY,     /* takes part, accounted with rate q */
  GAME_NOISE_OF_MEAN, /* divided by the batch, as it would be for a mean, but added to the sum */
  GAME_DIVIDED,       /* by the number that took part, instead of the expected one */
  GAME_ROWS_CLIPPED,  /* each for itself, instead of the patient */
  GAME_UNCOUNTED,     /* with an adaptive clip norm or metrics: the noise is for the gradients alone */
  GAME_FLAWS
};

struct game_options {
  uint64_t seed;
  enum game_flaw flaw;
  double noise_multiplier, sampling_rate;
  uint32_t rounds;
  size_t others; /* besides the patient, in its hospital; rate * (others + 1) is whole for a fixed batch */
  bool opposed;  /* they have -u; else no gradient */
  size_t rows;   /* of the patient */
  double indicator_share; /* of an adaptive clip norm, and then without others; 0: a fixed one */
  double metrics_share;   /* of noised metrics, and then without others; 0: none */
};

#define GAME_HOSPITALS 3
#define GAME_ROWS_MAX 64
#define GAME_DIM 4
#define GAME_NUMBERS_MAX (GAME_DIM + CNS_MECHANISM_EXTRAS_MAX)
#define GAME_CLIP 0.5

struct game_hospital {
  float x[GAME_ROWS_MAX];
  uint16_t label[GAME_ROWS_MAX];
  uint32_t patient[GAME_ROWS_MAX], row[GAME_ROWS_MAX]; /* row: k at k */
  size_t rows, patients;
  double radius;
};

/* How far the patient's hospital may have moved the sum along u, in clip norms. */
struct game_signal {
  double value[2 * GAME_ROWS_MAX], probability[2 * GAME_ROWS_MAX];
  size_t count;
};

struct game {
  struct game_options options;
  struct cns_plan plan;
  float params[GAME_DIM];
  size_t numbers_sent;                            /* GAME_DIM, and the extra numbers */
  double direction[GAME_NUMBERS_MAX];             /* of length 1: u, and with the extra numbers */
  double unit;                                    /* how far the patient moves the sum, steps */
  struct game_hospital hospitals[GAME_HOSPITALS]; /* 0: the attacker's; 1: the patient's, who is the last */
  struct cns_mechanism mechanism;
  struct cns_mechanism_numbers numbers;
  uint32_t weights[GAME_HOSPITALS];
  struct cns_discrete_gaussian *noise;
  double sigma;                  /* steps; of the noise that the attacker doesn't know */
  struct game_signal signals[2]; /* [0]: without the patient */
  struct cns_rng_seeded generator;
};

/* CNS_ERR_ARGUMENT: options that don't fit. A game that was begun must not be moved. */
CNS_MUST_CHECK int game_init(struct game *game, const struct game_options *options,
                             struct cns_problem *problem);
void game_deinit(struct game *game);
/* All rounds with or without the patient: log of how much likelier what the attacker saw
 * is with the patient than without. */
CNS_MUST_CHECK int game_play(struct game *game, bool present, double *ret_log_ratio,
                             struct cns_problem *problem);
const char *game_flaw_name(enum game_flaw flaw);
