/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmarks/mechanism_game.h"

#include <math.h>
#include <string.h>

#include "dp/grid.h"
#include "model/private.h"

#define COLLUDERS 1
/* So large that exp(-2 * LOGIT) is nothing in a float. */
#define LOGIT 100
/* Below the patient's loss, ln 2: its two logits are the same. */
#define LOSS_MAX 0.5

static const char *const names[GAME_FLAWS] = {
    [GAME_SOUND] = "as it is",
    [GAME_HALF_NOISE] = "half the noise",
    [GAME_FIXED_BATCH] = "batches of fixed size",
    [GAME_EVERYBODY] = "everybody takes part",
    [GAME_NOISE_OF_MEAN] = "noise of a mean, on a sum",
    [GAME_DIVIDED] = "divided by those who took part",
    [GAME_ROWS_CLIPPED] = "rows clipped, not patients",
    [GAME_UNCOUNTED] = "extra numbers that aren't counted",
};

const char *game_flaw_name(enum game_flaw flaw) {
  return names[flaw];
}

static void add_rows(struct game_hospital *hospital, size_t rows, float x, uint16_t label) {
  for (size_t k = 0; k < rows; k++) {
    size_t at = hospital->rows++;
    hospital->x[at] = x;
    hospital->label[at] = label;
    hospital->patient[at] = (uint32_t)hospital->patients;
    hospital->row[at] = (uint32_t)at;
  }
  hospital->patients++;
}

static bool has_extras(const struct game_options *o) {
  return o->indicator_share > 0 || o->metrics_share > 0;
}

static void fill_hospitals(struct game *game) {
  const struct game_options *o = &game->options;
  for (size_t p = 0; p < o->others; p++)
    add_rows(&game->hospitals[1], 1, o->opposed ? -1 : 1, 0);
  add_rows(&game->hospitals[1], o->rows, -1, 1);
  /* Whose gradient is nothing, but who would count as within the clip norm, and as right. */
  for (size_t h = 0; h < GAME_HOSPITALS && !has_extras(o); h += 2)
    add_rows(&game->hospitals[h], 1, 1, 0);
  for (size_t h = 0; h < GAME_HOSPITALS; h++)
    game->weights[h] = game->hospitals[h].patients ? (uint32_t)game->hospitals[h].patients : 1;
}

static double batch_of(const struct game_options *o) {
  return o->sampling_rate * (double)(o->others + 1);
}

static struct cns_table table_of(struct game_hospital *hospital, bool without_last, size_t last_rows) {
  return (struct cns_table){.rows = hospital->rows - (without_last ? last_rows : 0),
                            .features = 1,
                            .classes = 2,
                            .patients = hospital->patients - without_last,
                            .x = hospital->x,
                            .label = hospital->label,
                            .patient = hospital->patient};
}

/* Along which the patient pulls; and a check that the game is the one that is described. */
static int find_direction(struct game *game, struct cns_problem *problem) {
  struct cns_table table = table_of(&game->hospitals[1], false, 0);
  bool in[GAME_ROWS_MAX] = {false};
  double sum[GAME_DIM], square = 0;
  in[table.patients - 1] = true;
  int r = cns_private_gradient(&game->plan, game->params, &table, in, GAME_CLIP, NULL, sum, NULL, problem);
  for (size_t k = 0; r == 0 && k < GAME_DIM; k++)
    square += sum[k] * sum[k];
  if (r == 0 && !(fabs(sqrt(square) - GAME_CLIP) < 1e-6))
    r = cns_problem_set(problem, CNS_ERR_RANGE, "the patient's gradient isn't as long as the clip norm");
  for (size_t k = 0; r == 0 && k < GAME_DIM; k++)
    game->direction[k] = sum[k] / sqrt(square);
  return r;
}

/* The patient's gradient is longer than the clip norm, so it takes a away; its loss is beyond
 * the largest one, and its answers are wrong. */
