/* SPDX-License-Identifier: Apache-2.0 */
/* WebSocket against the examples of RFC 6455, in pieces of every size, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/websocket.h"

static const uint64_t seed = 20270;

struct seen {
  uint8_t data[70000];
  size_t len;
  char reply[600];
  size_t reply_len;
  int opened;
};

static void on_data(void *context, const uint8_t *data, size_t len) {
  struct seen *seen = context;
  assert_true(seen->len + len <= sizeof seen->data);
  memcpy(seen->data + seen->len, data, len);
  seen->len += len;
}

static void on_reply(void *context, const void *data, size_t len) {
  struct seen *seen = context;
  assert_true(seen->reply_len + len < sizeof seen->reply);
  memcpy(seen->reply + seen->reply_len, data, len);
  seen->reply_len += len;
  seen->reply[seen->reply_len] = 0;
}

static void on_opened(void *context) {
  struct seen *seen = context;
  seen->opened++;
}

static int feed(struct cns_websocket *ws, struct seen *seen, const void *data, size_t len, size_t piece) {
  const struct cns_websocket_output output = {seen, on_data, on_reply, on_opened};
  uint8_t copy[4096];
  for (size_t at = 0; at < len; at += piece) {
    size_t n = len - at < piece ? len - at : piece;
    memcpy(copy, (const uint8_t *)data + at, n);
    struct cns_problem problem = {0};
    int r = cns_websocket_take(ws, copy, n, &output, &problem);
    if (r) {
      assert_true(problem.text[0] || r == CNS_ERR_RANDOM);
      return r;
    }
  }
  return 0;
}

/* RFC 6455, 1.2 and 1.3: key and accept. */
#define REQUEST(path, more)                                                                                  \
  "GET " path                                                                                                \
  " HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"       \
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" more "\r\n"
static const char request[] = REQUEST("/chat", "Sec-WebSocket-Version: 13\r\n");
static const char accepted[] = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

static struct cns_websocket opened(bool client, struct cns_rng_seeded *rng) {
  struct cns_websocket ws;
  cns_rng_seeded_init_label(rng, seed, "websocket");
  cns_websocket_init(&ws, client, "/chat", cns_rng_seeded(rng));
  ws.open = true;
  return ws;
}

static void test_opening(void **state) {
  (void)state;
  for (size_t piece = 1; piece < sizeof request; piece += 7) {
    struct cns_rng_seeded rng;
    struct cns_websocket ws = opened(false, &rng);
    struct seen seen = {0};
    ws.open = false;
    assert_int_equal(feed(&ws, &seen, request, sizeof request - 1, piece), 0);
    assert_int_equal(seen.opened, 1);
    assert_memory_equal(seen.reply, "HTTP/1.1 101 ", 13);
    assert_non_null(strstr(seen.reply, accepted));
  }
  /* Client and server with each other. */
  struct cns_rng_seeded rng, other;
  struct cns_websocket client = opened(true, &rng), server = opened(false, &other);
  struct seen at_client = {0}, at_server = {0};
  char *text = NULL;
  client.open = server.open = false;
  assert_int_equal(cns_websocket_request(&client, "host:443", &text), 0);
  assert_int_equal(feed(&server, &at_server, text, strlen(text), 4000), 0);
  assert_int_equal(feed(&client, &at_client, at_server.reply, at_server.reply_len, 11), 0);
  assert_true(client.open && server.open);
  free(text);
}

