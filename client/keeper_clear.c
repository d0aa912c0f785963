/* SPDX-License-Identifier: Apache-2.0 */
/* What a command leaves behind: its output, and processes. */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/keeper_internal.h"

#define OUTPUT_FD 1
#define TRIES 1000 /* of 10 ms */
#define TRY_US 10000
/* At a time, so that the limits are looked at in between whatever the command prints. */
#define READS 64

static void keep_output(struct cns_keeper *keeper, const char *bytes, size_t len) {
  for (size_t done = 0; done < len;) {
    ssize_t n = write(OUTPUT_FD, bytes + done, len - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) { /* a full disk, say: the output is the least that is lost */
      keeper->report.dropped += len - done;
      return;
    }
    done += (size_t)n;
  }
}

/* A terminal that shows the file obeys what is in it. */
static void clean(char *bytes, size_t len) {
  for (size_t k = 0; k < len; k++) {
    unsigned char c = (unsigned char)bytes[k];
    if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7F) bytes[k] = c == '\r' ? '\n' : '?';
  }
}

void cns_keeper_drain(struct cns_keeper *keeper) {
  char bytes[16384];
  for (int reads = 0; reads < READS || keeper->ended; reads++) {
    ssize_t got = read(keeper->output, bytes, sizeof bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got == 0) { /* closed by all, which isn't the end of the command */
      close(keeper->output);
      keeper->output = -1;
    }
    if (got <= 0) return;
    size_t len = (size_t)got;
    for (size_t k = 0; k < len; k++)
      keeper->report.lines += bytes[k] == '\n';
    clean(bytes, len);
    uint64_t kept = keeper->report.bytes - keeper->report.dropped;
    size_t room = kept < keeper->output_max ? (size_t)(keeper->output_max - kept) : 0, keep = len;
    if (keep > room) keep = room;
    keeper->report.bytes += len;
    keeper->report.dropped += len - keep;
    keep_output(keeper, bytes, keep);
  }
}

/* The parent's id in "PID (NAME) STATE PARENT ...": the name may hold anything. */
static pid_t parent_of(const char *pid) {
  char path[64], text[512];
  snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
  FILE *file = fopen(path, "re");
  if (!file) return -1;
  size_t len = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[len] = '\0';
  const char *name_end = strrchr(text, ')');
  char state;
  int parent = -1;
  return name_end && sscanf(name_end + 1, " %c %d", &state, &parent) == 2 ? parent : -1;
}

/* The command's group was killed with it. What has left the group has lost its parents, so it is ours. */
static void kill_children(const struct cns_keeper *keeper) {
  DIR *processes = opendir("/proc");
  if (!processes) return;
  for (struct dirent *entry; (entry = readdir(processes));)
    if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && parent_of(entry->d_name) == keeper->self)
      (void)kill((pid_t)atoi(entry->d_name), SIGKILL);
  closedir(processes);
}

void cns_keeper_clear(struct cns_keeper *keeper) {
  int status;
  for (int k = 0; k < TRIES; k++) {
    pid_t pid;
    kill_children(keeper);
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
      keeper->report.leftovers += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    if (pid < 0 && errno == ECHILD) return;
    usleep(TRY_US);
  }
}
