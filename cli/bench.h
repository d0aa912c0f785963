/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `consilium bench robust`: federations on one machine without cryptography, over a
 * grid of splits, rules, pre-aggregations, attacks, audits and seeds. What the
 * configuration's keys and the files' columns mean: docs/robustness-bench.md.
 *
 * config -> cells (the grid) -> one run of a cell (bench_world) -> results.jsonl,
 * a line a cell -> tables and pictures, which are made from the results alone.
 */
#pragma once

#include <cjson/cJSON.h>
#include <stdio.h>

#include "crypto/base.h"
#include "crypto/hash.h"
#include "model/plan.h"
#include "model/statistics.h"
#include "model/table.h"
#include "robust/attack.h"
#include "robust/chain.h"
#include "robust/detect.h"

#define CNS_BENCH_CONFIG_BYTES_MAX (1u << 20)
#define CNS_BENCH_EXPERIMENTS_MAX 32
#define CNS_BENCH_LIST_MAX 64 /* entries of a list in the configuration */
#define CNS_BENCH_SEEDS_MAX 1000
#define CNS_BENCH_CELLS_MAX 1000000
#define CNS_BENCH_ROUNDS_MAX 100000
#define CNS_BENCH_LABEL_MAX 80 /* bytes of what a setting is called in tables */

enum cns_bench_data_kind { CNS_BENCH_SHIPPED = 0, CNS_BENCH_CSV, CNS_BENCH_NPY, CNS_BENCH_NPZ };

/* Strings belong to the configuration's JSON; NULL: not given. */
struct cns_bench_source {
  enum cns_bench_data_kind kind;
  const char *path;              /* of the table or the archive; NPY: of the features */
  const char *study;             /* CSV: the study file that says what the columns are */
  const char *label;             /* CSV without a study: the label's column */
  const cJSON *ignore;           /* CSV without a study: columns that are no features */
  const char *features, *labels; /* NPZ: names of arrays; NPY: labels is a path */
};

enum cns_bench_split_kind {
  CNS_BENCH_IID = 0,
  CNS_BENCH_DIRICHLET,
  CNS_BENCH_BY_SIZE,   /* sizes fall geometrically, largest to smallest by `value` */
  CNS_BENCH_ONE_SMALL, /* the last hospital has the share `value` of the patients, the others the rest */
  CNS_BENCH_BY_LABEL,  /* each hospital has patients of `value` classes */
};
struct cns_bench_split {
  char label[CNS_BENCH_LABEL_MAX];
  enum cns_bench_split_kind kind;
  double value;
};

struct cns_bench_rule {
  char label[CNS_BENCH_LABEL_MAX];
  enum cns_robust_rule rule;
  struct cns_robust_params
      params;    /* byzantine, weights, seed, pivot and reference are filled in by the run */
  bool weighted; /* by patients */
};

struct cns_bench_pre {
  char label[CNS_BENCH_LABEL_MAX];
  size_t count; /* 0: none */
  enum cns_robust_pre kind[CNS_ROBUST_CHAIN_MAX];
  struct cns_robust_params params; /* of all of them together */
};

struct cns_bench_attack {
  char label[CNS_BENCH_LABEL_MAX];
  bool none;
  struct cns_attack attack; /* count is filled in */
};

struct cns_bench_audit {
  char label[CNS_BENCH_LABEL_MAX];
  bool open;
  uint32_t sketch;
  double rate;
  enum cns_detect_action on_flag; /* REPORT or EXCLUDE */
};

enum cns_bench_method {
  CNS_BENCH_MOMENTUM = 0, /* each hospital sends its momentum of mini-batch gradients */
  CNS_BENCH_LOCAL,        /* epochs of local training, and the difference */
};
struct cns_bench_training {
  enum cns_bench_method method;
  double learning_rate, momentum, clip; /* clip 0: none */
  uint32_t batch, epochs;
};

enum cns_bench_attackers { CNS_BENCH_RANDOM = 0, CNS_BENCH_SMALLEST, CNS_BENCH_LARGEST };

