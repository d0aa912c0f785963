/* SPDX-License-Identifier: Apache-2.0 */
/* Does a piece of evidence convict? With the public keys of the round's roster alone. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/evidence_internal.h"

static const char *const blame_names[CNS_BLAME_COUNT] = {
    "",
    "bad keys",
    "bad points",
    "points of too high a degree",
    "bad share",
    "false complaint",
    "wrong share",
    "equivocation",
    "false pair sketch",
    "false self sketch",
};

const char *cns_blame_name(enum cns_blame blame) {
  return (unsigned)blame < CNS_BLAME_COUNT ? blame_names[blame] : "unknown";
}

void cns_verdict_deinit(struct cns_verdict *verdict) {
  free(verdict->evidence);
  verdict->evidence = NULL;
}

int cns_court_doubt(struct cns_court *court, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  vsnprintf(court->doubt, sizeof court->doubt, fmt, args);
  va_end(args);
  return CNS_ERR_PROOF;
}

int cns_court_unlisted(struct cns_court *court, const struct cns_message *message) {
  return cns_court_doubt(court, "a message of hospital %u in it isn't the one that the list of phase %s has",
                         message->index, cns_phase_name(message->phase));
}

int cns_court_other_view(struct cns_court *court) {
  return cns_court_doubt(court, "what hospital %u signed is under other lists than those in it",
                         court->accused);
}

static int read_list(struct cns_court *court, enum cns_phase phase) {
  size_t n = court->round.descriptor.member_count;
  struct cns_entry *entries = calloc(n, sizeof *entries);
  if (!entries) return CNS_ERR_MEMORY;
  for (size_t k = 0; k < n; k++) {
    entries[k].standing = cns_read_u8(&court->reader);
    cns_read_bytes(&court->reader, entries[k].message.bytes, CNS_DIGEST_BYTES);
  }
  cns_round_close(&court->round, phase, entries); /* takes ownership */
  return court->reader.error ? CNS_ERR_FORMAT : 0;
}

static int read_lists(struct cns_court *court) {
  enum cns_phase last = (enum cns_phase)cns_read_u8(&court->reader);
  bool has_list = last == CNS_PHASE_NONE || (cns_round_has_answers(&court->round, last) &&
                                             cns_phase_order(last) <= cns_phase_order(CNS_PHASE_AGREE));
  if (court->reader.error || !has_list) return CNS_ERR_FORMAT;
  while (court->round.closed != last) {
    int r = read_list(court, cns_round_next(&court->round, court->round.closed));
    if (r < 0) return r;
  }
  return 0;
}

/* The next message blob; it must be of this round and phase and signed by the
 * hospital it names. */
static int next_message(struct cns_court *court, enum cns_phase phase, struct cns_message *ret_message) {
  struct cns_reader inner;
  size_t len = 0;
  const uint8_t *bytes = cns_read_blob(&court->reader, CNS_MESSAGE_BYTES_MAX, &len);
  if (!bytes) return CNS_ERR_FORMAT;
  cns_reader_init(&inner, bytes, len);
  cns_message_read(&inner, ret_message);
  if (cns_reader_finish(&inner) < 0) return CNS_ERR_FORMAT;
  if (phase != CNS_PHASE_NONE && ret_message->phase != phase)
    return cns_court_doubt(court, "a message in it is of another phase than %s", cns_phase_name(phase));
  const struct cns_roster_hospital *sender = cns_roster_find(court->roster, ret_message->index);
  if (!sender)
    return cns_court_doubt(court, "a message in it is of hospital %u, which the roster doesn't have",
                           ret_message->index);
  if (!cns_digest_equal(&ret_message->round, &court->round.digest))
    return cns_court_doubt(court, "a message in it is of another round than its descriptor says");
  if (cns_message_verify(ret_message, &sender->identity) < 0)
    return cns_court_doubt(court, "a message in it isn't signed with the key of hospital %u",
                           ret_message->index);
  return 0;
}

int cns_court_message(struct cns_court *court, enum cns_phase phase, uint16_t index,
                      struct cns_message *ret_message) {
  int r = next_message(court, phase, ret_message);
  if (r < 0) return r;
  if (ret_message->index != index)
    return cns_court_doubt(court, "a message in it is of hospital %u, where one of hospital %u is needed",
                           ret_message->index, index);
  if (index == court->accused && court->phase == CNS_PHASE_NONE) court->phase = ret_message->phase;
  return 0;
}

