/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "cli/status.h"
#include "store/kit.h"

int cns_cli_status(int argc, char **argv) {
  bool json = false;
  int64_t last = 10;
  int operands = 0;
  const struct cns_option table[] = {
      {"last", "N", "coordinator: how many of the last rounds (10)", CNS_OPTION_INT, &last, 1, 1e6},
      {"json", NULL, "print JSON", CNS_OPTION_FLAG, &json, 0, 0},
      {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "status KIT [--last N] [--json]",
      "What a coordinator or a hospital has done so far, from its own records; its daemon may be\n"
      "running. Coordinator: rounds, who was missing and why, the present model. Hospital: consent,\n"
      "the last round it signed, the model it accepted, updates spent.",
      table, 1, 1};
  struct cns_problem problem = {0};
  struct cns_kit_config config = {0};
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  r = cns_kit_config_load(argv[1], &config, &problem);
  enum cns_kit_role role = config.role;
  cns_kit_config_deinit(&config);
  if (r) return cns_cli_fail(r, &problem);
  if (role == CNS_KIT_HOSPITAL) return cns_status_hospital(argv[1], json);
  return cns_status_coordinator(argv[1], (size_t)last, json);
}
