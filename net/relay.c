/* SPDX-License-Identifier: Apache-2.0 */
#include "net/relay.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/relay_internal.h"

static void try_next(struct cns_relay *relay);

/* -- the end -- */

static void maybe_free(struct cns_relay *relay) {
  if (relay->state != CNS_RELAY_DEAD || relay->owned || relay->pending > 0) return;
  struct cns_loop *loop = relay->loop;
  uv_freeaddrinfo(relay->addresses);
  cns_wipe(relay, sizeof *relay);
  free(relay);
  cns_loop_release(loop);
}

static void on_closed(uv_handle_t *handle) {
  struct cns_relay *relay = handle->data;
  relay->pending--;
  maybe_free(relay);
}

static void close_tcp(uv_tcp_t *tcp, bool *open) {
  if (*open && !uv_is_closing((uv_handle_t *)tcp)) uv_close((uv_handle_t *)tcp, on_closed);
  *open = false;
}

void cns_relay_close(struct cns_relay *relay) {
  if (relay->state == CNS_RELAY_DEAD) return;
  relay->state = CNS_RELAY_DEAD;
  relay->request.context = NULL;
  relay->request.on_ready = NULL;
  relay->request.on_failed = NULL;
  uv_cancel((uv_req_t *)&relay->lookup); /* fails where there is nothing to cancel */
  close_tcp(&relay->far, &relay->far_open);
  close_tcp(&relay->listener, &relay->listener_open);
  close_tcp(&relay->near, &relay->near_open);
  uv_close((uv_handle_t *)&relay->timer, on_closed);
}

static void fail(struct cns_relay *relay, int error, const char *fmt, ...) CNS_PRINTF(3, 4);
static void fail(struct cns_relay *relay, int error, const char *fmt, ...) {
  char sentence[512];
  const struct cns_relay_request request = relay->request;
  va_list args;
  va_start(args, fmt);
  vsnprintf(sentence, sizeof sentence, fmt, args);
  va_end(args);
  relay->owned = false;
  cns_relay_close(relay);
  if (request.on_failed) request.on_failed(request.context, error, sentence);
}

static int open_tcp(struct cns_relay *relay, uv_tcp_t *tcp, bool *ret_open) {
  int rv = uv_tcp_init(cns_loop_uv(relay->loop), tcp);
  if (rv != 0) return rv;
  tcp->data = relay;
  relay->pending++;
  *ret_open = true;
  return 0;
}

/* -- the one connection that is let in -- */

static void on_late(uv_timer_t *timer) {
  struct cns_relay *relay = timer->data;
  if (relay->state == CNS_RELAY_ASKING)
    fail(relay, CNS_ERR_TIMEOUT, "the proxy %s has made no connection within %llu ms", relay->self,
         (unsigned long long)relay->request.timeout_ms);
  else
    cns_relay_close(relay);
}

static void on_stranger_closed(uv_handle_t *handle) {
  struct cns_relay *relay = handle->data;
  free(handle);
  relay->pending--;
  maybe_free(relay);
}

/* Takes a connection that isn't ours from the queue; the tunnel waits for ours. */
static void turn_away(struct cns_relay *relay, uv_tcp_t *stranger) {
  relay->pending++;
  stranger->data = relay;
  uv_close((uv_handle_t *)stranger, on_stranger_closed);
}

static void let_in(struct cns_relay *relay, uv_tcp_t *visitor) {
  uv_os_fd_t fd;
  int own = -1;
  /* The handle can't move: near gets a descriptor of its own. */
  if (uv_fileno((uv_handle_t *)visitor, &fd) == 0) own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  turn_away(relay, visitor);
  if (own < 0 || open_tcp(relay, &relay->near, &relay->near_open) != 0) {
    if (own >= 0) close(own);
    cns_relay_close(relay);
    return;
  }
  if (uv_tcp_open(&relay->near, own) != 0) {
    close(own);
    cns_relay_close(relay);
    return;
  }
  close_tcp(&relay->listener, &relay->listener_open);
  uv_timer_stop(&relay->timer);
  relay->state = CNS_RELAY_COPYING;
  cns_relay_copy(relay);
}

