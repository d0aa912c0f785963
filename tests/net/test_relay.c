/* SPDX-License-Identifier: Apache-2.0 */
/* Links through a scripted proxy on the same loop: each way in which one can fail, and that
 * bytes come through whole. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>

#include "net/relay.h"
#include "tests/net/world.h"

/* What the proxy does with the next connections. */
struct fake {
  struct world *world;
  uv_tcp_t listener;
  uint16_t port;
  const char *answer;     /* NULL: says nothing */
  bool hang_up;           /* after the answer, or at once */
  bool tunnel;            /* after the answer: to the coordinator */
  const char *wants;      /* in the request */
  int accepted, requests; /* counted */
  bool wanted_seen;
  bool name_seen; /* "localhost" in what goes to the coordinator: TLS says whom it wants */
  struct pair *pairs;
};

struct pair {
  struct pair *next;
  struct fake *fake;
  uv_tcp_t client, server;
  bool client_open, server_open, tunnel;
  char request[4096];
  size_t len;
};

struct piece {
  uv_write_t write;
  char data[65536];
};

static void pair_close(struct pair *pair) {
  if (pair->client_open) uv_close((uv_handle_t *)&pair->client, NULL);
  if (pair->server_open) uv_close((uv_handle_t *)&pair->server, NULL);
  pair->client_open = pair->server_open = false;
}

static void on_piece_sent(uv_write_t *write, int status) {
  (void)status;
  free(write);
}

static void pass_on(uv_tcp_t *to, const char *data, size_t len) {
  struct piece *piece = malloc(sizeof *piece);
  assert_non_null(piece);
  memcpy(piece->data, data, len);
  uv_buf_t buffer = uv_buf_init(piece->data, (unsigned)len);
  assert_int_equal(uv_write(&piece->write, (uv_stream_t *)to, &buffer, 1, on_piece_sent), 0);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buffer) {
  (void)handle;
  *ret_buffer = uv_buf_init(malloc(65536), 65536);
}

static void on_server_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer) {
  struct pair *pair = stream->data;
  if (count > 0) pass_on(&pair->client, buffer->base, (size_t)count);
  if (count < 0) pair_close(pair);
  free(buffer->base);
}

static void on_server(uv_connect_t *connect, int status) {
  struct pair *pair = connect->data;
  free(connect);
  if (status != 0) return;
  pass_on(&pair->client, pair->fake->answer, strlen(pair->fake->answer));
  uv_read_start((uv_stream_t *)&pair->server, on_alloc, on_server_read);
}

static void open_server(struct pair *pair) {
  uv_connect_t *connect = malloc(sizeof *connect);
  struct sockaddr_in address;
  uint16_t port = (uint16_t)atoi(strrchr(cns_listener_url(pair->fake->world->listener), ':') + 1);
  assert_non_null(connect);
  connect->data = pair;
  uv_ip4_addr("127.0.0.1", port, &address);
  uv_tcp_init(&pair->fake->world->uv, &pair->server);
  pair->server.data = pair;
  pair->server_open = pair->tunnel = true;
  assert_int_equal(uv_tcp_connect(connect, &pair->server, (struct sockaddr *)&address, on_server), 0);
}

static void on_request(struct pair *pair) {
  struct fake *fake = pair->fake;
  fake->requests++;
  fake->wanted_seen = !fake->wants || strstr(pair->request, fake->wants);
  if (fake->tunnel)
    open_server(pair);
  else if (fake->answer)
    pass_on(&pair->client, fake->answer, strlen(fake->answer));
  if (fake->hang_up) pair_close(pair);
}

