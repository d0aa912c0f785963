/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "client/agent.h"
#include "client/way_out.h"

int cns_cli_hospital(int argc, char **argv) {
  struct cns_agent_options options = {0};
  struct cns_problem problem = {0};
  int operands = 0;
  const struct cns_option table[] = {
      {"until-finished", NULL, "leave once the model after the study's last round is here", CNS_OPTION_FLAG,
       &options.until_finished, 0, 0},
      {"address", "URL", "dial this instead of the kit's address", CNS_OPTION_TEXT, &options.address, 0, 0},
      {"proxy", "URL", "connect through this HTTP proxy; none: straight; environment: as HTTPS_PROXY says",
       CNS_OPTION_TEXT, &options.proxy, 0, 0},
      {"json", NULL, "write each line of the log as a JSON object", CNS_OPTION_FLAG, &options.json, 0, 0},
      {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "hospital KIT [OPTION]...",
      "Runs the hospital's agent: connects to the coordinator that the kit names, trains on the\n"
      "kit's table when a round is announced that policy, consent and the hospital's own floor\n"
      "allow, and sends the update masked. The log goes to stderr. It runs until it is\n"
      "interrupted; consent has to be given before (consilium consent).",
      table, 1, 1};
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  int code = cns_cli_check_url("hospital", "--address", options.address, false);
  if (code) return code;
  if (cns_way_out_check(options.proxy, &problem))
    return cns_cli_usage_error("hospital", "--proxy: %s", problem.text);
  options.kit_folder = argv[1];
  r = cns_agent_run(&options, &problem);
  return r ? cns_cli_fail(r, &problem) : cns_cli_finish(CNS_EXIT_OK);
}
