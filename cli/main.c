/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "client/keeper.h"

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

/* Started with closed standard streams, the next files opened (a journal, a key, a socket) would
   get their numbers, and lines meant for people would be written into them. Standard input and
   output are stood in for by something that fails, so that lost output is still noticed. */
static int hold_standard_streams(void) {
  static const int modes[] = {O_WRONLY, O_RDONLY, O_RDWR};
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
    if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
    if (open("/dev/null", modes[fd]) != fd) return CNS_ERR_IO;
  }
  return 0;
}

int main(int argc, char **argv) {
  if (cns_keeper_called(argc, argv)) cns_keeper_run(argc, argv);
  if (hold_standard_streams() != 0) return CNS_EXIT_IO;
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
