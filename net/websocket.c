/* SPDX-License-Identifier: Apache-2.0 */
#include "net/websocket.h"

#include <openssl/sha.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" /* RFC 6455, 1.3 */
#define ACCEPT_CHARS 28

enum { CONTINUATION = 0, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };

void cns_websocket_init(struct cns_websocket *ws, bool client, const char *path, struct cns_rng rng) {
  *ws = (struct cns_websocket){.client = client, .rng = rng};
  snprintf(ws->path, sizeof ws->path, "%s", path);
}

/* -- the opening handshake, RFC 6455 section 4 -- */

static void accept_of(const char *key, char ret_accept[static ACCEPT_CHARS + 1]) {
  char text[CNS_WEBSOCKET_KEY_CHARS + sizeof GUID];
  uint8_t digest[SHA_DIGEST_LENGTH];
  int len = snprintf(text, sizeof text, "%s" GUID, key);
  SHA1((const uint8_t *)text, (size_t)len, digest);
  sodium_bin2base64(ret_accept, ACCEPT_CHARS + 1, digest, sizeof digest, sodium_base64_VARIANT_ORIGINAL);
}

int cns_websocket_request(struct cns_websocket *ws, const char *host, char **ret_request) {
  uint8_t nonce[16];
  char *request = NULL;
  if (cns_rng_fill(ws->rng, nonce, sizeof nonce) != 0) return CNS_ERR_RANDOM;
  sodium_bin2base64(ws->key, sizeof ws->key, nonce, sizeof nonce, sodium_base64_VARIANT_ORIGINAL);
  if (asprintf(&request,
               "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
               "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\nUser-Agent: consilium\r\n\r\n",
               ws->path, host, ws->key) < 0)
    return CNS_ERR_MEMORY;
  *ret_request = request;
  return 0;
}

/* A field of the head, or NULL: its value up to the end of the line. Once, or it doesn't count. */
static const char *field(const char *head, const char *name, size_t *ret_len) {
  const char *found = NULL;
  size_t name_len = strlen(name);
  for (const char *line = strstr(head, "\r\n"); line && line[2] != '\r'; line = strstr(line + 2, "\r\n")) {
    if (strncasecmp(line + 2, name, name_len) != 0 || line[2 + name_len] != ':') continue;
    if (found) return NULL;
    found = line + 2 + name_len + 1;
    found += strspn(found, " \t");
    *ret_len = strcspn(found, "\r");
    while (*ret_len > 0 && (found[*ret_len - 1] == ' ' || found[*ret_len - 1] == '\t'))
      --*ret_len;
  }
  return found;
}

static bool field_is(const char *head, const char *name, const char *value) {
  size_t len = 0;
  const char *found = field(head, name, &len);
  return found && len == strlen(value) && strncasecmp(found, value, len) == 0;
}

/* Is the word in the list that the field holds? */
static bool field_names(const char *head, const char *name, const char *word) {
  size_t len = 0, word_len = strlen(word);
  const char *found = field(head, name, &len);
  while (found && len > 0) {
    size_t skip = strspn(found, " \t,");
    if (skip >= len) return false;
    found += skip, len -= skip;
    size_t item = strcspn(found, " \t,\r");
    if (item == word_len && strncasecmp(found, word, item) == 0) return true;
    if (item > len) return false;
    found += item, len -= item;
  }
  return false;
}

static int bad_request(const struct cns_websocket_output *output, struct cns_problem *problem) {
  static const char text[] = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
  output->reply(output->context, text, sizeof text - 1);
  return cns_problem_set(problem, CNS_ERR_REFUSED,
                         "it speaks HTTP, but its request opens no WebSocket at our path");
}

