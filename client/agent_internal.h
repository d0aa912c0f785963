/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the agent, shared by its files only. */
#pragma once

#include "client/agent.h"
#include "client/judging.h"
#include "client/log.h"
#include "client/site.h"
#include "client/sketching.h"
#include "client/uploader.h"
#include "client/work.h"
#include "protocol/expiry.h"
#include "protocol/hospital.h"
#include "protocol/manifest.h"
#include "protocol/pause.h"
#include "protocol/wire.h"
#include "store/registry.h"

#define CNS_AGENT_MODELS_KEPT 10
/* So long without a piece of it, and the last model is waited for no longer. */
#define CNS_AGENT_LAST_MODEL_MS 10000u
/* Lines in the log that the coordinator may cause, but for those that a round
 * has by its nature: the study's plan bounds them. */
#define CNS_AGENT_LINES_MAX 30u
#define CNS_AGENT_LINES_MS 60000u
/* Heads of ledgers that are looked at in that time: each is written to the disk. */
#define CNS_AGENT_HEADS_MAX 1200u
/* Links that come and go. */
#define CNS_AGENT_LINK_LINES_MAX 20u
#define CNS_AGENT_LINK_LINES_MS 600000u

#define CNS_AGENT_CLOCK_SECONDS 300

struct cns_agent_traffic {
  uint64_t up, down;
};

enum cns_agent_stage {
  CNS_STAGE_MODEL = 0,  /* the parent's bytes are on their way */
  CNS_STAGE_WORK = 1,   /* training */
  CNS_STAGE_ANSWER = 2, /* x is there: the machine answers */
};

/* The round taken part in. Goes with its machine, and x with it. */
struct cns_agent_round {
  struct cns_hospital *machine;            /* the judging's alone while there is one */
  struct cns_judge *judge;                 /* the machine's sketcher */
  const struct cns_descriptor *descriptor; /* the machine's */
  struct cns_digest digest;                /* of R */
  enum cns_agent_stage stage;
  struct cns_work *work;           /* while it runs */
  struct cns_uploader *uploader;   /* from the end of the work on */
  struct cns_sketching *sketching; /* while it runs, in phase audit */
  struct cns_judging *judging;     /* while it runs, in phase forfeit */
  uint8_t said;                    /* slot of the last answer that was logged */
  uint8_t *waiting;                /* the last request that came meanwhile */
  size_t waiting_len;
  bool upload_open; /* spent: chunks may be asked for */
  bool receipt_said;
  bool has_root;
  struct cns_digest root; /* of y */
  uint64_t start_ms;
  struct cns_agent_traffic start;
};

/* A model on its way, kept over lost links. */
struct cns_agent_download {
  bool wanted;
  bool asked; /* over the present link */
  struct cns_digest model;
  struct cns_model_draft *draft; /* model_bytes long */
  struct cns_hash hash;          /* of what is here */
  size_t have, flushed;
};

struct cns_agent {
  struct cns_agent_options options;
  struct cns_agent_host host;
  struct cns_client_log log;
  struct cns_client_lines lines, link_lines;
  struct cns_site site;
  struct cns_registry *registry;
  uint8_t *consent; /* signed document */
  size_t consent_len;
  uint32_t weight;
  struct cns_digest initial; /* the model before round 1 */
  size_t model_bytes;        /* every model of this study is as long as that one */
  struct cns_model_map *map; /* the model used last, checked; NULL: none yet */
  struct cns_digest mapped;  /* which it is */

  struct cns_peers *peers;
  struct cns_dialer *dialer;
  struct cns_link *link; /* NULL while there is none */
  struct cns_agent_traffic closed_links;
  char last_failure[256];
  uint64_t failures;

  uint64_t model_round;    /* of the newest manifest; 0: none */
  struct cns_digest model; /* that it names; the initial one before */
  double clip_norm;        /* of the round after it */
  struct cns_agent_round *round;
  struct cns_agent_download download;

  struct cns_problem ledger_refusal; /* text: why no round is joined any more */
  struct cns_problem budget_spent;   /* text: which limit allows no further round */
  struct cns_problem over;           /* text: why there is none, as the coordinator says */
  bool stopped;                      /* ... because its operator stopped the study */
  double alert_said;
  struct cns_client_lines heads;

  struct cns_roster next_roster; /* if has_next: in force when no round and no work uses the present one */
  struct cns_document next_document;
  bool has_next;
  struct cns_expiry roster_expiry, policy_expiry, certificate_expiry;

  bool last_model_asked, finished;
  uv_timer_t timer; /* waits for the last model */
  bool timer_closed;
  unsigned works; /* running, of any kind; they use the site's plan, tables and documents */
  bool closing;
};

