/* SPDX-License-Identifier: Apache-2.0 */
/* consilium robust attack: poisoned rows for honest ones in a file. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/robust_call.h"
#include "robust/attack.h"

#define VERB "robust attack"

struct job {
  struct cns_robust_call call;
  const char *name, *own, *target_path, *in, *out;
  int64_t seed;
  bool only, json;
  double strength, jitter; /* of --param, the first by the attack's own name for it */
  struct cns_attack attack;
  const struct cns_attack_about *about;
  struct cns_robust_prepared prepared;
  struct cns_npy_matrix honest, target;
  struct cns_npy_matrix all;     /* honest rows, then the attackers' */
  struct cns_npy_matrix written; /* with --only; else nothing */
  struct cns_attack_outcome outcome;
};

/* ---- what is asked for ---- */

static int find_attack(struct job *job) {
  struct cns_problem problem = {0};
  if (!job->name)
    return cns_cli_usage_error(VERB, "--attack NAME is missing; consilium robust list shows them");
  if (cns_attack_find(job->name, &job->attack.kind, &problem) < 0)
    return cns_cli_usage_error(VERB, "--attack %.40s: %s", job->name, problem.text);
  job->about = cns_attack_about(job->attack.kind);
  if (job->call.byzantine < 1)
    return cns_cli_usage_error(VERB, "--byzantine F is missing: how many rows attack");
  job->attack.count = (size_t)job->call.byzantine;
  return 0;
}

static int check_needs(const struct job *job) {
  enum cns_attack_need need = job->about->need;
  bool rule = need == CNS_ATTACK_NEEDS_RULE;
  if (job->own && need != CNS_ATTACK_NEEDS_OWN && need != CNS_ATTACK_NEEDS_FLIPPED)
    return cns_cli_usage_error(VERB, "--own: attack %s has no use for the attackers' own updates",
                               job->about->name);
  if (need == CNS_ATTACK_NEEDS_FLIPPED && !job->own)
    return cns_cli_usage_error(VERB,
                               "attack %s sends updates that were trained on flipped labels, which can't be "
                               "made from honest ones: give the attackers' F rows with --own FILE.npy",
                               job->about->name);
  if (need == CNS_ATTACK_NEEDS_TARGET && !job->target_path)
    return cns_cli_usage_error(
        VERB, "attack %s needs --param target=FILE.npy: the update that the poisoned model needs",
        job->about->name);
  if (rule && !job->call.rule)
    return cns_cli_usage_error(VERB, "attack %s needs --rule NAME: the rule that it is to harm most",
                               job->about->name);
  if (!rule && (job->call.rule || job->call.pre.count > 0 || job->call.variant))
    return cns_cli_usage_error(
        VERB, "--rule, --pre and --variant: attack %s works against no rule in particular", job->about->name);
  return 0;
}

/* Whether a parameter that was given is one of this attack, or of its rule. */
static int check_params(const struct job *job, const struct cns_robust_param *params) {
  bool rule = job->about->need == CNS_ATTACK_NEEDS_RULE, of_chain = true;
  for (; params->name; params++) {
    bool jitter = strcmp(params->name, "jitter") == 0, target = strcmp(params->name, "target") == 0;
    bool own = strcmp(params->name, job->about->parameter) == 0 || (jitter && *job->about->parameter) ||
               (target && job->about->need == CNS_ATTACK_NEEDS_TARGET);
    if (params->given && !own && !(of_chain && rule)) {
      if (!*job->about->parameter)
        return cns_cli_usage_error(VERB, "--param %s: attack %s has no parameters", params->name,
                                   job->about->name);
      return cns_cli_usage_error(VERB, "--param %s: not a parameter of %s, which has %s%s and jitter",
                                 params->name, job->about->name, job->about->parameter,
                                 job->about->need == CNS_ATTACK_NEEDS_TARGET ? ", target" : "");
    }
    if (strcmp(params->name, "reference") == 0) of_chain = false;
  }
  return 0;
}

/* ---- the matrix ---- */

