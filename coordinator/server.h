/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The coordinator's daemon: sessions with hospitals, the scheduler of rounds,
 * journal, aggregation. It is a function of its journal: killed in any phase
 * and started again, the round goes on.
 */
#pragma once

#include "crypto/base.h"

/* Left free on the disk when room for an upload is taken: the journal needs it. */
#define CNS_SERVER_DISK_MARGIN_BYTES (32ull << 20)

struct cns_server_options {
  const char *kit;
  bool json;            /* one JSON object a line, with time, event and text, instead of sentences */
  bool until_finished;  /* return once the study's last round is done */
  const char *listen;   /* instead of the kit's; NULL */
  const char *url_file; /* write the bound URL there (port 0); NULL */
};

/* Runs until SIGINT or SIGTERM (0), until the study is finished if asked for
 * (0), or until something fatal happens (negative, with a sentence). */
CNS_MUST_CHECK int cns_server_run(const struct cns_server_options *options, struct cns_problem *problem);