static void point_at_extras(struct game *game) {
  double gradient = ldexp(GAME_CLIP, game->mechanism.scale_log2);
  double a = (double)game->numbers.indicator, h = (double)game->numbers.metric;
  double *extra = game->direction + GAME_DIM;
  game->unit = sqrt(gradient * gradient + a * a + 2 * h * h);
  for (size_t k = 0; k < GAME_DIM; k++)
    game->direction[k] *= gradient / game->unit;
  if (a > 0) *extra++ = -a / game->unit;
  if (h > 0) extra[0] = h / game->unit;
  if (h > 0) extra[1] = -h / game->unit;
}

static int prepare_mechanism(struct game *game, struct cns_problem *problem) {
  const struct game_options *o = &game->options;
  int8_t scale;
  game->mechanism = (struct cns_mechanism){.unit = CNS_UNIT_PATIENT,
                                           .placement = CNS_NOISE_DISTRIBUTED,
                                           .noise_multiplier = o->noise_multiplier,
                                           .sampling_rate = o->sampling_rate,
                                           .clip = GAME_CLIP,
                                           .indicator_share = o->indicator_share,
                                           .metrics_share = o->metrics_share,
                                           .dim = game->numbers_sent,
                                           .colluders = COLLUDERS,
                                           .minimum_included = GAME_HOSPITALS,
                                           .count = GAME_HOSPITALS,
                                           .weights = game->weights};
  int r = cns_mechanism_choose_scale(&game->mechanism, &scale, problem);
  if (r) return r;
  game->mechanism.scale_log2 = scale;
  r = cns_mechanism_compute(&game->mechanism, &game->numbers, problem);
  for (size_t h = 0; h < GAME_HOSPITALS && r == 0; h++)
    r = cns_mechanism_radius(&game->mechanism, game->weights[h], &game->hospitals[h].radius);
  if (r) return r;
  point_at_extras(game);
  double factor = o->flaw == GAME_HALF_NOISE      ? 0.5
                  : o->flaw == GAME_NOISE_OF_MEAN ? 1 / batch_of(o)
                  : o->flaw == GAME_UNCOUNTED     ? sqrt((1 - o->indicator_share) * (1 - o->metrics_share))
                                                  : 1;
  r = cns_discrete_gaussian_new(factor * game->numbers.sigma_local, &game->noise, problem);
  if (r == 0) game->sigma = sqrt(GAME_HOSPITALS - COLLUDERS) * cns_discrete_gaussian_sigma(game->noise);
  return r;
}

/* ---- what the attacker knows ---- */

static double binomial(size_t n, size_t k, double p) {
  double ways = lgamma((double)n + 1) - lgamma((double)k + 1) - lgamma((double)(n - k) + 1);
  return exp(ways) * pow(p, (double)k) * pow(1 - p, (double)(n - k));
}

/* That of the others exactly `taken` are in, and the patient is or isn't. */
static double chance(const struct game_options *o, bool present, size_t taken, bool in) {
  double q = o->sampling_rate;
  if (in && !present) return 0;
  if (o->flaw == GAME_EVERYBODY) return taken == o->others && in == present;
  if (o->flaw == GAME_FIXED_BATCH) {
    if (taken + in != (size_t)llround(batch_of(o))) return 0;
    return !present ? 1 : in ? q : 1 - q;
  }
  return binomial(o->others, taken, q) * (!present ? 1 : in ? q : 1 - q);
}

static double moved(const struct game_options *o, size_t taken, bool in) {
  double sum =
      (o->opposed ? -(double)taken : 0) + (in ? o->flaw == GAME_ROWS_CLIPPED ? (double)o->rows : 1 : 0);
  return o->flaw == GAME_DIVIDED && taken + in > 0 ? sum * batch_of(o) / (double)(taken + in) : sum;
}

