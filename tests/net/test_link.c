/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/net/world.h"

#include <arpa/inet.h>
#include <sys/socket.h>

static const uint64_t seed = 20263;
static const char *const urls[] = {"tcp://127.0.0.1:0", "tls+tcp://127.0.0.1:0"};

/* Each test runs over both transports. */
#define FOR_BOTH(url) for (const char *const *url = urls; url < urls + 2; url++)

static uint8_t chunk[CNS_FRAME_BULK_MAX];

/* -- 50 MB there and back -- */

enum { ECHO_TOTAL = 50 * 1000 * 1000 };

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

static void echo_of_50_megabytes(void **state) {
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
    print_message("# %s: 50 MB there and back in %.2f s\n", *url, (double)(uv_hrtime() - start) / 1e9);
    struct cns_link_counters counters = cns_link_counters(client.link);
    assert_true(counters.bytes_out >= ECHO_TOTAL && counters.bytes_out < ECHO_TOTAL + ECHO_TOTAL / 100);
    assert_true(counters.bytes_in >= ECHO_TOTAL && counters.bytes_in < ECHO_TOTAL + ECHO_TOTAL / 100);
    cns_dialer_free(dialer);
    world_free(world);
    free(echo);
  }
}

/* -- who is who -- */

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
    if (url == urls + 1)
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

/* An identity key that the roster doesn't have, behind a good certificate; a
 * hospital with another's index; an impostor as coordinator. */
static void strangers_are_told_why(void **state) {
  FOR_BOTH(url) {
    struct world *world = world_new(seed);
    struct side client = {0};
    world_listen(world, *url);
    struct party odd = world->hospitals[0];
    odd.identity = world->stranger.identity;
    struct cns_dialer *dialer = world_dial_as(world, &odd, &client, cns_listener_url(world->listener));
    world_until(world, client.failed, 1);
    assert_string_equal(client.sentence,
                        "the other side says: the roster has no party with this identity key");
    world_until(world, world->server.refused, 1);
    assert_string_equal(world->server.sentence, "the roster has no party with this identity key");
    assert_non_null(strstr(world->server.remote, "127.0.0.1:"));
    dialer = cns_dialer_free(dialer);

    odd = world->hospitals[0];
    odd.index = 2;
    client = (struct side){0};
    dialer = world_dial_as(world, &odd, &client, cns_listener_url(world->listener));
    world_until(world, client.failed, 2); /* and it keeps trying */
    assert_non_null(strstr(client.sentence, "another role or index"));
    dialer = cns_dialer_free(dialer);

    world->list[0].revoked = true;
    struct cns_tls_pin pin = world->list[0].pin;
    memset(&world->list[0].pin, 0, sizeof pin); /* so that TLS doesn't say it first */
    world->list[1].pin = pin;
    world_set_peers(world);
    client = (struct side){0};
    dialer = world_dial(world, 0, &client);
    world_until(world, client.failed, 1);
    assert_string_equal(client.sentence, "the other side says: the roster has revoked hospital 1");
    cns_dialer_free(dialer);
    assert_int_equal(world->server.opened, 0);
    world_free(world);
  }
}

/* Certificate of one hospital, identity of another: each good by itself. */
static void mixed_credentials_are_refused(void **state) {
  struct world *world = world_new(seed);
  struct side client = {0};
  world_listen(world, urls[1]);
  struct party mixed = world->hospitals[0];
  memcpy(mixed.certificate, world->hospitals[1].certificate, sizeof mixed.certificate);
  memcpy(mixed.key, world->hospitals[1].key, sizeof mixed.key);
  struct cns_dialer *dialer = world_dial_as(world, &mixed, &client, cns_listener_url(world->listener));
  world_until(world, client.failed, 1);
  assert_non_null(
      strstr(client.sentence, "the TLS certificate is not the one that the roster has for hospital 1"));
  cns_dialer_free(dialer);
  world_free(world);
}

