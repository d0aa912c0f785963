/* SPDX-License-Identifier: Apache-2.0 */
/* Looking at a link, and completing and checking configurations. */
#include "net/link_internal.h"

uint64_t cns_link_credit_left(const struct cns_link *link) {
  return link->credit;
}

const struct cns_peer *cns_link_peer(const struct cns_link *link) {
  return &link->handshake.peer;
}

const char *cns_link_remote(const struct cns_link *link) {
  return link->remote;
}

const char *cns_link_peer_software(const struct cns_link *link) {
  return link->handshake.peer_software;
}

void cns_link_set_user(struct cns_link *link, void *user) {
  link->user = user;
}

void *cns_link_user(const struct cns_link *link) {
  return link->user;
}

struct cns_link_counters cns_link_counters(const struct cns_link *link) {
  return link->counters;
}

size_t cns_link_queued_bytes(const struct cns_link *link) {
  return link->queue.len;
}

struct cns_link_times cns_link_times_complete(const struct cns_link_times *times) {
  struct cns_link_times complete = *times;
  if (!complete.handshake_ms) complete.handshake_ms = 10000;
  if (!complete.ping_ms) complete.ping_ms = 5000;
  if (!complete.silence_ms) complete.silence_ms = 20000;
  if (!complete.linger_ms) complete.linger_ms = 2000;
  if (!complete.connect_ms) complete.connect_ms = 10000;
  if (!complete.retry_first_ms) complete.retry_first_ms = 200;
  if (!complete.retry_cap_ms) complete.retry_cap_ms = 15000;
  if (!complete.good_session_ms) complete.good_session_ms = 5000;
  return complete;
}

int cns_link_config_check(const struct cns_link_config *config, struct cns_problem *problem) {
  if (!config->identity || !config->peers || !config->rng.fill)
    return cns_problem_set(problem, CNS_ERR_ARGUMENT, "a link needs an identity, peers and randomness");
  if (config->role != CNS_ROLE_COORDINATOR && config->role != CNS_ROLE_HOSPITAL)
    return cns_problem_set(problem, CNS_ERR_ARGUMENT, "a link needs a role");
  return 0;
}
