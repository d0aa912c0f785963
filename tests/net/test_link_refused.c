/* SPDX-License-Identifier: Apache-2.0 */
/* Who is not let in, and what they and the log are told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/net/world.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>

static const uint64_t seed = 20267;
static const char *const urls[] = {"tcp://127.0.0.1:0", "tls+tcp://127.0.0.1:0"};

/* Each test runs over both transports. */
#define FOR_BOTH(url) for (const char *const *url = urls; url < urls + 2; url++)

/* An identity key that the roster doesn't have, behind a good certificate; a
 * hospital with another's index; one that was revoked. */
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

/* What the listener says to a raw connection until it hangs up. The loop runs
 * meanwhile: it is the loop that hangs up. */
static size_t read_to_end(struct world *world, int fd, uint8_t *bytes, size_t room) {
  size_t len = 0;
  ssize_t got = -1;
  for (uint64_t start = uv_hrtime(); got != 0;) {
    got = recv(fd, bytes + len, room - len, MSG_DONTWAIT);
    if (got > 0)
      len += (size_t)got;
    else if (got < 0 && errno == EAGAIN)
      world_step(world, start, "the end of what the listener says", __LINE__);
    else if (got < 0)
      fail_msg("the listener's farewell was lost: %s", strerror(errno));
    assert_true(len < room);
  }
  return len;
}

struct versions {
  uint16_t listener_min, listener_max, lowest, highest;
  const char *sentence;
};

static void expect_hello_and_bye(const uint8_t *bytes, size_t len, const char *sentence) {
  struct cns_framer framer;
  struct cns_frame frame;
  size_t taken, more;
  cns_framer_init(&framer);
  assert_int_equal(cns_framer_feed(&framer, bytes, len, &taken, &frame, NULL), CNS_CASE_FRAME);
  assert_int_equal(frame.type, CNS_FRAME_HELLO);
  assert_int_equal(cns_framer_feed(&framer, bytes + taken, len - taken, &more, &frame, NULL), CNS_CASE_FRAME);
  assert_int_equal(frame.type, CNS_FRAME_BYE);
  assert_int_equal(frame.len, strlen(sentence));
  assert_memory_equal(frame.data, sentence, frame.len);
  cns_framer_deinit(&framer);
}

static void say_hello_of(const struct versions *versions) {
  struct world *world = world_new(seed);
  world->version_min = versions->listener_min;
  world->version_max = versions->listener_max;
  world_listen(world, urls[0]);
  struct cns_handshake handshake;
  struct cns_handshake_config config = {.initiator = true,
                                        .identity = world->hospitals[0].identity,
                                        .role = CNS_ROLE_HOSPITAL,
                                        .index = 1,
                                        .version_min = versions->lowest,
                                        .version_max = versions->highest};
  uint8_t bytes[4096];
  assert_int_equal(cns_handshake_init(&handshake, &config, cns_rng_seeded(&world->seeded)), 0);
  cns_frame_header_write(CNS_FRAME_HELLO, handshake.hello.len, bytes);
  memcpy(bytes + CNS_FRAME_HEADER_BYTES, handshake.hello.data, handshake.hello.len);
  int fd = raw_connect(cns_listener_url(world->listener));
  /* More bytes behind it, unread by the listener: they must not turn its
   * farewell into a reset. */
  size_t len = CNS_FRAME_HEADER_BYTES + handshake.hello.len;
  assert_int_equal(write(fd, bytes, len), len);
  assert_int_equal(write(fd, bytes, len), len);
  world_until(world, world->server.refused, 1);
  assert_string_equal(world->server.sentence, versions->sentence);
  usleep(20000);
  world_for(world, 50);
  assert_int_equal(shutdown(fd, SHUT_WR), 0);
  len = read_to_end(world, fd, bytes, sizeof bytes);
  expect_hello_and_bye(bytes, len, versions->sentence);
  close(fd);
  world_free(world);
}

/* A peer of another protocol version, newer or older, gets a BYE that it can read. */
static void other_versions_are_told(void **state) {
  static const struct versions cases[] = {
      {0, 0, 2, 3, "this coordinator speaks protocol 1 to 1, you speak 2 to 3: this side has to be updated"},
      {0, 0, 900, 901,
       "this coordinator speaks protocol 1 to 1, you speak 900 to 901: this side has to be updated"},
      {2, 3, 1, 1, "this coordinator speaks protocol 2 to 3, you speak 1 to 1: update consilium"},
      {7, 7, 5, 6, "this coordinator speaks protocol 7 to 7, you speak 5 to 6: update consilium"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    say_hello_of(&cases[i]);
}

/* A hospital of today at a coordinator that has left its version behind: each
 * learns from the other's HELLO which side is to be updated. */
static void an_old_hospital_learns_that_it_is_old(void **state) {
  FOR_BOTH(url) {
    struct world *world = world_new(seed);
    struct side client = {0};
    world->version_min = 2;
    world->version_max = 3;
    world_listen(world, *url);
    struct cns_dialer *dialer = world_dial(world, 0, &client);
    world_until(world, client.failed, 1);
    assert_string_equal(
        client.sentence,
        "this hospital speaks protocol 1 to 1, you speak 2 to 3: this side has to be updated");
    world_until(world, world->server.refused, 1);
    assert_string_equal(world->server.sentence,
                        "this coordinator speaks protocol 2 to 3, you speak 1 to 1: update consilium");
    cns_dialer_free(dialer);
    assert_int_equal(world->server.opened + client.opened, 0);
    /* A listener of both versions lets it in. */
    world->listener = cns_listener_free(world->listener);
    world->version_min = 1;
    world_listen(world, *url);
    dialer = world_dial(world, 0, &client);
    world_until(world, client.opened, 1);
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
    for (int i = 0; i < 1000 && *cns_loop_lingering(world->loop) > 0; i++)
      world_for(world, 10);
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
      cmocka_unit_test(strangers_are_told_why),      cmocka_unit_test(mixed_credentials_are_refused),
      cmocka_unit_test(mute_strangers_are_dropped),  cmocka_unit_test(garbage_is_refused),
      cmocka_unit_test(other_versions_are_told),     cmocka_unit_test(an_old_hospital_learns_that_it_is_old),
      cmocka_unit_test(many_refusals_leave_nothing), cmocka_unit_test(crowd_of_strangers),
      cmocka_unit_test(no_randomness_no_link),       cmocka_unit_test(clear_errors_at_the_start),
  };
  return cmocka_run_group_tests_name("link_refused", tests, NULL, NULL);
}
