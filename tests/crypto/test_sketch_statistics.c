/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What docs/protocol.md, phase audit, promises of the sketch's distribution, over
 * many keys from a printed seed. Bounds are at six standard deviations: another seed
 * would do as well.
 */
#include "support.h"

#include <math.h>

#include "crypto/sketch.h"

#define SIGMAS 6.0

static const struct cns_parallel one_thread;

static struct cns_rng start_rng(struct cns_rng_seeded *seeded, const char *label) {
  cns_rng_seeded_init_label(seeded, test_seed(), label);
  return cns_rng_seeded(seeded);
}

static struct cns_sketch_key draw_key(struct cns_rng rng) {
  struct cns_sketch_key key;
  assert_int_equal(cns_rng_fill(rng, key.bytes, sizeof key.bytes), CNS_OK);
  return key;
}

static uint32_t below(struct cns_rng rng, uint32_t bound) {
  uint64_t value;
  assert_int_equal(cns_rng_uniform_u64(rng, bound, &value), CNS_OK);
  return (uint32_t)value;
}

static void expect_near(const char *what, double found, double expected, double margin) {
  if (fabs(found - expected) > margin)
    print_message("# %s: %g, expected %g within %g\n", what, found, expected, margin);
  assert_true(fabs(found - expected) <= margin);
}

/* --- A itself: buckets and signs ------------------------------------------ */

#define PLACED 20480
#define UNITS 16
#define WIDTH (CNS_SKETCH_MAX / CNS_SKETCH_BLOCKS)

/* Bucket and sign (the lowest bit) of each coordinate and block, as seen in the
 * sketches of unit vectors. */
struct placement {
  uint8_t entries[PLACED][CNS_SKETCH_BLOCKS];
};

static void place_units(struct cns_sketch_plan *plan, uint64_t first, uint8_t (*entries)[CNS_SKETCH_BLOCKS]) {
  static uint32_t sketches[UNITS][CNS_SKETCH_MAX];
  uint32_t units[UNITS][UNITS] = {0};
  const uint32_t *vectors[UNITS];
  for (size_t v = 0; v < UNITS; v++) {
    units[v][v] = 1;
    vectors[v] = units[v];
  }
  memset(sketches, 0, sizeof sketches);
  assert_int_equal(cns_sketch_plan_add(plan, vectors, UNITS, first, UNITS, sketches[0]), CNS_OK);
  for (size_t v = 0; v < UNITS; v++) {
    size_t found = 0;
    for (uint32_t row = 0; row < CNS_SKETCH_MAX; row++) {
      const uint32_t value = sketches[v][row];
      if (value == 0) continue;
      assert_true(value == 1 || value == UINT32_MAX);
      entries[v][row / WIDTH] = (uint8_t)(row % WIDTH << 1 | (value == 1 ? 0 : 1));
      found++;
    }
    assert_int_equal(found, CNS_SKETCH_BLOCKS); /* one a block */
  }
}

#define CELLS 256

static void expect_uniform(const char *what, const uint32_t counts[CELLS], size_t total) {
  const double expected = (double)total / CELLS, freedom = CELLS - 1;
  double sum = 0;
  for (size_t cell = 0; cell < CELLS; cell++)
    sum += (counts[cell] - expected) * (counts[cell] - expected) / expected;
  expect_near(what, sum, freedom, SIGMAS * sqrt(2 * freedom));
}

/* Sixteen kinds of entries: the sign and three bits of the bucket, the highest ones
 * and the lowest in turns. */
static uint32_t kind(uint8_t entry, size_t turn) {
  return turn % 2 ? (uint32_t)(entry & 1) | (uint32_t)(entry >> 5) << 1 : entry & 15u;
}

static void check_pair(const struct placement *p, const char *what, size_t block, size_t other,
                       size_t shift) {
  uint32_t counts[CELLS] = {0};
  for (size_t c = 0; c + shift < PLACED; c++)
    counts[kind(p->entries[c][block], block) * 16 + kind(p->entries[c + shift][other], other)]++;
  expect_uniform(what, counts, PLACED - shift);
}

static void check_placement(const struct placement *p) {
  static const size_t shifts[] = {1, 2, 3, 4, 8, 16, 32, 128, 256, 1024, 2048, 4096};
  for (size_t block = 0; block < CNS_SKETCH_BLOCKS; block++) {
    uint32_t counts[CELLS] = {0};
    for (size_t c = 0; c < PLACED; c++)
      counts[p->entries[c][block]]++;
    expect_uniform("entries of a block", counts, PLACED);
    for (size_t other = block + 1; other < CNS_SKETCH_BLOCKS; other++)
      check_pair(p, "two blocks of a coordinate", block, other, 0);
    for (size_t s = 0; s < sizeof shifts / sizeof shifts[0]; s++) {
      check_pair(p, "two coordinates in a block", block, block, shifts[s]);
      check_pair(p, "two coordinates in two blocks", block, (block + 1 + s % 7) % 8, shifts[s]);
    }
  }
}

