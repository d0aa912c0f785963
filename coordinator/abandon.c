/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After a round without a result the hospitals that have uploaded are asked to
 * sign abandon(R); t of these are shown to all, who then count the update as
 * not spent. docs/protocol.md, phase upload.
 */
#include <stdlib.h>

#include "coordinator/server_internal.h"

int cns_abandoning_begin(struct cns_server *s, const struct cns_descriptor *descriptor) {
  struct cns_abandoning *a = &s->abandoning;
  cns_abandoning_end(s);
  int r = cns_descriptor_digest(descriptor, &a->round);
  if (r == 0) r = cns_descriptor_copy(descriptor, &a->descriptor);
  if (r < 0) return r;
  a->abandons = calloc(descriptor->member_count, sizeof *a->abandons);
  a->active = true;
  a->since_ms = cns_server_now(s);
  if (a->abandons) return 0;
  cns_abandoning_end(s);
  return CNS_ERR_MEMORY;
}

void cns_abandoning_end(struct cns_server *s) {
  struct cns_abandoning *a = &s->abandoning;
  if (a->active) cns_descriptor_deinit(&a->descriptor);
  free(a->abandons);
  *a = (struct cns_abandoning){0};
}

static void show(struct cns_server *s, struct cns_session *session) {
  const struct cns_abandoning *a = &s->abandoning;
  struct cns_writer writer;
  struct cns_wire_abandon *sorted = calloc(a->count, sizeof *sorted);
  size_t count = 0;
  if (!sorted) return;
  for (size_t k = 0; k < a->descriptor.member_count; k++)
    if (a->abandons[k].index) sorted[count++] = a->abandons[k];
  cns_writer_init(&writer, CNS_REQUEST_BYTES_MAX);
  cns_wire_write_abandoned(&writer, &a->round, sorted, count);
  cns_session_send(session, CNS_WIRE_ABANDONED, &writer);
  cns_writer_deinit(&writer);
  free(sorted);
}

void cns_abandoning_ask(struct cns_server *s, struct cns_session *session) {
  const struct cns_abandoning *a = &s->abandoning;
  if (!a->active || !session->joined) return;
  int position = cns_descriptor_position(&a->descriptor, session->hospital->index);
  if (position < 0) return;
  if (!a->abandons[position].index && session->link)
    (void)!cns_link_send(session->link, CNS_WIRE_ABANDON_ASK, a->round.bytes, CNS_DIGEST_BYTES);
  if (a->count >= a->descriptor.threshold) show(s, session);
}

void cns_abandoning_take(struct cns_server *s, struct cns_session *session, const uint8_t *data, size_t len) {
  struct cns_abandoning *a = &s->abandoning;
  struct cns_digest round;
  struct cns_signature signature;
  if (cns_wire_read_signed(data, len, &round, &signature) < 0) {
    cns_link_close(session->link, "a malformed ABANDON");
    return;
  }
  if (!a->active || !cns_digest_equal(&round, &a->round)) return;
  int position = cns_descriptor_position(&a->descriptor, session->hospital->index);
  if (position < 0 || a->abandons[position].index) return;
  if (cns_abandon_verify(&session->hospital->identity, &round, session->hospital->index, &signature) < 0) {
    cns_report(s, "hospital %s sent an ABANDON without a valid signature", session->hospital->name);
    return;
  }
  a->abandons[position] = (struct cns_wire_abandon){session->hospital->index, signature};
  a->count++;
  if (a->count == a->descriptor.threshold) {
    cns_report(s, "the failed attempt is abandoned by %zu hospitals: their updates don't count as spent",
               a->count);
    for (size_t k = 0; k < s->session_count; k++) {
      struct cns_session *other = &s->sessions[k];
      if (other->joined && cns_descriptor_position(&a->descriptor, other->hospital->index) >= 0)
        show(s, other);
    }
  } else if (a->count > a->descriptor.threshold)
    show(s, session);
}

bool cns_abandoning_pending(struct cns_server *s) {
  const struct cns_abandoning *a = &s->abandoning;
  if (!a->active || a->count >= a->descriptor.threshold) return false;
  return cns_server_now(s) - a->since_ms < CNS_SERVER_ABANDON_MS;
}
