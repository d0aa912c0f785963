/* SPDX-License-Identifier: Apache-2.0 */
#include "robust/attack.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/bytes.h"
#include "robust/element.h"
#include "robust/geometry.h"
#include "robust/optimise.h"

struct scene {
  const struct cns_attack *attack;
  const struct cns_attack_extra *extra;
  enum cns_robust_type type;
  void *updates;
  size_t n;
  size_t dim;
  const double *weights;
  const size_t *attackers;
  struct cns_rng rng;
  bool *malicious; /* n */
  size_t *honest;  /* their rows */
  size_t honest_count;
  double *mean;      /* dim, of the honest rows */
  double *deviation; /* dim, their standard deviation */
  double *vector;    /* dim, what is sent */
  struct cns_attack_outcome outcome;
};

static double element(const struct scene *scene, size_t row, size_t k) {
  return cns_element_get(scene->type, scene->updates, row * scene->dim + k);
}

static int normal(struct cns_rng rng, double *ret_value) {
  uint8_t bytes[16];
  int r = cns_rng_fill(rng, bytes, sizeof bytes);
  if (r < 0) return r;
  double u = ((double)(cns_load_le64(bytes) >> 11) + 0.5) * 0x1p-53;
  double v = ((double)(cns_load_le64(bytes + 8) >> 11) + 0.5) * 0x1p-53;
  *ret_value = sqrt(-2 * log(u)) * cos(2 * M_PI * v); /* Box, Muller 1958 */
  return 0;
}

static double length_of(const double *vector, size_t dim) {
  return sqrt(cns_geometry_dot(vector, vector, dim));
}

static void moments(struct scene *scene) {
  for (size_t k = 0; k < scene->dim; k++) {
    double sum = 0, squares = 0;
    for (size_t h = 0; h < scene->honest_count; h++)
      sum += element(scene, scene->honest[h], k);
    scene->mean[k] = sum / (double)scene->honest_count;
    for (size_t h = 0; h < scene->honest_count; h++) {
      double gap = element(scene, scene->honest[h], k) - scene->mean[k];
      squares += gap * gap;
    }
    scene->deviation[k] = sqrt(squares / (double)scene->honest_count);
  }
}

double cns_attack_alie_z(size_t n, size_t attackers) {
  double honest = (double)n - (double)attackers, s = floor((double)n / 2 + 1) - (double)attackers;
  double share = (honest - s) / honest, low = 0, high = 10;
  if (!(share > 0.5)) return 0;
  for (int step = 0; step < 80; step++) { /* Phi is increasing */
    double middle = (low + high) / 2;
    if (0.5 * erfc(-middle / M_SQRT2) < share)
      low = middle;
    else
      high = middle;
  }
  return low;
}

/* ||mean - gamma*deviation - h||^2 = a + 2*gamma*b + gamma^2*c, for each honest h. */
struct quadratic {
  double a, b;
};

static double distance_at(const struct quadratic *q, size_t count, double c, double gamma, bool sums) {
  double result = 0;
  for (size_t h = 0; h < count; h++) {
    double value = q[h].a + 2 * gamma * q[h].b + gamma * gamma * c;
    result = sums ? result + value : fmax(result, value);
  }
  return result;
}

/* Largest distance between two honest rows, or largest sum of one's to all. */
static double honest_limit(const struct scene *scene, bool sums) {
  double limit = 0;
  for (size_t i = 0; i < scene->honest_count; i++) {
    double result = 0;
    for (size_t j = 0; j < scene->honest_count; j++) {
      double squared = 0;
      for (size_t k = 0; k < scene->dim; k++) {
        double gap = element(scene, scene->honest[i], k) - element(scene, scene->honest[j], k);
        squared += gap * gap;
      }
      result = sums ? result + squared : fmax(result, squared);
    }
    limit = fmax(limit, result);
  }
  return limit;
}

/* The largest gamma within the limit: the distance is convex in gamma and within
 * it at 0, so there is one crossing. */
static double largest_gamma(const struct quadratic *q, size_t count, double c, double limit, bool sums) {
  double low = 0, high = 1;
  if (!(c > 0)) return 0;
  while (distance_at(q, count, c, high, sums) <= limit && high < 1e12)
    high *= 2;
  for (int step = 0; step < 100; step++) {
    double middle = (low + high) / 2;
    if (distance_at(q, count, c, middle, sums) <= limit)
      low = middle;
    else
      high = middle;
  }
  return low;
}

/* vector = mean - gamma*deviation, gamma the largest within the limit (and within
 * `most`), times scale. */