static void on_connection(uv_stream_t *listener, int status) {
  struct cns_relay *relay = listener->data;
  if (status != 0 || relay->state != CNS_RELAY_LISTENING) return;
  uv_tcp_t *visitor = calloc(1, sizeof *visitor);
  if (!visitor || uv_tcp_init(cns_loop_uv(relay->loop), visitor) != 0) {
    free(visitor);
    cns_relay_close(relay);
    return;
  }
  if (uv_accept(listener, (uv_stream_t *)visitor) == 0 && cns_relay_is_ours(visitor))
    let_in(relay, visitor);
  else
    turn_away(relay, visitor);
}

static int listen_locally(struct cns_relay *relay, uint16_t *ret_port) {
  struct sockaddr_in address;
  struct sockaddr_storage bound;
  int len = sizeof bound;
  int rv = uv_ip4_addr("127.0.0.1", 0, &address);
  if (rv == 0) rv = open_tcp(relay, &relay->listener, &relay->listener_open);
  if (rv == 0) rv = uv_tcp_bind(&relay->listener, (const struct sockaddr *)&address, 0);
  if (rv == 0) rv = uv_listen((uv_stream_t *)&relay->listener, 8, on_connection);
  if (rv == 0) rv = uv_tcp_getsockname(&relay->listener, (struct sockaddr *)&bound, &len);
  if (rv != 0) return rv;
  memcpy(&address, &bound, sizeof address);
  *ret_port = ntohs(address.sin_port);
  return 0;
}

/* -- the tunnel -- */

static void tunnel_made(struct cns_relay *relay, size_t head_len) {
  uint16_t port = 0;
  struct cns_relay_way *down = &relay->down;
  uv_read_stop((uv_stream_t *)&relay->far);
  down->len -= head_len;
  memmove(down->buffer, down->buffer + head_len, down->len);
  int rv = listen_locally(relay, &port);
  if (rv != 0) {
    fail(relay, CNS_ERR_IO, "the way to the proxy can't be opened on 127.0.0.1: %s", uv_strerror(rv));
    return;
  }
  relay->state = CNS_RELAY_LISTENING;
  relay->request.proxy = NULL;
  uv_timer_start(&relay->timer, on_late, relay->request.timeout_ms, 0);
  if (relay->request.on_ready) relay->request.on_ready(relay->request.context, port);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buffer) {
  struct cns_relay *relay = handle->data;
  struct cns_relay_way *down = &relay->down;
  (void)suggested;
  *ret_buffer = uv_buf_init(down->buffer + down->len, (unsigned)(sizeof down->buffer - down->len));
}

static void on_answer(uv_stream_t *far, ssize_t count, const uv_buf_t *buffer) {
  struct cns_relay *relay = far->data;
  struct cns_problem problem = {0};
  size_t head_len = 0;
  (void)buffer;
  if (count == 0) return;
  if (count < 0) {
    fail(relay, CNS_ERR_CLOSED, "the proxy %s hung up without an answer: %s", relay->self,
         count == UV_EOF ? "it closed the connection" : uv_strerror((int)count));
    return;
  }
  relay->down.len += (size_t)count;
  int r = cns_proxy_answer(relay->request.proxy, relay->host, relay->request.port, relay->down.buffer,
                           relay->down.len, &head_len, &problem);
  if (r == 0)
    tunnel_made(relay, head_len);
  else if (r != CNS_CASE_MORE)
    fail(relay, r, "%s", problem.text);
}

static void on_asked(uv_write_t *write, int status) {
  struct cns_relay *relay = write->data;
  cns_wipe(relay->request_text, sizeof relay->request_text);
  if (status != 0 && relay->state != CNS_RELAY_DEAD)
    fail(relay, CNS_ERR_IO, "the proxy %s hung up: %s", relay->self, uv_strerror(status));
}

