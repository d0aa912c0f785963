/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "net/handshake.h"

static const uint64_t seed = 20262;
static struct cns_rng_seeded seeded;
static struct cns_identity *hospital, *coordinator, *stranger;
static enum cns_peer_verdict verdict;
static struct cns_peer asked;

static int setup(void **state) {
  (void)state;
  cns_rng_seeded_init_label(&seeded, seed, "handshake test");
  struct cns_rng rng = cns_rng_seeded(&seeded);
  return cns_init() || cns_identity_new(rng, &hospital) || cns_identity_new(rng, &coordinator) ||
         cns_identity_new(rng, &stranger);
}

static int teardown(void **state) {
  (void)state;
  cns_identity_free(hospital);
  cns_identity_free(coordinator);
  cns_identity_free(stranger);
  return 0;
}

static enum cns_peer_verdict accept_all(void *context, const struct cns_peer *claim, bool has_pin,
                                        struct cns_problem *problem) {
  asked = *claim;
  if (verdict != CNS_PEER_TRUSTED) cns_problem_set(problem, CNS_ERR_REFUSED, "not on our list");
  return verdict;
}

static struct cns_handshake_config config_of(bool initiator) {
  return (struct cns_handshake_config){.initiator = initiator,
                                       .identity = initiator ? hospital : coordinator,
                                       .role = initiator ? CNS_ROLE_HOSPITAL : CNS_ROLE_COORDINATOR,
                                       .index = initiator ? 7 : 0,
                                       .accept = accept_all};
}

static struct cns_handshake_binding binding_of(bool initiator) {
  struct cns_handshake_binding binding = {.has_pins = true};
  memset(binding.exporter, 9, sizeof binding.exporter);
  memset(binding.own_pin.bytes, initiator ? 1 : 2, CNS_TLS_PIN_BYTES);
  memset(binding.peer_pin.bytes, initiator ? 2 : 1, CNS_TLS_PIN_BYTES);
  return binding;
}

static void begin(struct cns_handshake *handshake, const struct cns_handshake_config *config,
                  const struct cns_handshake_binding *binding) {
  assert_int_equal(cns_handshake_init(handshake, config, cns_rng_seeded(&seeded)), 0);
  cns_handshake_bind(handshake, binding);
}

static int give(struct cns_handshake *to, const struct cns_handshake_frame *frame,
                struct cns_handshake_frame *reply, struct cns_problem *problem) {
  return cns_handshake_receive(to, frame->type, frame->data, frame->len, reply, problem);
}

struct pair {
  struct cns_handshake initiator, responder;
  struct cns_handshake_frame auth_i, auth_r;
  struct cns_problem problem;
};

/* Runs both sides; returns the first failure, or CNS_CASE_AUTHENTICATED. */
static int run(struct pair *pair, const struct cns_handshake_config *ci,
               const struct cns_handshake_binding *bi, const struct cns_handshake_config *cr,
               const struct cns_handshake_binding *br) {
  struct cns_handshake_frame none;
  *pair = (struct pair){0};
  begin(&pair->initiator, ci, bi);
  begin(&pair->responder, cr, br);
  int result = give(&pair->responder, &pair->initiator.hello, &none, &pair->problem);
  if (result < 0) return result;
  assert_int_equal(none.type, 0);
  result = give(&pair->initiator, &pair->responder.hello, &pair->auth_i, &pair->problem);
  if (result < 0) return result;
  assert_int_equal(pair->auth_i.type, CNS_FRAME_AUTH);
  result = give(&pair->responder, &pair->auth_i, &pair->auth_r, &pair->problem);
  if (result < 0) return result;
  assert_int_equal(result, CNS_CASE_AUTHENTICATED);
  return give(&pair->initiator, &pair->auth_r, &none, &pair->problem);
}

static void both_sides_agree(void **state) {
  (void)state;
  for (int tls = 0; tls < 2; tls++) {
    struct cns_handshake_config ci = config_of(true), cr = config_of(false);
    struct cns_handshake_binding bi = {0}, br = {0};
    if (tls) bi = binding_of(true), br = binding_of(false);
    ci.software = "consilium 9.9 \x1b[31m";
    struct pair pair;
    assert_int_equal(run(&pair, &ci, &bi, &cr, &br), CNS_CASE_AUTHENTICATED);
    assert_int_equal(pair.responder.peer.role, CNS_ROLE_HOSPITAL);
    assert_int_equal(pair.responder.peer.index, 7);
    assert_memory_equal(pair.responder.peer.identity.bytes, cns_identity_get_public(hospital)->bytes, 32);
    assert_memory_equal(pair.responder.peer.pin.bytes, br.peer_pin.bytes, 32);
    assert_string_equal(pair.responder.peer_software, "consilium 9.9 ?[31m");
    assert_int_equal(pair.initiator.peer.role, CNS_ROLE_COORDINATOR);
    assert_int_equal(pair.initiator.version, 1);
  }
}

