/* SPDX-License-Identifier: Apache-2.0 */
/* consilium robust: robust aggregation and attacks on it, on files. */
#include "cli/robust_call.h"

int cns_cli_robust(int argc, char **argv) {
  static const struct cns_verb verbs[] = {
      {"aggregate", "aggregate the rows of a matrix by a robust rule", cns_cli_robust_aggregate},
      {"attack", "add poisoned rows to a matrix of honest ones", cns_cli_robust_attack},
      {"flag", "which rows stand out, in one round or over several", cns_cli_robust_flag},
      {"list", "rules, what may come before them, and attacks, with their sources", cns_cli_robust_list},
      {NULL, NULL, NULL}};
  return cns_cli_dispatch("consilium robust",
                          "Robust aggregation of updates that lie in .npy files, and attacks on it.", verbs,
                          argc, argv);
}
