/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/verb_budget.h"

static int show(int argc, char **argv) {
  struct cns_budget_view view = {0};
  struct cns_problem problem = {0};
  bool json = false;
  int operands = 0;
  const struct cns_option table[] = {{"json", NULL, "print JSON", CNS_OPTION_FLAG, &json, 0, 0},
                                     {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "budget KIT [--json]",
      "What the rounds so far have cost in privacy, towards whom, and what is left, by the ledger of\n"
      "a coordinator's or a hospital's kit; its daemon may be running.\n\n"
      "  consilium budget statement KIT   the same as a page for a dossier, with all parameters\n"
      "  consilium budget ledger KIT      the ledger's entries\n"
      "  consilium budget carry KIT       at the coordinator: what a hospital's lost ledger must hold\n"
      "  consilium budget take KIT FILE   at that hospital: takes it into the new ledger",
      table, 1, 1};
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  int code = CNS_EXIT_OK;
  r = cns_budget_view_open(argv[1], &view, &problem);
  if (r)
    code = cns_cli_fail(r, &problem);
  else if (json)
    code = cns_cli_print_json(cns_budget_json(&view));
  else {
    cns_budget_print(&view, stdout);
    code = cns_cli_finish(CNS_EXIT_OK);
  }
  cns_budget_view_deinit(&view);
  return code;
}

/* malloc'd. */
static int make_statement(const char *kit, bool html, char **ret_text, size_t *ret_len,
                          struct cns_problem *problem) {
  struct cns_budget_view view = {0};
  char *text = NULL;
  size_t len = 0;
  struct cns_page page = {open_memstream(&text, &len), html};
  int r = page.out ? cns_budget_view_open(kit, &view, problem) : CNS_ERR_MEMORY;
  if (!r && !cns_budget_view_counts(&view))
    r = cns_problem_set(problem, CNS_ERR_REFUSED,
                        "no noise is added under this policy and nothing is counted: there is nothing to "
                        "state but that there is no guarantee of differential privacy");
  if (!r) r = cns_statement_write(&view, (int64_t)time(NULL), &page, problem);
  cns_budget_view_deinit(&view);
  if (page.out && (ferror(page.out) || fclose(page.out) != 0) && !r) r = CNS_ERR_MEMORY;
  if (r) {
    free(text);
    return r;
  }
  *ret_text = text;
  *ret_len = len;
  return 0;
}

static int statement(int argc, char **argv) {
  struct cns_problem problem = {0};
  const char *out = NULL;
  char *text = NULL;
  size_t len = 0;
  bool html = false;
  int operands = 0;
  const struct cns_option table[] = {
      {"html", NULL, "one HTML file, to be printed, instead of Markdown", CNS_OPTION_FLAG, &html, 0, 0},
      {"out", "FILE", "where it goes (default: standard output)", CNS_OPTION_TEXT, &out, 0, 0},
      {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "budget statement KIT [--html] [--out FILE]",
      "A page for a dossier: whom the noise protects, from whom and under which assumptions, the\n"
      "mechanism with its parameters, what was spent and what the whole study will, what isn't\n"
      "covered. From policy, study and ledger of a coordinator's or a hospital's kit.",
      table, 1, 1};
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  r = make_statement(argv[1], html, &text, &len, &problem);
  if (!r && out) r = cns_file_write(out, text, len, 0644, &problem);
  if (!r && !out) fwrite(text, 1, len, stdout);
  free(text);
  return r ? cns_cli_fail(r, &problem) : cns_cli_finish(CNS_EXIT_OK);
}

/* The sub-verbs' names are none of kits: ./ledger is a kit. */
int cns_cli_budget(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "statement") == 0) return statement(argc - 1, argv + 1);
  if (argc > 1 && strcmp(argv[1], "ledger") == 0) return cns_cli_budget_ledger(argc - 1, argv + 1);
  if (argc > 1 && strcmp(argv[1], "carry") == 0) return cns_cli_budget_carry(argc - 1, argv + 1);
  if (argc > 1 && strcmp(argv[1], "take") == 0) return cns_cli_budget_take(argc - 1, argv + 1);
  return show(argc, argv);
}
