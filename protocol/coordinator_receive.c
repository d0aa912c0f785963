/* SPDX-License-Identifier: Apache-2.0 */
/* What the coordinator accepts from a hospital, phase by phase. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/coordinator_internal.h"

#define REFUSED(...) cns_problem_set(problem, CNS_ERR_REFUSED, __VA_ARGS__)
#define MALFORMED(...) cns_problem_set(problem, CNS_ERR_FORMAT, __VA_ARGS__)

int cns_coordinator_leaf_position(const struct cns_coordinator *c, size_t k) {
  for (size_t d = 0; d < c->dealt_count; d++)
    if (c->dealt[d] == k) return (int)d;
  return -1;
}

struct cns_dispute cns_coordinator_dispute(const struct cns_coordinator *c, size_t accused,
                                           size_t complainer) {
  return (struct cns_dispute){
      .round = &c->round.digest,
      .transcript = &c->round.transcript[CNS_PHASE_KEYS],
      .accused_identity = &c->members[accused].hospital->identity,
      .accused_keys = &c->members[accused].keys,
      .complainer_keys = &c->members[complainer].keys,
  };
}

/* An answer to a phase that was answered before: the same again, or a proof of
 * equivocation. */
static int receive_again(struct cns_coordinator *c, size_t k, const struct cns_message *message,
                         struct cns_problem *problem) {
  struct cns_coordinator_member *member = &c->members[k];
  struct cns_coordinator_message *held = &member->messages[message->phase];
  struct cns_digest digest;
  cns_message_digest(message, &digest);
  if (cns_digest_equal(&digest, &held->digest)) return CNS_ANSWER_KNOWN;
  if (cns_message_verify(message, &member->hospital->identity) < 0)
    return cns_problem_set(problem, CNS_ERR_SIGNATURE,
                           "a second answer of hospital %s carries no valid signature",
                           member->hospital->name);
  if (!cns_digest_equal(&message->transcript, &held->view.transcript))
    return REFUSED("hospital %s answered phase %s again under another list", member->hospital->name,
                   cns_phase_name(message->phase));
  int r = cns_coordinator_blame_message(c, k, CNS_BLAME_EQUIVOCATION, &held->view, message);
  if (r < 0) return r;
  cns_problem_set(problem, 0, "hospital %s signed two different answers in phase %s", member->hospital->name,
                  cns_phase_name(message->phase));
  return CNS_ANSWER_NAMED;
}

int cns_coordinator_take_keys(struct cns_coordinator *c, size_t k, const struct cns_message *message,
                              struct cns_problem *problem) {
  struct cns_coordinator_member *member = &c->members[k];
  struct cns_keys keys;
  if (cns_keys_check(&message->round, message->index, message->body, message->body_len, &keys) < 0) {
    int r = cns_coordinator_blame_message(c, k, CNS_BLAME_BAD_KEYS, message, NULL);
    if (r < 0) return r;
    cns_problem_set(problem, 0, "hospital %s signed keys without valid proofs of possession",
                    member->hospital->name);
    return CNS_ANSWER_NAMED;
  }
  for (size_t j = 0; j < c->round.descriptor.member_count; j++)
    if (c->members[j].messages[CNS_PHASE_KEYS].bytes && cns_keys_collide(&keys, &c->members[j].keys, 1))
      return REFUSED("hospital %s sent keys that hospital %s has", member->hospital->name,
                     c->members[j].hospital->name);
  member->keys = keys;
  return 0;
}

static bool points_are_points(const struct cns_message *message, const struct cns_leaf *leaves,
                              size_t count) {
  struct cns_point point_b;
  memcpy(point_b.bytes, message->body, CNS_POINT_BYTES);
  bool good = cns_point_check(&point_b) == 0;
  for (size_t d = 0; d < count && good; d++)
    good = cns_point_check(&leaves[d].point_s) == 0 && cns_point_check(&leaves[d].point_b) == 0;
  return good;
}

