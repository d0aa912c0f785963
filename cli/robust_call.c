/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/robust_call.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "robust/names.h"

#define PARAMS_MAX 32

/* ---- --param NAME=VALUE ---- */

static int unknown_param(const char *verb, const char *text, size_t len,
                         const struct cns_robust_param *table) {
  const char *names[PARAMS_MAX];
  char list[300] = "", name[CNS_NAMES_CHARS_MAX + 1];
  size_t count = 0;
  for (; table[count].name && count < PARAMS_MAX; count++) {
    names[count] = table[count].name;
    strncat(strncat(list, count > 0 ? ", " : "", 3), names[count], 20);
  }
  snprintf(name, sizeof name, "%.*s", (int)(len < CNS_NAMES_CHARS_MAX ? len : CNS_NAMES_CHARS_MAX), text);
  const char *nearest = cns_names_nearest(name, names, count);
  if (nearest)
    return cns_cli_usage_error(verb, "--param %s: there is no parameter '%s'; did you mean %s? There are %s",
                               name, name, nearest, list);
  return cns_cli_usage_error(verb, "--param %s: there is no parameter '%s'; there are %s", name, name, list);
}

static int set_param(const char *verb, struct cns_robust_param *param, const char *text) {
  char *end = NULL;
  if (param->kind == CNS_ROBUST_PARAM_FILE) {
    if (!*text) return cns_cli_usage_error(verb, "--param %s=: the name of a file is missing", param->name);
    *(const char **)param->value = text;
    return 0;
  }
  errno = 0;
  double value = strchr("+-.0123456789", *text) && *text ? strtod(text, &end) : NAN;
  bool whole = param->kind == CNS_ROBUST_PARAM_INT;
  if (!end || *end || !isfinite(value) || (whole && value != floor(value)))
    return cns_cli_usage_error(verb, "--param %s=%.40s: %s must be a %snumber", param->name, text,
                               param->name, whole ? "whole " : "");
  if (value < param->min || value > param->max)
    return cns_cli_usage_error(verb, "--param %s=%.40s: %s must be from %.17g to %.17g", param->name, text,
                               param->name, param->min, param->max);
  if (whole)
    *(int64_t *)param->value = (int64_t)value;
  else
    *(double *)param->value = value;
  return 0;
}

int cns_robust_call_params(const char *verb, const struct cns_option_list *list,
                           struct cns_robust_param *table) {
  for (size_t i = 0; i < list->count; i++) {
    const char *text = list->items[i], *equals = strchr(text, '=');
    size_t len = equals ? (size_t)(equals - text) : strlen(text), p = 0;
    while (table[p].name && (strlen(table[p].name) != len || memcmp(table[p].name, text, len) != 0))
      p++;
    if (!table[p].name) return unknown_param(verb, text, len, table);
    if (!equals)
      return cns_cli_usage_error(verb, "--param %s: write it as %s=VALUE", table[p].name, table[p].name);
    if (table[p].given) return cns_cli_usage_error(verb, "--param %s is given twice", table[p].name);
    table[p].given = true;
    int code = set_param(verb, &table[p], equals + 1);
    if (code) return code;
  }
  return 0;
}

/* ---- a chain ---- */

static const struct cns_robust_about *about_step(const struct cns_robust_chain *chain, size_t step) {
  return step < chain->pre_count ? cns_robust_about_pre(chain->pre[step])
                                 : cns_robust_about_rule(chain->rule);
}

static size_t step_count(const struct cns_robust_chain *chain) {
  return chain->pre_count + (chain->no_rule ? 0 : 1);
}

void cns_robust_call_steps(const struct cns_robust_chain *chain, char out[static 256]) {
  out[0] = '\0';
  for (size_t s = 0; s < step_count(chain); s++)
    strncat(strncat(out, s > 0 ? ", " : "", 3), about_step(chain, s)->name, 24);
}

static bool is_listed(const char *list, const char *name) {
  size_t len = strlen(name);
  for (; *list; list += strcspn(list, " "), list += strspn(list, " "))
    if (strcspn(list, " ") == len && memcmp(list, name, len) == 0) return true;
  return false;
}

/* Only those of a chain: what comes behind "reference" in a table is an attack's. */
static int check_params(const char *verb, const struct cns_robust_param *params,
                        const struct cns_robust_chain *chain) {
  char steps[256];
  for (; params->name; params++) {
    bool taken = !params->given;
    for (size_t s = 0; s < step_count(chain) && !taken; s++)
      taken = is_listed(about_step(chain, s)->params, params->name);
    cns_robust_call_steps(chain, steps);
    if (!taken)
      return cns_cli_usage_error(verb, "--param %s: not a parameter of %s; consilium robust list shows them",
                                 params->name, steps);
    if (strcmp(params->name, "reference") == 0) break;
  }
  return 0;
}

