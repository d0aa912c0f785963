/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "crypto/bytes.h"
#include "crypto/rng.h"
#include "model/split_internal.h"

#define ATTEMPTS_MAX 1000
/* So that the fitting of the margins always has something to scale. */
#define SHARE_MIN 1e-12

/* In (0, 1): never zero, so that its logarithm is finite. */
static int uniform(struct cns_rng rng, double *ret_value) {
  uint8_t bytes[8];
  int r = cns_rng_fill(rng, bytes, sizeof bytes);
  if (r < 0) return r;
  *ret_value = ((double)(cns_load_le64(bytes) >> 11) + 0.5) * 0x1p-53;
  return 0;
}

static int normal(struct cns_rng rng, double *ret_value) {
  double u, v;
  int r = uniform(rng, &u);
  if (r == 0) r = uniform(rng, &v);
  if (r == 0) *ret_value = sqrt(-2 * log(u)) * cos(2 * M_PI * v);
  return r;
}

/* log of a Gamma(shape) variable, shape >= 1 (Marsaglia, Tsang 2000). */
static int log_gamma_large(struct cns_rng rng, double shape, double *ret_value) {
  double d = shape - 1.0 / 3, c = 1 / sqrt(9 * d);
  for (int attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    double x = 0, u = 0;
    int r = normal(rng, &x);
    if (r == 0) r = uniform(rng, &u);
    if (r < 0) return r;
    double v = 1 + c * x;
    if (v <= 0) continue;
    double log_v = 3 * log(v);
    if (log(u) < 0.5 * x * x + d - d * exp(log_v) + d * log_v) {
      *ret_value = log(d) + log_v;
      return 0;
    }
  }
  return CNS_ERR_RANDOM;
}

/* In logarithms, since a Gamma(0.01) variable is often below the smallest
 * double: Gamma(a) = Gamma(a+1) * U^(1/a). */
static int log_gamma(struct cns_rng rng, double shape, double *ret_value) {
  double value = 0, u = 1;
  int r = log_gamma_large(rng, shape < 1 ? shape + 1 : shape, &value);
  if (r == 0 && shape < 1) r = uniform(rng, &u);
  if (r == 0) *ret_value = shape < 1 ? value + log(u) / shape : value;
  return r;
}

/* A Dirichlet variable: Gamma variables over their sum. */
static int mix(struct cns_split_dealing *dealing) {
  const struct cns_split_dirichlet_options *options = dealing->wish->options;
  struct cns_rng_seeded generator;
  cns_rng_seeded_init_label(&generator, options->seed, "dirichlet mixes");
  for (size_t h = 0; h < dealing->hospitals; h++) {
    double *share = &dealing->wanted[h * dealing->classes], top = -INFINITY;
    for (size_t c = 0; c < dealing->classes; c++) {
      int r = log_gamma(cns_rng_seeded(&generator), options->alpha, &share[c]);
      if (r < 0) return r;
      top = fmax(top, share[c]);
    }
    for (size_t c = 0; c < dealing->classes; c++)
      share[c] = fmax(exp(share[c] - top), SHARE_MIN);
  }
  return 0;
}

int cns_split_dirichlet(const uint16_t *label, const uint32_t *groups, size_t rows, size_t classes,
                        const struct cns_split_dirichlet_options *options, uint16_t *ret_part) {
  if (options->hospitals < 1 || options->hospitals > CNS_HOSPITALS_MAX || !(options->test_share >= 0) ||
      !(options->test_share < 1) || !(options->size_ratio >= 1) || !(options->size_ratio <= 1e6) ||
      !(options->alpha >= 1e-3) || !(options->alpha <= 1e9))
    return CNS_ERR_ARGUMENT;
  struct cns_split_wish wish = {.seed = options->seed,
                                .label = "dirichlet split",
                                .hospitals = options->hospitals,
                                .test_share = options->test_share,
                                .size_ratio = options->size_ratio,
                                .mix = mix,
                                .options = options};
  return cns_split_deal(label, groups, rows, classes, &wish, ret_part);
}
