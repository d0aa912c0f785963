/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Phase unmask: against t signatures on the agreement a holder releases its
 * share of b_j for each included j and of s_j for each j of U2 that is not
 * included; never both of one j. Shares are scalars checked against the points
 * that the dealer signed.
 *
 * Body: number of shares u16, then for each: roster index of the dealer u16,
 * kind u8 (1: b, 2: s), share (32), sorted by dealer.
 */
#pragma once

#include "protocol/shares.h"

enum cns_share_kind { CNS_SHARE_B = 1, CNS_SHARE_S = 2 };

#define CNS_RELEASED_BYTES (3 + CNS_SCALAR_BYTES)

struct cns_released {
  uint16_t dealer;
  uint8_t kind;
  struct cns_scalar share;
};

void cns_released_write(struct cns_writer *writer, const struct cns_released *released, size_t count);
/* Exactly `count` shares for the dealers and kinds that `expected` names (its
 * share fields are filled); CNS_ERR_FORMAT otherwise. Does not check shares. */
CNS_MUST_CHECK int cns_released_read(const uint8_t *data, size_t len, struct cns_released *expected,
                                     size_t count);