bool cns_court_listed(const struct cns_court *court, const struct cns_message *message) {
  struct cns_digest digest;
  int position = cns_descriptor_position(&court->round.descriptor, message->index);
  if (position < 0 || message->phase >= CNS_PHASE_COUNT || !court->round.entries[message->phase])
    return false;
  const struct cns_entry *entry = &court->round.entries[message->phase][position];
  cns_message_digest(message, &digest);
  return entry->standing != CNS_ABSENT && cns_digest_equal(&digest, &entry->message);
}

int cns_court_keys(struct cns_court *court, uint16_t index, bool must_be_listed, struct cns_keys *ret_keys) {
  struct cns_message message;
  int r = cns_court_message(court, CNS_PHASE_KEYS, index, &message);
  if (r < 0) return r;
  if (must_be_listed && !cns_court_listed(court, &message)) return cns_court_unlisted(court, &message);
  if (cns_keys_check(&message.round, index, message.body, message.body_len, ret_keys) < 0)
    return cns_court_doubt(court, "the keys of hospital %u in it aren't valid", index);
  return 0;
}

static int try_bad_keys(struct cns_court *court) {
  struct cns_message message;
  struct cns_keys keys;
  int r = cns_court_message(court, CNS_PHASE_KEYS, court->accused, &message);
  if (r < 0) return r;
  return cns_keys_check(&message.round, message.index, message.body, message.body_len, &keys) < 0
             ? 0
             : cns_court_doubt(court, "the keys in it are good");
}

static bool points_are_points(const struct cns_point *point_b, const struct cns_leaf *leaves, size_t count) {
  bool good = cns_point_check(point_b) == 0;
  for (size_t d = 0; d < count && good; d++)
    good = cns_point_check(&leaves[d].point_s) == 0 && cns_point_check(&leaves[d].point_b) == 0;
  return good;
}

static int judge_leaves(struct cns_court *court, enum cns_blame blame, const struct cns_message *shares,
                        const struct cns_keys *keys, const struct cns_leaf *leaves, size_t count) {
  struct cns_digest root, message;
  struct cns_point point_b;
  if (cns_leaves_root(leaves, count, &root) < 0 || !cns_digest_equal(&root, &shares->root))
    return cns_court_doubt(court, "the shares in it aren't those under the signed root");
  memcpy(point_b.bytes, shares->body, CNS_POINT_BYTES);
  bool points = points_are_points(&point_b, leaves, count);
  if (blame == CNS_BLAME_BAD_POINTS) return points ? cns_court_doubt(court, "all points in it are good") : 0;
  /* Good points pass under every challenge. For bad ones the challenge must
   * follow from all of them, B in the body among them: a B chosen after the
   * challenge would acquit its dealer. */
  cns_message_digest(shares, &message);
  int degree = cns_shares_check_degree(&message, court->accused, &keys->s, &point_b, leaves, count,
                                       court->round.descriptor.threshold);
  if (!points)
    return cns_court_doubt(court, "some of the points in it are none, so that no degree can be said");
  return degree == CNS_ERR_PROOF ? 0 : cns_court_doubt(court, "the points in it have the right degree");
}

static int try_leaves(struct cns_court *court, enum cns_blame blame) {
  struct cns_message shares;
  struct cns_keys keys;
  int r = cns_court_message(court, CNS_PHASE_SHARES, court->accused, &shares);
  if (r == 0) r = cns_court_keys(court, court->accused, false, &keys);
  if (r < 0) return r;
  uint16_t count = cns_read_u16(&court->reader);
  if (shares.body_len != CNS_SHARES_BODY_BYTES || count == 0 || count > CNS_HOSPITALS_MAX)
    return CNS_ERR_FORMAT;
  struct cns_leaf *leaves = calloc(count, sizeof *leaves);
  if (!leaves) return CNS_ERR_MEMORY;
  for (size_t d = 0; d < count; d++)
    cns_leaf_read(&court->reader, &leaves[d]);
  r = court->reader.error ? CNS_ERR_FORMAT : judge_leaves(court, blame, &shares, &keys, leaves, count);
  free(leaves);
  return r;
}

/* Both kinds of false statement in phase ready; the rest of the evidence holds
 * the keys of accused and complainer. */
