/* SPDX-License-Identifier: Apache-2.0 */
/* What docs/sensitivity.md proves of model/private.h, tried in 113-bit arithmetic. */
#include "private_world.h"

#define SEED 41
#define PATIENTS 12

static int setup(void **state) {
  if (cns_init() != 0) return -1;
  cns_rng_seeded_init_label(&generator, SEED, "private sensitivity");
  return 0;
}

/* Tables that are made to hurt. */
enum kind { RANDOM, RANGE_ENDS, DUPLICATES, CANCELLING, NEARLY_CANCELLING, ZERO_ROWS, KINDS };

static void damage(struct cns_table *table, enum kind kind) {
  size_t features = table->features;
  uint16_t turn = 0;
  for (size_t i = 0; i < table->rows; i++) {
    float *row = table->x + i * features;
    size_t like = 0; /* first row of the same patient */
    while (table->patient[like] != table->patient[i])
      like++;
    for (size_t f = 0; f < features; f++) {
      if (kind == RANGE_ENDS) row[f] = row[f] < 0 ? -1 : 1;
      if (kind == ZERO_ROWS && i % 2) row[f] = 0;
      if (kind >= DUPLICATES && kind <= NEARLY_CANCELLING) row[f] = table->x[like * features + f];
      if (kind == NEARLY_CANCELLING && like != i) row[f] *= 1 + 0x1p-20f;
    }
    if (kind == DUPLICATES) table->label[i] = table->label[like];
    if (kind == CANCELLING || kind == NEARLY_CANCELLING)
      table->label[i] = (uint16_t)(turn++ % table->classes);
  }
}

/* A step, and what each patient gave to it. */
struct step {
  struct cns_plan plan;
  float *params;
  struct cns_table table;
  double clip;
  bool *in;
  double *sum;
  struct cns_private_factor *factor;
};

static void run(struct step *step) {
  struct cns_problem problem = {{0}};
  int r = cns_private_gradient_factors(&step->plan, step->params, &step->table, step->in, step->clip, NULL,
                                       step->sum, step->factor, NULL, &problem);
  if (r != 0) print_error("%s\n", problem.text);
  assert_int_equal(r, 0);
}

static struct step step_of(const struct network *network, enum kind kind, double reach) {
  static const double clips[] = {1e-9, 1e-7, 1e-3, 1, 1e6};
  struct step step = {.plan = plan_of(network), .clip = clips[below(LENGTH_OF(clips))]};
  step.params = params_of(&step.plan, reach);
  step.table = random_table(&step.plan, PATIENTS, 7);
  damage(&step.table, kind);
  step.in = everybody(PATIENTS);
  step.sum = zeros(step.plan.dim);
  step.factor = calloc(PATIENTS, sizeof *step.factor);
  assert_non_null(step.factor);
  run(&step);
  return step;
}

static void step_free(struct step *step) {
  cns_table_deinit(&step->table);
  free(step->params);
  free(step->in);
  free(step->sum);
  free(step->factor);
}

typedef void check_fn(struct step *step);

static void all_steps(check_fn *check) {
  static const double reaches[] = {0, 1, 30, 1e3};
  for (size_t n = 0; n < LENGTH_OF(networks); n++)
    for (int kind = 0; kind < KINDS; kind++)
      for (size_t k = 0; k < LENGTH_OF(reaches); k++) {
        struct step step = step_of(&networks[n], (enum kind)kind, reaches[k]);
        check(&step);
        step_free(&step);
      }
}

static struct cns_private_pass pass_of(const struct step *step, size_t patient, size_t *ret_rows) {
  uint32_t *row_of = calloc(step->table.rows, sizeof *row_of),
           *share = calloc(step->table.rows, sizeof *share);
  assert_true(row_of && share);
  size_t rows = 0;
  for (size_t i = 0; i < step->table.rows; i++)
    if (step->table.patient[i] == patient) row_of[rows++] = (uint32_t)i;
  for (size_t i = 0; i < rows; i++)
    share[i] = (uint32_t)rows;
  struct cns_private_pass pass;
  assert_int_equal(cns_private_pass_init(&pass, &step->plan, step->params, rows), 0);
  cns_private_pass_run(&pass, &step->table, row_of, share, rows);
  free(row_of);
  free(share);
  *ret_rows = rows;
  return pass;
}

