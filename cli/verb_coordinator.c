/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "coordinator/server.h"

int cns_cli_coordinator(int argc, char **argv) {
  struct cns_server_options options = {0};
  const struct cns_option table[] = {
      {.name = "listen",
       .argument = "URL",
       .help = "listen here instead of at the kit's address",
       .kind = CNS_OPTION_TEXT,
       .value = &options.listen},
      {.name = "url-file",
       .argument = "FILE",
       .help = "write the URL that is really listened on (port 0) there",
       .kind = CNS_OPTION_TEXT,
       .value = &options.url_file},
      {.name = "until-finished",
       .help = "stop after the study's last round",
       .kind = CNS_OPTION_FLAG,
       .value = &options.until_finished},
      {.name = "json", .help = "one JSON object a line", .kind = CNS_OPTION_FLAG, .value = &options.json},
      {0},
  };
  const struct cns_usage usage = {
      .synopsis = "coordinator KIT [--until-finished] [--json] [--listen URL] [--url-file FILE]",
      .summary =
          "Runs the coordinator of a federation from its kit until it is interrupted. Rounds are printed to\n"
          "stdout, a line each; events to stderr. Killed and started again, it goes on where it was.",
      .options = table,
      .operands_min = 1,
      .operands_max = 1,
  };
  struct cns_problem problem = {0};
  int operands;
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r != 0) return cns_cli_parse_exit(r);
  int code = cns_cli_check_url("coordinator", "--listen", options.listen, true);
  if (code) return code;
  options.kit = argv[1];
  r = cns_server_run(&options, &problem);
  return cns_cli_finish(r < 0 ? cns_cli_fail(r, &problem) : CNS_EXIT_OK);
}
