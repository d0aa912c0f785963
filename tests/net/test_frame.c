/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/rng.h"
#include "net/frame.h"

static struct cns_rng_seeded seeded;
static const uint64_t seed = 20261;

static uint64_t draw(uint64_t bound) {
  uint64_t value = 0;
  assert_int_equal(cns_rng_uniform_u64(cns_rng_seeded(&seeded), bound, &value), 0);
  return value;
}

static int setup(void **state) {
  (void)state;
  cns_rng_seeded_init_label(&seeded, seed, "frame test");
  return cns_init();
}

static struct cns_framer open_framer(void) {
  struct cns_framer framer;
  cns_framer_init(&framer);
  framer.authenticated = true;
  framer.bulk_credit = 1u << 30;
  return framer;
}

static int feed_header(struct cns_framer *framer, uint32_t len, uint8_t type, struct cns_problem *problem) {
  uint8_t header[CNS_FRAME_HEADER_BYTES];
  struct cns_frame frame;
  size_t taken = 0;
  cns_frame_header_write(type, len, header);
  return cns_framer_feed(framer, header, sizeof header, &taken, &frame, problem);
}

/* Many frames of random sizes, fed in random pieces, come out as they went in. */
static void any_split_gives_the_same_frames(void **state) {
  (void)state;
  enum { FRAMES = 60 };
  static uint8_t stream[FRAMES * 9000];
  size_t lens[FRAMES], len = 0;
  for (int i = 0; i < FRAMES; i++) {
    lens[i] = draw(i % 3 == 0 ? 3 : 8000);
    uint8_t type = (uint8_t)(i % 2 && lens[i] > 0 ? 128 + draw(128) : 16 + draw(112));
    cns_frame_header_write(type, lens[i], stream + len);
    len += CNS_FRAME_HEADER_BYTES;
    for (size_t k = 0; k < lens[i]; k++)
      stream[len++] = (uint8_t)(k * 7 + (size_t)i);
  }
  for (int round = 0; round < 20; round++) {
    struct cns_framer framer = open_framer();
    size_t at = 0;
    int seen = 0;
    while (at < len) {
      size_t piece = 1 + draw(round == 0 ? 1 : 5000), taken = 0;
      if (piece > len - at) piece = len - at;
      struct cns_frame frame;
      int result = cns_framer_feed(&framer, stream + at, piece, &taken, &frame, NULL);
      assert_true(result >= 0 && taken <= piece && taken > 0);
      at += taken;
      if (result != CNS_CASE_FRAME) continue;
      assert_int_equal(frame.len, lens[seen]);
      for (size_t k = 0; k < frame.len; k++)
        assert_int_equal(frame.data[k], (uint8_t)(k * 7 + (size_t)seen));
      seen++;
    }
    assert_int_equal(seen, FRAMES);
    cns_framer_deinit(&framer);
  }
}

static void truncated_is_never_a_frame(void **state) {
  (void)state;
  uint8_t bytes[CNS_FRAME_HEADER_BYTES + 100] = {0};
  cns_frame_header_write(20, 100, bytes);
  for (size_t cut = 0; cut < sizeof bytes; cut++) {
    struct cns_framer framer = open_framer();
    struct cns_frame frame;
    size_t taken = 77;
    assert_int_equal(cns_framer_feed(&framer, bytes, cut, &taken, &frame, NULL), 0);
    assert_int_equal(taken, cut);
    cns_framer_deinit(&framer);
  }
}

static void limits_hold_before_allocation(void **state) {
  (void)state;
  static const struct {
    uint8_t type;
    bool authenticated;
    uint32_t len;
    int result;
  } cases[] = {
      {CNS_FRAME_HELLO, false, CNS_FRAME_STRANGER_MAX, 0},
      {CNS_FRAME_HELLO, false, CNS_FRAME_STRANGER_MAX + 1, CNS_ERR_LIMIT},
      {CNS_FRAME_HELLO, false, UINT32_MAX, CNS_ERR_LIMIT},
      {CNS_FRAME_PING, true, CNS_FRAME_STRANGER_MAX + 1, CNS_ERR_LIMIT},
      {16, true, CNS_FRAME_CONTROL_MAX, 0},
      {16, true, CNS_FRAME_CONTROL_MAX + 1, CNS_ERR_LIMIT},
      {127, true, UINT32_MAX, CNS_ERR_LIMIT},
      {128, true, CNS_FRAME_BULK_MAX, 0},
      {128, true, CNS_FRAME_BULK_MAX + 1, CNS_ERR_LIMIT},
      {255, true, UINT32_MAX, CNS_ERR_LIMIT},
      {200, true, 0, CNS_ERR_FORMAT},
      {0, true, 1, CNS_ERR_FORMAT},
      {7, true, 1, CNS_ERR_FORMAT},
      {15, true, 1, CNS_ERR_FORMAT},
      {CNS_FRAME_PING, false, 8, CNS_ERR_REFUSED},
      {CNS_FRAME_CREDIT, false, 8, CNS_ERR_REFUSED},
      {16, false, 8, CNS_ERR_REFUSED},
      {128, false, 8, CNS_ERR_REFUSED},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct cns_framer framer = open_framer();
    struct cns_problem problem = {0};
    framer.authenticated = cases[i].authenticated;
    int result = feed_header(&framer, cases[i].len, cases[i].type, &problem);
    if (result != cases[i].result) fail_msg("case %zu: %d", i, result);
    assert_null(framer.payload);
    assert_int_equal(problem.text[0] != 0, result != 0);
    if (result != 0) { /* sticky */
      uint8_t byte = 0;
      struct cns_frame frame;
      size_t taken;
      assert_int_equal(cns_framer_feed(&framer, &byte, 1, &taken, &frame, NULL), result);
    }
    cns_framer_deinit(&framer);
  }
}

