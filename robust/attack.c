/* SPDX-License-Identifier: Apache-2.0 */
#include "robust/attack.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/bytes.h"
#include "robust/geometry.h"

struct scene {
  const struct cns_attack *attack;
  float *updates;
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
};

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
      sum += (double)scene->updates[scene->honest[h] * scene->dim + k];
    scene->mean[k] = sum / (double)scene->honest_count;
    for (size_t h = 0; h < scene->honest_count; h++) {
      double gap = (double)scene->updates[scene->honest[h] * scene->dim + k] - scene->mean[k];
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
      const float *a = &scene->updates[scene->honest[i] * scene->dim],
                  *b = &scene->updates[scene->honest[j] * scene->dim];
      double squared = 0;
      for (size_t k = 0; k < scene->dim; k++)
        squared += ((double)a[k] - (double)b[k]) * ((double)a[k] - (double)b[k]);
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

static int min_distance(struct scene *scene, double scale, bool sums) {
  struct quadratic *q = calloc(scene->honest_count, sizeof *q);
  if (!q) return CNS_ERR_MEMORY;
  for (size_t h = 0; h < scene->honest_count; h++)
    for (size_t k = 0; k < scene->dim; k++) {
      double gap = scene->mean[k] - (double)scene->updates[scene->honest[h] * scene->dim + k];
      q[h].a += gap * gap;
      q[h].b -= gap * scene->deviation[k];
    }
  double c = cns_geometry_dot(scene->deviation, scene->deviation, scene->dim);
  double gamma = scale * largest_gamma(q, scene->honest_count, c, honest_limit(scene, sums), sums);
  for (size_t k = 0; k < scene->dim; k++)
    scene->vector[k] = scene->mean[k] - gamma * scene->deviation[k];
  free(q);
  return 0;
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
        rows[h * scene->dim + k] = (double)scene->updates[scene->honest[h] * scene->dim + k];
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
  for (size_t k = 0; r == 0 && k < scene->dim; k++)
    scene->vector[k] = (double)scene->updates[scene->honest[victim] * scene->dim + k];
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
    return boost(scene);
  default:
    return 1;
  }
}

/* The one vector that all colluders send, for attacks that have one. */
static int common_vector(struct scene *scene, double factor) {
  enum cns_attack_kind kind = scene->attack->kind;
  if (kind == CNS_ATTACK_MIMIC) return mimic(scene);
  if (kind == CNS_ATTACK_MIN_MAX || kind == CNS_ATTACK_MIN_SUM)
    return min_distance(scene, factor, kind == CNS_ATTACK_MIN_SUM);
  for (size_t k = 0; k < scene->dim; k++)
    scene->vector[k] =
        kind == CNS_ATTACK_ALIE ? scene->mean[k] - factor * scene->deviation[k] : -factor * scene->mean[k];
  return 0;
}

static bool has_common_vector(enum cns_attack_kind kind) {
  return kind != CNS_ATTACK_SIGN_FLIP && kind != CNS_ATTACK_GAUSSIAN && kind != CNS_ATTACK_LABEL_FLIP &&
         kind != CNS_ATTACK_MODEL_REPLACEMENT;
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
    scene->vector[k] = sign * factor * (double)scene->updates[row * scene->dim + k];
  if (scene->attack->kind != CNS_ATTACK_GAUSSIAN) return 0;
  return add_noise(scene, length_of(scene->vector, scene->dim), true);
}

static int replace_rows(struct scene *scene) {
  double factor = strength(scene);
  bool common = has_common_vector(scene->attack->kind);
  double *shared = malloc(scene->dim * sizeof *shared);
  int r = shared ? 0 : CNS_ERR_MEMORY;
  if (r == 0 && common) {
    moments(scene);
    r = common_vector(scene, factor);
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
    for (size_t k = 0; r == 0 && k < scene->dim; k++)
      scene->updates[row * scene->dim + k] = (float)scene->vector[k];
  }
  free(shared);
  return r;
}

static int check(struct scene *scene, struct cns_problem *problem) {
  const struct cns_attack *attack = scene->attack;
  bool spread = attack->kind == CNS_ATTACK_ALIE || attack->kind == CNS_ATTACK_MIN_MAX ||
                attack->kind == CNS_ATTACK_MIN_SUM;
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
  for (size_t k = 0; k < scene->n * scene->dim; k++)
    if (!isfinite(scene->updates[k]))
      return cns_problem_set(problem, CNS_ERR_RANGE, "an update holds a number that is not finite");
  if (attack->kind == CNS_ATTACK_MIMIC && attack->has_strength &&
      attack->strength >= (double)scene->honest_count)
    return cns_problem_set(problem, CNS_ERR_ARGUMENT,
                           "attack 'mimic': there are only %zu honest hospitals to copy",
                           scene->honest_count);
  return 0;
}

int cns_attack_apply(const struct cns_attack *attack, float *updates, size_t n, size_t dim,
                     const double *weights, const size_t *attackers, struct cns_rng rng,
                     struct cns_problem *problem) {
  struct scene scene = {.attack = attack,
                        .updates = updates,
                        .n = n,
                        .dim = dim,
                        .weights = weights,
                        .attackers = attackers,
                        .rng = rng,
                        .malicious = calloc(n ? n : 1, sizeof *scene.malicious),
                        .honest = calloc(n ? n : 1, sizeof *scene.honest),
                        .mean = calloc(dim ? dim : 1, 3 * sizeof *scene.mean)};
  int r = scene.malicious && scene.honest && scene.mean ? 0 : CNS_ERR_MEMORY;
  if (r == 0) {
    scene.deviation = scene.mean + dim;
    scene.vector = scene.deviation + dim;
    r = check(&scene, problem);
  }
  if (r == 0) r = replace_rows(&scene);
  free(scene.malicious);
  free(scene.honest);
  free(scene.mean);
  return r;
}
