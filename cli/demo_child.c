/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/demo.h"
#include "store/folder.h"

#define ARGUMENTS_MAX 15
#define STOP_MS 2000

int cns_demo_child_init(struct cns_demo_child *child, const char *name, const char *log_path,
                        struct cns_problem *problem) {
  *child = (struct cns_demo_child){.output = -1, .log = -1};
  snprintf(child->name, sizeof child->name, "%s", name);
  child->line = malloc(CNS_DEMO_LINE_MAX);
  child->tail = calloc(CNS_DEMO_TAIL_LINES, sizeof *child->tail);
  if (!child->line || !child->tail) return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  child->log = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  return child->log < 0 ? cns_folder_fail(errno, log_path, "creating it", problem) : 0;
}

void cns_demo_child_deinit(struct cns_demo_child *child) {
  /* Descriptors of a zeroed struct would be standard input: told apart by the line. */
  if (child->line && child->output >= 0) close(child->output);
  if (child->line && child->log >= 0) close(child->log);
  free(child->line);
  free(child->tail);
  *child = (struct cns_demo_child){0};
}

/* Between fork and exec, in a process of several threads: system calls only.
 * A group of its own: what a terminal sends on Ctrl-C reaches the demo alone,
 * which stops its children in order. */
static void become(char *const *arguments, int output, pid_t parent) {
  int nothing = open("/dev/null", O_RDONLY);
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent || setpgid(0, 0) != 0) _exit(127);
  if (nothing < 0 || dup2(nothing, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0 ||
      dup2(output, STDERR_FILENO) < 0)
    _exit(127);
  cns_demo_signals_default();
  cns_demo_signals_hold(false);
  execv("/proc/self/exe", arguments);
  _exit(127);
}

int cns_demo_child_start(struct cns_demo_child *child, const char *const *arguments,
                         struct cns_problem *problem) {
  static char program[] = "consilium";
  char *argv[ARGUMENTS_MAX + 2] = {program};
  for (size_t i = 0; arguments[i]; i++) {
    if (i == ARGUMENTS_MAX) return CNS_ERR_ARGUMENT;
    argv[i + 1] = (char *)(uintptr_t)arguments[i]; /* execv takes them without const and changes none */
  }
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0)
    return cns_problem_set(problem, CNS_ERR_IO, "%s can't be started: %s", child->name, strerror(errno));
  if (child->output >= 0) close(child->output);
  child->output = -1;
  child->line_len = 0;
  pid_t parent = getpid();
  cns_demo_signals_hold(true);
  pid_t pid = fork();
  if (pid == 0) become(argv, ends[1], parent);
  cns_demo_signals_hold(false);
  close(ends[1]);
  if (pid < 0 || fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0) {
    int number = errno;
    close(ends[0]);
    if (pid > 0) (void)kill(pid, SIGKILL);
    if (pid > 0) (void)waitpid(pid, NULL, 0);
    return cns_problem_set(problem, CNS_ERR_IO, "%s can't be started: %s", child->name, strerror(number));
  }
  child->output = ends[0];
  child->pid = pid;
  child->killed = false;
  return 0;
}

void cns_demo_child_tail(struct cns_demo_child *child, const char *sentence) {
  if (child->tail_count == CNS_DEMO_TAIL_LINES) {
    memmove(child->tail, child->tail + 1, (CNS_DEMO_TAIL_LINES - 1) * sizeof *child->tail);
    child->tail_count--;
  }
  snprintf(child->tail[child->tail_count++], CNS_DEMO_TAIL_BYTES, "%s", sentence);
}

/* A line that is too long is cut in pieces; no reader of ours cares. */
static int take_bytes(struct cns_demo_child *child, const char *bytes, size_t len, cns_demo_line on_line,
                      void *context) {
  for (size_t i = 0; i < len; i++) {
    bool end = bytes[i] == '\n' || child->line_len == CNS_DEMO_LINE_MAX - 1;
    if (!end) child->line[child->line_len++] = bytes[i] ? bytes[i] : '?';
    if (!end) continue;
    child->line[child->line_len] = '\0';
    child->line_len = 0;
    int r = child->line[0] ? on_line(context, child, child->line) : 0;
    if (r) return r;
  }
  return 0;
}

int cns_demo_child_read(struct cns_demo_child *child, cns_demo_line on_line, void *context) {
  char bytes[8192];
  while (child->output >= 0) {
    ssize_t n = read(child->output, bytes, sizeof bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return 0;
    if (n <= 0) {
      close(child->output);
      child->output = -1;
      return take_bytes(child, "\n", 1, on_line, context);
    }
    /* The copy is for people; a full disk must not stop what it describes. */
    if (write(child->log, bytes, (size_t)n) < 0) errno = 0;
    int r = take_bytes(child, bytes, (size_t)n, on_line, context);
    if (r) return r;
  }
  return 0;
}

bool cns_demo_child_ended(struct cns_demo_child *child) {
  if (child->pid <= 0 || waitpid(child->pid, &child->status, WNOHANG) != child->pid) return false;
  child->pid = 0;
  return true;
}

void cns_demo_child_describe_end(const struct cns_demo_child *child, char *out, size_t room) {
  if (WIFSIGNALED(child->status))
    snprintf(out, room, "signal %d (%s)", WTERMSIG(child->status), strsignal(WTERMSIG(child->status)));
  else
    snprintf(out, room, "exit code %d", WEXITSTATUS(child->status));
}

static bool any_runs(struct cns_demo_child *children, size_t count) {
  bool runs = false;
  for (size_t i = 0; i < count; i++) {
    (void)cns_demo_child_ended(&children[i]);
    runs |= children[i].pid > 0;
  }
  return runs;
}

static void signal_all(const struct cns_demo_child *children, size_t count, int number) {
  for (size_t i = 0; i < count; i++)
    if (children[i].pid > 0) (void)kill(children[i].pid, number);
}

static int ignore_line(void *context, struct cns_demo_child *child, const char *line) {
  (void)context;
  (void)child;
  (void)line;
  return 0;
}

void cns_demo_children_stop(struct cns_demo_child *children, size_t count) {
  signal_all(children, count, SIGTERM);
  for (int waited_ms = 0; waited_ms < STOP_MS && any_runs(children, count); waited_ms += 10) {
    const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
    for (size_t i = 0; i < count; i++) /* nobody may block on a full pipe */
      if (children[i].line) (void)!cns_demo_child_read(&children[i], ignore_line, NULL);
    (void)nanosleep(&pause, NULL);
  }
  signal_all(children, count, SIGKILL);
  for (size_t i = 0; i < count; i++) {
    while (children[i].pid > 0 && waitpid(children[i].pid, &children[i].status, 0) < 0 && errno == EINTR)
      continue;
    children[i].pid = 0;
  }
}
