/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process between an agent and the command that trains for it (client/trainer.h). It is this same
 * program, started anew, and does what an agent can't do once it is dead, or for processes that it
 * doesn't know:
 *   - everything that the command starts is ended with it, also what has left its process group (the keeper
 *     adopts orphans), and everything at once when the agent is gone, however it went: the keeper's standard
 *     input is a pipe that the agent holds open and never writes to;
 *   - the time limit (SIGTERM, then SIGKILL), the limit of a file's length, and the space left on the disk;
 *   - what the command prints goes into a file, up to a length, and is counted.
 *
 * Its arguments are CNS_KEEPER_NAME, five numbers (time limit and grace in ms, bytes of a file, bytes to be
 * left on the disk, bytes of output kept), the round's folder, and the command's. Descriptors: 0 the pipe,
 * 1 the file for output, 2 for what goes wrong in the keeper itself, 3 a pipe for one line of report.
 */
#pragma once

#include "crypto/base.h"

#define CNS_KEEPER_NAME "consilium-keeper"
#define CNS_KEEPER_REPORT_BYTES 256
/* In front of the names of variables that are the command's alone. */
#define CNS_KEEPER_VARIABLE "CONSILIUM_VARIABLE_"

enum cns_keeper_end {
  CNS_KEEPER_EXITED = 0,    /* value: exit status */
  CNS_KEEPER_SIGNALLED,     /* value: signal that wasn't sent here */
  CNS_KEEPER_NOT_STARTED,   /* value: errno of execvp */
  CNS_KEEPER_TIME_LIMIT,    /* value: 0 if it ended on SIGTERM, 1 if it had to be killed */
  CNS_KEEPER_DISK,          /* too little space left */
  CNS_KEEPER_FILE_TOO_LONG, /* killed by SIGXFSZ */
  CNS_KEEPER_ABANDONED,     /* the agent closed the pipe */
  CNS_KEEPER_FAILED,        /* value: errno of the keeper's own */
};

struct cns_keeper_report {
  enum cns_keeper_end end;
  int value;
  uint64_t lines, bytes; /* of output */
  uint64_t dropped;      /* of those bytes, not kept */
  uint64_t leftovers;    /* processes that were still there when the command had ended, and were killed */
};

/* For main, before anything else: was this process started as a keeper? */
bool cns_keeper_called(int argc, char **argv);
/* Doesn't return. */
_Noreturn void cns_keeper_run(int argc, char **argv);
/* CNS_ERR_FORMAT for a line that no keeper wrote. */
CNS_MUST_CHECK int cns_keeper_report_read(const char *line, struct cns_keeper_report *ret_report);