/* -- coming and going -- */

static void dialer_comes_back(void **state) {
  FOR_BOTH(url) {
    struct world *world = world_new(seed);
    struct side client = {0};
    world_listen(world, *url);
    char address[CNS_URL_MAX];
    snprintf(address, sizeof address, "%s", cns_listener_url(world->listener));
    struct cns_dialer *dialer = world_dial(world, 0, &client);
    world_until(world, client.opened, 1);
    world->listener = cns_listener_free(world->listener);
    assert_int_equal(world->server.closed, 0); /* nobody hears of what it freed */
    world_until(world, client.closed, 1);
    assert_string_equal(client.sentence, "the other side says: shutting down");
    assert_int_equal(client.error, CNS_ERR_CLOSED);
    assert_null(cns_dialer_link(dialer));
    world_until(world, client.failed, 3);
    assert_non_null(strstr(client.sentence, "nobody listens there"));
    assert_true(client.retry_ms <= 200);
    world_listen(world, address);
    world_until(world, client.opened, 2);
    /* A link closed by the application is dialled anew as well. */
    cns_link_close(client.link, "enough for today");
    assert_int_equal(cns_link_send(client.link, 20, "x", 1), CNS_ERR_CLOSED);
    assert_int_equal(client.closed, 1);
    world_until(world, client.closed, 2);
    world_until(world, world->server.closed, 1);
    assert_string_equal(world->server.sentence, "the other side says: enough for today");
    world_until(world, client.opened, 3);
    cns_dialer_free(dialer);
    world_free(world);
  }
}

static void second_link_replaces_the_first(void **state) {
  FOR_BOTH(url) {
    struct world *world = world_new(seed);
    struct side first = {0}, second = {0};
    world_listen(world, *url);
    struct cns_dialer *one = world_dial(world, 0, &first);
    world_until(world, world->server.opened, 1);
    struct cns_link *old = world->server.link;
    struct cns_dialer *two = world_dial(world, 0, &second);
    world_until(world, first.closed, 1);
    one = cns_dialer_free(one);
    assert_non_null(
        strstr(first.sentence, "replaced by a newer connection of the same party from 127.0.0.1:"));
    world_until(world, second.opened, 1);
    assert_int_equal(world->server.closed, 1);
    assert_int_equal(world->server.opened, 2);
    assert_ptr_not_equal(cns_listener_find(world->listener, CNS_ROLE_HOSPITAL, 1), old);
    assert_int_equal(second.closed, 0);
    cns_dialer_free(two);
    world_free(world);
  }
}

static void revocation_closes_open_links(void **state) {
  FOR_BOTH(url) {
    struct world *world = world_new(seed);
    struct side first = {0}, second = {0};
    world_listen(world, *url);
    struct cns_dialer *one = world_dial(world, 0, &first), *two = world_dial(world, 1, &second);
    world_until(world, first.opened, 1);
    world_until(world, second.opened, 1);
    world_until(world, world->server.opened, 2);
    cns_listener_recheck(world->listener);
    world_for(world, 50);
    assert_int_equal(world->server.closed, 0);
    world->list[0].revoked = true;
    world_set_peers(world);
    cns_listener_recheck(world->listener);
    world_until(world, first.closed, 1);
    assert_string_equal(first.sentence, "the other side says: the roster has revoked hospital 1");
    world_until(world, world->server.closed, 1);
    assert_int_equal(world->server.error, CNS_ERR_REFUSED);
    world_until(world, first.failed, 2); /* and it doesn't get in again */
    assert_non_null(strstr(first.sentence, "revoked"));
    assert_int_equal(first.opened, 1);
    assert_int_equal(second.closed, 0);
    cns_dialer_free(one);
    cns_dialer_free(two);
    world_free(world);
  }
}

/* -- time -- */