struct cns_bench_experiment {
  const char *name;
  size_t hospitals;
  double test_share, root_share;
  enum cns_plan_kind model;
  enum cns_plan_activation activation;
  size_t hidden[CNS_PLAN_HIDDEN_MAX], hidden_count;
  struct cns_bench_training training;
  uint32_t rounds, evaluate_every;
  enum cns_bench_attackers attackers;
  bool influence; /* measure what the attackers move */
  struct cns_bench_split splits[CNS_BENCH_LIST_MAX];
  struct cns_bench_rule rules[CNS_BENCH_LIST_MAX];
  struct cns_bench_pre pres[CNS_BENCH_LIST_MAX];
  struct cns_bench_attack attacks[CNS_BENCH_LIST_MAX];
  struct cns_bench_audit audits[CNS_BENCH_LIST_MAX];
  size_t byzantine[CNS_BENCH_LIST_MAX];
  uint64_t seeds[CNS_BENCH_SEEDS_MAX];
  size_t split_count, rule_count, pre_count, attack_count, audit_count, byzantine_count, seed_count;
};

struct cns_bench_config {
  cJSON *json; /* owns all strings */
  const char *name;
  struct cns_bench_source data;
  struct cns_bench_experiment *experiments;
  size_t experiment_count;
  const cJSON *comparisons; /* NULL: none; checked */
};

/* text: JSON of the configuration; where for sentences. CNS_ERR_FORMAT, CNS_ERR_RANGE,
 * CNS_ERR_LIMIT, CNS_ERR_ARGUMENT with a sentence that names the path
 * ("experiments[1].rules[0].tau"). deinit it. */
CNS_MUST_CHECK int cns_bench_config_parse(const char *text, size_t len, const char *where,
                                          struct cns_bench_config *ret_config, struct cns_problem *problem);
void cns_bench_config_deinit(struct cns_bench_config *config); /* fine on a zeroed struct */

/* ---- reading JSON with defaults (cli/bench_json.c) ---- */

/* Refuses fields that aren't in names (ends with NULL), and names the nearest one. */
CNS_MUST_CHECK int cns_bench_only(const cJSON *object, const char *path, const char *const *names,
                                  struct cns_problem *problem);
/* The nearest of the names by edits, NULL if none is near. */
const char *cns_bench_nearest(const char *name, const char *const *names);
/* Missing: *value stays as it is. */
CNS_MUST_CHECK int cns_bench_number(const cJSON *object, const char *path, const char *name, double min,
                                    double max, double *value, struct cns_problem *problem);
CNS_MUST_CHECK int cns_bench_whole(const cJSON *object, const char *path, const char *name, uint64_t min,
                                   uint64_t max, uint64_t *value, struct cns_problem *problem);
CNS_MUST_CHECK int cns_bench_text(const cJSON *object, const char *path, const char *name, const char **value,
                                  struct cns_problem *problem);
CNS_MUST_CHECK int cns_bench_flag(const cJSON *object, const char *path, const char *name, bool *value,
                                  struct cns_problem *problem);
/* Index of text in names (ends with NULL), or CNS_ERR_FORMAT with the nearest one. */
CNS_MUST_CHECK int cns_bench_choose(const char *path, const char *name, const char *text,
                                    const char *const *names, size_t *ret_index, struct cns_problem *problem);

/* One entry of a list each (cli/bench_entries.c); path is the entry's own. */
CNS_MUST_CHECK int cns_bench_parse_split(const cJSON *json, const char *path, struct cns_bench_split *ret,
                                         struct cns_problem *problem);
CNS_MUST_CHECK int cns_bench_parse_rule(const cJSON *json, const char *path, struct cns_bench_rule *ret,
                                        struct cns_problem *problem);
CNS_MUST_CHECK int cns_bench_parse_pre(const cJSON *json, const char *path, struct cns_bench_pre *ret,
                                       struct cns_problem *problem);
CNS_MUST_CHECK int cns_bench_parse_attack(const cJSON *json, const char *path, struct cns_bench_attack *ret,
                                          struct cns_problem *problem);
CNS_MUST_CHECK int cns_bench_parse_audit(const cJSON *json, const char *path, struct cns_bench_audit *ret,
                                         struct cns_problem *problem);

/* ---- data ---- */

struct cns_bench_data {
  struct cns_table table; /* all rows, features in [-1, 1] */
  struct cns_digest digest;
};
CNS_MUST_CHECK int cns_bench_data_load(const struct cns_bench_source *source, struct cns_bench_data *ret_data,
                                       struct cns_problem *problem);
void cns_bench_data_deinit(struct cns_bench_data *data);

