/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/cursor.h"
#include "net/link_internal.h"
#include "net/tls_engine.h"

#define LOW_WATER_BYTES (CNS_LINK_QUEUE_BYTES / 2)
/* Credit is announced in portions of this. */
#define GRANT_BYTES (CNS_LINK_WINDOW_BYTES / 4)
/* Longest sentence in a BYE. */
#define BYE_MAX 400
/* More credit than this nobody grants in earnest. */
#define CREDIT_MAX (1ull << 40)

/* -- sending -- */

static int put_frame(struct cns_link *link, uint8_t type, const struct cns_part *parts, size_t count,
                     size_t len) {
  uint8_t header[CNS_FRAME_HEADER_BYTES];
  uint8_t mask[4] = {0};
  int result = cns_byte_queue_reserve(&link->queue, CNS_WEBSOCKET_HEADER_MAX + sizeof header + len);
  if (result == 0 && link->websocket) result = cns_link_ws_put_header(link, sizeof header + len, mask);
  if (result != 0) return result;
  cns_frame_header_write(type, len, header);
  cns_byte_queue_put(&link->queue, header, sizeof header);
  for (size_t i = 0; i < count; i++)
    cns_byte_queue_put(&link->queue, parts[i].data, parts[i].len);
  if (link->websocket) cns_link_ws_mask_last(link, sizeof header + len, mask);
  link->counters.frames_out++;
  return 0;
}

/* One of net's own frames. Out of memory ends the link. */
static void put_own(struct cns_link *link, uint8_t type, const void *data, size_t len) {
  struct cns_part part = {data, len};
  if (link->queue.len > CNS_LINK_QUEUE_HARD_BYTES)
    cns_link_end(link, CNS_ERR_LIMIT, false, "the other side reads too slowly: %zu bytes wait for it",
                 link->queue.len);
  else if (put_frame(link, type, &part, 1, len) != 0)
    cns_link_end(link, CNS_ERR_MEMORY, false, "no memory to send a frame");
  else
    cns_link_io_send(link);
}

static int send_check(struct cns_link *link, uint8_t type, size_t len) {
  if (link->state != CNS_LINK_OPEN) return CNS_ERR_CLOSED;
  if (type < CNS_FRAME_APPLICATION || (cns_frame_is_bulk(type) && len == 0)) return CNS_ERR_ARGUMENT;
  if (len > cns_frame_limit(type)) return CNS_ERR_LIMIT;
  if (cns_frame_is_bulk(type)) {
    if (link->queue.len + len <= CNS_LINK_QUEUE_BYTES && len <= link->credit) return 0;
    link->want_writable = true;
    return CNS_CASE_FULL;
  }
  if (link->queue.len + len <= CNS_LINK_QUEUE_HARD_BYTES) return 0;
  cns_link_end(link, CNS_ERR_LIMIT, true, "the other side reads too slowly: %zu bytes wait for it",
               link->queue.len);
  return CNS_ERR_CLOSED;
}

int cns_link_send_parts(struct cns_link *link, uint8_t type, const struct cns_part *parts, size_t count) {
  size_t len = 0;
  for (size_t i = 0; i < count; i++) {
    if (parts[i].len > CNS_FRAME_CONTROL_MAX) return CNS_ERR_LIMIT;
    len += parts[i].len;
  }
  int result = send_check(link, type, len);
  if (result == 0) result = put_frame(link, type, parts, count, len);
  if (result != 0) return result;
  if (cns_frame_is_bulk(type)) link->credit -= len;
  cns_link_io_send(link);
  return 0;
}

int cns_link_send(struct cns_link *link, uint8_t type, const void *data, size_t len) {
  struct cns_part part = {data, len};
  return cns_link_send_parts(link, type, &part, 1);
}

void cns_link_consumed(struct cns_link *link, size_t bytes) {
  assert(bytes <= link->unconsumed);
  link->unconsumed -= bytes;
  link->ungranted += bytes;
  if (link->state != CNS_LINK_OPEN || link->ungranted < GRANT_BYTES) return;
  struct cns_writer writer;
  cns_writer_init(&writer, 8);
  cns_write_u64(&writer, link->ungranted);
  if (cns_writer_finish(&writer) == 0) {
    link->framer.bulk_credit += link->ungranted;
    link->ungranted = 0;
    put_own(link, CNS_FRAME_CREDIT, writer.data, writer.len);
  } else {
    cns_link_end(link, CNS_ERR_MEMORY, false, "no memory to send a frame");
  }
  cns_writer_deinit(&writer);
}

