/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "cli/demo.h"

static const int numbers[] = {SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGCHLD};
static int write_end = -1;

/* Handlers and a pipe, and no mask: OpenBLAS has started threads before main,
 * which any signal that only our threads block would reach. */
static void on_signal(int number) {
  int saved = errno;
  unsigned char byte = (unsigned char)number;
  if (write(write_end, &byte, 1) < 0) errno = 0; /* full: enough wakes the reader */
  errno = saved;
}

int cns_demo_signals_open(int *ret_pipe, struct cns_problem *problem) {
  struct sigaction old, action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
    return cns_problem_set(problem, CNS_ERR_LIBRARY, "signals can't be waited for");
  write_end = ends[1];
  sigfillset(&action.sa_mask);
  signal(SIGPIPE, SIG_IGN);
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
    bool ignored = sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler == SIG_IGN;
    if (numbers[i] == SIGHUP && ignored) continue; /* nohup */
    if (sigaction(numbers[i], &action, NULL) != 0)
      return cns_problem_set(problem, CNS_ERR_LIBRARY, "signals can't be waited for");
  }
  *ret_pipe = ends[0];
  return 0;
}

int cns_demo_signals_next(int pipe) {
  unsigned char byte = 0;
  while (read(pipe, &byte, 1) == 1)
    if (byte != SIGCHLD) return byte;
  return 0;
}

void cns_demo_signals_hold(bool hold) {
  sigset_t set;
  sigemptyset(&set);
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
    sigaddset(&set, numbers[i]);
  sigprocmask(hold ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

void cns_demo_signals_default(void) {
  signal(SIGPIPE, SIG_DFL);
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
    signal(numbers[i], SIG_DFL);
}