static void add_signal(struct game_signal *signal, double value, double probability) {
  if (!(probability > 0)) return;
  for (size_t k = 0; k < signal->count; k++)
    if (signal->value[k] == value) {
      signal->probability[k] += probability;
      return;
    }
  signal->value[signal->count] = value;
  signal->probability[signal->count++] = probability;
}

static void fill_signals(struct game *game) {
  const struct game_options *o = &game->options;
  for (int present = 0; present < 2; present++)
    for (size_t taken = 0; taken <= o->others; taken++)
      for (int in = 0; in < 2; in++)
        add_signal(&game->signals[present], moved(o, taken, in), chance(o, present, taken, in));
}

/* log of the likelihood of t, in standard deviations, over that of pure noise. */
static double log_likelihood(const struct game_signal *signal, double unit, double t) {
  double terms[2 * GAME_ROWS_MAX], most = -INFINITY, sum = 0;
  for (size_t k = 0; k < signal->count; k++) {
    double shift = signal->value[k] * unit;
    terms[k] = log(signal->probability[k]) + shift * t - shift * shift / 2;
    most = fmax(most, terms[k]);
  }
  for (size_t k = 0; k < signal->count; k++)
    sum += exp(terms[k] - most);
  return most + log(sum);
}

/* ---- a round ---- */

static int shuffle_in(struct cns_rng rng, size_t patients, size_t batch, bool *in) {
  int r = 0;
  for (size_t k = 0; k < patients; k++)
    in[k] = k < batch;
  for (size_t k = patients; k > 1 && r == 0; k--) {
    uint64_t at;
    r = cns_rng_uniform_u64(rng, k, &at);
    if (r) break;
    bool kept = in[k - 1];
    in[k - 1] = in[at];
    in[at] = kept;
  }
  return r;
}

static int draw_batch(const struct game *game, struct cns_rng rng, size_t patients, bool *in,
                      size_t *ret_count) {
  const struct game_options *o = &game->options;
  size_t batch = o->flaw == GAME_EVERYBODY ? patients : (size_t)llround(batch_of(o));
  if (o->flaw != GAME_FIXED_BATCH && o->flaw != GAME_EVERYBODY)
    return cns_private_sample(rng, o->sampling_rate, patients, in, ret_count);
  if (batch > patients) batch = patients;
  *ret_count = batch;
  return shuffle_in(rng, patients, batch, in);
}

/* Each row becomes a patient, who takes part if the patient does. */
static void tear_apart(struct game_hospital *hospital, struct cns_table *table, bool *in) {
  bool of_row[GAME_ROWS_MAX];
  for (size_t k = 0; k < table->rows; k++)
    of_row[k] = in[table->patient[k]];
  memcpy(in, of_row, table->rows * sizeof *in);
  table->patient = hospital->row;
  table->patients = table->rows;
}

static void put_extras(const struct game *game, const struct cns_private_stats *stats,
                       const struct cns_private_metrics *metrics, uint32_t *ret_x) {
  int64_t within = (int64_t)stats->sampled - 2 * (int64_t)stats->clipped;
  int64_t a = (int64_t)game->numbers.indicator;
  if (a > 0) *ret_x++ = (uint32_t)(uint64_t)(within * a);
  if (game->numbers.metric == 0) return;
  ret_x[0] = (uint32_t)(uint64_t)metrics->loss;
  ret_x[1] = (uint32_t)(uint64_t)metrics->right;
}

