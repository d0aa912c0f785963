/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A privacy officer lets a hospital out of quarantine: a document of kind
 * "release", role "officer", signed by one of the roster's officers. It is for
 * one quarantine, which the round names that began it, so an old release doesn't
 * undo a later quarantine.
 *
 * Fields: consortium, study (name), hospital (index), name, round (that put the
 * hospital into quarantine), reason (text), given_at (UTC time).
 */
#pragma once

#include "protocol/roster.h"

#define CNS_RELEASE_REASON_MAX 500

struct cns_release {
  char consortium[CNS_NAME_MAX + 1];
  char study[CNS_NAME_MAX + 1];
  uint16_t index;
  char name[CNS_NAME_MAX + 1];
  uint64_t round;
  char reason[CNS_RELEASE_REASON_MAX + 1];
  int64_t given_at;
};

/* Signed document, serialised; malloc'd. */
CNS_MUST_CHECK int cns_release_make(const struct cns_release *release, const struct cns_identity *officer,
                                    uint8_t **ret_data, size_t *ret_len);
/* Verifies under one of the roster's officers, whose name is in *ret_officer (the
 * roster's). CNS_ERR_REFUSED if nobody of them signed it. */
CNS_MUST_CHECK int cns_release_open(const uint8_t *data, size_t len, const char *where,
                                    const struct cns_roster *roster, struct cns_release *ret_release,
                                    const char **ret_officer, struct cns_problem *problem);
