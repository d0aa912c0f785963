/* SPDX-License-Identifier: Apache-2.0 */
/* Links that come and go, time, and shutting down. */
#include <netdb.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/net/world.h"

#include <arpa/inet.h>
#include <sys/socket.h>

static const uint64_t seed = 20268;
static const char *const urls[] = {"tcp://127.0.0.1:0", "tls+tcp://127.0.0.1:0", "wss://127.0.0.1:0"};

/* Each test runs over each transport. */
#define FOR_BOTH(url) for (const char *const *url = urls; url < urls + sizeof urls / sizeof *urls; url++)

static uint8_t chunk[CNS_FRAME_BULK_MAX];

/* A port that nobody else is given while no listener is there: bound, but not
 * listening, it refuses connections and lets a listener of ours in. */
static int hold_port(const char *url, char address[static CNS_URL_MAX]) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof at;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)), 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
  snprintf(address, CNS_URL_MAX, "%.*s:%u", (int)(strrchr(url, ':') - url), url, ntohs(at.sin_port));
  return fd;
}

static void dialer_comes_back(void **state) {
  FOR_BOTH(url) {
    struct world *world = world_new(seed);
    struct side client = {0};
    char address[CNS_URL_MAX];
    int held = hold_port(*url, address);
    world_listen(world, address);
    struct cns_dialer *dialer = world_dial(world, 0, &client);
    world_until(world, client.opened, 1);
    world->listener = cns_listener_free(world->listener);
    assert_int_equal(world->server.closed, 0); /* nobody hears of what it freed */
    world_until(world, client.closed, 1);
    assert_string_equal(client.sentence, "the other side says: shutting down");
    assert_int_equal(client.error, CNS_ERR_CLOSED);
    assert_null(cns_dialer_link(dialer));
    world_until(world, client.failed, 3);
    assert_non_null(strstr(client.sentence, "nobody listens there"));
    assert_true(client.retry_ms <= 200);
    world_listen(world, address);
    world_until(world, client.opened, 2);
    /* A link closed by the application is dialled anew as well. */
    cns_link_close(client.link, "enough for today");
    assert_int_equal(cns_link_send(client.link, 20, "x", 1), CNS_ERR_CLOSED);
    assert_int_equal(client.closed, 1);
    world_until(world, client.closed, 2);
    world_until(world, world->server.closed, 1);
    assert_string_equal(world->server.sentence, "the other side says: enough for today");
    world_until(world, client.opened, 3);
    cns_dialer_free(dialer);
    world_free(world);
    close(held);
  }
}

static void second_link_replaces_the_first(void **state) {
  FOR_BOTH(url) {
    struct world *world = world_new(seed);
    struct side first = {0}, second = {0};
    world_listen(world, *url);
    struct cns_dialer *one = world_dial(world, 0, &first);
    world_until(world, world->server.opened, 1);
    struct cns_link *old = world->server.link;
    struct cns_dialer *two = world_dial(world, 0, &second);
    world_until(world, first.closed, 1);
    one = cns_dialer_free(one);
    assert_non_null(
        strstr(first.sentence, "replaced by a newer connection of the same party from 127.0.0.1:"));
    world_until(world, second.opened, 1);
    assert_int_equal(world->server.closed, 1);
    assert_int_equal(world->server.opened, 2);
    assert_ptr_not_equal(cns_listener_find(world->listener, CNS_ROLE_HOSPITAL, 1), old);
    assert_int_equal(second.closed, 0);
    cns_dialer_free(two);
    world_free(world);
  }
}

static void turned_away(void *context, struct cns_link *link, const struct cns_peer *peer) {
  side_open(context, link, peer);
  cns_link_close(link, "your consent is for another version");
}

struct ending {
  struct cns_dialer *dialer;
  unsigned failures;
  char sentence[512];
};

static void note_ending(struct side *side) {
  struct ending *ending = side->extra;
  ending->failures = cns_dialer_failures(ending->dialer);
  snprintf(ending->sentence, sizeof ending->sentence, "%s", side->sentence);
}

static void let_in(struct world *world, struct side *client, const char *address) {
  world_listen(world, address);
  world_until_true(world, client->link && world->server.link);
}

