/* SPDX-License-Identifier: Apache-2.0 */
#include <nng/nng.h>
#include <nng/supplemental/tls/tls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/link_internal.h"
#include "net/relay.h"
#include "net/tls_engine.h"
#include "net/url.h"

struct cns_dialer {
  struct cns_link_owner owner; /* first: found again from a link's owner */
  struct cns_loop *loop;
  struct cns_link_config config;
  struct cns_url url;
  struct nng_tls_config *tls;
  struct cns_tls_pin own_pin;
  struct cns_proxy proxy;  /* host empty: none */
  struct cns_relay *relay; /* of the attempt under way */
  nng_stream_dialer *nng;  /* likewise */
  struct cns_loop_op dial;
  uv_timer_t retry;
  bool freed, retry_closed;
  uint64_t attempts; /* all */
  unsigned failures; /* in a row: starts_anew */
  uint64_t opened_ms;
  struct cns_link *link; /* in any state but told of its end */
};

static void attempt(struct cns_dialer *dialer);

static void maybe_free(struct cns_dialer *dialer) {
  if (!dialer->freed || !dialer->retry_closed || dialer->dial.in_flight) return;
  struct cns_loop *loop = dialer->loop;
  cns_loop_op_deinit(&dialer->dial);
  if (dialer->nng) nng_stream_dialer_free(dialer->nng);
  if (dialer->tls) nng_tls_config_free(dialer->tls);
  cns_peers_free(dialer->config.peers);
  cns_wipe(&dialer->proxy, sizeof dialer->proxy);
  free(dialer);
  cns_loop_release(loop);
}

static void on_retry(uv_timer_t *timer) {
  struct cns_dialer *dialer = timer->data;
  if (!dialer->freed) attempt(dialer);
}

/* Exponential with full jitter: uniform in [0, bound), the bound doubling from
 * twice the first pause to the cap, so that a thousand hospitals don't come
 * back in one moment. */
static uint64_t retry_pause(struct cns_dialer *dialer) {
  uint64_t bound = 2 * dialer->config.times.retry_first_ms;
  for (unsigned i = 0; i < dialer->failures && bound < dialer->config.times.retry_cap_ms; i++)
    bound *= 2;
  if (bound > dialer->config.times.retry_cap_ms) bound = dialer->config.times.retry_cap_ms;
  uint64_t pause = bound;
  if (cns_rng_uniform_u64(dialer->config.rng, bound, &pause) != 0) pause = bound;
  if (dialer->failures < 63) dialer->failures++;
  return pause;
}

static uint64_t schedule(struct cns_dialer *dialer) {
  uint64_t pause = retry_pause(dialer);
  uv_timer_start(&dialer->retry, on_retry, pause, 0);
  return pause;
}

static void attempt_failed(struct cns_dialer *dialer, const char *sentence) {
  uint64_t pause = schedule(dialer);
  if (dialer->owner.callbacks.on_attempt_failed)
    dialer->owner.callbacks.on_attempt_failed(dialer->owner.callbacks.context, sentence, pause);
}

static void dial_failed(struct cns_dialer *dialer, int rv) {
  char sentence[400];
  const char *why = nng_strerror(rv);
  if (rv == NNG_EADDRINVAL || rv == NNG_EAGAIN) why = "the name can't be looked up";
  if (rv == NNG_ECONNREFUSED) why = "nobody listens there";
  if (rv == NNG_ENOENT) why = "there is no such socket";
  if (dialer->url.local)
    snprintf(sentence, sizeof sentence, "can't reach the coordinator at ipc://%s: %s", dialer->url.path, why);
  else
    snprintf(sentence, sizeof sentence, "can't reach %s port %u: %s", dialer->url.host, dialer->url.port,
             why);
  attempt_failed(dialer, sentence);
}

static void begin_link(struct cns_dialer *dialer, nng_stream *stream) {
  char remote[CNS_LINK_REMOTE_MAX];
  cns_link_remote_name(stream, remote);
  if (dialer->proxy.host[0])
    snprintf(remote, sizeof remote, "the other end of the proxy %.30s:%u", dialer->proxy.host,
             dialer->proxy.port);
  const struct cns_link_start start = {.loop = dialer->loop,
                                       .owner = &dialer->owner,
                                       .config = &dialer->config,
                                       .own_pin = dialer->tls ? &dialer->own_pin : NULL,
                                       .initiator = true,
                                       .remote = remote,
                                       .url = &dialer->url};
  int result = cns_link_new(&start, stream, &dialer->link);
  if (result != 0)
    attempt_failed(dialer, result == CNS_ERR_RANDOM ? "the random source failed" : "no memory for the link");
}

/* It carries the link from here on, or is of no more use. */
static void let_relay_go(struct cns_dialer *dialer, bool connected) {
  if (dialer->relay && connected)
    cns_relay_detach(dialer->relay);
  else
    cns_relay_free(dialer->relay);
  dialer->relay = NULL;
}

