/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of the coordinator, each to where it is handled. protocol/wire.h has their course. */
#include <inttypes.h>

#include "client/agent_internal.h"

void cns_agent_join(struct cns_agent *agent) {
  struct cns_writer frame;
  cns_agent_pause_forget(agent);
  cns_writer_init(&frame, CNS_FRAME_CONTROL_MAX);
  cns_write_u64(&frame, agent->model_round);
  cns_write_u64(&frame, cns_agent_roster_version(agent));
  cns_write_blob(&frame, agent->consent, agent->consent_len);
  cns_agent_send(agent, CNS_WIRE_JOIN, &frame);
  cns_writer_deinit(&frame);
  cns_agent_ledger_greet(agent);
}

static void malformed(struct cns_agent *agent, uint8_t type) {
  if (cns_agent_may_log(agent))
    cns_client_log(&agent->log, "error", "the coordinator sent a malformed frame of type %u; it is ignored",
                   type);
}

static void receipt(struct cns_agent *agent, const uint8_t *data, size_t len) {
  struct cns_digest digest;
  struct cns_signature signature;
  struct cns_problem problem = {0};
  const struct cns_kit *kit = &agent->site.kit;
  if (cns_wire_read_signed(data, len, &digest, &signature) < 0) {
    malformed(agent, CNS_WIRE_RECEIPT);
    return;
  }
  if (!cns_agent_in_round(agent, &digest) || !agent->round->has_root) return; /* of a round that is over */
  struct cns_agent_round *round = agent->round;
  if (cns_receipt_verify(&kit->roster.coordinator.identity, &digest, kit->config.index, &round->root,
                         &signature) < 0) {
    cns_problem_set(&problem, 0, "the coordinator's receipt for the upload isn't valid");
    cns_agent_note(agent, "receipt", &problem);
  } else if (!round->receipt_said && cns_agent_may_log_round(agent, round->descriptor->attempt)) {
    round->receipt_said = true;
    cns_client_log(&agent->log, "receipt", "round %" PRIu64 ": the coordinator has the whole masked update",
                   round->descriptor->round);
  }
}

static void upload_from(struct cns_agent *agent, const uint8_t *data, size_t len) {
  struct cns_digest digest;
  uint64_t chunk;
  if (cns_wire_read_digest_u64(data, len, &digest, &chunk) < 0)
    malformed(agent, CNS_WIRE_UPLOAD_FROM);
  else
    cns_agent_upload_from(agent, &digest, chunk);
}

static void ended(struct cns_agent *agent, const uint8_t *data, size_t len) {
  struct cns_wire_word word;
  if (cns_wire_read_word(data, len, &word) < 0)
    malformed(agent, CNS_WIRE_ENDED);
  else
    cns_agent_ended(agent, &word);
}

static void notice(struct cns_agent *agent, uint8_t type, const uint8_t *data, size_t len) {
  struct cns_wire_word word;
  if (cns_wire_read_notice(data, len, &word) < 0)
    malformed(agent, type);
  else if (!cns_agent_may_log(agent))
    return;
  else if (type == CNS_WIRE_NOTICE)
    cns_client_log(&agent->log, "notice", "coordinator: %s", word.sentence);
  else
    cns_client_log(&agent->log, "refused", "the coordinator didn't accept our answer in phase %s: %s",
                   cns_phase_name((enum cns_phase)word.code), word.sentence);
}

/* It may stop when it likes. A hospital that missed rounds has something left of its own budget. */
static void over(struct cns_agent *agent, const uint8_t *data, size_t len) {
  struct cns_wire_word word;
  if (cns_wire_read_notice(data, len, &word) < 0) {
    malformed(agent, CNS_WIRE_OVER);
    return;
  }
  bool known = agent->stopped; /* each note is written to the disk */
  agent->stopped = word.code == CNS_WIRE_OVER_STOPPED;
  if (agent->stopped) {
    if (!known) cns_agent_note_stop(agent, word.sentence);
    agent->finished = false; /* for want of budget it may be, and the agent still be here */
  }
  cns_problem_set(&agent->over, 0, "the coordinator begins no further round: %.400s", word.sentence);
  cns_agent_check_finished(agent);
}

static void abandon_ask(struct cns_agent *agent, const uint8_t *data, size_t len) {
  struct cns_digest digest;
  if (cns_wire_read_digest(data, len, &digest) < 0)
    malformed(agent, CNS_WIRE_ABANDON_ASK);
  else
    cns_agent_abandon_asked(agent, &digest);
}

void cns_agent_frame(struct cns_agent *agent, uint8_t type, const uint8_t *data, size_t len) {
  switch (type) {
  case CNS_WIRE_ANNOUNCE:
    cns_agent_announced(agent, data, len);
    break;
  case CNS_WIRE_REQUEST:
    cns_agent_requested(agent, data, len);
    break;
  case CNS_WIRE_RECEIPT:
    receipt(agent, data, len);
    break;
  case CNS_WIRE_ENDED:
    ended(agent, data, len);
    break;
  case CNS_WIRE_MANIFEST:
    cns_agent_manifest(agent, data, len);
    break;
  case CNS_WIRE_UPLOAD_FROM:
    upload_from(agent, data, len);
    break;
  case CNS_WIRE_NOTICE:
  case CNS_WIRE_REFUSED:
    notice(agent, type, data, len);
    break;
  case CNS_WIRE_OVER:
    over(agent, data, len);
    break;
  case CNS_WIRE_TIME:
    cns_agent_told_time(agent, data, len);
    break;
  case CNS_WIRE_PAUSED:
    cns_agent_paused(agent, data, len);
    break;
  case CNS_WIRE_ABANDON_ASK:
    abandon_ask(agent, data, len);
    break;
  case CNS_WIRE_LEDGER:
    cns_agent_ledger_shown(agent, data, len);
    break;
  case CNS_WIRE_ABANDONED:
    cns_agent_abandoned(agent, data, len);
    break;
  case CNS_WIRE_ROSTER:
    cns_agent_roster_shown(agent, data, len);
    break;
  case CNS_WIRE_MODEL:
    cns_agent_download_frame(agent, data, len);
    break;
  default:
    malformed(agent, type);
  }
}
