/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Against exact arithmetic: what each of the 65536 patterns of F16 and BF16 means is
 * computed with ldexp from IEEE 754-2019's formula (3.4), and what a float rounds to is
 * searched among these values by their distances, which are exact in double.
 * (tests/system/test_formats.py compares with Python's own F16.)
 */
#include "fixture.h"
#include "model/dtype.h"

#include <float.h>
#include <math.h>

struct kind {
  enum cns_dtype dtype;
  int fraction_bits, bias;
  size_t finite; /* positive patterns below infinity */
  float (*widen)(uint16_t);
  uint16_t (*narrow)(float);
  double *values; /* of the positive patterns, and one beyond: what infinity would be if it were finite */
};

static struct kind kinds[] = {
    {CNS_DTYPE_F16, 10, 15, 0x7C00, cns_float_from_f16, cns_f16_from_float, NULL},
    {CNS_DTYPE_BF16, 7, 127, 0x7F80, cns_float_from_bf16, cns_bf16_from_float, NULL},
};

static double formula(const struct kind *kind, uint32_t pattern) {
  int exponent = (int)(pattern >> kind->fraction_bits);
  double fraction = (double)(pattern & ((1u << kind->fraction_bits) - 1)) / (1 << kind->fraction_bits);
  if (exponent == 0) return ldexp(fraction, 1 - kind->bias);
  return ldexp(1 + fraction, exponent - kind->bias);
}

static int setup(void **state) {
  (void)state;
  if (cns_init() != 0) return -1;
  for (size_t k = 0; k < LENGTH_OF(kinds); k++) {
    kinds[k].values = calloc(kinds[k].finite + 1, sizeof(double));
    if (!kinds[k].values) return -1;
    for (uint32_t i = 0; i <= kinds[k].finite; i++)
      kinds[k].values[i] = formula(&kinds[k], i);
  }
  return 0;
}

static int teardown(void **state) {
  (void)state;
  for (size_t k = 0; k < LENGTH_OF(kinds); k++)
    free(kinds[k].values);
  return 0;
}

static uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static void every_pattern_is_read_exactly(void **state) {
  (void)state;
  for (size_t k = 0; k < LENGTH_OF(kinds); k++) {
    const struct kind *kind = &kinds[k];
    uint16_t all[65536];
    float *out = malloc(sizeof all * 2);
    assert_non_null(out);
    for (uint32_t i = 0; i < 65536; i++)
      all[i] = (uint16_t)i;
    cns_dtype_decode(kind->dtype, all, 65536, out);
    for (uint32_t i = 0; i < 65536; i++) {
      uint32_t size = i & 0x7FFF, bits = bits_of(out[i]);
      assert_int_equal(bits >> 31, i >> 15); /* the sign, of zeros and NaNs too */
      if (size < kind->finite)
        assert_true(fabs((double)out[i]) == kind->values[size]);
      else if (size == kind->finite)
        assert_true(isinf(out[i]));
      else /* a NaN with its payload in the upper bits */
        assert_int_equal(bits & 0x7FFFFFFF, 0x7F800000 | (size - kind->finite) << (23 - kind->fraction_bits));
    }
    free(out);
  }
}

static void every_pattern_comes_back(void **state) {
  (void)state;
  for (size_t k = 0; k < LENGTH_OF(kinds); k++)
    for (uint32_t i = 0; i < 65536; i++) {
      const struct kind *kind = &kinds[k];
      uint16_t back = kind->narrow(kind->widen((uint16_t)i));
      uint32_t quiet = 1u << (kind->fraction_bits - 1);
      assert_int_equal(back, (i & 0x7FFF) > kind->finite ? i | quiet : i);
    }
}

/* The pattern of the nearest value, of two as near the even one. */
static uint32_t nearest(const struct kind *kind, double size) {
  size_t low = 0, high = kind->finite;
  if (size >= kind->values[high]) return (uint32_t)high;
  while (high - low > 1) {
    size_t middle = low + (high - low) / 2;
    if (kind->values[middle] <= size)
      low = middle;
    else
      high = middle;
  }
  double below = size - kind->values[low], above = kind->values[high] - size;
  if (below != above) return (uint32_t)(below < above ? low : high);
  return (uint32_t)(low % 2 == 0 ? low : high);
}

static void check_rounding(const struct kind *kind, float value) {
  uint32_t bits = bits_of(value), expected = nearest(kind, fabs((double)value)) | bits >> 31 << 15;
  uint16_t found = kind->narrow(value);
  if (found != expected)
    print_error("%s of %a: %04x, not %04x\n", cns_dtype_name(kind->dtype), (double)value, found, expected);
  assert_int_equal(found, expected);
}

/* Each value, the middle between it and the next, and the floats beside these. */
static void every_boundary_is_rounded_to_nearest_even(void **state) {
  (void)state;
  for (size_t k = 0; k < LENGTH_OF(kinds); k++)
    for (size_t i = 0; i < kinds[k].finite; i++) {
      float value = (float)kinds[k].values[i];
      float middle = (float)((kinds[k].values[i] + kinds[k].values[i + 1]) / 2);
      float points[] = {value, middle};
      for (size_t p = 0; p < 2; p++) {
        float around[] = {points[p], nextafterf(points[p], INFINITY), nextafterf(points[p], -INFINITY)};
        for (size_t a = 0; a < 3; a++) {
          if (isinf(around[a])) continue;
          check_rounding(&kinds[k], around[a]);
          check_rounding(&kinds[k], -around[a]);
        }
      }
    }
}

static void random_floats_are_rounded_to_nearest_even(void **state) {
  (void)state;
  uint64_t random = 20261127; /* xorshift64*, Vigna 2016 */
  for (size_t i = 0; i < 400000; i++) {
    random ^= random >> 12;
    random ^= random << 25;
    random ^= random >> 27;
    uint32_t bits = (uint32_t)((random * 0x2545F4914F6CDD1Du) >> 32);
    if (i % 2)
      bits = (bits & 0x80FFFFFF) | (0x30000000 + ((bits >> 24 & 0x1F) << 24)); /* about F16's range */
    if (!isfinite(float_of(bits))) continue;
    check_rounding(&kinds[0], float_of(bits));
    check_rounding(&kinds[1], float_of(bits));
  }
}

static void what_is_not_finite_stays_so(void **state) {
  (void)state;
  static const uint32_t nans[] = {0x7F800001, 0x7FC00000, 0xFF800001, 0x7FFFFFFF, 0xFFFFFFFF, 0x7F802000};
  for (size_t k = 0; k < LENGTH_OF(kinds); k++) {
    assert_int_equal(kinds[k].narrow(INFINITY), kinds[k].finite);
    assert_int_equal(kinds[k].narrow(-INFINITY), kinds[k].finite | 0x8000);
    for (size_t i = 0; i < LENGTH_OF(nans); i++) {
      uint16_t found = kinds[k].narrow(float_of(nans[i]));
      assert_true((found & 0x7FFF) > kinds[k].finite);
      assert_int_equal(found >> 15, nans[i] >> 31);
    }
  }
}

static void overflow_is_refused_unless_asked_for(void **state) {
  (void)state;
  static const struct {
    enum cns_dtype dtype;
    float fits, beyond;
    uint16_t largest;
  } cases[] = {{CNS_DTYPE_F16, 65519.996f, 65520, 0x7BFF},
               {CNS_DTYPE_BF16, 0x1.FEFFFEp127f, 0x1.FFp127f, 0x7F7F}};
  for (size_t c = 0; c < LENGTH_OF(cases); c++) {
    float values[] = {1, cases[c].fits, -cases[c].beyond, INFINITY, FLT_MAX};
    uint16_t out[5] = {0};
    size_t at = 99;
    assert_int_equal(cns_dtype_encode(cases[c].dtype, CNS_OVERFLOW_REFUSE, values, 5, out, &at),
                     CNS_DTYPE_OVERFLOW);
    assert_int_equal(at, 2);
    assert_int_equal(out[1], cases[c].largest);
    assert_int_equal(cns_dtype_encode(cases[c].dtype, CNS_OVERFLOW_REFUSE, values, 2, out, &at), 0);
    assert_int_equal(cns_dtype_encode(cases[c].dtype, CNS_OVERFLOW_CLAMP, values, 5, out, &at), 0);
    assert_int_equal(out[2], cases[c].largest | 0x8000);
    assert_int_equal(out[3], cases[c].largest + 1); /* infinite already: stays */
    assert_int_equal(out[4], cases[c].largest);
    assert_int_equal(cns_dtype_encode(cases[c].dtype, CNS_OVERFLOW_INFINITE, values, 5, out, &at), 0);
    assert_int_equal(out[2], (cases[c].largest + 1) | 0x8000);
    assert_int_equal(out[4], cases[c].largest + 1);
  }
}

/* As files are loaded: from the upper half of where the floats go. */
static void halves_are_widened_in_place(void **state) {
  (void)state;
  float place[1001];
  uint16_t halves[LENGTH_OF(place)];
  for (size_t i = 0; i < LENGTH_OF(place); i++)
    halves[i] = (uint16_t)(i * 31);
  for (size_t k = 0; k < LENGTH_OF(kinds); k++) {
    uint8_t *upper = (uint8_t *)place + sizeof halves;
    memcpy(upper, halves, sizeof halves);
    cns_dtype_decode(kinds[k].dtype, upper, LENGTH_OF(place), place);
    for (size_t i = 0; i < LENGTH_OF(place); i++)
      assert_int_equal(bits_of(place[i]), bits_of(kinds[k].widen(halves[i])));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_pattern_is_read_exactly),
      cmocka_unit_test(every_pattern_comes_back),
      cmocka_unit_test(every_boundary_is_rounded_to_nearest_even),
      cmocka_unit_test(random_floats_are_rounded_to_nearest_even),
      cmocka_unit_test(what_is_not_finite_stays_so),
      cmocka_unit_test(overflow_is_refused_unless_asked_for),
      cmocka_unit_test(halves_are_widened_in_place),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