/* ---- agent.c ---- */

/* For every line that the coordinator can cause as often as it likes. */
bool cns_agent_may_log(struct cns_agent *agent);
/* For a line of a round: a study has so many first attempts, and no more. */
bool cns_agent_may_log_round(struct cns_agent *agent, uint32_t attempt);
/* If cns_agent_may_log. */
void cns_agent_note(struct cns_agent *agent, const char *event, const struct cns_problem *problem);
struct cns_agent_traffic cns_agent_traffic(const struct cns_agent *agent);
/* Sends if there is a link; a link that fails tells so by itself. */
void cns_agent_send(struct cns_agent *agent, uint8_t type, const struct cns_writer *frame);
/* Tells why we take no part (any more) in R, and logs it. */
void cns_agent_decline(struct cns_agent *agent, const struct cns_digest *digest,
                       const struct cns_problem *problem);
/* A work's memory is going; the agent may go with the last one. */
void cns_agent_work_ended(struct cns_agent *agent);
/* The model after the last round is here, or will not come. Call last. */
void cns_agent_finish(struct cns_agent *agent);

/* Lets the link go and dials anew, with the kit's certificate as it is now. */
CNS_MUST_CHECK int cns_agent_redial(struct cns_agent *agent, struct cns_problem *problem);

/* ---- roster.c: newer rosters, over the wire ---- */

/* Of the newest that is held, in force or not yet. */
uint64_t cns_agent_roster_version(const struct cns_agent *agent);
/* Verifies, keeps durably, and adopts it as soon as no round is under way. */
void cns_agent_roster_shown(struct cns_agent *agent, const uint8_t *data, size_t len);
/* What expires within 60, 30 and 7 days, or has, is logged once each. */
void cns_agent_look_at_expiry(struct cns_agent *agent, int64_t now_seconds);
/* What waits is in force, if nothing uses the roster before it. */
void cns_agent_roster_adopt(struct cns_agent *agent);
/* Before a round that was announced under this roster is begun: one under another roster is over. */
void cns_agent_roster_announced(struct cns_agent *agent, const struct cns_digest *roster);

/* ---- session.c ---- */

void cns_agent_join(struct cns_agent *agent);
void cns_agent_frame(struct cns_agent *agent, uint8_t type, const uint8_t *data, size_t len);

/* ---- pause.c: what operators said, here and at the coordinator ---- */

/* Before JOIN: what the coordinator said over an earlier link may be over. */
void cns_agent_pause_forget(struct cns_agent *agent);
void cns_agent_paused(struct cns_agent *agent, const uint8_t *data, size_t len);
/* For those who look at the status, now and later. */
void cns_agent_note_stop(struct cns_agent *agent, const char *sentence);
/* CNS_ERR_REFUSED, with since when and why, if this hospital has paused itself. */
CNS_MUST_CHECK int cns_agent_guard_pause(struct cns_agent *agent, struct cns_problem *problem);

/* ---- clock.c ---- */

/* Says it if the clocks of the two sides differ by more than CNS_AGENT_CLOCK_SECONDS. */
void cns_agent_told_time(struct cns_agent *agent, const uint8_t *data, size_t len);

/* ---- guard.c: what is refused before a machine exists ---- */

/* May this announcement be taken up: study not over, documents in force,
 * updates left for this parent? CNS_ERR_REFUSED with a sentence. */
CNS_MUST_CHECK int cns_agent_guard_round(struct cns_agent *agent, const struct cns_descriptor *descriptor,
                                         struct cns_problem *problem);
CNS_MUST_CHECK int cns_agent_expectation(struct cns_agent *agent, struct cns_expectation *ret_expectation,
                                         struct cns_problem *problem);
/* Verifies; ours, and the next of our chain; durable when it returns. Deinit it. */
CNS_MUST_CHECK int cns_agent_guard_manifest(struct cns_agent *agent, const uint8_t *data, size_t len,
                                            struct cns_manifest *ret_manifest, struct cns_problem *problem);

/* ---- round.c ---- */

void cns_agent_announced(struct cns_agent *agent, const uint8_t *data, size_t len);
void cns_agent_requested(struct cns_agent *agent, const uint8_t *data, size_t len);
void cns_agent_upload_from(struct cns_agent *agent, const struct cns_digest *digest, uint64_t chunk);
/* The parent's bytes are in the registry. */
void cns_agent_model_here(struct cns_agent *agent);
/* Declines and drops the present round. */
void cns_agent_give_up(struct cns_agent *agent, const struct cns_problem *problem);
void cns_agent_drop_round(struct cns_agent *agent);
/* What cns_hospital_handle (r: its result) made of a request: answered durably and
 * sent, declined, or the work that it asks for is begun. */