static void buckets_and_signs_are_uniform(void **state) {
  struct cns_rng_seeded seeded;
  const struct cns_rng rng = start_rng(&seeded, "placement");
  static struct placement p;
  struct cns_sketch_plan *plan = NULL;
  struct cns_sketch_key key = draw_key(rng);
  assert_int_equal(cns_sketch_plan_new(&key, CNS_SKETCH_MAX, &plan), CNS_OK);
  for (size_t c = 0; c < PLACED; c += UNITS) /* the coordinates of one key */
    place_units(plan, c, p.entries + c);
  check_placement(&p);
  plan = cns_sketch_plan_free(plan);
  for (size_t c = 0; c < PLACED; c += UNITS) { /* the same coordinates of many keys */
    key = draw_key(rng);
    assert_int_equal(cns_sketch_plan_new(&key, CNS_SKETCH_MAX, &plan), CNS_OK);
    place_units(plan, 1000001, p.entries + c);
    plan = cns_sketch_plan_free(plan);
  }
  check_placement(&p);
}

/* --- Estimates -------------------------------------------------------------- */

#define LEN 1500
#define KEYS 2500

enum { DENSE, NEAR, SPARSE, HEAVY, EQUAL, SINGLE, KINDS };

static void draw_vectors(struct cns_rng rng, int32_t (*vectors)[LEN]) {
  for (size_t c = 0; c < LEN; c++) {
    vectors[DENSE][c] = (int32_t)below(rng, 2001) - 1000;
    vectors[NEAR][c] = vectors[DENSE][c] + (int32_t)below(rng, 101) - 50;
    vectors[SPARSE][c] = 0;
    vectors[HEAVY][c] =
        (int32_t)(1u << below(rng, 17)) * (below(rng, 2) ? 1 : -1) / (1 + (int32_t)below(rng, 50));
    vectors[EQUAL][c] = 700;
    vectors[SINGLE][c] = c == 777 ? -123456 : 0;
  }
  for (int k = 0; k < 12; k++)
    vectors[SPARSE][below(rng, LEN)] = 100000 * (k % 2 ? 1 : -1);
}

/* A bilinear estimate over many keys: against the truth and its exact variance. */
struct estimate {
  double truth, variance, sum, sum_squares;
};

/* Per block the variance is the sum over i != j of x_i^2 y_j^2 + x_i y_i x_j y_j,
 * over w; blocks are independent. */
static struct estimate estimate_of(const int32_t *x, const int32_t *y, uint32_t k) {
  double xx = 0, yy = 0, xy = 0, quartic = 0;
  for (size_t c = 0; c < LEN; c++) {
    const double a = x[c], b = y[c];
    xx += a * a;
    yy += b * b;
    xy += a * b;
    quartic += a * a * b * b;
  }
  return (struct estimate){.truth = xy, .variance = (xx * yy + xy * xy - 2 * quartic) / k};
}

static void estimate_add(struct estimate *e, double value) {
  e->sum += value - e->truth;
  e->sum_squares += (value - e->truth) * (value - e->truth);
}

static void estimate_check(const struct estimate *e, const char *what, size_t a, size_t b) {
  char text[80];
  snprintf(text, sizeof text, "%s of vectors %zu and %zu", what, a, b);
  expect_near(text, e->sum / KEYS, 0, SIGMAS * sqrt(e->variance / KEYS) + 1e-9 * fabs(e->truth));
  /* Blocks of few heavy entries have a kurtosis of up to 10. */
  expect_near(text, e->sum_squares / KEYS, e->variance, SIGMAS * 3 * e->variance / sqrt(KEYS));
}

