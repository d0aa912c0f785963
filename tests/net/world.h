/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small consortium on loopback for the tests of net/: a coordinator that
 * listens and hospitals that dial, all on one uv loop, keys and certificates in
 * a temporary folder. Include after cmocka.
 */
#pragma once

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "net/link_internal.h"
#include "net/url.h"

#define WORLD_HOSPITALS 3

struct party {
  enum cns_peer_role role;
  uint16_t index;
  struct cns_identity *identity;
  struct cns_tls_pin pin;
  char certificate[128], key[128];
};

/* One end and what it was told. */
struct side {
  struct world *world;
  struct cns_link *link;
  int opened, closed, refused, failed, writable;
  uint64_t frames, bytes, retry_ms;
  uint8_t last_type;
  int error;
  char sentence[512], remote[128];
  void (*on_frame)(struct side *side, struct cns_link *link, uint8_t type, const uint8_t *data, size_t len);
  void (*on_writable)(struct side *side, struct cns_link *link);
  void (*on_failed)(struct side *side);
  void (*on_closed)(struct side *side);
  void *extra;
};

struct world {
  uv_loop_t uv;
  struct cns_loop *loop;
  struct cns_rng_seeded seeded;
  char folder[64];
  struct party coordinator, hospitals[WORLD_HOSPITALS], stranger;
  struct cns_peers *for_coordinator, *for_hospitals;
  struct cns_peer list[WORLD_HOSPITALS];
  struct cns_link_times times;
  uint16_t version_min, version_max; /* of the listener; zero: its own */
  struct cns_listener *listener;
  struct side server;
};

static inline void side_open(void *context, struct cns_link *link, const struct cns_peer *peer) {
  struct side *side = context;
  side->opened++;
  side->link = link;
  (void)peer;
}

static inline void side_frame(void *context, struct cns_link *link, uint8_t type, const uint8_t *data,
                              size_t len) {
  struct side *side = context;
  side->frames++;
  side->bytes += len;
  side->last_type = type;
  if (side->on_frame)
    side->on_frame(side, link, type, data, len);
  else if (cns_frame_is_bulk(type))
    cns_link_consumed(link, len);
}

static inline void side_writable(void *context, struct cns_link *link) {
  struct side *side = context;
  side->writable++;
  if (side->on_writable) side->on_writable(side, link);
}

static inline void side_closed(void *context, struct cns_link *link, int error, const char *sentence) {
  struct side *side = context;
  side->closed++;
  side->error = error;
  snprintf(side->sentence, sizeof side->sentence, "%s", sentence);
  if (side->link == link) side->link = NULL;
  if (side->on_closed) side->on_closed(side);
}

static inline void side_refused(void *context, const char *remote, const char *sentence) {
  struct side *side = context;
  side->refused++;
  snprintf(side->sentence, sizeof side->sentence, "%s", sentence);
  snprintf(side->remote, sizeof side->remote, "%s", remote);
}

static inline void side_failed(void *context, const char *sentence, uint64_t retry_ms) {
  struct side *side = context;
  side->failed++;
  side->retry_ms = retry_ms;
  snprintf(side->sentence, sizeof side->sentence, "%s", sentence);
  if (side->on_failed) side->on_failed(side);
}

static inline struct cns_link_callbacks side_callbacks(struct side *side) {
  return (struct cns_link_callbacks){side,        side_open,    side_frame, side_writable,
                                     side_closed, side_refused, side_failed};
}

static inline void party_make(struct world *world, struct party *party, const char *name,
                              enum cns_peer_role role, uint16_t index, int64_t valid_until) {
  struct cns_problem problem = {0};
  party->role = role;
  party->index = index;
  assert_int_equal(cns_identity_new(cns_rng_seeded(&world->seeded), &party->identity), 0);
  snprintf(party->certificate, sizeof party->certificate, "%s/%s.crt", world->folder, name);
  snprintf(party->key, sizeof party->key, "%s/%s.key", world->folder, name);
  if (cns_certificate_create(name, 1000000000, valid_until, party->key, party->certificate, &party->pin,
                             &problem))
    fail_msg("%s", problem.text);
}

static inline struct cns_peer party_peer(const struct party *party) {
  return (struct cns_peer){party->role, party->index, false, *cns_identity_get_public(party->identity),
                           party->pin};
}

static inline struct cns_link_config party_config(struct world *world, const struct party *party,
                                                  struct cns_peers *peers) {
  return (struct cns_link_config){.identity = party->identity,
                                  .role = party->role,
                                  .index = party->index,
                                  .peers = peers,
                                  .certificate_path = party->certificate,
                                  .key_path = party->key,
                                  .rng = cns_rng_seeded(&world->seeded),
                                  .times = world->times};
}

static inline void world_set_peers(struct world *world) {
  struct cns_peer coordinator = party_peer(&world->coordinator);
  assert_int_equal(cns_peers_set(world->for_coordinator, world->list, WORLD_HOSPITALS), 0);
  assert_int_equal(cns_peers_set(world->for_hospitals, &coordinator, 1), 0);
}