static void on_dialled(struct cns_loop_op *op) {
  struct cns_dialer *dialer = op->context;
  int rv = nng_aio_result(op->aio);
  nng_stream *stream = rv == 0 ? nng_aio_get_output(op->aio, 0) : NULL;
  nng_stream_dialer_close(dialer->nng);
  nng_stream_dialer_free(dialer->nng);
  dialer->nng = NULL;
  let_relay_go(dialer, rv == 0);
  if (dialer->freed) {
    if (stream) {
      nng_stream_close(stream);
      nng_stream_free(stream);
    }
    maybe_free(dialer);
  } else if (rv != 0) {
    dial_failed(dialer, rv);
  } else {
    begin_link(dialer, stream);
  }
}

static int start_dial(struct cns_dialer *dialer, const char *text) {
  int rv = nng_stream_dialer_alloc(&dialer->nng, text);
  if (rv != 0) return rv;
  if (dialer->tls) rv = nng_stream_dialer_set_ptr(dialer->nng, NNG_OPT_TLS_CONFIG, dialer->tls);
  if (rv == 0 && !dialer->url.local) rv = nng_stream_dialer_set_bool(dialer->nng, NNG_OPT_TCP_NODELAY, true);
  if (rv != 0) {
    nng_stream_dialer_free(dialer->nng);
    dialer->nng = NULL;
    return rv;
  }
  nng_stream_dialer_dial(dialer->nng, cns_loop_op_start(&dialer->dial));
  return 0;
}

/* nng takes the first address of a name and no other; every second attempt
 * asks for IPv4 only, for names whose first address leads nowhere. */
static void dial_straight(struct cns_dialer *dialer) {
  char text[CNS_URL_MAX];
  cns_url_format(&dialer->url, dialer->attempts++ % 2 == 1, text);
  int rv = start_dial(dialer, text);
  if (rv != 0) dial_failed(dialer, rv);
}

static void on_tunnel(void *context, uint16_t port) {
  struct cns_dialer *dialer = context;
  struct cns_url near = dialer->url;
  char text[CNS_URL_MAX];
  near.literal = true;
  near.ipv6 = false;
  near.port = port;
  snprintf(near.host, sizeof near.host, "127.0.0.1");
  cns_url_format(&near, true, text);
  int rv = start_dial(dialer, text);
  if (rv == 0) return;
  let_relay_go(dialer, false);
  dial_failed(dialer, rv);
}

static void on_no_tunnel(void *context, int error, const char *sentence) {
  struct cns_dialer *dialer = context;
  (void)error;
  dialer->relay = NULL;
  attempt_failed(dialer, sentence);
}

static void attempt(struct cns_dialer *dialer) {
  if (!dialer->proxy.host[0]) {
    dial_straight(dialer);
    return;
  }
  const struct cns_relay_request request = {.proxy = &dialer->proxy,
                                            .host = dialer->url.host,
                                            .port = dialer->url.port,
                                            .timeout_ms = dialer->config.times.connect_ms,
                                            .context = dialer,
                                            .on_ready = on_tunnel,
                                            .on_failed = on_no_tunnel};
  if (cns_relay_new(dialer->loop, &request, &dialer->relay) != 0)
    attempt_failed(dialer, "no memory for the way through the proxy");
}

/* -- what links tell -- */

static void on_opened(struct cns_link_owner *owner, struct cns_link *link) {
  struct cns_dialer *dialer = (struct cns_dialer *)owner;
  dialer->opened_ms = cns_loop_now_ms(dialer->loop);
  if (owner->callbacks.on_open)
    owner->callbacks.on_open(owner->callbacks.context, link, &link->handshake.peer);
}

/* A line that broke and a coordinator that restarts must not cost a hospital
 * its round. Whom the other side sends away time and again, be it for a consent
 * that doesn't fit or because two processes have one key and replace each other,
 * slows down like after any failure; those two until each leaves the other a
 * session as long as the longest pause, which therefore proves nothing. */
static bool starts_anew(const struct cns_dialer *dialer, const struct cns_link *link, int error) {
  const struct cns_link_times *times = &dialer->config.times;
  uint64_t lasted = cns_loop_now_ms(dialer->loop) - dialer->opened_ms, enough = times->good_session_ms;
  bool sent_away =
      link->peer_said_bye && strcmp(link->end_sentence, CNS_LINK_PEER_SAYS CNS_LINK_FAREWELL) != 0;
  bool broke = error == CNS_ERR_CLOSED || error == CNS_ERR_IO || error == CNS_ERR_TIMEOUT;
  if (!sent_away && broke) return true;
  if (sent_away && enough < 2 * times->retry_cap_ms) enough = 2 * times->retry_cap_ms;
  return lasted >= enough;
}

/* Through a proxy the reason may be there as well as at the other end. */
static void not_opened(struct cns_dialer *dialer, const char *sentence) {
  char longer[700], proxy[CNS_PROXY_HOST_MAX + 16];
  if (!dialer->proxy.host[0]) {
    attempt_failed(dialer, sentence);
    return;
  }
  cns_proxy_authority(dialer->proxy.host, dialer->proxy.port, proxy, sizeof proxy);
  snprintf(longer, sizeof longer, "through the proxy %s: %s", proxy, sentence);
  attempt_failed(dialer, longer);
}

