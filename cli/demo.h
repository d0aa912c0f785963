/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The demo: a table dealt out to hospitals, a federation of real processes over
 * it, and what each hospital alone and the pooled data would have given.
 */
#pragma once

#include <cjson/cJSON.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "cli/kit.h"
#include "model/plan.h"
#include "model/table.h"

struct cns_demo_options {
  int64_t hospitals;
  int64_t rounds; /* 0: the study's */
  int64_t seed;
  const char *data; /* folder with study.json and one CSV file; NULL: the built-in ones */
  const char *keep; /* folder that stays; NULL: a temporary one */
  bool no_kill, no_audit, no_poison, json;
  bool adaptive_clip; /* with noise */
  bool metrics;       /* noised ones, with noise */
  double epsilon;     /* 0: no noise */
  double delta;
};

#define CNS_DEMO_HOSPITALS_MAX 50
#define CNS_DEMO_ROUNDS_MAX 1000
/* With a privacy budget: a patient takes part in a round with this probability, each
 * round is one step. */
#define CNS_DEMO_DELTA 1e-4
#define CNS_DEMO_ROUNDS_PRIVATE 30
#define CNS_DEMO_RATE 0.25
#define CNS_DEMO_CLIP 1.0
/* With --adaptive-clip: it starts there and follows the median. */
#define CNS_DEMO_ADAPTIVE_QUANTILE 0.5
#define CNS_DEMO_ADAPTIVE_RATE 0.2
#define CNS_DEMO_ADAPTIVE_SHARE 0.05
#define CNS_DEMO_ADAPTIVE_MIN 0.01
#define CNS_DEMO_ADAPTIVE_MAX 100.0
/* With --metrics. */
#define CNS_DEMO_METRICS_SHARE 0.05
#define CNS_DEMO_METRICS_LOSS_MAX 2.0
/* Over the noise multiplier, and 1 at the most: what the noise moves the model by in a
 * step is the same for every budget. */
#define CNS_DEMO_LEARNING_RATE 2.5
/* From this round on one hospital turns its update round and makes it so many times
 * as long as clipping allows. */
#define CNS_DEMO_POISON_FROM 5
#define CNS_DEMO_POISON_BOUNDS 4u

/* ---- demo_parts.c: who has which patients ---- */

struct cns_demo_hospital {
  char name[32];
  struct cns_table train; /* what its agent will train on: without its validation patients */
  size_t patients, rows;  /* of its whole table */
  size_t last_class_rows; /* the case mix */
  char *csv;
  size_t csv_len;
};

struct cns_demo_parts {
  struct cns_plan plan;
  char *study; /* JSON, with rounds and seed as asked for */
  size_t study_len;
  struct cns_table test;   /* held out: nobody trains on it */
  struct cns_table pooled; /* the train tables of all hospitals */
  struct cns_demo_hospital *hospitals;
  size_t hospital_count;
  size_t patients; /* of all, test set included */
};

CNS_MUST_CHECK int cns_demo_parts_make(const struct cns_demo_options *options,
                                       struct cns_demo_parts *ret_parts, struct cns_problem *problem);
void cns_demo_parts_deinit(struct cns_demo_parts *parts); /* also fine on a zeroed struct */

/* ---- demo_compare.c: the same model without a federation, on a thread ---- */

struct cns_demo_compare;

/* Each hospital alone and the pooled data, rounds * local_epochs epochs each; with a
 * privacy budget by DP-SGD with the same guarantee. parts and folder (of the study's
 * initial model) must outlive it. */
CNS_MUST_CHECK int cns_demo_compare_start(const struct cns_demo_parts *parts, const char *folder,
                                          struct cns_demo_compare **ret_compare, struct cns_problem *problem);
bool cns_demo_compare_is_done(const struct cns_demo_compare *compare);
/* Waits. ret_alone has hospital_count numbers: AUC on the test set. ret_local: where
 * each hospital adds its own noise; NAN without a budget. */
CNS_MUST_CHECK int cns_demo_compare_finish(struct cns_demo_compare *compare, double *ret_alone,
                                           double *ret_pooled, double *ret_local,
                                           struct cns_problem *problem);
/* Stops it. Takes NULL, returns NULL. */
struct cns_demo_compare *cns_demo_compare_free(struct cns_demo_compare *compare);

/* ---- demo_privacy.c: with a privacy budget ---- */

/* The study's JSON becomes DP-SGD with noise that suffices for the budget. */
CNS_MUST_CHECK int cns_demo_make_private(const struct cns_demo_options *options, cJSON *study,
                                         struct cns_problem *problem);
struct cns_privacy_choice cns_demo_privacy(const struct cns_demo_options *options);
/* What others than the federation reach with the same guarantee for each patient. AUCs
 * on the test set, NAN without one. */
struct cns_demo_private_aucs {
  double central; /* DP-SGD on the pooled data */
  double local;   /* each hospital adds the whole noise to its own update */
};
CNS_MUST_CHECK int cns_demo_compare_private(const struct cns_demo_parts *parts, const char *folder,
                                            const atomic_bool *cancel, struct cns_demo_private_aucs *ret_aucs,
                                            double *ret_alone, struct cns_problem *problem);
void cns_demo_report_budget(const struct cns_demo_options *options, const struct cns_demo_parts *parts);