static inline struct world *world_new(uint64_t seed) {
  static const int64_t far = 4000000000;
  struct world *world = calloc(1, sizeof *world);
  assert_non_null(world);
  assert_int_equal(cns_init(), 0);
  cns_rng_seeded_init_label(&world->seeded, seed, "net test");
  snprintf(world->folder, sizeof world->folder, "/tmp/cns-net-XXXXXX");
  assert_non_null(mkdtemp(world->folder));
  party_make(world, &world->coordinator, "coordinator", CNS_ROLE_COORDINATOR, 0, far);
  party_make(world, &world->stranger, "stranger", CNS_ROLE_HOSPITAL, 1, far);
  for (int i = 0; i < WORLD_HOSPITALS; i++) {
    char name[24];
    snprintf(name, sizeof name, "hospital%d", i + 1);
    /* The last one's certificate has expired. */
    party_make(world, &world->hospitals[i], name, CNS_ROLE_HOSPITAL, (uint16_t)(i + 1),
               i == WORLD_HOSPITALS - 1 ? 1100000000 : far);
    world->list[i] = party_peer(&world->hospitals[i]);
  }
  assert_int_equal(cns_peers_new(&world->for_coordinator), 0);
  assert_int_equal(cns_peers_new(&world->for_hospitals), 0);
  world_set_peers(world);
  assert_int_equal(uv_loop_init(&world->uv), 0);
  assert_int_equal(cns_loop_new(&world->uv, &world->loop, NULL), 0);
  world->times = (struct cns_link_times){.retry_first_ms = 20, .retry_cap_ms = 200, .linger_ms = 1000};
  world->server.world = world;
  return world;
}

static inline void world_listen_as(struct world *world, const char *url,
                                   void (*on_open)(void *context, struct cns_link *link,
                                                   const struct cns_peer *peer)) {
  struct cns_problem problem = {0};
  struct cns_link_config config = party_config(world, &world->coordinator, world->for_coordinator);
  struct cns_link_callbacks callbacks = side_callbacks(&world->server);
  callbacks.on_open = on_open;
  config.version_min = world->version_min;
  config.version_max = world->version_max;
  if (cns_listener_new(world->loop, url, &config, &callbacks, &world->listener, &problem))
    fail_msg("%s", problem.text);
}

static inline void world_listen(struct world *world, const char *url) {
  world_listen_as(world, url, side_open);
}

static inline struct cns_dialer *world_dial_as(struct world *world, const struct party *party,
                                               struct side *side, const char *url) {
  struct cns_problem problem = {0};
  struct cns_dialer *dialer = NULL;
  struct cns_link_config config = party_config(world, party, world->for_hospitals);
  struct cns_link_callbacks callbacks = side_callbacks(side);
  side->world = world;
  if (cns_dialer_new(world->loop, url, &config, &callbacks, &dialer, &problem)) fail_msg("%s", problem.text);
  return dialer;
}

static inline struct cns_dialer *world_dial(struct world *world, int hospital, struct side *side) {
  return world_dial_as(world, &world->hospitals[hospital], side, cns_listener_url(world->listener));
}

static inline void world_idle(uv_timer_t *timer) {
  (void)timer;
}

/* Runs the loop until *counter is at least `least`; fails after timeout_ms. */
static inline void world_until_(struct world *world, const int *counter, int least, uint64_t timeout_ms,
                                const char *what, int line) {
  uv_timer_t timer;
  uint64_t start = uv_hrtime();
  uv_timer_init(&world->uv, &timer);
  uv_timer_start(&timer, world_idle, 10, 10);
  while (*counter < least && uv_hrtime() - start < timeout_ms * 1000000ull)
    uv_run(&world->uv, UV_RUN_ONCE);
  uv_close((uv_handle_t *)&timer, NULL);
  uv_run(&world->uv, UV_RUN_NOWAIT);
  if (*counter < least) fail_msg("line %d: %s stayed %d within %d ms", line, what, *counter, (int)timeout_ms);
}
#define world_until(world, counter, least) world_until_(world, &(counter), least, 20000, #counter, __LINE__)

static inline void world_for(struct world *world, uint64_t ms) {
  uv_timer_t timer;
  uint64_t start = uv_hrtime();
  uv_timer_init(&world->uv, &timer);
  uv_timer_start(&timer, world_idle, 5, 5);
  while (uv_hrtime() - start < ms * 1000000ull)
    uv_run(&world->uv, UV_RUN_ONCE);
  uv_close((uv_handle_t *)&timer, NULL);
  uv_run(&world->uv, UV_RUN_NOWAIT);
}

static inline void world_step(struct world *world, uint64_t start, const char *what, int line) {
  if (uv_hrtime() - start > 20000000000ull) fail_msg("line %d: not within 20 s: %s", line, what);
  world_for(world, 5);
}
/* Runs the loop until the condition holds. */
#define world_until_true(world, condition)                                                                   \
  for (uint64_t start_ = uv_hrtime(); !(condition);)                                                         \
  world_step(world, start_, #condition, __LINE__)

static inline int world_remove(const char *path, const struct stat *status, int flag, struct FTW *walk) {
  (void)status, (void)flag, (void)walk;
  return remove(path);
}

/* Dialers must have been freed. Everything has to come to its end by itself. */
static inline void world_free(struct world *world) {
  world->listener = cns_listener_free(world->listener);
  world->loop = cns_loop_free(world->loop);
  uint64_t start = uv_hrtime();
  assert_int_equal(uv_run(&world->uv, UV_RUN_DEFAULT), 0);
  assert_true(uv_hrtime() - start < 60000000000ull);
  assert_int_equal(uv_loop_close(&world->uv), 0);
  cns_peers_free(world->for_coordinator);
  cns_peers_free(world->for_hospitals);
  cns_identity_free(world->coordinator.identity);
  cns_identity_free(world->stranger.identity);
  for (int i = 0; i < WORLD_HOSPITALS; i++)
    cns_identity_free(world->hospitals[i].identity);
  nftw(world->folder, world_remove, 8, FTW_DEPTH | FTW_PHYS);
  free(world);
}
