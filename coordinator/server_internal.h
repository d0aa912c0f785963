/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the coordinator's daemon. All of it on the loop's thread, but for
 * the jobs on the worker pool, which own what they were given until they end. */
#pragma once

#include <cjson/cJSON.h>
#include <time.h>
#include <uv.h>

#include "coordinator/judge.h"
#include "coordinator/optimiser.h"
#include "coordinator/server.h"
#include "model/model_view.h"
#include "model/plan.h"
#include "model/table.h"
#include "net/link.h"
#include "protocol/consent.h"
#include "protocol/coordinator.h"
#include "protocol/expiry.h"
#include "protocol/manifest.h"
#include "protocol/pause.h"
#include "protocol/wire.h"
#include "store/charge.h"
#include "store/journal.h"
#include "store/kit.h"
#include "store/registry.h"
#include "store/vector_file.h"

/* Kinds of journal entries. */
enum cns_server_entry {
  CNS_ENTRY_BEGIN = 1,  /* descriptor */
  CNS_ENTRY_ANSWER = 2, /* a hospital's answer */
  CNS_ENTRY_UPLOAD = 3, /* digest of the vector held (32), then the answer */
  CNS_ENTRY_CHUNKS = 4, /* next missing chunk u64: those before are durable */
  CNS_ENTRY_CLOSE = 5,  /* the phase was closed */
  CNS_ENTRY_STOP = 6,   /* end code u8, sentence */
  CNS_ENTRY_RESULT = 7, /* signed manifest */
  CNS_ENTRY_SHARES =
      8, /* an answer with its leaves (phases shares, audit, dispute): erased after the round */
  CNS_ENTRY_SIGNED = 9,   /* the signed message of such an answer alone: stays */
  CNS_ENTRY_NAMED = 10,   /* an answer that was refused and names its sender: erased, the evidence has it */
  CNS_ENTRY_ASKED = 11,   /* of an attempt without a result: by position u8, was an upload asked for? */
  CNS_ENTRY_WATCH = 12,   /* cns_watch_encode: in force from here on */
  CNS_ENTRY_NONCE = 13,   /* of the audit of the attempt that begins (32): before its descriptor */
  CNS_ENTRY_SKETCH = 14,  /* A*y of an upload, k words: erased after the round */
  CNS_ENTRY_DECIDED = 15, /* by position u8, whom the audit leaves out: cns_coordinator_decide */
  CNS_ENTRY_OVER = 16,    /* cns_pause_write of a stop: no round follows */
};

#define CNS_SERVER_SIGNALS 3
#define CNS_SERVER_TICK_MS 50
#define CNS_SERVER_CHECKPOINT_CHUNKS 64
/* A closed stream counts as missing after this; after a start, hospitals get
 * longer: they dial again with pauses of up to 15 s. */
#define CNS_SERVER_GRACE_MS 3000
#define CNS_SERVER_RESTART_GRACE_MS 20000
/* ... and longer where closing the phase without them would end the round: the
 * longest pause between two attempts to dial, twice. */
#define CNS_SERVER_NEEDED_GRACE_MS 30000
/* Before any round was measured; doubled with each attempt that failed. */
#define CNS_SERVER_FIRST_DEADLINE_MS 600000u
#define CNS_SERVER_DEADLINE_MIN_MS 15000u
/* A loop that was away for longer than this doesn't count its absence. */
#define CNS_SERVER_STALL_MS 1000
#define CNS_SERVER_START_GRACE_MS 10000
#define CNS_SERVER_ABANDON_MS 5000
/* After the study's last round, for its model to be fetched. */
#define CNS_SERVER_LAST_MODEL_MS 10000
#define CNS_SERVER_LAST_DOWNLOAD_MS 600000
#define CNS_SERVER_RETRY_FIRST_MS 1000
#define CNS_SERVER_RETRY_CAP_MS 60000
/* Between attempts that too many hospitals have no update left for. */
#define CNS_SERVER_WORN_OUT_MS 300000
/* Between looks whether a new month has come. */
#define CNS_SERVER_MONTH_MS 3600000
/* Between looks at what expires. */
#define CNS_SERVER_EXPIRY_MS 60000
#define CNS_SERVER_MODELS_KEPT 10
/* Between attempts to erase what a full disk kept from being erased. */
#define CNS_SERVER_ERASE_PAUSE_MS 30000
/* Open files and streams beside those of hospitals: journal, models, listener,
 * strangers that haven't said yet who they are, links that are just closing. */
