/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole federation in one process: the machines that hospitals and the
 * coordinator run, driven round by round without network and disk. Everything
 * random comes from the seed, so the same options give the same round.
 *
 * Without an audit and attacks vectors aren't kept: a hospital's update is drawn,
 * clipped, rounded, masked and added to the running sums, and then the next one
 * takes its place, so that memory is a few vectors, whatever the number of
 * hospitals. Attackers look at all updates, and the audit at all uploads: then
 * they are all held.
 */
#pragma once

#include "protocol/coordinator.h"
#include "robust/attack.h"
#include "robust/detect.h"

#define CNS_SIMULATION_HOSPITALS_MIN 4
#define CNS_SIMULATION_ROUNDS_MAX 1000
#define CNS_SIMULATION_CLIP_NORM 1.0
#define CNS_SIMULATION_ATTACKS_MAX 16
/* Weights that are drawn: numbers of patients in steps of 5. */
#define CNS_SIMULATION_WEIGHT_MIN 50
#define CNS_SIMULATION_WEIGHT_MAX 200
/* How the flags of one hospital in one round are spread: docs/detection.md. */
#define CNS_SIMULATION_FLAG_RATE 0.01

/* Fills the update of the hospital at position k (0..hospitals-1); it is
 * clipped afterwards. Called from several threads at once. */
typedef int cns_simulation_update_fn(void *context, size_t k, float *update, size_t dim);

/* Where the honest updates come from. */
enum cns_simulation_source {
  CNS_SIMULATION_DRAWN = 0, /* from the seed, some above the clip norm, or by options.update */
  CNS_SIMULATION_TRAINED, /* real training on the shipped data, the model of one round going into the next */
  CNS_SIMULATION_GIVEN,   /* options.given, in every round */
};

/* What an attacker does. Those but the first break the protocol. */
enum cns_simulation_lie {
  CNS_LIE_NUMBERS = 0,       /* its update alone: robust/attack.h */
  CNS_LIE_FALSE_PAIR,        /* poison hidden in the sketch of a pair's mask, alone */
  CNS_LIE_FALSE_PAIR_AGREED, /* the same, the other of the pair saying the same */
  CNS_LIE_FALSE_SELF,        /* poison hidden in the sketch of the self mask */
  CNS_LIE_WRONG_SHARE,       /* releases a share that wasn't dealt */
  CNS_LIE_EQUIVOCATE,        /* signs two different answers in one phase */
  CNS_LIE_OTHER_MASKS,       /* masks its update with one that was not agreed */
  CNS_LIE_DROP,              /* says nothing after its upload */
  CNS_LIE_REFUSE_OPENING,    /* contradicts its like about a pair, and doesn't open it; a single one
                                gives no sketches at all: an honest partner would open the pair */
  CNS_LIE_COUNT
};
const char *cns_simulation_lie_name(enum cns_simulation_lie lie); /* "false-pair", ... */

struct cns_simulation_attack {
  enum cns_simulation_lie lie;
  size_t count;
  double scale;              /* of the poison, in clip norms; agreed pairs: times their honest updates */
  struct cns_attack numbers; /* of CNS_LIE_NUMBERS */
};
/* NAME:COUNT[:param=value]..., NAME of robust/attack.h or of a lie. */
CNS_MUST_CHECK int cns_simulation_attack_parse(const char *spec, struct cns_simulation_attack *ret_attack,
                                               struct cns_problem *problem);

struct cns_simulation_options {
  size_t hospitals; /* 4..CNS_HOSPITALS_MAX */
  uint64_t dim;     /* 1..CNS_DIM_MAX; trained: the nearest model's is taken (cns_simulation_dim) */
  uint64_t seed;
  size_t threshold;              /* 0: the policy's own rule; else see cns_simulation_colluders */
  size_t drops[CNS_PHASE_COUNT]; /* honest hospitals that are silent from this phase on */
  double clip_norm;              /* 0: CNS_SIMULATION_CLIP_NORM; given: the lower quartile of their norms;
                                    trained: half of that of the first round, since later ones are shorter */
  const uint32_t *weights;       /* one a hospital; NULL: patients if trained, else drawn from the seed */
  enum cns_simulation_source source;
  cns_simulation_update_fn *update; /* drawn: NULL for near-normal ones */
  void *context;
  const float *given;   /* hospitals x dim; must outlive the simulation */
  double alpha;         /* trained: of the Dirichlet split; 0: 1 */
  bool audit;           /* level open */
  uint32_t sketch;      /* numbers of a sketch; 0: 256 */
  double sketch_budget; /* share of the update's length that a hospital reveals at most; 0: no limit */
  enum cns_on_flag on_flag;
  const char *evidence; /* folder for roster.json, authority.pub and the evidence; NULL: not written */
  size_t attack_count;
  struct cns_simulation_attack attacks[CNS_SIMULATION_ATTACKS_MAX];
};

