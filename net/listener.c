/* SPDX-License-Identifier: Apache-2.0 */
#include <nng/nng.h>
#include <nng/supplemental/tls/tls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/link_internal.h"
#include "net/tls_engine.h"
#include "net/url.h"

#define UNAUTHENTICATED_DEFAULT 64
/* Pause after an accept that failed for want of descriptors or memory. */
#define ACCEPT_PAUSE_MS 200

/* Of a unix socket: its owner and its group, and whoever the folder lets that far. */
#define IPC_MODE 0660

struct cns_listener {
  struct cns_link_owner owner; /* first: found again from a link's owner */
  struct cns_loop *loop;
  struct cns_link_config config;
  nng_stream_listener *nng;
  struct nng_tls_config *tls;
  struct cns_tls_pin own_pin;
  struct cns_loop_op accept;
  uv_timer_t pause;
  bool freed, pause_closed;
  struct cns_link *links; /* newest first */
  struct cns_url where;
  char url[CNS_URL_MAX];
};

static void accept_next(struct cns_listener *listener) {
  nng_stream_listener_accept(listener->nng, cns_loop_op_start(&listener->accept));
}

static void on_pause_over(uv_timer_t *timer) {
  struct cns_listener *listener = timer->data;
  if (!listener->freed) accept_next(listener);
}

static void maybe_free(struct cns_listener *listener) {
  if (!listener->freed || !listener->pause_closed || listener->accept.in_flight) return;
  struct cns_loop *loop = listener->loop;
  cns_loop_op_deinit(&listener->accept);
  nng_stream_listener_free(listener->nng);
  if (listener->tls) nng_tls_config_free(listener->tls);
  cns_peers_free(listener->config.peers);
  free(listener);
  cns_loop_release(loop);
}

static void refused(struct cns_listener *listener, const char *remote, const char *sentence) {
  if (listener->owner.callbacks.on_refused)
    listener->owner.callbacks.on_refused(listener->owner.callbacks.context, remote, sentence);
}

/* -- too many strangers: the oldest from the address that has most of them
 * goes, so that one address can't keep the others out -- */

static size_t host_len(const char *remote) {
  const char *colon = strrchr(remote, ':');
  return colon ? (size_t)(colon - remote) : strlen(remote);
}

static bool same_host(const struct cns_link *a, const struct cns_link *b) {
  size_t len = host_len(a->remote);
  return len == host_len(b->remote) && memcmp(a->remote, b->remote, len) == 0;
}

static void make_room(struct cns_listener *listener) {
  size_t strangers = 0, most = 0;
  struct cns_link *victim = NULL;
  for (struct cns_link *link = listener->links; link; link = link->next) {
    if (link->state != CNS_LINK_HANDSHAKE) continue;
    strangers++;
    size_t count = 0;
    for (struct cns_link *other = listener->links; other; other = other->next)
      count += other->state == CNS_LINK_HANDSHAKE && same_host(link, other);
    /* >=: later in the list is older. */
    if (count >= most) {
      most = count;
      victim = link;
    }
  }
  if (strangers < listener->config.unauthenticated_max || !victim) return;
  cns_link_end(victim, CNS_ERR_LIMIT, true, "too many connections that don't identify themselves");
  cns_link_kill(victim);
}

static void welcome(struct cns_listener *listener, nng_stream *stream) {
  char remote[CNS_LINK_REMOTE_MAX];
  cns_link_remote_name(stream, remote);
  make_room(listener);
  const struct cns_link_start start = {.loop = listener->loop,
                                       .owner = &listener->owner,
                                       .config = &listener->config,
                                       .own_pin = listener->tls ? &listener->own_pin : NULL,
                                       .initiator = false,
                                       .remote = remote,
                                       .url = &listener->where};
  struct cns_link *link = NULL;
  int result = cns_link_new(&start, stream, &link);
  if (result != 0) {
    refused(listener, remote,
            result == CNS_ERR_RANDOM ? "the random source failed" : "no memory for the link");
    return;
  }
  link->next = listener->links;
  listener->links = link;
}

