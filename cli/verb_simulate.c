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
#include "cli/simulation.h"

#define VERB "simulate"
#define MIB (1024.0 * 1024.0)

/* The phases of a round without an audit, in order. */
static const enum cns_phase phases[] = {CNS_PHASE_KEYS,   CNS_PHASE_SHARES, CNS_PHASE_READY,
                                        CNS_PHASE_UPLOAD, CNS_PHASE_AGREE,  CNS_PHASE_UNMASK};
#define PHASES (sizeof phases / sizeof phases[0])

struct call {
  int64_t hospitals, dim, rounds, threshold, seed;
  struct cns_option_list drops;
  bool json;
};

/* "PHASE:COUNT"; 0 or an exit code. */
static int parse_drop(const char *text, size_t drops[CNS_PHASE_COUNT]) {
  const char *colon = strchr(text, ':');
  size_t p = 0, len = colon ? (size_t)(colon - text) : 0;
  if (!colon)
    return cns_cli_usage_error(VERB, "--drop %.40s: write it as PHASE:COUNT, for example upload:3", text);
  while (p < PHASES &&
         (strlen(cns_phase_name(phases[p])) != len || strncmp(cns_phase_name(phases[p]), text, len) != 0))
    p++;
  if (p == PHASES)
    return cns_cli_usage_error(
        VERB, "--drop %.40s: the phase must be keys, shares, ready, upload, agree or unmask", text);
  size_t digits = strspn(colon + 1, "0123456789");
  errno = 0;
  unsigned long long count = strtoull(colon + 1, NULL, 10);
  if (digits == 0 || colon[1 + digits] != '\0' || errno || count > CNS_HOSPITALS_MAX)
    return cns_cli_usage_error(VERB, "--drop %.40s: the count must be a whole number from 0 to %d", text,
                               CNS_HOSPITALS_MAX);
  drops[phases[p]] += (size_t)count;
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

static double peak_rss_mib(void) {
  struct rusage usage;
  if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
  return (double)usage.ru_maxrss / 1024.0;
}

/* Indices of all whose first missing phase is this one. */
static cJSON *missing_in(const struct cns_simulation_result *result, size_t hospitals, enum cns_phase phase) {
  cJSON *list = cJSON_CreateArray();
  for (size_t k = 0; list && k < hospitals; k++)
    if (result->missing[k] == phase) cJSON_AddItemToArray(list, cJSON_CreateNumber((double)(k + 1)));
  return list;
}

static void add_lists(cJSON *json, const struct cns_simulation_result *result, size_t hospitals) {
  cJSON *included = cJSON_AddArrayToObject(json, "included");
  cJSON *missing = cJSON_AddObjectToObject(json, "missing");
  for (size_t k = 0; included && k < hospitals; k++)
    if (result->included[k]) cJSON_AddItemToArray(included, cJSON_CreateNumber((double)(k + 1)));
  for (size_t p = 0; missing && p < PHASES; p++) {
    cJSON *list = missing_in(result, hospitals, phases[p]);
    if (cJSON_GetArraySize(list) > 0)
      cJSON_AddItemToObject(missing, cns_phase_name(phases[p]), list);
    else
      cJSON_Delete(list);
  }
}

static int print_json(const struct cns_simulation_options *options,
                      const struct cns_simulation_result *result) {
  cJSON *json = cJSON_CreateObject();
  cJSON_AddNumberToObject(json, "hospitals", (double)options->hospitals);
  cJSON_AddNumberToObject(json, "dim", (double)options->dim);
  add_lists(json, result, options->hospitals);
  cJSON_AddBoolToObject(json, "exact", result->exact);
  cJSON_AddBoolToObject(json, "completed", result->completed);
  cJSON_AddStringToObject(json, "reason", result->reason);
  cJSON *phase_ms = cJSON_AddObjectToObject(json, "phase_ms");
  for (size_t p = 0; p < PHASES; p++)
    cJSON_AddNumberToObject(phase_ms, cns_phase_name(phases[p]), result->phase_ms[phases[p]]);
  cJSON_AddNumberToObject(phase_ms, "result", result->phase_ms[CNS_PHASE_RESULT]);
  cJSON_AddNumberToObject(json, "client_mask_ms_median", result->client_mask_ms_median);
  cJSON_AddNumberToObject(json, "server_unmask_ms", result->server_unmask_ms);
  cJSON_AddNumberToObject(json, "bytes_up_per_hospital", result->bytes_up_per_hospital);
  cJSON_AddNumberToObject(json, "bytes_down_per_hospital", result->bytes_down_per_hospital);
  cJSON_AddNumberToObject(json, "peak_rss_mib", peak_rss_mib());
  cJSON_AddNumberToObject(json, "round", (double)result->round);
  cJSON_AddNumberToObject(json, "attempt", result->attempt);
  cJSON_AddNumberToObject(json, "threshold", result->threshold);
  cJSON_AddNumberToObject(json, "colluders", result->colluders);
  cJSON_AddNumberToObject(json, "model_bytes", (double)result->model_bytes);
  cJSON_AddNumberToObject(json, "max_error", result->max_error);
  cJSON_AddNumberToObject(json, "seed", (double)options->seed);
  return cns_cli_print_json(json);
}

static void print_round_line(const struct cns_simulation_options *options,
                             const struct cns_simulation_result *result) {
  double total_ms = 0;
  for (size_t p = 0; p < CNS_PHASE_COUNT; p++)
    total_ms += result->phase_ms[p];
  printf("round %" PRIu64 " attempt %u: %zu of %zu included, %s, %.2f s\n", result->round, result->attempt,
         result->included_count, options->hospitals,
         !result->completed ? "no result"
         : result->exact    ? "exact"
                            : "NOT exact",
         total_ms / 1e3);
}

static void print_phases(const struct cns_simulation_options *options,
                         const struct cns_simulation_result *result) {
  printf("\n  %-8s %12s   missing\n", "phase", "ms");
  for (size_t p = 0; p < PHASES; p++) {
    size_t missing = 0;
    for (size_t k = 0; k < options->hospitals; k++)
      missing += result->missing[k] == phases[p];
    printf("  %-8s %12.1f   %zu\n", cns_phase_name(phases[p]), result->phase_ms[phases[p]], missing);
  }
  printf("  %-8s %12.1f\n\n", "result", result->phase_ms[CNS_PHASE_RESULT]);
}

static int print_table(const struct cns_simulation_options *options,
                       const struct cns_simulation_result *result) {
  print_phases(options, result);
  printf("  %-34s %u of %zu (%u colluders tolerated)\n", "threshold", result->threshold, options->hospitals,
         result->colluders);
  printf("  %-34s %.1f ms (median)\n", "masking one update", result->client_mask_ms_median);
  if (result->completed) {
    printf("  %-34s %.1f ms\n", "unmasking the sum", result->server_unmask_ms);
    printf("  %-34s %s\n", "sum equals the plain sum", result->exact ? "yes, all coordinates" : "NO");
    printf("  %-34s %.3g\n", "largest error of the mean", result->max_error);
  }
  printf("  %-34s %.3f MiB\n", "sent by a hospital", result->bytes_up_per_hospital / MIB);
  printf("  %-34s %.3f MiB, and %.3f MiB of model\n", "received by a hospital",
         result->bytes_down_per_hospital / MIB, (double)result->model_bytes / MIB);
  printf("  %-34s %.1f MiB, all hospitals and the coordinator\n", "peak memory", peak_rss_mib());
  if (!result->completed) printf("\n  %s\n", result->reason);
  return cns_cli_finish(CNS_EXIT_OK);
}

/* Refusals by a hospital are told as they are; all else that the options caused
 * is a wrong call. */
static int fail(int error, const struct cns_problem *problem) {
  return error == CNS_ERR_RANGE ? cns_cli_usage_error(VERB, "%s", problem->text)
                                : cns_cli_fail(error, problem);
}

static int run(const struct call *call, const struct cns_simulation_options *options) {
  struct cns_simulation *simulation = NULL;
  const struct cns_simulation_result *result = NULL;
  struct cns_problem problem = {0};
  int r = cns_simulation_new(options, &simulation, &problem);
  if (r < 0) return fail(r, &problem);
  bool inexact = false;
  for (int64_t round = 0; round < call->rounds && r == 0; round++) {
    r = cns_simulation_round(simulation, &result, &problem);
    if (r < 0) break;
    inexact |= result->completed && !result->exact;
    if (!call->json) print_round_line(options, result);
    fflush(stdout);
  }
  int code = r < 0        ? cns_cli_fail(r, &problem)
             : call->json ? print_json(options, result)
                          : print_table(options, result);
  cns_simulation_free(simulation);
  return code == CNS_EXIT_OK && inexact ? CNS_EXIT_FAILED : code;
}

int cns_cli_simulate(int argc, char **argv) {
  struct call call = {.rounds = 1, .seed = 1};
  const struct cns_option table[] = {
      {"hospitals", "N", "hospitals in the cohort, 4 to 1000 (required)", CNS_OPTION_INT, &call.hospitals, 1,
       1e9},
      {"dim", "D", "parameters of the model, 1 to 268435456 (required)", CNS_OPTION_INT, &call.dim, 1,
       (double)CNS_DIM_MAX},
      {"rounds", "R", "rounds one after another, default 1", CNS_OPTION_INT, &call.rounds, 1,
       CNS_SIMULATION_ROUNDS_MAX},
      {"threshold", "T", "hospitals that must answer each phase; default by the policy", CNS_OPTION_INT,
       &call.threshold, 1, 1e9},
      {"drop", "PHASE:COUNT",
       "that many hospitals are silent from the phase on:\n"
       "                             keys, shares, ready, upload, agree or unmask; may be repeated",
       CNS_OPTION_LIST, &call.drops, 0, 0},
      {"seed", "S", "of everything random, default 1", CNS_OPTION_INT, &call.seed, 0, 9007199254740991.0},
      {"json", NULL, "the last round as JSON", CNS_OPTION_FLAG, &call.json, 0, 0},
      {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0},
  };
  const struct cns_usage usage = {
      .synopsis = "simulate --hospitals N --dim D [--rounds R] [--threshold T] [--drop PHASE:COUNT]... "
                  "[--seed S] [--json]",
      .summary = "Runs whole rounds in one process, with the same code that hospitals and the coordinator\n"
                 "run, and compares the unmasked sum with the plain one. Nothing is sent or written.",
      .options = table,
  };
  int operands = 0;
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  if (!call.hospitals) return cns_cli_usage_error(VERB, "--hospitals N is missing");
  if (!call.dim) return cns_cli_usage_error(VERB, "--dim D is missing");
  struct cns_simulation_options options = {
      .hospitals = (size_t)call.hospitals,
      .dim = (uint64_t)call.dim,
      .seed = (uint64_t)call.seed,
      .threshold = (size_t)call.threshold,
  };
  struct cns_problem problem = {0};
  for (size_t d = 0; d < call.drops.count; d++) {
    int code = parse_drop(call.drops.items[d], options.drops);
    if (code) return code;
  }
  if (cns_simulation_check(&options, &problem) < 0) return cns_cli_usage_error(VERB, "%s", problem.text);
  int code = check_memory(&options);
  return code ? code : run(&call, &options);
}
