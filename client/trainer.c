/* SPDX-License-Identifier: Apache-2.0 */
/* The command as a process (declared in client/trainer.h). */
#include "client/trainer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "client/trainer_internal.h"
#include "crypto/json.h"

#define LOG_ROTATE_BYTES ((off_t)8 << 20)
/* What the keeper may take beyond its own limits before it is killed itself. */
#define OVERDUE_MS 60000u
#define CANCEL_MS 20000u
#define KEEPER_ARGUMENTS 7

static char program[] = "/proc/self/exe";

/* ---- the log of what commands print ---- */

static int open_log(const struct cns_trainer *trainer, int *ret_fd, struct cns_problem *problem) {
  const char *state = trainer->setup->state_path;
  char *path = NULL, *older = NULL, when[32];
  struct stat info;
  int fd = -1;
  if (asprintf(&path, "%s/" CNS_TRAINER_LOG, state) < 0) path = NULL;
  if (asprintf(&older, "%s/" CNS_TRAINER_LOG ".1", state) < 0) older = NULL;
  if (path && older) {
    if (lstat(path, &info) == 0 && info.st_size > LOG_ROTATE_BYTES) (void)rename(path, older);
    fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
  }
  int number = path && older ? errno : ENOMEM;
  free(path);
  free(older);
  if (fd < 0)
    return cns_problem_set(problem, cns_error_from_errno(number), "the trainer's log can't be opened: %s",
                           strerror(number));
  time_t now = time(NULL);
  struct tm tm;
  if (!gmtime_r(&now, &tm) || strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0) when[0] = '\0';
  /* A line less on a full disk stops nothing. */
  (void)dprintf(fd, "== %s round %" PRIu64 " attempt %u: %s\n", when, trainer->task.seed.round,
                trainer->task.seed.attempt, trainer->setup->command.command[0]);
  *ret_fd = fd;
  return 0;
}

/* ---- what it is started with ---- */

struct launch {
  char numbers[5][24];
  char **arguments, **environment;
  size_t argument_count, variable_count;
};

static bool is_given(const struct cns_kit_trainer *command, const char *name) {
  size_t len = strlen(name);
  for (size_t k = 0; command->environment && command->environment[k]; k++)
    if (strncmp(command->environment[k], name, len) == 0 && command->environment[k][len] == '=') return true;
  return false;
}

/* False: no memory. */
static bool add_variable(struct launch *launch, const char *prefix, const char *name, const char *value) {
  char *text = NULL;
  if (asprintf(&text, "%s%s=%s", prefix, name, value) < 0) return false;
  launch->environment[launch->variable_count++] = text;
  return true;
}

/* What the hospital adds is the command's, not the keeper's: LD_LIBRARY_PATH would decide which
 * libraries that one has. */
static bool fill_environment(struct launch *launch, const struct cns_trainer *trainer) {
  static const char *const passed[] = {"PATH", "HOME", "LANG", "TZ"};
  const struct cns_kit_trainer *command = &trainer->setup->command;
  char *task = cns_trainer_path(trainer, "task.json"), *temporary = cns_trainer_path(trainer, "tmp");
  size_t count = 0;
  while (command->environment && command->environment[count])
    count++;
  launch->environment = calloc(count + 16, sizeof *launch->environment);
  bool good = launch->environment && task && temporary && add_variable(launch, "", "CONSILIUM_TASK", task) &&
              add_variable(launch, "", "CONSILIUM_FOLDER", trainer->folder) &&
              (is_given(command, "TMPDIR") || add_variable(launch, "", "TMPDIR", temporary));
  for (size_t k = 0; good && k < sizeof passed / sizeof passed[0]; k++) {
    const char *value = getenv(passed[k]);
    if (!value && strcmp(passed[k], "PATH") == 0) value = CNS_TRAINER_PATH;
    good = !value || is_given(command, passed[k]) || add_variable(launch, "", passed[k], value);
  }
  for (size_t k = 0; good && k < count; k++) {
    char *text = NULL;
    good = asprintf(&text, CNS_KEEPER_VARIABLE "%s", command->environment[k]) >= 0;
    if (good) launch->environment[launch->variable_count++] = text;
  }
  free(task);
  free(temporary);
  return good;
}

