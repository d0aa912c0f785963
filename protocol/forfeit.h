/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Phase forfeit: after unmasking, who is proven to have sent a false sketch and
 * whose recomputed z is beyond the bound loses its place. Holders verify the
 * case themselves and release their shares of its s; it may be repeated, as
 * each s that becomes known shows more pairs. docs/protocol.md, phase forfeit.
 *
 * Tail of the request: the forfeits so far (number of rounds u16, at least 1;
 * for each round number of accused u16 and their roster indices u16,
 * ascending), then for each accused of the last round its case, a blob.
 *
 * Case: z as in the agreement (k words, little-endian), number of claims u16, the
 * claims (protocol/claim.h): first the self mask, whose words the agreement's
 * digest takes in; then pairs, each once, by ascending partner. At least one
 * is false, and z with all differences added is beyond the bound
 * (cns_audit_within_bound).
 *
 * Answer: under the digest of the forfeits, in the place of T: a body as in
 * phase unmask, with the shares of s of the accused of the last round.
 */
#pragma once

#include "protocol/claim.h"

#define CNS_FORFEIT_ROUNDS_MAX 64
#define CNS_FORFEIT_CASE_BYTES_MAX CNS_REQUEST_BYTES_MAX

struct cns_forfeits {
  uint16_t rounds;
  uint16_t ends[CNS_FORFEIT_ROUNDS_MAX]; /* accused up to and in each round */
  uint16_t accused[CNS_HOSPITALS_MAX];   /* roster indices, round after round */
};

/* Accused in all rounds, and where those of the last begin. */
size_t cns_forfeits_count(const struct cns_forfeits *forfeits);
size_t cns_forfeits_last(const struct cns_forfeits *forfeits);
bool cns_forfeits_has(const struct cns_forfeits *forfeits, uint16_t index);
/* Is `earlier` the beginning of `later`, or all of it? */
bool cns_forfeits_continue(const struct cns_forfeits *earlier, const struct cns_forfeits *later);
void cns_forfeits_write(struct cns_writer *writer, const struct cns_forfeits *forfeits);
/* Fails the reader for no round, too many, an empty one, or a name twice. */
void cns_forfeits_read(struct cns_reader *reader, struct cns_forfeits *ret_forfeits);
/* What answers are signed under: H(T_agree, forfeits). */
void cns_forfeits_transcript(const struct cns_digest *transcript_agree, const struct cns_forfeits *forfeits,
                             struct cns_digest *ret_transcript);