/* ---- demo_child.c: processes ---- */

#define CNS_DEMO_LINE_MAX 16384
#define CNS_DEMO_TAIL_LINES 8
#define CNS_DEMO_TAIL_BYTES 400

struct cns_demo_child {
  char name[32];
  pid_t pid;   /* 0: not running */
  int output;  /* its stdout and stderr; -1 once it is at its end */
  int log;     /* file that gets a copy; -1 */
  bool killed; /* by us: its end is no surprise */
  int status;  /* of waitpid, when it has ended */
  char *line;  /* CNS_DEMO_LINE_MAX; the part of one that has come */
  size_t line_len;
  char (*tail)[CNS_DEMO_TAIL_BYTES]; /* the last lines, as sentences */
  size_t tail_count;
};

typedef int (*cns_demo_line)(void *context, struct cns_demo_child *child, const char *line);

CNS_MUST_CHECK int cns_demo_child_init(struct cns_demo_child *child, const char *name, const char *log_path,
                                       struct cns_problem *problem);
void cns_demo_child_deinit(struct cns_demo_child *child); /* also fine on a zeroed struct; it must not run */
/* This program again, with these arguments. It dies with us, however we die. */
CNS_MUST_CHECK int cns_demo_child_start(struct cns_demo_child *child, const char *const *arguments,
                                        struct cns_problem *problem);
/* What it has written by now, line by line; a result other than 0 is passed on. */
CNS_MUST_CHECK int cns_demo_child_read(struct cns_demo_child *child, cns_demo_line on_line, void *context);
/* Has it ended since it was last asked? Then status is set and pid 0. */
bool cns_demo_child_ended(struct cns_demo_child *child);
/* "exit code 3", "signal 9 (Killed)" */
void cns_demo_child_describe_end(const struct cns_demo_child *child, char *out, size_t room);
void cns_demo_child_tail(struct cns_demo_child *child, const char *sentence);
/* SIGTERM, and after a while SIGKILL; when it returns none runs. */
void cns_demo_children_stop(struct cns_demo_child *children, size_t count);

/* ---- demo_signal.c ---- */

/* From here on SIGINT, SIGTERM, SIGQUIT, SIGHUP and SIGCHLD only make the pipe readable. */
CNS_MUST_CHECK int cns_demo_signals_open(int *ret_pipe, struct cns_problem *problem);
/* The signal that asks the demo to end; 0: none has come. Empties the pipe up to it. */
int cns_demo_signals_next(int pipe);
/* Around fork: a child must not write to its parent's pipe. Async-signal-safe, as is the next. */
void cns_demo_signals_hold(bool hold);
void cns_demo_signals_default(void);

/* ---- demo_run.c: the federation ---- */

struct cns_demo_result {
  double *alone; /* AUCs, hospital_count of them; NAN: the test set has one class */
  double pooled, federated;
  double local;          /* each hospital with its own noise; NAN without a privacy budget */
  double epsilon_spent;  /* by the coordinator's last manifest */
  cJSON *rounds;         /* array of the coordinator's lines */
  const char *killed;    /* hospital; NULL: none */
  uint64_t killed_round; /* during it */
  uint64_t back_round;   /* included again; 0: not seen */
  const char *poisoned;  /* hospital; NULL: none */
  uint64_t poisoned_rounds, flagged_rounds, left_out_rounds; /* completed ones it was in; of these */
  uint64_t false_flags;                                      /* of other hospitals, one a round each */
  uint32_t sketch;      /* numbers of each update that an audit shows; 0: no audit */
  bool too_small;       /* the model, for an audit */
  double sketch_budget; /* of the demo's policy */
  double seconds;
  int signal; /* that ended the demo; with CNS_ERR_CANCELLED */
};

/* Makes the federation in the folder and runs it to its end. signals: of
 * cns_demo_signals_open. */
CNS_MUST_CHECK int cns_demo_run(const struct cns_demo_options *options, const struct cns_demo_parts *parts,
                                const char *folder, int signals, struct cns_demo_result *result,
                                struct cns_problem *problem);

/* ---- demo_poison.c ---- */

/* Who is poisoned and what is audited goes into the result. */
void cns_demo_plan_poison(const struct cns_demo_options *options, const struct cns_demo_parts *parts,
                          struct cns_demo_result *result);
struct cns_audit_choice cns_demo_audit(const struct cns_demo_result *result);
bool cns_demo_is_poisoned(const struct cns_demo_result *result, const char *name);
/* In the coordinator's line about a round. */
bool cns_demo_is_missing(const cJSON *round, const char *hospital);
void cns_demo_count_flags(struct cns_demo_result *result, const cJSON *round, uint64_t number);

/* ---- demo_report.c ---- */

void cns_demo_report_start(const struct cns_demo_parts *parts, const char *folder);
/* What is audited, and what that means; who will be poisoned. */
void cns_demo_report_audit(const struct cns_demo_parts *parts, const struct cns_demo_result *result);
/* One line of the coordinator about a round, as it would have written it without --json. */
void cns_demo_report_round(const cJSON *round);
void cns_demo_report_text(const struct cns_demo_parts *parts, const struct cns_demo_result *result);
cJSON *cns_demo_report_json(const struct cns_demo_options *options, const struct cns_demo_parts *parts,
                            const struct cns_demo_result *result);