#define CNS_SERVER_FILES_BESIDE 128
/* So many refused answers, chunks out of order and the like, and a hospital has
 * no part in the rest of the round. */
#define CNS_SERVER_STRIKES_MAX 8
/* Lines in the log that one party may cause in a window. */
#define CNS_SERVER_LINES_MAX 30
#define CNS_SERVER_LINES_MS 10000
/* Heads of its ledger that a hospital may show in that time: each is written to the disk. */
#define CNS_SERVER_HEADS_MAX 200
/* And heads of another ledger than before. */
#define CNS_SERVER_STRANGERS_MAX 5
/* Failed attempts of the present round that are remembered for abandoning; a
 * policy allows at most 10 spent updates of one parent. */
#define CNS_SERVER_ABANDONINGS_MAX 16

/* What one party made us say lately. */
struct cns_lines {
  uint64_t since_ms;
  unsigned count;
};

/* One hospital of the roster. */
struct cns_session {
  const struct cns_roster_hospital *hospital;
  struct cns_link *link; /* NULL: not connected */
  bool joined;
  bool ledger_known;      /* its ledger is whole, as far as can be told here; true without noise */
  bool seen;              /* joined since this process started */
  uint64_t joined_ms;     /* the last JOIN */
  bool brought_chunk;     /* over the present link: one that was missing */
  uint64_t gone_since_ms; /* when a link was lost that had lasted or brought a chunk */
  uint32_t patients;
  unsigned strikes; /* in the running round */
  struct cns_lines lines, heads, strangers;
  struct cns_expiry expiry; /* of its certificate */
  /* model download */
  bool streaming;
  uint64_t stream_at;
  /* traffic of links that are closed, since the round began */
  uint64_t bytes_in, bytes_out;
  uint64_t base_in, base_out; /* of the open link, at the round's begin */
};

/* One member of the running round's cohort. */
struct cns_upload {
  struct cns_vector_file *file;
  struct cns_upload_digest digest;
  uint64_t checkpoint;
  uint64_t added; /* chunks that are in the running sum, from the first on */
  bool receipt_due;
  bool declined; /* takes no part in the rest of the round */
};

/* The sum of all chunks that came, of masked vectors: as random as each of them while one mask is
 * unknown, and in no file. Without it the uploads are read once more at the end. */
struct cns_running {
  uint32_t *sum; /* of all words, anonymous memory; NULL: none */
  bool spoilt;   /* there was no memory, or what was added can't be taken out again */
};

/* An attempt that ended after uploads were asked for, until t abandons are there. */
struct cns_abandoning {
  uint64_t since_ms;
  struct cns_descriptor descriptor;
  struct cns_digest round;
  bool *asked;                       /* by position: for an upload */
  struct cns_wire_abandon *abandons; /* by position; index 0: none */
  size_t count;
};

struct cns_server {
  const struct cns_server_options *options;
  uv_loop_t loop;
  uv_timer_t tick;
  uv_check_t check;
  uv_signal_t signals[CNS_SERVER_SIGNALS];
  bool stopping;
  int result; /* of the run */
  struct cns_problem problem;

  struct cns_loop *bridge;
  struct cns_peers *peers;
  struct cns_listener *listener;
  struct cns_kit kit;
  struct cns_kit next; /* if has_next: whose roster is in force from the next round on */
  bool has_next;
  struct cns_expiry roster_expiry, policy_expiry, certificate_expiry;
  uint64_t expiry_looked_ms;
  struct cns_plan plan;
  struct cns_digest study;
  struct cns_table test; /* public; without rows: none */
  struct cns_journal *journal;
  struct cns_registry *registry;
  struct cns_ledger *ledger; /* NULL under a policy without noise */
  char *heads;               /* folder of the hospitals' heads */
  double alert_said;
  struct cns_problem budget_spent; /* text: why there is no further round */
  char *vectors;
  uint8_t vector_key[CNS_VECTOR_FILE_KEY_BYTES];
  bool dirty;     /* appended to the journal, not synced */
  bool erase_due; /* ciphertexts of any finished round may still be there */
  uint64_t erase_tried_ms;

  struct cns_session *sessions; /* CNS_HOSPITALS_MAX; one a hospital of the roster is in use */
  size_t session_count;
  struct cns_session *by_index[CNS_HOSPITALS_MAX + 1];
  struct cns_lines strangers;