static void honest_mean(const struct cns_npy_matrix *honest, double *ret_mean) {
  for (size_t k = 0; k < honest->columns; k++) {
    double sum = 0;
    for (size_t i = 0; i < honest->rows; i++)
      sum += honest->element_bytes == 4 ? (double)((const float *)honest->values)[i * honest->columns + k]
                                        : ((const double *)honest->values)[i * honest->columns + k];
    ret_mean[k] = sum / (double)honest->rows;
  }
}

/* The honest mean in each of the attackers' rows. */
static int put_mean(struct job *job) {
  size_t d = job->honest.columns, h = job->honest.rows;
  double *mean = malloc(d * sizeof *mean);
  if (!mean) return cns_cli_fail(CNS_ERR_MEMORY, NULL);
  honest_mean(&job->honest, mean);
  for (size_t i = h; i < job->all.rows; i++)
    for (size_t k = 0; k < d; k++)
      if (job->all.element_bytes == 4)
        ((float *)job->all.values)[i * d + k] = (float)mean[k];
      else
        ((double *)job->all.values)[i * d + k] = mean[k];
  free(mean);
  return 0;
}

static int put_own(struct job *job) {
  struct cns_problem problem = {0};
  struct cns_npy_matrix own = {0};
  size_t row_bytes = job->all.columns * job->all.element_bytes;
  if (!job->own) return job->about->need == CNS_ATTACK_NEEDS_OWN ? put_mean(job) : 0;
  int code = cns_robust_call_matrix(VERB, job->own, &own), r;
  if (!code && (own.rows != job->attack.count || own.columns != job->all.columns))
    code = cns_cli_usage_error(VERB, "--own %s: is %zu x %zu; %zu x %zu is needed, a row for each attacker",
                               job->own, own.rows, own.columns, job->attack.count, job->all.columns);
  if (!code && (r = cns_npy_matrix_convert(&own, job->all.element_bytes, &problem)) < 0)
    code = cns_robust_call_fail(VERB, r, &problem);
  if (!code)
    memcpy((uint8_t *)job->all.values + job->honest.rows * row_bytes, own.values, own.rows * row_bytes);
  cns_npy_matrix_deinit(&own);
  return code;
}

static int load(struct job *job) {
  struct cns_problem problem = {0};
  struct cns_robust_rows rows = {0};
  int code = cns_robust_call_matrix(VERB, job->in, &job->honest);
  if (code) return code;
  size_t h = job->honest.rows, d = job->honest.columns, n = h + job->attack.count;
  if (n > CNS_ROBUST_ROWS_MAX)
    return cns_cli_usage_error(VERB, "%zu honest rows and %zu attackers; there may be %d in all", h,
                               job->attack.count, CNS_ROBUST_ROWS_MAX);
  code = cns_robust_call_finite(VERB, job->in, NULL, &job->honest, NULL, &rows);
  cns_robust_rows_deinit(&rows);
  if (!code) code = cns_robust_call_files(VERB, &job->call, n, d, job->honest.element_bytes, &job->prepared);
  if (!code && job->target_path)
    code =
        cns_robust_call_vector(VERB, "target", job->target_path, d, job->honest.element_bytes, &job->target);
  if (code) return code;
  int r = cns_npy_matrix_new(job->honest.element_bytes, 2, n, d, &job->all, &problem);
  if (r < 0) return cns_robust_call_fail(VERB, r, &problem);
  memcpy(job->all.values, job->honest.values, h * d * job->honest.element_bytes);
  return put_own(job);
}

static int poison(struct job *job) {
  struct cns_problem problem = {0};
  struct cns_rng_seeded generator;
  size_t attackers[CNS_ROBUST_ROWS_MAX], h = job->honest.rows;
  bool rule = job->about->need == CNS_ATTACK_NEEDS_RULE;
  const struct cns_attack_extra extra = {.target = job->target.values,
                                         .chain = rule ? &job->prepared.chain : NULL};
  for (size_t a = 0; a < job->attack.count; a++)
    attackers[a] = h + a;
  cns_rng_seeded_init_label(&generator, (uint64_t)job->seed, "robust attack");
  int r = cns_attack_apply_matrix(&job->attack, &extra, (enum cns_robust_type)job->all.element_bytes,
                                  job->all.values, job->all.rows, job->all.columns, job->prepared.weights,
                                  attackers, cns_rng_seeded(&generator), &job->outcome, &problem);
  return r < 0 ? cns_robust_call_fail(VERB, r, &problem) : 0;
}