static void memory_follows_what_arrived(void **state) {
  (void)state;
  struct cns_framer framer = open_framer();
  static uint8_t body[100000];
  struct cns_frame frame;
  size_t taken;
  assert_int_equal(feed_header(&framer, CNS_FRAME_CONTROL_MAX, 16, NULL), 0);
  assert_int_equal(cns_framer_feed(&framer, body, 1, &taken, &frame, NULL), 0);
  assert_true(framer.payload_capacity <= 4096);
  assert_int_equal(cns_framer_feed(&framer, body, sizeof body, &taken, &frame, NULL), 0);
  assert_true(framer.payload_capacity <= 2 * (sizeof body + 1));
  cns_framer_deinit(&framer);
}

static void bulk_beyond_credit_is_refused(void **state) {
  (void)state;
  struct cns_framer framer = open_framer();
  struct cns_problem problem = {0};
  uint8_t body[100] = {0};
  struct cns_frame frame;
  size_t taken;
  framer.bulk_credit = 150;
  assert_int_equal(feed_header(&framer, 100, 128, NULL), 0);
  assert_int_equal(cns_framer_feed(&framer, body, 100, &taken, &frame, NULL), CNS_CASE_FRAME);
  assert_int_equal(framer.bulk_credit, 50);
  assert_int_equal(feed_header(&framer, 51, 128, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "credit"));
  cns_framer_deinit(&framer);
}

/* Each single bit of the header flipped: a frame, a wait for more, or a clean
 * error, and always an error for the reserved ones. */
static void flipped_bits(void **state) {
  (void)state;
  for (int bit = 0; bit < 8 * CNS_FRAME_HEADER_BYTES; bit++) {
    uint8_t bytes[CNS_FRAME_HEADER_BYTES + 16] = {0};
    cns_frame_header_write(130, 16, bytes);
    bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    struct cns_framer framer = open_framer();
    struct cns_frame frame;
    size_t taken;
    int result = cns_framer_feed(&framer, bytes, sizeof bytes, &taken, &frame, NULL);
    if (bit >= 40) assert_int_equal(result, CNS_ERR_FORMAT);
    cns_framer_deinit(&framer);
  }
}

/* Noise never crashes, and is found out soon. */
static void noise(void **state) {
  (void)state;
  for (int round = 0; round < 2000; round++) {
    struct cns_framer framer = open_framer();
    framer.authenticated = round % 2;
    uint8_t bytes[256];
    assert_int_equal(cns_rng_fill(cns_rng_seeded(&seeded), bytes, sizeof bytes), 0);
    if (round % 3 == 0) memset(bytes + 5, 0, 3);
    size_t at = 0;
    while (at < sizeof bytes) {
      struct cns_frame frame;
      size_t taken = 0;
      if (cns_framer_feed(&framer, bytes + at, sizeof bytes - at, &taken, &frame, NULL) < 0) break;
      at += taken;
    }
    cns_framer_deinit(&framer);
  }
}

int main(void) {
  print_message("# seed %llu\n", (unsigned long long)seed);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(any_split_gives_the_same_frames),
      cmocka_unit_test(truncated_is_never_a_frame),
      cmocka_unit_test(limits_hold_before_allocation),
      cmocka_unit_test(memory_follows_what_arrived),
      cmocka_unit_test(bulk_beyond_credit_is_refused),
      cmocka_unit_test(flipped_bits),
      cmocka_unit_test(noise),
  };
  return cmocka_run_group_tests_name("frame", tests, setup, NULL);
}