static void tell_writable(struct cns_link *link) {
  if (link->state != CNS_LINK_OPEN || !link->want_writable || link->queue.len > LOW_WATER_BYTES ||
      link->credit == 0)
    return;
  link->want_writable = false;
  if (link->owner && link->owner->callbacks.on_writable)
    link->owner->callbacks.on_writable(link->owner->callbacks.context, link);
}

/* Both have said goodbye and ours is out: nothing more to wait for. */
static void maybe_part(struct cns_link *link) {
  if (link->state == CNS_LINK_LINGER && link->peer_said_bye && link->queue.len == 0) cns_link_kill(link);
}

void cns_link_sent(struct cns_link *link) {
  link->unsaid_ms = 0;
  tell_writable(link);
  maybe_part(link);
}

/* -- the end -- */

void cns_link_tell_end(struct cns_link *link) {
  struct cns_link_owner *owner = link->owner;
  link->owner = NULL;
  if (owner) owner->ended(owner, link, link->was_open, link->end_error, link->end_sentence);
}

static void run_end(struct cns_loop_event *event) {
  struct cns_link *link = (struct cns_link *)((char *)event - offsetof(struct cns_link, end));
  cns_link_tell_end(link);
  link->end_ran = true;
  cns_link_io_maybe_free(link);
}

/* Before TLS is through nothing of ours can arrive. */
static bool can_talk(const struct cns_link *link) {
  struct cns_tls_info info;
  if (!link->tls) return true;
  if (link->websocket && !link->websocket->open) return false;
  bool can = cns_tls_stream_info(link->stream, &info) == 0 && info.established && !info.failed;
  cns_wipe(&info, sizeof info);
  return can;
}

void cns_link_end(struct cns_link *link, int error, bool bye, const char *fmt, ...) {
  if (link->state >= CNS_LINK_LINGER || link->end_posted) return;
  va_list args;
  va_start(args, fmt);
  vsnprintf(link->end_sentence, sizeof link->end_sentence, fmt, args);
  va_end(args);
  link->end_error = error;
  link->was_open = link->state == CNS_LINK_OPEN;
  link->end_posted = true;
  link->end.run = run_end;
  cns_loop_post(link->loop, &link->end);
  link->state = CNS_LINK_LINGER;
  link->linger_left_ms = 0;
  if (!bye || !can_talk(link)) return; /* the next tick closes, unless the caller does */
  struct cns_part part = {link->end_sentence, strnlen(link->end_sentence, BYE_MAX)};
  if (put_frame(link, CNS_FRAME_BYE, &part, 1, part.len) != 0) return;
  cns_link_io_send(link);
  cns_link_linger(link);
}

/* Both links of one listener, or of two with one identity, to the same party. */
static bool same_parties(const struct cns_link *a, const struct cns_link *b) {
  return a->handshake.config.identity == b->handshake.config.identity &&
         a->handshake.peer.role == b->handshake.peer.role &&
         a->handshake.peer.index == b->handshake.peer.index;
}

/* A party that was let in and keeps coming back leaves one link with its queue
 * behind, not hundreds. What we dialled goes one at a time by itself. */
static void part_last(struct cns_link *link) {
  if (link->parting) return;
  struct cns_link **parting = cns_loop_parting(link->loop), *old = *parting;
  while (old && !same_parties(old, link))
    old = old->next_parting;
  if (old) cns_link_kill(old);
  link->parting = true;
  link->next_parting = *parting;
  *parting = link;
}

void cns_link_linger(struct cns_link *link) {
  if (link->state == CNS_LINK_DEAD) return; /* it is off every list, and must stay so: it is freed soon */
  size_t *lingering = cns_loop_lingering(link->loop);
  link->linger_left_ms = link->times.linger_ms;
  if (link->was_open && !link->handshake.config.initiator) part_last(link);
  if (link->was_open || link->counted) return;
  if (*lingering >= CNS_LINK_LINGERING_MAX) {
    cns_link_kill(link);
    return;
  }
  link->counted = true;
  ++*lingering;
}

void cns_link_close(struct cns_link *link, const char *sentence) {
  cns_link_end(link, CNS_ERR_CLOSED, true, "%s", sentence);
}

/* -- receiving -- */

/* What TLS knows of the peer by now goes into the handshake. */
static bool bind_tls(struct cns_link *link) {
  if (link->handshake.bound) return true;
  struct cns_handshake_binding binding = {0};
  if (link->tls) {
    struct cns_tls_info info;
    if (cns_tls_stream_info(link->stream, &info) != 0 || !info.established || !info.has_pin) {
      cns_link_end(link, CNS_ERR_LIBRARY, true, "this TLS connection has no record of its peer");
      return false;
    }
    binding.has_pins = true;
    memcpy(binding.exporter, info.exporter, sizeof binding.exporter);
    binding.own_pin = link->own_pin;
    binding.peer_pin = info.pin;
    cns_wipe(&info, sizeof info);
  }
  cns_handshake_bind(&link->handshake, &binding);
  cns_wipe(&binding, sizeof binding);
  return true;
}