static int write_rows(struct job *job) {
  struct cns_problem problem = {0};
  const struct cns_npy_matrix *matrix = &job->all;
  size_t row_bytes = job->all.columns * job->all.element_bytes;
  int r = 0;
  if (job->only) {
    r = cns_npy_matrix_new(job->all.element_bytes, 2, job->attack.count, job->all.columns, &job->written,
                           &problem);
    if (r == 0)
      memcpy(job->written.values, (const uint8_t *)job->all.values + job->honest.rows * row_bytes,
             job->attack.count * row_bytes);
    matrix = &job->written;
  }
  if (r == 0) r = cns_npy_matrix_write(job->out, matrix, &problem);
  return r < 0 ? cns_cli_fail(r, &problem) : 0;
}

/* ---- what was done ---- */

/* What the outcome's strength is: "gamma" where the parameter only scales it. */
static const char *strength_name(const struct job *job) {
  switch (job->attack.kind) {
  case CNS_ATTACK_MIN_MAX:
  case CNS_ATTACK_MIN_SUM:
  case CNS_ATTACK_BACKDOOR:
    return "gamma";
  case CNS_ATTACK_ALIE_OPTIMISED:
    return "z";
  case CNS_ATTACK_IPM_OPTIMISED:
    return "epsilon";
  default:
    return job->about->parameter;
  }
}

static int print_json(const struct job *job) {
  cJSON *json = cJSON_CreateObject();
  cJSON_AddStringToObject(json, "file", job->out);
  cJSON_AddStringToObject(json, "attack", job->about->name);
  cJSON_AddNumberToObject(json, "honest", (double)job->honest.rows);
  cJSON_AddNumberToObject(json, "byzantine", (double)job->attack.count);
  cJSON_AddNumberToObject(json, "rows", (double)(job->only ? job->attack.count : job->all.rows));
  cJSON_AddNumberToObject(json, "columns", (double)job->all.columns);
  cJSON_AddStringToObject(json, "type", job->all.element_bytes == 4 ? "float32" : "float64");
  if (*strength_name(job)) cJSON_AddNumberToObject(json, strength_name(job), job->outcome.strength);
  if (!isnan(job->outcome.harm)) cJSON_AddNumberToObject(json, "harm", job->outcome.harm);
  return cns_cli_print_json(json);
}

static int print_text(const struct job *job) {
  char steps[256];
  FILE *say = cns_cli_beside(job->out);
  fprintf(say, "%s: ", job->out);
  if (!job->only) fprintf(say, "%zu honest rows and ", job->honest.rows);
  fprintf(say, "%zu of %s", job->attack.count, job->about->name);
  if (*strength_name(job)) fprintf(say, " (%s %.6g)", strength_name(job), job->outcome.strength);
  fprintf(say, "\n");
  if (!isnan(job->outcome.harm)) {
    cns_robust_call_steps(&job->prepared.chain, steps);
    fprintf(say, "  %s: the result is %.6g away from the honest mean\n", steps, job->outcome.harm);
  }
  if (job->about->need == CNS_ATTACK_NEEDS_OWN && !job->own)
    fprintf(say, "  the honest mean stands for the attackers' own updates\n");
  return cns_cli_finish(CNS_EXIT_OK);
}

/* ---- the call ---- */

static void take_strength(struct job *job, const struct cns_robust_param *params) {
  for (; params->name; params++)
    if (params->given && strcmp(params->name, job->about->parameter) == 0) job->attack.has_strength = true;
  job->attack.strength = job->strength;
  job->attack.jitter = job->jitter;
}

static int prepare(struct job *job, const struct cns_robust_param *params) {
  int code = find_attack(job);
  if (!code) code = check_needs(job);
  if (!code) code = check_params(job, params);
  if (code) return code;
  take_strength(job, params);
  if (job->attack.kind == CNS_ATTACK_MIMIC && job->strength != floor(job->strength))
    return cns_cli_usage_error(VERB, "--param victim=%g: victim must be a whole number", job->strength);
  if (job->about->need == CNS_ATTACK_NEEDS_RULE && job->attack.has_strength && !(job->strength > 0))
    return cns_cli_usage_error(VERB, "--param limit=%g: limit must be above 0", job->strength);
  return job->call.rule ? cns_robust_call_names(VERB, &job->call, params, false, &job->prepared) : 0;
}