static int take_request(struct cns_websocket *ws, const struct cns_websocket_output *output,
                        struct cns_problem *problem) {
  char start[CNS_WEBSOCKET_PATH_MAX + 20], accept[ACCEPT_CHARS + 1], answer[200];
  size_t len = 0;
  snprintf(start, sizeof start, "GET %s HTTP/1.1\r\n", ws->path);
  const char *key = field(ws->head, "Sec-WebSocket-Key", &len);
  if (strncmp(ws->head, start, strlen(start)) != 0 || !field_is(ws->head, "Upgrade", "websocket") ||
      !field_names(ws->head, "Connection", "Upgrade") || !field_is(ws->head, "Sec-WebSocket-Version", "13") ||
      !key || len != CNS_WEBSOCKET_KEY_CHARS)
    return bad_request(output, problem);
  memcpy(ws->key, key, len);
  ws->key[len] = 0;
  accept_of(ws->key, accept);
  int answer_len =
      snprintf(answer, sizeof answer,
               "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
               "Sec-WebSocket-Accept: %s\r\n\r\n",
               accept);
  output->reply(output->context, answer, (size_t)answer_len);
  return 0;
}

static int take_answer(struct cns_websocket *ws, struct cns_problem *problem) {
  char accept[ACCEPT_CHARS + 1];
  size_t len = 0;
  accept_of(ws->key, accept);
  const char *proof = field(ws->head, "Sec-WebSocket-Accept", &len);
  if (strncmp(ws->head, "HTTP/1.1 101", 12) == 0 && field_is(ws->head, "Upgrade", "websocket") &&
      field_names(ws->head, "Connection", "Upgrade") && proof && len == ACCEPT_CHARS &&
      memcmp(proof, accept, len) == 0)
    return 0;
  return cns_problem_set(problem, CNS_ERR_REFUSED,
                         "it opens no WebSocket at %s: is the path of the address right?", ws->path);
}

/* *ret_taken bytes of data belong to the head. */
static int take_head(struct cns_websocket *ws, const uint8_t *data, size_t len, size_t *ret_taken,
                     const struct cns_websocket_output *output, struct cns_problem *problem) {
  size_t taken = 0;
  bool whole = false;
  while (taken < len && !whole) {
    if (ws->head_len + 1 >= sizeof ws->head || data[taken] == 0)
      return cns_problem_set(problem, CNS_ERR_FORMAT,
                             "what opens the WebSocket is longer than %d bytes or no text",
                             CNS_WEBSOCKET_HEAD_MAX);
    ws->head[ws->head_len++] = (char)data[taken++];
    whole = ws->head_len >= 4 && memcmp(ws->head + ws->head_len - 4, "\r\n\r\n", 4) == 0;
  }
  *ret_taken = taken;
  if (!whole) return 0;
  ws->head[ws->head_len] = 0;
  int r = ws->client ? take_answer(ws, problem) : take_request(ws, output, problem);
  if (r) return r;
  ws->open = true;
  output->opened(output->context);
  return 0;
}

/* -- frames, RFC 6455 section 5 -- */

void cns_websocket_mask(uint8_t *data, size_t len, const uint8_t mask[static 4], size_t at) {
  for (size_t i = 0; i < len; i++)
    data[i] ^= mask[(at + i) % 4];
}

static int write_header(const struct cns_websocket *ws, uint8_t opcode, size_t len,
                        uint8_t ret_header[static CNS_WEBSOCKET_HEADER_MAX], size_t *ret_header_len) {
  uint8_t bit = ws->client ? 0x80 : 0;
  size_t at = 2, extra = len < 126 ? 0 : len <= UINT16_MAX ? 2 : 8;
  ret_header[0] = (uint8_t)(0x80 | opcode);
  ret_header[1] = (uint8_t)(bit | (extra == 0 ? len : extra == 2 ? 126 : 127));
  for (size_t i = extra; i-- > 0;)
    ret_header[at++] = (uint8_t)((uint64_t)len >> (8 * i));
  if (ws->client) {
    if (cns_rng_fill(ws->rng, ret_header + at, 4) != 0) return CNS_ERR_RANDOM;
    at += 4;
  }
  *ret_header_len = at;
  return 0;
}

