/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the trainer, shared by its files only. */
#pragma once

#include "client/trainer.h"

#define CNS_TRAINER_FOLDER "training-" /* and six characters that mkdtemp chooses */

/* Where programs are looked for if nobody says. */
#define CNS_TRAINER_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct cns_trainer {
  const struct cns_trainer_setup *setup;
  struct cns_trainer_task task;
  char *folder; /* absolute; NULL: there is none */

  /* While the command runs; the loop's thread only. */
  uv_process_t process;
  uv_pipe_t hold, report;
  uv_timer_t timer;
  unsigned open; /* handles that aren't closed yet */
  bool ended;    /* the keeper */
  bool cancelled, overdue;
  int log; /* descriptor */
  char line[CNS_KEEPER_REPORT_BYTES];
  size_t line_len;
  cns_trainer_done *done;
  void *context;

  struct cns_problem detail; /* text: for this hospital's eyes only */
  bool has_report;
  struct cns_keeper_report said;
};

/* "<folder>/<name>", malloc'd or NULL. */
char *cns_trainer_path(const struct cns_trainer *trainer, const char *name);
/* A folder with all that is in it, links not followed. */
void cns_trainer_remove(const char *folder);
/* task.json. */
CNS_MUST_CHECK int cns_trainer_write_task(const struct cns_trainer *trainer, struct cns_problem *problem);