static void take_handshake(struct cns_link *link, const struct cns_frame *frame) {
  struct cns_handshake_frame reply;
  struct cns_problem problem = {0};
  if (!bind_tls(link)) return;
  int result =
      cns_handshake_receive(&link->handshake, frame->type, frame->data, frame->len, &reply, &problem);
  if (result < 0) {
    cns_link_end(link, result, true, "%s", problem.text);
    return;
  }
  if (reply.type != 0) put_own(link, reply.type, reply.data, reply.len);
  if (result != CNS_CASE_AUTHENTICATED || link->state != CNS_LINK_HANDSHAKE) return;
  link->framer.authenticated = true;
  link->framer.bulk_credit = CNS_LINK_WINDOW_BYTES;
  link->credit = CNS_LINK_WINDOW_BYTES;
  link->state = CNS_LINK_OPEN;
  link->age_ms = 0;
  if (link->owner) link->owner->opened(link->owner, link);
}

static void take_credit(struct cns_link *link, const struct cns_frame *frame) {
  struct cns_reader reader;
  cns_reader_init(&reader, frame->data, frame->len);
  uint64_t more = cns_read_u64(&reader);
  if (cns_reader_finish(&reader) != 0 || more == 0 || more > CREDIT_MAX || link->credit > CREDIT_MAX) {
    cns_link_end(link, CNS_ERR_FORMAT, true, "CREDIT frame with a nonsensical number");
    return;
  }
  link->credit += more;
  tell_writable(link);
}

static void take_bye(struct cns_link *link, const struct cns_frame *frame) {
  char sentence[BYE_MAX + 1];
  cns_handshake_clean_text(frame->data, frame->len, sentence, sizeof sentence);
  link->peer_said_bye = true;
  cns_link_end(link, link->state == CNS_LINK_OPEN ? CNS_ERR_CLOSED : CNS_ERR_REFUSED, false,
               CNS_LINK_PEER_SAYS "%s", sentence);
  cns_link_kill(link);
}

/* A PING is 8 bytes that come back. */
static void take_ping(struct cns_link *link, const struct cns_frame *frame) {
  if (frame->len != 8)
    cns_link_end(link, CNS_ERR_FORMAT, true, "PING of the wrong length");
  else if (frame->type == CNS_FRAME_PING)
    put_own(link, CNS_FRAME_PONG, frame->data, frame->len);
}

static void take_application(struct cns_link *link, const struct cns_frame *frame) {
  if (cns_frame_is_bulk(frame->type)) link->unconsumed += frame->len;
  if (link->owner && link->owner->callbacks.on_frame)
    link->owner->callbacks.on_frame(link->owner->callbacks.context, link, frame->type, frame->data,
                                    frame->len);
}

static void take_frame(struct cns_link *link, const struct cns_frame *frame) {
  if (link->state == CNS_LINK_LINGER) {
    link->peer_said_bye |= frame->type == CNS_FRAME_BYE;
    maybe_part(link);
    return;
  }
  link->counters.frames_in++;
  switch (frame->type) {
  case CNS_FRAME_HELLO:
  case CNS_FRAME_AUTH:
    take_handshake(link, frame);
    return;
  case CNS_FRAME_BYE:
    take_bye(link, frame);
    return;
  case CNS_FRAME_CREDIT:
    take_credit(link, frame);
    return;
  case CNS_FRAME_PING:
  case CNS_FRAME_PONG:
    take_ping(link, frame);
    return;
  default:
    take_application(link, frame);
  }
}

void cns_link_take_bytes(struct cns_link *link, const uint8_t *data, size_t len) {
  link->counters.bytes_in += len;
  link->quiet_ms = 0;
  link->ping_sent = false;
  while (len > 0 && link->state <= CNS_LINK_LINGER && !link->draining) {
    struct cns_frame frame;
    struct cns_problem problem = {0};
    size_t taken = 0;
    int result = cns_framer_feed(&link->framer, data, len, &taken, &frame, &problem);
    if (result < 0) {
      cns_link_end(link, result, true, "%s", problem.text);
      link->draining = true;
      return;
    }
    if (result == CNS_CASE_FRAME) take_frame(link, &frame);
    data += taken;
    len -= taken;
  }
}

