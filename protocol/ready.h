/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Phase ready: a hospital that could open all its shares signs "ok" (a body
 * without complaints); one that could not adds a complaint for each dealer that
 * cheated it, with the evidence to decide it: the dealer's signed message, the
 * leaf and its path, and the opened pair point K = e_i*E_j with a proof that it
 * is the right one. Only a leaf under the dealer's own signature is ever
 * opened. A complaint settles itself: either the accused or the complainer lied.
 *
 * Body: number of complaints u16, then the roster index of each accused u16,
 * ascending. The complaints themselves go to the coordinator only: they follow
 * the message, each as a blob, under root_i (zeros if there are none). Everyone
 * downloads the bodies, and with the complaints in them a few liars could make
 * every list too long to send.
 */
#pragma once

#include "protocol/shares.h"

#define CNS_COMPLAINT_BYTES_MAX 4096

struct cns_complaint {
  uint16_t complainer;
  uint16_t accused;
  struct cns_point point_b; /* B of the accused: body of its message */
  struct cns_digest root;   /* root of the accused's message */
  struct cns_signature signature;
  struct cns_leaf leaf;
  uint16_t leaf_count;
  uint16_t leaf_position;
  struct cns_merkle_path path;
  struct cns_point pair; /* K = e_i * E_j */
  struct cns_proof proof;
};

/* Everything public that decides a complaint. */
struct cns_dispute {
  const struct cns_digest *round;
  const struct cns_digest *transcript; /* T_keys, under which the shares were dealt */
  const struct cns_identity_public *accused_identity;
  const struct cns_keys *accused_keys;
  const struct cns_keys *complainer_keys;
};

/* Whom a body of phase ready accuses. ret_accused has room for `max`;
 * CNS_ERR_FORMAT for more, for trailing bytes or a wrong order. */
CNS_MUST_CHECK int cns_ready_read(const uint8_t *body, size_t len, uint16_t *ret_accused, size_t max,
                                  size_t *ret_count);

enum cns_ruling {
  CNS_RULING_DEALER_LIED = 1,
  CNS_RULING_COMPLAINER_LIED = 2,
};

CNS_MUST_CHECK int cns_complaint_make(const struct cns_dispute *dispute, const struct cns_scalar *e,
                                      struct cns_rng rng, struct cns_complaint *complaint);
void cns_complaint_write(struct cns_writer *writer, const struct cns_complaint *complaint);
CNS_MUST_CHECK int cns_complaint_read(const uint8_t *data, size_t len, struct cns_complaint *ret_complaint);
/* Settles it: a positive cns_ruling. The complainer lied if the leaf isn't the
 * dealer's, the opening isn't proven, or the shares are good. */
CNS_MUST_CHECK int cns_complaint_settle(const struct cns_dispute *dispute,
                                        const struct cns_complaint *complaint);