static int read_leaves(const struct cns_coordinator *c, const struct cns_message *message,
                       struct cns_reader *reader, struct cns_leaf *leaves, struct cns_digest *digests) {
  for (size_t d = 0; d < c->dealt_count; d++) {
    cns_leaf_read(reader, &leaves[d]);
    if (reader->error) return CNS_ERR_FORMAT;
    if (leaves[d].dealer != message->index ||
        leaves[d].recipient != c->round.descriptor.members[c->dealt[d]].index)
      return CNS_ERR_FORMAT;
    cns_leaf_digest(&leaves[d], &digests[d]);
  }
  return cns_reader_finish(reader);
}

static int take_shares(struct cns_coordinator *c, size_t k, const struct cns_message *message,
                       struct cns_reader *reader, struct cns_problem *problem) {
  struct cns_coordinator_member *member = &c->members[k];
  struct cns_leaf *leaves = calloc(c->dealt_count, sizeof *leaves);
  struct cns_digest *digests = calloc(c->dealt_count, sizeof *digests), root;
  int r = leaves && digests ? 0 : CNS_ERR_MEMORY;
  if (r == 0 && message->body_len != CNS_SHARES_BODY_BYTES) r = CNS_ERR_FORMAT;
  if (r == 0) r = read_leaves(c, message, reader, leaves, digests);
  if (r == CNS_ERR_FORMAT) MALFORMED("hospital %s sent malformed shares", member->hospital->name);
  if (r == 0) r = cns_merkle_root(digests, c->dealt_count, &root);
  if (r == 0 && !cns_digest_equal(&root, &message->root))
    r = REFUSED("the shares that hospital %s sent are not the ones it signed", member->hospital->name);
  if (r == 0 && !points_are_points(message, leaves, c->dealt_count)) {
    r = cns_coordinator_blame_points(c, k, message, leaves, c->dealt_count);
    if (r == 0) {
      cns_problem_set(problem, 0, "hospital %s signed points that are none", member->hospital->name);
      r = CNS_ANSWER_NAMED;
    }
  }
  if (r == 0) r = cns_merkle_tree_new(digests, c->dealt_count, &member->tree);
  if (r == 0) {
    member->leaves = leaves;
    leaves = NULL;
  }
  free(leaves);
  free(digests);
  return r;
}

int cns_coordinator_next_complaint(struct cns_reader *reader, struct cns_complaint *ret_complaint,
                                   struct cns_digest *ret_leaf) {
  size_t len = 0;
  const uint8_t *bytes = cns_read_blob(reader, CNS_COMPLAINT_BYTES_MAX, &len);
  if (!bytes || cns_complaint_read(bytes, len, ret_complaint) < 0) return CNS_ERR_FORMAT;
  cns_merkle_leaf(bytes, len, ret_leaf);
  return 0;
}

/* Each complaint must be the sender's, of the one that the body names, who
 * dealt it shares. Whether it is true is settled when the phase closes. */
static int read_complaints(const struct cns_coordinator *c, size_t k, const struct cns_message *message,
                           struct cns_reader *reader, struct cns_digest *digests) {
  uint16_t accused[CNS_HOSPITALS_MAX];
  size_t count;
  struct cns_digest root = {{0}};
  if (cns_ready_read(message->body, message->body_len, accused, CNS_HOSPITALS_MAX, &count) < 0)
    return CNS_ERR_FORMAT;
  for (size_t q = 0; q < count; q++) {
    struct cns_complaint complaint;
    int position = cns_descriptor_position(&c->round.descriptor, accused[q]);
    if (position < 0 || (size_t)position == k ||
        !cns_round_present(&c->round, CNS_PHASE_SHARES, (size_t)position))
      return CNS_ERR_NOT_FOUND;
    if (cns_coordinator_next_complaint(reader, &complaint, &digests[q]) < 0) return CNS_ERR_FORMAT;
    if (complaint.complainer != message->index || complaint.accused != accused[q]) return CNS_ERR_FORMAT;
  }
  if (cns_reader_finish(reader) < 0) return CNS_ERR_FORMAT;
  int r = count > 0 ? cns_merkle_root(digests, count, &root) : 0;
  return r < 0 || cns_digest_equal(&root, &message->root) ? r : CNS_ERR_FORMAT;
}

