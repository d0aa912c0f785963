/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Enrolling a hospital whose keys never leave it. Three files travel or stay:
 *
 *   request.json    made at the hospital: a signed document of kind "request"
 *                   {"name", "identity", "tls", "certificate"}, signed with the
 *                   identity that it names (proof of possession)
 *   roster.json     in the authority's folder, with the hospital added
 *   NAME.kit.json   back to the hospital: {"format", "name", "index",
 *                   "authority", "roster", "policy", "study"}, the last three
 *                   being the signed files as text; no secret in it
 *
 * The coordinator, whose keys the roster has from the beginning, gets a response
 * too: index 0, coordinator.kit.json.
 */
#pragma once

#include "protocol/roster.h"

/* Of its folder and its response; no hospital's name. */
#define CNS_COORDINATOR_NAME "coordinator"
#define CNS_REQUEST_FILE "request.json"
#define CNS_RENEWAL_FILE "renewal.json"
/* "0123 4567 ..." : 128 bits, enough that nobody finds a second request for a
 * digest that was read out over the telephone. */
#define CNS_DIGEST_SPOKEN_CHARS 40

void cns_digest_spoken(const struct cns_digest *digest, char ret_text[static CNS_DIGEST_SPOKEN_CHARS]);

struct cns_request {
  char name[CNS_NAME_MAX + 1];
  struct cns_identity_public identity;
  struct cns_tls_pin pin;
  int64_t pin_until; /* end of the certificate */
  struct cns_digest digest;
};

/* At the hospital: folder must not exist or be empty; whole or not at all. */
CNS_MUST_CHECK int cns_request_create(const char *folder, const char *name, int64_t now_seconds,
                                      struct cns_digest *ret_digest, struct cns_problem *problem);
/* At a hospital: a new TLS key and certificate beside the ones in use, and
 * renewal.json, a request with them. The kit goes on with the old pair until its roster has the new
 * one's pin. A renewal that wasn't used yet is replaced. */
CNS_MUST_CHECK int cns_renewal_create(const char *folder, int64_t now_seconds, struct cns_digest *ret_digest,
                                      struct cns_problem *problem);
/* Checks the signature and that the certificate is the one pinned. */
CNS_MUST_CHECK int cns_request_load(const char *path, struct cns_request *ret_request,
                                    struct cns_problem *problem);

/* The authority's folder, opened to change the roster. */
struct cns_authority {
  const char *folder;
  const char *federation; /* where coordinator/ and responses/ are */
  struct cns_identity *identity;
  struct cns_roster roster;
};

/* The key files, the roster and the study belong together; else CNS_ERR_REFUSED,
 * _SIGNATURE, _FORMAT or an error of reading. */
CNS_MUST_CHECK int cns_authority_open(const char *folder, const char *federation,
                                      struct cns_authority *ret_authority, struct cns_problem *problem);
void cns_authority_deinit(struct cns_authority *authority);
/* Where a request would go: its present index (*ret_known), the wished one, or
 * the next free one (wish 0). CNS_ERR_REFUSED if name, key or index is taken. */
CNS_MUST_CHECK int cns_authority_place(const struct cns_authority *authority,
                                       const struct cns_request *request, uint16_t wish, uint16_t *ret_index,
                                       bool *ret_known, struct cns_problem *problem);
/* Adds the hospital and signs and saves the next version of the roster. */
CNS_MUST_CHECK int cns_authority_add(struct cns_authority *authority, const struct cns_request *request,
                                     uint16_t index, struct cns_problem *problem);
/* Revokes, signs, saves. CNS_ERR_STATE if it is revoked already or
 * not in the roster. reason: NULL: none; else cns_roster_is_reason. */
CNS_MUST_CHECK int cns_authority_revoke(struct cns_authority *authority, const char *name, const char *reason,
                                        int64_t now_seconds, struct cns_problem *problem);
/* The hospital of the request gets its new certificate (identity key and name as before), or, with
 * new_keys, the hospital of that name new keys of all kinds; signs and saves. CNS_ERR_STATE: it has
 * them already. CNS_ERR_REFUSED: not in the roster, revoked, a key that another party has, or other
 * keys than meant. ret_hospital is the authority's. */
CNS_MUST_CHECK int cns_authority_renew(struct cns_authority *authority, const struct cns_request *request,
                                       bool new_keys, const struct cns_roster_hospital **ret_hospital,
                                       struct cns_problem *problem);
/* The roster is valid for CNS_ROSTER_SECONDS from now on; signs and saves. CNS_ERR_STATE: it was
 * extended in the last day. */
CNS_MUST_CHECK int cns_authority_extend(struct cns_authority *authority, int64_t now_seconds,
                                        struct cns_problem *problem);
/* Is the study whole and signed by this authority? cns_authority_open asks too. */
CNS_MUST_CHECK int cns_authority_check_study(const struct cns_authority *authority,
                                             struct cns_problem *problem);
/* Would a party accept the signed policy today? CNS_ERR_STATE if there is none yet. */
CNS_MUST_CHECK int cns_authority_check_policy(const struct cns_authority *authority,
                                              struct cns_problem *problem);
/* Brings the coordinator's kit up to date, if it is in the federation's folder;
 * its policy only if that is one a party would accept. */
CNS_MUST_CHECK int cns_authority_update_coordinator(const struct cns_authority *authority, bool *ret_here,
                                                    struct cns_problem *problem);
/* Writes responses/NAME.kit.json; ret_path is malloc'd. hospital NULL: the
 * coordinator's. Errors of cns_authority_check_policy before anything is written. */
CNS_MUST_CHECK int cns_authority_respond(const struct cns_authority *authority,
                                         const struct cns_roster_hospital *hospital, char **ret_path,
                                         struct cns_problem *problem);

/* The key that a response claims to be the authority's, for a person to
 * compare before accepting. */
CNS_MUST_CHECK int cns_response_authority(const char *path, struct cns_identity_public *ret_key,
                                          struct cns_problem *problem);
/* At the hospital or the coordinator: checks everything, completes or updates the kit. Lower
 * versions than the kit's are refused. ret_initial: name of a model file that
 * must be put into the kit by hand, or NULL; malloc'd. */
CNS_MUST_CHECK int cns_response_accept(const char *folder, const char *path,
                                       const struct cns_identity_public *key, int64_t now_seconds,
                                       char **ret_initial, struct cns_problem *problem);
