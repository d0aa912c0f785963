/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/gnuplot.h"

#include <errno.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Ends up in *ret_status; CNS_ERR_NOT_FOUND if there is no gnuplot. */
static int run_gnuplot(int commands, int output, int *ret_status) {
  char name[] = "gnuplot", *arguments[] = {name, NULL};
  posix_spawn_file_actions_t actions;
  pid_t child;
  if (posix_spawn_file_actions_init(&actions)) return CNS_ERR_MEMORY;
  int error = posix_spawn_file_actions_adddup2(&actions, commands, STDIN_FILENO);
  if (!error) error = posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  if (!error) error = posix_spawnp(&child, name, &actions, NULL, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error) return error == ENOENT ? CNS_ERR_NOT_FOUND : cns_error_from_errno(error);
  while (waitpid(child, ret_status, 0) < 0)
    if (errno != EINTR) return CNS_ERR_LIBRARY;
  return 0;
}

static int copy(FILE *from, const char *path, struct cns_problem *problem) {
  char block[8192];
  size_t len;
  FILE *to = fopen(path, "we");
  if (!to)
    return cns_problem_set(problem, cns_error_from_errno(errno), "%s: can't be written: %s", path,
                           strerror(errno));
  rewind(from);
  bool good = true;
  while (good && (len = fread(block, 1, sizeof block, from)) > 0)
    good = fwrite(block, 1, len, to) == len;
  good &= !ferror(from);
  if (fclose(to) || !good) return cns_problem_set(problem, CNS_ERR_IO, "%s: can't be written", path);
  return 0;
}

static int draw(void (*write)(const void *context, FILE *out), const void *context, FILE *commands,
                FILE *output, const char *path, struct cns_problem *problem) {
  int status = 0;
  write(context, commands);
  if (fflush(commands) || ferror(commands) || fseek(commands, 0, SEEK_SET))
    return cns_problem_set(problem, CNS_ERR_IO, "no room for the plot's commands in the temporary folder");
  int r = run_gnuplot(fileno(commands), fileno(output), &status);
  if (r == CNS_ERR_NOT_FOUND)
    return cns_problem_set(problem, r,
                           "gnuplot is not installed, so %s is not drawn: apt-get install gnuplot-nox", path);
  if (r < 0) return cns_problem_set(problem, r, "gnuplot can't be started, so %s is not drawn", path);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return cns_problem_set(problem, CNS_ERR_LIBRARY, "gnuplot failed, so %s is not drawn", path);
  return copy(output, path, problem);
}

int cns_gnuplot_draw(void (*write)(const void *context, FILE *out), const void *context, const char *path,
                     struct cns_problem *problem) {
  FILE *commands = tmpfile(), *output = commands ? tmpfile() : NULL;
  int r = output
              ? draw(write, context, commands, output, path, problem)
              : cns_problem_set(problem, CNS_ERR_IO, "no temporary file for the plot: %s", strerror(errno));
  if (commands) fclose(commands);
  if (output) fclose(output);
  return r;
}
