/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the keeper, shared by its files only. */
#pragma once

#include <sys/types.h>

#include "client/keeper.h"

struct cns_keeper {
  pid_t self, child; /* the child leads a process group of its own */
  int output, output_in, signals;
  const char *folder;
  uint64_t grace_ms, file_bytes, free_bytes, output_max;
  uint64_t deadline; /* of the command; then, with grace, of its end */
  bool grace;        /* SIGTERM was sent, SIGKILL not yet */
  bool stopped;      /* by the keeper; report.end says why */
  bool abandoned;    /* the agent is gone, or has given the round up */
  bool ended;
  int status; /* of the child, once it has ended */
  struct cns_keeper_report report;
};

/* Reads what there is of the command's output, keeps its beginning, counts all. */
void cns_keeper_drain(struct cns_keeper *keeper);
/* The command has ended: kills what it left behind, and waits for that. */
void cns_keeper_clear(struct cns_keeper *keeper);