static void keep_alive(void **state) {
  FOR_BOTH(url) {
    struct world *world = world_new(seed);
    struct side client = {0};
    world->times.ping_ms = 60;
    world->times.silence_ms = 400;
    world_listen(world, *url);
    struct cns_dialer *dialer = world_dial(world, 0, &client);
    world_until(world, client.opened, 1);
    world_until(world, world->server.opened, 1);
    world_for(world, 1200);
    assert_int_equal(client.closed + world->server.closed, 0);
    assert_true(cns_link_counters(client.link).frames_in > 5);
    cns_dialer_free(dialer);
    world_free(world);
  }
}

static void play_dead(struct cns_loop_op *op) {
  (void)op;
}

static void silence_closes(void **state) {
  FOR_BOTH(url) {
    struct world *world = world_new(seed);
    struct side client = {0};
    world->times.ping_ms = 60;
    world->times.silence_ms = 300;
    world_listen(world, *url);
    struct cns_dialer *dialer = world_dial(world, 0, &client);
    world_until(world, client.opened, 1);
    world_until(world, world->server.opened, 1);
    /* The hospital's machine hangs: it neither sends nor reads. */
    struct cns_link *hung = client.link;
    void (*alive)(struct cns_loop_op *) = hung->receive.done;
    hung->receive.done = play_dead;
    uv_timer_stop(&hung->timer);
    world_until(world, world->server.closed, 1);
    assert_int_equal(world->server.error, CNS_ERR_TIMEOUT);
    assert_non_null(strstr(world->server.sentence, "nothing heard from the other side for"));
    hung->receive.done = alive;
    cns_link_kill(hung);
    cns_dialer_free(dialer);
    world_free(world);
  }
}

/* A loop that was busy for longer than the silence allowed must not blame the
 * peer whose frames are waiting. */
static void own_absence_is_not_silence(void **state) {
  FOR_BOTH(url) {
    struct world *world = world_new(seed);
    struct side client = {0};
    world->times.ping_ms = 50;
    world->times.silence_ms = 200;
    world_listen(world, *url);
    struct cns_dialer *dialer = world_dial(world, 0, &client);
    world_until(world, client.opened, 1);
    usleep(700 * 1000);
    world_for(world, 300);
    assert_int_equal(client.closed + world->server.closed, 0);
    cns_dialer_free(dialer);
    world_free(world);
  }
}

static int raw_connect(const char *url) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  address.sin_port = htons((uint16_t)atoi(strrchr(url, ':') + 1));
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
  return fd;
}

static void mute_strangers_are_dropped(void **state) {
  FOR_BOTH(url) {
    struct world *world = world_new(seed);
    world->times.handshake_ms = 150;
    world_listen(world, *url);
    int fd = raw_connect(cns_listener_url(world->listener));
    world_until(world, world->server.refused, 1);
    assert_non_null(strstr(world->server.sentence, "the handshake was not through within 150 ms"));
    close(fd);
    world_free(world);
  }
}

static void garbage_is_refused(void **state) {
  static const char *const garbage[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x08\0\0\0\x01\0\0\0CNSX----",
                                        "SSH-2.0-x\r\n"};
  FOR_BOTH(url) {
    struct world *world = world_new(seed);
    world_listen(world, *url);
    for (int i = 0; i < 3; i++) {
      int fd = raw_connect(cns_listener_url(world->listener));
      size_t len = i == 1 ? 16 : strlen(garbage[i]);
      assert_int_equal(write(fd, garbage[i], len), len);
      world_until(world, world->server.refused, i + 1);
      print_message("# %s\n", world->server.sentence);
      assert_true(world->server.sentence[0] != 0);
      close(fd);
    }
    assert_int_equal(world->server.opened, 0);
    world_free(world);
  }
}

