/* SPDX-License-Identifier: Apache-2.0 */
/* Included by robust/matrix.c once for each type T, and only there. */

static double NAME(add_lanes)(const double *sum) {
  return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

/* Two sets of lanes: sums that don't wait for each other. */
CNS_VECTORISED
static double NAME(dot)(const T *a, const T *b, size_t count) {
  double sum[2 * LANES] = {0};
  size_t c = 0;
  for (; c + 2 * LANES <= count; c += 2 * LANES)
    for (size_t lane = 0; lane < 2 * LANES; lane++)
      sum[lane] += (double)a[c + lane] * (double)b[c + lane];
  for (; c < count; c++)
    sum[0] += (double)a[c] * (double)b[c];
  return NAME(add_lanes)(sum) + NAME(add_lanes)(sum + LANES);
}

/* ||a - b||^2. */
CNS_VECTORISED
static double NAME(gap)(const T *a, const T *b, size_t count) {
  double sum[2 * LANES] = {0};
  size_t c = 0;
  for (; c + 2 * LANES <= count; c += 2 * LANES)
    for (size_t lane = 0; lane < 2 * LANES; lane++) {
      double difference = (double)a[c + lane] - (double)b[c + lane];
      sum[lane] += difference * difference;
    }
  for (; c < count; c++)
    sum[0] += ((double)a[c] - (double)b[c]) * ((double)a[c] - (double)b[c]);
  return NAME(add_lanes)(sum) + NAME(add_lanes)(sum + LANES);
}

CNS_VECTORISED
static void NAME(add_four)(const void *const row[SIDE], const double *coefficient, size_t count,
                           double *restrict sum) {
  const T *a = row[0], *b = row[1], *c = row[2], *d = row[3];
  double p = coefficient[0], q = coefficient[1], r = coefficient[2], s = coefficient[3];
  for (size_t k = 0; k < count; k++)
    sum[k] = (((sum[k] + p * (double)a[k]) + q * (double)b[k]) + r * (double)c[k]) + s * (double)d[k];
}

CNS_VECTORISED
static void NAME(add_one)(const T *row, double coefficient, size_t count, double *restrict sum) {
  for (size_t k = 0; k < count; k++)
    sum[k] += coefficient * (double)row[k];
}

static void NAME(add_rows)(const void *const row[SIDE], const double *coefficient, size_t rows, size_t count,
                           double *sum) {
  if (rows == SIDE)
    NAME(add_four)(row, coefficient, count, sum);
  else
    for (size_t i = 0; i < rows; i++)
      NAME(add_one)(row[i], coefficient[i], count, sum);
}
