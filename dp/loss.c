/* SPDX-License-Identifier: Apache-2.0 */
#include "dp/loss.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#define SQRT_2PI 2.5066282746310005024
/* Below this the shifted component is nothing beside the other: e^-40 < 2^-53. */
#define FLAT (-40.0)

/* log(1 - q + q e^y). */
static double log_mix(double q, double y) {
  if (q == 1) return y;
  return y <= 0 ? log1p(q * expm1(y)) : y + log1p((1 - q) * expm1(-y));
}

double cns_loss_at(const struct cns_loss *loss, double u) {
  double w = u / loss->sigma, c = 1 / (2 * loss->sigma * loss->sigma);
  if (loss->rate == 1) return loss->replace ? 2 * w : w - c;
  double up = log_mix(loss->rate, w - c);
  return loss->replace ? up - log_mix(loss->rate, -w - c) : up;
}

/* asinh(e^a * sinh(x)), without overflow. */
static double asinh_scaled(double a, double x) {
  double size = fabs(x);
  if (size == 0) return 0;
  double log_sinh = size > 1 ? size + log1p(-exp(-2 * size)) - M_LN2 : log(sinh(size));
  double log_all = a + log_sinh;
  return copysign(log_all > 20 ? M_LN2 + log_all : asinh(exp(log_all)), x);
}

double cns_loss_point(const struct cns_loss *loss, double value) {
  double q = loss->rate, s = loss->sigma, c = 1 / (2 * s * s);
  if (loss->replace) return s * (value / 2 + (q == 1 ? 0 : asinh_scaled(log1p(-q) - log(q) + c, value / 2)));
  if (q == 1) return s * (value + c);
  if (value > 30) return s * (value - log(q) + log1p(-(1 - q) * exp(-value)) + c);
  double ratio = expm1(value) / q;
  return ratio <= -1 ? -INFINITY : s * (log1p(ratio) + c);
}

static double density(double u) {
  return exp(-u * u / 2) / SQRT_2PI;
}

struct densities {
  double p, q;
};

static struct densities densities_at(const struct cns_loss *loss, double u) {
  double shift = 1 / loss->sigma, rate = loss->rate;
  double rest = rate == 1 && loss->replace ? 0 : density(u);
  double p = rate * density(u - shift) + (rate == 1 ? 0 : (1 - rate) * rest);
  return (struct densities){.p = p,
                            .q = loss->replace ? rate * density(u + shift) + (1 - rate) * rest : rest};
}

/* Of one interval: e^(l(u) - l(left)) - 1 = (1 + up)(1 + down) - 1, each factor
 * without cancellation. */
struct growth {
  double left, log_up, log_down; /* log of q / mixture at the left end */
};

static struct growth growth_init(const struct cns_loss *loss, double left) {
  double w = left / loss->sigma, c = 1 / (2 * loss->sigma * loss->sigma), log_q = log(loss->rate);
  return (struct growth){left, log_q - c - log_mix(loss->rate, w - c), log_q - w - c};
}

static double growth_at(const struct cns_loss *loss, const struct growth *growth, double u) {
  double w = u / loss->sigma, c = 1 / (2 * loss->sigma * loss->sigma);
  double share = -expm1(-(u - growth->left) / loss->sigma);
  double up = exp(growth->log_up + w) * share;
  if (!loss->replace) return up;
  double down = exp(growth->log_down - log_mix(loss->rate, -w - c)) * share;
  return up + down + up * down;
}

/* How fast the logarithm of anything here changes with u, at most. */
static double slope(const struct cns_loss *loss, double left, double right) {
  double s = loss->sigma, c = 1 / (2 * s * s), reach = fmax(fabs(left), fabs(right));
  bool flat = loss->rate < 1 && right / s - c < FLAT && (!loss->replace || -left / s - c < FLAT);
  return 1 + reach + (flat ? 0 : 1 / s);
}

static const double nodes_few[] = {0.1127016653792583, 0.5, 0.8872983346207417};
static const double weights_few[] = {5.0 / 18, 4.0 / 9, 5.0 / 18};
static const double nodes_many[] = {0.04691007703066800, 0.2307653449471585, 0.5, 0.7692346550528415,
                                    0.9530899229693320};
static const double weights_many[] = {0.1184634425280945, 0.2393143352496832, 0.2844444444444444,
                                      0.2393143352496832, 0.1184634425280945};

struct sums {
  double p, q, p_loss, q_gain; /* integrals of P, Q, P (1 - e^-x), Q (e^x - 1), x = l - l(left) */
};

static void add_panel(const struct cns_loss *loss, const struct growth *growth, double left, double right,
                      bool few, struct sums *sums) {
  const double *nodes = few ? nodes_few : nodes_many, *weights = few ? weights_few : weights_many;
  double width = right - left;
  for (int i = 0; i < (few ? 3 : 5); i++) {
    double u = left + width * nodes[i], weight = width * weights[i];
    struct densities at = densities_at(loss, u);
    double grown = growth_at(loss, growth, u);
    sums->p += weight * at.p;
    sums->q += weight * at.q;
    sums->p_loss += weight * at.p * (grown / (1 + grown));
    sums->q_gain += weight * at.q * grown;
  }
}

