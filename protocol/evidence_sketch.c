/* SPDX-License-Identifier: Apache-2.0 */
/* Evidence of a false sketch in phase audit; layout in verdict.h. */
#include <string.h>

#include "protocol/evidence_internal.h"

/* The sender's statement under T_upload; its leaves are under its root. */
static int read_audit(struct cns_court *court, struct cns_claim_facts *facts) {
  struct cns_message audit;
  int r = cns_court_message(court, CNS_PHASE_AUDIT, court->accused, &audit);
  if (r < 0) return r;
  if (!cns_digest_equal(&audit.transcript, &court->round.transcript[CNS_PHASE_UPLOAD]))
    return cns_court_other_view(court);
  facts->root = audit.root;
  return 0;
}

static int read_self(struct cns_court *court, struct cns_claim_facts *facts) {
  struct cns_message shares;
  int r = cns_court_message(court, CNS_PHASE_SHARES, court->accused, &shares);
  if (r < 0) return r;
  if (!cns_court_listed(court, &shares) || shares.body_len != CNS_SHARES_BODY_BYTES)
    return cns_court_unlisted(court, &shares);
  memcpy(facts->point_b.bytes, shares.body, CNS_POINT_BYTES);
  return 0;
}

/* The partner's message comes before the claim that says who it is. */
static int read_pair(struct cns_court *court, struct cns_claim_facts *facts, uint16_t *ret_partner) {
  struct cns_keys own, others;
  struct cns_reader ahead;
  struct cns_message message = {0};
  size_t len = 0;
  int r = cns_court_keys(court, court->accused, true, &own);
  if (r < 0) return r;
  ahead = court->reader;
  const uint8_t *bytes = cns_read_blob(&ahead, CNS_MESSAGE_BODY_MAX, &len);
  if (!bytes) return CNS_ERR_FORMAT;
  cns_reader_init(&ahead, bytes, len);
  cns_message_read(&ahead, &message);
  if (ahead.error) return CNS_ERR_FORMAT;
  r = cns_court_keys(court, message.index, true, &others);
  if (r < 0) return r;
  facts->point_s = own.s;
  facts->partner_s = others.s;
  *ret_partner = message.index;
  return 0;
}

int cns_court_try_sketch(struct cns_court *court, bool self) {
  const struct cns_descriptor *d = &court->round.descriptor;
  uint16_t partner = court->accused;
  uint32_t difference[CNS_SKETCH_MAX];
  struct cns_claim claim = {0};
  struct cns_claim_facts facts = {.round = &court->round};
  if (d->audit_level == CNS_AUDIT_NONE || court->round.closed != CNS_PHASE_AUDIT ||
      !cns_sketch_size_valid(d->sketch))
    return cns_court_doubt(court, "there was no audit in that round, or its lists don't come with it");
  facts.nonce = cns_read_view(&court->reader, CNS_SKETCH_NONCE_BYTES);
  if (!facts.nonce) return CNS_ERR_FORMAT;
  if (!cns_nonce_opens(d, facts.nonce))
    return cns_court_doubt(court, "the audit's nonce in it isn't the one that the descriptor commits to");
  int r = read_audit(court, &facts);
  if (r == 0) r = self ? read_self(court, &facts) : read_pair(court, &facts, &partner);
  if (r < 0) return r;
  cns_claim_read(&court->reader, court->accused, d->sketch, &claim);
  if (cns_reader_finish(&court->reader) < 0) return CNS_ERR_FORMAT;
  if (claim.partner != partner || (claim.partner == claim.index) != self)
    return cns_court_doubt(court, "the sketch in it is of another mask than it says");
  court->other = partner;
  r = cns_claim_check(&facts, &claim, difference);
  if (r == CNS_ERR_PROOF)
    return cns_court_doubt(court,
                           "the sketch in it wasn't signed like that, or the mask isn't the right one");
  if (r < 0) return r;
  return cns_sketch_is_zero(difference, d->sketch) ? cns_court_doubt(court, "the sketch in it is true") : 0;
}