static int settle(struct cns_court *court, const struct cns_complaint *complaint) {
  struct cns_keys accused_keys, complainer_keys;
  const struct cns_roster_hospital *accused = cns_roster_find(court->roster, complaint->accused);
  int r = accused ? cns_court_keys(court, complaint->accused, true, &accused_keys)
                  : cns_court_doubt(court, "the complaint in it is about nobody in the roster");
  if (r == 0) r = cns_court_keys(court, complaint->complainer, true, &complainer_keys);
  if (r < 0) return r;
  struct cns_dispute dispute = {
      .round = &court->round.digest,
      .transcript = &court->round.transcript[CNS_PHASE_KEYS],
      .accused_identity = &accused->identity,
      .accused_keys = &accused_keys,
      .complainer_keys = &complainer_keys,
  };
  return cns_complaint_settle(&dispute, complaint);
}

/* 0 if the ruling is this one. */
static int judge_complaint(struct cns_court *court, const struct cns_complaint *complaint, int expected) {
  int ruling = settle(court, complaint);
  if (ruling == expected) return 0;
  if (ruling < 0) return ruling;
  return cns_court_doubt(court, "the complaint in it is %s",
                         expected == CNS_RULING_DEALER_LIED ? "false" : "true");
}

static int next_complaint(struct cns_court *court, struct cns_complaint *ret_complaint,
                          struct cns_digest *ret_leaf) {
  size_t len = 0;
  const uint8_t *bytes = cns_read_blob(&court->reader, CNS_COMPLAINT_BYTES_MAX, &len);
  if (!bytes || cns_complaint_read(bytes, len, ret_complaint) < 0) return CNS_ERR_FORMAT;
  cns_merkle_leaf(bytes, len, ret_leaf);
  return 0;
}

/* The one place of a recipient's leaf in the trees that were dealt under these
 * lists; -1 if it has none. */
static int place_of_leaf(const struct cns_court *court, uint16_t recipient) {
  int position = cns_descriptor_position(&court->round.descriptor, recipient), place = 0;
  if (position < 0 || !cns_round_present(&court->round, CNS_PHASE_KEYS, (size_t)position)) return -1;
  for (int k = 0; k < position; k++)
    place += cns_round_present(&court->round, CNS_PHASE_KEYS, (size_t)k);
  return place;
}

static int try_bad_share(struct cns_court *court) {
  struct cns_complaint complaint;
  struct cns_digest leaf;
  int r = next_complaint(court, &complaint, &leaf);
  if (r < 0) return r;
  if (complaint.accused != court->accused)
    return cns_court_doubt(court, "the complaint in it is about hospital %u", complaint.accused);
  court->phase = CNS_PHASE_SHARES;
  court->other = complaint.complainer;
  return judge_complaint(court, &complaint, CNS_RULING_DEALER_LIED);
}

/* Is the complaint under the root of this message of phase ready? */
static bool complained(const struct cns_message *ready, const struct cns_complaint *complaint,
                       const struct cns_digest *leaf, const struct cns_merkle_path *path) {
  uint16_t accused[CNS_HOSPITALS_MAX];
  size_t count;
  if (cns_ready_read(ready->body, ready->body_len, accused, CNS_HOSPITALS_MAX, &count) < 0) return false;
  for (size_t q = 0; q < count; q++)
    if (accused[q] == complaint->accused) return cns_merkle_check(&ready->root, count, q, leaf, path) == 0;
  return false;
}

static int try_false_complaint(struct cns_court *court) {
  struct cns_message ready;
  struct cns_complaint complaint;
  struct cns_merkle_path path;
  struct cns_digest leaf;
  int r = cns_court_message(court, CNS_PHASE_READY, court->accused, &ready);
  if (r < 0) return r;
  if (!cns_digest_equal(&ready.transcript, &court->round.transcript[CNS_PHASE_SHARES]))
    return cns_court_other_view(court);
  r = next_complaint(court, &complaint, &leaf);
  cns_path_read(&court->reader, &path);
  if (r == 0 && court->reader.error) r = CNS_ERR_FORMAT;
  if (r < 0) return r;
  if (complaint.complainer != court->accused || !complained(&ready, &complaint, &leaf, &path))
    return cns_court_doubt(court, "the complaint in it isn't under what the hospital signed");
  court->other = complaint.accused;
  return judge_complaint(court, &complaint, CNS_RULING_COMPLAINER_LIED);
}

