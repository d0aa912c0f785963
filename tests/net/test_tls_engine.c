/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/net/world.h"

#include <nng/supplemental/tls/tls.h>

#include "net/tls_engine.h"

static const uint64_t seed = 20264;
static const char url[] = "tls+tcp://127.0.0.1:0";

static void nng_uses_our_engine(void **state) {
  assert_int_equal(cns_tls_engine_init(NULL), 0);
  assert_int_equal(cns_tls_engine_init(NULL), 0);
  assert_string_equal(nng_tls_engine_name(), "consilium-openssl");
}

/* The layout that the record's key relies on: nng's stream is what the engine
 * was given, on both sides, and both sides export the same value. */
static void records_are_found(void **state) {
  struct world *world = world_new(seed);
  struct side client = {0};
  world_listen(world, url);
  struct cns_dialer *dialer = world_dial(world, 0, &client);
  world_until(world, client.opened, 1);
  world_until(world, world->server.opened, 1);
  struct cns_tls_info ours = {0}, theirs = {0};
  assert_int_equal(cns_tls_stream_info(client.link->stream, &ours), 0);
  assert_int_equal(cns_tls_stream_info(world->server.link->stream, &theirs), 0);
  assert_true(ours.established && ours.has_pin && !ours.failed);
  assert_true(theirs.established && theirs.has_pin && !theirs.failed);
  assert_memory_equal(ours.pin.bytes, world->coordinator.pin.bytes, 32);
  assert_memory_equal(theirs.pin.bytes, world->hospitals[0].pin.bytes, 32);
  assert_memory_equal(ours.exporter, theirs.exporter, 32);
  static const uint8_t zeros[32];
  assert_memory_not_equal(ours.exporter, zeros, 32);
  bool verified = false;
  assert_int_equal(nng_stream_get_bool(client.link->stream, NNG_OPT_TLS_VERIFIED, &verified), 0);
  assert_true(verified);
  uint8_t first[32];
  memcpy(first, ours.exporter, 32);
  cns_link_close(client.link, "again");
  world_until(world, client.opened, 2);
  assert_int_equal(cns_tls_stream_info(client.link->stream, &ours), 0);
  assert_memory_not_equal(ours.exporter, first, 32);
  struct nng_stream *nobody = (struct nng_stream *)world;
  assert_int_equal(cns_tls_stream_info(nobody, &ours), CNS_ERR_NOT_FOUND);
  cns_dialer_free(dialer);
  world_free(world);
}

/* A dialer tries again until it is freed, and a second attempt that is cut short
 * is a refusal of its own at the listener: with the first failure it goes. */
static void give_up(struct side *side) {
  side->extra = cns_dialer_free(side->extra);
}

static void expect_refusal(struct world *world, const struct party *party, const char *at_dialer,
                           const char *at_listener) {
  struct side client = {.on_failed = give_up};
  int before = world->server.refused;
  client.extra = world_dial_as(world, party, &client, cns_listener_url(world->listener));
  world_until(world, client.failed, 1);
  world_until(world, world->server.refused, before + 1);
  if (!strstr(client.sentence, at_dialer)) fail_msg("dialer heard: %s", client.sentence);
  if (!strstr(world->server.sentence, at_listener)) fail_msg("listener heard: %s", world->server.sentence);
  assert_int_equal(client.opened, 0);
  assert_int_equal(client.failed, 1);
  assert_int_equal(world->server.refused, before + 1);
}

/* Many times over: the alert must win against the reset of the connection. */
static void refusals_say_why_on_both_sides(void **state) {
  struct world *world = world_new(seed);
  world_listen(world, url);
  for (int i = 0; i < 20; i++) {
    expect_refusal(world, &world->stranger, "doesn't find our certificate in its roster",
                   "is not in the roster");
    expect_refusal(world, &world->hospitals[2], "our certificate has expired", "has expired");
  }
  /* A newer roster counts from the next handshake on. */
  world->list[0].revoked = true;
  world_set_peers(world);
  for (int i = 0; i < 20; i++)
    expect_refusal(world, &world->hospitals[0], "our certificate is revoked", "is revoked in the roster");
  assert_int_equal(world->server.opened, 0);
  world->list[0].revoked = false;
  world_set_peers(world);
  struct side client = {0};
  struct cns_dialer *dialer = world_dial(world, 0, &client);
  world_until(world, client.opened, 1);
  cns_dialer_free(dialer);
  world_free(world);
}