/* A peer of another protocol version gets a BYE that it can read. */
static void other_versions_are_told(void **state) {
  static const struct {
    uint16_t lowest, highest;
    const char *sentence;
  } cases[] = {
      {2, 3, "this coordinator speaks protocol 1 to 1, you speak 2 to 3: this side has to be updated"},
      {900, 901,
       "this coordinator speaks protocol 1 to 1, you speak 900 to 901: this side has to be updated"},
  };
  struct world *world = world_new(seed);
  world_listen(world, urls[0]);
  for (int i = 0; i < 2; i++) {
    struct cns_handshake handshake;
    struct cns_handshake_config config = {.initiator = true,
                                          .identity = world->hospitals[0].identity,
                                          .role = CNS_ROLE_HOSPITAL,
                                          .index = 1,
                                          .version_min = cases[i].lowest,
                                          .version_max = cases[i].highest};
    uint8_t bytes[4096];
    size_t len = 0;
    assert_int_equal(cns_handshake_init(&handshake, &config, cns_rng_seeded(&world->seeded)), 0);
    cns_frame_header_write(CNS_FRAME_HELLO, handshake.hello.len, bytes);
    memcpy(bytes + CNS_FRAME_HEADER_BYTES, handshake.hello.data, handshake.hello.len);
    int fd = raw_connect(cns_listener_url(world->listener));
    /* More bytes behind it, unread by the listener: they must not turn its
     * farewell into a reset. */
    len = CNS_FRAME_HEADER_BYTES + handshake.hello.len;
    assert_int_equal(write(fd, bytes, len), len);
    assert_int_equal(write(fd, bytes, len), len);
    world_until(world, world->server.refused, i + 1);
    assert_string_equal(world->server.sentence, cases[i].sentence);
    usleep(20000);
    world_for(world, 50);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    world_for(world, 50);
    ssize_t got;
    for (len = 0; (got = read(fd, bytes + len, sizeof bytes - len)) > 0;)
      len += (size_t)got;
    assert_int_equal(got, 0);
    struct cns_framer framer;
    struct cns_frame frame;
    size_t taken, more;
    cns_framer_init(&framer);
    assert_int_equal(cns_framer_feed(&framer, bytes, len, &taken, &frame, NULL), CNS_CASE_FRAME);
    assert_int_equal(frame.type, CNS_FRAME_HELLO);
    assert_int_equal(cns_framer_feed(&framer, bytes + taken, len - taken, &more, &frame, NULL),
                     CNS_CASE_FRAME);
    assert_int_equal(frame.type, CNS_FRAME_BYE);
    assert_int_equal(frame.len, strlen(cases[i].sentence));
    assert_memory_equal(frame.data, cases[i].sentence, frame.len);
    cns_framer_deinit(&framer);
    close(fd);
  }
  world_free(world);
}

/* localhost may be ::1 first; the listener has only 127.0.0.1. */
static void names_with_two_addresses(void **state) {
  FOR_BOTH(url) {
    struct world *world = world_new(seed);
    struct side client = {0};
    char address[CNS_URL_MAX];
    world_listen(world, *url);
    snprintf(address, sizeof address, "%stcp://localhost:%s", url == urls ? "" : "tls+",
             strrchr(cns_listener_url(world->listener), ':') + 1);
    struct cns_dialer *dialer = world_dial_as(world, &world->hospitals[0], &client, address);
    world_until(world, client.opened, 1);
    assert_true(client.failed <= 1);
    cns_dialer_free(dialer);
    world_free(world);
  }
}

/* Refused in a crowd: what lingers is bounded, and goes. */
static void many_refusals_leave_nothing(void **state) {
  FOR_BOTH(url) {
    struct world *world = world_new(seed);
    enum { CROWD = 200 };
    int fds[CROWD];
    world_listen(world, *url);
    for (int i = 0; i < CROWD; i++) {
      fds[i] = raw_connect(cns_listener_url(world->listener));
      assert_int_equal(write(fds[i], "GET / HTTP/1.1\r\n\r\n", 18), 18);
      if (i % 50 == 49) world_until(world, world->server.refused, i + 1);
      assert_true(*cns_loop_lingering(world->loop) <= CNS_LINK_LINGERING_MAX);
    }
    for (int i = 0; i < CROWD; i++)
      close(fds[i]);
    world_for(world, 100);
    assert_int_equal(*cns_loop_lingering(world->loop), 0);
    world_free(world);
  }
}

