/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way to the coordinator, step by step, so that the first one that fails says
 * whose matter it is: the name's, the firewall's, or what answers there. The last
 * step is the agent's own dialer; the link is closed without a JOIN, which a
 * coordinator takes for a hospital that came and went.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "cli/preflight.h"
#include "net/link.h"
#include "net/url.h"
#include "protocol/wire.h"

/* A name's first address may lead nowhere: the dialer takes the second attempt over IPv4. */
#define ATTEMPTS 2
#define TIME_WAIT_MS 2000
#define CLOCK_SECONDS 300

/* ---- name and TCP ---- */

static int connect_to(const struct addrinfo *address, int timeout_ms) {
  int error = 0;
  socklen_t len = sizeof error;
  int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  if (connect(fd, address->ai_addr, address->ai_addrlen) != 0) error = errno;
  if (error == EINPROGRESS) {
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    int r = poll(&ready, 1, timeout_ms);
    error = r == 0 ? ETIMEDOUT : r < 0 ? errno : 0;
    if (!error && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0) error = errno;
  }
  close(fd);
  return error;
}

static const char *mend_of(int error) {
  if (error == ECONNREFUSED)
    return "nobody listens there: compare address and port with the coordinator's operator, and ask whether "
           "it runs";
  if (error == ETIMEDOUT || error == EHOSTUNREACH || error == ENETUNREACH)
    return "have the firewall let this machine out to that address and port (TCP), or use a proxy; or the "
           "coordinator "
           "is down";
  return "ask the people of the network";
}

static struct addrinfo *look_up(struct cns_preflight *p, const struct cns_url *url) {
  const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
  struct addrinfo *found = NULL;
  char port[8];
  snprintf(port, sizeof port, "%u", url->port);
  int r = getaddrinfo(url->host, port, &hints, &found);
  if (r != 0) {
    cns_preflight_bad(p, "name",
                      "correct \"address\" in config.json, or have the name entered where names are kept",
                      "the name %s can't be looked up: %s", url->host, gai_strerror(r));
    return NULL;
  }
  if (!url->literal) cns_preflight_ok(p, "name", "%s has an address", url->host);
  return found;
}

/* Only once the dialer has failed: a connection that says nothing is a line in the coordinator's log.
 * What failed is said if it was this step. */
static bool reaches_tcp(struct cns_preflight *p, const struct cns_url *url, const struct addrinfo *found) {
  int error = 0;
  for (const struct addrinfo *one = found; one; one = one->ai_next)
    if ((error = connect_to(one, (int)p->options.patience_ms)) == 0) return true;
  cns_preflight_bad(p, "tcp", mend_of(error), "%s port %u can't be reached: %s", url->host, url->port,
                    strerror(error));
  return false;
}

/* ---- the link ---- */

struct probe {
  uv_loop_t uv;
  uv_timer_t timer;
  struct cns_loop *loop;
  struct cns_peers *peers;
  struct cns_dialer *dialer;
  unsigned failures;
  bool open, over, has_time;
  int64_t ahead; /* our clock, of the coordinator's */
  char sentence[512], software[80];
};

static void end(struct probe *probe) {
  if (probe->over) return;
  probe->over = true;
  probe->dialer = cns_dialer_free(probe->dialer); /* says goodbye on an open link */
  probe->loop = cns_loop_free(probe->loop);
  uv_close((uv_handle_t *)&probe->timer, NULL);
}

static void on_late(uv_timer_t *timer) {
  struct probe *probe = timer->data;
  if (!probe->sentence[0]) snprintf(probe->sentence, sizeof probe->sentence, "nothing came in time");
  end(probe);
}

static void on_open(void *context, struct cns_link *link, const struct cns_peer *peer) {
  struct probe *probe = context;
  (void)peer;
  probe->open = true;
  snprintf(probe->software, sizeof probe->software, "%s", cns_link_peer_software(link));
  /* It says what time it has; one that doesn't isn't waited for. */
  uv_timer_start(&probe->timer, on_late, TIME_WAIT_MS, 0);
}