static void on_ended(struct cns_link_owner *owner, struct cns_link *link, bool was_open, int error,
                     const char *sentence) {
  struct cns_dialer *dialer = (struct cns_dialer *)owner;
  dialer->link = NULL;
  if (!was_open) {
    not_opened(dialer, sentence);
    return;
  }
  if (starts_anew(dialer, link, error)) dialer->failures = 0;
  schedule(dialer);
  if (owner->callbacks.on_closed) owner->callbacks.on_closed(owner->callbacks.context, link, error, sentence);
}

/* -- life -- */

static int prepare(struct cns_dialer *dialer, const char *url, struct cns_problem *problem) {
  int result = cns_url_parse(url, false, &dialer->url, problem);
  if (result == 0 && dialer->proxy.host[0] && !dialer->url.tls)
    result = cns_problem_set(problem, CNS_ERR_ARGUMENT,
                             "the address '%.200s' stays on this machine and needs no proxy", url);
  if (result == 0 && dialer->url.tls) {
    const struct cns_tls_params params = {.server = false,
                                          .server_name = dialer->url.literal ? NULL : dialer->url.host,
                                          .certificate_path = dialer->config.certificate_path,
                                          .key_path = dialer->config.key_path,
                                          .check = cns_peers_check_pin,
                                          .check_context = dialer->config.peers};
    result = cns_tls_config_new(&params, &dialer->tls, &dialer->own_pin, problem);
  }
  if (result == 0 && (result = cns_loop_op_init(&dialer->dial, dialer->loop, on_dialled, dialer)) != 0)
    cns_problem_set(problem, result, "no memory for a dialer");
  dialer->config.certificate_path = dialer->config.key_path = NULL; /* read by now */
  return result;
}

int cns_dialer_new(struct cns_loop *loop, const char *url, const struct cns_link_config *config,
                   const struct cns_link_callbacks *callbacks, struct cns_dialer **ret_dialer,
                   struct cns_problem *problem) {
  int result = cns_link_config_check(config, problem);
  if (result != 0) return result;
  struct cns_dialer *dialer = calloc(1, sizeof *dialer);
  if (!dialer) return cns_problem_set(problem, CNS_ERR_MEMORY, "no memory for a dialer");
  dialer->owner = (struct cns_link_owner){*callbacks, on_opened, on_ended};
  dialer->loop = loop;
  dialer->config = *config;
  dialer->config.times = cns_link_times_complete(&config->times);
  if (config->proxy) dialer->proxy = *config->proxy;
  dialer->config.proxy = NULL;
  cns_peers_retain(config->peers);
  result = prepare(dialer, url, problem);
  if (result != 0) {
    if (dialer->tls) nng_tls_config_free(dialer->tls);
    cns_peers_free(dialer->config.peers);
    cns_wipe(&dialer->proxy, sizeof dialer->proxy);
    free(dialer);
    return result;
  }
  nng_aio_set_timeout(dialer->dial.aio, (nng_duration)dialer->config.times.connect_ms);
  uv_timer_init(cns_loop_uv(loop), &dialer->retry); /* never fails */
  dialer->retry.data = dialer;
  cns_loop_retain(loop);
  /* From the loop, so that no callback comes from inside this call. */
  uv_timer_start(&dialer->retry, on_retry, 0, 0);
  *ret_dialer = dialer;
  return 0;
}

static void on_retry_closed(uv_handle_t *handle) {
  struct cns_dialer *dialer = handle->data;
  dialer->retry_closed = true;
  maybe_free(dialer);
}

struct cns_dialer *cns_dialer_free(struct cns_dialer *dialer) {
  if (!dialer || dialer->freed) return NULL;
  dialer->freed = true;
  if (dialer->link) {
    dialer->link->owner = NULL;
    cns_link_end(dialer->link, CNS_ERR_CLOSED, true, CNS_LINK_FAREWELL);
    dialer->link = NULL;
  }
  if (dialer->nng)
    nng_stream_dialer_close(dialer->nng);
  else
    dialer->relay = cns_relay_free(dialer->relay);
  uv_close((uv_handle_t *)&dialer->retry, on_retry_closed);
  return NULL;
}

struct cns_link *cns_dialer_link(const struct cns_dialer *dialer) {
  return dialer->link && dialer->link->state == CNS_LINK_OPEN ? dialer->link : NULL;
}

unsigned cns_dialer_failures(const struct cns_dialer *dialer) {
  return dialer->failures;
}

void cns_dialer_recheck(struct cns_dialer *dialer) {
  struct cns_link *link = cns_dialer_link(dialer);
  struct cns_problem problem = {0};
  if (link &&
      cns_peers_check(dialer->config.peers, &link->handshake.peer, link->tls, &problem) != CNS_PEER_TRUSTED)
    cns_link_end(link, CNS_ERR_REFUSED, true, "%s", problem.text);
}
