/* SPDX-License-Identifier: Apache-2.0 */
/* consilium simulate: rounds of a federation in one process. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/folder.h"
#include "cli/simulation_print.h"
#include "model/npy.h"

#define VERB "simulate"
#define MIB (1024.0 * 1024.0)

struct call {
  int64_t hospitals, dim, rounds, threshold, seed, sketch;
  double alpha, sketch_budget;
  const char *audit, *on_flag, *updates, *evidence;
  struct cns_option_list drops, attacks;
  bool json;
};

/* Phases that a hospital may be silent from: all in which it is asked. */
static bool find_phase(const char *text, size_t len, bool audit, enum cns_phase *ret_phase) {
  enum cns_phase phases[CNS_PHASE_COUNT];
  size_t count = cns_simulation_phases(audit, phases);
  for (size_t p = 0; p < count; p++) {
    if (phases[p] == CNS_PHASE_FORFEIT || strlen(cns_phase_name(phases[p])) != len ||
        strncmp(cns_phase_name(phases[p]), text, len) != 0)
      continue;
    *ret_phase = phases[p];
    return true;
  }
  return false;
}

/* "PHASE:COUNT"; 0 or an exit code. */
static int parse_drop(const char *text, bool audit, size_t drops[CNS_PHASE_COUNT]) {
  const char *colon = strchr(text, ':');
  enum cns_phase phase = CNS_PHASE_NONE;
  if (!colon)
    return cns_cli_usage_error(VERB, "--drop %.40s: write it as PHASE:COUNT, for example upload:3", text);
  if (!find_phase(text, (size_t)(colon - text), audit, &phase))
    return cns_cli_usage_error(
        VERB, "--drop %.40s: the phase must be keys, shares, ready, upload, agree or unmask%s", text,
        audit ? "; with an audit also audit or dispute" : "");
  size_t digits = strspn(colon + 1, "0123456789");
  errno = 0;
  unsigned long long count = strtoull(colon + 1, NULL, 10);
  if (digits == 0 || colon[1 + digits] != '\0' || errno || count > CNS_HOSPITALS_MAX)
    return cns_cli_usage_error(VERB, "--drop %.40s: the count must be a whole number from 0 to %d", text,
                               CNS_HOSPITALS_MAX);
  drops[phase] += (size_t)count;
  return 0;
}

static int parse_audit(const struct call *call, struct cns_simulation_options *options) {
  static const char *const flags[] = {
      [CNS_FLAG_REPORT] = "report", [CNS_FLAG_EXCLUDE] = "exclude", [CNS_FLAG_QUARANTINE] = "quarantine"};
  const char *level = call->audit ? call->audit : "none", *on_flag = call->on_flag ? call->on_flag : flags[0];
  size_t f = 0;
  if (strcmp(level, "norm") == 0 || strcmp(level, "distances") == 0)
    return cns_cli_usage_error(VERB,
                               "--audit %s: the name is reserved, but version " CNS_VERSION
                               " doesn't offer it yet; there are none and open",
                               level);
  options->audit = strcmp(level, "open") == 0;
  if (!options->audit && strcmp(level, "none") != 0)
    return cns_cli_usage_error(VERB, "--audit %.40s: the level must be none or open", level);
  while (f < sizeof flags / sizeof flags[0] && strcmp(flags[f], on_flag) != 0)
    f++;
  if (f == sizeof flags / sizeof flags[0])
    return cns_cli_usage_error(VERB, "--on-flag %.40s: it must be report, exclude or quarantine", on_flag);
  options->on_flag = (enum cns_on_flag)f;
  options->sketch = (uint32_t)call->sketch;
  options->sketch_budget = call->sketch_budget;
  return 0;
}

static int parse_attacks(const struct call *call, struct cns_simulation_options *options) {
  struct cns_problem problem = {0};
  if (call->attacks.count > CNS_SIMULATION_ATTACKS_MAX)
    return cns_cli_usage_error(VERB, "--attack may be given %d times", CNS_SIMULATION_ATTACKS_MAX);
  for (size_t a = 0; a < call->attacks.count; a++)
    if (cns_simulation_attack_parse(call->attacks.items[a], &options->attacks[a], &problem) < 0)
      return cns_cli_usage_error(VERB, "--attack %.40s: %s", call->attacks.items[a], problem.text);
  options->attack_count = call->attacks.count;
  return 0;
}