static void on_frame(void *context, struct cns_link *link, uint8_t type, const uint8_t *data, size_t len) {
  struct probe *probe = context;
  if (cns_frame_is_bulk(type)) cns_link_consumed(link, len);
  if (type != CNS_WIRE_TIME) return;
  probe->has_time = cns_wire_read_time(data, len, (int64_t)time(NULL), &probe->ahead) == 0;
  end(probe);
}

static void on_closed(void *context, struct cns_link *link, int error, const char *sentence) {
  struct probe *probe = context;
  (void)link;
  (void)error;
  (void)sentence;
  end(probe);
}

static void on_attempt_failed(void *context, const char *sentence, uint64_t retry_ms) {
  struct probe *probe = context;
  (void)retry_ms;
  snprintf(probe->sentence, sizeof probe->sentence, "%s", sentence);
  if (++probe->failures >= ATTEMPTS) end(probe);
}

static int start(struct cns_preflight *p, struct probe *probe, const char *address,
                 struct cns_problem *problem) {
  const struct cns_kit *kit = &p->site.kit;
  const struct cns_peer coordinator = {.role = CNS_ROLE_COORDINATOR,
                                       .identity = kit->roster.coordinator.identity,
                                       .pin = kit->roster.coordinator_pin};
  const struct cns_link_callbacks callbacks = {.context = probe,
                                               .on_open = on_open,
                                               .on_frame = on_frame,
                                               .on_closed = on_closed,
                                               .on_attempt_failed = on_attempt_failed};
  const struct cns_link_config config = {.identity = kit->identity,
                                         .role = CNS_ROLE_HOSPITAL,
                                         .index = kit->config.index,
                                         .peers = probe->peers,
                                         .certificate_path = kit->tls_certificate_path,
                                         .key_path = kit->tls_key_path,
                                         .rng = cns_rng_system(),
                                         .times = {.handshake_ms = p->options.patience_ms,
                                                   .connect_ms = p->options.patience_ms,
                                                   .retry_first_ms = 50}};
  int r = cns_peers_set(probe->peers, &coordinator, 1);
  if (r) return cns_problem_set(problem, r, "the table of peers can't be made");
  return cns_dialer_new(probe->loop, address, &config, &callbacks, &probe->dialer, problem);
}

static int run(struct cns_preflight *p, struct probe *probe, const char *address,
               struct cns_problem *problem) {
  if (uv_loop_init(&probe->uv) != 0) return cns_problem_set(problem, CNS_ERR_LIBRARY, "no event loop");
  uv_timer_init(&probe->uv, &probe->timer);
  probe->timer.data = probe;
  int r = cns_loop_new(&probe->uv, &probe->loop, problem);
  if (!r) r = cns_peers_new(&probe->peers);
  if (!r) r = start(p, probe, address, problem);
  if (!r) uv_timer_start(&probe->timer, on_late, 2 * ATTEMPTS * p->options.patience_ms, 0);
  if (r) end(probe);
  while (uv_run(&probe->uv, UV_RUN_DEFAULT) != 0)
    continue;
  (void)uv_loop_close(&probe->uv);
  cns_peers_free(probe->peers);
  return r;
}

/* Clocks needn't agree; but a wrong one makes sound documents look out of date one day. */
static void check_time(struct cns_preflight *p, const struct probe *probe) {
  int64_t apart = probe->ahead < 0 ? -probe->ahead : probe->ahead;
  if (!probe->has_time) return;
  if (apart <= CLOCK_SECONDS)
    cns_preflight_ok(p, "clock", "it is within %d minutes of the coordinator's", CLOCK_SECONDS / 60);
  else
    cns_preflight_warn(
        p, "clock",
        "set the one that is wrong, and let it be kept by a time server (timedatectl set-ntp true)",
        "the clock of this machine is %" PRId64 " minutes %s the coordinator's", apart / 60,
        probe->ahead < 0 ? "behind" : "ahead of");
}