static void ask(struct cns_relay *relay) {
  size_t len = cns_proxy_request(relay->request.proxy, relay->host, relay->request.port, relay->request_text);
  uv_buf_t text = uv_buf_init(relay->request_text, (unsigned)len);
  relay->write.data = relay;
  uv_tcp_keepalive(&relay->far, 1, 60);
  int rv = uv_write(&relay->write, (uv_stream_t *)&relay->far, &text, 1, on_asked);
  if (rv == 0) rv = uv_read_start((uv_stream_t *)&relay->far, on_alloc, on_answer);
  if (rv != 0) fail(relay, CNS_ERR_IO, "the proxy %s can't be asked: %s", relay->self, uv_strerror(rv));
}

static void on_far_closed(uv_handle_t *handle) {
  struct cns_relay *relay = handle->data;
  relay->pending--;
  if (relay->state == CNS_RELAY_DEAD)
    maybe_free(relay);
  else
    try_next(relay);
}

static void on_connected(uv_connect_t *connect, int status) {
  struct cns_relay *relay = connect->data;
  if (relay->state == CNS_RELAY_DEAD) return;
  if (status == 0) {
    ask(relay);
    return;
  }
  relay->far_error = status;
  relay->far_open = false;
  uv_close((uv_handle_t *)&relay->far, on_far_closed);
}

/* One address of the proxy's name after the other. */
static void try_next(struct cns_relay *relay) {
  const struct addrinfo *address = relay->next_address;
  if (!address) {
    fail(relay, CNS_ERR_IO, "can't reach the proxy %s: %s", relay->self, uv_strerror(relay->far_error));
    return;
  }
  relay->next_address = address->ai_next;
  int rv = open_tcp(relay, &relay->far, &relay->far_open);
  relay->connect.data = relay;
  if (rv == 0) rv = uv_tcp_connect(&relay->connect, &relay->far, address->ai_addr, on_connected);
  if (rv != 0) fail(relay, CNS_ERR_IO, "can't reach the proxy %s: %s", relay->self, uv_strerror(rv));
}

static void on_looked_up(uv_getaddrinfo_t *lookup, int status, struct addrinfo *addresses) {
  struct cns_relay *relay = lookup->data;
  relay->pending--;
  relay->addresses = relay->next_address = addresses;
  if (relay->state == CNS_RELAY_DEAD)
    maybe_free(relay);
  else if (status != 0)
    fail(relay, CNS_ERR_NOT_FOUND, "the name of the proxy %s can't be looked up: %s", relay->self,
         uv_strerror(status));
  else
    try_next(relay);
}

/* -- life -- */

int cns_relay_new(struct cns_loop *loop, const struct cns_relay_request *request,
                  struct cns_relay **ret_relay) {
  struct cns_relay *relay = calloc(1, sizeof *relay);
  if (!relay) return CNS_ERR_MEMORY;
  char port[8];
  const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
  relay->loop = loop;
  relay->request = *request;
  relay->request.host = NULL;
  snprintf(relay->host, sizeof relay->host, "%s", request->host);
  snprintf(port, sizeof port, "%u", request->proxy->port);
  cns_proxy_authority(request->proxy->host, request->proxy->port, relay->self, sizeof relay->self);
  relay->up.relay = relay->down.relay = relay;
  relay->lookup.data = relay;
  int rv =
      uv_getaddrinfo(cns_loop_uv(loop), &relay->lookup, on_looked_up, request->proxy->host, port, &hints);
  if (rv != 0) {
    free(relay);
    return CNS_ERR_MEMORY;
  }
  uv_timer_init(cns_loop_uv(loop), &relay->timer); /* never fails */
  relay->timer.data = relay;
  uv_timer_start(&relay->timer, on_late, request->timeout_ms, 0);
  relay->pending = 2;
  relay->owned = true;
  cns_loop_retain(loop);
  *ret_relay = relay;
  return 0;
}

void cns_relay_detach(struct cns_relay *relay) {
  relay->request.context = NULL;
  relay->request.on_ready = NULL;
  relay->request.on_failed = NULL;
  relay->owned = false;
  maybe_free(relay);
}

struct cns_relay *cns_relay_free(struct cns_relay *relay) {
  if (!relay) return NULL;
  cns_relay_close(relay);
  relay->owned = false;
  maybe_free(relay);
  return NULL;
}
