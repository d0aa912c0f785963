/* SPDX-License-Identifier: Apache-2.0 */
/* The experiments of docs/privacy.md. privacy_study.c prints them, a test runs
 * small ones. Each starts from its seed alone. Failures end the program. */
#pragma once

#include "benchmarks/privacy_world.h"

/* ---- what the numbers say of a hospital: privacy_mix.c ---- */

#define PRIVACY_SIZES 6 /* of sketches: the full update first, then k */
extern const uint32_t privacy_sizes[PRIVACY_SIZES];
#define PRIVACY_MOMENTS 4 /* rounds that are read */
extern const uint32_t privacy_moments[PRIVACY_MOMENTS];
#define PRIVACY_TOGETHER PRIVACY_MOMENTS /* the first three of them, averaged */

struct privacy_mix_options {
  struct privacy_world_options world; /* its seed is the first of `seeds` */
  uint64_t seeds;
  size_t imagined; /* hospitals that the reader makes up */
};

struct privacy_mix {
  size_t hospitals, auxiliary;
  double guess; /* mean error of whoever says the same of all */
  struct privacy_agreement of[PRIVACY_MOMENTS + 1][PRIVACY_SIZES];
  /* The whole update, rebuilt from the imagined ones: relative error (of all together); `blind`
   * without a single number. */
  double rebuilt[PRIVACY_MOMENTS][PRIVACY_SIZES], blind[PRIVACY_MOMENTS];
  double squares[PRIVACY_MOMENTS];
};
void privacy_mix(const struct cns_plan *plan, const struct cns_table *table,
                 const struct privacy_mix_options *options, struct privacy_mix *ret_mix);

enum { PRIVACY_TO_NOISE, PRIVACY_TO_OTHER, PRIVACY_TO_CLASS, PRIVACY_TO_ENTRY, PRIVACY_DIRECTIONS };
struct privacy_inner {
  double cosine[PRIVACY_DIRECTIONS];                /* root of the mean square */
  double error[PRIVACY_DIRECTIONS][PRIVACY_SIZES];  /* likewise, of the cosine's estimate */
  double theory[PRIVACY_DIRECTIONS][PRIVACY_SIZES]; /* what the variance says it is */
};
/* Errors of inner products of updates with directions of four kinds; sizes[0] unused. */
void privacy_inner(const struct cns_plan *plan, const struct cns_table *table,
                   const struct privacy_world_options *options, size_t draws,
                   struct privacy_inner *ret_inner);

struct privacy_metrics {
  size_t hospitals, exact;         /* whose validation rows by class came out exactly */
  struct privacy_agreement of_all; /* their share against that of all rows */
};
/* Sums of metrics of two rounds that differ by one hospital. */
void privacy_metrics(const struct cns_plan *plan, const struct cns_table *table,
                     const struct privacy_world_options *options, uint64_t seeds,
                     struct privacy_metrics *ret_metrics);

/* ---- going back from A*x to x: privacy_sparse.c ---- */

struct privacy_sparse_options {
  uint64_t seed;
  size_t dim, nonzero, audits, trials;
  uint32_t k;
  bool pursuit; /* instead of agreement */
};
/* Share of vectors with that many nonzero whole numbers that come out exactly. */
double privacy_sparse(const struct privacy_sparse_options *options);

struct privacy_compressible {
  double best, found, energy; /* relative errors: of the k/8 largest entries, of what was found */
};
/* Entries that fall off like rank^-power in random places and signs, found by pursuit. */
void privacy_compressible(const struct privacy_sparse_options *options, double power,
                          struct privacy_compressible *ret_result);
/* The same of a real update. */
void privacy_compressible_real(const double *x, size_t dim, uint32_t k, struct cns_rng rng,
                               struct privacy_compressible *ret_result);

/* ---- models made to be read, and audits repeated: privacy_attack.c ---- */

struct privacy_trap {
  size_t rounds;    /* hospitals attacked */
  double nonzero;   /* entries of an update, mean */
  size_t recovered; /* updates that came out of the sketch exactly */
  size_t rows;      /* hospitals of which a patient's row was read, to 0.01 of its scale (range 2) */
  size_t from_sum;  /* of `seeds` sums without an audit: rows read out of the sum alone */
  size_t sums;
};
/* Models whose units are dead but for `live` in the first hidden layer and one in each other; their
 * threshold `deviations` above the reader's patients' mean in a direction drawn at random. */
void privacy_trap(const struct cns_plan *plan, const struct cns_table *table,
                  const struct privacy_world_options *options, uint64_t seeds, uint32_t k, size_t live,
                  double deviations, struct privacy_trap *ret_trap);

struct privacy_repeated {
  size_t numbers;
  double same;  /* relative error of a real update rebuilt from audits of the very same vector */
  double fresh; /* of the first one, from audits of as many freshly trained on the same model */
};
void privacy_repeated(const struct cns_plan *plan, const struct cns_table *table,
                      const struct privacy_world_options *options, uint32_t k, size_t audits, size_t steps,
                      struct privacy_repeated *ret_repeated);
/* Relative distance and cosine of two fresh trainings of one hospital on the same model, means. */
void privacy_freshness(const struct cns_plan *plan, const struct cns_table *table,
                       const struct privacy_world_options *options, double *ret_distance, double *ret_cosine);
