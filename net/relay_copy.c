/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "net/relay_internal.h"

/* When one side has hung up, the other gets so long to take note. */
#define HALF_CLOSED_MS 10000

static void read_more(struct cns_relay_way *way);

static void on_late(uv_timer_t *timer) {
  cns_relay_close(timer->data);
}

static void on_shutdown(uv_shutdown_t *shutdown, int status) {
  struct cns_relay_way *way = shutdown->data;
  struct cns_relay *relay = way->relay;
  if (relay->state == CNS_RELAY_DEAD) return;
  way->ended = true;
  if (status != 0 || (relay->up.ended && relay->down.ended))
    cns_relay_close(relay);
  else
    uv_timer_start(&relay->timer, on_late, HALF_CLOSED_MS, 0);
}

static void on_written(uv_write_t *write, int status) {
  struct cns_relay_way *way = write->data;
  way->len = 0;
  if (way->relay->state == CNS_RELAY_DEAD) return;
  if (status != 0)
    cns_relay_close(way->relay);
  else
    read_more(way);
}

/* Reading stands still until it is out: this is all that keeps memory bounded. */
static void write_rest(struct cns_relay_way *way, size_t from) {
  uv_buf_t rest = uv_buf_init(way->buffer + from, (unsigned)(way->len - from));
  uv_read_stop((uv_stream_t *)way->from);
  way->write.data = way;
  if (uv_write(&way->write, (uv_stream_t *)way->to, &rest, 1, on_written) != 0) cns_relay_close(way->relay);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buffer) {
  struct cns_relay *relay = handle->data;
  struct cns_relay_way *way = handle == (uv_handle_t *)&relay->near ? &relay->up : &relay->down;
  (void)suggested;
  *ret_buffer = uv_buf_init(way->buffer, sizeof way->buffer);
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer) {
  struct cns_relay *relay = stream->data;
  struct cns_relay_way *way = stream == (uv_stream_t *)&relay->near ? &relay->up : &relay->down;
  (void)buffer;
  if (count == 0) return;
  if (count == UV_EOF) {
    uv_read_stop(stream);
    way->shutdown.data = way;
    if (uv_shutdown(&way->shutdown, (uv_stream_t *)way->to, on_shutdown) != 0) cns_relay_close(relay);
    return;
  }
  if (count < 0) {
    cns_relay_close(relay);
    return;
  }
  way->len = (size_t)count;
  uv_buf_t all = uv_buf_init(way->buffer, (unsigned)count);
  int taken = uv_try_write((uv_stream_t *)way->to, &all, 1);
  if (taken < 0 && taken != UV_EAGAIN)
    cns_relay_close(relay);
  else if (taken < count)
    write_rest(way, taken > 0 ? (size_t)taken : 0);
}

static void read_more(struct cns_relay_way *way) {
  if (uv_read_start((uv_stream_t *)way->from, on_alloc, on_read) != 0) cns_relay_close(way->relay);
}

void cns_relay_copy(struct cns_relay *relay) {
  relay->up.from = relay->down.to = &relay->near;
  relay->up.to = relay->down.from = &relay->far;
  uv_tcp_nodelay(&relay->near, 1);
  uv_tcp_nodelay(&relay->far, 1);
  read_more(&relay->up);
  if (relay->state == CNS_RELAY_DEAD) return;
  if (relay->down.len > 0)
    write_rest(&relay->down, 0);
  else
    read_more(&relay->down);
}