static void on_client_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer) {
  struct pair *pair = stream->data;
  if (count < 0) {
    pair_close(pair);
  } else if (pair->tunnel) {
    if (count > 0 && memmem(buffer->base, (size_t)count, "localhost", 9)) pair->fake->name_seen = true;
    if (count > 0) pass_on(&pair->server, buffer->base, (size_t)count);
  } else if (count > 0) {
    assert_true(pair->len + (size_t)count < sizeof pair->request);
    memcpy(pair->request + pair->len, buffer->base, (size_t)count);
    pair->len += (size_t)count;
    if (strstr(pair->request, "\r\n\r\n")) on_request(pair);
  }
  free(buffer->base);
}

static void on_client(uv_stream_t *listener, int status) {
  struct fake *fake = listener->data;
  struct pair *pair = calloc(1, sizeof *pair);
  assert_int_equal(status, 0);
  assert_non_null(pair);
  pair->fake = fake;
  pair->next = fake->pairs;
  fake->pairs = pair;
  fake->accepted++;
  uv_tcp_init(&fake->world->uv, &pair->client);
  pair->client.data = pair;
  pair->client_open = true;
  assert_int_equal(uv_accept(listener, (uv_stream_t *)&pair->client), 0);
  uv_read_start((uv_stream_t *)&pair->client, on_alloc, on_client_read);
}

static void fake_open(struct world *world, struct fake *fake) {
  struct sockaddr_in address;
  int len = sizeof address;
  fake->world = world;
  uv_ip4_addr("127.0.0.1", 0, &address);
  uv_tcp_init(&world->uv, &fake->listener);
  fake->listener.data = fake;
  assert_int_equal(uv_tcp_bind(&fake->listener, (struct sockaddr *)&address, 0), 0);
  assert_int_equal(uv_listen((uv_stream_t *)&fake->listener, 16, on_client), 0);
  assert_int_equal(uv_tcp_getsockname(&fake->listener, (struct sockaddr *)&address, &len), 0);
  fake->port = ntohs(address.sin_port);
}

static void fake_close(struct fake *fake) {
  uv_close((uv_handle_t *)&fake->listener, NULL);
  for (struct pair *pair = fake->pairs; pair; pair = pair->next)
    pair_close(pair);
  world_for(fake->world, 20);
  while (fake->pairs) {
    struct pair *pair = fake->pairs;
    fake->pairs = pair->next;
    free(pair);
  }
}

static struct cns_dialer *dial_through(struct world *world, struct side *side, const struct cns_proxy *proxy,
                                       const char *url) {
  struct cns_dialer *dialer = NULL;
  struct cns_problem problem = {0};
  struct cns_link_config config = party_config(world, &world->hospitals[0], world->for_hospitals);
  const struct cns_link_callbacks callbacks = side_callbacks(side);
  config.proxy = proxy;
  side->world = world;
  if (cns_dialer_new(world->loop, url, &config, &callbacks, &dialer, &problem)) fail_msg("%s", problem.text);
  return dialer;
}

static struct cns_proxy proxy_at(uint16_t port, const char *password) {
  struct cns_proxy proxy = {.host = "127.0.0.1", .port = port};
  if (password) assert_int_equal(cns_proxy_set_credentials(&proxy, "agent", password, NULL), 0);
  return proxy;
}

static const char established[] = "HTTP/1.1 200 Connection established\r\n\r\n";

/* -- a link -- */

struct flood {
  uint64_t left, sent_sum, seen_sum;
};

static void flood_more(struct side *side) {
  struct flood *flood = side->extra;
  uint8_t piece[30000];
  while (flood->left > 0) {
    for (size_t i = 0; i < sizeof piece; i++)
      piece[i] = (uint8_t)(flood->left + i * i);
    int r = cns_link_send(side->link, CNS_FRAME_BULK, piece, sizeof piece);
    if (r == CNS_CASE_FULL) return;
    assert_int_equal(r, 0);
    for (size_t i = 0; i < sizeof piece; i++)
      flood->sent_sum = flood->sent_sum * 31 + piece[i];
    flood->left--;
  }
}

static void flood_writable(struct side *side, struct cns_link *link) {
  (void)link;
  flood_more(side);
}

