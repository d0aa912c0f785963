/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/link_internal.h"
#include "net/tls_engine.h"

void cns_link_remote_name(nng_stream *stream, char ret_text[static CNS_LINK_REMOTE_MAX]) {
  nng_sockaddr address;
  char host[INET6_ADDRSTRLEN] = "";
  snprintf(ret_text, CNS_LINK_REMOTE_MAX, "unknown");
  if (nng_stream_get_addr(stream, NNG_OPT_REMADDR, &address) != 0) return;
  if (address.s_family == NNG_AF_IPC) snprintf(ret_text, CNS_LINK_REMOTE_MAX, "this machine");
  if (address.s_family == NNG_AF_INET) {
    struct in_addr v4 = {.s_addr = address.s_in.sa_addr};
    if (inet_ntop(AF_INET, &v4, host, sizeof host))
      snprintf(ret_text, CNS_LINK_REMOTE_MAX, "%s:%u", host, ntohs(address.s_in.sa_port));
  } else if (address.s_family == NNG_AF_INET6) {
    if (inet_ntop(AF_INET6, address.s_in6.sa_addr, host, sizeof host))
      snprintf(ret_text, CNS_LINK_REMOTE_MAX, "[%s]:%u", host, ntohs(address.s_in6.sa_port));
  }
}

void cns_link_io_receive(struct cns_link *link) {
  if (link->state == CNS_LINK_DEAD || link->receive.in_flight) return;
  nng_iov iov = {link->read_buffer, sizeof link->read_buffer};
  nng_aio *aio = cns_loop_op_start(&link->receive);
  int rv = nng_aio_set_iov(aio, 1, &iov);
  assert(rv == 0);
  (void)rv;
  nng_stream_recv(link->stream, aio);
}

void cns_link_io_send(struct cns_link *link) {
  if (link->state == CNS_LINK_DEAD || link->send.in_flight || link->queue.len == 0) return;
  nng_iov iov = {link->write_buffer, 0};
  iov.iov_len = cns_byte_queue_peek(&link->queue, link->write_buffer, sizeof link->write_buffer);
  nng_aio *aio = cns_loop_op_start(&link->send);
  int rv = nng_aio_set_iov(aio, 1, &iov);
  assert(rv == 0);
  (void)rv;
  nng_stream_send(link->stream, aio);
}

/* TLS broke. If it was us who said so, let the alert arrive: the engine's
 * receive now throws away what comes until the peer hangs up. */
static void tls_failed(struct cns_link *link, const struct cns_tls_info *info, int rv) {
  cns_link_end(link, CNS_ERR_REFUSED, false, "%s", info->failure);
  cns_byte_queue_deinit(&link->queue);
  if (!info->alert_sent || rv != NNG_EPEERAUTH) {
    cns_link_kill(link);
    return;
  }
  if (!link->tls_draining) cns_link_linger(link);
  link->tls_draining = true;
  cns_link_io_receive(link);
}

static void io_failed(struct cns_link *link, int rv) {
  struct cns_tls_info info = {0};
  bool known = link->tls && cns_tls_stream_info(link->stream, &info) == 0;
  if (known && info.failed) {
    tls_failed(link, &info, rv);
  } else {
    if (rv == NNG_ECONNSHUT || rv == NNG_ECONNRESET || rv == NNG_ECLOSED)
      cns_link_end(link, CNS_ERR_CLOSED, false, "%s",
                   link->state == CNS_LINK_OPEN
                       ? "the connection was closed by the other side or the network"
                       : "the connection was closed before the handshake was through");
    else
      cns_link_end(link, CNS_ERR_IO, false, "the connection broke: %s", nng_strerror(rv));
    cns_link_kill(link);
  }
  cns_wipe(&info, sizeof info);
}

