/* SPDX-License-Identifier: Apache-2.0 */
/* Included by robust/matrix.c once for each type T, and only there. */

typedef T NAME(elements) __attribute__((vector_size(LANES * sizeof(T)), aligned(sizeof(T)), may_alias));

/* Adds up in SETS of lanes that don't wait for each other. */
#define ADD_ALL(product)                                                                                     \
  lanes sum[SETS] = {{0}};                                                                                   \
  double rest = 0;                                                                                           \
  size_t c = 0;                                                                                              \
  for (; c + SETS * LANES <= count; c += SETS * LANES)                                                       \
    for (size_t set = 0; set < SETS; set++) {                                                                \
      lanes x = __builtin_convertvector(*(const NAME(elements) *)(a + c + set * LANES), lanes);              \
      lanes y = __builtin_convertvector(*(const NAME(elements) *)(b + c + set * LANES), lanes);              \
      sum[set] += product;                                                                                   \
    }                                                                                                        \
  for (; c < count; c++) {                                                                                   \
    double x = (double)a[c], y = (double)b[c];                                                               \
    rest += product;                                                                                         \
  }                                                                                                          \
  sum[0] += sum[1];                                                                                          \
  sum[2] += sum[3];                                                                                          \
  sum[0] += sum[2];                                                                                          \
  for (size_t lane = 0; lane < LANES; lane++)                                                                \
    rest += sum[0][lane];                                                                                    \
  return rest

CNS_VECTORISED
static double NAME(dot)(const T *a, const T *b, size_t count) {
  ADD_ALL(x * y);
}

/* ||a - b||^2. */
CNS_VECTORISED
static double NAME(gap)(const T *a, const T *b, size_t count) {
  ADD_ALL((x - y) * (x - y));
}

#undef ADD_ALL

CNS_VECTORISED
static void NAME(scale)(const T *row, double factor, size_t count, T *out) {
  for (size_t c = 0; c < count; c++)
    out[c] = (T)(factor * (double)row[c]);
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
