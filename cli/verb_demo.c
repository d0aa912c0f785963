/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "cli/cli.h"
#include "cli/demo.h"
#include "cli/folder.h"
#include "client/agent.h"
#include "coordinator/server.h"
#include "store/folder.h"

#define MIB (1024.0 * 1024.0)
/* A registry's ten models, the initial one and one being made; the upload. */
#define MODELS_KEPT 13
/* Keys, documents, logs, journal. */
#define PARTY_BYTES (1u << 20)

static int make_temporary(struct cns_folder_claim *ret_claim, struct cns_problem *problem) {
  const char *parent = getenv("TMPDIR");
  char *path = NULL;
  if (asprintf(&path, "%s/consilium-demo-XXXXXX", parent && *parent ? parent : "/tmp") < 0)
    return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  if (!mkdtemp(path)) {
    int r = cns_folder_fail(errno, path, "creating it", problem);
    free(path);
    return r;
  }
  *ret_claim = (struct cns_folder_claim){.path = path, .created = true};
  return 0;
}

static int report(const struct cns_demo_options *options, const struct cns_demo_parts *parts,
                  const struct cns_demo_result *result) {
  if (options->json) return cns_cli_print_json(cns_demo_report_json(options, parts, result));
  cns_demo_report_text(parts, result);
  if (options->keep) printf("\nThe federation's folder is kept: %s\n", options->keep);
  return cns_cli_finish(CNS_EXIT_OK);
}

/* What the coordinator would wait for without end: room for all uploads beside
 * its margin; and kits, tables, and the models that each process keeps. */
static int check_room(const struct cns_demo_parts *parts, const char *folder, struct cns_problem *problem) {
  struct statvfs status;
  uint64_t parties = parts->hospital_count + 1, model = sizeof(float) * (uint64_t)parts->plan.dim;
  uint64_t needed = CNS_SERVER_DISK_MARGIN_BYTES + parties * (MODELS_KEPT * model + PARTY_BYTES);
  for (size_t h = 0; h < parts->hospital_count; h++)
    needed += parts->hospitals[h].csv_len;
  if (statvfs(folder, &status) != 0) return cns_folder_fail(errno, folder, "looking for room", problem);
  uint64_t room = (uint64_t)status.f_bavail * status.f_frsize;
  if (room >= needed) return 0;
  return cns_problem_set(problem, CNS_ERR_DISK_FULL,
                         "%s: has %.0f MiB of room, and this demo needs about %.0f MiB, 32 of which the "
                         "coordinator keeps free; make room, or set TMPDIR or --keep to another disk",
                         folder, (double)room / MIB, (double)needed / MIB);
}

static int run_in(const struct cns_demo_options *options, const struct cns_demo_parts *parts, int signals,
                  struct cns_folder_claim *claim) {
  struct cns_problem problem = {0};
  struct cns_demo_result result = {.rounds = cJSON_CreateArray(),
                                   .alone = calloc(parts->hospital_count, sizeof *result.alone)};
  int r = result.rounds && result.alone ? 0 : cns_problem_set(&problem, CNS_ERR_MEMORY, "out of memory");
  if (!r && !options->json) cns_demo_report_start(parts, claim->path);
  if (!r) r = cns_demo_run(options, parts, claim->path, signals, &result, &problem);
  cns_claim_end(claim, options->keep == NULL);
  int code = r ? cns_cli_fail(r, &problem) : report(options, parts, &result);
  if (r == CNS_ERR_CANCELLED && result.signal) code = 128 + result.signal;
  cJSON_Delete(result.rounds);
  free(result.alone);
  return code;
}

static int run(const struct cns_demo_options *options) {
  struct cns_problem problem = {0};
  struct cns_demo_parts parts;
  struct cns_folder_claim claim;
  int signals = -1;
  int r = cns_demo_signals_open(&signals, &problem);
  if (!r) r = cns_demo_parts_make(options, &parts, &problem);
  if (r) return cns_cli_fail(r, &problem);
  r = options->keep ? cns_claim_folder(options->keep, &claim, &problem) : make_temporary(&claim, &problem);
  if (!r && (r = check_room(&parts, claim.path, &problem))) cns_claim_end(&claim, true);
  int code = r ? cns_cli_fail(r, &problem) : run_in(options, &parts, signals, &claim);
  cns_demo_parts_deinit(&parts);
  return code;
}