/* Reads the updates that are given; 0 or an exit code. */
static int read_updates(const struct call *call, struct cns_npy *npy,
                        struct cns_simulation_options *options) {
  struct cns_problem problem = {0};
  int r = cns_npy_read(call->updates, npy, &problem);
  if (r == CNS_ERR_NOT_FOUND || r == CNS_ERR_IO || r == CNS_ERR_PERMISSION) return cns_cli_fail(r, &problem);
  if (r < 0) return cns_cli_usage_error(VERB, "--updates %s", problem.text);
  if (npy->rows != options->hospitals)
    return cns_cli_usage_error(VERB,
                               "--updates %s: has %zu rows, one for each hospital; --hospitals says %zu",
                               call->updates, npy->rows, options->hospitals);
  if (options->dim != 0 && npy->columns != options->dim)
    return cns_cli_usage_error(VERB,
                               "--updates %s: has %zu columns, one for each parameter; --dim says %" PRIu64,
                               call->updates, npy->columns, options->dim);
  options->dim = npy->columns;
  options->source = CNS_SIMULATION_GIVEN;
  options->given = npy->values;
  return 0;
}

static uint64_t available_bytes(void) {
  uint64_t available = 0;
  unsigned long long kib = 0;
  char line[128];
  FILE *file = fopen("/proc/meminfo", "re");
  while (file && fgets(line, sizeof line, file))
    if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1) available = (uint64_t)kib << 10;
  if (file) fclose(file);
  if (available == 0) available = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
  struct rlimit limit;
  if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < available)
    available = limit.rlim_cur;
  return available;
}

static int check_memory(const struct cns_simulation_options *options) {
  double needed = (double)cns_simulation_memory_bytes(options) / MIB;
  double available = (double)available_bytes() / MIB;
  if (needed <= available) return 0;
  return cns_cli_usage_error(VERB,
                             "%zu hospitals with %" PRIu64
                             " parameters need about %.0f MiB of memory and this machine has %.0f MiB free: "
                             "choose fewer hospitals or parameters",
                             options->hospitals, options->dim, needed, available);
}

/* Refusals by a hospital are told as they are; all else that the options caused
 * is a wrong call. */
static int fail(int error, const struct cns_problem *problem) {
  return error == CNS_ERR_RANGE ? cns_cli_usage_error(VERB, "%s", problem->text)
                                : cns_cli_fail(error, problem);
}

/* Something that shouldn't be: a sum that is not exact, evidence that proves
 * nothing, an honest hospital that is named. */
static bool is_wrong(const struct cns_simulation_options *options,
                     const struct cns_simulation_result *result) {
  bool wrong = result->completed && !result->exact;
  if (options->audit && result->completed) wrong |= !result->sketches_exact;
  for (size_t b = 0; b < result->blame_count; b++)
    wrong |= !result->blames[b].verifies || !result->malicious[result->blames[b].hospital];
  return wrong;
}

static int run(const struct call *call, const struct cns_simulation_options *options) {
  struct cns_simulation *simulation = NULL;
  const struct cns_simulation_result *result = NULL;
  struct cns_problem problem = {0};
  int r = cns_simulation_new(options, &simulation, &problem);
  if (r < 0) return fail(r, &problem);
  bool wrong = false;
  cJSON *rounds = cJSON_CreateArray();
  for (int64_t round = 0; round < call->rounds && r == 0 && !(result && result->stopped); round++) {
    r = cns_simulation_round(simulation, &result, &problem);
    if (r < 0) break;
    wrong |= is_wrong(options, result);
    if (call->json)
      cJSON_AddItemToArray(rounds, cns_simulation_round_json(options, result));
    else
      cns_simulation_print_round(options, result);
    fflush(stdout);
  }
  int code = CNS_EXIT_OK;
  if (r == 0 && call->json)
    code = cns_simulation_print_json(options, simulation, result, rounds);
  else {
    cJSON_Delete(rounds);
    code = r < 0 ? cns_cli_fail(r, &problem) : cns_simulation_print_table(options, simulation, result);
  }
  cns_simulation_free(simulation);
  return code == CNS_EXIT_OK && wrong ? CNS_EXIT_FAILED : code;
}

static int check_and_run(const struct call *call, struct cns_simulation_options *options) {
  struct cns_problem problem = {0};
  if (cns_simulation_check(options, &problem) < 0) return cns_cli_usage_error(VERB, "%s", problem.text);
  struct cns_folder_claim claim = {0};
  int code = check_memory(options), r = 0;
  if (code) return code;
  if (options->evidence && (r = cns_claim_folder(options->evidence, &claim, &problem)) < 0)
    return cns_cli_fail(r, &problem);
  code = run(call, options);
  cns_claim_end(&claim,
                code != CNS_EXIT_OK && code != CNS_EXIT_FAILED); /* what is wrong is to be looked at */
  return code;
}