int cns_robust_call_names(const char *verb, const struct cns_robust_call *call,
                          const struct cns_robust_param *params, bool rule_may_be_none,
                          struct cns_robust_prepared *prepared) {
  struct cns_robust_chain *chain = &prepared->chain;
  struct cns_problem problem = {0};
  if (!call->rule)
    return cns_cli_usage_error(verb, "--rule NAME is missing; consilium robust list shows them");
  if (call->pre.count > CNS_ROBUST_CHAIN_MAX)
    return cns_cli_usage_error(verb, "--pre may be given %d times", CNS_ROBUST_CHAIN_MAX);
  for (size_t p = 0; p < call->pre.count; p++)
    if (cns_robust_find_pre(call->pre.items[p], &chain->pre[p], &problem) < 0)
      return cns_cli_usage_error(verb, "--pre %.40s: %s", call->pre.items[p], problem.text);
  chain->pre_count = call->pre.count;
  chain->no_rule = rule_may_be_none && strcmp(call->rule, "none") == 0;
  if (chain->no_rule && chain->pre_count == 0)
    return cns_cli_usage_error(verb,
                               "--rule none gives what --pre makes of the matrix: --pre NAME is missing");
  if (!chain->no_rule && cns_robust_find_rule(call->rule, &chain->rule, &problem) < 0)
    return cns_cli_usage_error(verb, "--rule %.40s: %s", call->rule, problem.text);
  chain->params = (struct cns_robust_params){.byzantine = (size_t)call->byzantine,
                                             .variant = call->variant,
                                             .nu = call->nu,
                                             .tau = call->tau,
                                             .norm = call->norm,
                                             .iterations = (size_t)call->iterations,
                                             .pivot = (size_t)call->pivot,
                                             .size = (size_t)call->size,
                                             .seed = (uint64_t)call->seed};
  return check_params(verb, params, chain);
}

static int read_weights(const char *verb, const char *path, size_t n, double **ret_weights) {
  struct cns_problem problem = {0};
  double *weights = NULL;
  size_t count = 0;
  int r = cns_npy_matrix_read_numbers(path, CNS_ROBUST_ROWS_MAX, &weights, &count, &problem);
  if (r < 0) return cns_robust_call_fail(verb, r, &problem);
  int code = 0;
  if (count != n)
    code = cns_cli_usage_error(verb, "--weights %s: holds %zu numbers; there are %zu rows", path, count, n);
  for (size_t i = 0; i < count && !code; i++)
    if (!(weights[i] > 0))
      code = cns_cli_usage_error(verb, "--weights %s: number %zu (from 0) is %g; weights are above 0", path,
                                 i, weights[i]);
  if (code)
    free(weights);
  else
    *ret_weights = weights;
  return code;
}

int cns_robust_call_files(const char *verb, const struct cns_robust_call *call, size_t n, size_t d,
                          size_t element_bytes, struct cns_robust_prepared *prepared) {
  int code = call->weights ? read_weights(verb, call->weights, n, &prepared->weights) : 0;
  if (!code && call->reference)
    code = cns_robust_call_vector(verb, "reference", call->reference, d, element_bytes, &prepared->reference);
  if (code) return code;
  prepared->chain.params.weights = prepared->weights;
  prepared->chain.params.reference = prepared->reference.values;
  return 0;
}

void cns_robust_prepared_deinit(struct cns_robust_prepared *prepared) {
  free(prepared->weights);
  cns_npy_matrix_deinit(&prepared->reference);
  *prepared = (struct cns_robust_prepared){0};
}

/* ---- matrices ---- */

int cns_robust_call_fail(const char *verb, int error, const struct cns_problem *problem) {
  switch (error) {
  case CNS_ERR_ARGUMENT:
  case CNS_ERR_FORMAT:
  case CNS_ERR_UNSUPPORTED:
  case CNS_ERR_RANGE:
  case CNS_ERR_LIMIT:
    if (problem->text[0]) return cns_cli_usage_error(verb, "%s", problem->text);
    break;
  default:
    break;
  }
  return cns_cli_fail(error, problem);
}

int cns_robust_call_matrix(const char *verb, const char *path, struct cns_npy_matrix *ret_matrix) {
  struct cns_problem problem = {0};
  struct cns_npy_matrix matrix;
  int r = cns_npy_matrix_read(path, &matrix, &problem), code = 0;
  if (r < 0) return cns_robust_call_fail(verb, r, &problem);
  if (matrix.dimensions != 2)
    code = cns_cli_usage_error(verb, "%s: has one dimension; two are needed, hospitals x parameters", path);
  else if (matrix.rows > CNS_ROBUST_ROWS_MAX)
    code = cns_cli_usage_error(verb, "%s: has %zu rows, one for each hospital; there may be %d", path,
                               matrix.rows, CNS_ROBUST_ROWS_MAX);
  if (code)
    cns_npy_matrix_deinit(&matrix);
  else
    *ret_matrix = matrix;
  return code;
}

static size_t finite_rows(const struct cns_npy_matrix *matrix, bool *ret_finite) {
  return cns_robust_finite_rows((enum cns_robust_type)matrix->element_bytes, matrix->values, matrix->rows,
                                matrix->columns, 0, ret_finite);
}

