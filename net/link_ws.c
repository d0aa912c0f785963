/* SPDX-License-Identifier: Apache-2.0 */
/* A link inside a WebSocket: each frame of ours is a message. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/link_internal.h"

/* As it is into the queue. */
static void put_raw(struct cns_link *link, const void *data, size_t len) {
  if (cns_byte_queue_reserve(&link->queue, len) != 0) {
    cns_link_end(link, CNS_ERR_MEMORY, false, "no memory to send a frame");
    return;
  }
  cns_byte_queue_put(&link->queue, data, len);
  cns_link_io_send(link);
}

int cns_link_ws_put_header(struct cns_link *link, size_t len, uint8_t ret_mask[static 4]) {
  uint8_t header[CNS_WEBSOCKET_HEADER_MAX];
  size_t header_len = 0;
  int r = cns_websocket_header(link->websocket, len, header, &header_len);
  if (r) return r;
  if (link->websocket->client) memcpy(ret_mask, header + header_len - 4, 4);
  cns_byte_queue_put(&link->queue, header, header_len); /* reserved by the caller */
  return 0;
}

void cns_link_ws_mask_last(struct cns_link *link, size_t len, const uint8_t mask[static 4]) {
  if (link->websocket->client)
    cns_websocket_mask(link->queue.data + link->queue.start + link->queue.len - len, len, mask, 0);
}

int cns_link_ws_begin(struct cns_link *link, const struct cns_link_start *start) {
  char host[sizeof start->url->host + 16], *request = NULL;
  if (!start->initiator) return 0;
  snprintf(host, sizeof host, "%s%s%s:%u", start->url->ipv6 ? "[" : "", start->url->host,
           start->url->ipv6 ? "]" : "", start->url->port);
  int r = cns_websocket_request(link->websocket, host, &request);
  if (r) return r;
  put_raw(link, request, strlen(request));
  free(request);
  return 0;
}

static void on_data(void *context, const uint8_t *data, size_t len) {
  cns_link_take_bytes(context, data, len);
}

/* A flood of pings from a peer that reads nothing: as with our own frames. */
static void on_reply(void *context, const void *data, size_t len) {
  struct cns_link *link = context;
  size_t most = link->state == CNS_LINK_OPEN ? CNS_LINK_QUEUE_HARD_BYTES : CNS_FRAME_CONTROL_MAX;
  if (link->queue.len > most)
    cns_link_end(link, CNS_ERR_LIMIT, false, "the other side reads too slowly: %zu bytes wait for it",
                 link->queue.len);
  else
    put_raw(link, data, len);
}

static void on_opened(void *context) {
  struct cns_link *link = context;
  if (link->state == CNS_LINK_HANDSHAKE) cns_link_greet(link);
}

void cns_link_ws_take(struct cns_link *link, uint8_t *data, size_t len) {
  const struct cns_websocket_output output = {
      .context = link, .data = on_data, .reply = on_reply, .opened = on_opened};
  struct cns_problem problem = {0};
  if (link->draining) return;
  int r = cns_websocket_take(link->websocket, data, len, &output, &problem);
  /* A BYE may have ended the link, and more have come behind it. */
  if (r == 0 || link->state == CNS_LINK_DEAD) return;
  link->draining = true;
  cns_link_end(link, r, true, "%s", problem.text[0] ? problem.text : "the WebSocket failed");
  cns_link_linger(link);
}