/* -- time, counted in ticks that have run: a loop that was busy for long
 * doesn't mistake its own absence for the peer's -- */

static void tick_open(struct cns_link *link) {
  static const uint8_t token[8];
  if (link->quiet_ms > link->times.silence_ms) {
    cns_link_end(link, CNS_ERR_TIMEOUT, false, "nothing heard from the other side for %llu ms",
                 (unsigned long long)link->quiet_ms);
    cns_link_kill(link);
  } else if (link->quiet_ms >= link->times.ping_ms && !link->ping_sent) {
    link->ping_sent = true;
    put_own(link, CNS_FRAME_PING, token, sizeof token);
  } else if (link->quiet_ms < link->times.ping_ms && link->unsaid_ms >= link->times.ping_ms &&
             link->queue.len == 0) {
    /* We hear it, but it doesn't hear us: over a slow line its own PING may wait
     * behind a long upload for longer than the silence that it bears. */
    put_own(link, CNS_FRAME_PONG, token, sizeof token);
  }
}

void cns_link_tick(struct cns_link *link) {
  link->quiet_ms += link->tick_ms;
  link->unsaid_ms += link->tick_ms;
  link->age_ms += link->tick_ms;
  if (link->state == CNS_LINK_OPEN) {
    tick_open(link);
  } else if (link->state == CNS_LINK_HANDSHAKE) {
    if (link->age_ms > link->times.handshake_ms)
      cns_link_end(link, CNS_ERR_TIMEOUT, true, "the handshake was not through within %llu ms",
                   (unsigned long long)link->times.handshake_ms);
  } else if (link->linger_left_ms <= link->tick_ms) {
    cns_link_kill(link);
  } else {
    link->linger_left_ms -= link->tick_ms;
  }
}

/* -- life -- */

static enum cns_peer_verdict accept_peer(void *context, const struct cns_peer *claim, bool has_pin,
                                         struct cns_problem *problem) {
  return cns_peers_check(context, claim, has_pin, problem);
}

static uint64_t tick_length(const struct cns_link_times *times) {
  uint64_t shortest = times->ping_ms;
  if (times->handshake_ms < shortest) shortest = times->handshake_ms;
  if (times->silence_ms < shortest) shortest = times->silence_ms;
  if (times->linger_ms < shortest) shortest = times->linger_ms;
  uint64_t tick = shortest / 4;
  return tick < 5 ? 5 : tick > 500 ? 500 : tick;
}

void cns_link_greet(struct cns_link *link) {
  put_own(link, link->handshake.hello.type, link->handshake.hello.data, link->handshake.hello.len);
}

static int link_init(struct cns_link *link, const struct cns_link_start *start) {
  const struct cns_link_config *config = start->config;
  const struct cns_handshake_config handshake = {.initiator = start->initiator,
                                                 .identity = config->identity,
                                                 .role = config->role,
                                                 .index = config->index,
                                                 .software = config->software,
                                                 .version_min = config->version_min,
                                                 .version_max = config->version_max,
                                                 .accept = accept_peer,
                                                 .accept_context = config->peers};
  link->loop = start->loop;
  link->owner = start->owner;
  link->times = config->times;
  link->tls = start->own_pin != NULL;
  if (start->own_pin) link->own_pin = *start->own_pin;
  if (start->url->websocket) {
    if (!(link->websocket = calloc(1, sizeof *link->websocket))) return CNS_ERR_MEMORY;
    cns_websocket_init(link->websocket, start->initiator, start->url->path, config->rng);
  }
  link->tick_ms = tick_length(&link->times);
  snprintf(link->remote, sizeof link->remote, "%s", start->remote);
  cns_framer_init(&link->framer);
  int result = cns_handshake_init(&link->handshake, &handshake, config->rng);
  return result == 0 ? cns_link_io_init(link) : result;
}

int cns_link_new(const struct cns_link_start *start, nng_stream *stream, struct cns_link **ret_link) {
  struct cns_link *link = calloc(1, sizeof *link);
  int result = link ? link_init(link, start) : CNS_ERR_MEMORY;
  if (result != 0) {
    nng_stream_close(stream);
    nng_stream_free(stream);
    if (link) free(link->websocket);
    free(link);
    return result;
  }
  link->stream = stream;
  link->peers = cns_peers_retain(start->config->peers);
  cns_loop_retain(link->loop);
  *ret_link = link;
  if (!link->websocket)
    cns_link_greet(link);
  else if (cns_link_ws_begin(link, start) != 0)
    cns_link_end(link, CNS_ERR_RANDOM, false, "no memory or randomness for a WebSocket");
  cns_link_io_receive(link);
  return 0;
}
