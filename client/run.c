/* SPDX-License-Identifier: Apache-2.0 */
/* The agent as a program: a loop of its own, and signals. */
#include <signal.h>

#include "client/agent_internal.h"

struct run {
  uv_loop_t uv;
  struct cns_loop *loop;
  uv_signal_t interrupt, terminate;
  struct cns_agent *agent;
  bool stopping, until_finished;
  int result; /* of the study */
  struct cns_problem problem;
};

static void stop(struct run *run) {
  if (run->stopping) return;
  run->stopping = true;
  run->agent = cns_agent_free(run->agent);
  run->loop = cns_loop_free(run->loop);
  uv_close((uv_handle_t *)&run->interrupt, NULL);
  uv_close((uv_handle_t *)&run->terminate, NULL);
}

static void on_signal(uv_signal_t *signal_handle, int number) {
  struct run *run = signal_handle->data;
  cns_client_log(&run->agent->log, "stop", "stopping on %s", number == SIGINT ? "SIGINT" : "SIGTERM");
  stop(run);
}

static void on_finished(void *context) {
  struct run *run = context;
  int r = cns_agent_result(run->agent, &run->problem);
  /* Of a study that was stopped there is nothing to wait for, whatever was asked for. */
  if (!run->until_finished && r != CNS_ERR_STOPPED) return;
  run->result = r;
  stop(run);
}

static int start(struct run *run, const struct cns_agent_options *options, struct cns_problem *problem) {
  const struct cns_agent_host host = {.loop = run->loop, .on_finished = on_finished, .context = run};
  run->until_finished = options->until_finished;
  if (uv_signal_start(&run->interrupt, on_signal, SIGINT) != 0 ||
      uv_signal_start(&run->terminate, on_signal, SIGTERM) != 0)
    return cns_problem_set(problem, CNS_ERR_LIBRARY, "signals can't be waited for");
  return cns_agent_new(options, &host, &run->agent, problem);
}

int cns_agent_run(const struct cns_agent_options *options, struct cns_problem *problem) {
  struct run run = {0};
  int forbidden = cns_forbid_core_files(problem); /* the table's rows and the update */
  if (forbidden) return forbidden;
  signal(SIGPIPE, SIG_IGN);
  /* These fail without descriptors only, and then there is nothing to go on with. */
  if (uv_loop_init(&run.uv) != 0 || uv_signal_init(&run.uv, &run.interrupt) != 0 ||
      uv_signal_init(&run.uv, &run.terminate) != 0)
    return cns_problem_set(problem, CNS_ERR_LIBRARY, "no event loop");
  run.interrupt.data = run.terminate.data = &run;
  int r = cns_loop_new(&run.uv, &run.loop, problem);
  if (!r) r = start(&run, options, problem);
  if (r) stop(&run);
  while (uv_run(&run.uv, UV_RUN_DEFAULT) != 0)
    continue;
  (void)uv_loop_close(&run.uv);
  if (r || !run.result) return r;
  if (problem) *problem = run.problem;
  return run.result;
}