static int take_ready(const struct cns_coordinator *c, size_t k, const struct cns_message *message,
                      struct cns_reader *reader, struct cns_problem *problem) {
  struct cns_digest *digests = calloc(CNS_HOSPITALS_MAX, sizeof *digests);
  if (!digests) return CNS_ERR_MEMORY;
  int r = read_complaints(c, k, message, reader, digests);
  free(digests);
  if (r == CNS_ERR_NOT_FOUND)
    return MALFORMED("a complaint of hospital %s accuses nobody who dealt shares",
                     c->members[k].hospital->name);
  if (r == CNS_ERR_FORMAT)
    return MALFORMED("the complaints of hospital %s are malformed", c->members[k].hospital->name);
  return r;
}

static int take_upload(const struct cns_coordinator *c, size_t k, const struct cns_message *message,
                       const struct cns_digest *upload_root, struct cns_problem *problem) {
  struct cns_reader reader;
  struct cns_digest root;
  cns_reader_init(&reader, message->body, message->body_len);
  cns_read_bytes(&reader, root.bytes, CNS_DIGEST_BYTES);
  uint64_t words = cns_read_u64(&reader);
  if (cns_reader_finish(&reader) < 0 || words != cns_descriptor_words(&c->round.descriptor))
    return MALFORMED("the digest of hospital %s's upload is malformed", c->members[k].hospital->name);
  if (!upload_root) return REFUSED("hospital %s's upload is not complete", c->members[k].hospital->name);
  if (!cns_digest_equal(&root, upload_root))
    return REFUSED("hospital %s signed another digest than that of the chunks it sent",
                   c->members[k].hospital->name);
  return 0;
}

struct match_job {
  const struct cns_coordinator *c;
  const struct cns_released *released;
  size_t leaf; /* the holder's among the leaves of every dealer */
  uint8_t *good;
};

static void match_share(void *argument, size_t e) {
  const struct match_job *job = argument;
  const struct cns_leaf *dealt = &job->c->members[job->c->expected_positions[e]].leaves[job->leaf];
  bool is_b = job->released[e].kind == CNS_SHARE_B;
  job->good[e] = cns_share_matches(&job->released[e].share, is_b ? &dealt->point_b : &dealt->point_s);
}

/* A share that doesn't match its point names the holder and is skipped; the
 * others of the same answer count. */
static int take_unmask(struct cns_coordinator *c, size_t k, const struct cns_message *message,
                       struct cns_problem *problem) {
  struct cns_coordinator_member *member = &c->members[k];
  size_t count = c->expected_count;
  struct cns_released *released = sodium_malloc((count ? count : 1) * sizeof *released);
  uint8_t *good = calloc(count ? count : 1, 1);
  int leaf = cns_coordinator_leaf_position(c, k);
  int r = released && good ? 0 : CNS_ERR_MEMORY;
  if (r == 0 && leaf < 0) r = CNS_ERR_STATE; /* who is asked has dealt */
  if (r == 0) {
    memcpy(released, c->expected, count * sizeof *released);
    r = cns_released_read(message->body, message->body_len, released, count);
    if (r < 0) MALFORMED("hospital %s released other shares than were asked for", member->hospital->name);
  }
  if (r < 0) {
    sodium_free(released);
    free(good);
    return r;
  }
  struct match_job job = {.c = c, .released = released, .leaf = (size_t)leaf, .good = good};
  cns_parallel_run(c->config.parallel, count, match_share, &job);
  member->released = released;
  member->released_good = good;
  return 0;
}

