/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Epsilon and delta from composed masses. With p_j the untilted masses at the
 * losses l_j, A_k = sum_{j>=k} p_j, and delta_k that at epsilon = l_k,
 *
 *   delta_k = (1 - e^-h) A_{k+1} + e^-h delta_{k+1},
 *
 * a walk from the largest loss down whose terms are all positive. It is done
 * with a_k = A_k e^(tilt l_k - log_scale) and d_k likewise, which neither overflow nor
 * underflow. Between two lattice points delta is linear in e^epsilon.
 */
#include <float.h>
#include <math.h>

#include "dp/compose_internal.h"

struct walk {
  const struct cns_composition *c;
  const struct cns_window *window;
  bool upper;
  double decay, keep, rise; /* e^(-tilt h), e^-h, 1 - e^-h */
  double wrapped;           /* most that wrapped mass adds to d */
  size_t place;             /* a and d are those of this place: 0..len */
  double a, d;
};

static struct walk walk_init(const struct cns_composition *c, bool upper) {
  double t = c->tilt;
  struct walk walk = {
      .c = c,
      .window = upper ? &c->upper : &c->lower,
      .upper = upper,
      .decay = exp(-t * c->step),
      .keep = exp(-c->step),
      .rise = -expm1(-c->step),
      .place = c->len,
  };
  if (upper) {
    walk.a = walk.d = c->upper.tail;
  } else {
    /* max over x >= 0 of e^(-t x)(1 - e^-x), e^(t h) for the place between points. */
    double most = t > 0 ? exp(t * log(t / (t + 1))) / (t + 1) : 1;
    walk.wrapped = c->lower.wrapped * most * exp(t * c->step) * (1 + 1e-9);
  }
  return walk;
}

static double loss_at(const struct walk *walk, size_t place) {
  return walk->c->first + walk->c->step * (double)place;
}

/* d of the place below. */
static double below(const struct walk *walk) {
  return walk->decay * (walk->rise * walk->a + walk->keep * walk->d);
}

/* With what rounding may have moved, added or taken off. */
static double mass_at(const struct walk *walk, size_t place) {
  double complex value = walk->c->masses[(walk->c->begin + place) & (walk->c->len - 1)];
  return walk->upper ? fmax(0, creal(value)) + walk->window->noise
                     : fmax(0, cimag(value) - walk->window->noise);
}

static void step_down(struct walk *walk) {
  double d = below(walk);
  walk->place--;
  walk->a = mass_at(walk, walk->place) + walk->decay * walk->a;
  walk->d = d;
}

static double slack(const struct walk *walk, double loss) {
  return walk->c->relative +
         16 * DBL_EPSILON * (8 + fabs(walk->c->tilt * loss) + fabs(walk->window->log_scale));
}

static double log_delta_of(const struct walk *walk, double d, double loss) {
  double left = d - walk->wrapped;
  return left > 0 ? log(left) - walk->c->tilt * loss + walk->window->log_scale : -INFINITY;
}

/* Where in (l_place - h, l_place] delta is log_delta. */
static double between(const struct walk *walk, double log_delta) {
  double loss = loss_at(walk, walk->place);
  double wanted = exp(log_delta + walk->c->tilt * loss - walk->window->log_scale) + walk->wrapped;
  double part = (wanted - walk->d) / (walk->a - walk->d);
  return part > 0 ? loss + fmax(log1p(-fmin(part, 1)), -walk->c->step) : loss;
}

/* Places that are passed without looking at each. */
#define STRIDE 64

/* Steps down as long as epsilon lies further down for certain: delta only rises on
 * the way. Whether any step was made. */
static bool stride(struct walk *walk, double log_delta) {
  size_t start = walk->place;
  while (walk->place > STRIDE) {
    struct walk ahead = *walk;
    for (int i = 0; i < STRIDE; i++)
      step_down(&ahead);
    double loss = loss_at(&ahead, ahead.place);
    if (loss <= 0 || log_delta_of(&ahead, ahead.d, loss) >= log_delta - slack(&ahead, loss)) break;
    *walk = ahead;
  }
  return walk->place < start;
}

static int find_epsilon(struct walk walk, double log_delta, bool upper, double *ret_epsilon) {
  const struct cns_composition *c = walk.c;
  bool first = !stride(&walk, log_delta);
  while (walk.place > 0) {
    double loss = loss_at(&walk, walk.place) - c->step, most = slack(&walk, loss);
    double target = log_delta + (upper ? -most : most);
    if (log_delta_of(&walk, below(&walk), loss) >= target) {
      if (first) return CNS_COMPOSITION_OUTSIDE;
      *ret_epsilon = fmax(0, between(&walk, target) + (upper ? c->shift : -c->shift));
      return 0;
    }
    if (loss <= -c->shift) {
      *ret_epsilon = 0;
      return 0;
    }
    step_down(&walk);
    first = false;
  }
  return CNS_COMPOSITION_OUTSIDE;
}

int cns_composition_epsilon(const struct cns_composition *composition, double log_delta,
                            struct cns_dp_interval *ret_epsilon) {
  /* log(delta - infinite) */
  double part = composition->infinite / exp(log_delta);
  if (!(part < 0.5)) return CNS_ERR_STATE;
  struct cns_dp_interval epsilon;
  int r = find_epsilon(walk_init(composition, true), log_delta + log1p(-part), true, &epsilon.upper);
  if (r == 0) r = find_epsilon(walk_init(composition, false), log_delta, false, &epsilon.lower);
  if (r) return r;
  *ret_epsilon = epsilon;
  return 0;
}

static int find_log_delta(struct walk walk, double epsilon, double *ret_log_delta) {
  if (epsilon > loss_at(&walk, walk.c->len) || epsilon < loss_at(&walk, 0)) return CNS_COMPOSITION_OUTSIDE;
  while (loss_at(&walk, walk.place) - walk.c->step >= epsilon && walk.place > 0)
    step_down(&walk);
  double loss = loss_at(&walk, walk.place);
  double d = walk.d + (walk.a - walk.d) * -expm1(fmin(0, epsilon - loss));
  *ret_log_delta = log_delta_of(&walk, d, loss);
  return 0;
}

int cns_composition_log_delta(const struct cns_composition *c, double epsilon,
                              struct cns_dp_interval *ret_log_delta) {
  struct walk upper = walk_init(c, true), lower = walk_init(c, false);
  struct cns_dp_interval log_delta;
  int r = find_log_delta(upper, epsilon - c->shift, &log_delta.upper);
  if (r == 0) r = find_log_delta(lower, epsilon + c->shift, &log_delta.lower);
  if (r) return r;
  double finite = log_delta.upper + slack(&upper, epsilon);
  log_delta.upper = fmin(0, log(exp(finite) + c->infinite));
  log_delta.lower = fmin(0, log_delta.lower - slack(&lower, epsilon));
  *ret_log_delta = log_delta;
  return 0;
}
