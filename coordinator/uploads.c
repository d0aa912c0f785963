/* SPDX-License-Identifier: Apache-2.0 */
/* Masked vectors as they arrive: in order, chunk by chunk, into files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "coordinator/server_internal.h"

static void file_name(const struct cns_server *s, size_t position, char out[static 80]) {
  const struct cns_descriptor *d = &cns_coordinator_round(s->machine)->descriptor;
  snprintf(out, 80, "round-%llu-%u-hospital-%u", (unsigned long long)d->round, d->attempt,
           d->members[position].index);
}

static uint64_t words(const struct cns_server *s) {
  return cns_descriptor_words(&cns_coordinator_round(s->machine)->descriptor);
}

/* Uploads must not take the disk's last bytes: the journal goes on needing some. */
int cns_upload_check_room(const struct cns_server *s, uint64_t bytes, struct cns_problem *problem) {
  struct statvfs status;
  if (statvfs(s->vectors, &status) < 0) return 0; /* creating the file says more */
  uint64_t room = (uint64_t)status.f_bavail * status.f_frsize;
  if (room >= bytes && room - bytes >= CNS_SERVER_DISK_MARGIN_BYTES) return 0;
  return cns_problem_set(problem, CNS_ERR_DISK_FULL,
                         "%s: no space left for uploads of %llu bytes beside the %llu kept free for the "
                         "journal",
                         s->vectors, (unsigned long long)bytes, CNS_SERVER_DISK_MARGIN_BYTES);
}

static int append_chunks(struct cns_server *s, size_t position, struct cns_problem *problem) {
  struct cns_upload *upload = &s->uploads[position];
  uint8_t body[8];
  for (size_t k = 0; k < sizeof body; k++)
    body[k] = (uint8_t)(upload->digest.next_chunk >> (8 * k));
  upload->checkpoint = upload->digest.next_chunk;
  /* A failure here drops what others sent since the last sync too: it is the
   * journal's, not this hospital's. */
  int r = cns_server_append(s, CNS_ENTRY_CHUNKS, CNS_PHASE_UPLOAD,
                            cns_coordinator_round(s->machine)->descriptor.members[position].index, body,
                            sizeof body, problem);
  if (r < 0) cns_round_journal_failed(s, r, problem);
  return r;
}

/* Chunks that the journal counts are lost. It mustn't find them in the new file,
 * not even if the machine stops right after that one is made. */
static int forget_chunks(struct cns_server *s, size_t position, struct cns_problem *problem) {
  if (!s->uploads[position].checkpoint) return 0;
  int r = append_chunks(s, position, problem);
  if (r < 0) return r;
  r = cns_journal_sync(s->journal, problem);
  if (r < 0) cns_round_journal_failed(s, r, problem);
  return r;
}

static int open_file(struct cns_server *s, size_t position, struct cns_problem *problem) {
  struct cns_upload *upload = &s->uploads[position];
  char name[80];
  if (upload->file) return 0;
  file_name(s, position, name);
  cns_upload_digest_init(&upload->digest, words(s));
  int r = forget_chunks(s, position, problem);
  if (r == 0) r = cns_upload_check_room(s, words(s) * 4, problem);
  if (r == 0) /* of a start that got no chunk into the journal */
    r = cns_vector_file_delete(s->vectors, name, problem);
  if (r == 0) r = cns_vector_file_create(s->vectors, name, words(s), s->vector_key, &upload->file, problem);
  return r;
}

/* The member of a session if it may send chunks now, else -1. */
static int uploading(const struct cns_server *s, const struct cns_session *session) {
  int position = cns_session_position(s, session);
  if (position < 0 || s->job_running || cns_coordinator_phase(s->machine) != CNS_PHASE_UPLOAD) return -1;
  if (s->uploads[position].declined) return -1;
  return cns_coordinator_awaits(s->machine, (size_t)position) ? position : -1;
}

/* What was stored may lack a chunk that the digest counts: it goes. */
void cns_upload_give_up(struct cns_server *s, struct cns_session *session,
                        const struct cns_problem *problem) {
  struct cns_problem ignored = {0};
  char name[80];
  int position = cns_session_position(s, session);
  if (position < 0) return;
  cns_report(s, "upload", "the upload of hospital %s is given up in this round: %s", session->hospital->name,
             problem->text);
  cns_session_notice(session, "your upload can't be taken in this round: %s", problem->text);
  cns_running_forget(s, (size_t)position);
  s->uploads[position].file = cns_vector_file_free(s->uploads[position].file);
  file_name(s, (size_t)position, name);
  (void)!cns_vector_file_delete(s->vectors, name, &ignored); /* or the next start does */
  cns_session_leave_out(s, session);
}

void cns_upload_open(struct cns_server *s, struct cns_session *session, const uint8_t *data, size_t len) {
  struct cns_problem problem = {0};
  struct cns_digest round;
  struct cns_writer writer;
  int position = uploading(s, session);
  if (cns_wire_read_digest(data, len, &round) < 0) {
    cns_link_close(session->link, "a malformed UPLOAD_OPEN");
    return;
  }
  if (position < 0 || !cns_digest_equal(&round, &cns_coordinator_round(s->machine)->digest))
    return; /* late */
  if (open_file(s, (size_t)position, &problem) < 0) {
    if (s->stopping) return;
    cns_upload_give_up(s, session, &problem);
    return;
  }
  cns_writer_init(&writer, 64);
  cns_wire_write_digest_u64(&writer, &cns_coordinator_round(s->machine)->digest,
                            s->uploads[position].digest.next_chunk);
  cns_session_send(session, CNS_WIRE_UPLOAD_FROM, &writer);
  cns_writer_deinit(&writer);
}