/* Is there a released share of this dealer that doesn't match the leaf? */
static bool released_wrongly(const struct cns_message *unmask, const struct cns_leaf *leaf) {
  struct cns_reader body;
  cns_reader_init(&body, unmask->body, unmask->body_len);
  uint16_t count = cns_read_u16(&body);
  for (uint16_t q = 0; q < count && !body.error; q++) {
    struct cns_scalar share;
    uint16_t dealer = cns_read_u16(&body);
    uint8_t kind = cns_read_u8(&body);
    cns_read_bytes(&body, share.bytes, CNS_SCALAR_BYTES);
    if (body.error || dealer != leaf->dealer || (kind != CNS_SHARE_B && kind != CNS_SHARE_S)) continue;
    if (!cns_share_matches(&share, kind == CNS_SHARE_B ? &leaf->point_b : &leaf->point_s)) return true;
  }
  return false;
}

/* T that an honest answer with released shares is under, in this round. */
static int check_transcript(struct cns_court *court, const struct cns_message *message) {
  const struct cns_digest *agree = &court->round.transcript[CNS_PHASE_AGREE];
  struct cns_digest transcript = *agree;
  struct cns_forfeits forfeits = {0};
  if (message->phase == CNS_PHASE_FORFEIT) {
    cns_forfeits_read(&court->reader, &forfeits);
    if (court->reader.error) return CNS_ERR_FORMAT;
    cns_forfeits_transcript(agree, &forfeits, &transcript);
  } else if (message->phase != CNS_PHASE_UNMASK)
    return cns_court_doubt(court, "the message in it is of phase %s, in which no share is released",
                           cns_phase_name(message->phase));
  return cns_digest_equal(&message->transcript, &transcript) ? 0 : cns_court_other_view(court);
}

static int try_wrong_share(struct cns_court *court) {
  struct cns_message unmask, shares;
  struct cns_leaf leaf = {0};
  struct cns_merkle_path path;
  struct cns_digest digest;
  int r = cns_court_message(court, CNS_PHASE_NONE, court->accused, &unmask);
  if (r == 0) r = check_transcript(court, &unmask);
  if (r == 0) r = next_message(court, CNS_PHASE_SHARES, &shares);
  if (r < 0) return r;
  if (!cns_court_listed(court, &shares)) return cns_court_unlisted(court, &shares);
  cns_leaf_read(&court->reader, &leaf);
  cns_path_read(&court->reader, &path);
  if (court->reader.error) return CNS_ERR_FORMAT;
  int place = place_of_leaf(court, court->accused);
  if (leaf.dealer != shares.index || leaf.recipient != court->accused || place < 0)
    return cns_court_doubt(court, "the share in it wasn't dealt to the hospital by that dealer");
  cns_leaf_digest(&leaf, &digest);
  if (cns_merkle_check(&shares.root, cns_round_count(&court->round, CNS_PHASE_KEYS), (size_t)place, &digest,
                       &path) < 0)
    return cns_court_doubt(court, "the share in it isn't the one under the dealer's signed root");
  court->other = shares.index;
  return released_wrongly(&unmask, &leaf) ? 0
                                          : cns_court_doubt(court, "the share that was released is right");
}

static int try_equivocation(struct cns_court *court) {
  struct cns_message one, other;
  struct cns_digest digest_one, digest_other;
  int r = cns_court_message(court, CNS_PHASE_NONE, court->accused, &one);
  if (r == 0) r = cns_court_message(court, CNS_PHASE_NONE, court->accused, &other);
  if (r < 0) return r;
  cns_message_digest(&one, &digest_one);
  cns_message_digest(&other, &digest_other);
  if (one.phase != other.phase || !cns_digest_equal(&one.transcript, &other.transcript))
    return cns_court_doubt(court, "the two messages in it don't answer the same");
  if (cns_digest_equal(&digest_one, &digest_other))
    return cns_court_doubt(court, "the two messages in it are one");
  return 0;
}

static int try_case(struct cns_court *court, enum cns_blame blame) {
  switch (blame) {
  case CNS_BLAME_BAD_KEYS:
    return try_bad_keys(court);
  case CNS_BLAME_BAD_POINTS:
  case CNS_BLAME_DEGREE:
    return try_leaves(court, blame);
  case CNS_BLAME_BAD_SHARE:
    return try_bad_share(court);
  case CNS_BLAME_FALSE_COMPLAINT:
    return try_false_complaint(court);
  case CNS_BLAME_WRONG_SHARE:
    return try_wrong_share(court);
  case CNS_BLAME_EQUIVOCATION:
    return try_equivocation(court);
  case CNS_BLAME_FALSE_PAIR:
  case CNS_BLAME_FALSE_SELF:
    return cns_court_try_sketch(court, blame == CNS_BLAME_FALSE_SELF);
  }
  return CNS_ERR_FORMAT;
}