int cns_websocket_header(const struct cns_websocket *ws, size_t len,
                         uint8_t ret_header[static CNS_WEBSOCKET_HEADER_MAX], size_t *ret_header_len) {
  return write_header(ws, BINARY, len, ret_header, ret_header_len);
}

static size_t header_size(const uint8_t *header) {
  unsigned len = header[1] & 0x7f;
  return 2u + (len == 126 ? 2 : len == 127 ? 8 : 0) + (header[1] & 0x80 ? 4 : 0);
}

static int check_header(struct cns_websocket *ws, struct cns_problem *problem) {
  const uint8_t *header = ws->header;
  unsigned opcode = header[0] & 0x0f, len = header[1] & 0x7f;
  bool control = opcode >= CLOSE;
  if (header[0] & 0x70 || (opcode != CONTINUATION && opcode != BINARY && (opcode < CLOSE || opcode > PONG)))
    return cns_problem_set(problem, CNS_ERR_FORMAT, "WebSocket frame of a kind that isn't used here");
  if (((header[1] & 0x80) != 0) == ws->client)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "WebSocket frame with the mask on the wrong side");
  if (control && (!(header[0] & 0x80) || len > CNS_WEBSOCKET_CONTROL_MAX))
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "WebSocket control frame that is too long or in fragments");
  ws->left = len;
  if (len >= 126) {
    ws->left = 0;
    for (size_t i = 0; i < (len == 126 ? 2u : 8u); i++)
      ws->left = ws->left << 8 | header[2 + i];
    if (ws->left >> 63)
      return cns_problem_set(problem, CNS_ERR_FORMAT, "WebSocket frame with a nonsensical length");
  }
  ws->in_payload = true;
  ws->mask_at = ws->control_len = 0;
  return 0;
}

static int end_frame(struct cns_websocket *ws, const struct cns_websocket_output *output,
                     struct cns_problem *problem) {
  unsigned opcode = ws->header[0] & 0x0f;
  ws->in_payload = false;
  ws->header_len = 0;
  if (opcode == CLOSE) return cns_problem_set(problem, CNS_ERR_CLOSED, "the other side closed the WebSocket");
  if (opcode != PING) return 0;
  uint8_t pong[CNS_WEBSOCKET_HEADER_MAX + CNS_WEBSOCKET_CONTROL_MAX];
  size_t len = 0;
  int r = write_header(ws, PONG, ws->control_len, pong, &len);
  if (r) return r;
  memcpy(pong + len, ws->control, ws->control_len);
  if (ws->client) cns_websocket_mask(pong + len, ws->control_len, pong + len - 4, 0);
  output->reply(output->context, pong, len + ws->control_len);
  return 0;
}

static void take_payload(struct cns_websocket *ws, uint8_t *data, size_t len,
                         const struct cns_websocket_output *output) {
  if (!ws->client) cns_websocket_mask(data, len, ws->header + header_size(ws->header) - 4, ws->mask_at);
  ws->mask_at = (ws->mask_at + len) % 4;
  ws->left -= len;
  if ((ws->header[0] & 0x0f) < CLOSE) {
    if (len > 0) output->data(output->context, data, len);
    return;
  }
  memcpy(ws->control + ws->control_len, data, len); /* check_header */
  ws->control_len += len;
}

int cns_websocket_take(struct cns_websocket *ws, uint8_t *data, size_t len,
                       const struct cns_websocket_output *output, struct cns_problem *problem) {
  while (len > 0) {
    size_t taken = 0;
    int r = 0;
    if (!ws->open) {
      r = take_head(ws, data, len, &taken, output, problem);
    } else if (!ws->in_payload) {
      ws->header[ws->header_len++] = *data;
      taken = 1;
      if (ws->header_len >= 2 && ws->header_len == header_size(ws->header)) r = check_header(ws, problem);
    } else {
      taken = len < ws->left ? len : (size_t)ws->left;
      take_payload(ws, data, taken, output);
    }
    if (r) return r;
    data += taken;
    len -= taken;
    if (ws->in_payload && ws->left == 0 && (r = end_frame(ws, output, problem))) return r;
  }
  return 0;
}