/* Strangers that hold connections open don't keep a hospital out. */
static void crowd_of_strangers(void **state) {
  FOR_BOTH(url) {
    struct world *world = world_new(seed);
    world_listen(world, *url);
    int fds[80];
    for (int i = 0; i < 80; i++)
      fds[i] = raw_connect(cns_listener_url(world->listener));
    world_until(world, world->server.refused, 80 - 64);
    assert_non_null(strstr(world->server.sentence, "too many connections"));
    struct side client = {0};
    struct cns_dialer *dialer = world_dial(world, 0, &client);
    world_until(world, client.opened, 1);
    cns_dialer_free(dialer);
    for (int i = 0; i < 80; i++)
      close(fds[i]);
    world_free(world);
  }
}

/* -- flow -- */

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
      world_for(world, 300);
    }
    assert_int_equal(sent, CNS_LINK_WINDOW_BYTES / 65536);
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
    world_for(world, 100);
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

/* -- shutting down in the middle of everything -- */

static void keep_sending(struct side *side, struct cns_link *link) {
  (void)side;
  while (cns_link_send(link, 128, chunk, sizeof chunk) == 0)
    continue;
}

static void shutdown_while_busy(void **state) {
  FOR_BOTH(url) for (int after_ms = 0; after_ms < 40; after_ms += 3) {
    struct world *world = world_new(seed + (uint64_t)after_ms);
    struct side clients[2] = {{.on_writable = keep_sending}, {.on_writable = keep_sending}}, lost = {0};
    world->times.linger_ms = 100;
    world_listen(world, *url);
    struct cns_dialer *dialers[3] = {world_dial(world, 0, &clients[0]), world_dial(world, 1, &clients[1]),
                                     world_dial_as(world, &world->stranger, &lost, "tcp://127.0.0.1:9")};
    uint64_t start = uv_hrtime();
    bool started[2] = {false, false};
    while (uv_hrtime() - start < (uint64_t)after_ms * 1000000) {
      uv_run(&world->uv, UV_RUN_NOWAIT);
      for (int i = 0; i < 2; i++)
        if (clients[i].link && !started[i]) {
          started[i] = true;
          keep_sending(&clients[i], clients[i].link);
        }
    }
    for (int i = 0; i < 3; i++)
      cns_dialer_free(dialers[i]);
    world_free(world);
  }
}

static struct cns_dialer *to_free;
static void free_from_inside(struct side *side, struct cns_link *link, uint8_t type, const uint8_t *data,
                             size_t len) {
  side->world->listener = cns_listener_free(side->world->listener);
  to_free = cns_dialer_free(to_free);
  side->closed = 1;
}

static void shutdown_from_a_callback(void **state) {
  FOR_BOTH(url) {
    struct world *world = world_new(seed);
    struct side client = {0};
    world->server.on_frame = free_from_inside;
    world_listen(world, *url);
    to_free = world_dial(world, 0, &client);
    world_until(world, client.opened, 1);
    for (int i = 0; i < 5; i++)
      assert_int_equal(cns_link_send(client.link, 20, "now", 3), 0);
    world_until(world, world->server.closed, 1);
    assert_int_equal(world->server.frames, 1);
    world_free(world);
  }
}

static int failing_fill(void *context, uint8_t *out, size_t len) {
  return CNS_ERR_RANDOM;
}