/* The head: up to the descriptor. */
static int open_court(struct cns_court *court, const uint8_t *evidence, size_t len) {
  struct cns_descriptor descriptor;
  size_t descriptor_len = 0;
  cns_reader_init(&court->reader, evidence, len);
  uint8_t version = cns_read_u8(&court->reader);
  court->blame = (enum cns_blame)cns_read_u8(&court->reader);
  court->accused = cns_read_u16(&court->reader);
  if (court->reader.error) return CNS_ERR_FORMAT;
  if (version != CNS_EVIDENCE_VERSION) return CNS_ERR_VERSION;
  if (court->blame == 0 || court->blame >= CNS_BLAME_COUNT) return CNS_ERR_FORMAT;
  const uint8_t *bytes = cns_read_blob(&court->reader, CNS_DESCRIPTOR_BYTES_MAX, &descriptor_len);
  int r = bytes ? cns_descriptor_read(bytes, descriptor_len, &descriptor) : CNS_ERR_FORMAT;
  if (r < 0) return r;
  r = cns_round_init(&court->round, &descriptor);
  cns_descriptor_deinit(&descriptor);
  return r;
}

static int unreadable(const uint8_t *evidence, size_t len, int error, struct cns_problem *problem) {
  if (error == CNS_ERR_VERSION)
    return cns_problem_set(
        problem, error,
        "not evidence, or evidence of another version: it begins with %u, and this program "
        "reads version %d",
        len ? evidence[0] : 0, CNS_EVIDENCE_VERSION);
  return error == CNS_ERR_FORMAT
             ? cns_problem_set(problem, error, "the evidence is malformed: cut off, or not evidence at all")
             : error;
}

static void describe(const struct cns_court *court, struct cns_conviction *conviction) {
  const struct cns_descriptor *d = &court->round.descriptor;
  *conviction = (struct cns_conviction){
      .index = court->accused,
      .blame = court->blame,
      .phase = court->phase,
      .other = court->other == court->accused ? 0 : court->other,
      .study = d->study,
      .roster = d->roster,
      .round = d->round,
      .attempt = d->attempt,
  };
}

int cns_evidence_read(const uint8_t *evidence, size_t len, struct cns_conviction *ret_claim,
                      struct cns_problem *problem) {
  struct cns_court court = {0};
  int r = open_court(&court, evidence, len);
  if (r == 0) describe(&court, ret_claim);
  cns_round_deinit(&court.round);
  return r < 0 ? unreadable(evidence, len, r, problem) : 0;
}

static int try_all(struct cns_court *court) {
  int r = read_lists(court);
  if (r == 0) r = try_case(court, court->blame);
  return r == 0 && cns_reader_finish(&court->reader) < 0 ? CNS_ERR_FORMAT : r;
}

int cns_evidence_judge(const struct cns_roster *roster, const uint8_t *evidence, size_t len,
                       struct cns_conviction *ret_conviction, struct cns_problem *problem) {
  struct cns_court court = {.roster = roster};
  int r = open_court(&court, evidence, len);
  /* An index whose key was replaced later could sign the past again. */
  bool other_roster = r == 0 && !cns_digest_equal(&court.round.descriptor.roster, &roster->digest);
  if (r == 0) r = other_roster ? CNS_ERR_PROOF : try_all(&court);
  if (r == 0) describe(&court, ret_conviction);
  cns_round_deinit(&court.round);
  if (other_roster)
    return cns_problem_set(problem, r,
                           "the evidence is of a round under another roster than version %" PRIu64
                           ": present the roster that the round's descriptor names",
                           roster->version);
  if (r == CNS_ERR_PROOF)
    return cns_problem_set(problem, r, "the evidence doesn't convict hospital %u: %s", court.accused,
                           court.doubt[0] ? court.doubt : "what it shows proves nothing");
  return r < 0 ? unreadable(evidence, len, r, problem) : 0;
}

int cns_evidence_check(const struct cns_roster *roster, const uint8_t *evidence, size_t len,
                       uint16_t *ret_index, enum cns_blame *ret_blame, struct cns_problem *problem) {
  struct cns_conviction conviction;
  int r = cns_evidence_judge(roster, evidence, len, &conviction, problem);
  if (r < 0) return r;
  *ret_index = conviction.index;
  *ret_blame = conviction.blame;
  return 0;
}
