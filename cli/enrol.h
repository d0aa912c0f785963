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
/* "0123 4567 ..." : 128 bits, enough that nobody finds a second request for a
 * digest that was read out over the telephone. */
#define CNS_DIGEST_SPOKEN_CHARS 40

void cns_digest_spoken(const struct cns_digest *digest, char ret_text[static CNS_DIGEST_SPOKEN_CHARS]);

struct cns_request {
  char name[CNS_NAME_MAX + 1];
  struct cns_identity_public identity;
  struct cns_tls_pin pin;
  struct cns_digest digest;
};

/* At the hospital: folder must not exist or be empty; whole or not at all. */
CNS_MUST_CHECK int cns_request_create(const char *folder, const char *name, int64_t now_seconds,
                                      struct cns_digest *ret_digest, struct cns_problem *problem);
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
 * not in the roster. */
CNS_MUST_CHECK int cns_authority_revoke(struct cns_authority *authority, const char *name,
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