/* As a hospital does it, but for the flaw. */
static int upload(struct game *game, size_t h, bool present, uint32_t *ret_x, struct cns_problem *problem) {
  const struct game_options *o = &game->options;
  struct game_hospital *hospital = &game->hospitals[h];
  struct cns_table table = table_of(hospital, h == 1 && !present, o->rows);
  struct cns_rng rng = cns_rng_seeded(&game->generator);
  bool in[GAME_ROWS_MAX] = {false};
  struct cns_private_stats stats;
  struct cns_private_metrics metrics = {.loss_max = LOSS_MAX, .unit = game->numbers.metric};
  double sum[GAME_DIM];
  size_t count;
  int r = draw_batch(game, rng, table.patients, in, &count);
  if (r == 0 && o->flaw == GAME_ROWS_CLIPPED) tear_apart(hospital, &table, in);
  if (r == 0)
    r = cns_private_gradient_metrics(&game->plan, game->params, &table, in, GAME_CLIP, NULL, sum, &stats,
                                     &metrics, problem);
  for (size_t k = 0; r == 0 && o->flaw == GAME_DIVIDED && h == 1 && count > 0 && k < GAME_DIM; k++)
    sum[k] *= batch_of(o) / (double)count;
  if (r == 0)
    r = cns_grid_round(sum, GAME_DIM, hospital->radius, game->mechanism.scale_log2, rng, ret_x, problem);
  if (r == 0) put_extras(game, &stats, &metrics, ret_x + GAME_DIM);
  return r ? r : cns_discrete_gaussian_add(game->noise, rng, ret_x, game->numbers_sent);
}

/* Along u, in standard deviations: what is opened, less what the attacker put in. */
static int see(struct game *game, bool present, double *ret_t, struct cns_problem *problem) {
  uint32_t seen[GAME_NUMBERS_MAX] = {0}, own[GAME_NUMBERS_MAX] = {0}, x[GAME_NUMBERS_MAX] = {0};
  double along = 0;
  for (size_t h = 0; h < GAME_HOSPITALS; h++) {
    int r = upload(game, h, present, x, problem);
    if (r) return r;
    if (h == 0) memcpy(own, x, sizeof own);
    for (size_t k = 0; k < game->numbers_sent; k++)
      seen[k] += x[k];
  }
  for (size_t k = 0; k < game->numbers_sent; k++)
    along += (double)(int32_t)(seen[k] - own[k]) * game->direction[k];
  *ret_t = along / game->sigma;
  return 0;
}

int game_play(struct game *game, bool present, double *ret_log_ratio, struct cns_problem *problem) {
  double ratio = 0, unit = game->unit / game->sigma;
  for (uint32_t round = 0; round < game->options.rounds; round++) {
    double t;
    int r = see(game, present, &t, problem);
    if (r) return r;
    ratio += log_likelihood(&game->signals[1], unit, t) - log_likelihood(&game->signals[0], unit, t);
  }
  *ret_log_ratio = ratio;
  return 0;
}

static bool options_fit(const struct game_options *o) {
  double batch = batch_of(o);
  if (o->flaw == GAME_FIXED_BATCH && (o->others < 1 || batch != floor(batch) || batch > (double)o->others))
    return false;
  if (has_extras(o) && o->others > 0) return false;
  return o->flaw < GAME_FLAWS && o->rows > 0 && o->rows < GAME_ROWS_MAX &&
         o->others < GAME_ROWS_MAX - o->rows;
}

int game_init(struct game *game, const struct game_options *options, struct cns_problem *problem) {
  *game = (struct game){
      .options = *options,
      .numbers_sent =
          GAME_DIM + (options->indicator_share > 0 ? 1 : 0) + (options->metrics_share > 0 ? 2 : 0),
      .plan = {.class_count = 2, .feature_count = 1, .kind = CNS_MODEL_LOGISTIC, .dim = GAME_DIM},
      .params = {LOGIT, -LOGIT, LOGIT, -LOGIT}};
  if (!options_fit(options))
    return cns_problem_set(problem, CNS_ERR_ARGUMENT, "these patients don't make a game");
  cns_rng_seeded_init_label(&game->generator, options->seed, "game");
  fill_hospitals(game);
  fill_signals(game);
  int r = find_direction(game, problem);
  return r ? r : prepare_mechanism(game, problem);
}

void game_deinit(struct game *game) {
  game->noise = cns_discrete_gaussian_free(game->noise);
}
