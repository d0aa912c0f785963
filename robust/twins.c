/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nearest neighbours. Hospitals that send one vector with a little noise of
 * their own are close to each other; but where case mixes differ, hospitals with
 * the same mix are honestly just as close in the first rounds. The two differ in
 * what they differ by: honest updates differ in the directions in which all
 * hospitals' updates differ (other patients), added noise in none of them. So the
 * difference of a pair is projected on the span of m other rows: of noise that is
 * independent of them a share explained ~ Beta(m/2, (k-m)/2) remains, whatever the
 * noise's length (rotation invariance, exact for a Gaussian sketch).
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "robust/cohort.h"
#include "robust/geometry.h"

/* Rows that add less than this to the span (squared, of their own length) are in it already. */
#define SPAN_NEW_MIN 1e-9

static double relative_distance(const struct cns_cohort *cohort, size_t i, size_t j) {
  double distance = sqrt(cohort->squared[i * cohort->n + j]),
         shorter = fmin(cohort->length[i], cohort->length[j]);
  if (distance == 0) return 0;
  return shorter > 0 ? fmin(distance / shorter, 1e12) : 1e12;
}

struct near {
  double distance;
  double index;
};

static int by_distance(const void *a, const void *b) {
  const struct near *x = a, *y = b;
  if (x->distance != y->distance) return x->distance < y->distance ? -1 : 1;
  return (x->index > y->index) - (x->index < y->index);
}

/* The component of `vector` (length 1, overwritten) in the span of basis rows. */
static double remove_span(double *vector, const double *basis, size_t count, size_t columns) {
  double removed = 0;
  for (size_t b = 0; b < count; b++) {
    double part = cns_geometry_dot(vector, &basis[b * columns], columns);
    for (size_t c = 0; c < columns; c++)
      vector[c] -= part * basis[b * columns + c];
    removed += part * part;
  }
  return removed;
}

static bool normalise(double *vector, size_t columns) {
  double length = sqrt(cns_geometry_dot(vector, vector, columns));
  if (!(length > 0)) return false;
  for (size_t c = 0; c < columns; c++)
    vector[c] /= length;
  return true;
}

/* Orthonormal basis of the span of up to `want` rows, the nearest ones after the
 * twin (Gram-Schmidt, twice). Returns how many. */
static size_t span_of_others(const struct cns_cohort *cohort, const struct near *near, size_t want,
                             double *basis) {
  size_t count = 0, columns = cohort->columns;
  for (size_t o = 1; o + 1 < cohort->n && count < want; o++) {
    size_t other = (size_t)near[o].index;
    double *vector = &basis[count * columns];
    memcpy(vector, &cohort->rows[other * columns], columns * sizeof *vector);
    if (!normalise(vector, columns)) continue;
    remove_span(vector, basis, count, columns);
    if (cns_geometry_dot(vector, vector, columns) < SPAN_NEW_MIN) continue;
    normalise(vector, columns);
    remove_span(vector, basis, count, columns);
    normalise(vector, columns);
    count++;
  }
  return count;
}

/* room: (CNS_TWINS_SPAN_MAX + 1) x columns. */
static void explain(struct cns_cohort *cohort, size_t row, const struct near *near, double *room) {
  struct cns_twin *twin = &cohort->twin[row];
  size_t columns = cohort->columns, want = columns / 8;
  double *difference = &room[CNS_TWINS_SPAN_MAX * columns];
  if (want > CNS_TWINS_SPAN_MAX) want = CNS_TWINS_SPAN_MAX;
  size_t m = span_of_others(cohort, near, want, room);
  for (size_t c = 0; c < columns; c++)
    difference[c] = cohort->rows[row * columns + c] - cohort->rows[twin->nearest * columns + c];
  double k = (double)columns, share = (double)m / k;
  twin->noise = share + 4 * sqrt(share * (1 - share) / (k / 2 + 1)); /* of the Beta distribution */
  twin->explained = m > 0 && normalise(difference, columns) ? remove_span(difference, room, m, columns) : 0;
}

static void neighbours(const struct cns_cohort *cohort, size_t row, struct near *near) {
  size_t count = 0;
  for (size_t j = 0; j < cohort->n; j++)
    if (j != row) near[count++] = (struct near){relative_distance(cohort, row, j), (double)j};
  qsort(near, count, sizeof *near, by_distance);
}

int cns_cohort_find_twins(struct cns_cohort *cohort) {
  size_t n = cohort->n;
  struct near *near = malloc(n * sizeof *near);
  double *room = malloc((CNS_TWINS_SPAN_MAX + 1) * cohort->columns * sizeof *room),
         *explained = malloc(n * sizeof *explained);
  int r = near && room && explained ? 0 : CNS_ERR_MEMORY;
  for (size_t i = 0; r == 0 && i < n; i++) {
    neighbours(cohort, i, near);
    cohort->twin[i] = (struct cns_twin){.nearest = (size_t)near[0].index, .distance = near[0].distance};
    explain(cohort, i, near, room);
    explained[i] = cohort->twin[i].explained;
  }
  if (r == 0) {
    (void)cns_geometry_middle(explained, n); /* sorts */
    cohort->explained_upper = explained[3 * n / 4];
  }
  free(near);
  free(room);
  free(explained);
  return r;
}

/* Where even ordinary pairs differ by what looks like noise (large models, many
 * patients), the share explained says nothing about a pair. The upper quartile,
 * since a quarter and more may be colluders. */
static bool share_tells(const struct cns_cohort *cohort, size_t row) {
  const struct cns_twin *twin = &cohort->twin[row];
  return twin->noise > 0 && cohort->explained_upper > 1.5 * twin->noise;
}

bool cns_cohort_may_be_twin(const struct cns_cohort *cohort, size_t row) {
  const struct cns_twin *twin = &cohort->twin[row];
  return twin->distance <= CNS_TWINS_NEAR || !share_tells(cohort, row) || twin->explained <= twin->noise;
}

bool cns_cohort_is_twin(const struct cns_cohort *cohort, size_t row, double *ret_limit) {
  bool noise = share_tells(cohort, row) && cns_cohort_may_be_twin(cohort, row);
  *ret_limit = noise ? CNS_TWINS_NOISE : CNS_TWINS_NEAR;
  return cohort->twin[row].distance <= *ret_limit;
}