struct cns_loss_mass cns_loss_integrate(const struct cns_loss *loss, double left, double right) {
  if (!(left < right)) return (struct cns_loss_mass){0};
  struct growth growth = growth_init(loss, left);
  struct sums sums = {0};
  /* The rule with k nodes errs by about (slope * width)^2k (k!)^4 / ((2k+1) (2k)!^3):
     8e-15 for three nodes at 0.05, 4e-16 for five at 0.5. */
  for (double at = left; at < right;) {
    double end = right, steepness = slope(loss, at, end);
    while (steepness * (end - at) > 0.5 && end - at > 1e-12 * (1 + fabs(at))) {
      end = at + fmin((end - at) / 2, fmax(0.45 / steepness, (end - at) / 16));
      steepness = slope(loss, at, end);
    }
    add_panel(loss, &growth, at, end, steepness * (end - at) < 0.05, &sums);
    at = end;
  }
  double rise = sums.p >= sums.q ? -log1p(-sums.p_loss / sums.p) : log1p(sums.q_gain / sums.q);
  return (struct cns_loss_mass){.p = sums.p, .q = sums.q, .rise = sums.p > 0 || sums.q > 0 ? rise : 0};
}

/* Exponents up to reach^2/2 are rounded; where a component's exponent is that
 * large and it matters, its distance from its centre is below 40. */
double cns_loss_error(const struct cns_loss *loss, double reach) {
  return 2e-14 + DBL_EPSILON * (100 + 40 * (reach + 1 / loss->sigma));
}

int cns_loss_nodes_init(struct cns_loss_nodes *ret_nodes, const struct cns_loss *loss, double left,
                        double right) {
  /* The loss has poles at a distance of pi * sigma from the real axis, the normal
     density falls with e^(-2 pi^2 / step^2): both errors are below 1e-18. */
  double step = fmin(0.2, loss->sigma * 0.4);
  size_t count = (size_t)ceil((right - left) / step) + 1;
  struct cns_loss_nodes nodes = {.count = count, .weights_p = calloc(3 * count, sizeof(double))};
  if (!nodes.weights_p) return CNS_ERR_MEMORY;
  nodes.weights_q = nodes.weights_p + count;
  nodes.losses = nodes.weights_q + count;
  for (size_t i = 0; i < count; i++) {
    double u = left + step * (double)i;
    struct densities at = densities_at(loss, u);
    nodes.weights_p[i] = step * at.p;
    nodes.weights_q[i] = step * at.q;
    nodes.losses[i] = cns_loss_at(loss, u);
  }
  *ret_nodes = nodes;
  return 0;
}

void cns_loss_nodes_deinit(struct cns_loss_nodes *nodes) {
  free(nodes->weights_p);
  *nodes = (struct cns_loss_nodes){0};
}

struct cns_loss_moments cns_loss_nodes_moments(const struct cns_loss_nodes *nodes, bool backward, double t) {
  const double *weights = backward ? nodes->weights_q : nodes->weights_p;
  double sign = backward ? -1 : 1, sum = 0, first = 0, second = 0, top = -INFINITY;
  for (size_t i = 0; i < nodes->count; i++)
    if (weights[i] > 0) top = fmax(top, sign * t * nodes->losses[i] + log(weights[i]));
  for (size_t i = 0; i < nodes->count; i++) {
    if (!(weights[i] > 0)) continue;
    double value = sign * nodes->losses[i], term = weights[i] * exp(t * value - top);
    sum += term;
    first += term * value;
    second += term * value * value;
  }
  first /= sum;
  return (struct cns_loss_moments){top + log(sum), first, fmax(0, second / sum - first * first)};
}

/* E[r^a] - 1 = E[r^a - 1 - a (r-1)], whose terms are positive. */
static double excess(double log_ratio, double order) {
  double x = order * log_ratio;
  if (x > 1 || x < -1) return exp(x) - 1 - order * expm1(log_ratio);
  /* e^x - 1 - x, less a (e^l - 1 - l), by their series where they cancel. */
  double sum = 0, power = log_ratio * log_ratio / 2, scale = order * order;
  for (int k = 2; k < 24; k++) {
    sum += power * (scale - order);
    power *= log_ratio / (k + 1);
    scale *= order;
  }
  return sum;
}

int cns_loss_log_moment(const struct cns_loss *loss, double order, double *ret_log) {
  double shift = (loss->replace ? 2 * order : order) / loss->sigma;
  struct cns_loss_nodes nodes;
  int r = cns_loss_nodes_init(&nodes, loss, -14 - 1 / loss->sigma, shift + 14 + 1 / loss->sigma);
  if (r < 0) return r;
  struct cns_loss_moments moments = cns_loss_nodes_moments(&nodes, false, order - 1);
  double log_moment = moments.value;
  if (log_moment < 0.1) {
    double sum = 0;
    for (size_t i = 0; i < nodes.count; i++)
      if (nodes.weights_q[i] > 0) sum += nodes.weights_q[i] * excess(nodes.losses[i], order);
    log_moment = log1p(fmax(sum, 0));
  }
  cns_loss_nodes_deinit(&nodes);
  if (!isfinite(log_moment)) return CNS_ERR_RANGE;
  *ret_log = log_moment;
  return 0;
}