static void check_estimates(struct cns_rng rng, uint32_t k) {
  static int32_t vectors[KINDS][LEN], differences[KINDS][KINDS][LEN];
  static struct estimate products[KINDS][KINDS], distances[KINDS][KINDS];
  static uint32_t sketches[KINDS * CNS_SKETCH_MAX];
  const uint32_t *pointers[KINDS];
  draw_vectors(rng, vectors);
  for (size_t a = 0; a < KINDS; a++) {
    pointers[a] = (const uint32_t *)vectors[a];
    for (size_t b = 0; b <= a; b++) {
      for (size_t c = 0; c < LEN; c++)
        differences[a][b][c] = vectors[a][c] - vectors[b][c];
      products[a][b] = estimate_of(vectors[a], vectors[b], k);
      distances[a][b] = estimate_of(differences[a][b], differences[a][b], k);
    }
  }
  for (size_t draw = 0; draw < KEYS; draw++) {
    const struct cns_sketch_key key = draw_key(rng);
    assert_int_equal(cns_sketch_vectors(&key, k, pointers, KINDS, LEN, one_thread, sketches), CNS_OK);
    for (size_t a = 0; a < KINDS; a++)
      for (size_t b = 0; b <= a; b++) {
        const uint32_t *x = &sketches[a * k], *y = &sketches[b * k];
        uint32_t difference[CNS_SKETCH_MAX];
        for (uint32_t row = 0; row < k; row++)
          difference[row] = x[row] - y[row];
        estimate_add(&products[a][b],
                     a == b ? cns_sketch_norm_squared(x, k) : cns_sketch_inner_product(x, y, k));
        estimate_add(&distances[a][b], cns_sketch_norm_squared(difference, k));
      }
  }
  for (size_t a = 0; a < KINDS; a++)
    for (size_t b = 0; b <= a; b++) {
      estimate_check(&products[a][b], "inner product", a, b);
      estimate_check(&distances[a][b], "distance", a, b);
    }
  const struct estimate *dense = &products[DENSE][DENSE];
  expect_near("relative variance", dense->variance / dense->truth / dense->truth, 2.0 / k, 0.02 / k);
}

static void estimates_are_unbiased(void **state) {
  struct cns_rng_seeded seeded;
  const struct cns_rng rng = start_rng(&seeded, "estimates");
  check_estimates(rng, 128);
  check_estimates(rng, 256);
}

/* --- Vectors made to go unseen ---------------------------------------------- */

#define SHORT 256
#define TAIL_KEYS 6000
#define TAIL_VECTORS 16
#define SAMPLES (TAIL_KEYS * (double)TAIL_VECTORS)
#define BIG (1u << 29)
#define SEEN (1u << 28)

/* Puts large entries on top of the small ones that are there. */
typedef void attack_fn(struct cns_rng rng, uint32_t *vector);

/* How many samples had so many blocks in which no bucket reached SEEN. */
static void count_unseen(struct cns_rng rng, uint32_t k, attack_fn *attack, double counts[static 9]) {
  static uint32_t vectors[TAIL_VECTORS][SHORT], sketches[TAIL_VECTORS * CNS_SKETCH_MAX];
  const uint32_t *pointers[TAIL_VECTORS], w = k / CNS_SKETCH_BLOCKS;
  for (size_t draw = 0; draw < TAIL_KEYS; draw++) {
    const struct cns_sketch_key key = draw_key(rng);
    for (size_t v = 0; v < TAIL_VECTORS; v++) {
      pointers[v] = vectors[v];
      for (uint32_t c = 0; c < SHORT; c++)
        vectors[v][c] = c * 37 % 101 - 50;
      attack(rng, vectors[v]);
    }
    assert_int_equal(cns_sketch_vectors(&key, k, pointers, TAIL_VECTORS, SHORT, one_thread, sketches),
                     CNS_OK);
    for (size_t v = 0; v < TAIL_VECTORS; v++) {
      size_t unseen = 0;
      for (size_t block = 0; block < CNS_SKETCH_BLOCKS; block++) {
        bool seen = false;
        for (size_t bucket = 0; bucket < w; bucket++)
          seen = seen || sketches[v * k + block * w + bucket] + SEEN > 2 * SEEN;
        unseen += !seen;
      }
      counts[unseen]++;
    }
  }
}

/* Of 8 independent blocks, exactly `unseen`. */
static double binomial(size_t unseen, double p) {
  return exp(lgamma(9) - lgamma((double)unseen + 1) - lgamma(9 - (double)unseen)) * pow(p, (double)unseen) *
         pow(1 - p, 8 - (double)unseen);
}

/* The blocks see independently of each other, each with the chance p to see nothing:
 * then all eight see nothing with p^8. */
static void expect_binomial(const char *what, const double counts[static 9], double p) {
  double blocks = 0;
  for (size_t unseen = 0; unseen < 9; unseen++) {
    const double expected = SAMPLES * binomial(unseen, p);
    blocks += counts[unseen] * (double)unseen;
    /* Six deviations of a Poisson number, with room where it is a small one. */
    expect_near(what, counts[unseen], expected, SIGMAS * sqrt(expected) + (expected < 100 ? 6 : 0));
  }
  expect_near(what, blocks, SAMPLES * 8 * p, SIGMAS * sqrt(SAMPLES * 8 * p));
}

/* No worse than that. */
static void expect_at_most(const char *what, const double counts[static 9], double p) {
  double found = 0, expected = 0;
  for (size_t unseen = 8; unseen > 0; unseen--) {
    found += counts[unseen];
    expected += SAMPLES * binomial(unseen, p);
    if (found > expected + SIGMAS * sqrt(expected) + 6)
      print_message("# %s: %g samples with %zu blocks unseen, %g expected at most\n", what, found, unseen,
                    expected);
    assert_true(found <= expected + SIGMAS * sqrt(expected) + 6);
  }
}

