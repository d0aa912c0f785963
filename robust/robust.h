/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Robust aggregation of n vectors of which up to f may be anything: rules and
 * what is done to the vectors before them, in float or double, on all cores.
 *
 * A matrix is n rows (hospitals) x d columns (coordinates), row by row without
 * gaps, of float or double; results have its precision. docs/robustness.md has
 * each formula with its source, breakdown point and cost.
 *
 * Thread-safe: no state is kept between calls; equal inputs give equal bytes,
 * whatever the number of threads.
 */
#pragma once

#include "crypto/base.h"

/* Most rows of a matrix. */
#define CNS_ROBUST_ROWS_MAX CNS_HOSPITALS_MAX

/* Bytes of an element. */
enum cns_robust_type { CNS_ROBUST_F32 = 4, CNS_ROBUST_F64 = 8 };

enum cns_robust_rule {
  CNS_ROBUST_MEAN = 0,
  CNS_ROBUST_MEDIAN,
  CNS_ROBUST_TRIMMED_MEAN,
  CNS_ROBUST_MEAMED,
  CNS_ROBUST_GEOMETRIC_MEDIAN,
  CNS_ROBUST_KRUM,
  CNS_ROBUST_MULTI_KRUM,
  CNS_ROBUST_BULYAN,
  CNS_ROBUST_CENTERED_CLIPPING,
  CNS_ROBUST_MDA,
  CNS_ROBUST_SMEA,
  CNS_ROBUST_CAF,
  CNS_ROBUST_MONNA,
  CNS_ROBUST_DNC,
  CNS_ROBUST_FLTRUST,
  CNS_ROBUST_CLIPPED_MEAN,
  CNS_ROBUST_RULE_COUNT
};

enum cns_robust_pre {
  CNS_ROBUST_NNM = 0,
  CNS_ROBUST_BUCKETING,
  CNS_ROBUST_CLIPPING,
  CNS_ROBUST_ARC,
  CNS_ROBUST_PRE_COUNT
};

/* Zeroed: the defaults. What a rule doesn't take must be left zero (CNS_ERR_ARGUMENT). */
struct cns_robust_params {
  size_t byzantine;      /* f: rows that may be anything */
  const char *variant;   /* NULL: the paper's; "byzfl" (krum, multi-krum, caf) or "flower" (bulyan) */
  const double *weights; /* n positive numbers, public (patients); NULL: equal */
  double nu;             /* geometric-median: smoothing, relative to nothing; 0: 0.1 */
  size_t
      iterations; /* geometric-median, from zero (0: until it stands still); centered-clipping, dnc (0: 1) */
  double tau;     /* centered-clipping: radius; must be given */
  double norm;    /* clipping, clipped-mean: longest norm; must be given */
  size_t pivot;   /* monna: row that is trusted, from 0 */
  size_t size;    /* bucketing: rows in a bucket, >= 1; must be given */
  uint64_t seed;  /* bucketing, dnc */
  const void *reference; /* fltrust: d elements of the matrix's type; must be given */
  size_t threads;        /* 0: one for each core */
};

/* Sentences and limits for a list. The strings live as long as the program. */
struct cns_robust_about {
  const char *name;      /* "trimmed-mean" */
  const char *formula;   /* in plain text */
  const char *breakdown; /* largest f, "f < n/2" */
  const char *cost;      /* "O(n^2 d)" */
  const char *source;    /* paper and section */
  const char *params;    /* names it takes, separated by spaces: "nu iterations"; "" if none */
  const char *variants;  /* besides the paper's; "" if none */
  bool takes_byzantine;  /* else f must be 0..n-1 and changes nothing */
  bool takes_weights;
};

/* Never NULL for a valid kind. */
const struct cns_robust_about *cns_robust_about_rule(enum cns_robust_rule rule);
const struct cns_robust_about *cns_robust_about_pre(enum cns_robust_pre pre);
/* CNS_ERR_NOT_FOUND with a sentence that names the nearest one ("did you mean"). */
CNS_MUST_CHECK int cns_robust_find_rule(const char *name, enum cns_robust_rule *ret_rule,
                                        struct cns_problem *problem);
CNS_MUST_CHECK int cns_robust_find_pre(const char *name, enum cns_robust_pre *ret_pre,
                                       struct cns_problem *problem);

/* Can this be computed for n rows? CNS_ERR_RANGE (f too large, n too small) or
 * CNS_ERR_ARGUMENT (a parameter missing or not taken), with a sentence. */
CNS_MUST_CHECK int cns_robust_check_rule(enum cns_robust_rule rule, const struct cns_robust_params *params,
                                         size_t n, struct cns_problem *problem);
CNS_MUST_CHECK int cns_robust_check_pre(enum cns_robust_pre pre, const struct cns_robust_params *params,
                                        size_t n, struct cns_problem *problem);

/*
 * ret_vector: d elements, not inside the matrix; after an error its content is undefined,
 * since rows that aren't finite are noticed on the way. params NULL: the defaults.
 * CNS_ERR_RANGE also for a row that isn't finite (named), CNS_ERR_LIMIT for a
 * search that would be too long (mda, smea: too many subsets), CNS_ERR_MEMORY.
 */
CNS_MUST_CHECK int cns_robust_aggregate(enum cns_robust_rule rule, const struct cns_robust_params *params,
                                        enum cns_robust_type type, const void *matrix, size_t n, size_t d,
                                        void *ret_vector, struct cns_problem *problem);

/* Rows of the result: n, and fewer for bucketing: ceil(n/size). */
size_t cns_robust_pre_rows(enum cns_robust_pre pre, const struct cns_robust_params *params, size_t n);
/*
 * ret_matrix: cns_robust_pre_rows x d elements, not overlapping the matrix.
 * ret_weights: that many, what the weights of the result's rows are (bucketing
 * adds them up); NULL if not wanted. Errors as above, with undefined results too.
 */
CNS_MUST_CHECK int cns_robust_preaggregate(enum cns_robust_pre pre, const struct cns_robust_params *params,
                                           enum cns_robust_type type, const void *matrix, size_t n, size_t d,
                                           void *ret_matrix, double *ret_weights,
                                           struct cns_problem *problem);

/* ret_finite[i]: are all elements of row i finite? Returns how many rows are. */
size_t cns_robust_finite_rows(enum cns_robust_type type, const void *matrix, size_t n, size_t d,
                              size_t threads, bool *ret_finite);
