/* SPDX-License-Identifier: Apache-2.0 */
/* Internal to the detection: one round's rows per unit of weight, and what is
 * computed from them once. */
#pragma once

#include "robust/detect.h"
#include "robust/reference.h"

/* Relative distances (to the shorter of the two updates) of docs/detection.md, "Twins". */
#define CNS_TWINS_NEAR 0.07   /* as good as identical, whatever the cohort looks like */
#define CNS_TWINS_NOISE 0.3   /* up to here a difference that looks like added noise is a twin's */
#define CNS_TWINS_COHORT 0.7  /* beyond it nobody is called a twin, however far the others are */
#define CNS_TWINS_SPAN_MAX 32 /* other rows that a difference is compared with */

struct cns_twin {
  size_t nearest;
  double distance;  /* to it, relative */
  double explained; /* share of the squared difference in the span of other rows */
  double noise;     /* what pure noise reaches at most: mean + 4 standard deviations */
};

struct cns_cohort {
  const struct cns_detect_input *input;
  size_t n;
  size_t columns;
  double *rows;    /* n x columns, per unit of weight */
  double *gram;    /* n x n */
  double *squared; /* n x n distances */
  double *length;  /* n; of the update, per unit of weight */
  struct cns_twin *twin;
  double explained_upper; /* upper quartile over the cohort's nearest pairs */
  double noise_floor;     /* standard deviation that the sketch adds to a log length */
};

CNS_MUST_CHECK int cns_cohort_init(struct cns_cohort *cohort, const struct cns_detect_input *input,
                                   struct cns_problem *problem);
void cns_cohort_deinit(struct cns_cohort *cohort);
/* "hospital 7", or its name. */
void cns_cohort_name(const struct cns_cohort *cohort, size_t row, char ret_name[static 72]);
uint16_t cns_cohort_index(const struct cns_detect_input *input, size_t row);

/* Nearest neighbours: robust/twins.c. */
CNS_MUST_CHECK int cns_cohort_find_twins(struct cns_cohort *cohort);
/* Does nothing speak against it: is the difference, as far as it can be told, like noise? */
bool cns_cohort_may_be_twin(const struct cns_cohort *cohort, size_t row);
/* Is the pair too close, whatever the others' distances are? ret_limit: what it is below. */
bool cns_cohort_is_twin(const struct cns_cohort *cohort, size_t row, double *ret_limit);

/* One statistic's n values on the scale on which they are compared (logarithms
 * where they are ratios), and which side is suspicious. */
enum cns_side { CNS_SIDE_HIGH, CNS_SIDE_LOW, CNS_SIDE_BOTH };
struct cns_score {
  enum cns_detect_statistic statistic;
  enum cns_side side;
  enum cns_scale scale;
  bool logarithm;   /* value is exp(scale value) */
  double scale_min; /* the scale is never taken for less */
  double median, mad, sigma;
  double z_limit;
  double *value; /* n */
};
#define CNS_SCORES 6
/* Fills scores[CNS_SCORES] (value: n doubles of room each), robust/scores.c. */
CNS_MUST_CHECK int cns_cohort_scores(const struct cns_cohort *cohort, const struct cns_reference *reference,
                                     double rate, struct cns_score *scores);
/* z of a row, positive where suspicious. */
double cns_score_z(const struct cns_score *score, size_t row);
/* Its one-sided (or two-sided) tail probability. */
double cns_score_tail(const struct cns_score *score, const struct cns_reference *reference, size_t row);

/* The flag's sentence, from its numbers: robust/text.c. */
void cns_detect_flag_text(const struct cns_cohort *cohort, struct cns_detect_flag *flag);
void cns_detect_claim_text(size_t hospitals, char ret_text[static CNS_DETECT_TEXT_BYTES]);
/* Flags in the order of the header. */
void cns_detect_flags_sort(struct cns_detect_flag *flags, size_t count);

/* The rate of each relative statistic; checks the options. */
CNS_MUST_CHECK int cns_detect_rate_each(const struct cns_detect_options *options, double *ret_rate,
                                        struct cns_problem *problem);
