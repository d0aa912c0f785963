/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/preflight.h"

int cns_cli_preflight(int argc, char **argv) {
  struct cns_preflight_options options = {0};
  bool json = false;
  int64_t patience = 15;
  int operands = 0;
  const struct cns_option table[] = {
      {"address", "URL", "check this address instead of the kit's", CNS_OPTION_TEXT, &options.address, 0, 0},
      {"offline", NULL, "dial nothing, bind nothing", CNS_OPTION_FLAG, &options.offline, 0, 0},
      {"timeout", "SECONDS", "for each step over the network (15)", CNS_OPTION_INT, &patience, 1, 600},
      {"json", NULL, "print JSON", CNS_OPTION_FLAG, &json, 0, 0},
      {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "preflight KIT [--address URL] [--offline] [--timeout SECONDS] [--json]",
      "Looks, before a daemon is started on a kit, at all that it will need: files and their modes, clock,\n"
      "certificate, roster, policy, study, the hospital's table, consent and record, disk, memory, and the\n"
      "way to the coordinator (or the address that it listens on). Says PASSED, or each problem and its\n"
      "mend. It changes nothing, and may be run while the daemon runs.",
      table, 1, 1};
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  struct cns_preflight *preflight = calloc(1, sizeof *preflight);
  if (!preflight) return cns_cli_fail(CNS_ERR_MEMORY, NULL);
  options.folder = argv[1];
  options.now_seconds = (int64_t)time(NULL);
  options.patience_ms = (uint64_t)patience * 1000;
  cns_preflight_run(&options, preflight);
  int passed = preflight->problems == 0 ? CNS_EXIT_OK : CNS_EXIT_FAILED, code = CNS_EXIT_OK;
  if (json)
    code = cns_cli_print_json(cns_preflight_json(preflight));
  else
    cns_preflight_print(preflight, stdout);
  cns_preflight_deinit(preflight);
  free(preflight);
  return code != CNS_EXIT_OK ? code : cns_cli_finish(passed);
}