/* A hospital that gets in and is sent away, time and again: its pauses grow. A
 * coordinator that shuts down, or is cut off, starts them anew. */
static void who_is_sent_away_slows_down(void **state) {
  FOR_BOTH(url) {
    struct world *world = world_new(seed);
    struct ending last = {0};
    struct side client = {.extra = &last, .on_closed = note_ending};
    char address[CNS_URL_MAX];
    int held = hold_port(*url, address);
    world->times.good_session_ms = 600000; /* none of these, however slow the machine */
    world_listen_as(world, address, turned_away);
    last.dialer = world_dial(world, 0, &client);
    for (int i = 1; i <= 6; i++) {
      world_until(world, client.closed, i);
      assert_int_equal(last.failures, client.closed + client.failed);
      assert_string_equal(last.sentence, "the other side says: your consent is for another version");
    }

    world->server.link = NULL; /* nobody hears of what the listener frees */
    world->listener = cns_listener_free(world->listener);
    let_in(world, &client, address);
    assert_true(cns_dialer_failures(last.dialer) >= 6); /* getting in alone proves nothing */
    int closed = client.closed;
    world->server.link = NULL;
    world->listener = cns_listener_free(world->listener);
    world_until(world, client.closed, closed + 1);
    assert_string_equal(last.sentence, "the other side says: shutting down");
    assert_int_equal(last.failures, 1);

    world_until(world, client.failed, 3);
    let_in(world, &client, address);
    assert_true(cns_dialer_failures(last.dialer) >= 3);
    closed = client.closed;
    cns_link_kill(world->server.link); /* a cable that is pulled: no last words */
    world_until(world, client.closed, closed + 1);
    assert_int_equal(last.failures, 1);
    cns_dialer_free(last.dialer);
    world_free(world);
    close(held);
  }
}

/* Two processes with one key replace each other for ever, but ever more slowly. */
static void two_with_one_key_slow_down(void **state) {
  FOR_BOTH(url) {
    struct world *world = world_new(seed);
    struct side first = {0}, second = {0};
    world->times.good_session_ms = 600000;
    world_listen(world, *url);
    struct cns_dialer *one = world_dial(world, 0, &first), *two = world_dial(world, 0, &second);
    world_until(world, first.closed, 5);
    world_until(world, second.closed, 5);
    assert_true(cns_dialer_failures(one) >= 5 && cns_dialer_failures(two) >= 5);
    assert_non_null(strstr(first.sentence, "replaced by a newer connection"));
    cns_dialer_free(one);
    cns_dialer_free(two);
    world_free(world);
  }
}

static size_t parting(const struct world *world) {
  size_t count = 0;
  for (const struct cns_link *link = *cns_loop_parting(world->loop); link; link = link->next_parting)
    count++;
  return count;
}

static void play_dead(struct cns_loop_op *op) {
  (void)op;
}

/* A hospital that comes back all the time and reads nothing: each link that is
 * replaced has megabytes queued, and waits long for its last words to arrive. */
static void a_party_leaves_one_link_behind(void **state) {
  enum { TIMES = 8 };
  static uint8_t large[1 << 20];
  FOR_BOTH(url) {
    struct world *world = world_new(seed);
    struct side clients[TIMES] = {0}, other = {0};
    struct cns_dialer *dialers[TIMES], *another;
    world->times.linger_ms = 600000;
    world_listen(world, *url);
    another = world_dial(world, 1, &other);
    world_until(world, world->server.opened, 1);
    for (int i = 0; i < TIMES; i++) {
      dialers[i] = world_dial(world, 0, &clients[i]);
      world_until(world, clients[i].opened, 1);
      world_until(world, world->server.opened, i + 2);
      clients[i].link->receive.done = play_dead;
      for (int k = 0; k < 8; k++)
        assert_int_equal(cns_link_send(world->server.link, 20, large, sizeof large), 0);
      assert_int_equal(parting(world), i > 0);
    }
    assert_int_equal(world->server.closed, TIMES - 1);
    assert_int_equal(other.closed, 0);
    for (int i = 0; i < TIMES; i++) {
      cns_link_kill(clients[i].link);
      cns_dialer_free(dialers[i]);
    }
    cns_dialer_free(another);
    world_until_true(world, parting(world) == 0);
    world_free(world);
  }
}