  /* the model that the next round starts from */
  uint64_t completed;           /* rounds */
  struct cns_digest last_round; /* descriptor of the last one; if completed > 0 */
  struct cns_digest initial, model;
  double clip_norm;                /* of the round after it */
  bool same_version;               /* the last round was under the present study file */
  char *optimiser_path;            /* folder of the server optimiser's state */
  struct cns_model_map *model_map; /* the model's file */
  struct cns_model_view view;      /* of it */
  const float *params;             /* in it */
  const uint8_t *model_bytes;      /* all of it */
  size_t model_len;
  uint8_t *manifest; /* NULL before round 1 */
  size_t manifest_len;

  struct cns_watch *watch; /* what audits have shown so far */
  bool said_influence;
  struct cns_pause pause;     /* the operator's order, as it was last read */
  struct cns_problem stopped; /* text: a stop is in the journal, and why */
  bool pause_unreadable;      /* the order there; said */
  struct timespec pause_read; /* the file's time of change then, and its inode */
  uint64_t pause_inode;
  struct timespec releases_read; /* the folder's time of change then */

  /* the running round */
  struct cns_coordinator *machine;
  struct cns_upload *uploads; /* by position */
  struct cns_running running; /* the sum of what is uploaded so far */
  bool job_running;
  bool sketching;                        /* uploads are being sketched; the machine is free meanwhile */
  uint8_t nonce[CNS_SKETCH_NONCE_BYTES]; /* of the running round's audit, or of the one that begins */
  struct cns_judgement *judgement;       /* of the running round, once it is decided; NULL */
  uint64_t round_started_ms, phase_started_ms;
  uint64_t last_answer_ms[CNS_PHASE_COUNT];    /* of this round, from the phase's begin */
  uint64_t enough_answers_ms[CNS_PHASE_COUNT]; /* the t-th */
  size_t answers[CNS_PHASE_COUNT];
  uint32_t last_attempt;                                         /* of round completed+1 */
  size_t verdicts_said;                                          /* of the running round */
  struct cns_abandoning abandonings[CNS_SERVER_ABANDONINGS_MAX]; /* of round completed+1 */
  size_t abandoning_count;

  /* scheduling */
  uint64_t ticked_ms, stalled_ms, clock_said_ms;
  uint64_t started_ms;
  uint64_t waiting_since_ms;
  uint64_t not_before_ms;
  uint64_t retry_ms;
  uint64_t said_waiting_ms;
  bool said_finished;
  /* Longest of the recent rounds, decaying: the last answer and the t-th. */
  uint64_t measured_ms[CNS_PHASE_COUNT], measured_enough_ms[CNS_PHASE_COUNT];
};

/* server.c */
/* Milliseconds of a clock that stands still while the loop is kept from running. */
uint64_t cns_server_now(const struct cns_server *server);
/* Everybody gets the graces of a start from now on. */
void cns_server_start_clocks(struct cns_server *server);
/* Never call with result 0: the daemon ends. */
void cns_server_fatal(struct cns_server *server, int error, const struct cns_problem *problem);
void cns_server_stop(struct cns_server *server);

/* session.c */
struct cns_link_callbacks cns_session_callbacks(struct cns_server *server);
struct cns_session *cns_session_of(struct cns_server *server, uint16_t index);
/* Position of a session's hospital in the running cohort, or -1. */
int cns_session_position(const struct cns_server *server, const struct cns_session *session);
struct cns_session *cns_session_at(struct cns_server *server, size_t position);
void cns_session_send(struct cns_session *session, uint8_t type, const struct cns_writer *writer);
void cns_session_notice(struct cns_session *session, const char *fmt, ...) CNS_PRINTF(2, 3);
/* There is no further round, and why; nothing to one that hasn't joined. */
void cns_session_over(struct cns_server *server, struct cns_session *session);
/* Something that an honest hospital doesn't send. Too often, and it is left out
 * of the running round. */
void cns_session_strike(struct cns_server *server, struct cns_session *session, const char *sentence);
/* No more of it is awaited in the running round. */
void cns_session_leave_out(struct cns_server *server, struct cns_session *session);
/* What the round still awaits from this hospital, again. */
void cns_session_send_due(struct cns_server *server, struct cns_session *session);
void cns_session_send_manifest(struct cns_server *server, struct cns_session *session);

/* uploads.c */
/* Room for so many bytes of uploads, and the journal's margin? CNS_ERR_DISK_FULL. */
CNS_MUST_CHECK int cns_upload_check_room(const struct cns_server *server, uint64_t bytes,
                                         struct cns_problem *problem);