static int go_far(struct scene *scene, double most, double scale, bool sums) {
  struct quadratic *q = calloc(scene->honest_count, sizeof *q);
  if (!q) return CNS_ERR_MEMORY;
  for (size_t h = 0; h < scene->honest_count; h++)
    for (size_t k = 0; k < scene->dim; k++) {
      double gap = scene->mean[k] - element(scene, scene->honest[h], k);
      q[h].a += gap * gap;
      q[h].b -= gap * scene->deviation[k];
    }
  double c = cns_geometry_dot(scene->deviation, scene->deviation, scene->dim);
  double gamma =
      scale * fmin(most, largest_gamma(q, scene->honest_count, c, honest_limit(scene, sums), sums));
  for (size_t k = 0; k < scene->dim; k++)
    scene->vector[k] = scene->mean[k] - gamma * scene->deviation[k];
  scene->outcome.strength = gamma;
  free(q);
  return 0;
}

/* From the mean towards what replaces the model, as far as honest rows are apart. */
static int backdoor(struct scene *scene, double scale) {
  for (size_t k = 0; k < scene->dim; k++)
    scene->deviation[k] = scene->mean[k] - scale * cns_element_get(scene->type, scene->extra->target, k);
  return go_far(scene, 1, 1, false);
}

/* The honest row with the largest projection on the honest rows' main direction. */
static int find_victim(const struct scene *scene, size_t *ret_victim) {
  size_t count = scene->honest_count, best = 0;
  double *rows = malloc(count * scene->dim * sizeof *rows), *gram = malloc(count * count * sizeof *gram),
         *room = malloc(2 * count * sizeof *room);
  int r = rows && gram && room ? 0 : CNS_ERR_MEMORY;
  if (r == 0) {
    for (size_t h = 0; h < count; h++)
      for (size_t k = 0; k < scene->dim; k++)
        rows[h * scene->dim + k] = element(scene, scene->honest[h], k);
    cns_geometry_gram(rows, count, scene->dim, gram);
    cns_geometry_main_direction(gram, count, room, room + count);
    for (size_t h = 1; h < count; h++)
      if (fabs(room[count + h]) > fabs(room[count + best])) best = h;
    *ret_victim = best;
  }
  free(rows);
  free(gram);
  free(room);
  return r;
}

static int mimic(struct scene *scene) {
  size_t victim = 0;
  int r = 0;
  if (scene->attack->has_strength)
    victim = (size_t)scene->attack->strength;
  else
    r = find_victim(scene, &victim);
  if (r == 0 && victim >= scene->honest_count) r = CNS_ERR_ARGUMENT;
  scene->outcome.strength = (double)victim;
  for (size_t k = 0; r == 0 && k < scene->dim; k++)
    scene->vector[k] = element(scene, scene->honest[victim], k);
  return r;
}

static double boost(const struct scene *scene) {
  double all = 0, theirs = 0;
  for (size_t i = 0; i < scene->n; i++) {
    double weight = scene->weights ? scene->weights[i] : 1;
    all += weight;
    theirs += scene->malicious[i] ? weight : 0;
  }
  return all / theirs;
}

static double strength(const struct scene *scene) {
  const struct cns_attack *attack = scene->attack;
  if (attack->has_strength) return attack->strength;
  switch (attack->kind) {
  case CNS_ATTACK_IPM:
    return 0.5;
  case CNS_ATTACK_ALIE:
    return cns_attack_alie_z(scene->n, attack->count);
  case CNS_ATTACK_MODEL_REPLACEMENT:
  case CNS_ATTACK_BACKDOOR:
    return boost(scene);
  case CNS_ATTACK_ALIE_OPTIMISED:
  case CNS_ATTACK_IPM_OPTIMISED:
    return CNS_OPTIMISE_LIMIT;
  default:
    return 1;
  }
}

/* Leaves the attackers' rows as they are at the best factor. */
static int optimise(struct scene *scene, double limit, double *ret_factor, struct cns_problem *problem) {
  const struct cns_optimise_options options = {.limit = limit};
  struct cns_optimise_result result;
  enum cns_optimise_kind kind =
      scene->attack->kind == CNS_ATTACK_ALIE_OPTIMISED ? CNS_OPTIMISE_ALIE : CNS_OPTIMISE_IPM;
  int r = cns_attack_optimise(kind, scene->extra->chain, scene->type, scene->updates, scene->n, scene->dim,
                              scene->attackers, scene->attack->count, &options, &result, problem);
  if (r < 0) return r;
  scene->outcome.harm = result.harm;
  *ret_factor = result.factor;
  return 0;
}