/* Coordinate (o, i) of sum over the rows of outer(delta, (in, 1)), exactly enough. */
static quad exact_entry(const struct cns_private_layer *layer, size_t rows, size_t o, size_t i) {
  quad sum = 0;
  for (size_t r = 0; r < rows; r++) {
    quad in = i < layer->inputs ? (quad)layer->in[r * layer->in_stride + i] : 1;
    sum += (quad)layer->delta[r * layer->out_stride + o] * in;
  }
  return sum;
}

static double combined_entry(const struct cns_private_layer *layer, size_t rows, size_t o, size_t i) {
  if (i == layer->inputs) return cns_private_bias(layer, 0, rows, o);
  struct cns_private_tile tile;
  cns_private_tile(layer, 0, rows, o - o % CNS_ROW_OUTER, i - i % CNS_ROW_INNER, &tile);
  return tile.value[o % CNS_ROW_OUTER * CNS_ROW_INNER + i % CNS_ROW_INNER];
}

/* V of a patient, whose rows are alone in the pass; returns |G|^2. */
static quad exact_vector(const struct cns_private_pass *pass, size_t rows,
                         const struct cns_private_factor *factor, quad *vector) {
  quad square = 0;
  for (size_t l = 0; l < pass->layers; l++) {
    const struct cns_private_layer *layer = &pass->layer[l];
    for (size_t o = 0; o < layer->outputs; o++)
      for (size_t i = 0; i <= layer->inputs; i++) {
        quad g = exact_entry(layer, rows, o, i), v = (quad)factor->factor * g;
        if (factor->combined) {
          volatile double rounded = factor->factor * combined_entry(layer, rows, o, i);
          v = (quad)rounded;
        }
        square += g * g;
        size_t at = i < layer->inputs ? o * layer->inputs + i : layer->outputs * layer->inputs + o;
        vector[layer->offset + at] = v;
      }
  }
  return square;
}

static quad quad_square(const quad *vector, size_t count) {
  quad sum = 0;
  for (size_t k = 0; k < count; k++)
    sum += vector[k] * vector[k];
  return sum;
}

/* Claims 2 and 3 of the header, and that clipping isn't more than it should be. */
static void check_exact(struct step *step) {
  size_t dim = step->plan.dim;
  quad *vector = calloc(dim, sizeof *vector), *total = calloc(dim, sizeof *total);
  assert_true(vector && total);
  quad clip = (quad)step->clip;
  for (size_t p = 0; p < PATIENTS; p++) {
    size_t rows;
    struct cns_private_pass pass = pass_of(step, p, &rows);
    struct cns_private_factor alone;
    assert_int_equal(cns_private_factor(&pass, 0, rows, step->clip, &alone), 0);
    assert_memory_equal(&alone.factor, &step->factor[p].factor, sizeof alone.factor);
    quad square = exact_vector(&pass, rows, &alone, vector), mine = quad_square(vector, dim);
    assert_true(mine <= clip * clip * (1 + (quad)0x1p-100));
    /* Never a dead patient: V is as long as it may be, up to 2^-20. */
    quad least = square < clip * clip ? square : clip * clip;
    assert_true(mine >= least * (1 - (quad)0x1p-19));
    for (size_t k = 0; k < dim; k++)
      total[k] += vector[k];
    cns_private_pass_deinit(&pass);
  }
  for (size_t k = 0; k < dim; k++)
    total[k] -= (quad)step->sum[k];
  quad bound = PATIENTS * clip * (quad)0x1p-40;
  assert_true(quad_square(total, dim) <= bound * bound);
  free(vector);
  free(total);
}

static void vectors_are_within_the_clip_norm(void **state) {
  all_steps(check_exact);
}

/* Thousands of equal terms, whose sum in double is off in one direction: the norm must
 * still be a bound. */
