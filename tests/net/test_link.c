/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/net/world.h"

static const uint64_t seed = 20263;
static const char *const urls[] = {"tcp://127.0.0.1:0", "tls+tcp://127.0.0.1:0", "wss://127.0.0.1:0"};

/* Each test runs over each transport. */
#define FOR_BOTH(url) for (const char *const *url = urls; url < urls + sizeof urls / sizeof *urls; url++)

static uint8_t chunk[CNS_FRAME_BULK_MAX];

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { ECHO_MEGABYTES = 5 };
#else
enum { ECHO_MEGABYTES = 50 };
#endif
enum { ECHO_TOTAL = ECHO_MEGABYTES * 1000 * 1000 };

struct pump {
  uint64_t sent, received;
  uint32_t check_sent, check_received;
  int done;
};

static uint8_t pattern(uint64_t at) {
  return (uint8_t)(at * 2654435761u >> 13);
}

static void pump_on(struct side *side, struct cns_link *link) {
  struct pump *pump = side->extra;
  while (pump->sent < ECHO_TOTAL) {
    size_t len = sizeof chunk;
    if (len > ECHO_TOTAL - pump->sent) len = (size_t)(ECHO_TOTAL - pump->sent);
    for (size_t i = 0; i < len; i += 997)
      chunk[i] = pattern(pump->sent + i);
    int result = cns_link_send(link, 130, chunk, len);
    if (result == CNS_CASE_FULL) return;
    assert_int_equal(result, 0);
    pump->sent += len;
  }
}

static void pump_back(struct side *side, struct cns_link *link, uint8_t type, const uint8_t *data,
                      size_t len) {
  struct pump *pump = side->extra;
  assert_int_equal(type, 131);
  for (size_t i = 0; i < len; i += 997)
    if (data[i] != pattern(pump->received + i)) fail_msg("byte %zu is wrong", (size_t)pump->received + i);
  pump->received += len;
  cns_link_consumed(link, len);
  if (pump->received == ECHO_TOTAL) pump->done = 1;
}

/* The echo holds at most one frame back, and consumes it when it has gone. */
struct echo {
  uint8_t held[16][CNS_FRAME_BULK_MAX];
  size_t lens[16], first, count;
};

static void echo_flush(struct side *side, struct cns_link *link) {
  struct echo *echo = side->extra;
  while (echo->count > 0) {
    size_t at = echo->first % 16;
    int result = cns_link_send(link, 131, echo->held[at], echo->lens[at]);
    if (result == CNS_CASE_FULL) return;
    assert_int_equal(result, 0);
    cns_link_consumed(link, echo->lens[at]);
    echo->first++;
    echo->count--;
  }
}

static void echo_frame(struct side *side, struct cns_link *link, uint8_t type, const uint8_t *data,
                       size_t len) {
  struct echo *echo = side->extra;
  assert_true(echo->count < 16); /* the window bounds what can come */
  size_t at = (echo->first + echo->count++) % 16;
  memcpy(echo->held[at], data, len);
  echo->lens[at] = len;
  echo_flush(side, link);
}

static void echo_of_megabytes(void **state) {
  FOR_BOTH(url) {
    struct world *world = world_new(seed);
    struct echo *echo = calloc(1, sizeof *echo);
    struct pump pump = {0};
    struct side client = {.extra = &pump, .on_frame = pump_back, .on_writable = pump_on};
    world->server.extra = echo;
    world->server.on_frame = echo_frame;
    world->server.on_writable = echo_flush;
    world_listen(world, *url);
    struct cns_dialer *dialer = world_dial(world, 0, &client);
    world_until(world, client.opened, 1);
    uint64_t start = uv_hrtime();
    pump_on(&client, client.link);
    assert_true(pump.sent <= CNS_LINK_WINDOW_BYTES);
    world_until_(world, &pump.done, 1, 120000, "echo", __LINE__);
    print_message("# %s: %d MB there and back in %.2f s\n", *url, ECHO_MEGABYTES,
                  (double)(uv_hrtime() - start) / 1e9);
    struct cns_link_counters counters = cns_link_counters(client.link);
    assert_true(counters.bytes_out >= ECHO_TOTAL && counters.bytes_out < ECHO_TOTAL + ECHO_TOTAL / 100);
    assert_true(counters.bytes_in >= ECHO_TOTAL && counters.bytes_in < ECHO_TOTAL + ECHO_TOTAL / 100);
    cns_dialer_free(dialer);
    world_free(world);
    free(echo);
  }
}

static void both_know_each_other(void **state) {
  FOR_BOTH(url) {
    struct world *world = world_new(seed);
    struct side client = {0};
    world_listen(world, *url);
    struct cns_dialer *dialer = world_dial(world, 1, &client);
    world_until(world, client.opened, 1);
    world_until(world, world->server.opened, 1);
    assert_int_equal(cns_link_peer(world->server.link)->index, 2);
    assert_int_equal(cns_link_peer(client.link)->role, CNS_ROLE_COORDINATOR);
    assert_string_equal(cns_link_peer_software(client.link), "consilium " CNS_VERSION);
    assert_ptr_equal(cns_listener_find(world->listener, CNS_ROLE_HOSPITAL, 2), world->server.link);
    assert_null(cns_listener_find(world->listener, CNS_ROLE_HOSPITAL, 1));
    assert_ptr_equal(cns_dialer_link(dialer), client.link);
    assert_non_null(strstr(cns_link_remote(world->server.link), "127.0.0.1:"));
    if (url > urls)
      assert_memory_equal(cns_link_peer(world->server.link)->pin.bytes, world->hospitals[1].pin.bytes, 32);
    /* Control frames in parts, and refused ones. */
    struct cns_part parts[] = {{"abc", 3}, {NULL, 0}, {"defg", 4}};
    assert_int_equal(cns_link_send_parts(client.link, 20, parts, 3), 0);
    assert_int_equal(cns_link_send(client.link, 127, "", 0), 0);
    assert_int_equal(cns_link_send(client.link, 15, "x", 1), CNS_ERR_ARGUMENT);
    assert_int_equal(cns_link_send(client.link, 128, "", 0), CNS_ERR_ARGUMENT);
    static uint8_t large[CNS_FRAME_CONTROL_MAX + 1];
    assert_int_equal(cns_link_send(client.link, 20, large, sizeof large), CNS_ERR_LIMIT);
    assert_int_equal(cns_link_send(client.link, 20, large, sizeof large - 1), 0);
    assert_int_equal(cns_link_send(client.link, 200, large, CNS_FRAME_BULK_MAX + 1), CNS_ERR_LIMIT);
    while (world->server.frames < 3)
      uv_run(&world->uv, UV_RUN_ONCE);
    assert_int_equal(world->server.bytes, 7 + CNS_FRAME_CONTROL_MAX);
    cns_dialer_free(dialer);
    world_until(world, world->server.closed, 1);
    assert_string_equal(world->server.sentence, "the other side says: shutting down");
    world_free(world);
  }
}