static void test_opening_refused(void **state) {
  (void)state;
  static const char *const requests[] = {
      REQUEST("/other", "Sec-WebSocket-Version: 13\r\n"),
      REQUEST("/chat", "Sec-WebSocket-Version: 8\r\n"),
      REQUEST("/chat", ""),
      REQUEST("/chat", "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"),
      "GET /chat HTTP/1.1\r\nHost: x\r\n\r\n",
      "POST /chat HTTP/1.1\r\n\r\n",
      "\r\n\r\n",
      ("GET /chat HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
       "Sec-WebSocket-Key: short\r\n\r\n")};
  static const char *const answers[] = {"HTTP/1.1 404 Not Found\r\n\r\n", "HTTP/1.1 101 X\r\n\r\n",
                                        ("HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                         "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")};
  for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
    struct cns_rng_seeded rng;
    struct cns_websocket ws = opened(false, &rng);
    struct seen seen = {0};
    ws.open = false;
    if (feed(&ws, &seen, requests[i], strlen(requests[i]), 100) != CNS_ERR_REFUSED)
      fail_msg("%s", requests[i]);
    assert_memory_equal(seen.reply, "HTTP/1.1 400 ", 13);
    assert_int_equal(seen.opened, 0);
  }
  for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
    struct cns_rng_seeded rng;
    struct cns_websocket ws = opened(true, &rng);
    struct seen seen = {0};
    char *text = NULL;
    ws.open = false;
    assert_int_equal(cns_websocket_request(&ws, "h:1", &text), 0);
    free(text);
    if (feed(&ws, &seen, answers[i], strlen(answers[i]), 100) != CNS_ERR_REFUSED) fail_msg("%s", answers[i]);
  }
  struct cns_rng_seeded rng;
  struct cns_websocket ws = opened(false, &rng);
  struct seen seen = {0};
  static char endless[CNS_WEBSOCKET_HEAD_MAX + 10];
  memset(endless, 'a', sizeof endless);
  ws.open = false;
  assert_int_equal(feed(&ws, &seen, endless, sizeof endless, 4096), CNS_ERR_FORMAT);
}

/* RFC 6455, 5.7. Its text frames are binary ones here. */
static void test_frames(void **state) {
  (void)state;
  static const uint8_t masked[] = {0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58};
  static const uint8_t fragments[] = {0x02, 0x03, 0x48, 0x65, 0x6c, 0x89, 0x00, 0x80, 0x02, 0x6c, 0x6f};
  static const uint8_t ping[] = {0x89, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58};
  static const uint8_t pong[] = {0x8a, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f};
  for (size_t piece = 1; piece <= sizeof masked; piece++) {
    struct cns_rng_seeded rng;
    struct cns_websocket server = opened(false, &rng), client = opened(true, &rng);
    struct seen seen = {0}, other = {0};
    assert_int_equal(feed(&server, &seen, masked, sizeof masked, piece), 0);
    assert_int_equal(feed(&server, &seen, ping, sizeof ping, piece), 0);
    assert_int_equal(seen.len, 5);
    assert_memory_equal(seen.data, "Hello", 5);
    assert_int_equal(seen.reply_len, sizeof pong);
    assert_memory_equal(seen.reply, pong, sizeof pong);
    assert_int_equal(feed(&client, &other, fragments, sizeof fragments, piece), 0);
    assert_int_equal(other.len, 5);
    assert_memory_equal(other.data, "Hello", 5);
    assert_int_equal(other.reply_len, 6); /* an empty pong, masked */
    assert_int_equal((uint8_t)other.reply[0], 0x8a);
    assert_int_equal((uint8_t)other.reply[1], 0x80);
  }
}

static void test_lengths(void **state) {
  (void)state;
  static const size_t lens[] = {1, 125, 126, 127, 4096, 65535, 65536, 66000};
  static uint8_t message[CNS_WEBSOCKET_HEADER_MAX + 66000];
  for (size_t i = 0; i < sizeof lens / sizeof *lens; i++)
    for (int client = 0; client < 2; client++) {
      struct cns_rng_seeded rng;
      struct cns_websocket from = opened(client, &rng), to = opened(!client, &rng);
      static struct seen seen;
      size_t header = 0;
      seen.len = 0;
      assert_int_equal(cns_websocket_header(&from, lens[i], message, &header), 0);
      for (size_t k = 0; k < lens[i]; k++)
        message[header + k] = (uint8_t)(k * 31 + k / 256);
      if (client) {
        cns_websocket_mask(message + header, 1, message + header - 4, 0);
        cns_websocket_mask(message + header + 1, lens[i] - 1, message + header - 4, 1);
      }
      assert_int_equal(feed(&to, &seen, message, header + lens[i], 1009), 0);
      assert_int_equal(seen.len, lens[i]);
      for (size_t k = 0; k < lens[i]; k++)
        if (seen.data[k] != (uint8_t)(k * 31 + k / 256)) fail_msg("byte %zu of %zu", k, lens[i]);
    }
}