/* The hospital's side: somebody else answers at the coordinator's address. */
static void impostor_as_coordinator(void **state) {
  struct world *world = world_new(seed);
  struct party honest = world->coordinator;
  memcpy(world->coordinator.certificate, world->stranger.certificate, sizeof honest.certificate);
  memcpy(world->coordinator.key, world->stranger.key, sizeof honest.key);
  world_listen(world, url);
  expect_refusal(world, &world->hospitals[0], "is not in the roster", "doesn't find our certificate");
  world_free(world);
}

/* A configuration that nng makes by itself has no certificate and no trust: it
 * must not connect. */
static void default_configurations_are_useless(void **state) {
  struct world *world = world_new(seed);
  world_listen(world, url);
  nng_stream_dialer *dialer = NULL;
  nng_aio *aio = NULL;
  assert_int_equal(nng_stream_dialer_alloc(&dialer, cns_listener_url(world->listener)), 0);
  assert_int_equal(nng_aio_alloc(&aio, NULL, NULL), 0);
  nng_stream_dialer_dial(dialer, aio);
  nng_aio_wait(aio);
  assert_int_equal(nng_aio_result(aio), NNG_EINVAL);
  nng_tls_config *config = NULL;
  assert_int_equal(nng_tls_config_alloc(&config, NNG_TLS_MODE_CLIENT), 0);
  assert_int_equal(nng_tls_config_auth_mode(config, NNG_TLS_AUTH_MODE_NONE), NNG_ENOTSUP);
  assert_int_equal(nng_tls_config_version(config, NNG_TLS_1_0, NNG_TLS_1_2), NNG_ENOTSUP);
  assert_int_equal(nng_tls_config_ca_chain(config, "", NULL), NNG_ENOTSUP);
  nng_tls_config_free(config);
  nng_stream_dialer_free(dialer);
  nng_aio_free(aio);
  world_for(world, 50);
  world_free(world);
}

static void peers_table(void **state) {
  struct cns_peers *peers = NULL;
  struct cns_problem problem = {0};
  struct cns_peer list[2] = {{.role = CNS_ROLE_HOSPITAL, .index = 1},
                             {.role = CNS_ROLE_HOSPITAL, .index = 2}};
  for (int i = 0; i < 2; i++) {
    memset(list[i].identity.bytes, 10 + i, 32);
    memset(list[i].pin.bytes, 20 + i, 32);
  }
  assert_int_equal(cns_peers_new(&peers), 0);
  assert_int_equal(cns_peers_check_pin(peers, &list[0].pin), CNS_PEER_UNKNOWN);
  assert_int_equal(cns_peers_set(peers, list, CNS_PEERS_MAX + 1), CNS_ERR_LIMIT);
  assert_int_equal(cns_peers_set(peers, list, 2), 0);
  assert_int_equal(cns_peers_check_pin(peers, &list[1].pin), CNS_PEER_TRUSTED);
  assert_int_equal(cns_peers_check(peers, &list[0], true, &problem), CNS_PEER_TRUSTED);
  struct cns_peer claim = list[0];
  claim.pin = list[1].pin;
  assert_int_equal(cns_peers_check(peers, &claim, true, &problem), CNS_PEER_UNKNOWN);
  assert_int_equal(cns_peers_check(peers, &claim, false, &problem), CNS_PEER_TRUSTED);
  claim = list[0];
  claim.role = CNS_ROLE_COORDINATOR;
  assert_int_equal(cns_peers_check(peers, &claim, true, &problem), CNS_PEER_UNKNOWN);
  /* One key in two entries, one of them revoked: revoked. */
  list[1].pin = list[0].pin;
  list[1].revoked = true;
  assert_int_equal(cns_peers_set(peers, list, 2), 0);
  assert_int_equal(cns_peers_check_pin(peers, &list[0].pin), CNS_PEER_REVOKED);
  assert_int_equal(cns_peers_check(peers, &list[1], true, &problem), CNS_PEER_REVOKED);
  assert_string_equal(problem.text, "the roster has revoked hospital 2");
  assert_int_equal(cns_peers_set(peers, NULL, 0), 0);
  assert_int_equal(cns_peers_check_pin(peers, &list[0].pin), CNS_PEER_UNKNOWN);
  cns_peers_free(peers);
}

int main(void) {
  print_message("# seed %llu\n", (unsigned long long)seed);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nng_uses_our_engine),
      cmocka_unit_test(records_are_found),
      cmocka_unit_test(refusals_say_why_on_both_sides),
      cmocka_unit_test(impostor_as_coordinator),
      cmocka_unit_test(default_configurations_are_useless),
      cmocka_unit_test(peers_table),
  };
  return cmocka_run_group_tests_name("tls_engine", tests, NULL, NULL);
}