static int prepare(const struct call *call) {
  struct cns_npy npy = {0};
  struct cns_simulation_options options = {
      .hospitals = (size_t)call->hospitals,
      .dim = (uint64_t)call->dim,
      .seed = (uint64_t)call->seed,
      .threshold = (size_t)call->threshold,
      .alpha = call->alpha,
      .evidence = call->evidence,
  };
  int code = parse_audit(call, &options);
  for (size_t d = 0; d < call->drops.count && !code; d++)
    code = parse_drop(call->drops.items[d], options.audit, options.drops);
  if (!code) code = parse_attacks(call, &options);
  if (code) return code;
  if (options.audit || options.attack_count > 0) options.source = CNS_SIMULATION_TRAINED;
  if (call->updates) code = read_updates(call, &npy, &options);
  if (!code) code = check_and_run(call, &options);
  cns_npy_deinit(&npy);
  return code;
}

#define SYNOPSIS                                                                                             \
  "simulate --hospitals N --dim D [--rounds R] [--threshold T] [--drop PHASE:COUNT]... [--seed S] "          \
  "[--audit none|open] [--sketch K] [--sketch-budget SHARE] [--on-flag report|exclude|quarantine] "          \
  "[--attack NAME:COUNT[:param=value]]... [--alpha A] [--updates FILE.npy] [--evidence DIR] [--json]"

int cns_cli_simulate(int argc, char **argv) {
  struct call call = {.rounds = 1, .seed = 1, .sketch = 256, .alpha = 1};
  const struct cns_option table[] = {
      {"hospitals", "N", "hospitals in the cohort, 4 to 1000 (required)", CNS_OPTION_INT, &call.hospitals, 1,
       1e9},
      {"dim", "D", "parameters of the model, 1 to 268435456 (required without --updates)", CNS_OPTION_INT,
       &call.dim, 1, (double)CNS_DIM_MAX},
      {"rounds", "R", "rounds one after another, default 1", CNS_OPTION_INT, &call.rounds, 1,
       CNS_SIMULATION_ROUNDS_MAX},
      {"threshold", "T", "hospitals that must answer each phase; default by the policy", CNS_OPTION_INT,
       &call.threshold, 1, 1e9},
      {"drop", "PHASE:COUNT",
       "that many honest hospitals are silent from the phase on:\n"
       "                             keys, shares, ready, upload, audit, dispute, agree or unmask;\n"
       "                             may be repeated",
       CNS_OPTION_LIST, &call.drops, 0, 0},
      {"seed", "S", "of everything random, default 1", CNS_OPTION_INT, &call.seed, 0, 9007199254740991.0},
      {"audit", "LEVEL", "none or open, default none; open trains on the shipped data", CNS_OPTION_TEXT,
       &call.audit, 0, 0},
      {"sketch", "K", "numbers of a sketch: 128, 256, 512 or 1024, default 256", CNS_OPTION_INT, &call.sketch,
       1, 1e6},
      {"sketch-budget", "SHARE", "numbers that a hospital reveals at most, of D; default no limit",
       CNS_OPTION_NUMBER, &call.sketch_budget, 1e-9, 1e6},
      {"on-flag", "ACTION", "report, exclude or quarantine, default report", CNS_OPTION_TEXT, &call.on_flag,
       0, 0},
      {"attack", "NAME:COUNT[:param=value]", "that many hospitals attack; may be repeated, see the man page",
       CNS_OPTION_LIST, &call.attacks, 0, 0},
      {"alpha", "A", "how alike the hospitals' patients are (Dirichlet), default 1", CNS_OPTION_NUMBER,
       &call.alpha, 1e-3, 1e9},
      {"updates", "FILE.npy", "the honest updates, N x D, instead of trained ones", CNS_OPTION_TEXT,
       &call.updates, 0, 0},
      {"evidence", "DIR", "new folder for the roster and the evidence of each blame", CNS_OPTION_TEXT,
       &call.evidence, 0, 0},
      {"json", NULL, "the last round as JSON", CNS_OPTION_FLAG, &call.json, 0, 0},
      {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0},
  };
  const struct cns_usage usage = {
      .synopsis = SYNOPSIS,
      .summary =
          "Runs whole rounds in one process, with the same code that hospitals and the coordinator\n"
          "run, and compares the unmasked sum with the plain one. With an audit or attacks the updates\n"
          "are those of real training. Nothing is sent, and nothing but evidence written.",
      .options = table,
  };
  int operands = 0;
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  if (!call.hospitals) return cns_cli_usage_error(VERB, "--hospitals N is missing");
  if (!call.dim && !call.updates) return cns_cli_usage_error(VERB, "--dim D is missing");
  return prepare(&call);
}