/* ret_part[row]: hospital from 0. Patients stay together. CNS_ERR_RANGE with a
 * sentence if a hospital would get none. */
CNS_MUST_CHECK int cns_bench_split_deal(const struct cns_bench_split *split, const struct cns_table *table,
                                        size_t hospitals, uint64_t seed, uint16_t *ret_part,
                                        struct cns_problem *problem);

/* ---- the grid ---- */

struct cns_bench_cell {
  uint16_t experiment, split, rule, pre, attack, byzantine, audit, seed; /* indices */
};
struct cns_bench_skipped {
  struct cns_bench_cell cell; /* seed 0: stands for all seeds */
  char why[sizeof(struct cns_problem)];
};
struct cns_bench_grid {
  struct cns_bench_cell *cells; /* in the order of the tables */
  size_t count;
  struct cns_bench_skipped *skipped; /* what can't be computed, a line for each setting */
  size_t skipped_count;
};
CNS_MUST_CHECK int cns_bench_grid_init(struct cns_bench_grid *grid, const struct cns_bench_config *config,
                                       struct cns_problem *problem);
void cns_bench_grid_deinit(struct cns_bench_grid *grid);
/* Rule and pre-aggregations of a cell for `byzantine` rows that may be anything. The run fills in
 * weights, seed, pivot and reference where they are taken (cns_bench_takes). CNS_ERR_ARGUMENT if
 * both have one parameter with different values. */
CNS_MUST_CHECK int cns_bench_chain(const struct cns_bench_experiment *experiment,
                                   const struct cns_bench_cell *cell, size_t byzantine,
                                   struct cns_robust_chain *ret_chain, struct cns_problem *problem);
/* Does a step of the chain take the parameter? */
bool cns_bench_takes(const struct cns_robust_chain *chain, const char *parameter);
/* The same of one rule or pre-aggregation. */
bool cns_bench_is_taken(const struct cns_robust_about *about, const char *parameter);
/* Adds b's parameters to a's; CNS_ERR_ARGUMENT if both have one, with different values. */
CNS_MUST_CHECK int cns_bench_merge(struct cns_robust_params *a, const struct cns_robust_params *b,
                                   const char *path, struct cns_problem *problem);
/* Are two cells of one setting but for the seed (and, with any_attack, the attack)? */
bool cns_bench_same_setting(const struct cns_bench_cell *a, const struct cns_bench_cell *b, bool any_attack);

/* ---- one run ---- */

struct cns_bench_result {
  size_t cell; /* index in the grid */
  size_t evaluations;
  double *accuracy, *auc, *loss; /* evaluations each, on the test set */
  uint64_t diverged;             /* round in which the model stopped being finite; 0: it didn't */
  uint64_t attacker_rounds, attackers_flagged, honest_rounds, honest_flagged; /* audit open */
  double share; /* of the patients that are with attackers */
  double moved; /* mean over rounds: what attackers move, over the mean honest norm; NAN unless measured */
  double mean_moved; /* what they would move a mean with the rule's weights */
  double seconds;    /* of the run; in results.jsonl only */
};
CNS_MUST_CHECK int cns_bench_world_run(const struct cns_bench_config *config,
                                       const struct cns_bench_cell *cell, const struct cns_table *table,
                                       struct cns_bench_result *ret_result, struct cns_problem *problem);
void cns_bench_result_deinit(struct cns_bench_result *result);
/* Round of evaluation e, from 0. */
uint32_t cns_bench_round_of(const struct cns_bench_experiment *experiment, size_t evaluation);
size_t cns_bench_evaluations(const struct cns_bench_experiment *experiment);
/* Mean over the evaluations of the last quarter of the rounds. */
double cns_bench_final(const double *values, size_t count);

/* ---- the folder ---- */

struct cns_bench_store;
/* Makes the folder or opens it. CNS_ERR_EXISTS: it holds something else or another
 * configuration; CNS_ERR_STATE: another bench runs in it. A torn last line is cut off
 * (ret_torn). results: `count` entries, filled with what is there; .accuracy NULL: not
 * yet. */
CNS_MUST_CHECK int cns_bench_store_open(const char *folder, const struct cns_bench_config *config,
                                        const struct cns_bench_grid *grid, const struct cns_digest *data,
                                        bool create, struct cns_bench_result *results,
                                        struct cns_bench_store **ret_store, bool *ret_torn,
                                        struct cns_problem *problem);
