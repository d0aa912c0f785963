/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Outlier detection on n rows of k doubles: the hospitals' sketches of one
 * round (crypto/sketch.h, as signed integers) or plain vectors. Section
 * "Detection on the sketches" of docs/protocol.md; what is found and what is
 * not, with measured rates: docs/detection.md.
 *
 * Everything here is a pure function of its arguments: no clock, no global
 * state, plain loops in a fixed order, so the same input gives the same bits.
 * A permutation of the hospitals permutes the findings.
 */
#pragma once

#include "crypto/base.h"

#define CNS_DETECT_COHORT_MIN 4u   /* fewer rows have no majority to compare with */
#define CNS_DETECT_COHORT_SMALL 8u /* below it the result says what can't be claimed */
#define CNS_DETECT_COLUMNS_MAX (1u << 20)
#define CNS_DETECT_TEXT_BYTES 400
#define CNS_DETECT_NONE SIZE_MAX

/* The names (cns_detect_statistic_name) are what reports and logs carry. */
enum cns_detect_statistic {
  CNS_DETECT_BOUND = 0, /* "norm-bound": longer than clipping and noise allow */
  CNS_DETECT_SIZE,      /* "norm": robust z of the log norm per unit of weight, too long */
  CNS_DETECT_DIRECTION, /* "direction": cosine to the geometric median, against its run */
  CNS_DETECT_DISTANCE,  /* "distance": Krum-type score, far from its nearest neighbours */
  CNS_DETECT_CENTRAL,   /* "central": distance to the geometric median, nearer to the middle than data get */
  CNS_DETECT_TWINS,     /* "twins": nearest neighbour too close */
  CNS_DETECT_SPECTRAL,  /* "spectral": projection on the cohort's main direction */
  CNS_DETECT_EWMA,      /* "ewma": unusual on average over the last rounds */
  CNS_DETECT_CUSUM,     /* "cusum": a little unusual, round after round */
  CNS_DETECT_STATISTIC_COUNT
};
/* Those that one round alone gives: the first seven. */
#define CNS_DETECT_ROUND_STATISTICS ((size_t)CNS_DETECT_EWMA)
const char *cns_detect_statistic_name(enum cns_detect_statistic statistic); /* never NULL */

struct cns_detect_input {
  size_t hospitals;         /* n rows, CNS_DETECT_COHORT_MIN..CNS_HOSPITALS_MAX */
  size_t columns;           /* k, 1..CNS_DETECT_COLUMNS_MAX */
  const double *rows;       /* n x k, row by row, in weighted units (weight * update) */
  const double *weights;    /* n, public, > 0 */
  const double *bounds;     /* n, B_i in the rows' units (cns_detect_bound); NULL: no bound is checked */
  const uint16_t *hospital; /* n roster indices, distinct: history, texts, order of ties; NULL: 1..n */
  const char *const *name;  /* n names for the texts; NULL: "hospital 7" */
  unsigned blocks;          /* CNS_SKETCH_BLOCKS for sketches (||x||^2 ~ ||row||^2/blocks), 1 for vectors */
};

struct cns_detect_options {
  /* Attack-free flags per hospital and round, all statistics of one round but
   * the bound together; 1e-4..0.2. Split among them (Bonferroni). */
  double rate;
  /* Flags of an honest update that lies exactly on its bound; 1e-9..0.1. */
  double bound_rate;
  /* Factor on `rate` after a confirmed attack (cns_detect_history_factor), >= 1. */
  double tightening;
};
/* rate 0.01, bound_rate 1e-6, tightening 1. */
struct cns_detect_options cns_detect_options_default(void);

struct cns_detect_flag {
  size_t row;
  uint16_t hospital; /* roster index, or row + 1 */
  enum cns_detect_statistic statistic;
  double value;
  double threshold; /* what the value had to pass; above or below, as the text says */
  double median;    /* of the cohort's values; NAN for the bound */
  double mad;       /* their median absolute deviation, unscaled; NAN for the bound */
  double rate;      /* how often an honest hospital is flagged by this statistic alone */
  double strength;  /* >= 1: how far past the threshold, comparable between statistics */
  size_t twin;      /* row of the nearest neighbour, for twins; else CNS_DETECT_NONE */
  size_t cluster;   /* for twins: the smallest row of those linked together; else CNS_DETECT_NONE */
  char text[CNS_DETECT_TEXT_BYTES]; /* for people: one or two sentences, no newline */
};

struct cns_detect_result {
  size_t hospitals;
  struct cns_detect_flag *flags; /* by strength, the bound's first; ties by roster index */
  size_t flag_count;
  double *values; /* hospitals x CNS_DETECT_ROUND_STATISTICS, as in the flags */
  /* hospitals; smallest tail probability over the relative statistics as -log10,
   * what EWMA and CUSUM follow; 0 = ordinary. */
  double *surprise;
  double bound_factor;               /* times B: where the bound's flag begins; NAN without bounds */
  double rate;                       /* what was used: options.rate * tightening, at most 0.2 */
  char claim[CNS_DETECT_TEXT_BYTES]; /* what can't be claimed in this cohort; "" from 8 hospitals on */
};

/*
 * One round, without memory. CNS_ERR_ARGUMENT for sizes outside the limits and
 * options outside theirs; CNS_ERR_RANGE, naming the hospital, for a number that
 * is NaN or infinite, a weight or bound that isn't positive, an index that
 * comes twice. deinit the result.
 */
CNS_MUST_CHECK int cns_detect_round(const struct cns_detect_input *input,
                                    const struct cns_detect_options *options,
                                    struct cns_detect_result *ret_result, struct cns_problem *problem);