static void on_received(struct cns_loop_op *op) {
  struct cns_link *link = op->context;
  if (link->state != CNS_LINK_DEAD) {
    int rv = nng_aio_result(op->aio);
    if (rv != 0) {
      io_failed(link, rv);
    } else {
      size_t len = nng_aio_count(op->aio);
      if (link->websocket)
        cns_link_ws_take(link, link->read_buffer, len);
      else
        cns_link_take_bytes(link, link->read_buffer, len);
      cns_link_io_receive(link);
    }
  }
  cns_link_io_maybe_free(link);
}

static void on_sent(struct cns_loop_op *op) {
  struct cns_link *link = op->context;
  if (link->state != CNS_LINK_DEAD) {
    int rv = nng_aio_result(op->aio);
    if (rv != 0) {
      io_failed(link, rv);
    } else {
      size_t len = nng_aio_count(op->aio);
      /* A failure of TLS may have emptied the queue meanwhile. */
      if (len > link->queue.len) len = link->queue.len;
      cns_byte_queue_drop(&link->queue, len);
      link->counters.bytes_out += len;
      cns_link_sent(link);
      cns_link_io_send(link);
    }
  }
  cns_link_io_maybe_free(link);
}

/*
 * nng 1.5.2 loses the end of a TLS stream when no receive happens to be pending
 * at that moment: the next one waits for ever. The socket is shut down by then
 * and knows no remote address any more, so ask for it now and then.
 */
static bool stream_gone(struct cns_link *link) {
  nng_sockaddr address;
  return link->tls && nng_stream_get_addr(link->stream, NNG_OPT_REMADDR, &address) != 0;
}

static void on_tick(uv_timer_t *timer) {
  struct cns_link *link = timer->data;
  if (link->state == CNS_LINK_DEAD) return;
  if (link->quiet_ms > 0 && stream_gone(link))
    io_failed(link, NNG_ECONNSHUT);
  else
    cns_link_tick(link);
  cns_link_io_maybe_free(link);
}

static void on_timer_closed(uv_handle_t *handle) {
  struct cns_link *link = handle->data;
  link->timer_closed = true;
  cns_link_io_maybe_free(link);
}

void cns_link_kill(struct cns_link *link) {
  if (link->state == CNS_LINK_DEAD) return;
  cns_link_end(link, CNS_ERR_CLOSED, false, "closed");
  link->state = CNS_LINK_DEAD;
  if (link->counted) --*cns_loop_lingering(link->loop);
  for (struct cns_link **at = cns_loop_parting(link->loop); *at; at = &(*at)->next_parting)
    if (*at == link) {
      *at = link->next_parting;
      break;
    }
  /* Completes whatever is pending; nothing may be started on it afterwards. */
  nng_stream_close(link->stream);
  uv_close((uv_handle_t *)&link->timer, on_timer_closed);
}

int cns_link_io_init(struct cns_link *link) {
  int result = cns_loop_op_init(&link->receive, link->loop, on_received, link);
  if (result != 0) return result;
  result = cns_loop_op_init(&link->send, link->loop, on_sent, link);
  if (result == 0 && uv_timer_init(cns_loop_uv(link->loop), &link->timer) != 0) {
    cns_loop_op_deinit(&link->send);
    result = CNS_ERR_LIBRARY;
  }
  if (result != 0) {
    cns_loop_op_deinit(&link->receive);
    return result;
  }
  link->timer.data = link;
  int rv = uv_timer_start(&link->timer, on_tick, link->tick_ms, link->tick_ms);
  assert(rv == 0); /* fails only for a closing handle or no callback */
  (void)rv;
  return 0;
}

void cns_link_io_maybe_free(struct cns_link *link) {
  if (link->state != CNS_LINK_DEAD || link->receive.in_flight || link->send.in_flight ||
      !link->timer_closed || !link->end_ran)
    return;
  struct cns_loop *loop = link->loop;
  cns_loop_op_deinit(&link->receive);
  cns_loop_op_deinit(&link->send);
  nng_stream_free(link->stream);
  cns_byte_queue_deinit(&link->queue);
  cns_framer_deinit(&link->framer);
  cns_handshake_deinit(&link->handshake);
  free(link->websocket);
  cns_peers_free(link->peers);
  free(link);
  cns_loop_release(loop);
}