/* Appends a line and syncs it. */
CNS_MUST_CHECK int cns_bench_store_append(struct cns_bench_store *store,
                                          const struct cns_bench_result *result, struct cns_problem *problem);
struct cns_bench_store *cns_bench_store_free(struct cns_bench_store *store);

/* ---- the run of all cells ---- */

/* Runs what is missing in results on `jobs` threads. CNS_ERR_CANCELLED never;
 * the first error of a cell ends the run, with the cell in the sentence. */
CNS_MUST_CHECK int cns_bench_run(const struct cns_bench_config *config, const struct cns_bench_grid *grid,
                                 const struct cns_table *table, size_t jobs, struct cns_bench_store *store,
                                 struct cns_bench_result *results, struct cns_problem *problem);

/* ---- report ---- */

struct cns_bench_report {
  const struct cns_bench_config *config;
  const struct cns_bench_grid *grid;
  const struct cns_bench_result *results;
  const char *folder;
};
enum cns_bench_metric { CNS_BENCH_ACCURACY = 0, CNS_BENCH_AUC, CNS_BENCH_MOVED, CNS_BENCH_MEAN_MOVED };
/* The final value of a result; NAN if the cell isn't there yet. */
double cns_bench_metric_of(const struct cns_bench_result *result, enum cns_bench_metric metric);
/* Final values of one setting over the seeds, in the order of the seeds; of the worst
 * attack for each seed if any_attack (NAN where one is missing). first_cell: any cell of the
 * setting. ret_values: CNS_BENCH_SEEDS_MAX. */
void cns_bench_seeds(const struct cns_bench_report *report, size_t first_cell, bool any_attack,
                     enum cns_bench_metric metric, double *ret_values);
/* Mean and 95 % interval (Student's t) over the pairs a[k] - b[k] that are there; b NULL: of a.
 * ret_count (may be NULL): how many. NAN without any. */
struct cns_statistics_interval cns_bench_interval(const double *a, const double *b, size_t count,
                                                  size_t *ret_count);

/* One rule with its pre-aggregation in the worst case over the attacks. */
struct cns_bench_row {
  size_t cell; /* one of its cells */
  size_t seeds;
  struct cns_statistics_interval accuracy, auc; /* of each seed's worst attack */
  struct cns_statistics_interval behind;        /* accuracy minus the best row's, paired */
  size_t worst;                                 /* attack with the lowest mean accuracy */
};
/* Rows of the group of that cell (experiment, split, f, audit), the best first; malloc'd. */
CNS_MUST_CHECK int cns_bench_rows(const struct cns_bench_report *report, size_t cell,
                                  struct cns_bench_row **ret_rows, size_t *ret_count);
/* First cell of the next group, grid->count at the end; SIZE_MAX asks for the first. */
size_t cns_bench_next_group(const struct cns_bench_grid *grid, size_t cell);

struct cns_bench_comparison {
  const char *title;
  struct cns_statistics_interval difference;
  size_t seeds;
  double a, b;         /* the means */
  const char *verdict; /* "holds", "opposite", "not decided", "" without an expectation */
};
/* Index into config->comparisons. CNS_ERR_NOT_FOUND with a sentence if a side selects nothing. */
CNS_MUST_CHECK int cns_bench_compare(const struct cns_bench_report *report, size_t index,
                                     struct cns_bench_comparison *ret_comparison,
                                     struct cns_problem *problem);
CNS_MUST_CHECK int cns_bench_comparison_check(const struct cns_bench_config *config, const cJSON *comparison,
                                              const char *path, struct cns_problem *problem);

/* cells.csv, rounds.csv, summary.csv, worst.csv, comparisons.csv, skipped.csv. */
CNS_MUST_CHECK int cns_bench_write_csv(const struct cns_bench_report *report, struct cns_problem *problem);
/* report.json */
CNS_MUST_CHECK int cns_bench_write_json(const struct cns_bench_report *report, struct cns_problem *problem);
/* The pictures; CNS_ERR_NOT_FOUND: no gnuplot. png: instead of SVG. */
CNS_MUST_CHECK int cns_bench_draw(const struct cns_bench_report *report, bool png,
                                  struct cns_problem *problem);
void cns_bench_print(const struct cns_bench_report *report, FILE *out);