static void check_link(struct cns_preflight *p, const char *address, const struct cns_url *url,
                       const struct addrinfo *found) {
  struct probe probe = {0};
  struct cns_problem problem = {0};
  if (cns_preflight_take(p, "link", run(p, &probe, address, &problem), &problem,
                         "correct \"address\" in config.json"))
    return;
  if (!probe.open && !reaches_tcp(p, url, found)) {
    cns_preflight_skip(p, "link", "the coordinator isn't reached");
    return;
  }
  cns_preflight_ok(p, "tcp", "%s port %u is reached", url->host, url->port);
  if (probe.open)
    cns_preflight_ok(p, "link",
                     "the coordinator has proven that it is the roster's, and knows this hospital (%s)",
                     probe.software);
  check_time(p, &probe);
  if (!probe.open)
    cns_preflight_bad(
        p, "link",
        "what answers there isn't the coordinator, or isn't let through unchanged: a firewall that opens TLS "
        "must "
        "leave this address alone; compare address, port and roster with the coordinator's operator",
        "%s", probe.sentence);
}

static bool can_dial(struct cns_preflight *p, long agent) {
  if (p->options.offline) {
    cns_preflight_skip(p, "link", "it was asked for without the network");
    return false;
  }
  if (agent != 0) {
    cns_preflight_ok(
        p, "link",
        "an agent runs on this kit (process %ld); its log says whether it is connected: a second "
        "connection would throw it off",
        agent > 0 ? agent : 0L);
    return false;
  }
  return true;
}

void cns_preflight_reach(struct cns_preflight *p) {
  struct cns_problem problem = {0};
  struct cns_url url;
  const char *address = p->options.address ? p->options.address : p->site.kit.config.address;
  if (!can_dial(p, cns_preflight_daemon(p))) return;
  int r = cns_url_parse(address, false, &url, &problem);
  if (cns_preflight_take(p, "name", r, &problem, "correct \"address\" in config.json")) return;
  struct addrinfo *found = look_up(p, &url);
  if (!found) {
    cns_preflight_skip(p, "link", "the coordinator's name leads nowhere");
  } else if (p->has_roster && p->has_keys) {
    check_link(p, address, &url, found);
  } else {
    if (reaches_tcp(p, &url, found)) cns_preflight_ok(p, "tcp", "%s port %u is reached", url.host, url.port);
    cns_preflight_skip(p, "link", "it needs a sound roster and the kit's keys");
  }
  if (found) freeaddrinfo(found);
}

/* ---- a coordinator's address ---- */

static int bind_to(const struct addrinfo *address) {
  int error = 0, on = 1;
  int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd, address->ai_addr, address->ai_addrlen) != 0) error = errno;
  close(fd);
  return error;
}

static void check_bind(struct cns_preflight *p, const struct cns_url *url) {
  const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
  struct addrinfo *found = NULL;
  char port[8];
  snprintf(port, sizeof port, "%u", url->port);
  int r = getaddrinfo(url->wildcard ? NULL : url->host, port, &hints, &found);
  if (r != 0) {
    cns_preflight_bad(p, "listen", "correct \"listen\" in config.json", "%s can't be looked up: %s",
                      url->host, gai_strerror(r));
    return;
  }
  int error = bind_to(found);
  freeaddrinfo(found);
  if (error)
    cns_preflight_bad(
        p, "listen",
        error == EADDRINUSE ? "end the program that listens there (ss -ltnp says which), or take another "
                              "port, in the roster too"
        : error == EADDRNOTAVAIL
            ? "\"listen\" in config.json must be an address of this machine, or * for all of them"
            : "take a port above 1023, or allow it (AmbientCapabilities=CAP_NET_BIND_SERVICE)",
        "%s port %u can't be listened on: %s", url->wildcard ? "*" : url->host, url->port, strerror(error));
  else
    cns_preflight_ok(p, "listen", "%s port %u is free", url->wildcard ? "*" : url->host, url->port);
}

void cns_preflight_listen(struct cns_preflight *p) {
  struct cns_problem problem = {0};
  struct cns_url url;
  long daemon = cns_preflight_daemon(p);
  const char *address = p->options.address ? p->options.address : p->site.kit.config.address;
  int r = cns_url_parse(address, true, &url, &problem);
  if (cns_preflight_take(p, "listen", r, &problem, "correct \"listen\" in config.json")) return;
  if (daemon != 0) {
    cns_preflight_ok(p, "listen", "a coordinator runs on this kit (process %ld)", daemon > 0 ? daemon : 0L);
  } else if (p->options.offline) {
    cns_preflight_skip(p, "listen", "it was asked for without the network");
  } else {
    check_bind(p, &url);
  }
}