/* A recorded initiator's frames, played to a fresh responder. */
static void replay_is_refused(void **state) {
  (void)state;
  struct cns_handshake_config ci = config_of(true), cr = config_of(false);
  struct cns_handshake_binding none = {0};
  struct pair old;
  assert_int_equal(run(&old, &ci, &none, &cr, &none), CNS_CASE_AUTHENTICATED);
  struct cns_handshake fresh;
  struct cns_handshake_frame reply;
  begin(&fresh, &cr, &none);
  assert_int_equal(give(&fresh, &old.initiator.hello, &reply, NULL), 0);
  assert_int_equal(give(&fresh, &old.auth_i, &reply, NULL), CNS_ERR_SIGNATURE);
  /* And the responder's to a fresh initiator. */
  begin(&fresh, &ci, &none);
  assert_int_equal(give(&fresh, &old.responder.hello, &reply, NULL), 0);
  assert_int_equal(give(&fresh, &old.auth_r, &reply, NULL), CNS_ERR_SIGNATURE);
  /* Whatever comes after a failure stays refused. */
  assert_int_equal(give(&fresh, &old.auth_r, &reply, NULL), CNS_ERR_STATE);
}

static void reflection_is_refused(void **state) {
  (void)state;
  struct cns_handshake_config ci = config_of(true), cr = config_of(false);
  struct cns_handshake_binding none = {0};
  struct cns_handshake self;
  struct cns_handshake_frame reply;
  struct cns_problem problem = {0};
  begin(&self, &ci, &none);
  assert_int_equal(give(&self, &self.hello, &reply, &problem), CNS_ERR_REFUSED);
  /* The initiator's own AUTH back to it, as if the responder had made it; and
   * to a second initiator-side machine of the responder's identity. */
  struct pair pair;
  assert_int_equal(run(&pair, &ci, &none, &cr, &none), CNS_CASE_AUTHENTICATED);
  begin(&pair.initiator, &ci, &none);
  begin(&pair.responder, &cr, &none);
  assert_int_equal(give(&pair.initiator, &pair.responder.hello, &pair.auth_i, NULL), 0);
  assert_int_equal(give(&pair.initiator, &pair.auth_i, &reply, NULL), CNS_ERR_SIGNATURE);
}

/* A man in the middle relays frames between two honest parties over two TLS
 * connections of his own: the exporters, or the pins, differ. */
static void relay_between_connections_is_refused(void **state) {
  (void)state;
  struct cns_handshake_config ci = config_of(true), cr = config_of(false);
  for (int what = 0; what < 3; what++) {
    struct cns_handshake_binding bi = binding_of(true), br = binding_of(false);
    if (what == 0) br.exporter[31] ^= 1;
    if (what == 1) br.peer_pin.bytes[0] ^= 1;
    if (what == 2) br.own_pin.bytes[31] ^= 0x80;
    struct pair pair;
    assert_int_equal(run(&pair, &ci, &bi, &cr, &br), CNS_ERR_SIGNATURE);
  }
}

/* Claims another's identity key without having it. */
static void wrong_key_is_refused(void **state) {
  (void)state;
  struct cns_handshake_config ci = config_of(true), cr = config_of(false);
  struct cns_handshake_binding none = {0};
  struct cns_handshake thief, responder;
  struct cns_handshake_frame reply, auth;
  ci.identity = stranger;
  begin(&thief, &ci, &none);
  begin(&responder, &cr, &none);
  memcpy(thief.hello.data + thief.hello.len - 32, cns_identity_get_public(hospital)->bytes, 32);
  assert_int_equal(give(&responder, &thief.hello, &reply, NULL), 0);
  assert_int_equal(give(&thief, &responder.hello, &auth, NULL), 0);
  assert_int_equal(give(&responder, &auth, &reply, NULL), CNS_ERR_SIGNATURE);
}

/* Every byte of HELLO and AUTH is covered. */
static void tampering_is_refused(void **state) {
  (void)state;
  struct cns_handshake_config ci = config_of(true), cr = config_of(false);
  struct cns_handshake_binding none = {0};
  struct pair pair;
  struct cns_handshake_frame auth, reply, changed;
  begin(&pair.initiator, &ci, &none);
  size_t len = pair.initiator.hello.len;
  for (size_t i = 0; i < len + CNS_SIGNATURE_BYTES; i++) {
    begin(&pair.initiator, &ci, &none);
    begin(&pair.responder, &cr, &none);
    changed = pair.initiator.hello;
    if (i < len) changed.data[i] ^= 0x40;
    int result = give(&pair.responder, &changed, &reply, NULL);
    if (result == 0) {
      assert_int_equal(give(&pair.initiator, &pair.responder.hello, &auth, NULL), 0);
      if (i >= len) auth.data[i - len] ^= 1;
      result = give(&pair.responder, &auth, &reply, NULL);
    }
    if (result >= 0) fail_msg("a change of byte %zu passed", i);
  }
}