static void flood_frame(struct side *side, struct cns_link *link, uint8_t type, const uint8_t *data,
                        size_t len) {
  struct flood *flood = side->extra;
  (void)type;
  for (size_t i = 0; i < len; i++)
    flood->seen_sum = flood->seen_sum * 31 + data[i];
  cns_link_consumed(link, len);
}

static void test_tunnel(void **state) {
  struct world *world = world_new(1);
  struct fake fake = {
      .answer = established, .tunnel = true, .wants = "Proxy-Authorization: Basic YWdlbnQ6aHVudGVyMg==\r\n"};
  struct side side = {0};
  struct flood up = {.left = 300}, down = {.left = 300};
  world_listen(world, "tls+tcp://127.0.0.1:0");
  fake_open(world, &fake);
  const struct cns_proxy proxy = proxy_at(fake.port, "hunter2");
  char url[CNS_URL_MAX];
  snprintf(url, sizeof url, "tls+tcp://localhost:%s", strrchr(cns_listener_url(world->listener), ':') + 1);
  struct cns_dialer *dialer = dial_through(world, &side, &proxy, url);
  world_until(world, side.opened, 1);
  world_until(world, world->server.opened, 1);
  assert_true(fake.wanted_seen && fake.name_seen);
  assert_non_null(strstr(cns_link_remote(side.link), "proxy"));
  /* 9 MB each way at once: backpressure, and nothing lost or out of order. */
  side.extra = &up, world->server.extra = &down;
  side.on_writable = world->server.on_writable = flood_writable;
  flood_more(&side);
  flood_more(&world->server);
  /* Each sees the other's. */
  struct flood *const ups = &up, *const downs = &down;
  side.on_frame = flood_frame, world->server.on_frame = flood_frame;
  world_until_true(world, side.frames == 300 && world->server.frames == 300);
  assert_true(ups->seen_sum == downs->sent_sum && downs->seen_sum == ups->sent_sum);
  side.on_writable = world->server.on_writable = NULL;
  /* The proxy goes away and comes back. */
  for (struct pair *pair = fake.pairs; pair; pair = pair->next)
    pair_close(pair);
  world_until(world, side.closed, 1);
  world_until(world, side.opened, 2);
  assert_int_equal(fake.requests, 2);
  cns_dialer_free(dialer);
  world_until(world, world->server.closed, 2);
  assert_non_null(strstr(world->server.sentence, "shutting down")); /* last words come through */
  fake_close(&fake);
  world_free(world);
}

/* -- each way to fail -- */

static void fails(const char *answer, bool hang_up, const char *says) {
  struct world *world = world_new(2);
  struct fake fake = {.answer = answer, .hang_up = hang_up};
  struct side side = {0};
  world->times.connect_ms = 300;
  fake_open(world, &fake);
  const struct cns_proxy proxy = proxy_at(fake.port, "hunter2");
  struct cns_dialer *dialer = dial_through(world, &side, &proxy, "tls+tcp://[2001:db8::1]:7443");
  world_until(world, side.failed, 2);
  if (!strstr(side.sentence, says)) fail_msg("%s, not: %s", side.sentence, says);
  assert_null(strstr(side.sentence, "hunter2"));
  assert_int_equal(side.opened, 0);
  cns_dialer_free(dialer);
  fake_close(&fake);
  world_free(world);
}

static void test_refusals(void **state) {
  fails("HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\n\r\n", false, "password of user 'agent'");
  fails("HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM\r\n\r\n", false, "by 'NTLM', which isn't supported");
  fails("HTTP/1.1 403 No\r\n\r\n", false, "allow CONNECT to [2001:db8::1]:7443");
  fails("HTTP/1.1 503 Unavailable\r\n\r\n", false, "can't reach the coordinator");
  fails("220 mail ESMTP\r\n", false, "not an HTTP proxy");
  fails(NULL, false, "has made no connection within 300 ms");
  fails("HTTP/1.1 200", false, "has made no connection within 300 ms");
  fails(NULL, true, "hung up without an answer");
}

