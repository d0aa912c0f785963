/* SPDX-License-Identifier: Apache-2.0 */
#include "net/peers.h"

#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

struct cns_peers {
  pthread_mutex_t mutex;
  size_t references;
  struct cns_peer *list;
  size_t count;
};

const char *cns_peer_role_name(enum cns_peer_role role) {
  return role == CNS_ROLE_COORDINATOR ? "coordinator" : "hospital";
}

int cns_peers_new(struct cns_peers **ret_peers) {
  struct cns_peers *peers = calloc(1, sizeof *peers);
  if (!peers) return CNS_ERR_MEMORY;
  if (pthread_mutex_init(&peers->mutex, NULL) != 0) {
    free(peers);
    return CNS_ERR_LIBRARY;
  }
  peers->references = 1;
  *ret_peers = peers;
  return 0;
}

struct cns_peers *cns_peers_retain(struct cns_peers *peers) {
  pthread_mutex_lock(&peers->mutex);
  peers->references++;
  pthread_mutex_unlock(&peers->mutex);
  return peers;
}

struct cns_peers *cns_peers_free(struct cns_peers *peers) {
  if (!peers) return NULL;
  pthread_mutex_lock(&peers->mutex);
  bool last = --peers->references == 0;
  pthread_mutex_unlock(&peers->mutex);
  if (!last) return NULL;
  pthread_mutex_destroy(&peers->mutex);
  free(peers->list);
  free(peers);
  return NULL;
}

int cns_peers_set(struct cns_peers *peers, const struct cns_peer *list, size_t count) {
  if (count > CNS_PEERS_MAX) return CNS_ERR_LIMIT;
  struct cns_peer *copy = NULL;
  if (count > 0) {
    copy = malloc(count * sizeof *copy);
    if (!copy) return CNS_ERR_MEMORY;
    memcpy(copy, list, count * sizeof *copy);
  }
  pthread_mutex_lock(&peers->mutex);
  struct cns_peer *old = peers->list;
  peers->list = copy;
  peers->count = count;
  pthread_mutex_unlock(&peers->mutex);
  free(old);
  return 0;
}

static bool pin_equal(const struct cns_tls_pin *a, const struct cns_tls_pin *b) {
  return sodium_memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

enum cns_peer_verdict cns_peers_check_pin(void *context, const struct cns_tls_pin *pin) {
  struct cns_peers *peers = context;
  enum cns_peer_verdict verdict = CNS_PEER_UNKNOWN;
  pthread_mutex_lock(&peers->mutex);
  for (size_t i = 0; i < peers->count; i++) {
    if (!pin_equal(&peers->list[i].pin, pin)) continue;
    verdict = peers->list[i].revoked ? CNS_PEER_REVOKED : CNS_PEER_TRUSTED;
    /* A revoked key stays revoked, whatever other entry names it. */
    if (verdict == CNS_PEER_REVOKED) break;
  }
  pthread_mutex_unlock(&peers->mutex);
  return verdict;
}

static enum cns_peer_verdict judge(const struct cns_peer *entry, const struct cns_peer *claim, bool has_pin,
                                   struct cns_problem *problem) {
  if (!entry) {
    cns_problem_set(problem, CNS_ERR_REFUSED, "the roster has no party with this identity key");
    return CNS_PEER_UNKNOWN;
  }
  if (entry->revoked) {
    cns_problem_set(problem, CNS_ERR_REFUSED, "the roster has revoked %s %u", cns_peer_role_name(entry->role),
                    entry->index);
    return CNS_PEER_REVOKED;
  }
  if (entry->role != claim->role || entry->index != claim->index) {
    cns_problem_set(problem, CNS_ERR_REFUSED, "the roster has another role or index for this identity key");
    return CNS_PEER_UNKNOWN;
  }
  if (has_pin && !pin_equal(&entry->pin, &claim->pin)) {
    cns_problem_set(problem, CNS_ERR_REFUSED,
                    "the TLS certificate is not the one that the roster has for %s %u",
                    cns_peer_role_name(entry->role), entry->index);
    return CNS_PEER_UNKNOWN;
  }
  return CNS_PEER_TRUSTED;
}

enum cns_peer_verdict cns_peers_check(struct cns_peers *peers, const struct cns_peer *claim, bool has_pin,
                                      struct cns_problem *problem) {
  const struct cns_peer *found = NULL;
  pthread_mutex_lock(&peers->mutex);
  for (size_t i = 0; i < peers->count && !found; i++)
    if (cns_identity_public_equal(&peers->list[i].identity, &claim->identity)) found = &peers->list[i];
  enum cns_peer_verdict verdict = judge(found, claim, has_pin, problem);
  pthread_mutex_unlock(&peers->mutex);
  return verdict;
}