static bool fill_arguments(struct launch *launch, const struct cns_trainer *trainer) {
  static char name[] = CNS_KEEPER_NAME;
  const struct cns_kit_trainer *command = &trainer->setup->command;
  const uint64_t numbers[5] = {(uint64_t)command->time_limit_s * 1000, trainer->setup->grace_ms,
                               command->file_bytes, command->free_bytes, CNS_TRAINER_LOG_BYTES_MAX};
  size_t count = 0;
  while (command->command[count])
    count++;
  launch->arguments = calloc(count + KEEPER_ARGUMENTS + 1, sizeof *launch->arguments);
  if (!launch->arguments) return false;
  launch->arguments[launch->argument_count++] = name;
  for (size_t k = 0; k < 5; k++) {
    snprintf(launch->numbers[k], sizeof launch->numbers[k], "%" PRIu64, numbers[k]);
    launch->arguments[launch->argument_count++] = launch->numbers[k];
  }
  launch->arguments[launch->argument_count++] = trainer->folder;
  for (size_t k = 0; k < count; k++)
    launch->arguments[launch->argument_count++] = command->command[k];
  return true;
}

static void launch_deinit(struct launch *launch) {
  for (size_t k = 0; k < launch->variable_count; k++)
    free(launch->environment[k]);
  free(launch->environment);
  free(launch->arguments);
}

/* ---- how it ends ---- */

static int judge(const struct cns_trainer *trainer, struct cns_problem *problem) {
  const struct cns_keeper_report *said = &trainer->said;
  const struct cns_kit_trainer *command = &trainer->setup->command;
  const int r = CNS_ERR_REFUSED;
  if (trainer->cancelled) return CNS_ERR_CANCELLED;
  if (!trainer->has_report)
    return cns_problem_set(problem, r, "the trainer was lost: the process that watches it %s",
                           trainer->overdue ? "didn't answer and was killed" : "was killed");
  switch (said->end) {
  case CNS_KEEPER_EXITED:
    if (said->value == 0) return 0;
    return cns_problem_set(problem, r, "the trainer failed with exit status %d", said->value);
  case CNS_KEEPER_SIGNALLED:
    return cns_problem_set(problem, r, "the trainer crashed: signal %d (%s)", said->value,
                           strsignal(said->value));
  case CNS_KEEPER_NOT_STARTED:
    return cns_problem_set(problem, r, "the trainer can't be started: %s", strerror(said->value));
  case CNS_KEEPER_TIME_LIMIT:
    return cns_problem_set(problem, r, "the trainer took longer than its %u s and was %s",
                           command->time_limit_s, said->value ? "killed" : "ended");
  case CNS_KEEPER_DISK:
    return cns_problem_set(problem, r,
                           "the trainer was stopped: less than %" PRIu64 " MiB were left on the disk",
                           command->free_bytes >> 20);
  case CNS_KEEPER_FILE_TOO_LONG:
    return cns_problem_set(problem, r, "the trainer wrote a file of more than %" PRIu64 " MiB",
                           command->file_bytes >> 20);
  case CNS_KEEPER_ABANDONED:
  case CNS_KEEPER_FAILED:
    break;
  }
  return cns_problem_set(problem, r, "the trainer can't be watched: %s", strerror(said->value));
}

static void on_closed(uv_handle_t *handle) {
  struct cns_trainer *trainer = handle->data;
  struct cns_problem problem = {0};
  if (--trainer->open > 0) return;
  close(trainer->log);
  trainer->log = -1;
  trainer->has_report = cns_keeper_report_read(trainer->line, &trainer->said) == 0;
  int r = judge(trainer, &problem);
  trainer->done(trainer->context, r, &problem);
}

static void close_handle(void *handle) {
  if (!uv_is_closing(handle)) uv_close(handle, on_closed);
}

/* What is in the report's pipe is still read. */
static void on_keeper_end(uv_process_t *process, int64_t status, int signum) {
  struct cns_trainer *trainer = process->data;
  (void)status;
  (void)signum;
  trainer->ended = true;
  close_handle(&trainer->hold);
  close_handle(&trainer->timer);
  close_handle(&trainer->process);
}

static void on_room(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buffer) {
  struct cns_trainer *trainer = handle->data;
  (void)suggested;
  *ret_buffer = uv_buf_init(trainer->line + trainer->line_len,
                            (unsigned)(sizeof trainer->line - 1 - trainer->line_len));
}

static void on_report(uv_stream_t *stream, ssize_t got, const uv_buf_t *buffer) {
  struct cns_trainer *trainer = stream->data;
  (void)buffer;
  if (got > 0) trainer->line_len += (size_t)got;
  trainer->line[trainer->line_len] = '\0';
  if (got < 0) close_handle(stream);
}