static void test_endless_header(void **state) {
  size_t len = 3 * CNS_PROXY_ANSWER_MAX;
  char *text = malloc(len + 1);
  assert_non_null(text);
  memset(text, 'x', len);
  text[len] = 0;
  memcpy(text, "HTTP/1.1 200 OK\r\nX: ", 20);
  fails(text, false, "header of more than 16384 bytes");
  free(text);
}

static void test_unreachable(void **state) {
  struct world *world = world_new(3);
  struct side refused = {0}, unknown = {0};
  struct fake fake = {0};
  fake_open(world, &fake);
  const struct cns_proxy nobody = proxy_at(fake.port, NULL);
  fake_close(&fake);
  struct cns_proxy nowhere = proxy_at(3128, NULL);
  snprintf(nowhere.host, sizeof nowhere.host, "no-such-proxy.invalid");
  struct cns_dialer *one = dial_through(world, &refused, &nobody, "tls+tcp://c.example:7443");
  struct cns_dialer *two = dial_through(world, &unknown, &nowhere, "tls+tcp://c.example:7443");
  world_until(world, refused.failed, 1);
  world_until(world, unknown.failed, 1);
  assert_non_null(strstr(refused.sentence, "can't reach the proxy 127.0.0.1"));
  assert_non_null(
      strstr(unknown.sentence, "the name of the proxy no-such-proxy.invalid:3128 can't be looked up"));
  cns_dialer_free(one);
  cns_dialer_free(two);
  world_free(world);
}

/* A firewall that breaks TLS open shows a certificate that isn't the coordinator's: a party that isn't in
 * the hospitals' table stands for it. */
static void test_inspection(void **state) {
  struct world *world = world_new(4);
  struct fake fake = {.answer = established, .tunnel = true};
  struct side side = {0};
  struct cns_problem problem = {0};
  const struct cns_link_config config = party_config(world, &world->stranger, world->for_coordinator);
  const struct cns_link_callbacks callbacks = side_callbacks(&world->server);
  if (cns_listener_new(world->loop, "tls+tcp://127.0.0.1:0", &config, &callbacks, &world->listener, &problem))
    fail_msg("%s", problem.text);
  fake_open(world, &fake);
  const struct cns_proxy proxy = proxy_at(fake.port, NULL);
  struct cns_dialer *dialer = dial_through(world, &side, &proxy, cns_listener_url(world->listener));
  world_until(world, side.failed, 1);
  assert_non_null(strstr(side.sentence, "through the proxy 127.0.0.1"));
  assert_non_null(strstr(side.sentence, "inspects TLS"));
  assert_int_equal(side.opened, 0);
  cns_dialer_free(dialer);
  fake_close(&fake);
  world_free(world);
}

/* -- the relay by itself -- */

struct ready {
  int count, failed;
  uint16_t port;
};

static void on_ready(void *context, uint16_t port) {
  struct ready *ready = context;
  ready->count++;
  ready->port = port;
}

static void on_failed(void *context, int error, const char *sentence) {
  struct ready *ready = context;
  (void)error, (void)sentence;
  ready->failed++;
}

