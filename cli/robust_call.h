/* SPDX-License-Identifier: Apache-2.0 */
/* What the verbs of `consilium robust` share: the options that name a rule, what
 * comes before it and their parameters; matrices; rows that are not finite. */
#pragma once

#include "cli/cli.h"
#include "model/npy_matrix.h"
#include "robust/chain.h"

/* ---- --param NAME=VALUE ---- */

enum cns_robust_param_kind {
  CNS_ROBUST_PARAM_NUMBER, /* double *: from min to max */
  CNS_ROBUST_PARAM_INT,    /* int64_t *: a whole number from min to max */
  CNS_ROBUST_PARAM_FILE,   /* const char **: points into argv */
};

/* A table of them ends with .name NULL. */
struct cns_robust_param {
  const char *name;
  enum cns_robust_param_kind kind;
  void *value;
  double min, max;
  bool given;
};

/* 0, or the exit code of a wrong call, for which a sentence was printed. */
int cns_robust_call_params(const char *verb, const struct cns_option_list *list,
                           struct cns_robust_param *table);

/* ---- a chain ---- */

struct cns_robust_call {
  const char *rule, *variant, *weights, *nonfinite;
  struct cns_option_list pre, param;
  int64_t byzantine;
  /* --param */
  double nu, tau, norm;
  int64_t iterations, pivot, size, seed;
  const char *reference;
};

#define CNS_ROBUST_PARAMS(call)                                                                              \
  {"nu", CNS_ROBUST_PARAM_NUMBER, &(call).nu, 1e-300, 1e300, false},                                         \
      {"iterations", CNS_ROBUST_PARAM_INT, &(call).iterations, 1, 1e6, false},                               \
      {"tau", CNS_ROBUST_PARAM_NUMBER, &(call).tau, 1e-300, 1e300, false},                                   \
      {"norm", CNS_ROBUST_PARAM_NUMBER, &(call).norm, 1e-300, 1e300, false},                                 \
      {"pivot", CNS_ROBUST_PARAM_INT, &(call).pivot, 0, CNS_ROBUST_ROWS_MAX - 1, false},                     \
      {"size", CNS_ROBUST_PARAM_INT, &(call).size, 1, CNS_ROBUST_ROWS_MAX, false},                           \
      {"seed", CNS_ROBUST_PARAM_INT, &(call).seed, 0, 9007199254740991.0, false}, {                          \
    "reference", CNS_ROBUST_PARAM_FILE, &(call).reference, 0, 0, false                                       \
  }

#define CNS_ROBUST_OPTION_PRE(call)                                                                          \
  {                                                                                                          \
    "pre", "NAME", "pre-aggregation before the rule; may be repeated, in this order", CNS_OPTION_LIST,       \
        &(call).pre, 0, 0                                                                                    \
  }
#define CNS_ROBUST_OPTION_VARIANT(call)                                                                      \
  { "variant", "V", "another form of the rule, see the list", CNS_OPTION_TEXT, &(call).variant, 0, 0 }
#define CNS_ROBUST_OPTION_PARAM(call)                                                                        \
  {                                                                                                          \
    "param", "NAME=VALUE", "a parameter of what is named; may be repeated", CNS_OPTION_LIST, &(call).param,  \
        0, 0                                                                                                 \
  }

/* A chain with what belongs to it; zeroed to begin with. */
struct cns_robust_prepared {
  struct cns_robust_chain chain;
  double *weights;                 /* n; NULL if there are none */
  struct cns_npy_matrix reference; /* values NULL if there is none */
};
void cns_robust_prepared_deinit(struct cns_robust_prepared *prepared);

/* Finds the names; params (a table) must be what some step takes. 0 or an exit
 * code. "none" is no rule, if that is allowed. */
int cns_robust_call_names(const char *verb, const struct cns_robust_call *call,
                          const struct cns_robust_param *params, bool rule_may_be_none,
                          struct cns_robust_prepared *prepared);
/* "nnm, krum" */
void cns_robust_call_steps(const struct cns_robust_chain *chain, char out[static 256]);
/* Reads weights (of n rows) and the reference (of d columns, turned into the type
 * of element_bytes). 0 or an exit code. */
int cns_robust_call_files(const char *verb, const struct cns_robust_call *call, size_t n, size_t d,
                          size_t element_bytes, struct cns_robust_prepared *prepared);

/* ---- matrices ---- */

/* A file of input that can't be used is a wrong call; one that can't be read, or
 * memory that doesn't suffice, is not. Returns an exit code. */
int cns_robust_call_fail(const char *verb, int error, const struct cns_problem *problem);
/* Two dimensions and at most CNS_ROBUST_ROWS_MAX rows, or an exit code. */
int cns_robust_call_matrix(const char *verb, const char *path, struct cns_npy_matrix *ret_matrix);
/* A vector of d numbers, all finite, in that type, or an exit code. what: "reference". */
int cns_robust_call_vector(const char *verb, const char *what, const char *path, size_t d,
                           size_t element_bytes, struct cns_npy_matrix *ret_vector);

/* Rows with an element that isn't finite: refused (nonfinite NULL), left out
 * ("drop") or made zero ("zero"). */
struct cns_robust_rows {
  size_t given; /* rows before */
  size_t *bad;  /* their numbers, from 0 */
  size_t bad_count;
  size_t *from; /* of each row that is left: its number before */
  bool dropped;
};
/* Changes the matrix, and the weights (NULL: none) along with it. 0 or an exit code. */
int cns_robust_call_finite(const char *verb, const char *path, const char *nonfinite,
                           struct cns_npy_matrix *matrix, double *weights, struct cns_robust_rows *ret_rows);
void cns_robust_rows_deinit(struct cns_robust_rows *rows);
/* "rows 3 and 7 (from 0)", cut off after some. */
void cns_robust_rows_text(const size_t *rows, size_t count, char out[static 160]);
/* An array of numbers. */
void cns_robust_add_rows(cJSON *json, const char *name, const size_t *rows, size_t count);

int cns_cli_robust_aggregate(int argc, char **argv);
int cns_cli_robust_attack(int argc, char **argv);
int cns_cli_robust_flag(int argc, char **argv);
int cns_cli_robust_list(int argc, char **argv);