static void the_callback_decides(void **state) {
  (void)state;
  struct cns_handshake_config ci = config_of(true), cr = config_of(false);
  struct cns_handshake_binding none = {0};
  struct pair pair;
  ci.index = 8; /* the index is part of what is asked */
  verdict = CNS_PEER_UNKNOWN;
  assert_int_equal(run(&pair, &ci, &none, &cr, &none), CNS_ERR_REFUSED);
  verdict = CNS_PEER_TRUSTED;
  assert_int_equal(asked.index, 8);
  assert_string_equal(pair.problem.text, "not on our list");
  assert_int_equal(pair.auth_r.type, 0); /* a stranger doesn't get our signature */
}

static void versions(void **state) {
  (void)state;
  struct cns_handshake_binding none = {0};
  struct cns_handshake_config ci = config_of(true), cr = config_of(false);
  struct pair pair;
  cr.version_min = cr.version_max = 2;
  assert_int_equal(run(&pair, &ci, &none, &cr, &none), CNS_ERR_VERSION);
  assert_string_equal(pair.problem.text,
                      "this coordinator speaks protocol 2 to 2, you speak 1 to 1: update consilium");
  cr.version_min = cr.version_max = 1;
  ci.version_min = ci.version_max = 5;
  assert_int_equal(run(&pair, &ci, &none, &cr, &none), CNS_ERR_VERSION);
  assert_non_null(strstr(pair.problem.text, "this side has to be updated"));
  ci.version_min = 1; /* 1 to 5 and 1 to 1 meet at 1 */
  assert_int_equal(run(&pair, &ci, &none, &cr, &none), CNS_CASE_AUTHENTICATED);
  assert_int_equal(pair.initiator.version, 1);
  /* Nobody can bring two newer parties down to 1 unseen: the HELLOs are signed. */
  ci.version_max = cr.version_max = 5;
  begin(&pair.initiator, &ci, &none);
  begin(&pair.responder, &cr, &none);
  struct cns_handshake_frame lowered = pair.initiator.hello, reply;
  lowered.data[6] = 1;
  assert_int_equal(give(&pair.responder, &lowered, &reply, NULL), 0);
  assert_int_equal(give(&pair.initiator, &pair.responder.hello, &pair.auth_i, NULL), 0);
  assert_int_equal(give(&pair.responder, &pair.auth_i, &reply, NULL), CNS_ERR_SIGNATURE);
}

static void malformed(void **state) {
  (void)state;
  struct cns_handshake_binding none = {0};
  struct cns_handshake_config ci = config_of(true), cr = config_of(false);
  struct cns_handshake initiator, responder;
  struct cns_handshake_frame reply;
  begin(&initiator, &ci, &none);
  for (size_t cut = 0; cut < initiator.hello.len; cut++) {
    struct cns_problem problem = {0};
    begin(&responder, &cr, &none);
    assert_true(
        cns_handshake_receive(&responder, CNS_FRAME_HELLO, initiator.hello.data, cut, &reply, &problem) < 0);
    assert_true(problem.text[0] != 0);
  }
  struct cns_handshake_frame longer = initiator.hello;
  longer.len++;
  begin(&responder, &cr, &none);
  assert_int_equal(give(&responder, &longer, &reply, NULL), CNS_ERR_FORMAT);
  /* A later version may append. */
  longer.data[6] = 3;
  begin(&responder, &cr, &none);
  assert_int_equal(give(&responder, &longer, &reply, NULL), 0);
  /* Out of turn. */
  begin(&responder, &cr, &none);
  uint8_t auth[64] = {0};
  assert_int_equal(cns_handshake_receive(&responder, CNS_FRAME_AUTH, auth, 64, &reply, NULL), CNS_ERR_STATE);
  begin(&responder, &cr, &none);
  assert_int_equal(give(&responder, &initiator.hello, &reply, NULL), 0);
  assert_int_equal(give(&responder, &initiator.hello, &reply, NULL), CNS_ERR_STATE);
  /* Not bound to a transport yet. */
  assert_int_equal(cns_handshake_init(&responder, &cr, cns_rng_seeded(&seeded)), 0);
  assert_int_equal(give(&responder, &initiator.hello, &reply, NULL), CNS_ERR_STATE);
}

static int broken_fill(void *context, uint8_t *out, size_t len) {
  return CNS_ERR_RANDOM;
}

static void no_randomness_no_handshake(void **state) {
  (void)state;
  struct cns_handshake_config ci = config_of(true);
  struct cns_handshake handshake;
  assert_int_equal(cns_handshake_init(&handshake, &ci, (struct cns_rng){broken_fill, NULL}), CNS_ERR_RANDOM);
}

int main(void) {
  print_message("# seed %llu\n", (unsigned long long)seed);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(both_sides_agree),
      cmocka_unit_test(replay_is_refused),
      cmocka_unit_test(reflection_is_refused),
      cmocka_unit_test(relay_between_connections_is_refused),
      cmocka_unit_test(wrong_key_is_refused),
      cmocka_unit_test(tampering_is_refused),
      cmocka_unit_test(the_callback_decides),
      cmocka_unit_test(versions),
      cmocka_unit_test(malformed),
      cmocka_unit_test(no_randomness_no_handshake),
  };
  return cmocka_run_group_tests_name("handshake", tests, setup, teardown);
}