static void on_accepted(struct cns_loop_op *op) {
  struct cns_listener *listener = op->context;
  int rv = nng_aio_result(op->aio);
  nng_stream *stream = rv == 0 ? nng_aio_get_output(op->aio, 0) : NULL;
  if (listener->freed) {
    if (stream) {
      nng_stream_close(stream);
      nng_stream_free(stream);
    }
    maybe_free(listener);
  } else if (rv != 0) {
    char sentence[128];
    snprintf(sentence, sizeof sentence, "a connection could not be accepted: %s", nng_strerror(rv));
    uv_timer_start(&listener->pause, on_pause_over, ACCEPT_PAUSE_MS, 0);
    refused(listener, "unknown", sentence);
  } else {
    accept_next(listener);
    welcome(listener, stream);
  }
}

/* -- what links tell -- */

static void unlink_from(struct cns_listener *listener, const struct cns_link *link) {
  for (struct cns_link **at = &listener->links; *at; at = &(*at)->next)
    if (*at == link) {
      *at = link->next;
      return;
    }
}

static void on_ended(struct cns_link_owner *owner, struct cns_link *link, bool was_open, int error,
                     const char *sentence) {
  struct cns_listener *listener = (struct cns_listener *)owner;
  unlink_from(listener, link);
  if (!was_open)
    refused(listener, link->remote, sentence);
  else if (owner->callbacks.on_closed)
    owner->callbacks.on_closed(owner->callbacks.context, link, error, sentence);
}

static bool is_peer(const struct cns_link *link, enum cns_peer_role role, uint16_t index) {
  return link->state == CNS_LINK_OPEN && link->handshake.peer.role == role &&
         link->handshake.peer.index == index;
}

static void on_opened(struct cns_link_owner *owner, struct cns_link *link) {
  struct cns_listener *listener = (struct cns_listener *)owner;
  const struct cns_peer *peer = &link->handshake.peer;
  struct cns_link *old = listener->links;
  while (old && (old == link || !is_peer(old, peer->role, peer->index)))
    old = old->next;
  if (old) {
    cns_link_end(old, CNS_ERR_CLOSED, true, "replaced by a newer connection of the same party from %s",
                 link->remote);
    cns_link_tell_end(old);
  }
  /* on_closed of the old link may have closed this one or freed the listener. */
  if (link->state == CNS_LINK_OPEN && link->owner && owner->callbacks.on_open)
    owner->callbacks.on_open(owner->callbacks.context, link, peer);
}

/* -- life -- */

/* nng has one word for an address that isn't this machine's and a name that nobody knows. */
static const char *listen_failure(int rv) {
  if (rv == NNG_EADDRINUSE) return "something listens there already; stop it, or take another port";
  if (rv == NNG_EADDRINVAL)
    return "this machine doesn't have that address, or the name can't be looked up; 0.0.0.0 stands for all "
           "of its addresses";
  if (rv == NNG_EPERM) return "not permitted; ports below 1024 need a right of their own, take a higher one";
  return nng_strerror(rv);
}

static int open_stream(struct cns_listener *listener, const char *text, struct cns_problem *problem) {
  struct cns_url url;
  int result = cns_url_parse(text, true, &url, problem);
  if (result != 0) return result;
  if (url.tls) {
    const struct cns_tls_params params = {.server = true,
                                          .certificate_path = listener->config.certificate_path,
                                          .key_path = listener->config.key_path,
                                          .check = cns_peers_check_pin,
                                          .check_context = listener->config.peers};
    result = cns_tls_config_new(&params, &listener->tls, &listener->own_pin, problem);
    if (result != 0) return result;
  }
  cns_url_format(&url, false, listener->url);
  int rv = nng_stream_listener_alloc(&listener->nng, listener->url);
  if (rv == 0 && listener->tls)
    rv = nng_stream_listener_set_ptr(listener->nng, NNG_OPT_TLS_CONFIG, listener->tls);
  if (rv == 0)
    rv = url.local ? nng_stream_listener_set_int(listener->nng, NNG_OPT_IPC_PERMISSIONS, IPC_MODE)
                   : nng_stream_listener_set_bool(listener->nng, NNG_OPT_TCP_NODELAY, true);
  if (rv == 0) rv = nng_stream_listener_listen(listener->nng);
  int port = 0;
  if (rv == 0 && !url.local) rv = nng_stream_listener_get_int(listener->nng, NNG_OPT_TCP_BOUND_PORT, &port);
  if (rv != 0)
    return cns_problem_set(problem, CNS_ERR_IO, "can't listen on %s: %s", text, listen_failure(rv));
  url.port = (uint16_t)port;
  listener->where = url;
  cns_url_print(&url, listener->url);
  return 0;
}

