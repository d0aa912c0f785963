/* SPDX-License-Identifier: Apache-2.0 */
/* What is particular to unix sockets and WebSockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "tests/net/world.h"

static const uint64_t seed = 20271;

static void socket_url(const struct world *world, char ret_url[static 128]) {
  snprintf(ret_url, 128, "ipc://%s/socket", world->folder);
}

/* No TLS there: the Ed25519 handshake stands alone. */
static void unix_socket(void **state) {
  (void)state;
  struct world *world = world_new(seed);
  struct side client = {0};
  char url[128];
  struct stat info;
  socket_url(world, url);
  struct cns_dialer *dialer = world_dial_as(world, &world->hospitals[0], &client, url);
  world_until(world, client.failed, 1); /* nobody is there yet */
  assert_non_null(strstr(client.sentence, "can't reach the coordinator at ipc:///"));
  world_listen(world, url);
  assert_string_equal(cns_listener_url(world->listener), url);
  world_until(world, client.opened, 1);
  world_until(world, world->server.opened, 1);
  assert_string_equal(cns_link_remote(world->server.link), "this machine");
  assert_int_equal(stat(url + strlen("ipc://"), &info), 0);
  assert_int_equal(info.st_mode & 0777, 0660);
  assert_int_equal(cns_link_send(client.link, 20, "abc", 3), 0);
  world_until_true(world, world->server.frames == 1);
  /* A name for sockets is left behind by a process that was killed: it is taken over. */
  cns_dialer_free(dialer);
  world_free(world);
}

static void unix_socket_left_behind(void **state) {
  (void)state;
  struct world *world = world_new(seed);
  struct side client = {0};
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  char url[128];
  socket_url(world, url);
  snprintf(address.sun_path, sizeof address.sun_path, "%.100s", url + strlen("ipc://"));
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
  close(fd);
  world_listen(world, url);
  struct cns_dialer *dialer = world_dial_as(world, &world->hospitals[0], &client, url);
  world_until(world, client.opened, 1);
  cns_dialer_free(dialer);
  world_free(world);
}

static void unix_socket_refuses_strangers(void **state) {
  (void)state;
  struct world *world = world_new(seed);
  struct side client = {0};
  char url[128];
  socket_url(world, url);
  world_listen(world, url);
  struct cns_dialer *dialer = world_dial_as(world, &world->stranger, &client, url);
  world_until(world, client.failed, 1);
  world_until(world, world->server.refused, 1);
  assert_int_equal(client.opened, 0);
  cns_dialer_free(dialer);
  world_free(world);
}

static void fails(const struct party *party, struct world *world, const char *url, const char *says) {
  struct side client = {0};
  struct cns_dialer *dialer = world_dial_as(world, party, &client, url);
  world_until(world, client.failed, 1);
  if (!strstr(client.sentence, says)) fail_msg("%s, not: %s", client.sentence, says);
  assert_int_equal(client.opened, 0);
  cns_dialer_free(dialer);
}

/* The certificate is asked for before a byte of HTTP is read; and the two kinds of addresses don't mix. */
static void websocket_refusals(void **state) {
  (void)state;
  struct world *world = world_new(seed);
  char url[CNS_URL_MAX];
  world_listen(world, "wss://127.0.0.1:0/study");
  const char *own = cns_listener_url(world->listener);
  assert_non_null(strstr(own, "/study"));
  fails(&world->stranger, world, own, "doesn't find our certificate in its roster");
  fails(&world->hospitals[WORLD_HOSPITALS - 1], world, own, "has expired");
  snprintf(url, sizeof url, "%.*sother", (int)(strlen(own) - strlen("study")), own);
  fails(&world->hospitals[0], world, url, "is the path of the address right?");
  assert_true(world->server.refused >= 3);
  assert_int_equal(world->server.opened, 0);
  /* tls+tcp:// to the WebSocket's door. */
  world->times.handshake_ms = 1000;
  snprintf(url, sizeof url, "tls+tcp%.*s", (int)(strlen(own) - strlen("wss/study")), own + strlen("wss"));
  fails(&world->hospitals[0], world, url, "");
  world_free(world);
}

/* Through the relay's eyes nothing differs; the largest frames, both ways, are test_link's. */
static void websocket_says_goodbye(void **state) {
  (void)state;
  struct world *world = world_new(seed);
  struct side client = {0};
  world_listen(world, "wss://127.0.0.1:0");
  struct cns_dialer *dialer = world_dial(world, 1, &client);
  world_until(world, client.opened, 1);
  world_until(world, world->server.opened, 1);
  static uint8_t frame[CNS_FRAME_CONTROL_MAX];
  assert_int_equal(cns_link_send(client.link, 20, frame, sizeof frame), 0);
  assert_int_equal(cns_link_send(world->server.link, 21, frame, sizeof frame), 0);
  world_until_true(world, world->server.frames == 1 && client.frames == 1);
  assert_int_equal(world->server.bytes, sizeof frame);
  assert_int_equal(client.bytes, sizeof frame);
  cns_link_close(world->server.link, "enough");
  world_until(world, client.closed, 1);
  assert_non_null(strstr(client.sentence, "enough"));
  world_until(world, client.opened, 2);
  cns_dialer_free(dialer);
  world_free(world);
}

static void put(struct cns_link *link, const void *bytes, size_t len) {
  assert_int_equal(cns_byte_queue_reserve(&link->queue, len), 0);
  cns_byte_queue_put(&link->queue, bytes, len);
}

/* The BYE ends the link at once; the WebSocket's own end behind it, in the same bytes, finds it dead. */
static void websocket_ends_twice(void **state) {
  (void)state;
  struct world *world = world_new(seed);
  struct side first = {0}, second = {0};
  uint8_t frame[CNS_FRAME_HEADER_BYTES + 3] = {0}, header[CNS_WEBSOCKET_HEADER_MAX];
  const uint8_t end[] = {0x88, 0x80, 0, 0, 0, 0};
  size_t header_len = 0;
  world_listen(world, "wss://127.0.0.1:0");
  struct cns_dialer *one = world_dial(world, 0, &first), *two = world_dial(world, 1, &second);
  world_until(world, first.opened, 1);
  world_until(world, second.opened, 1);
  world_until(world, world->server.opened, 2);
  cns_frame_header_write(CNS_FRAME_BYE, 3, frame);
  memcpy(frame + CNS_FRAME_HEADER_BYTES, "end", 3);
  struct cns_link *link = first.link;
  assert_int_equal(cns_websocket_header(link->websocket, sizeof frame, header, &header_len), 0);
  cns_websocket_mask(frame, sizeof frame, header + header_len - 4, 0);
  put(link, header, header_len);
  put(link, frame, sizeof frame);
  put(link, end, sizeof end);
  cns_link_io_send(link);
  world_until(world, world->server.closed, 1);
  world_until(world, first.closed, 1);
  world_until(world, first.opened, 2);                      /* the dead link's memory is returned meanwhile */
  cns_link_close(cns_dialer_link(two), "the next to part"); /* goes through the list of those that part */
  world_until(world, world->server.closed, 2);
  cns_dialer_free(one);
  cns_dialer_free(two);
  world_free(world);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(unix_socket),
      cmocka_unit_test(unix_socket_left_behind),
      cmocka_unit_test(unix_socket_refuses_strangers),
      cmocka_unit_test(websocket_refusals),
      cmocka_unit_test(websocket_says_goodbye),
      cmocka_unit_test(websocket_ends_twice),
  };
  return cmocka_run_group_tests_name("link_ways", tests, NULL, NULL);
}