int cns_robust_call_vector(const char *verb, const char *what, const char *path, size_t d,
                           size_t element_bytes, struct cns_npy_matrix *ret_vector) {
  struct cns_problem problem = {0};
  struct cns_npy_matrix vector;
  bool finite = false;
  int r = cns_npy_matrix_read(path, &vector, &problem), code = 0;
  if (r < 0) return cns_robust_call_fail(verb, r, &problem);
  if (vector.rows != 1 || vector.columns != d)
    code =
        cns_cli_usage_error(verb, "%s: the %s is %zu x %zu; a vector of %zu is needed, as long as the rows",
                            path, what, vector.rows, vector.columns, d);
  if (!code && (r = cns_npy_matrix_convert(&vector, element_bytes, &problem)) < 0)
    code = cns_cli_fail(r, &problem);
  if (!code && finite_rows(&vector, &finite) != 1)
    code = cns_cli_usage_error(verb, "%s: the %s holds a number that is not finite", path, what);
  if (code)
    cns_npy_matrix_deinit(&vector);
  else
    *ret_vector = vector;
  return code;
}

/* ---- rows that are not finite ---- */

void cns_robust_rows_text(const size_t *rows, size_t count, char out[static 160]) {
  size_t len = (size_t)snprintf(out, 160, "row%s ", count == 1 ? "" : "s"), i = 0;
  for (; i < count && len < 120; i++)
    len += (size_t)snprintf(out + len, 160 - len, "%s%zu",
                            i == 0           ? ""
                            : i + 1 == count ? " and "
                                             : ", ",
                            rows[i]);
  snprintf(out + len, 160 - len, "%s (from 0)", i < count ? " and more" : "");
}

void cns_robust_add_rows(cJSON *json, const char *name, const size_t *rows, size_t count) {
  cJSON *list = cJSON_AddArrayToObject(json, name);
  for (size_t i = 0; list && i < count; i++)
    cJSON_AddItemToArray(list, cJSON_CreateNumber((double)rows[i]));
}

void cns_robust_rows_deinit(struct cns_robust_rows *rows) {
  free(rows->bad);
  free(rows->from);
  *rows = (struct cns_robust_rows){0};
}

static void drop_rows(struct cns_npy_matrix *matrix, double *weights, const bool *finite,
                      struct cns_robust_rows *rows) {
  size_t row_bytes = matrix->columns * matrix->element_bytes, kept = 0;
  uint8_t *values = matrix->values;
  for (size_t i = 0; i < matrix->rows; i++) {
    if (!finite[i]) continue;
    if (kept < i) memmove(values + kept * row_bytes, values + i * row_bytes, row_bytes);
    if (weights) weights[kept] = weights[i];
    rows->from[kept++] = i;
  }
  matrix->rows = kept;
}

static void zero_rows(struct cns_npy_matrix *matrix, const bool *finite, struct cns_robust_rows *rows) {
  size_t row_bytes = matrix->columns * matrix->element_bytes;
  for (size_t i = 0; i < matrix->rows; i++) {
    if (!finite[i]) memset((uint8_t *)matrix->values + i * row_bytes, 0, row_bytes);
    rows->from[i] = i;
  }
}

static int treat(const char *verb, const char *path, const char *nonfinite, struct cns_npy_matrix *matrix,
                 double *weights, const bool *finite, struct cns_robust_rows *rows) {
  char text[160];
  for (size_t i = 0; i < matrix->rows; i++)
    if (!finite[i]) rows->bad[rows->bad_count++] = i;
  cns_robust_rows_text(rows->bad, rows->bad_count, text);
  if (rows->bad_count > 0 && !nonfinite)
    return cns_cli_usage_error(verb, "%s: %s: NaN or infinite; --nonfinite drop leaves such rows out", path,
                               text);
  rows->dropped = nonfinite && strcmp(nonfinite, "drop") == 0;
  if (rows->dropped && rows->bad_count == matrix->rows)
    return cns_cli_usage_error(verb, "%s: every row is NaN or infinite: none is left", path);
  if (rows->dropped)
    drop_rows(matrix, weights, finite, rows);
  else
    zero_rows(matrix, finite, rows);
  return 0;
}

int cns_robust_call_finite(const char *verb, const char *path, const char *nonfinite,
                           struct cns_npy_matrix *matrix, double *weights, struct cns_robust_rows *ret_rows) {
  if (nonfinite && strcmp(nonfinite, "drop") != 0 && strcmp(nonfinite, "zero") != 0)
    return cns_cli_usage_error(verb, "--nonfinite %.40s: it must be drop or zero", nonfinite);
  bool *finite = calloc(matrix->rows, sizeof *finite);
  struct cns_robust_rows rows = {.given = matrix->rows,
                                 .bad = calloc(matrix->rows, sizeof *rows.bad),
                                 .from = calloc(matrix->rows, sizeof *rows.from)};
  int code = 0;
  if (!finite || !rows.bad || !rows.from)
    code = cns_cli_fail(CNS_ERR_MEMORY, NULL);
  else {
    finite_rows(matrix, finite);
    code = treat(verb, path, nonfinite, matrix, weights, finite, &rows);
  }
  free(finite);
  if (code)
    cns_robust_rows_deinit(&rows);
  else
    *ret_rows = rows;
  return code;
}
