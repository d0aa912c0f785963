/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hospitals that are killed without a word, in the middle of sending: the
 * coordinator must notice soon, though nng loses the end of a TLS stream when no
 * receive happens to be pending at that moment. The hospitals are processes,
 * forked before nng has threads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/net/world.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { ROUNDS = 24 };
static const uint64_t seed = 20265;
static struct world *world;
static pid_t children[ROUNDS];
static int pipes[ROUNDS];

static void chatter(uv_timer_t *timer) {
  struct side *side = timer->data;
  for (int i = 0; i < 50 && side->link; i++)
    if (cns_link_send(side->link, 20, "0123456789", 10) != 0) return;
}

static void hospital(int input) {
  char address[CNS_URL_MAX] = "";
  struct side side = {.world = world};
  uv_loop_t uv;
  uv_timer_t timer = {.data = &side};
  if (read(input, address, sizeof address - 1) <= 0 || uv_loop_init(&uv) ||
      cns_loop_new(&uv, &world->loop, NULL) || uv_timer_init(&uv, &timer) ||
      uv_timer_start(&timer, chatter, 1, 1))
    _exit(1);
  world_dial_as(world, &world->hospitals[0], &side, address);
  uv_run(&uv, UV_RUN_DEFAULT);
  _exit(1);
}

static int start_children(void **state) {
  (void)state;
  world = world_new(seed);
  for (int i = 0; i < ROUNDS; i++) {
    int ends[2];
    if (pipe(ends) != 0 || (children[i] = fork()) < 0) return 1;
    if (children[i] == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that is killed leaves nobody behind */
      close(ends[1]);
      for (int k = 0; k < i; k++)
        close(pipes[k]);
      hospital(ends[0]);
    }
    close(ends[0]);
    pipes[i] = ends[1];
  }
  return 0;
}

static void a_killed_hospital_is_noticed(void **state) {
  (void)state;
  world_listen(world, "tls+tcp://127.0.0.1:0");
  const char *address = cns_listener_url(world->listener);
  for (int i = 0; i < ROUNDS; i++) {
    assert_int_equal(write(pipes[i], address, strlen(address)), strlen(address));
    world_until(world, world->server.opened, i + 1);
    world_for(world, 20 + (uint64_t)i % 5);
    kill(children[i], SIGKILL);
    uint64_t start = uv_hrtime();
    world_until(world, world->server.closed, i + 1);
    uint64_t ms = (uv_hrtime() - start) / 1000000;
    if (ms > 8000) fail_msg("noticed after %d ms", (int)ms);
    assert_int_equal(world->server.error, CNS_ERR_CLOSED);
    waitpid(children[i], NULL, 0);
    close(pipes[i]);
  }
  assert_true(world->server.frames > 0);
  world_free(world);
}

int main(void) {
  print_message("# seed %llu\n", (unsigned long long)seed);
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_killed_hospital_is_noticed)};
  return cmocka_run_group_tests_name("link_killed", tests, start_children, NULL);
}
