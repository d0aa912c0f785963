/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A round's training by a command of the hospital's (docs/trainers.md): a private folder with the received
 * model and a task, the command in it, and what it wrote: an update of exactly the model's tensors, all
 * finite, and a few numbers. A command is as trusted as the agent, whose user it is; but it may be wrong, and
 * then the round goes on without this hospital.
 *
 * Sentences may go to the coordinator: they hold no path, no value and nothing that the command printed.
 */
#pragma once

#include <uv.h>

#include "client/keeper.h"
#include "model/network.h"
#include "store/kit.h"

#define CNS_TRAINER_LOG "trainer.log"               /* in the state folder */
#define CNS_TRAINER_LOG_BYTES_MAX ((size_t)1 << 20) /* of one round's output; the rest is counted */
#define CNS_TRAINER_GRACE_MS 10000u                 /* between SIGTERM and SIGKILL */
#define CNS_TRAINER_METRICS_BYTES_MAX 65536

/* All of it, and what it points to, outlives the trainers. */
struct cns_trainer_setup {
  struct cns_kit_trainer command;
  const char *state_path, *data_path, *kit_folder;
  uint32_t grace_ms;
};

/* What a round asks for. Tables: NULL if the study has none. */
struct cns_trainer_task {
  const struct cns_plan *plan;
  const struct cns_table *train, *validation;
  struct cns_network_seed seed;
  double clip_norm;
};

/* From metrics.json, for the log. */
struct cns_trainer_metrics {
  uint64_t examples;
  bool has_losses;
  double first_loss, last_loss;
};

struct cns_trainer;

/* Can the command be started: is its program there, and the state folder one for absolute paths?
 * CNS_ERR_REFUSED, with a sentence for the operator. */
CNS_MUST_CHECK int cns_trainer_check(const struct cns_trainer_setup *setup, struct cns_problem *problem);
/* Removes what earlier agents left in the state folder. */
void cns_trainer_sweep(const struct cns_trainer_setup *setup);

CNS_MUST_CHECK int cns_trainer_new(const struct cns_trainer_setup *setup, const struct cns_trainer_task *task,
                                   struct cns_trainer **ret_trainer);
/* Not while the command runs. Removes the folder. Returns NULL. */
struct cns_trainer *cns_trainer_free(struct cns_trainer *trainer);

/* On any thread: makes the folder. params: cns_plan_dim floats. */
CNS_MUST_CHECK int cns_trainer_prepare(struct cns_trainer *trainer, const float *params,
                                       struct cns_problem *problem);
/* On the loop's thread. done comes exactly once after 0: 0, CNS_ERR_CANCELLED, or CNS_ERR_REFUSED with a
 * sentence on what was wrong with the command. Nothing that it started is left then. */
typedef void cns_trainer_done(void *context, int error, const struct cns_problem *problem);
CNS_MUST_CHECK int cns_trainer_start(struct cns_trainer *trainer, uv_loop_t *uv, cns_trainer_done *done,
                                     void *context, struct cns_problem *problem);
/* On the loop's thread: kills; done still comes. */
void cns_trainer_cancel(struct cns_trainer *trainer);
/* On any thread, after done with 0: ret_update gets cns_plan_dim floats, unclipped. */
CNS_MUST_CHECK int cns_trainer_collect(struct cns_trainer *trainer, float *ret_update,
                                       struct cns_trainer_metrics *ret_metrics, struct cns_problem *problem);
/* Removes the folder, which may take a while; not while the command runs. */
void cns_trainer_clear(struct cns_trainer *trainer);
/* For this hospital's log alone, after done: how many lines the command printed, what was left behind, and
 * what exactly was wrong with a file; malloc'd, or NULL. */
char *cns_trainer_report_text(const struct cns_trainer *trainer);