void cns_agent_handled(struct cns_agent *agent, enum cns_phase phase, int r, const uint8_t *bytes, size_t len,
                       struct cns_problem *problem);
/* Durable, then sent; a second, different answer can never leave. The numbers of
 * an answer of phase audit are counted with it. */
CNS_MUST_CHECK int cns_agent_answer(struct cns_agent *agent, enum cns_phase phase, const uint8_t *bytes,
                                    size_t len, struct cns_problem *problem);
bool cns_agent_in_round(const struct cns_agent *agent, const struct cns_digest *digest);

/* ---- audit.c: phases audit, dispute and forfeit ---- */

/* A is known: sketches on a worker thread, then answers. */
void cns_agent_audit(struct cns_agent *agent);
/* Judges a request of phase forfeit on a worker thread, with the machine. Requests
 * that come meanwhile wait, the last of them. */
void cns_agent_judge(struct cns_agent *agent, const uint8_t *request, size_t len);
/* For the operator: what was opened or released in these phases. Once an answer. */
void cns_agent_log_audit(struct cns_agent *agent, enum cns_phase phase, const uint8_t *answer, size_t len);

/* ---- ledger.c: what rounds cost in privacy; nothing under a policy without noise ---- */

/* What an agent before this one had only reserved is free again. */
CNS_MUST_CHECK int cns_agent_ledger_begin(struct cns_agent *agent, struct cns_problem *problem);
/* CNS_ERR_BUDGET: a limit would be exceeded; the sentence has the arithmetic. CNS_ERR_EXISTS: the
 * round is on record, whoever joined it. */
CNS_MUST_CHECK int cns_agent_ledger_reserve(struct cns_agent *agent, const struct cns_descriptor *descriptor,
                                            struct cns_problem *problem);
/* Durable, and shown to the coordinator, before the first byte leaves. */
CNS_MUST_CHECK int cns_agent_ledger_charge(struct cns_agent *agent, struct cns_problem *problem);
/* The round is over here; if nothing of it left, it costs nothing. */
void cns_agent_ledger_dropped(struct cns_agent *agent, const struct cns_digest *digest);
/* t abandons were verified. */
CNS_MUST_CHECK int cns_agent_ledger_refund(struct cns_agent *agent, const struct cns_descriptor *descriptor,
                                           const struct cns_digest *digest, struct cns_problem *problem);
/* Our head to the coordinator. */
void cns_agent_ledger_show(struct cns_agent *agent);
/* When a link is open: our head, and the coordinator's that we keep. */
void cns_agent_ledger_greet(struct cns_agent *agent);
void cns_agent_ledger_shown(struct cns_agent *agent, const uint8_t *data, size_t len);
/* Is no further round of this study within the limits? Logs alerts. */
bool cns_agent_budget_is_spent(struct cns_agent *agent);

/* ---- ending.c: how rounds end ---- */

void cns_agent_manifest(struct cns_agent *agent, const uint8_t *data, size_t len);
/* Where SCAFFOLD's control variate is kept. */
struct cns_control cns_agent_control(const struct cns_agent *agent);
/* What an accepted manifest makes of a proposed one; nothing without SCAFFOLD. */
CNS_MUST_CHECK int cns_agent_settle_control(struct cns_agent *agent, const struct cns_manifest *manifest,
                                            struct cns_problem *problem);
void cns_agent_ended(struct cns_agent *agent, const struct cns_wire_word *word);
void cns_agent_abandon_asked(struct cns_agent *agent, const struct cns_digest *digest);
void cns_agent_abandoned(struct cns_agent *agent, const uint8_t *data, size_t len);
/* After the last round: logs, and asks for the last model. */
void cns_agent_check_finished(struct cns_agent *agent);
/* A further round after the coordinator's word that there is none: a late refund. */
void cns_agent_goes_on(struct cns_agent *agent);

/* ---- download.c ---- */

/* 0: the model's file, which the caller frees. CNS_ERR_NOT_FOUND: it was asked for. */
CNS_MUST_CHECK int cns_agent_model(struct cns_agent *agent, const struct cns_digest *model,
                                   struct cns_model_map **ret_map, struct cns_problem *problem);
/* Puts the initial model into the registry and takes its digest and length. */
CNS_MUST_CHECK int cns_agent_initial_model(struct cns_agent *agent, struct cns_problem *problem);
void cns_agent_download_resume(struct cns_agent *agent);
void cns_agent_download_lost(struct cns_agent *agent);
void cns_agent_download_frame(struct cns_agent *agent, const uint8_t *data, size_t len);
void cns_agent_download_stop(struct cns_agent *agent);