static int run(struct job *job, const struct cns_robust_param *params) {
  int code = prepare(job, params);
  if (!code) code = load(job);
  if (!code) code = poison(job);
  if (!code) code = write_rows(job);
  if (!code) code = job->json ? print_json(job) : print_text(job);
  cns_robust_prepared_deinit(&job->prepared);
  cns_npy_matrix_deinit(&job->honest);
  cns_npy_matrix_deinit(&job->target);
  cns_npy_matrix_deinit(&job->all);
  cns_npy_matrix_deinit(&job->written);
  return code;
}

#define STRENGTH(name)                                                                                       \
  { name, CNS_ROBUST_PARAM_NUMBER, &job.strength, 0, CNS_ATTACK_STRENGTH_MAX, false }

static int parse(int argc, char **argv, struct job *job) {
  const struct cns_option table[] = {
      {"attack", "NAME", "what the attackers do (required)", CNS_OPTION_TEXT, &job->name, 0, 0},
      {"byzantine", "F", "attackers (required)", CNS_OPTION_INT, &job->call.byzantine, 1,
       CNS_ROBUST_ROWS_MAX},
      CNS_ROBUST_OPTION_PARAM(job->call),
      {"own", "OWN.npy", "the attackers' own updates, F rows, for attacks that change these", CNS_OPTION_TEXT,
       &job->own, 0, 0},
      {"rule", "NAME", "the rule that alie-optimised and ipm-optimised are to harm", CNS_OPTION_TEXT,
       &job->call.rule, 0, 0},
      CNS_ROBUST_OPTION_PRE(job->call),
      CNS_ROBUST_OPTION_VARIANT(job->call),
      {"weights", "W.npy", "one for each honest row and then for each attacker, above 0", CNS_OPTION_TEXT,
       &job->call.weights, 0, 0},
      {"seed", "S", "of noise, default 1", CNS_OPTION_INT, &job->seed, 0, 9007199254740991.0},
      {"only", NULL, "write the attackers' rows alone", CNS_OPTION_FLAG, &job->only, 0, 0},
      {"json", NULL, "what was done, as JSON", CNS_OPTION_FLAG, &job->json, 0, 0},
      {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0},
  };
  const struct cns_usage usage = {
      .synopsis =
          "robust attack --attack NAME --byzantine F [--param NAME=VALUE]... [--own OWN.npy] "
          "[--rule NAME [--pre NAME]... [--variant V]] [--weights W.npy] [--seed S] [--only] [--json] "
          "HONEST.npy OUT.npy",
      .summary = "Writes the honest rows and, behind them, F rows that attackers send who know all of them.\n"
                 "consilium robust list shows the attacks and their parameters.",
      .options = table,
      .operands_min = 2,
      .operands_max = 2};
  int operands = 0;
  return cns_cli_parse(&usage, argc, argv, &operands);
}

int cns_cli_robust_attack(int argc, char **argv) {
  struct job job = {.seed = 1};
  struct cns_robust_param params[] = {CNS_ROBUST_PARAMS(job.call),
                                      STRENGTH("scale"),
                                      STRENGTH("epsilon"),
                                      STRENGTH("z"),
                                      STRENGTH("victim"),
                                      STRENGTH("limit"),
                                      {"jitter", CNS_ROBUST_PARAM_NUMBER, &job.jitter, 0, 10, false},
                                      {"target", CNS_ROBUST_PARAM_FILE, &job.target_path, 0, 0, false},
                                      {NULL, CNS_ROBUST_PARAM_INT, NULL, 0, 0, false}};
  int r = parse(argc, argv, &job);
  if (r) return cns_cli_parse_exit(r);
  int code = cns_robust_call_params(VERB, &job.call.param, params);
  if (code) return code;
  job.in = argv[1];
  job.out = argv[2];
  return run(&job, params);
}