static void long_sums_are_bounded_too(void **state) {
  static const struct network wide = {5000, 2, {0}, 0, CNS_ACTIVATION_RELU};
  struct step step = {.plan = plan_of(&wide), .clip = 0.01, .in = everybody(60)};
  step.params = params_of(&step.plan, 0);
  step.table = table_of(&step.plan, 60, 60);
  step.factor = calloc(60, sizeof *step.factor);
  step.sum = zeros(step.plan.dim);
  quad *vector = calloc(step.plan.dim, sizeof *vector);
  assert_true(step.factor && vector);
  for (size_t i = 0; i < 60; i++) {
    step.table.patient[i] = (uint32_t)i;
    float value = uniform();
    for (size_t f = 0; f < step.table.features; f++)
      step.table.x[i * step.table.features + f] = value;
  }
  run(&step);
  for (size_t p = 0; p < 60; p++) {
    size_t rows;
    struct cns_private_pass pass = pass_of(&step, p, &rows);
    exact_vector(&pass, rows, &step.factor[p], vector);
    assert_true(step.factor[p].factor < 1);
    assert_true(quad_square(vector, step.plan.dim) <=
                (quad)step.clip * (quad)step.clip * (1 + (quad)0x1p-100));
    cns_private_pass_deinit(&pass);
  }
  free(vector);
  step_free(&step);
}

static void expect_same_factors(const struct step *a, const struct step *b, const size_t *number) {
  for (size_t p = 0; p < PATIENTS; p++) {
    if (number[p] == SIZE_MAX) continue;
    const struct cns_private_factor *x = &a->factor[p], *y = &b->factor[number[p]];
    assert_memory_equal(&x->norm, &y->norm, sizeof x->norm);
    assert_memory_equal(&x->terms, &y->terms, sizeof x->terms);
    assert_memory_equal(&x->factor, &y->factor, sizeof x->factor);
    assert_int_equal(x->combined, y->combined);
  }
}

/* Numbers of the patients in `part`, which lacks one; numbers follow first rows. */
static void renumber(const struct cns_table *table, size_t gone, size_t *ret_number) {
  size_t next = 0;
  for (size_t p = 0; p < PATIENTS; p++)
    ret_number[p] = SIZE_MAX;
  for (size_t i = 0; i < table->rows; i++)
    if (table->patient[i] != gone && ret_number[table->patient[i]] == SIZE_MAX)
      ret_number[table->patient[i]] = next++;
}

/* Claim 1, and what follows from the three. */
static void check_neighbours(struct step *step) {
  size_t dim = step->plan.dim, number[PATIENTS];
  double sensitivity = cns_private_sensitivity(step->clip, PATIENTS);
  struct step other = *step;
  other.sum = zeros(dim);
  other.factor = calloc(PATIENTS, sizeof *other.factor);
  assert_non_null(other.factor);
  for (size_t p = 0; p < PATIENTS; p++) {
    renumber(&step->table, PATIENTS, number);
    for (size_t q = 0; q < PATIENTS; q++)
      number[q] = q == p ? SIZE_MAX : q;
    step->in[p] = false;
    run(&other);
    step->in[p] = true;
    expect_same_factors(step, &other, number);
    double far = distance(step->sum, other.sum, dim);
    assert_true(far <= sensitivity);
    assert_true(far <= step->factor[p].factor * step->factor[p].norm + 2 * PATIENTS * step->clip * 0x1p-40);

    other.table = without(&step->table, p);
    renumber(&step->table, p, number);
    run(&other);
    expect_same_factors(step, &other, number);
    assert_true(distance(step->sum, other.sum, dim) <= sensitivity);
    cns_table_deinit(&other.table);
    other.table = step->table;
  }
  free(other.sum);
  free(other.factor);
}

static void one_patient_moves_the_sum_within_the_sensitivity(void **state) {
  all_steps(check_neighbours);
}

enum { STRANGERS = 400, CROWD = PATIENTS + STRANGERS };

/* The step's rows in their order, with 400 other patients' before, between and after;
 * patient p of this crowd has the number (p + shift) mod CROWD. */
