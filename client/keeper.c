/* SPDX-License-Identifier: Apache-2.0 */
#include "client/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/keeper_internal.h"

#define ARGUMENTS 7 /* before the command's */
#define REPORT_FD 3
#define LOOK_MS 200 /* between two looks at the clock and at the disk */
#define NICE 5      /* the agent answers first */

bool cns_keeper_called(int argc, char **argv) {
  return argc > ARGUMENTS && strcmp(argv[0], CNS_KEEPER_NAME) == 0;
}

static uint64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

_Noreturn static void finish(struct cns_keeper *keeper, enum cns_keeper_end end, int value) {
  const struct cns_keeper_report *report = &keeper->report;
  char line[CNS_KEEPER_REPORT_BYTES];
  int len = snprintf(line, sizeof line, "%d %d %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", (int)end,
                     value, report->lines, report->bytes, report->dropped, report->leftovers);
  /* An agent that is gone reads nothing. */
  ssize_t written = write(REPORT_FD, line, (size_t)len);
  _exit(written == len ? 0 : 1);
}

int cns_keeper_report_read(const char *line, struct cns_keeper_report *ret_report) {
  struct cns_keeper_report report = {0};
  int end = 0;
  if (sscanf(line, "%d %d %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, &end, &report.value, &report.lines,
             &report.bytes, &report.dropped, &report.leftovers) != 6 ||
      end < CNS_KEEPER_EXITED || end > CNS_KEEPER_FAILED)
    return CNS_ERR_FORMAT;
  report.end = (enum cns_keeper_end)end;
  *ret_report = report;
  return 0;
}

/* ---- starting ---- */

/* In the child: only system calls, and none that returns. */
_Noreturn static void become(const struct cns_keeper *keeper, char **command, int errors,
                             const sigset_t *mask) {
  const struct rlimit no_core = {0, 0}, file = {keeper->file_bytes, keeper->file_bytes};
  int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  bool good = null >= 0 && setpgid(0, 0) == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 &&
              getppid() == keeper->self && setrlimit(RLIMIT_CORE, &no_core) == 0 &&
              setrlimit(RLIMIT_FSIZE, &file) == 0 && dup2(null, 0) == 0 && dup2(keeper->output_in, 1) == 1 &&
              dup2(keeper->output_in, 2) == 2 && close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) == 0;
  signal(SIGPIPE, SIG_DFL);
  (void)setpriority(PRIO_PROCESS, 0, NICE); /* already lower is fine */
  if (good && sigprocmask(SIG_SETMASK, mask, NULL) == 0) execvp(command[0], command);
  int number = errno;
  ssize_t written = write(errors, &number, sizeof number);
  _exit(written == sizeof number ? 127 : 126);
}

static void start(struct cns_keeper *keeper, char **command, const sigset_t *mask) {
  int pipes[2], errors[2], number = 0;
  if (pipe2(pipes, O_CLOEXEC) != 0 || pipe2(errors, O_CLOEXEC) != 0) finish(keeper, CNS_KEEPER_FAILED, errno);
  keeper->output = pipes[0];
  keeper->output_in = pipes[1];
  keeper->child = fork();
  if (keeper->child < 0) finish(keeper, CNS_KEEPER_FAILED, errno);
  if (keeper->child == 0) become(keeper, command, errors[1], mask);
  (void)setpgid(keeper->child, keeper->child); /* whoever is first */
  close(pipes[1]);
  close(errors[1]);
  ssize_t got = read(errors[0], &number, sizeof number);
  close(errors[0]);
  if (got == sizeof number) {
    (void)waitpid(keeper->child, NULL, 0);
    finish(keeper, CNS_KEEPER_NOT_STARTED, number);
  }
  (void)fcntl(keeper->output, F_SETFL, O_NONBLOCK);
}

/* ---- while it runs ---- */

static bool disk_is_full(const struct cns_keeper *keeper) {
  struct statvfs disk;
  if (keeper->free_bytes == 0 || statvfs(keeper->folder, &disk) != 0) return false;
  return (uint64_t)disk.f_bavail * disk.f_frsize < keeper->free_bytes;
}

static void kill_all(const struct cns_keeper *keeper, int signum) {
  (void)kill(-keeper->child, signum); /* gone already is fine */
}

static void give_up(struct cns_keeper *keeper, enum cns_keeper_end end) {
  if (keeper->stopped) return;
  keeper->stopped = true;
  keeper->report.end = end;
  kill_all(keeper, SIGKILL);
}

/* Not later, whatever else is under way. */
static void abandon(struct cns_keeper *keeper) {
  keeper->abandoned = true;
  give_up(keeper, CNS_KEEPER_ABANDONED);
  kill_all(keeper, SIGKILL);
}

