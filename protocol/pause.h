/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A study that an operator has paused, or stopped for good. The order is a file in
 * a daemon's state folder, written whole and durable before anybody acts on it;
 * who may write there may give it. A pause begins no round and ends none: the
 * running one goes on, and no budget is touched.
 *
 *   {"reason": TEXT, "since": UTC time, "state": "paused" or "stopped"}
 *
 * pause.json          the operator's order: a coordinator's, or a hospital's own ("paused" only)
 * coordinator.pause.json   at a hospital: what its coordinator said last
 */
#pragma once

#include "crypto/base.h"
#include "crypto/cursor.h"

#define CNS_PAUSE_FILE "pause.json"
#define CNS_PAUSE_HEARD_FILE "coordinator.pause.json"
#define CNS_PAUSE_REASON_MAX 300
#define CNS_PAUSE_SENTENCE_MAX (CNS_PAUSE_REASON_MAX + 100)

enum cns_pause_state { CNS_PAUSE_NONE = 0, CNS_PAUSE_PAUSED = 1, CNS_PAUSE_STOPPED = 2 };

struct cns_pause {
  enum cns_pause_state state;
  int64_t since;                         /* seconds since 1970 */
  char reason[CNS_PAUSE_REASON_MAX + 1]; /* "": none was given */
};

/* Printable, one line, not too long, not blank; "" is fine. */
bool cns_pause_is_reason(const char *text);
/* No file: state none. CNS_ERR_FORMAT, CNS_ERR_IO, CNS_ERR_PERMISSION with a sentence. */
CNS_MUST_CHECK int cns_pause_load(const char *state_folder, const char *file, struct cns_pause *ret_pause,
                                  struct cns_problem *problem);
/* Durable when it returns 0. State none: there is no file any more. */
CNS_MUST_CHECK int cns_pause_save(const char *state_folder, const char *file, const struct cns_pause *pause,
                                  struct cns_problem *problem);
/* "paused since 2026-11-22 10:00 UTC: new scanner at hospital-3"; "not paused". */
void cns_pause_describe(const struct cns_pause *pause, char ret_text[static CNS_PAUSE_SENTENCE_MAX]);

/* The frame PAUSED, and the journal's entry of a stop: state u8, since u64, reason blob. */
void cns_pause_write(struct cns_writer *writer, const struct cns_pause *pause);
/* CNS_ERR_FORMAT, CNS_ERR_RANGE. The reason is made printable. */
CNS_MUST_CHECK int cns_pause_read(const uint8_t *data, size_t len, struct cns_pause *ret_pause);
