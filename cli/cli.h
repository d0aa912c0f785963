/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the verbs share: options with their help text, exit codes, errors.
 *
 * A verb is int cns_cli_<name>(int argc, char **argv) in cli/verb_<name>.c;
 * argv[0] is its name. Its return value is the exit code.
 */
#pragma once

#include <cjson/cJSON.h>
#include <stdio.h>

#include "crypto/base.h"

enum cns_exit {
  CNS_EXIT_OK = 0,
  CNS_EXIT_FAILED = 1,
  CNS_EXIT_USAGE = 2,
  CNS_EXIT_REFUSED = 3, /* by policy, floor or signature */
  CNS_EXIT_IO = 4,      /* missing, unreadable or unwritable file; network */
  CNS_EXIT_BUDGET = 5,  /* the privacy budget allows no further round */
  CNS_EXIT_STOPPED = 6, /* the study was stopped for good */
};

enum cns_option_kind {
  CNS_OPTION_FLAG,   /* bool *: set to true */
  CNS_OPTION_TEXT,   /* const char **: points into argv */
  CNS_OPTION_INT,    /* int64_t *: whole number from min to max */
  CNS_OPTION_NUMBER, /* double *: finite, from min to max */
  CNS_OPTION_LIST,   /* struct cns_option_list *: may be given several times */
};

#define CNS_OPTION_LIST_MAX 64

struct cns_option_list {
  const char *items[CNS_OPTION_LIST_MAX];
  size_t count;
};

struct cns_option {
  const char *name;     /* without "--" */
  const char *argument; /* "FILE" in the help text; NULL for a flag */
  const char *help;
  enum cns_option_kind kind;
  void *value;
  double min, max; /* CNS_OPTION_INT, CNS_OPTION_NUMBER */
};

struct cns_usage {
  const char *synopsis;             /* "init DIR --study FILE ...", without "consilium " */
  const char *summary;              /* a few sentences */
  const struct cns_option *options; /* ends with .name NULL */
  int operands_min, operands_max;   /* arguments without dashes */
};

/*
 * Parses "--name value", "--name=value", "--" and operands in any order.
 * Operands are moved to the front of argv: argv[1..*ret_operands]. --help is
 * always known. Returns 0 to go on; CNS_CLI_DONE if --help was printed (exit
 * 0); CNS_ERR_ARGUMENT if a sentence was printed (exit 2).
 */
#define CNS_CLI_DONE 1
CNS_MUST_CHECK int cns_cli_parse(const struct cns_usage *usage, int argc, char **argv, int *ret_operands);
/* The exit code of a result of cns_cli_parse other than 0. */
int cns_cli_parse_exit(int result);
void cns_cli_help(const struct cns_usage *usage, FILE *out);

/* Prints "consilium: <sentence>" (the error's name if there is no sentence) to
 * stderr and returns the exit code of the error. */
int cns_cli_fail(int error, const struct cns_problem *problem);
/* As cns_cli_fail, for a wrong way to call the verb: exit code 2. */
int cns_cli_usage_error(const char *verb, const char *fmt, ...) CNS_PRINTF(2, 3);
/* Prints the JSON indented to stdout, frees it, and returns the exit code: 0, or
 * CNS_EXIT_IO if stdout takes no more. NULL (out of memory) is CNS_EXIT_FAILED. */
int cns_cli_print_json(cJSON *json);
/* Where to say what was written to this file: stderr if the file is our own
 * standard output, which must hold nothing else; otherwise stdout. */
FILE *cns_cli_beside(const char *path);
/* Flushes stdout; call last. A full disk or closed pipe is CNS_EXIT_IO. */
int cns_cli_finish(int exit_code);

/* Is it an address that can be dialled, or listened on? 0, or the exit code of
 * a wrong call. url NULL: the option was not given. */
int cns_cli_check_url(const char *verb, const char *option, const char *url, bool listening);

/* Asks on the terminal and waits for "yes". CNS_ERR_CANCELLED for any other
 * answer; CNS_ERR_STATE without a terminal, where nobody can answer. */
CNS_MUST_CHECK int cns_cli_confirm(const char *question);

/* Tables of verbs end with .name NULL. */
struct cns_verb {
  const char *name;
  const char *summary;
  int (*run)(int argc, char **argv);
};
/* The program's own (cli/verbs.c). */
extern const struct cns_verb cns_verbs[];
/* Runs the verb that argv[1] names, or prints the list. `of`: "consilium" or
 * "consilium kit"; about: what they are for. */
int cns_cli_dispatch(const char *of, const char *about, const struct cns_verb *verbs, int argc, char **argv);

int cns_cli_bench(int argc, char **argv);
int cns_cli_budget(int argc, char **argv);
int cns_cli_consent(int argc, char **argv);
int cns_cli_hospital(int argc, char **argv);
int cns_cli_init(int argc, char **argv);
int cns_cli_kit(int argc, char **argv);
int cns_cli_coordinator(int argc, char **argv);
int cns_cli_policy(int argc, char **argv);
int cns_cli_quarantine(int argc, char **argv);
int cns_cli_roster(int argc, char **argv);
int cns_cli_robust(int argc, char **argv);
int cns_cli_simulate(int argc, char **argv);
int cns_cli_evidence(int argc, char **argv);
int cns_cli_dp(int argc, char **argv);
int cns_cli_demo(int argc, char **argv);
int cns_cli_model(int argc, char **argv);
int cns_cli_pause(int argc, char **argv);
int cns_cli_preflight(int argc, char **argv);
int cns_cli_resume(int argc, char **argv);
int cns_cli_stop(int argc, char **argv);
int cns_cli_status(int argc, char **argv);
