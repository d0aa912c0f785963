/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A coordinator for tests of the agent: the real machine, listener and kits, on
 * one loop with the agents, and as much of a daemon as rounds need. Tests make
 * it lie. Include after cmocka.
 */
#pragma once

#include "cli/kit.h"
#include "client/agent.h"
#include "model/plan.h"
#include "protocol/consent.h"
#include "protocol/coordinator.h"
#include "protocol/manifest.h"
#include "protocol/wire.h"
#include "store/kit.h"
#include "store/ledger.h"

#define FAKE_MAX 5

struct fake_peer {
  struct fake *fake;
  size_t k; /* position; the roster index is one more */
  char kit[256];
  struct cns_agent *agent;
  FILE *log_file;
  char *log;
  size_t log_len;
  struct cns_link *link;
  int opened, joined, answers, declines, upload_opens, model_gets, abandons, finished;
  uint64_t joined_round, roster_version;
  struct cns_wire_word declined;
  uint32_t weight;
  bool out; /* of the present round */
  uint8_t *y;
  uint64_t next, resent;
  struct cns_upload_digest digest;
  uint64_t model_offset, model_at; /* asked for; sent so far */
  struct cns_signature abandon;
  int heads; /* of its own ledger; the last one */
  struct cns_ledger_head head;
};

struct fake_rogue;

struct fake {
  uint64_t seed;
  size_t n;
  char folder[64];
  uv_loop_t uv;
  struct cns_loop *loop;
  struct cns_rng_seeded rng;
  struct cns_kit kit; /* the coordinator's */
  struct cns_plan plan;
  struct cns_digest study;
  struct cns_peers *peers;
  struct cns_listener *listener;
  struct fake_peer peer[FAKE_MAX];

  uint64_t model_round;
  float *params;
  uint8_t *model;
  size_t model_len;
  struct cns_digest model_digest;
  uint8_t *manifest;
  size_t manifest_len;
  struct cns_manifest_metrics metrics;
  double clip_norm; /* of the next round */

  uint32_t attempt;
  struct cns_digest round; /* R of the last announcement */
  struct cns_descriptor descriptor;
  struct cns_coordinator *machine;
  int completed, void_rounds;
  uint8_t nonce[CNS_SKETCH_NONCE_BYTES];
  uint8_t outcomes[FAKE_MAX]; /* of the last completed round */
  uint32_t *sum;              /* of it, unmasked */
  struct fake_rogue *rogue;   /* NULL: all are agents */

  /* What a test changes; NULL or zero: nothing. */
  bool (*on_phase)(struct fake *fake, enum cns_phase phase); /* false: nobody is asked */
  bool (*on_upload_open)(struct fake *fake, size_t k);       /* false: it isn't asked for a byte */
  size_t cut_peer;                                           /* position + 1 */
  uint64_t cut_chunk;                                        /* cuts the link when it comes */
  uint64_t forget_chunks;                                    /* asks again for so many that it had */
  bool damage_model;
  size_t wrong_to; /* position + 1: gets the request of a phase with its last byte changed */
  enum cns_phase wrong_phase;
  /* Of a completed round, before it is signed. */
  void (*on_manifest)(struct fake *fake, struct cns_manifest *manifest);
  const char *turn_away;    /* said to whoever joins */
  uint64_t model_bytes_max; /* of one stream, then the link is cut */
};

struct fake_options {
  size_t n;
  uint64_t seed;
  const char *model;                         /* JSON */
  const char *training;                      /* JSON */
  const char *noise;                         /* JSON, the study's "privacy"; NULL: none */
  struct cns_privacy_choice privacy;         /* budget of the first policy */
  void (*policy)(struct cns_policy *policy); /* changes it before it is signed; NULL: the default */
};

/* Kits of n hospitals with tables drawn from the seed, consents not yet given. */
struct fake *fake_new(const struct fake_options *options);
void fake_free(struct fake *fake);
void fake_consent(struct fake *fake, size_t k);

void fake_start(struct fake *fake, size_t k); /* must succeed */
void fake_start_all(struct fake *fake);       /* with consent; until all but a rogue have joined */
void fake_stop(struct fake *fake, size_t k);

/* The next round as an honest coordinator describes it; deinit it. */
void fake_describe(struct fake *fake, struct cns_descriptor *ret_descriptor);
/* Signs and sends any descriptor to one hospital. */
void fake_announce_to(struct fake *fake, size_t k, const struct cns_descriptor *descriptor);
/* An honest round with everyone: descriptor, machine, announcement. */
void fake_begin(struct fake *fake);
void fake_end(struct fake *fake); /* without a result: tells the hospitals */
/* The present phase's request to hospital k, once more, if it is awaited. */
void fake_request(struct fake *fake, size_t k);
void fake_send(struct fake *fake, size_t k, uint8_t type, const struct cns_writer *frame);
void fake_send_manifest(struct fake *fake, size_t k, const uint8_t *manifest, size_t len);

void fake_until_(struct fake *fake, const int *counter, int least, const char *what, int line);
#define fake_until(fake, counter, least) fake_until_(fake, &(counter), least, #counter, __LINE__)
/* Was this said in the log of hospital k? */
bool fake_logged(struct fake *fake, size_t k, const char *text);
size_t fake_count_log(const struct fake *fake, size_t k, const char *text); /* how often */
/* The same, waited for; fails the test. */
void fake_expect_log_(struct fake *fake, size_t k, const char *text, int line);
#define fake_expect_log(fake, k, text) fake_expect_log_(fake, k, text, __LINE__)
/* The last DECLINE, waited for. */
const char *fake_declined_(struct fake *fake, size_t k, int least, int line);
#define fake_declined(fake, k, least) fake_declined_(fake, k, least, __LINE__)
