/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target of the machines: bytes that a coordinator, a hospital or anybody
 * with a piece of evidence could send. The first byte chooses what is given the
 * rest, the second the phase that the round is in; both modulo their number.
 *
 *   0  a request, to a hospital
 *   1  the same with every list under a head that the coordinator signs
 *   2  an answer, to the coordinator
 *   3  the same signed by its sender, under the right round and list
 *   4  evidence
 *   5  a descriptor; what is read must be written the same
 *   6  an announcement
 *
 * With -Dfuzz=true (clang) libFuzzer drives it; otherwise main runs every file
 * of the folder it is given, or with --write fills it from a genuine round.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/fuzz/run.h"
#include "tests/protocol/attack.h"

#define TARGETS 7
#define MEMBERS 4
#define MEMBER 1
#define INPUT_MAX ((size_t)1 << 16)

/* In the rounds with an audit this one lies, so that there is a dispute, or a forfeit. */
#define LIAR 2

static const struct {
  enum cns_phase phase;
  const char *name;
  bool audited;
} phases[] = {
    {CNS_PHASE_KEYS, "keys", false},          {CNS_PHASE_SHARES, "shares", false},
    {CNS_PHASE_READY, "ready", false},        {CNS_PHASE_UPLOAD, "upload", false},
    {CNS_PHASE_AGREE, "agree", false},        {CNS_PHASE_UNMASK, "unmask", false},
    {CNS_PHASE_AUDIT, "audit", true},         {CNS_PHASE_DISPUTE, "dispute", true},
    {CNS_PHASE_AGREE, "audited-agree", true}, {CNS_PHASE_FORFEIT, "forfeit", true},
};
#define PHASES (sizeof phases / sizeof phases[0])

/* One round a phase, kept from input to input as long as nothing was accepted. */
static struct federation rounds[PHASES];
static bool playing[PHASES];

static struct federation *round_in(size_t p) {
  if (!playing[p]) {
    if (phases[p].audited)
      federation_init_audited(&rounds[p], MEMBERS, 1);
    else
      federation_init(&rounds[p], MEMBERS, 8, 1);
    federation_begin(&rounds[p], 1, 1);
    rounds[p].lie_partner[LIAR] = MEMBER;
    if (phases[p].phase == CNS_PHASE_DISPUTE) rounds[p].lies[LIAR] = attack_lie_wildly;
    if (phases[p].phase == CNS_PHASE_FORFEIT) {
      attack_poison(&rounds[p], LIAR);
      rounds[p].lies[LIAR] = attack_lie_self;
    }
    attack_play_until(&rounds[p], phases[p].phase);
    playing[p] = true;
  }
  return &rounds[p];
}

static void start_anew(size_t p) {
  federation_deinit(&rounds[p]);
  playing[p] = false;
}

static void give_request(size_t p, const uint8_t *data, size_t len) {
  const uint8_t *answer;
  size_t answer_len;
  struct cns_problem problem = {0};
  struct cns_hospital *h = round_in(p)->hospitals[MEMBER];
  enum cns_phase closed = h->round.closed;
  int r = cns_hospital_handle(h, data, len, &answer, &answer_len, &problem);
  if (r >= 0 || h->round.closed != closed) start_anew(p);
}

/* Copies a request and signs the heads of its lists, as far as it has lists. */
static void give_signed_request(size_t p, const uint8_t *data, size_t len) {
  struct federation *f = round_in(p);
  const struct cns_round *round = &f->hospitals[MEMBER]->round;
  struct cns_digest transcript = round->transcript[round->closed];
  uint8_t *copy = malloc(len ? len : 1);
  struct cns_reader reader;
  if (!copy) abort();
  if (len) memcpy(copy, data, len);
  cns_reader_init(&reader, copy, len);
  if (len > 33) memcpy(copy + 1, round->digest.bytes, CNS_DIGEST_BYTES);
  (void)cns_read_view(&reader, 34);
  uint16_t lists = cns_read_u16(&reader);
  for (uint16_t l = 0; l < lists && !reader.error; l++) {
    struct cns_reader list;
    struct cns_entry entries[MEMBERS] = {{0}};
    struct cns_signature head;
    size_t list_len;
    const uint8_t *bytes = cns_read_blob(&reader, INPUT_MAX, &list_len);
    cns_reader_init(&list, bytes, list_len);
    enum cns_phase phase = (enum cns_phase)cns_read_u8(&list);
    (void)cns_read_view(&list, CNS_SIGNATURE_BYTES);
    for (size_t k = 0; k < MEMBERS; k++) {
      entries[k].standing = cns_read_u8(&list);
      if (entries[k].standing != CNS_ABSENT)
        cns_read_bytes(&list, entries[k].message.bytes, CNS_DIGEST_BYTES);
    }
    if (list.error) break;
    cns_transcript_next(&transcript, phase, &f->descriptor, entries, &transcript);
    if (cns_transcript_sign(f->coordinator_identity, &round->digest, phase, &transcript, &head) < 0) abort();
    memcpy(copy + (bytes - copy) + 1, head.bytes, CNS_SIGNATURE_BYTES);
  }
  give_request(p, copy, len);
  free(copy);
}

static void give_answer(size_t p, const uint8_t *data, size_t len) {
  struct federation *f = round_in(p);
  struct cns_problem problem = {0};
  int r = cns_coordinator_receive(f->coordinator, MEMBER, data, len, &f->root[MEMBER], &problem);
  if (r >= 0) start_anew(p);
}