void cns_upload_open(struct cns_server *server, struct cns_session *session, const uint8_t *data, size_t len);
void cns_upload_chunk(struct cns_server *server, struct cns_session *session, const uint8_t *data,
                      size_t len);
/* This hospital can't upload; the others can. */
void cns_upload_give_up(struct cns_server *server, struct cns_session *session,
                        const struct cns_problem *problem);
/* Digest of a complete upload; CNS_ERR_STATE if chunks are missing. */
CNS_MUST_CHECK int cns_upload_finish(struct cns_server *server, size_t position, struct cns_digest *ret_root,
                                     struct cns_problem *problem);
/* Found again after a restart: chunks before `next` are durable. */
CNS_MUST_CHECK int cns_upload_restore(struct cns_server *server, size_t position, uint64_t next,
                                      struct cns_problem *problem);
void cns_uploads_close(struct cns_server *server, bool delete_files);

/* running.c */
/* The next chunk of this hospital's upload, once it is in its file. */
void cns_running_add(struct cns_server *server, size_t position, uint64_t chunk, const uint32_t *words,
                     size_t count);
/* How much of this hospital's upload is in the running sum. */
uint64_t cns_running_words(const struct cns_server *server, size_t position);
/* This hospital's file goes, or is begun anew: without it, what was added can't be taken out. */
void cns_running_forget(struct cns_server *server, size_t position);
/* Until the round ends there is none. */
void cns_running_spoil(struct cns_server *server);
void cns_running_drop(struct cns_server *server);

/* round.c */
/* The journal can't be written: the daemon ends. */
void cns_round_journal_failed(struct cns_server *server, int error, struct cns_problem *problem);
CNS_MUST_CHECK int cns_server_append(struct cns_server *server, enum cns_server_entry kind,
                                     enum cns_phase phase, uint16_t index, const uint8_t *body, size_t len,
                                     struct cns_problem *problem);
CNS_MUST_CHECK int cns_round_start(struct cns_server *server, const struct cns_descriptor *descriptor,
                                   struct cns_problem *problem);
/* Machine and upload table of a descriptor, without journalling. */
CNS_MUST_CHECK int cns_round_open(struct cns_server *server, const struct cns_descriptor *descriptor,
                                  struct cns_problem *problem);
void cns_round_answer(struct cns_server *server, struct cns_session *session, const uint8_t *data,
                      size_t len);
/* After a restart: what the audit showed, again, and the decision that follows. */
void cns_round_judge(struct cns_server *server);
/* Syncs what was accepted, then acts on it: receipts, closings, requests. */
void cns_round_advance(struct cns_server *server);
/* After a failure the daemon is ending and nothing may follow. */
CNS_MUST_CHECK int cns_round_stop(struct cns_server *server, enum cns_end end, const char *reason);
void cns_round_free(struct cns_server *server, bool delete_files);
/* Ciphertexts of a finished round are not kept; signed messages are. What failed
 * is due again, with all earlier rounds, at the next call. */
void cns_round_erase(struct cns_server *server, uint64_t round, uint32_t attempt);
/* Between rounds: what is due on the disk and was hindered. */
void cns_round_tidy(struct cns_server *server);

/* audit.c */
/* Phase audit is open: A*y of every upload that isn't sketched yet. */
void cns_audit_sketch(struct cns_server *server);
/* What audits have shown goes into the journal, to be synced with the rest. */
CNS_MUST_CHECK int cns_audit_append_watch(struct cns_server *server, struct cns_problem *problem);
/* A closing was computed (phase: which was closed); with what followed from it
 * written down. judgement: taken, NULL if nothing is to be decided. */
CNS_MUST_CHECK int cns_audit_closed(struct cns_server *server, enum cns_phase phase, size_t verdicts_before,
                                    struct cns_judgement *judgement, struct cns_problem *problem);

/* quarantine.c */
/* Between rounds: releases that an officer has signed. */
void cns_quarantine_take_releases(struct cns_server *server);
/* The list for people and other programs: quarantine.json in the state folder. */
void cns_quarantine_publish(struct cns_server *server);
bool cns_quarantine_holds(const struct cns_server *server, uint16_t index);

/* model.c */
/* The study's initial model becomes the present one. */
CNS_MUST_CHECK int cns_server_first_model(struct cns_server *server, struct cns_problem *problem);
/* A file of the registry becomes the present model; map: taken on success. */
CNS_MUST_CHECK int cns_server_take_model(struct cns_server *server, struct cns_model_map *map,
                                         const struct cns_digest *digest, const char *where,
                                         struct cns_problem *problem);
