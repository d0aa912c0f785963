/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static const char about[] = "Hospitals train a model together; nobody sees a single hospital's update.";

/* "help VERB..." is "VERB... --help". */
static int help(int argc, char **argv) {
  static char flag[] = "--help";
  char *arguments[8] = {argv[0]};
  int count = 1;
  for (int i = 2; i < argc && count < 6; i++)
    arguments[count++] = argv[i];
  arguments[count++] = flag;
  return cns_cli_dispatch("consilium", about, cns_verbs, count, arguments);
}

int main(int argc, char **argv) {
  if (cns_init() != 0) {
    fputs("consilium: libsodium can't be initialised\n", stderr);
    return CNS_EXIT_FAILED;
  }
  if (argc >= 2 && strcmp(argv[1], "--version") == 0) {
    printf("consilium %s\n", CNS_VERSION);
    return cns_cli_finish(CNS_EXIT_OK);
  }
  if (argc >= 2 && strcmp(argv[1], "help") == 0) return help(argc, argv);
  return cns_cli_dispatch("consilium", about, cns_verbs, argc, argv);
}