static void give_signed_answer(size_t p, const uint8_t *data, size_t len) {
  struct federation *f = round_in(p);
  struct cns_message message = {0};
  struct cns_reader reader;
  cns_reader_init(&reader, data, len);
  cns_message_read(&reader, &message);
  if (reader.error) return;
  struct attack_bytes answer = attack_answer(f, MEMBER, message.body, message.body_len, &message.root,
                                             data + reader.at, len - reader.at);
  give_answer(p, answer.data, answer.len);
  attack_bytes_free(&answer);
}

static void give_evidence(const uint8_t *data, size_t len) {
  uint16_t index;
  enum cns_blame blame;
  struct cns_problem problem = {0};
  /* Of the corpus's pieces, all about this member or the liar, some convict. */
  if (cns_evidence_check(&round_in(0)->roster, data, len, &index, &blame, &problem) == 0 &&
      index != MEMBER + 1 && index != LIAR + 1)
    abort();
}

static void give_descriptor(const uint8_t *data, size_t len) {
  struct cns_descriptor descriptor;
  struct cns_writer writer;
  if (cns_descriptor_read(data, len, &descriptor) < 0) return;
  cns_writer_init(&writer, CNS_DESCRIPTOR_BYTES_MAX);
  cns_descriptor_write(&writer, &descriptor);
  if (cns_writer_finish(&writer) < 0 || writer.len != len || memcmp(writer.data, data, len) != 0) abort();
  struct cns_hospital_config config = federation_hospital_config(round_in(0), MEMBER);
  struct cns_problem problem = {0};
  if (cns_descriptor_check(&descriptor, &config.expectation, &problem) < 0 && problem.text[0] == '\0')
    abort();
  cns_writer_deinit(&writer);
  cns_descriptor_deinit(&descriptor);
}

static void give_announcement(const uint8_t *data, size_t len) {
  struct cns_hospital_config config = federation_hospital_config(round_in(0), MEMBER);
  struct cns_hospital *hospital = NULL;
  struct cns_problem problem = {0};
  if (cns_hospital_begin(&config, data, len, &hospital, &problem) == 0) cns_hospital_free(hospital);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  if (len < 2 || len > INPUT_MAX) return 0;
  size_t target = data[0] % TARGETS, p = data[1] % PHASES;
  data += 2;
  len -= 2;
  switch (target) {
  case 0:
    give_request(p, data, len);
    break;
  case 1:
    give_signed_request(p, data, len);
    break;
  case 2:
    give_answer(p, data, len);
    break;
  case 3:
    give_signed_answer(p, data, len);
    break;
  case 4:
    give_evidence(data, len);
    break;
  case 5:
    give_descriptor(data, len);
    break;
  default:
    give_announcement(data, len);
  }
  return 0;
}

#ifndef CNS_FUZZ

static void write_file(const char *folder, const char *name, size_t target, size_t p, const uint8_t *data,
                       size_t len) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%zu-%s-%s", folder, target, phases[p].name, name);
  FILE *file = fopen(path, "wb");
  if (!file || fputc((int)target, file) == EOF || fputc((int)p, file) == EOF ||
      fwrite(data, 1, len, file) != len || fclose(file) != 0) {
    perror(path);
    exit(1);
  }
}

/* Genuine requests and answers of all phases, and evidence of a second answer. */
static void write_corpus(const char *folder) {
  for (size_t p = 0; p < PHASES; p++) {
    struct federation *f = round_in(p);
    struct cns_problem problem = {0};
    const uint8_t *answer;
    size_t len, count;
    if (p > 0) {
      struct attack_bytes request = attack_request(f, MEMBER);
      write_file(folder, "request", 0, p, request.data, request.len);
      write_file(folder, "request", 1, p, request.data, request.len);
      attack_bytes_free(&request);
    }
    if (federation_answer(f, MEMBER, &answer, &len, &problem) != 0) abort();
    write_file(folder, "answer", 2, p, answer, len);
    write_file(folder, "answer", 3, p, answer, len);
    struct attack_bytes other = attack_answer(f, MEMBER, NULL, 0, NULL, NULL, 0);
    federation_play_phase(f);
    if (attack_receive(f, MEMBER, other, &problem) != CNS_ANSWER_NAMED) abort();
    const struct cns_verdict *verdicts = cns_coordinator_verdicts(f->coordinator, &count);
    for (size_t v = 0; v < count; v++)
      write_file(folder, verdicts[v].blame == CNS_BLAME_EQUIVOCATION ? "equivocation" : "false-sketch", 4, p,
                 verdicts[v].evidence, verdicts[v].evidence_len);
    start_anew(p);
  }
  struct cns_writer writer;
  cns_writer_init(&writer, CNS_REQUEST_BYTES_MAX);
  cns_descriptor_write(&writer, &round_in(0)->descriptor);
  write_file(folder, "descriptor", 5, 0, writer.data, writer.len);
  cns_writer_reset(&writer);
  if (cns_coordinator_announcement(round_in(0)->coordinator, &writer) != 0) abort();
  write_file(folder, "announcement", 6, 0, writer.data, writer.len);
  cns_writer_deinit(&writer);
}

int main(int argc, char **argv) {
  int result = 0;
  if (argc == 3 && strcmp(argv[1], "--write") == 0)
    write_corpus(argv[2]);
  else if (argc == 2)
    result = fuzz_run_folder(argv[1], INPUT_MAX);
  else {
    fprintf(stderr, "usage: %s [--write] FOLDER\n", argv[0]);
    return 2;
  }
  for (size_t p = 0; p < PHASES; p++)
    if (playing[p]) start_anew(p);
  return result;
}

#endif