/* The one vector that all colluders send, for attacks that have one. */
static int common_vector(struct scene *scene, double factor, struct cns_problem *problem) {
  enum cns_attack_kind kind = scene->attack->kind;
  if (kind == CNS_ATTACK_MIMIC) return mimic(scene);
  if (kind == CNS_ATTACK_BACKDOOR) return backdoor(scene, factor);
  if (kind == CNS_ATTACK_MIN_MAX || kind == CNS_ATTACK_MIN_SUM)
    return go_far(scene, INFINITY, factor, kind == CNS_ATTACK_MIN_SUM);
  if (kind == CNS_ATTACK_ALIE_OPTIMISED || kind == CNS_ATTACK_IPM_OPTIMISED) {
    int r = optimise(scene, factor, &factor, problem);
    if (r < 0) return r;
  }
  bool alie = kind == CNS_ATTACK_ALIE || kind == CNS_ATTACK_ALIE_OPTIMISED;
  for (size_t k = 0; k < scene->dim; k++)
    scene->vector[k] = alie ? scene->mean[k] - factor * scene->deviation[k] : -factor * scene->mean[k];
  scene->outcome.strength = factor;
  return 0;
}

static bool has_common_vector(enum cns_attack_kind kind) {
  enum cns_attack_need need = cns_attack_about(kind)->need;
  return need != CNS_ATTACK_NEEDS_OWN && need != CNS_ATTACK_NEEDS_FLIPPED;
}

/* Noise of that length, at the end of `vector`: added, or instead of it. */
static int add_noise(struct scene *scene, double length, bool instead) {
  double *noise = malloc(scene->dim * sizeof *noise);
  int r = noise ? 0 : CNS_ERR_MEMORY;
  for (size_t k = 0; r == 0 && k < scene->dim; k++)
    r = normal(scene->rng, &noise[k]);
  double norm = r == 0 ? length_of(noise, scene->dim) : 0;
  for (size_t k = 0; norm > 0 && k < scene->dim; k++)
    scene->vector[k] = (instead ? 0 : scene->vector[k]) + noise[k] * length / norm;
  free(noise);
  return r;
}

static int own_vector(struct scene *scene, size_t row, double factor) {
  double sign = scene->attack->kind == CNS_ATTACK_SIGN_FLIP ? -1 : 1;
  for (size_t k = 0; k < scene->dim; k++)
    scene->vector[k] = sign * factor * element(scene, row, k);
  if (scene->attack->kind != CNS_ATTACK_GAUSSIAN) return 0;
  return add_noise(scene, length_of(scene->vector, scene->dim), true);
}

/* Infinity and NaN need no honest rows, and are no numbers to add noise to. */
static void replace_by(struct scene *scene, double value) {
  for (size_t a = 0; a < scene->attack->count; a++)
    for (size_t k = 0; k < scene->dim; k++)
      cns_element_set(scene->type, scene->updates, scene->attackers[a] * scene->dim + k, value);
}

static int replace_row(struct scene *scene, size_t row, struct cns_problem *problem) {
  bool finite = true;
  for (size_t k = 0; k < scene->dim; k++)
    finite &= cns_element_set(scene->type, scene->updates, row * scene->dim + k, scene->vector[k]);
  if (finite) return 0;
  return cns_problem_set(problem, CNS_ERR_RANGE, "attack '%s': what it sends is too large for the type",
                         cns_attack_name(scene->attack->kind));
}

static int replace_rows(struct scene *scene, struct cns_problem *problem) {
  double factor = strength(scene);
  bool common = has_common_vector(scene->attack->kind);
  double *shared = malloc(scene->dim * sizeof *shared);
  int r = shared ? 0 : CNS_ERR_MEMORY;
  scene->outcome.strength = factor;
  if (r == 0 && common) {
    moments(scene);
    r = common_vector(scene, factor, problem);
    memcpy(shared, scene->vector, scene->dim * sizeof *shared);
  }
  for (size_t a = 0; r == 0 && a < scene->attack->count; a++) {
    size_t row = scene->attackers[a];
    if (common)
      memcpy(scene->vector, shared, scene->dim * sizeof *shared);
    else
      r = own_vector(scene, row, factor);
    if (r == 0 && scene->attack->jitter > 0)
      r = add_noise(scene, scene->attack->jitter * length_of(scene->vector, scene->dim), false);
    if (r == 0) r = replace_row(scene, row, problem);
  }
  free(shared);
  return r;
}