static void look_at_limits(struct cns_keeper *keeper) {
  uint64_t now = now_ms();
  if (disk_is_full(keeper)) give_up(keeper, CNS_KEEPER_DISK);
  if (!keeper->stopped && now >= keeper->deadline) {
    keeper->stopped = true;
    keeper->report.end = CNS_KEEPER_TIME_LIMIT;
    keeper->deadline = now + keeper->grace_ms;
    keeper->grace = true;
    kill_all(keeper, SIGTERM);
  } else if (keeper->grace && now >= keeper->deadline) {
    keeper->grace = false;
    keeper->report.value = 1;
    kill_all(keeper, SIGKILL);
  }
}

/* Orphans are ours, so others than the command may end too. The command's id is its group's, and
 * stays so until it is waited for: nobody else's group can be hit. */
static void reap(struct cns_keeper *keeper) {
  struct signalfd_siginfo ignored;
  while (read(keeper->signals, &ignored, sizeof ignored) > 0)
    continue;
  while (!keeper->ended) {
    siginfo_t who = {0};
    if (waitid(P_ALL, 0, &who, WEXITED | WNOHANG | WNOWAIT) != 0 || who.si_pid == 0) return;
    keeper->ended = who.si_pid == keeper->child;
    if (keeper->ended) kill_all(keeper, SIGKILL);
    (void)waitpid(who.si_pid, keeper->ended ? &keeper->status : NULL, 0);
  }
}

static void watch(struct cns_keeper *keeper) {
  while (!keeper->ended) {
    struct pollfd fds[3] = {{.fd = keeper->signals, .events = POLLIN},
                            {.fd = keeper->abandoned ? -1 : 0, .events = POLLIN},
                            {.fd = keeper->output, .events = POLLIN}};
    int ready = poll(fds, 3, LOOK_MS);
    if (ready < 0 && errno != EINTR) finish(keeper, CNS_KEEPER_FAILED, errno);
    if (ready > 0 && fds[2].revents) cns_keeper_drain(keeper);
    if (ready > 0 && fds[1].revents) abandon(keeper);
    if (ready > 0 && fds[0].revents) reap(keeper);
    if (!keeper->ended) look_at_limits(keeper);
  }
}

_Noreturn static void report(struct cns_keeper *keeper) {
  if (keeper->stopped) finish(keeper, keeper->report.end, keeper->report.value);
  if (WIFEXITED(keeper->status)) finish(keeper, CNS_KEEPER_EXITED, WEXITSTATUS(keeper->status));
  if (WTERMSIG(keeper->status) == SIGXFSZ) finish(keeper, CNS_KEEPER_FILE_TOO_LONG, 0);
  finish(keeper, CNS_KEEPER_SIGNALLED, WTERMSIG(keeper->status));
}

/* Not arguments: those can be read by everybody on the machine. */
static bool take_variables(void) {
  static const char prefix[] = CNS_KEEPER_VARIABLE;
  char *found = NULL;
  for (size_t k = 0; environ[k]; k++)
    if (strncmp(environ[k], prefix, sizeof prefix - 1) == 0) {
      char *name = strndup(environ[k], strcspn(environ[k], "="));
      found = strdup(environ[k] + sizeof prefix - 1); /* the environment's from now on */
      if (!name || !found || unsetenv(name) != 0 || putenv(found) != 0) return false;
      free(name);
      k = (size_t)-1; /* the list has changed: from its beginning */
    }
  return true;
}

static bool read_number(const char *text, uint64_t *ret_value) {
  char *end = NULL;
  errno = 0;
  *ret_value = strtoull(text, &end, 10);
  return errno == 0 && *text && !*end;
}

void cns_keeper_run(int argc, char **argv) {
  struct cns_keeper keeper = {.self = getpid(), .output = -1, .output_in = -1};
  sigset_t ours, before;
  uint64_t limit_ms = 0;
  if (argc <= ARGUMENTS || !read_number(argv[1], &limit_ms) || !read_number(argv[2], &keeper.grace_ms) ||
      !read_number(argv[3], &keeper.file_bytes) || !read_number(argv[4], &keeper.free_bytes) ||
      !read_number(argv[5], &keeper.output_max))
    finish(&keeper, CNS_KEEPER_FAILED, EINVAL);
  if (!take_variables()) finish(&keeper, CNS_KEEPER_FAILED, ENOMEM);
  keeper.folder = argv[6];
  keeper.deadline = now_ms() + limit_ms;
  (void)close_range(REPORT_FD + 1, ~0U, 0);
  sigemptyset(&ours);
  sigaddset(&ours, SIGCHLD);
  sigprocmask(SIG_BLOCK, &ours, &before);
  signal(SIGPIPE, SIG_IGN);
  keeper.signals = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
  if (keeper.signals < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0)
    finish(&keeper, CNS_KEEPER_FAILED, errno);
  start(&keeper, argv + ARGUMENTS, &before);
  watch(&keeper);
  cns_keeper_clear(&keeper);
  cns_keeper_drain(&keeper);
  report(&keeper);
}