static void discard(struct cns_listener *listener) {
  if (listener->nng) nng_stream_listener_free(listener->nng);
  if (listener->tls) nng_tls_config_free(listener->tls);
  cns_peers_free(listener->config.peers);
  free(listener);
}

int cns_listener_new(struct cns_loop *loop, const char *url, const struct cns_link_config *config,
                     const struct cns_link_callbacks *callbacks, struct cns_listener **ret_listener,
                     struct cns_problem *problem) {
  int result = cns_link_config_check(config, problem);
  if (result != 0) return result;
  struct cns_listener *listener = calloc(1, sizeof *listener);
  if (!listener) return cns_problem_set(problem, CNS_ERR_MEMORY, "no memory for a listener");
  listener->owner = (struct cns_link_owner){*callbacks, on_opened, on_ended};
  listener->loop = loop;
  listener->config = *config;
  listener->config.times = cns_link_times_complete(&config->times);
  if (!listener->config.unauthenticated_max) listener->config.unauthenticated_max = UNAUTHENTICATED_DEFAULT;
  cns_peers_retain(config->peers);
  result = open_stream(listener, url, problem);
  if (result == 0 && (result = cns_loop_op_init(&listener->accept, loop, on_accepted, listener)) != 0)
    cns_problem_set(problem, result, "no memory for a listener");
  if (result != 0) {
    discard(listener);
    return result;
  }
  listener->config.certificate_path = listener->config.key_path = NULL; /* read by now */
  uv_timer_init(cns_loop_uv(loop), &listener->pause);                   /* never fails */
  listener->pause.data = listener;
  cns_loop_retain(loop);
  accept_next(listener);
  *ret_listener = listener;
  return 0;
}

static void on_pause_closed(uv_handle_t *handle) {
  struct cns_listener *listener = handle->data;
  listener->pause_closed = true;
  maybe_free(listener);
}

struct cns_listener *cns_listener_free(struct cns_listener *listener) {
  if (!listener || listener->freed) return NULL;
  listener->freed = true;
  while (listener->links) {
    struct cns_link *link = listener->links;
    listener->links = link->next;
    link->owner = NULL;
    cns_link_end(link, CNS_ERR_CLOSED, true, CNS_LINK_FAREWELL);
  }
  nng_stream_listener_close(listener->nng);
  uv_close((uv_handle_t *)&listener->pause, on_pause_closed);
  return NULL;
}

const char *cns_listener_url(const struct cns_listener *listener) {
  return listener->url;
}

void cns_listener_recheck(struct cns_listener *listener) {
  for (struct cns_link *link = listener->links; link; link = link->next) {
    struct cns_problem problem = {0};
    if (link->state == CNS_LINK_OPEN && cns_peers_check(listener->config.peers, &link->handshake.peer,
                                                        link->tls, &problem) != CNS_PEER_TRUSTED)
      cns_link_end(link, CNS_ERR_REFUSED, true, "%s", problem.text);
  }
}

struct cns_link *cns_listener_find(const struct cns_listener *listener, enum cns_peer_role role,
                                   uint16_t index) {
  for (struct cns_link *link = listener->links; link; link = link->next)
    if (is_peer(link, role, index)) return link;
  return NULL;
}