static void on_overdue(uv_timer_t *timer) {
  struct cns_trainer *trainer = timer->data;
  trainer->overdue = true;
  (void)uv_process_kill(&trainer->process, SIGKILL);
}

void cns_trainer_cancel(struct cns_trainer *trainer) {
  if (trainer->open == 0) return;
  trainer->cancelled = true;
  close_handle(&trainer->hold);
  if (!trainer->ended) (void)uv_timer_start(&trainer->timer, on_overdue, CANCEL_MS, 0);
}

/* ---- how it begins ---- */

static int spawn(struct cns_trainer *trainer, uv_loop_t *uv, struct launch *launch) {
  uv_stdio_container_t stdio[4] = {
      {.flags = UV_CREATE_PIPE | UV_READABLE_PIPE, .data.stream = (uv_stream_t *)&trainer->hold},
      {.flags = UV_INHERIT_FD, .data.fd = trainer->log},
      {.flags = UV_INHERIT_FD, .data.fd = 2},
      {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&trainer->report}};
  const uv_process_options_t options = {.file = program,
                                        .args = launch->arguments,
                                        .env = launch->environment,
                                        .cwd = trainer->setup->kit_folder,
                                        .flags = UV_PROCESS_DETACHED,
                                        .stdio = stdio,
                                        .stdio_count = 4,
                                        .exit_cb = on_keeper_end};
  return uv_spawn(uv, &trainer->process, &options);
}

static void init_handles(struct cns_trainer *trainer, uv_loop_t *uv) {
  (void)uv_pipe_init(uv, &trainer->hold, 0); /* these three can't fail */
  (void)uv_pipe_init(uv, &trainer->report, 0);
  (void)uv_timer_init(uv, &trainer->timer);
  trainer->hold.data = trainer->report.data = trainer->timer.data = trainer->process.data = trainer;
  trainer->open = 4;
}

/* Once the handles are there, they have to be closed: an error is told by done, too. */
static void begin(struct cns_trainer *trainer, uv_loop_t *uv, struct launch *launch) {
  init_handles(trainer, uv);
  int r = spawn(trainer, uv, launch);
  if (r == 0) r = uv_read_start((uv_stream_t *)&trainer->report, on_room, on_report);
  if (r != 0) {
    snprintf(trainer->line, sizeof trainer->line, "%d %d 0 0 0 0\n", CNS_KEEPER_FAILED, -r);
    close_handle(&trainer->report);
    close_handle(&trainer->hold);
    if (trainer->process.pid > 0) return; /* it ends, since it was abandoned */
    close_handle(&trainer->timer);
    close_handle(&trainer->process);
    return;
  }
  const struct cns_kit_trainer *command = &trainer->setup->command;
  (void)uv_timer_start(&trainer->timer, on_overdue,
                       (uint64_t)command->time_limit_s * 1000 + trainer->setup->grace_ms + OVERDUE_MS, 0);
}

int cns_trainer_start(struct cns_trainer *trainer, uv_loop_t *uv, cns_trainer_done *done, void *context,
                      struct cns_problem *problem) {
  struct launch launch = {0};
  trainer->done = done;
  trainer->context = context;
  int r = 0;
  if (!fill_arguments(&launch, trainer) || !fill_environment(&launch, trainer))
    r = cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  if (r == 0) r = open_log(trainer, &trainer->log, problem);
  if (r == 0) begin(trainer, uv, &launch);
  launch_deinit(&launch);
  return r;
}

char *cns_trainer_report_text(const struct cns_trainer *trainer) {
  const struct cns_keeper_report *said = &trainer->said;
  char *text = NULL, dropped[64] = "", left[96] = "";
  const char *detail = trainer->detail.text;
  if (!trainer->has_report) return *detail ? strdup(detail) : NULL;
  if (said->dropped > 0) snprintf(dropped, sizeof dropped, ", %" PRIu64 " of them not kept", said->dropped);
  if (said->leftovers > 0)
    snprintf(left, sizeof left, "; %" PRIu64 " processes that it left behind were killed", said->leftovers);
  if (asprintf(&text,
               "the trainer printed %" PRIu64 " lines (%" PRIu64 " bytes%s; " CNS_TRAINER_LOG ")%s%s%s",
               said->lines, said->bytes, dropped, left, *detail ? "; " : "", detail) < 0)
    return NULL;
  return text;
}
