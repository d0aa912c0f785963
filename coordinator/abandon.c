/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After an attempt without a result the hospitals that were asked for an upload
 * are asked to sign abandon(R); t of these are shown to all, who then count the
 * update as not spent. docs/protocol.md, phase upload. Every failed attempt of
 * the present round is remembered until its successor's model is there, also
 * over a restart (replay.c): who was away when it failed is asked when it joins.
 */
#include <stdlib.h>
#include <string.h>

#include "coordinator/server_internal.h"

static void forget(struct cns_abandoning *a) {
  cns_descriptor_deinit(&a->descriptor);
  free(a->asked);
  free(a->abandons);
  *a = (struct cns_abandoning){0};
}

void cns_abandoning_end(struct cns_server *s) {
  for (size_t k = 0; k < s->abandoning_count; k++)
    forget(&s->abandonings[k]);
  s->abandoning_count = 0;
}

static struct cns_abandoning *find(struct cns_server *s, const struct cns_digest *round) {
  for (size_t k = 0; k < s->abandoning_count; k++)
    if (cns_digest_equal(&s->abandonings[k].round, round)) return &s->abandonings[k];
  return NULL;
}

int cns_abandoning_begin(struct cns_server *s, const struct cns_descriptor *descriptor, const bool *asked) {
  struct cns_abandoning a = {.since_ms = cns_server_now(s)};
  size_t count = 0;
  for (size_t k = 0; k < descriptor->member_count; k++)
    count += asked[k];
  if (count == 0) return 0;
  int r = cns_descriptor_digest(descriptor, &a.round);
  if (r < 0 || find(s, &a.round)) return r;
  r = cns_descriptor_copy(descriptor, &a.descriptor);
  if (r < 0) return r;
  a.abandons = calloc(descriptor->member_count, sizeof *a.abandons);
  a.asked = calloc(descriptor->member_count, sizeof *a.asked);
  if (!a.abandons || !a.asked) {
    forget(&a);
    return CNS_ERR_MEMORY;
  }
  memcpy(a.asked, asked, descriptor->member_count * sizeof *asked);
  if (s->abandoning_count == CNS_SERVER_ABANDONINGS_MAX) {
    forget(&s->abandonings[0]);
    s->abandoning_count--;
    memmove(s->abandonings, s->abandonings + 1, s->abandoning_count * sizeof a);
  }
  s->abandonings[s->abandoning_count++] = a;
  return 0;
}

static void show(const struct cns_abandoning *a, struct cns_session *session) {
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

static int position_in(const struct cns_abandoning *a, const struct cns_session *session) {
  int position = cns_descriptor_position(&a->descriptor, session->hospital->index);
  return position >= 0 && a->asked[position] ? position : -1;
}

void cns_abandoning_ask(struct cns_server *s, struct cns_session *session) {
  for (size_t k = 0; session->joined && k < s->abandoning_count; k++) {
    const struct cns_abandoning *a = &s->abandonings[k];
    int position = position_in(a, session);
    if (position < 0) continue;
    if (!a->abandons[position].index && session->link)
      (void)!cns_link_send(session->link, CNS_WIRE_ABANDON_ASK, a->round.bytes, CNS_DIGEST_BYTES);
    if (a->count >= a->descriptor.threshold) show(a, session);
  }
}

static void show_all(struct cns_server *s, const struct cns_abandoning *a) {
  struct cns_problem problem = {0};
  if (cns_budget_refund(s, &a->descriptor, &a->round, &problem) < 0)
    cns_report(s, "error", "the abandoned round stays charged: %s", problem.text);
  cns_report(s, "abandoned",
             "attempt %u of round %llu is abandoned by %zu hospitals: their updates don't count as spent",
             a->descriptor.attempt, (unsigned long long)a->descriptor.round, a->count);
  for (size_t k = 0; k < s->session_count; k++)
    if (s->sessions[k].joined && position_in(a, &s->sessions[k]) >= 0) show(a, &s->sessions[k]);
}

void cns_abandoning_take(struct cns_server *s, struct cns_session *session, const uint8_t *data, size_t len) {
  struct cns_digest round;
  struct cns_signature signature;
  if (cns_wire_read_signed(data, len, &round, &signature) < 0) {
    cns_link_close(session->link, "a malformed ABANDON");
    return;
  }
  struct cns_abandoning *a = find(s, &round);
  int position = a ? position_in(a, session) : -1;
  if (position < 0 || a->abandons[position].index) return;
  if (cns_abandon_verify(&session->hospital->identity, &round, session->hospital->index, &signature) < 0) {
    struct cns_problem problem = {0};
    cns_problem_set(&problem, 0, "hospital %s sent an ABANDON without a valid signature",
                    session->hospital->name);
    cns_session_strike(s, session, problem.text);
    cns_link_close(session->link, "an ABANDON without a valid signature");
    return;
  }
  a->abandons[position] = (struct cns_wire_abandon){session->hospital->index, signature};
  a->count++;
  if (a->count == a->descriptor.threshold)
    show_all(s, a);
  else if (a->count > a->descriptor.threshold)
    show(a, session);
}

bool cns_abandoning_pending(const struct cns_server *s) {
  if (s->abandoning_count == 0) return false;
  const struct cns_abandoning *a = &s->abandonings[s->abandoning_count - 1];
  return a->count < a->descriptor.threshold && cns_server_now(s) - a->since_ms < CNS_SERVER_ABANDON_MS;
}

bool cns_abandoning_worn_out(const struct cns_server *s, const struct cns_session *session) {
  size_t spent = 0;
  for (size_t k = 0; k < s->abandoning_count; k++) {
    const struct cns_abandoning *a = &s->abandonings[k];
    spent += a->count < a->descriptor.threshold && position_in(a, session) >= 0;
  }
  return spent >= s->kit.policy.attempts_per_parent;
}