static struct cns_table crowd_of(const struct step *step, size_t shift) {
  size_t mine = 0, strangers = 0, features = step->table.features;
  struct cns_table crowd = table_of(&step->plan, step->table.rows + STRANGERS, CROWD);
  for (size_t i = 0; i < crowd.rows; i++) {
    fill_row(&crowd, i, (PATIENTS + strangers + shift) % CROWD);
    if (below(crowd.rows - i) >= step->table.rows - mine) {
      strangers++;
      continue;
    }
    memcpy(crowd.x + i * features, step->table.x + mine * features, features * sizeof(float));
    crowd.label[i] = step->table.label[mine];
    crowd.patient[i] = (uint32_t)((step->table.patient[mine++] + shift) % CROWD);
  }
  return crowd;
}

static void place_and_company_do_not_matter(void **state) {
  for (size_t n = 0; n < LENGTH_OF(networks); n++) {
    struct step step = step_of(&networks[n], RANDOM, 30);
    for (int repeat = 0; repeat < 3; repeat++) {
      struct step crowd = step;
      size_t shift = below(CROWD), number[PATIENTS];
      for (size_t p = 0; p < PATIENTS; p++)
        number[p] = (p + shift) % CROWD;
      crowd.table = crowd_of(&step, shift);
      crowd.in = everybody(CROWD);
      crowd.sum = zeros(step.plan.dim);
      crowd.factor = calloc(CROWD, sizeof *crowd.factor);
      assert_non_null(crowd.factor);
      run(&crowd);
      expect_same_factors(&step, &crowd, number);
      crowd.params = NULL; /* the step's */
      step_free(&crowd);
    }
    step_free(&step);
  }
}

/* Both forms in which a patient enters the sum occur, and cancelling rows that
 * leave a thousandth don't blow up what they cancel to. */
static void cancelling_rows_are_combined(void **state) {
  size_t combined = 0, plain = 0;
  for (size_t n = 2; n < LENGTH_OF(networks); n++)
    for (int kind = 0; kind < KINDS; kind++) {
      struct step step = step_of(&networks[n], (enum kind)kind, 0.1);
      for (size_t p = 0; p < PATIENTS; p++) {
        const struct cns_private_factor *factor = &step.factor[p];
        combined += factor->combined;
        plain += !factor->combined;
        if (!factor->combined) assert_true(factor->factor * factor->terms <= CNS_PRIVATE_CANCEL * step.clip);
      }
      step_free(&step);
    }
  assert_true(combined > 20 && plain > 20);
}

static void sensitivity_is_rounded_up(void **state) {
  static const double clips[] = {1e-30, 1e-3, 0.1, 1, 3.7, 1e30};
  static const size_t patients[] = {0, 1, 57, 100000, CNS_PRIVATE_PATIENTS_MAX};
  for (size_t c = 0; c < LENGTH_OF(clips); c++)
    for (size_t p = 0; p < LENGTH_OF(patients); p++) {
      quad exact = (quad)clips[c] * (1 + (quad)0x1p-30 + 2 * (quad)patients[p] * (quad)0x1p-40);
      quad found = (quad)cns_private_sensitivity(clips[c], patients[p]);
      assert_true(found >= exact && found <= exact * (1 + (quad)0x1p-51));
    }
  static const double bad[] = {0, -1, NAN, INFINITY, 1e-31, 1e31};
  for (size_t k = 0; k < LENGTH_OF(bad); k++)
    assert_true(isnan(cns_private_sensitivity(bad[k], 1)));
  assert_true(isnan(cns_private_sensitivity(1, (size_t)CNS_PRIVATE_PATIENTS_MAX + 1)));
}

int main(void) {
  print_message("# seed %d\n", SEED);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(vectors_are_within_the_clip_norm, setup),
      cmocka_unit_test_setup(long_sums_are_bounded_too, setup),
      cmocka_unit_test_setup(one_patient_moves_the_sum_within_the_sensitivity, setup),
      cmocka_unit_test_setup(place_and_company_do_not_matter, setup),
      cmocka_unit_test_setup(cancelling_rows_are_combined, setup),
      cmocka_unit_test_setup(sensitivity_is_rounded_up, setup),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