static int take(struct cns_coordinator *c, size_t k, const struct cns_message *message,
                struct cns_reader *reader, const struct cns_digest *upload_root,
                struct cns_problem *problem) {
  if (!cns_phase_has_root((enum cns_phase)message->phase)) {
    if (cns_reader_finish(reader) < 0 || !sodium_is_zero(message->root.bytes, CNS_DIGEST_BYTES))
      return MALFORMED("hospital %s's answer has something behind it", c->members[k].hospital->name);
  }
  switch (message->phase) {
  case CNS_PHASE_KEYS:
    return cns_coordinator_take_keys(c, k, message, problem);
  case CNS_PHASE_SHARES:
    return take_shares(c, k, message, reader, problem);
  case CNS_PHASE_READY:
    return take_ready(c, k, message, reader, problem);
  case CNS_PHASE_UPLOAD:
    return take_upload(c, k, message, upload_root, problem);
  case CNS_PHASE_AGREE:
    if (c->agreement_bytes && message->body_len == c->agreement_len &&
        memcmp(message->body, c->agreement_bytes, c->agreement_len) == 0)
      return 0;
    return REFUSED("hospital %s signed another agreement than the one proposed",
                   c->members[k].hospital->name);
  case CNS_PHASE_UNMASK:
    return take_unmask(c, k, message, problem);
  case CNS_PHASE_AUDIT:
    return cns_coordinator_take_audit(c, k, message, reader, problem);
  case CNS_PHASE_DISPUTE:
    return cns_coordinator_take_dispute(c, k, message, reader, problem);
  case CNS_PHASE_FORFEIT:
    return cns_coordinator_take_forfeit(c, k, message, problem);
  default:
    return MALFORMED("hospital %s answered a phase that has no answer", c->members[k].hospital->name);
  }
}

/* Everything that holds for an answer of any phase. */
static int check_frame(const struct cns_coordinator *c, size_t k, const struct cns_message *message,
                       struct cns_problem *problem) {
  const char *name = c->members[k].hospital->name;
  if (!cns_digest_equal(&message->round, &c->round.digest))
    return REFUSED("hospital %s sent an answer that belongs to another round", name);
  if (message->index != c->round.descriptor.members[k].index)
    return REFUSED("hospital %s sent an answer in the name of hospital %u", name, message->index);
  if (!cns_round_has_answers(&c->round, (enum cns_phase)message->phase))
    return MALFORMED("hospital %s answered a phase that has no answer", name);
  return 0;
}

static int keep(struct cns_coordinator *c, size_t k, const struct cns_message *message, const uint8_t *answer,
                size_t len) {
  struct cns_coordinator_message *kept = &c->members[k].messages[message->phase];
  uint8_t *bytes = malloc(len);
  if (!bytes) return CNS_ERR_MEMORY;
  memcpy(bytes, answer, len);
  kept->bytes = bytes;
  kept->len = len;
  kept->view = *message;
  kept->view.body = bytes + (message->body - answer);
  cns_message_digest(message, &kept->digest);
  return 0;
}

/* T that an answer in the present phase is signed under. */
static const struct cns_digest *transcript_now(const struct cns_coordinator *c) {
  if (c->phase == CNS_PHASE_FORFEIT) return &c->audit.forfeit_transcripts[c->audit.forfeits.rounds - 1];
  return &c->round.transcript[cns_round_previous(&c->round, c->phase)];
}

/* An answer in an earlier round of forfeits. */
static bool is_late_forfeit(const struct cns_coordinator *c, const struct cns_message *message) {
  if (message->phase != CNS_PHASE_FORFEIT) return false;
  for (size_t f = 0; f + 1 < c->audit.forfeits.rounds; f++)
    if (cns_digest_equal(&message->transcript, &c->audit.forfeit_transcripts[f])) return true;
  return false;
}