/* At the start, before a round is gone on with: what a crash left before it was published. With noise, a
 * second sum of the same updates would be one that nobody has paid for. */
CNS_MUST_CHECK int cns_server_sweep_models(struct cns_server *server, struct cns_problem *problem);
void cns_server_drop_model(struct cns_server *server);

/* result.c */
void cns_result_compute(struct cns_server *server);
void cns_result_fail(struct cns_server *server);
CNS_MUST_CHECK int cns_result_adopt(struct cns_server *server, const uint8_t *manifest, size_t len,
                                    struct cns_problem *problem);

/* optimiser.c: nothing for an optimiser without state */
/* After a restart: the state that the next round needs is there and whole. */
CNS_MUST_CHECK int cns_optimiser_check(const struct cns_server *server, struct cns_problem *problem);
/* For the round that is being computed. */
CNS_MUST_CHECK int cns_optimiser_begin(const struct cns_server *server, struct cns_optimiser *ret_optimiser,
                                       struct cns_problem *problem);
/* The new model is the present one, and its manifest not written yet. */
CNS_MUST_CHECK int cns_optimiser_commit(const struct cns_server *server, struct cns_optimiser *optimiser,
                                        uint64_t round, struct cns_problem *problem);
void cns_optimiser_end(struct cns_optimiser *optimiser);
/* States that nothing goes on from. */
CNS_MUST_CHECK int cns_optimiser_tidy(const struct cns_server *server, struct cns_problem *problem);
/* On the disk, of one model version. */
uint64_t cns_optimiser_bytes(const struct cns_server *server);

/* ledger.c: nothing under a policy without noise */
CNS_MUST_CHECK int cns_budget_open(struct cns_server *server, struct cns_problem *problem);
/* After a restart: reservations of rounds that aren't gone on with are free. */
CNS_MUST_CHECK int cns_budget_replayed(struct cns_server *server, struct cns_problem *problem);
/* Raises the attempt's number beyond those that only the ledger knows: a crash between ledger and
 * journal leaves such. */
CNS_MUST_CHECK int cns_budget_choose_attempt(const struct cns_server *server,
                                             struct cns_descriptor *descriptor, struct cns_problem *problem);
/* Between rounds: sets budget_spent if the next one isn't within the budget. */
CNS_MUST_CHECK int cns_budget_look_ahead(struct cns_server *server, struct cns_problem *problem);
/* Our head to everybody: hospitals keep it. */
void cns_budget_show_all(struct cns_server *server);
/* Before a round is announced. With the arithmetic: CNS_ERR_BUDGET, no further one;
 * CNS_BUDGET_WAIT, none this month. */
#define CNS_BUDGET_WAIT 1
CNS_MUST_CHECK int cns_budget_reserve(struct cns_server *server, const struct cns_descriptor *descriptor,
                                      struct cns_problem *problem);
/* Before anything is asked of hospitals in phase upload; later, and again: nothing. */
CNS_MUST_CHECK int cns_budget_charge(struct cns_server *server, struct cns_problem *problem);
/* Before the model is published. */
CNS_MUST_CHECK int cns_budget_release(struct cns_server *server, struct cns_problem *problem);
/* The round ended without a result: free again if nothing was asked for. */
CNS_MUST_CHECK int cns_budget_failed(struct cns_server *server, struct cns_problem *problem);
/* t abandons are there. */
CNS_MUST_CHECK int cns_budget_refund(struct cns_server *server, const struct cns_descriptor *descriptor,
                                     const struct cns_digest *round, struct cns_problem *problem);
CNS_MUST_CHECK int cns_budget_standing(struct cns_server *server, struct cns_charge_standing *ret_standing,
                                       struct cns_problem *problem);
/* After a JOIN: our head, and the hospital's that we keep. */
void cns_budget_greet(struct cns_server *server, struct cns_session *session);
void cns_budget_shown(struct cns_server *server, struct cns_session *session, const uint8_t *data,
                      size_t len);

/* abandon.c */
/* asked: by position, who was asked for an upload; copied. Nothing if nobody was. */
CNS_MUST_CHECK int cns_abandoning_begin(struct cns_server *server, const struct cns_descriptor *descriptor,
                                        const bool *asked);
void cns_abandoning_ask(struct cns_server *server, struct cns_session *session);
void cns_abandoning_take(struct cns_server *server, struct cns_session *session, const uint8_t *data,
                         size_t len);