static void no_randomness_no_link(void **state) {
  struct world *world = world_new(seed);
  struct side client = {.world = world};
  struct cns_dialer *dialer = NULL;
  world_listen(world, urls[0]);
  struct cns_link_config config = party_config(world, &world->hospitals[0], world->for_hospitals);
  struct cns_link_callbacks callbacks = side_callbacks(&client);
  config.rng = (struct cns_rng){failing_fill, NULL};
  assert_int_equal(
      cns_dialer_new(world->loop, cns_listener_url(world->listener), &config, &callbacks, &dialer, NULL), 0);
  world_until(world, client.failed, 2);
  assert_string_equal(client.sentence, "the random source failed");
  cns_dialer_free(dialer);
  world_free(world);
}

static void clear_errors_at_the_start(void **state) {
  struct world *world = world_new(seed);
  struct cns_problem problem = {0};
  struct cns_listener *listener = NULL;
  struct cns_dialer *dialer = NULL;
  struct cns_link_config config = party_config(world, &world->coordinator, world->for_coordinator);
  struct cns_link_callbacks callbacks = {0};
  assert_int_equal(cns_dialer_new(world->loop, "tcp://10.0.0.1:1", &config, &callbacks, &dialer, &problem),
                   CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "plain tcp is for 127.0.0.1"));
  world_listen(world, urls[1]);
  assert_int_equal(cns_listener_new(world->loop, cns_listener_url(world->listener), &config, &callbacks,
                                    &listener, &problem),
                   CNS_ERR_IO);
  assert_non_null(strstr(problem.text, "can't listen on tls+tcp://127.0.0.1:"));
  config.key_path = "/nowhere/key";
  assert_int_equal(
      cns_dialer_new(world->loop, "tls+tcp://127.0.0.1:1", &config, &callbacks, &dialer, &problem),
      CNS_ERR_IO);
  config.key_path = world->hospitals[0].key; /* doesn't fit the certificate */
  assert_int_equal(
      cns_dialer_new(world->loop, "tls+tcp://127.0.0.1:1", &config, &callbacks, &dialer, &problem),
      CNS_ERR_FORMAT);
  assert_int_equal(chmod(world->coordinator.key, 0640), 0);
  config.key_path = world->coordinator.key;
  assert_int_equal(
      cns_dialer_new(world->loop, "tls+tcp://127.0.0.1:1", &config, &callbacks, &dialer, &problem),
      CNS_ERR_PERMISSION);
  assert_non_null(strstr(problem.text, "chmod 600"));
  config.certificate_path = NULL;
  assert_true(cns_dialer_new(world->loop, "tls+tcp://127.0.0.1:1", &config, &callbacks, &dialer, &problem) <
              0);
  assert_null(listener);
  assert_null(dialer);
  world_free(world);
}

int main(void) {
  print_message("# seed %llu\n", (unsigned long long)seed);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(both_know_each_other),
      cmocka_unit_test(echo_of_50_megabytes),
      cmocka_unit_test(strangers_are_told_why),
      cmocka_unit_test(mixed_credentials_are_refused),
      cmocka_unit_test(dialer_comes_back),
      cmocka_unit_test(second_link_replaces_the_first),
      cmocka_unit_test(revocation_closes_open_links),
      cmocka_unit_test(keep_alive),
      cmocka_unit_test(silence_closes),
      cmocka_unit_test(own_absence_is_not_silence),
      cmocka_unit_test(mute_strangers_are_dropped),
      cmocka_unit_test(garbage_is_refused),
      cmocka_unit_test(other_versions_are_told),
      cmocka_unit_test(names_with_two_addresses),
      cmocka_unit_test(many_refusals_leave_nothing),
      cmocka_unit_test(crowd_of_strangers),
      cmocka_unit_test(slow_reader_stops_the_sender),
      cmocka_unit_test(beyond_the_credit_is_cut_off),
      cmocka_unit_test(too_slow_for_control_frames),
      cmocka_unit_test(shutdown_while_busy),
      cmocka_unit_test(shutdown_from_a_callback),
      cmocka_unit_test(no_randomness_no_link),
      cmocka_unit_test(clear_errors_at_the_start),
  };
  return cmocka_run_group_tests_name("link", tests, NULL, NULL);
}