static int blame_bad_shares(struct cns_coordinator *c, size_t k) {
  const struct cns_forfeits *forfeits = &c->audit.forfeits;
  int r = 0;
  for (size_t e = 0; r == 0 && c->phase == CNS_PHASE_UNMASK && e < c->expected_count; e++)
    if (!c->members[k].released_good[e])
      r = cns_coordinator_blame_wrong_share(c, k, c->expected_positions[e], CNS_PHASE_UNMASK);
  size_t first = cns_forfeits_last(forfeits), count = cns_forfeits_count(forfeits) - first;
  for (size_t a = 0; r == 0 && c->phase == CNS_PHASE_FORFEIT && a < count; a++) {
    int dealer = cns_descriptor_position(&c->round.descriptor, forfeits->accused[first + a]);
    if (!c->members[k].forfeit_good[a])
      r = cns_coordinator_blame_wrong_share(c, k, (size_t)dealer, CNS_PHASE_FORFEIT);
  }
  return r;
}

/* As if the answer had never come: it will be given again. */
static void forget(struct cns_coordinator *c, size_t k, enum cns_phase phase) {
  struct cns_coordinator_member *member = &c->members[k];
  if (member->messages[phase].bytes) cns_wipe(member->messages[phase].bytes, member->messages[phase].len);
  free(member->messages[phase].bytes);
  member->messages[phase] = (struct cns_coordinator_message){0};
  if (phase == CNS_PHASE_SHARES) {
    free(member->leaves);
    member->leaves = NULL;
    member->tree = cns_merkle_tree_free(member->tree);
  }
  if (phase == CNS_PHASE_UNMASK) {
    sodium_free(member->released);
    free(member->released_good);
    member->released = NULL;
    member->released_good = NULL;
  }
  if (phase == CNS_PHASE_DISPUTE) {
    free(member->openings);
    member->openings = NULL;
    member->opening_count = 0;
  }
  if (phase == CNS_PHASE_FORFEIT) {
    sodium_free(member->forfeit_released);
    free(member->forfeit_good);
    member->forfeit_released = NULL;
    member->forfeit_good = NULL;
  }
}

int cns_coordinator_receive(struct cns_coordinator *c, size_t k, const uint8_t *answer, size_t len,
                            const struct cns_digest *upload_root, struct cns_problem *problem) {
  struct cns_message message = {0};
  struct cns_reader reader;
  if (k >= c->round.descriptor.member_count) return CNS_ERR_ARGUMENT;
  cns_reader_init(&reader, answer, len);
  cns_message_read(&reader, &message);
  if (reader.error) return MALFORMED("hospital %s sent a malformed answer", c->members[k].hospital->name);
  int r = check_frame(c, k, &message, problem);
  if (r < 0) return r;
  if (is_late_forfeit(c, &message)) return CNS_ANSWER_LATE;
  if (c->members[k].messages[message.phase].bytes) return receive_again(c, k, &message, problem);
  unsigned order = cns_phase_order((enum cns_phase)message.phase), now = cns_phase_order(c->phase);
  if (c->end != CNS_END_NONE || order < now) return CNS_ANSWER_LATE;
  if (order > now)
    return REFUSED("hospital %s answered phase %s before it was asked", c->members[k].hospital->name,
                   cns_phase_name(message.phase));
  if (!cns_coordinator_asks(c, k)) return CNS_NOT_ASKED;
  if (!cns_digest_equal(&message.transcript, transcript_now(c)))
    return REFUSED("hospital %s answered phase %s under another list", c->members[k].hospital->name,
                   cns_phase_name(message.phase));
  if (cns_message_verify(&message, &c->members[k].hospital->identity) < 0)
    return cns_problem_set(problem, CNS_ERR_SIGNATURE,
                           "an answer in phase %s doesn't carry hospital %s's signature",
                           cns_phase_name(message.phase), c->members[k].hospital->name);
  r = take(c, k, &message, &reader, upload_root, problem);
  if (r != 0) return r;
  r = keep(c, k, &message, answer, len);
  if (r == 0) r = blame_bad_shares(c, k);
  if (r == 0 && message.phase == CNS_PHASE_AUDIT) cns_coordinator_keep_audit(c, k);
  if (r < 0) forget(c, k, (enum cns_phase)message.phase);
  return r;
}
