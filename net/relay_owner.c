/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "net/relay_internal.h"

static bool ipv4_of(int (*ask)(const uv_tcp_t *, struct sockaddr *, int *), const uv_tcp_t *near,
                    struct sockaddr_in *ret_address) {
  struct sockaddr_storage storage;
  int len = sizeof storage;
  if (ask(near, (struct sockaddr *)&storage, &len) != 0 || storage.ss_family != AF_INET) return false;
  memcpy(ret_address, &storage, sizeof *ret_address);
  return true;
}

/* A line of the table is one socket: its own address, the other end's, and whose it is. The socket
 * that we look for is the one whose other end is ours. */
bool cns_relay_is_ours(const uv_tcp_t *near) {
  struct sockaddr_in own, peer;
  if (!ipv4_of(uv_tcp_getsockname, near, &own) || !ipv4_of(uv_tcp_getpeername, near, &peer)) return false;
  FILE *file = fopen("/proc/self/net/tcp", "re");
  if (!file) return false;
  char line[256];
  bool ours = false;
  while (!ours && fgets(line, sizeof line, file)) {
    unsigned from, from_port, to, to_port, uid;
    if (sscanf(line, " %*u: %x:%x %x:%x %*x %*x:%*x %*x:%*x %*x %u", &from, &from_port, &to, &to_port,
               &uid) != 5)
      continue;
    ours = from == peer.sin_addr.s_addr && from_port == ntohs(peer.sin_port) && to == own.sin_addr.s_addr &&
           to_port == ntohs(own.sin_port) && uid == geteuid();
  }
  fclose(file);
  return ours;
}