static int check_rows(struct scene *scene, struct cns_problem *problem) {
  const struct cns_attack *attack = scene->attack;
  bool spread = attack->kind == CNS_ATTACK_ALIE || attack->kind == CNS_ATTACK_MIN_MAX ||
                attack->kind == CNS_ATTACK_MIN_SUM || attack->kind == CNS_ATTACK_BACKDOOR ||
                attack->kind == CNS_ATTACK_ALIE_OPTIMISED;
  if (attack->count < 1 || attack->count + (spread ? 2 : 1) > scene->n || scene->dim == 0)
    return cns_problem_set(problem, CNS_ERR_ARGUMENT,
                           "attack '%s' by %zu of %zu hospitals leaves too few honest ones",
                           cns_attack_name(attack->kind), attack->count, scene->n);
  for (size_t a = 0; a < attack->count; a++) {
    if (scene->attackers[a] >= scene->n || scene->malicious[scene->attackers[a]])
      return cns_problem_set(problem, CNS_ERR_ARGUMENT, "attackers must be %zu different hospitals",
                             attack->count);
    scene->malicious[scene->attackers[a]] = true;
  }
  for (size_t i = 0; i < scene->n; i++)
    if (!scene->malicious[i]) scene->honest[scene->honest_count++] = i;
  bool own = !has_common_vector(attack->kind);
  for (size_t i = 0; i < scene->n; i++)
    for (size_t k = 0; k < scene->dim && (own || !scene->malicious[i]); k++)
      if (!isfinite(element(scene, i, k)))
        return cns_problem_set(problem, CNS_ERR_RANGE, "update %zu holds a number that is not finite", i);
  return 0;
}

static int check_extra(const struct scene *scene, struct cns_problem *problem) {
  const char *name = cns_attack_name(scene->attack->kind);
  enum cns_attack_need need = cns_attack_about(scene->attack->kind)->need;
  if (need == CNS_ATTACK_NEEDS_TARGET && (!scene->extra || !scene->extra->target))
    return cns_problem_set(problem, CNS_ERR_ARGUMENT,
                           "attack '%s' needs a target: the update that the poisoned model needs", name);
  if (need == CNS_ATTACK_NEEDS_RULE && (!scene->extra || !scene->extra->chain))
    return cns_problem_set(problem, CNS_ERR_ARGUMENT, "attack '%s' needs a rule to work against", name);
  for (size_t k = 0; need == CNS_ATTACK_NEEDS_TARGET && k < scene->dim; k++)
    if (!isfinite(cns_element_get(scene->type, scene->extra->target, k)))
      return cns_problem_set(problem, CNS_ERR_RANGE,
                             "attack '%s': the target holds a number that is not finite", name);
  return 0;
}

static int check(struct scene *scene, struct cns_problem *problem) {
  const struct cns_attack *attack = scene->attack;
  if (!cns_attack_about(attack->kind)) return CNS_ERR_ARGUMENT;
  int r = check_rows(scene, problem);
  if (r == 0) r = check_extra(scene, problem);
  if (r < 0) return r;
  if (attack->kind == CNS_ATTACK_MIMIC && attack->has_strength &&
      attack->strength >= (double)scene->honest_count)
    return cns_problem_set(problem, CNS_ERR_ARGUMENT,
                           "attack 'mimic': there are only %zu honest hospitals to copy",
                           scene->honest_count);
  return 0;
}

int cns_attack_apply_matrix(const struct cns_attack *attack, const struct cns_attack_extra *extra,
                            enum cns_robust_type type, void *matrix, size_t n, size_t dim,
                            const double *weights, const size_t *attackers, struct cns_rng rng,
                            struct cns_attack_outcome *ret_outcome, struct cns_problem *problem) {
  struct scene scene = {.attack = attack,
                        .extra = extra,
                        .type = type,
                        .updates = matrix,
                        .n = n,
                        .dim = dim,
                        .weights = weights,
                        .attackers = attackers,
                        .rng = rng,
                        .malicious = calloc(n ? n : 1, sizeof *scene.malicious),
                        .honest = calloc(n ? n : 1, sizeof *scene.honest),
                        .mean = calloc(dim ? dim : 1, 3 * sizeof *scene.mean),
                        .outcome = {.strength = NAN, .harm = NAN}};
  int r = scene.malicious && scene.honest && scene.mean ? 0 : CNS_ERR_MEMORY;
  if (r == 0) {
    scene.deviation = scene.mean + dim;
    scene.vector = scene.deviation + dim;
    r = check(&scene, problem);
  }
  if (r == 0 && !cns_attack_about(attack->kind)->finite)
    replace_by(&scene, attack->kind == CNS_ATTACK_NAN ? (double)NAN : (double)INFINITY);
  else if (r == 0)
    r = replace_rows(&scene, problem);
  if (r == 0 && ret_outcome) *ret_outcome = scene.outcome;
  free(scene.malicious);
  free(scene.honest);
  free(scene.mean);
  return r;
}

int cns_attack_apply(const struct cns_attack *attack, float *updates, size_t n, size_t dim,
                     const double *weights, const size_t *attackers, struct cns_rng rng,
                     struct cns_problem *problem) {
  return cns_attack_apply_matrix(attack, NULL, CNS_ROBUST_F32, updates, n, dim, weights, attackers, rng, NULL,
                                 problem);
}