/* An agent like the others, but for one thing. */
static int run_poisoned(const char *kit) {
  struct cns_problem problem = {0};
  const struct cns_agent_options options = {.kit_folder = kit,
                                            .json = true,
                                            .until_finished = true,
                                            .poison_from = CNS_DEMO_POISON_FROM,
                                            .poison_bounds = CNS_DEMO_POISON_BOUNDS};
  int r = cns_agent_run(&options, &problem);
  return r ? cns_cli_fail(r, &problem) : cns_cli_finish(CNS_EXIT_OK);
}

int cns_cli_demo(int argc, char **argv) {
  struct cns_demo_options options = {.hospitals = 5, .seed = 1, .delta = CNS_DEMO_DELTA};
  int64_t rounds = 0;
  const char *poisoned = NULL;
  const struct cns_option table[] = {
      {"hospitals", "N", "how many hospitals (5)", CNS_OPTION_INT, &options.hospitals, 4,
       CNS_DEMO_HOSPITALS_MAX},
      {"rounds", "R", "instead of the study's", CNS_OPTION_INT, &rounds, 1, CNS_DEMO_ROUNDS_MAX},
      {"seed", "S", "who gets which patients, and all shuffles (1)", CNS_OPTION_INT, &options.seed, 1, 1e9},
      {"keep", "DIR", "a new folder for everything, which stays", CNS_OPTION_TEXT, &options.keep, 0, 0},
      {"data", "DIR", "study.json and one CSV file, not the built-in ones", CNS_OPTION_TEXT, &options.data, 0,
       0},
      {"no-kill", NULL, "let all hospitals live", CNS_OPTION_FLAG, &options.no_kill, 0, 0},
      {"no-audit", NULL, "show what the poisoned hospital does to a federation without audits",
       CNS_OPTION_FLAG, &options.no_audit, 0, 0},
      {"no-poison", NULL, "let all hospitals be honest", CNS_OPTION_FLAG, &options.no_poison, 0, 0},
      {"epsilon", "E", "with a privacy budget for each patient, and noise; no audit, no poison",
       CNS_OPTION_NUMBER, &options.epsilon, 0.01, 100},
      {"delta", "D", "with --epsilon (1e-4)", CNS_OPTION_NUMBER, &options.delta, 1e-30, 0.5},
      {"adaptive-clip", NULL, "with --epsilon: the clip norm follows the median of the gradients' norms",
       CNS_OPTION_FLAG, &options.adaptive_clip, 0, 0},
      {"metrics", NULL, "with --epsilon: loss and accuracy on the patients that train, with noise",
       CNS_OPTION_FLAG, &options.metrics, 0, 0},
      {"json", NULL, "print one JSON object at the end", CNS_OPTION_FLAG, &options.json, 0, 0},
      {"poisoned-hospital", "KIT", "the demo's own: be the poisoned hospital", CNS_OPTION_TEXT, &poisoned, 0,
       0},
      {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "demo [OPTION]...",
      "Runs a federation on this machine: a coordinator and hospitals as processes, over TLS, from\n"
      "fresh keys, on the Wisconsin breast-cancer data dealt out unevenly. One hospital is killed\n"
      "as a round begins and comes back; another one is poisoned from round 5 on, which the audit\n"
      "flags under the masks. At the end: test AUC of each hospital alone, of the federation and of\n"
      "the pooled data. Nothing stays behind, also after Ctrl-C.",
      table, 0, 0};
  int operands = 0;
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  options.rounds = rounds;
  if (options.adaptive_clip && options.epsilon == 0)
    return cns_cli_usage_error("demo", "--adaptive-clip is for --epsilon: without noise there is no count");
  if (options.metrics && options.epsilon == 0)
    return cns_cli_usage_error("demo", "--metrics is for --epsilon: without noise there are exact ones");
  /* Behind so much noise an audit of single updates finds nothing. */
  if (options.epsilon > 0) options.no_audit = options.no_poison = true;
  return poisoned ? run_poisoned(poisoned) : run(&options);
}