/* True while the next attempt should wait. */
bool cns_abandoning_pending(const struct cns_server *server);
/* Has this hospital, as far as can be seen from here, no update of the present
 * model left that the policy allows it to send? */
bool cns_abandoning_worn_out(const struct cns_server *server, const struct cns_session *session);
/* A new model: what was sent of the old one doesn't matter any more. */
void cns_abandoning_end(struct cns_server *server);

/* schedule.c */
void cns_schedule_tick(struct cns_server *server);
/* Before the first round: an adaptive clip norm may come to any within its bounds, and the grid
 * hold some and not others, its step being a power of two. Better refused before anything is
 * spent. CNS_ERR_RANGE with a sentence. */
CNS_MUST_CHECK int cns_schedule_check_norms(const struct cns_server *server,
                                            const struct cns_descriptor *descriptor,
                                            struct cns_problem *problem);
/* Is nothing more to be waited for in the present phase? */
bool cns_schedule_phase_is_over(struct cns_server *server);
/* An answer of the present phase was accepted. */
void cns_schedule_answered(struct cns_server *server, enum cns_phase phase);
void cns_schedule_measure(struct cns_server *server);

/* reload.c */
CNS_MUST_CHECK int cns_reload_set_peers(struct cns_server *server, const struct cns_roster *roster);
void cns_reload_set_sessions(struct cns_server *server);
/* Reads the kit's roster; refused with a word unless it is a newer one. */
void cns_reload(struct cns_server *server);
/* The newest roster, if it is newer than `version`: before anything is announced under it. */
void cns_reload_send(struct cns_server *server, struct cns_session *session, uint64_t version);
/* Between rounds: what was read is in force. */
void cns_reload_adopt(struct cns_server *server);

/* carried.c */
/* A hospital shows a ledger of another owner than before. May it? Only under a statement of charges that was
 * made for the key that it has now, of the very head that is kept, and with as many entries as are stated.
 * 0: yes, and it is said; negative, with a sentence: no. */
CNS_MUST_CHECK int cns_carried_accept(struct cns_server *server, struct cns_session *session,
                                      const struct cns_ledger_head *head, const struct cns_ledger_head *kept,
                                      struct cns_problem *problem);
/* The statement serves once: before the new head is kept. */
CNS_MUST_CHECK int cns_carried_done(struct cns_server *server, const struct cns_roster_hospital *hospital,
                                    struct cns_problem *problem);

/* expiry.c */
/* Now and then: what expires within 60, 30 and 7 days, or has, is said once each. */
void cns_expiry_tick(struct cns_server *server);
void cns_expiry_look(struct cns_server *server, int64_t now_seconds);

/* pause.c: an operator's order in the state folder */
/* After a replay. CNS_ERR_FORMAT, and errors of the disk. */
CNS_MUST_CHECK int cns_pause_open(struct cns_server *server, struct cns_problem *problem);
/* At any time: takes note, and tells the hospitals of a pause. */
void cns_pause_look(struct cns_server *server);
/* Between rounds: a stop goes into the journal, and the study is over. */
void cns_pause_take_stop(struct cns_server *server);
bool cns_pause_holds(const struct cns_server *server);
/* After a JOIN: what keeps rounds from beginning, if anything does. */
void cns_pause_greet(struct cns_server *server, struct cns_session *session);
/* Why the study ends before its last round; "" if it doesn't. ret_error (may be NULL): as what. */
const char *cns_server_end_word(const struct cns_server *server, int *ret_error);

/* replay.c */
CNS_MUST_CHECK int cns_replay(struct cns_server *server, struct cns_problem *problem);

/* report.c */
/* To stderr. event: a short fixed name, for JSON. */
void cns_report(struct cns_server *server, const char *event, const char *fmt, ...) CNS_PRINTF(3, 4);
/* May another line be written that this party causes? Says so once when not. */
bool cns_report_allowed(struct cns_server *server, struct cns_lines *lines);
/* Is this one of the first `max` in CNS_SERVER_LINES_MS? */
bool cns_report_within(const struct cns_server *server, struct cns_lines *lines, unsigned max);
/* The same with fields of its own in the JSON; json is taken. */
void cns_report_with(struct cns_server *server, const char *event, cJSON *json, const char *fmt, ...)
    CNS_PRINTF(4, 5);
void cns_report_round(struct cns_server *server, const struct cns_manifest *manifest);
void cns_report_ended(struct cns_server *server);
void cns_report_verdicts(struct cns_server *server);