static void test_frames_refused(void **state) {
  (void)state;
  static const struct {
    bool client;
    uint8_t bytes[16];
    size_t len;
    int result;
  } cases[] = {
      {true, {0x81, 0x01}, 2, CNS_ERR_FORMAT},             /* text */
      {true, {0x83, 0x01}, 2, CNS_ERR_FORMAT},             /* reserved */
      {true, {0x8b, 0x00}, 2, CNS_ERR_FORMAT},             /* reserved control */
      {true, {0xc2, 0x01}, 2, CNS_ERR_FORMAT},             /* reserved bit */
      {true, {0x82, 0x81, 1, 2, 3, 4}, 6, CNS_ERR_FORMAT}, /* masked by the server */
      {false, {0x82, 0x01}, 2, CNS_ERR_FORMAT},            /* not masked by the client */
      {true, {0x89, 0x7e, 0, 126}, 4, CNS_ERR_FORMAT},     /* long ping */
      {true, {0x09, 0x00}, 2, CNS_ERR_FORMAT},             /* ping in fragments */
      {true, {0x82, 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 0}, 10, CNS_ERR_FORMAT},
      {true, {0x88, 0x02, 0x03, 0xe8}, 4, CNS_ERR_CLOSED},
      {true, {0x88, 0x00}, 2, CNS_ERR_CLOSED},
      {true, {0x8a, 0x01, 0x00}, 3, 0},       /* a pong nobody asked for */
      {true, {0x82, 0x00, 0x82, 0x00}, 4, 0}, /* empty ones */
      /* The longest: not a byte of memory. */
      {true, {0x82, 0x7f, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, 11, 0},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    for (size_t piece = 1; piece <= 16; piece += 15) {
      struct cns_rng_seeded rng;
      struct cns_websocket ws = opened(cases[i].client, &rng);
      struct seen seen = {0};
      int r = feed(&ws, &seen, cases[i].bytes, cases[i].len, piece);
      if (r != cases[i].result) fail_msg("case %zu: %d", i, r);
    }
}

/* Anything at all: no crash, no reading beyond (sanitizers), an end or a wait. */
static void test_noise(void **state) {
  (void)state;
  struct cns_rng_seeded noise;
  cns_rng_seeded_init_label(&noise, seed, "noise");
  for (int run = 0; run < 2000; run++) {
    struct cns_rng_seeded rng;
    struct cns_websocket ws = opened(run % 2, &rng);
    static struct seen seen;
    uint8_t bytes[64];
    seen.len = seen.reply_len = 0;
    ws.open = run % 4 < 2;
    assert_int_equal(cns_rng_fill(cns_rng_seeded(&noise), bytes, sizeof bytes), 0);
    if (run % 3) bytes[0] = 0x82, bytes[1] = (uint8_t)(ws.client ? bytes[1] & 0x0f : bytes[1] | 0x80);
    (void)!feed(&ws, &seen, bytes, sizeof bytes, 1 + (size_t)run % 17);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_opening), cmocka_unit_test(test_opening_refused), cmocka_unit_test(test_frames),
      cmocka_unit_test(test_lengths), cmocka_unit_test(test_frames_refused),  cmocka_unit_test(test_noise)};
  return cmocka_run_group_tests_name("websocket", tests, NULL, NULL);
}