static void checkpoint(struct cns_server *s, struct cns_session *session, int position) {
  struct cns_upload *upload = &s->uploads[position];
  struct cns_problem problem = {0};
  if (upload->digest.next_chunk - upload->checkpoint < CNS_SERVER_CHECKPOINT_CHUNKS) return;
  if (cns_vector_file_sync(upload->file, &problem) < 0) {
    cns_upload_give_up(s, session, &problem);
    return;
  }
  (void)!append_chunks(s, (size_t)position, &problem);
}

static int store_chunk(struct cns_server *s, int position, uint64_t chunk, const uint8_t *bytes, size_t len,
                       struct cns_problem *problem) {
  struct cns_upload *upload = &s->uploads[position];
  uint32_t values[CNS_CHUNK_WORDS];
  int r = cns_upload_digest_add(&upload->digest, chunk, bytes, len);
  if (r < 0) return cns_problem_set(problem, CNS_ERR_FORMAT, "a chunk out of order or of the wrong length");
  for (size_t w = 0; w < len / 4; w++)
    values[w] = (uint32_t)bytes[4 * w] | (uint32_t)bytes[4 * w + 1] << 8 | (uint32_t)bytes[4 * w + 2] << 16 |
                (uint32_t)bytes[4 * w + 3] << 24;
  r = cns_vector_file_write(upload->file, chunk * CNS_CHUNK_WORDS, values, len / 4, problem);
  if (r == 0) cns_running_add(s, (size_t)position, chunk, values, len / 4);
  return r;
}

void cns_upload_chunk(struct cns_server *s, struct cns_session *session, const uint8_t *data, size_t len) {
  struct cns_digest round;
  struct cns_problem problem = {0};
  const uint8_t *bytes;
  size_t bytes_len;
  uint64_t chunk;
  int position = uploading(s, session);
  if (cns_wire_read_chunk(data, len, &round, &chunk, &bytes, &bytes_len) < 0) {
    cns_link_close(session->link, "a malformed chunk");
    return;
  }
  if (position < 0 || !cns_digest_equal(&round, &cns_coordinator_round(s->machine)->digest))
    return; /* late */
  if (!s->uploads[position].file) return;
  if (chunk < s->uploads[position].digest.next_chunk) return; /* held already */
  int r = store_chunk(s, position, chunk, bytes, bytes_len, &problem);
  if (r == CNS_ERR_FORMAT) {
    cns_problem_prefix(&problem, r, "hospital %s sent", session->hospital->name);
    cns_session_strike(s, session, problem.text);
    cns_link_close(session->link, "a chunk out of order or of the wrong length");
  } else if (r < 0)
    cns_upload_give_up(s, session, &problem);
  else {
    session->brought_chunk = true;
    checkpoint(s, session, position);
  }
}

int cns_upload_finish(struct cns_server *s, size_t position, struct cns_digest *ret_root,
                      struct cns_problem *problem) {
  struct cns_upload *upload = &s->uploads[position];
  if (!upload->file || cns_upload_digest_final(&upload->digest, ret_root) < 0)
    return cns_problem_set(problem, CNS_ERR_STATE, "the digest of an upload came before all of its chunks");
  int r = cns_vector_file_sync(upload->file, problem);
  return r == CNS_ERR_STATE ? CNS_ERR_IO : r;
}

int cns_upload_restore(struct cns_server *s, size_t position, uint64_t next, struct cns_problem *problem) {
  struct cns_upload *upload = &s->uploads[position];
  char name[80];
  file_name(s, position, name);
  cns_running_forget(s, position);
  upload->file = cns_vector_file_free(upload->file);
  cns_upload_digest_init(&upload->digest, words(s));
  int r = cns_vector_file_open(s->vectors, name, s->vector_key, &upload->file, problem);
  uint32_t *values = malloc(CNS_CHUNK_WORDS * sizeof *values);
  uint8_t *bytes = malloc(CNS_CHUNK_WORDS * 4);
  if (r == 0 && (!values || !bytes)) r = CNS_ERR_MEMORY;
  for (uint64_t chunk = 0; r == 0 && chunk < next; chunk++) {
    uint32_t count = cns_chunk_words(words(s), chunk);
    r = cns_vector_file_read(upload->file, chunk * CNS_CHUNK_WORDS, count, values, problem);
    for (size_t b = 0; r == 0 && b < (size_t)count * 4; b++)
      bytes[b] = (uint8_t)(values[b / 4] >> (8 * (b % 4)));
    if (r == 0) r = cns_upload_digest_add(&upload->digest, chunk, bytes, (size_t)count * 4);
    if (r == 0) cns_running_add(s, position, chunk, values, count);
  }
  upload->checkpoint = next;
  free(values);
  free(bytes);
  return r;
}

void cns_uploads_close(struct cns_server *s, bool delete_files) {
  if (!s->machine || !s->uploads) return;
  for (size_t k = 0; k < cns_coordinator_round(s->machine)->descriptor.member_count; k++) {
    struct cns_problem problem = {0};
    char name[80];
    s->uploads[k].file = cns_vector_file_free(s->uploads[k].file);
    file_name(s, k, name);
    if (delete_files && cns_vector_file_delete(s->vectors, name, &problem) < 0)
      cns_report(s, "error", "%s", problem.text);
  }
}