static void pair(struct cns_rng rng, uint32_t *vector, uint32_t value, uint32_t other) {
  const uint32_t a = below(rng, SHORT), b = (a + 1 + below(rng, SHORT - 1)) % SHORT;
  vector[a] += value;
  vector[b] += other;
}

static void pair_of_halves(struct cns_rng rng, uint32_t *vector) {
  pair(rng, vector, 1u << 31, 1u << 31);
}

static void pair_of_equals(struct cns_rng rng, uint32_t *vector) {
  pair(rng, vector, BIG, BIG);
}

static void pair_of_opposites(struct cns_rng rng, uint32_t *vector) {
  pair(rng, vector, BIG, 0 - BIG);
}

static void run_of(uint32_t *vector, uint32_t first, uint32_t step, uint32_t count) {
  for (uint32_t k = 0; k < count; k++)
    vector[(first + k * step) % SHORT] += 1u << 31;
}

static void neighbours(struct cns_rng rng, uint32_t *vector) {
  run_of(vector, below(rng, SHORT), 1, 2);
}

static void four_in_a_period(struct cns_rng rng, uint32_t *vector) {
  run_of(vector, below(rng, SHORT), 64, 4);
}

static void four_in_a_row(struct cns_rng rng, uint32_t *vector) {
  run_of(vector, below(rng, SHORT), 1, 4);
}

static void whole_row(struct cns_rng rng, uint32_t *vector) {
  run_of(vector, 16 * below(rng, SHORT / 16), 1, 16);
}

static void two_rows(struct cns_rng rng, uint32_t *vector) {
  run_of(vector, below(rng, SHORT), 1, 128);
}

static void every_eighth(struct cns_rng rng, uint32_t *vector) {
  run_of(vector, below(rng, 8), 8, SHORT / 8);
}

static void everything(struct cns_rng rng, uint32_t *vector) {
  run_of(vector, 0, 1, SHORT);
}

static void odd_number(struct cns_rng rng, uint32_t *vector) {
  run_of(vector, below(rng, SHORT), 1, 1 + 2 * below(rng, 20));
}

/* Entries that cancel in a bucket: each block sees them but with chance 1/w, the
 * least that any can have. */
static void pairs_are_seen(void **state) {
  struct cns_rng_seeded seeded;
  const struct cns_rng rng = start_rng(&seeded, "pairs");
  for (uint32_t k = 128; k <= 256; k *= 2) {
    const double w = k / 8.0;
    double halves[9] = {0}, side_by_side[9] = {0}, equals[9] = {0}, opposites[9] = {0};
    count_unseen(rng, k, pair_of_halves, halves);
    expect_binomial("2^31 at two places", halves, 1 / w);
    count_unseen(rng, k, neighbours, side_by_side);
    expect_binomial("2^31 at two neighbours", side_by_side, 1 / w);
    count_unseen(rng, k, pair_of_equals, equals); /* signs must differ as well */
    expect_binomial("M(e_a + e_b)", equals, 1 / (2 * w));
    count_unseen(rng, k, pair_of_opposites, opposites);
    expect_binomial("M(e_a - e_b)", opposites, 1 / (2 * w));
  }
}

static void patterns_are_seen(void **state) {
  static const struct {
    const char *what;
    attack_fn *attack;
  } even[] = {{"16 in a row", whole_row},
              {"128 in a row", two_rows},
              {"every eighth", every_eighth},
              {"everything", everything}};
  struct cns_rng_seeded seeded;
  const struct cns_rng rng = start_rng(&seeded, "patterns");
  const double w = 16;
  double row[9] = {0}, period[9] = {0}, odd[9] = {0};
  /* Four fall into buckets in pairs with (3w - 2)/w^3. */
  count_unseen(rng, 128, four_in_a_row, row);
  expect_binomial("four in a row", row, (3 * w - 2) / (w * w * w));
  count_unseen(rng, 128, four_in_a_period, period);
  expect_binomial("four in a period", period, (3 * w - 2) / (w * w * w));
  for (size_t k = 0; k < sizeof even / sizeof even[0]; k++) {
    double counts[9] = {0};
    count_unseen(rng, 128, even[k].attack, counts);
    expect_at_most(even[k].what, counts, 1 / w);
  }
  count_unseen(rng, 128, odd_number, odd); /* some bucket has an odd number of them */
  expect_near("an odd number", odd[0], SAMPLES, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(buckets_and_signs_are_uniform),
      cmocka_unit_test(estimates_are_unbiased),
      cmocka_unit_test(pairs_are_seen),
      cmocka_unit_test(patterns_are_seen),
  };
  return cmocka_run_group_tests(tests, setup_library, NULL);
}
