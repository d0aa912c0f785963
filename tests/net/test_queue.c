/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "crypto/rng.h"
#include "net/queue.h"

static const uint64_t seed = 20266;

/* Against a plain counter: byte k of the stream is k * 31 >> 3. */
static void bytes_come_out_in_order(void **state) {
  (void)state;
  struct cns_rng_seeded seeded;
  struct cns_byte_queue queue = {0};
  uint64_t in = 0, out = 0, most = 0;
  static uint8_t bytes[70000];
  cns_rng_seeded_init_label(&seeded, seed, "queue test");
  for (int round = 0; round < 3000; round++) {
    uint64_t put, take;
    assert_int_equal(cns_rng_uniform_u64(cns_rng_seeded(&seeded), round % 7 ? 300 : 65536, &put), 0);
    assert_int_equal(cns_rng_uniform_u64(cns_rng_seeded(&seeded), round % 5 ? 12000 : 65536, &take), 0);
    for (uint64_t i = 0; i < put; i++)
      bytes[i] = (uint8_t)((in + i) * 31 >> 3);
    assert_int_equal(cns_byte_queue_reserve(&queue, put), 0);
    cns_byte_queue_put(&queue, bytes, put / 2);
    cns_byte_queue_put(&queue, bytes + put / 2, put - put / 2);
    in += put;
    size_t got = cns_byte_queue_peek(&queue, bytes, take);
    assert_int_equal(got, in - out < take ? in - out : take);
    for (size_t i = 0; i < got; i++)
      assert_int_equal(bytes[i], (uint8_t)((out + i) * 31 >> 3));
    cns_byte_queue_drop(&queue, got);
    out += got;
    assert_int_equal(queue.len, in - out);
    if (in - out > most) most = in - out;
    assert_true(queue.capacity <= 4 * most + 200000);
  }
  assert_int_equal(cns_byte_queue_reserve(&queue, SIZE_MAX), CNS_ERR_LIMIT);
  cns_byte_queue_deinit(&queue);
}

int main(void) {
  print_message("# seed %llu\n", (unsigned long long)seed);
  const struct CMUnitTest tests[] = {cmocka_unit_test(bytes_come_out_in_order)};
  return cmocka_run_group_tests_name("byte_queue", tests, NULL, NULL);
}
