/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kit: the folder that a coordinator or a hospital is started with. Loading
 * checks everything a party can check by itself before it speaks to anybody
 * (docs/protocol.md, "Parties and roots of trust"):
 *
 *   authority.pub  the authority's key, hex: the only root of trust
 *   identity.key   Ed25519 seed (0600), in the roster and not revoked
 *   tls.key        (0600), belongs to tls.crt
 *   tls.crt        its pin is the roster's; after a renewal, of a second pair, tls.next.key and
 *                  tls.next.crt, the one whose pin the roster has is in use
 *   roster.json    signed by the authority, valid now; a hospital's agent keeps newer ones that
 *                  it was sent in the state folder, as roster.accepted.json: the newest counts
 *   policy.json    signed by one of the roster's officers, valid now, fits the roster
 *   study.json     signed by the authority; its content is the caller's to parse
 *   config.json    {"role": "coordinator", "listen": URL, "state": PATH} and, where the policy's
 *                  metrics are "public", "test": PATH (a table like the hospitals'), or
 *                  {"role": "hospital", "name", "index", "address": URL, "data": PATH,
 *                   "state": PATH, "floor": {"cohort", "included", "threshold"}} and, if
 *                  wanted, "ledger": PATH (the data's privacy ledger; left out: the path of
 *                  the table, links followed, with ".ledger" behind it) and
 *                  "budget": {"epsilon", "delta"} (what all studies on these data may cost
 *                  together; left out: what the policy says of the study), in it, if wanted,
 *                  "lost_through": ROUND (what this study cost up to there is in a ledger
 *                  that was lost, and was taken off epsilon and delta) and
 *                  "trainer": {"command": [...], ...} (what trains here, instead of the built-in
 *                  trainer; docs/trainers.md) and "patients": N (how many the data are of, where the
 *                  study names no table in which they could be counted);
 *                  paths are relative to the kit unless they begin with "/"
 */
#pragma once

#include "model/plan.h"
#include "protocol/descriptor.h"
#include "protocol/policy.h"
#include "protocol/roster.h"

#define CNS_KIT_CONFIG_BYTES_MAX (64u << 10)

#define CNS_KIT_ARGUMENTS_MAX 64
#define CNS_KIT_VARIABLES_MAX 64
#define CNS_KIT_TRAINER_SECONDS_MAX (30u * 86400u)
#define CNS_KIT_PATIENTS_MAX 4000000

enum cns_kit_role { CNS_KIT_COORDINATOR = 0, CNS_KIT_HOSPITAL = 1 };

/* A hospital's HTTP proxy, as config.json names it. */
struct cns_kit_proxy {
  bool environment;    /* the one of HTTPS_PROXY */
  char *url;           /* may hold user and password; NULL: none */
  char *user;          /* NULL: none, or in the URL */
  char *password_path; /* file for its owner only */
};

/* The command that trains at a hospital. Without one (command NULL) the built-in trainer does. */
struct cns_kit_trainer {
  char **command;        /* ends with NULL */
  char **environment;    /* "NAME=value", ends with NULL; on top of what every command gets */
  uint32_t time_limit_s; /* of a round's training */
  uint64_t file_bytes;   /* no file that it writes may become longer */
  uint64_t free_bytes;   /* it is stopped when less is left on the disk */
};

struct cns_kit_config {
  enum cns_kit_role role;
  char address[CNS_ADDRESS_MAX + 1]; /* coordinator: to listen on; hospital: to dial */
  char *state_path;                  /* folder, created by the daemon */
  char *test_path;                   /* coordinator only; NULL: none */
  /* hospital only */
  char name[CNS_NAME_MAX + 1];
  uint16_t index;
  char *data_path;
  char *ledger_path;               /* NULL: beside the table */
  double data_epsilon, data_delta; /* 0: the policy's */
  uint64_t lost_through;           /* round; 0: no ledger was lost */
  struct cns_kit_proxy proxy;
  struct cns_kit_trainer trainer;
  uint32_t patients;      /* 0: they are counted in the table */
  struct cns_floor floor; /* holds whatever policy and descriptor say */
};

struct cns_kit {
  char *folder;
  char *tls_key_path;
  char *tls_certificate_path;
  struct cns_kit_config config;
  struct cns_identity *identity;
  struct cns_identity_public authority;
  struct cns_tls_pin pin;
  int64_t certificate_until; /* of the one in use */
  struct cns_roster roster;
  struct cns_policy policy;
  /* What was verified, byte for byte. study.payload is what cns_plan_parse takes. */
  struct cns_document roster_document;
  struct cns_document policy_document;
  struct cns_document study_document;
};

/* ret_kit must not hold an earlier kit. Errors: CNS_ERR_NOT_FOUND, _PERMISSION,
 * _FORMAT, _SIGNATURE, _REFUSED (revoked, out of date, not in the roster), each
 * with a sentence that names the file. */
CNS_MUST_CHECK int cns_kit_load(const char *folder, enum cns_kit_role role, int64_t now_seconds,
                                struct cns_kit *ret_kit, struct cns_problem *problem);
/* The same though its own certificate is past its date, for renewing it. */
CNS_MUST_CHECK int cns_kit_load_expired(const char *folder, enum cns_kit_role role, int64_t now_seconds,
                                        struct cns_kit *ret_kit, struct cns_problem *problem);
void cns_kit_deinit(struct cns_kit *kit); /* also fine on a zeroed struct */

/* Is it the name of one of the kit's own files, which a study's model file may
 * not have? */
bool cns_kit_reserves(const char *name);
#define CNS_KIT_ROSTER_ACCEPTED "roster.accepted.json" /* in the state folder */
/* Which of a kit's two pairs of TLS key and certificate has this pin? Malloc'd paths; of tls.key and
 * tls.crt if neither has. */
CNS_MUST_CHECK int cns_kit_find_certificate(const char *folder, const struct cns_tls_pin *pin, char **ret_key,
                                            char **ret_certificate, struct cns_problem *problem);
/* Path of a file in the kit (malloc'd), e.g. the study's initial model. */
char *cns_kit_path(const char *folder, const char *name);

/* config.json alone. Loading puts the kit's folder in front of relative paths,
 * saving takes it away again. */
CNS_MUST_CHECK int cns_kit_config_load(const char *folder, struct cns_kit_config *ret_config,
                                       struct cns_problem *problem);
CNS_MUST_CHECK int cns_kit_config_save(const char *folder, const struct cns_kit_config *config,
                                       struct cns_problem *problem);
void cns_kit_config_deinit(struct cns_kit_config *config);
/* Of it, the proxy; kit_proxy.c. */
CNS_MUST_CHECK int cns_kit_proxy_read(const cJSON *json, const char *folder, struct cns_kit_proxy *ret_proxy,
                                      struct cns_problem *problem);
bool cns_kit_proxy_fill(cJSON *json, const struct cns_kit_proxy *proxy, const char *password_path);
/* Is there a password in its URL? Then config.json is for its owner only. */
bool cns_kit_proxy_is_secret(const struct cns_kit_proxy *proxy);
void cns_kit_proxy_deinit(struct cns_kit_proxy *proxy);
/* Would every round of this study be refused under the policy? CNS_ERR_REFUSED with a sentence. */
CNS_MUST_CHECK int cns_kit_check_study(const struct cns_policy *policy, const struct cns_plan *plan,
                                       struct cns_problem *problem);
/* Can this hospital take part in the study: a command where the model is external, none where the policy's
 * unit is patient, and a number of patients where there is no table? CNS_ERR_REFUSED with a sentence. */
CNS_MUST_CHECK int cns_kit_check_trainer(const struct cns_kit *kit, const struct cns_plan *plan,
                                         struct cns_problem *problem);
/* The policy's minimums. */
struct cns_floor cns_kit_floor_default(const struct cns_policy *policy);

/* One line of 64 hex digits, in a file that only its owner can change. */
CNS_MUST_CHECK int cns_kit_authority_read(const char *path, struct cns_identity_public *ret_authority,
                                          struct cns_problem *problem);
/* The same, of a kit: its authority.pub. */
CNS_MUST_CHECK int cns_kit_authority_load(const char *folder, struct cns_identity_public *ret_authority,
                                          struct cns_problem *problem);
CNS_MUST_CHECK int cns_kit_authority_save(const char *folder, const struct cns_identity_public *authority,
                                          struct cns_problem *problem);
/* The roster of a kit or of an authority's folder, verified under its authority.pub. */
CNS_MUST_CHECK int cns_kit_roster_load(const char *folder, struct cns_roster *ret_roster,
                                       struct cns_problem *problem);
/* The same, and of a hospital's kit the newer one that its agent was sent, if there is one. */
CNS_MUST_CHECK int cns_kit_roster_newest(const char *folder, struct cns_roster *ret_roster,
                                         struct cns_problem *problem);
/* A file of the folder as a document, without looking at signatures. */
CNS_MUST_CHECK int cns_kit_document_load(const char *folder, const char *name, const char *kind,
                                         struct cns_document *ret_document, struct cns_problem *problem);
CNS_MUST_CHECK int cns_kit_document_save(const char *folder, const char *name, const char *kind,
                                         const struct cns_document *document, struct cns_problem *problem);
