/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hospital's agent: keeps one connection to the coordinator, checks every
 * announcement against policy, consent and its own record, trains on the
 * hospital's table and takes part in rounds (docs/protocol.md; the frames are in
 * protocol/wire.h). State lives on the loop's thread; training, masking and
 * digests run on uv's worker threads over plain arrays.
 */
#pragma once

#include <stdio.h>

#include "net/link.h"

struct cns_agent_options {
  const char *kit_folder;
  const char *address; /* of the coordinator; NULL: the kit's */
  const char *proxy;   /* NULL: the kit's; else as cns_way_out takes it */
  bool json;           /* log lines are JSON objects */
  bool until_finished; /* leave once the model after the study's last round is here */
  /* To show what an audit is for (the demo, tests): from this round on (0: never)
   * the finished update is turned round and made so many times as long as clipping
   * allows. Nothing else is false. */
  uint64_t poison_from;
  unsigned poison_bounds;
};

/*
 * Runs until SIGINT, SIGTERM or, with until_finished, the end of the study: 0, or
 * CNS_ERR_BUDGET where the privacy budget ended it early; CNS_ERR_STOPPED, also without
 * until_finished, where the coordinator's operator stopped it for good.
 * Errors before it connects, each with a sentence: those of cns_kit_load and
 * cns_table_read; CNS_ERR_REFUSED without a consent that fits (`consilium
 * consent`), or for a roster or policy older than seen before; CNS_ERR_STATE if
 * another agent has the state folder. Losing the coordinator is no error: the
 * agent dials again for ever.
 */
CNS_MUST_CHECK int cns_agent_run(const struct cns_agent_options *options, struct cns_problem *problem);

/* ---- for programs that embed the agent in a loop of their own ---- */

struct cns_agent;

struct cns_agent_host {
  struct cns_loop *loop;
  FILE *log; /* NULL: stderr */
  struct cns_link_times times;
  /* The model after the last round that the privacy budget allows is here; at most once,
   * and once more if the study is stopped after that. May be NULL. May free the agent. */
  void (*on_finished)(void *context);
  void *context;
};

/* CNS_ERR_BUDGET, with a sentence, if the study ended for this hospital before its last
 * round because the privacy budget allows no further one; CNS_ERR_STOPPED if the
 * coordinator's operator stopped it; 0 otherwise. */
CNS_MUST_CHECK int cns_agent_result(const struct cns_agent *agent, struct cns_problem *problem);
/* Dials at once. options (not the texts) and host are copied. */
CNS_MUST_CHECK int cns_agent_new(const struct cns_agent_options *options, const struct cns_agent_host *host,
                                 struct cns_agent **ret_agent, struct cns_problem *problem);
/* Lets go of connection and state folder, stops training and wipes; memory is
 * returned as the loop runs on. Returns NULL. */
struct cns_agent *cns_agent_free(struct cns_agent *agent);
