/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A coordinator's listener for tests/system/test_tls.py: makes keys and
 * certificates in a folder (hospital.crt trusted, revoked.crt, expired.crt,
 * foreign.crt), listens, and prints one line for each thing that happens. Ends
 * when its standard input does.
 *
 * usage: tls_peer FOLDER
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/link.h"

enum { HOSPITAL, REVOKED, EXPIRED, FOREIGN, PARTIES };
static const char *const names[PARTIES] = {"hospital", "revoked", "expired", "foreign"};

struct peer_program {
  uv_loop_t uv;
  struct cns_loop *loop;
  struct cns_listener *listener;
  struct cns_peers *peers;
  struct cns_identity *identities[PARTIES], *own;
  uv_poll_t input;
};

static void say(const char *what, const char *text) {
  printf("%s %s\n", what, text);
  fflush(stdout);
}

static void die(const char *text) {
  fprintf(stderr, "tls_peer: %s\n", text);
  exit(1);
}

static void on_open(void *context, struct cns_link *link, const struct cns_peer *peer) {
  say("OPEN", cns_link_remote(link));
}

static void on_refused(void *context, const char *remote, const char *sentence) {
  say("REFUSED", sentence);
}

static void make(struct peer_program *program, const char *folder, const char *name, int64_t until,
                 struct cns_identity **ret_identity, struct cns_tls_pin *ret_pin) {
  char key[512], certificate[512];
  struct cns_problem problem = {0};
  snprintf(key, sizeof key, "%s/%s.key", folder, name);
  snprintf(certificate, sizeof certificate, "%s/%s.crt", folder, name);
  if (cns_identity_new(cns_rng_system(), ret_identity) != 0) die("no identity");
  if (cns_certificate_create(name, 1000000000, until, key, certificate, ret_pin, &problem) != 0)
    die(problem.text);
}

static void make_all(struct peer_program *program, const char *folder) {
  struct cns_peer list[PARTIES] = {0};
  struct cns_tls_pin pin;
  for (int i = 0; i < PARTIES; i++) {
    list[i].role = CNS_ROLE_HOSPITAL;
    list[i].index = (uint16_t)(i + 1);
    list[i].revoked = i == REVOKED;
    make(program, folder, names[i], i == EXPIRED ? 1100000000 : 4000000000, &program->identities[i],
         &list[i].pin);
    list[i].identity = *cns_identity_get_public(program->identities[i]);
  }
  make(program, folder, "coordinator", 4000000000, &program->own, &pin);
  if (cns_peers_new(&program->peers) != 0 || cns_peers_set(program->peers, list, FOREIGN) != 0)
    die("no peers");
}

static void on_input(uv_poll_t *poll, int status, int events) {
  struct peer_program *program = poll->data;
  char bytes[64];
  if (status == 0 && read(STDIN_FILENO, bytes, sizeof bytes) > 0) return;
  uv_close((uv_handle_t *)poll, NULL);
  program->listener = cns_listener_free(program->listener);
  program->loop = cns_loop_free(program->loop);
}

int main(int argc, char **argv) {
  static struct peer_program program;
  struct cns_problem problem = {0};
  char key[512], certificate[512];
  if (argc != 2 || cns_init() != 0) die("usage: tls_peer FOLDER");
  make_all(&program, argv[1]);
  snprintf(key, sizeof key, "%s/coordinator.key", argv[1]);
  snprintf(certificate, sizeof certificate, "%s/coordinator.crt", argv[1]);
  const struct cns_link_config config = {.identity = program.own,
                                         .role = CNS_ROLE_COORDINATOR,
                                         .peers = program.peers,
                                         .certificate_path = certificate,
                                         .key_path = key,
                                         .rng = cns_rng_system(),
                                         .times = {.handshake_ms = 3000}};
  const struct cns_link_callbacks callbacks = {.on_open = on_open, .on_refused = on_refused};
  if (uv_loop_init(&program.uv) != 0 || cns_loop_new(&program.uv, &program.loop, &problem) != 0 ||
      cns_listener_new(program.loop, "tls+tcp://127.0.0.1:0", &config, &callbacks, &program.listener,
                       &problem) != 0)
    die(problem.text);
  program.input.data = &program;
  if (uv_poll_init(&program.uv, &program.input, STDIN_FILENO) != 0 ||
      uv_poll_start(&program.input, UV_READABLE | UV_DISCONNECT, on_input) != 0)
    die("standard input has to be a pipe");
  say("READY", strrchr(cns_listener_url(program.listener), ':') + 1);
  uv_run(&program.uv, UV_RUN_DEFAULT);
  int left = uv_loop_close(&program.uv);
  cns_peers_free(program.peers);
  cns_identity_free(program.own);
  for (int i = 0; i < PARTIES; i++)
    cns_identity_free(program.identities[i]);
  return left == 0 ? 0 : 1;
}
