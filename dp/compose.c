/* SPDX-License-Identifier: Apache-2.0 */
#include "dp/compose.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "dp/compose_internal.h"

static const struct cns_tilted *pick(const struct cns_tilted_part *part, bool upper) {
  return upper ? &part->upper : &part->lower;
}

/* log E[e^(t (number - mean))] of the composition. */
static double log_moment(const struct cns_tilted_part *parts, size_t count, bool upper, double t) {
  double sum = 0;
  for (size_t s = 0; s < count; s++)
    sum += (double)parts[s].rounds * cns_tilted_log_moment(pick(&parts[s], upper), t);
  return sum;
}

static void mean_of(const struct cns_tilted_part *parts, size_t count, bool upper, double *ret_mean,
                    double *ret_variance) {
  double mean = 0, variance = 0;
  for (size_t s = 0; s < count; s++) {
    mean += (double)parts[s].rounds * pick(&parts[s], upper)->mean;
    variance += (double)parts[s].rounds * pick(&parts[s], upper)->variance;
  }
  *ret_mean = mean;
  *ret_variance = variance;
}

/* How far from the mean, to one side, e^outside_log of the mass reaches at most:
 * Chernoff's bound, the best of a few exponents. ret_t: that exponent. */
static double reach(const struct cns_tilted_part *parts, size_t count, double deviation, double outside_log,
                    double sign, double *ret_t) {
  double best = INFINITY, base = sqrt(-2 * outside_log) / fmax(deviation, 0.5);
  for (int i = 2; i >= -8; i--) {
    double t = base * exp2(i / 2.0);
    double distance = (log_moment(parts, count, true, sign * t) - outside_log) / t;
    if (distance < best) {
      best = distance;
      *ret_t = t;
    } else if (isfinite(best)) {
      break;
    }
  }
  return best;
}

/* Chernoff's bound of the mass beyond `bound`. */
static double beyond(const struct cns_tilted_part *parts, size_t count, bool upper, double mean, double bound,
                     double t) {
  return exp(fmin(0, log_moment(parts, count, upper, t) - t * (bound - mean)));
}

/* Where the window lies, and its length; fills in tails. */
static int choose_window(const struct cns_tilted_part *parts, size_t count, struct cns_composition *c,
                         double outside_log, double *ret_left) {
  double mean, variance, lower_mean, lower_variance, t_right = 0, t_left = 0;
  mean_of(parts, count, true, &mean, &variance);
  mean_of(parts, count, false, &lower_mean, &lower_variance);
  double right = mean + reach(parts, count, sqrt(variance), outside_log, 1, &t_right);
  double left = floor(mean - reach(parts, count, sqrt(variance), outside_log, -1, &t_left)) - 1;
  left = fmin(left, floor(left - (mean - lower_mean))); /* the lower one lies a bit further left */
  double needed = right - left + 3;
  if (!(needed <= (double)CNS_FFT_LEN_MAX)) return CNS_ERR_LIMIT;
  c->len = 16;
  while ((double)c->len < needed)
    c->len *= 2;
  /* The spare places go to both sides. */
  left -= floor(((double)c->len - needed) / 2);
  right = left + (double)c->len;
  c->upper.tail = beyond(parts, count, true, mean, right, t_right);
  c->upper.wrapped = c->upper.tail + beyond(parts, count, true, mean, left, -t_left);
  c->lower.tail = beyond(parts, count, false, lower_mean, right, t_right);
  c->lower.wrapped = c->lower.tail + beyond(parts, count, false, lower_mean, left, -t_left);
  *ret_left = left;
  return 0;
}

static int compose(struct cns_composition *c, const struct cns_tilted_part *parts, size_t count,
                   double outside_log) {
  double left = 0;
  struct cns_fft fft = {0};
  int r = choose_window(parts, count, c, outside_log, &left);
  if (r == 0) r = cns_fft_init(&fft, c->len);
  if (r < 0) return r;
  c->masses = malloc(c->len * sizeof *c->masses);
  r = c->masses ? cns_spectrum_compose(&fft, parts, count, c->masses, &c->upper.noise, &c->lower.noise)
                : CNS_ERR_MEMORY;
  c->first += c->step * left;
  c->begin = (size_t)(int64_t)left & (c->len - 1);
  cns_fft_deinit(&fft);
  return r;
}

/* Sums over the parts that need no composing. */
static void sum_parts(struct cns_composition *c, const struct cns_part *parts,
                      const struct cns_tilted_part *tilted, size_t count) {
  double infinite = 0;
  for (size_t s = 0; s < count; s++) {
    double rounds = (double)parts[s].rounds;
    c->first += rounds * parts[s].lattice->origin;
    c->upper.log_scale += rounds * tilted[s].upper.log_scale;
    c->lower.log_scale += rounds * tilted[s].lower.log_scale;
    c->relative += rounds * fmax(tilted[s].upper.error, tilted[s].lower.error);
    c->shift += 16 * DBL_EPSILON * rounds * parts[s].lattice->largest;
    infinite += rounds * parts[s].lattice->infinite;
  }
  c->infinite = fmin(1, infinite); /* union bound of 1 - (1-x)^rounds */
}

int cns_composition_init(struct cns_composition *ret_composition, const struct cns_part *parts, size_t count,
                         double step, double tilt, double outside_log) {
  struct cns_composition c = {.step = step, .tilt = tilt};
  struct cns_tilted_part *tilted = calloc(count, sizeof *tilted);
  int r = tilted ? 0 : CNS_ERR_MEMORY;
  for (size_t s = 0; s < count && r == 0; s++) {
    const struct cns_lattice *lattice = parts[s].lattice;
    tilted[s].rounds = parts[s].rounds;
    r = cns_tilted_init(&tilted[s].upper, lattice->upper, lattice->count, lattice->origin, step, tilt);
    if (r == 0)
      r = cns_tilted_init(&tilted[s].lower, lattice->lower, lattice->count, lattice->origin, step, tilt);
  }
  if (r == 0) {
    sum_parts(&c, parts, tilted, count);
    r = compose(&c, tilted, count, outside_log);
  }
  for (size_t s = 0; tilted && s < count; s++) {
    cns_tilted_deinit(&tilted[s].upper);
    cns_tilted_deinit(&tilted[s].lower);
  }
  free(tilted);
  if (r < 0) {
    cns_composition_deinit(&c);
    return r;
  }
  /* The walk multiplies by a rounded factor at each place of the window. */
  c.relative += 4 * DBL_EPSILON * (double)c.len;
  *ret_composition = c;
  return 0;
}

void cns_composition_deinit(struct cns_composition *composition) {
  free(composition->masses);
  *composition = (struct cns_composition){0};
}