static void hold_all(struct side *side, struct cns_link *link, uint8_t type, const uint8_t *data,
                     size_t len) {
  (void)side, (void)link, (void)type, (void)data, (void)len;
}

static void slow_reader_stops_the_sender(void **state) {
  FOR_BOTH(url) {
    struct world *world = world_new(seed);
    struct side client = {0};
    world->server.on_frame = hold_all;
    world_listen(world, *url);
    struct cns_dialer *dialer = world_dial(world, 0, &client);
    world_until(world, client.opened, 1);
    int sent = 0;
    for (int turn = 0; turn < 2; turn++) { /* first the queue is full, then the credit is gone */
      int result;
      while ((result = cns_link_send(client.link, 128, chunk, 65536)) == 0)
        sent++;
      assert_int_equal(result, CNS_CASE_FULL);
      if (turn == 0) world_until(world, client.writable, 1);
    }
    assert_int_equal(sent, CNS_LINK_WINDOW_BYTES / 65536);
    world_until_true(world, world->server.bytes >= CNS_LINK_WINDOW_BYTES);
    world_for(world, 50);
    assert_int_equal(world->server.bytes, CNS_LINK_WINDOW_BYTES);
    int before = client.writable;
    assert_int_equal(cns_link_credit_left(client.link), 0);
    /* Control frames don't need credit. */
    assert_int_equal(cns_link_send(client.link, 20, "x", 1), 0);
    cns_link_consumed(world->server.link, 1000);
    world_for(world, 50);
    assert_int_equal(client.writable, before); /* too little to announce */
    cns_link_consumed(world->server.link, CNS_LINK_WINDOW_BYTES - 1000);
    world_until(world, client.writable, before + 1);
    assert_int_equal(cns_link_credit_left(client.link), CNS_LINK_WINDOW_BYTES);
    assert_int_equal(cns_link_send(client.link, 128, chunk, 65536), 0);
    cns_dialer_free(dialer);
    world_free(world);
  }
}

static void beyond_the_credit_is_cut_off(void **state) {
  FOR_BOTH(url) {
    struct world *world = world_new(seed);
    struct side client = {0};
    world->server.on_frame = hold_all;
    world_listen(world, *url);
    struct cns_dialer *dialer = world_dial(world, 0, &client);
    world_until(world, client.opened, 1);
    client.link->credit = UINT64_MAX / 2; /* a sender that doesn't count */
    for (int i = 0; i < 15; i++)
      assert_int_equal(cns_link_send(client.link, 128, chunk, 65536), 0);
    world_until_true(world, cns_link_queued_bytes(client.link) < CNS_LINK_QUEUE_BYTES / 2);
    for (int i = 0; i < 2; i++)
      assert_int_equal(cns_link_send(client.link, 128, chunk, 65536), 0);
    world_until(world, world->server.closed, 1);
    assert_int_equal(world->server.error, CNS_ERR_REFUSED);
    assert_string_equal(world->server.sentence,
                        "bulk frame of 65536 bytes, but only 0 are left of the credit");
    world_until(world, client.closed, 1);
    assert_non_null(strstr(client.sentence, "the other side says: bulk frame of 65536 bytes"));
    cns_dialer_free(dialer);
    world_free(world);
  }
}

static void too_slow_for_control_frames(void **state) {
  FOR_BOTH(url) {
    struct world *world = world_new(seed);
    struct side client = {0};
    world_listen(world, *url);
    struct cns_dialer *dialer = world_dial(world, 0, &client);
    world_until(world, client.opened, 1);
    static uint8_t large[1 << 20];
    int result, sent = 0;
    while ((result = cns_link_send(client.link, 20, large, sizeof large)) == 0)
      sent++;
    assert_int_equal(result, CNS_ERR_CLOSED);
    assert_in_range(sent, 15, 16);
    assert_int_equal(client.closed, 0);
    world_until(world, client.closed, 1);
    assert_int_equal(client.error, CNS_ERR_LIMIT);
    assert_non_null(strstr(client.sentence, "reads too slowly"));
    cns_dialer_free(dialer);
    world_free(world);
  }
}

int main(void) {
  print_message("# seed %llu\n", (unsigned long long)seed);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(echo_of_megabytes),
      cmocka_unit_test(both_know_each_other),
      cmocka_unit_test(slow_reader_stops_the_sender),
      cmocka_unit_test(beyond_the_credit_is_cut_off),
      cmocka_unit_test(too_slow_for_control_frames),
  };
  return cmocka_run_group_tests_name("link", tests, NULL, NULL);
}