/* One connection and no second, and none after the time is over. */
static void test_one_visitor(void **state) {
  struct world *world = world_new(5);
  struct fake fake = {.answer = "HTTP/1.1 200 OK\r\n\r\nearly"};
  struct cns_relay *relay = NULL;
  struct ready ready = {0};
  fake_open(world, &fake);
  const struct cns_proxy proxy = proxy_at(fake.port, NULL);
  struct cns_relay_request request = {.proxy = &proxy,
                                      .host = "c.example",
                                      .port = 7443,
                                      .timeout_ms = 5000,
                                      .context = &ready,
                                      .on_ready = on_ready,
                                      .on_failed = on_failed};
  assert_int_equal(cns_relay_new(world->loop, &request, &relay), 0);
  world_until(world, ready.count, 1);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(ready.port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
  cns_relay_detach(relay);
  char text[8] = "";
  world_until_true(world, recv(fd, text, 5, MSG_DONTWAIT | MSG_PEEK) == 5);
  assert_int_equal(recv(fd, text, 5, 0), 5);
  assert_string_equal(text, "early");
  int second = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(connect(second, (struct sockaddr *)&address, sizeof address), -1);
  close(second);
  close(fd);
  /* Nobody comes: the tunnel is given up. */
  request.timeout_ms = 200;
  ready = (struct ready){0};
  assert_int_equal(cns_relay_new(world->loop, &request, &relay), 0);
  world_until(world, ready.count, 1);
  struct pair *pair = fake.pairs;
  world_until_true(world, !pair->client_open);
  assert_null(cns_relay_free(relay));
  /* Given up at once. */
  assert_int_equal(cns_relay_new(world->loop, &request, &relay), 0);
  assert_null(cns_relay_free(relay));
  fake_close(&fake);
  assert_int_equal(ready.failed, 0);
  world_free(world);
}

/* Another user's connection gets nothing. Needs root, to be another user. */
static void test_other_user(void **state) {
  if (geteuid() != 0) {
    print_message("# not looked at: another user's connection, which only root can make\n");
    return;
  }
  struct world *world = world_new(6);
  struct fake fake = {.answer = "HTTP/1.1 200 OK\r\n\r\nearly"};
  struct cns_relay *relay = NULL;
  struct ready ready = {0};
  fake_open(world, &fake);
  const struct cns_proxy proxy = proxy_at(fake.port, NULL);
  const struct cns_relay_request request = {
      .proxy = &proxy, .host = "c", .port = 1, .timeout_ms = 20000, .context = &ready, .on_ready = on_ready};
  assert_int_equal(cns_relay_new(world->loop, &request, &relay), 0);
  world_until(world, ready.count, 1);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(ready.port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  assert_int_equal(seteuid(65534), 0); /* a socket belongs to whom made it */
  int foreign = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(connect(foreign, (struct sockaddr *)&address, sizeof address), 0);
  assert_int_equal(seteuid(0), 0);
  char text[8] = "";
  ssize_t count = -1;
  world_until_true(world, (count = recv(foreign, text, 5, MSG_DONTWAIT)) >= 0 || errno == ECONNRESET);
  assert_true(count <= 0);
  int own = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(connect(own, (struct sockaddr *)&address, sizeof address), 0);
  world_until_true(world, recv(own, text, 5, MSG_DONTWAIT) == 5);
  assert_string_equal(text, "early");
  close(own);
  close(foreign);
  cns_relay_free(relay);
  fake_close(&fake);
  world_free(world);
}

static void test_no_proxy_within(void **state) {
  struct world *world = world_new(7);
  struct cns_dialer *dialer = NULL;
  struct cns_problem problem = {0};
  struct side side = {0};
  struct cns_link_config config = party_config(world, &world->hospitals[0], world->for_hospitals);
  const struct cns_link_callbacks callbacks = side_callbacks(&side);
  const struct cns_proxy proxy = proxy_at(1, NULL);
  config.proxy = &proxy;
  assert_int_equal(cns_dialer_new(world->loop, "tcp://127.0.0.1:1", &config, &callbacks, &dialer, &problem),
                   CNS_ERR_ARGUMENT);
  assert_non_null(strstr(problem.text, "needs no proxy"));
  world_free(world);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_tunnel),         cmocka_unit_test(test_refusals),
      cmocka_unit_test(test_endless_header), cmocka_unit_test(test_unreachable),
      cmocka_unit_test(test_inspection),     cmocka_unit_test(test_one_visitor),
      cmocka_unit_test(test_other_user),     cmocka_unit_test(test_no_proxy_within)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