struct cns_simulation_blame {
  size_t hospital;
  enum cns_blame blame;
  enum cns_phase phase;
  bool within_bound;
  bool verifies; /* cns_evidence_check convicts that hospital of that */
  size_t evidence_bytes;
};

/* How the last round went. Lists are by hospital, 0..hospitals-1; the roster
 * index is one more. */
struct cns_simulation_result {
  uint64_t round; /* of the study; a round without a result is tried again */
  uint32_t attempt;
  bool completed;
  bool exact;   /* all coordinates of the sum equal the plain 64-bit sum; with attackers in it, modulo 2^32 */
  bool stopped; /* no further round is possible: reason says why */
  char reason[512]; /* why the round ended without a result; "" if it completed */
  uint64_t dim;
  double clip_norm;
  size_t cohort_count; /* hospitals that were not kept out by quarantine */
  uint16_t threshold, colluders;
  int scale_log2;
  size_t included_count;
  bool *included;
  bool *malicious;
  uint64_t *quarantined; /* round since which it is kept out of the cohort; 0: it isn't */
  uint8_t *outcome; /* cns_outcome; CNS_OUTCOME_COUNT: it isn't in the cohort, or the round ended before */
  enum cns_phase *missing;          /* the first phase without an answer; CNS_PHASE_COUNT: none */
  double phase_ms[CNS_PHASE_COUNT]; /* wall clock; CNS_PHASE_RESULT: from the terms to the model's mean */
  double client_mask_ms_median;     /* mask generator over one vector */
  double client_audit_ms_median;    /* sketches of all masks, of y and of x */
  double server_sketch_ms;          /* A*y of all uploads */
  double server_unmask_ms;          /* from the last answer of phase unmask to the sum */
  double bytes_up_per_hospital, bytes_down_per_hospital;
  double audit_bytes_up_per_hospital; /* of them, the answers of phases audit, dispute and forfeit */
  uint64_t model_bytes;               /* what a hospital downloads besides: the model, 4 bytes a parameter */
  double max_error;             /* largest |mean of the sum - mean of the updates in it before rounding| */
  uint64_t clipped_coordinates; /* of the sum, beyond the honest range */
  /* With an audit. */
  bool sketches_exact; /* each z of those that don't lie in the audit is A*x, bit for bit */
  size_t flag_count;   /* strongest first; row is the position in `included` and others */
  struct cns_detect_flag *flags;
  char claim[CNS_DETECT_TEXT_BYTES];     /* what can't be claimed of so few hospitals */
  double influence;                      /* B/(n*C) */
  char effective[CNS_DETECT_TEXT_BYTES]; /* what that means */
  double attack_influence; /* length of the sum of the attackers' updates in the sum, over the sum of their
                              bounds */
  size_t blame_count;
  struct cns_simulation_blame *blames;
  /* Trained: of the model after this round, over all hospitals' rows. */
  bool has_model;
  double model_loss, model_auc;
};

struct cns_simulation;

/* c for a cohort of n and this threshold: the policy's default if t is its
 * threshold or smaller (such a descriptor is then refused by the hospitals),
 * otherwise the largest c >= 1 with n >= 3c+1 and t = floor((n+c)/2)+1.
 * CNS_ERR_RANGE, with the values that are possible in the sentence. */
CNS_MUST_CHECK int cns_simulation_colluders(size_t hospitals, size_t threshold, uint16_t *ret_colluders,
                                            struct cns_problem *problem);
/* CNS_ERR_RANGE with a sentence for options outside their limits. */
CNS_MUST_CHECK int cns_simulation_check(const struct cns_simulation_options *options,
                                        struct cns_problem *problem);
/* Upper estimate of the memory for these options, in bytes. */
uint64_t cns_simulation_memory_bytes(const struct cns_simulation_options *options);

/* Checks the options, then makes identities, roster and policy; deals the data
 * out and trains once, if updates are trained. weights is copied. */
CNS_MUST_CHECK int cns_simulation_new(const struct cns_simulation_options *options,
                                      struct cns_simulation **ret_simulation, struct cns_problem *problem);
struct cns_simulation *cns_simulation_free(struct cns_simulation *simulation);
/* Parameters of the model that is trained: options.dim, or the nearest there is. */
uint64_t cns_simulation_dim(const struct cns_simulation *simulation);
/* Widths of its hidden layers; 0 if there is no model. */
size_t cns_simulation_hidden(const struct cns_simulation *simulation, size_t ret_widths[static 2]);
/*
 * The next round from the announcement to the mean. 0 also for a round that
 * ended cleanly without a result; CNS_ERR_REFUSED when a hospital refuses the
 * announcement; other errors are faults of this program or of the machine.
 * *ret_result is the simulation's, good until the next call.
 */
CNS_MUST_CHECK int cns_simulation_round(struct cns_simulation *simulation,
                                        const struct cns_simulation_result **ret_result,
                                        struct cns_problem *problem);
/* Name of the file with the evidence of one blame of this result. */
void cns_simulation_evidence_name(const struct cns_simulation_result *result,
                                  const struct cns_simulation_blame *blame, char out[static 128]);