void cns_detect_result_deinit(struct cns_detect_result *result); /* fine on a zeroed struct */
bool cns_detect_is_flagged(const struct cns_detect_result *result, size_t row);

/* ---- Over rounds ------------------------------------------------------- */

/* Plain numbers; zero-initialise to begin. Entry `h` belongs to roster index h. */
struct cns_detect_history {
  struct cns_detect_memory {
    double ewma; /* of the surprise, excess over its null mean */
    double cusum;
    uint32_t rounds; /* in which it was seen */
  } of[CNS_HOSPITALS_MAX + 1];
  uint32_t tight_rounds; /* still to come */
  double tight_factor;   /* >= 1 while tight_rounds > 0 */
};

/*
 * After cns_detect_round: moves the memory of the hospitals that took part one
 * round on, adds their EWMA and CUSUM flags to the result, and counts a tight
 * round down. input and options are the round's. Hospitals that were absent
 * keep their memory.
 */
CNS_MUST_CHECK int cns_detect_history_step(struct cns_detect_history *history,
                                           const struct cns_detect_input *input,
                                           const struct cns_detect_options *options,
                                           struct cns_detect_result *result, struct cns_problem *problem);
/* The policy's answer to a confirmed attack: `rounds` rounds with `factor`
 * (1..100) times the rate. The larger of old and new stays. */
CNS_MUST_CHECK int cns_detect_history_tighten(struct cns_detect_history *history, uint32_t rounds,
                                              double factor);
/* For options.tightening: 1 when nothing is tight. */
double cns_detect_history_factor(const struct cns_detect_history *history);
/* A hospital released from quarantine begins anew. */
void cns_detect_history_forget(struct cns_detect_history *history, uint16_t hospital);

/* Bytes, the same for the same history; only hospitals with memory are written.
 * encode: malloc'd. decode: CNS_ERR_FORMAT, CNS_ERR_VERSION; ret_history is
 * untouched then. */
CNS_MUST_CHECK int cns_detect_history_encode(const struct cns_detect_history *history, uint8_t **ret_bytes,
                                             size_t *ret_len);
CNS_MUST_CHECK int cns_detect_history_decode(const uint8_t *bytes, size_t len,
                                             struct cns_detect_history *ret_history);

/* ---- What follows from flags ------------------------------------------- */

enum cns_detect_action { CNS_DETECT_REPORT = 0, CNS_DETECT_EXCLUDE, CNS_DETECT_QUARANTINE };
const char *cns_detect_action_name(enum cns_detect_action action); /* "report", "exclude", "quarantine" */

struct cns_detect_policy {
  enum cns_detect_action on_flag;
  enum cns_detect_action on_twins; /* REPORT by default: the one that was copied is honest */
  size_t exclusions_max;           /* in one round */
  size_t remain_min;               /* hospitals that must stay */
};

struct cns_detect_exclusion {
  size_t row;
  enum cns_detect_action action; /* EXCLUDE or QUARANTINE */
  size_t flag;                   /* index of the flag that decided */
};

/*
 * Who is left out, strongest flag first, until exclusions_max or remain_min
 * stops it. Of hospitals that are only flagged as twins of each other, one
 * always stays: the one with the least strength, ties to the smallest roster
 * index. ret_exclusions has room for result->hospitals. ret_spared (may be
 * NULL): flagged, action not `report`, but kept by one of the limits.
 */
CNS_MUST_CHECK int cns_detect_decide(const struct cns_detect_result *result,
                                     const struct cns_detect_policy *policy,
                                     struct cns_detect_exclusion *ret_exclusions, size_t *ret_count,
                                     size_t *ret_spared);

/* ---- The bound --------------------------------------------------------- */

/* B of one hospital in the rows' units: sqrt((weight*clip)^2 + sigma^2*dim).
 * clip: per unit of weight, rounding included (on the grid theta/weight, dp/quantize.h);
 * sigma: standard deviation of the hospital's own noise in each of dim coordinates, 0 without. */
double cns_detect_bound(double clip, double weight, double sigma, size_t dim);

/*
 * The factor f such that an honest vector of norm exactly B has a sketch norm
 * above f*B with probability at most `rate`, whatever the vector: the larger of
 * the dense limit (||z||^2/B^2 ~ chi2_k/k) and the worst of m equal entries,
 * both exact. k a power of two, CNS_SKETCH_MIN..CNS_SKETCH_MAX, rate 1e-9..0.1,
 * else CNS_ERR_ARGUMENT. k = 256: 1.204 at 1e-5, 1.225 at 1e-6.
 */
CNS_MUST_CHECK int cns_detect_bound_factor(uint32_t k, double rate, double *ret_factor);
/* The dense limit alone: P(||z|| > factor*||x||) for a dense x. */
double cns_detect_bound_rate_dense(uint32_t k, double factor);
/* The same for a vector of `equal` (1..CNS_DETECT_EQUAL_MAX) entries of one size. */
#define CNS_DETECT_EQUAL_MAX 16u
CNS_MUST_CHECK int cns_detect_bound_rate_sparse(uint32_t k, unsigned equal, double factor, double *ret_rate);

/* What one unseen liar can move, relative to all honest together: the largest
 * bounds[i] / (clip * sum of weights); B/(n*C) for equal weights. */
double cns_detect_influence(const double *bounds, const double *weights, size_t hospitals, double clip);
/* Is the norm audit worth anything? false from influence 1 on, where one liar
 * passes who moves the model as far as all others together. The sentence says
 * so, with the number; it is what policy, log and page print. */
bool cns_detect_effective(double influence, char ret_text[static CNS_DETECT_TEXT_BYTES]);