static void revocation_closes_open_links(void **state) {
  FOR_BOTH(url) {
    struct world *world = world_new(seed);
    struct side first = {0}, second = {0};
    world_listen(world, *url);
    struct cns_dialer *one = world_dial(world, 0, &first), *two = world_dial(world, 1, &second);
    world_until(world, first.opened, 1);
    world_until(world, second.opened, 1);
    world_until(world, world->server.opened, 2);
    cns_listener_recheck(world->listener);
    world_for(world, 50);
    assert_int_equal(world->server.closed, 0);
    world->list[0].revoked = true;
    world_set_peers(world);
    cns_listener_recheck(world->listener);
    world_until(world, first.closed, 1);
    assert_string_equal(first.sentence, "the other side says: the roster has revoked hospital 1");
    world_until(world, world->server.closed, 1);
    assert_int_equal(world->server.error, CNS_ERR_REFUSED);
    world_until(world, first.failed, 2); /* and it doesn't get in again */
    assert_non_null(strstr(first.sentence, "revoked"));
    assert_int_equal(first.opened, 1);
    assert_int_equal(second.closed, 0);
    cns_dialer_free(one);
    cns_dialer_free(two);
    world_free(world);
  }
}

static void keep_alive(void **state) {
  FOR_BOTH(url) {
    struct world *world = world_new(seed);
    struct side client = {0};
    world->times.ping_ms = 60;
    world->times.silence_ms = 10000;
    world_listen(world, *url);
    struct cns_dialer *dialer = world_dial(world, 0, &client);
    world_until(world, client.opened, 1);
    world_until(world, world->server.opened, 1);
    /* HELLO and AUTH, and then what keeps a silent link alive. */
    world_until_true(world, client.closed || cns_link_counters(client.link).frames_in >= 6);
    assert_int_equal(client.closed + world->server.closed, 0);
    world_until_true(world, world->server.closed || cns_link_counters(world->server.link).frames_in >= 6);
    assert_int_equal(client.closed + world->server.closed, 0);
    assert_int_equal(client.frames + world->server.frames, 0);
    cns_dialer_free(dialer);
    world_free(world);
  }
}

static void silence_closes(void **state) {
  FOR_BOTH(url) {
    struct world *world = world_new(seed);
    struct side client = {0};
    world->times.ping_ms = 60;
    world->times.silence_ms = 300;
    world_listen(world, *url);
    struct cns_dialer *dialer = world_dial(world, 0, &client);
    world_until(world, client.opened, 1);
    world_until(world, world->server.opened, 1);
    /* The hospital's machine hangs: it neither sends nor reads. */
    struct cns_link *hung = client.link;
    void (*alive)(struct cns_loop_op *) = hung->receive.done;
    hung->receive.done = play_dead;
    uv_timer_stop(&hung->timer);
    world_until(world, world->server.closed, 1);
    assert_int_equal(world->server.error, CNS_ERR_TIMEOUT);
    assert_non_null(strstr(world->server.sentence, "nothing heard from the other side for"));
    hung->receive.done = alive;
    cns_link_kill(hung);
    cns_dialer_free(dialer);
    world_free(world);
  }
}

/* A loop that was busy for longer than the silence allowed must not blame the
 * peer whose frames are waiting. */
static void own_absence_is_not_silence(void **state) {
  FOR_BOTH(url) {
    struct world *world = world_new(seed);
    struct side client = {0};
    world->times.ping_ms = 50;
    world->times.silence_ms = 2000;
    world_listen(world, *url);
    struct cns_dialer *dialer = world_dial(world, 0, &client);
    world_until(world, client.opened, 1);
    world_until(world, world->server.opened, 1);
    usleep(3000 * 1000);
    world_for(world, 100);
    assert_int_equal(client.closed + world->server.closed, 0);
    assert_int_equal(cns_link_send(client.link, 20, "still here", 10), 0);
    world_until_true(world, world->server.frames == 1);
    assert_int_equal(client.closed + world->server.closed, 0);
    cns_dialer_free(dialer);
    world_free(world);
  }
}

static bool knows_localhost(void) {
  struct addrinfo *found = NULL;
  if (getaddrinfo("localhost", NULL, NULL, &found) != 0) return false;
  freeaddrinfo(found);
  return true;
}

/* localhost may be ::1 first; the listener has only 127.0.0.1. */
static void names_with_two_addresses(void **state) {
  if (!knows_localhost()) {
    print_message("# this machine doesn't know the name localhost\n");
    return;
  }
  FOR_BOTH(url) {
    struct world *world = world_new(seed);
    struct side client = {0};
    char address[CNS_URL_MAX];
    world_listen(world, *url);
    snprintf(address, sizeof address, "%.*s://localhost:%s", (int)(strchr(*url, ':') - *url), *url,
             strrchr(cns_listener_url(world->listener), ':') + 1);
    struct cns_dialer *dialer = world_dial_as(world, &world->hospitals[0], &client, address);
    world_until(world, client.opened, 1);
    assert_true(client.failed <= 1);
    cns_dialer_free(dialer);
    world_free(world);
  }
}

static void keep_sending(struct side *side, struct cns_link *link) {
  (void)side;
  while (cns_link_send(link, 128, chunk, sizeof chunk) == 0)
    continue;
}

static void shutdown_while_busy(void **state) {
  FOR_BOTH(url) for (int after_ms = 0; after_ms < 40; after_ms += 3) {
    struct world *world = world_new(seed + (uint64_t)after_ms);
    struct side clients[2] = {{.on_writable = keep_sending}, {.on_writable = keep_sending}}, lost = {0};
    world->times.linger_ms = 100;
    world_listen(world, *url);
    struct cns_dialer *dialers[3] = {world_dial(world, 0, &clients[0]), world_dial(world, 1, &clients[1]),
                                     world_dial_as(world, &world->stranger, &lost, "tcp://127.0.0.1:9")};
    uint64_t start = uv_hrtime();
    bool started[2] = {false, false};
    while (uv_hrtime() - start < (uint64_t)after_ms * 1000000) {
      uv_run(&world->uv, UV_RUN_NOWAIT);
      for (int i = 0; i < 2; i++)
        if (clients[i].link && !started[i]) {
          started[i] = true;
          keep_sending(&clients[i], clients[i].link);
        }
    }
    for (int i = 0; i < 3; i++)
      cns_dialer_free(dialers[i]);
    world_free(world);
  }
}

static struct cns_dialer *to_free;
static void free_from_inside(struct side *side, struct cns_link *link, uint8_t type, const uint8_t *data,
                             size_t len) {
  side->world->listener = cns_listener_free(side->world->listener);
  to_free = cns_dialer_free(to_free);
  side->closed = 1;
}

static void shutdown_from_a_callback(void **state) {
  FOR_BOTH(url) {
    struct world *world = world_new(seed);
    struct side client = {0};
    world->server.on_frame = free_from_inside;
    world_listen(world, *url);
    to_free = world_dial(world, 0, &client);
    world_until(world, client.opened, 1);
    for (int i = 0; i < 5; i++)
      assert_int_equal(cns_link_send(client.link, 20, "now", 3), 0);
    world_until(world, world->server.closed, 1);
    assert_int_equal(world->server.frames, 1);
    world_free(world);
  }
}

int main(void) {
  print_message("# seed %llu\n", (unsigned long long)seed);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(dialer_comes_back),
      cmocka_unit_test(second_link_replaces_the_first),
      cmocka_unit_test(who_is_sent_away_slows_down),
      cmocka_unit_test(two_with_one_key_slow_down),
      cmocka_unit_test(a_party_leaves_one_link_behind),
      cmocka_unit_test(revocation_closes_open_links),
      cmocka_unit_test(keep_alive),
      cmocka_unit_test(silence_closes),
      cmocka_unit_test(own_absence_is_not_silence),
      cmocka_unit_test(names_with_two_addresses),
      cmocka_unit_test(shutdown_while_busy),
      cmocka_unit_test(shutdown_from_a_callback),
  };
  return cmocka_run_group_tests_name("link_life", tests, NULL, NULL);
}
