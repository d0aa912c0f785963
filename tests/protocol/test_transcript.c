/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the coordinator holds at the end of a round doesn't determine any single
 * input. The view: every byte of every answer, every uploaded vector, every
 * secret that the released shares give, and, for the strongest case, all
 * secrets of all hospitals but two.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/protocol/attack.h"

#define A 1
#define B 4

/* Everything that coordinator machines received, in order. */
static struct attack_bytes view_of(const struct federation *f) {
  struct cns_writer writer;
  size_t words = cns_descriptor_words(&f->descriptor);
  cns_writer_init(&writer, (size_t)64 << 20);
  for (enum cns_phase p = CNS_PHASE_KEYS; p <= CNS_PHASE_UNMASK; p++)
    for (size_t k = 0; k < f->n; k++)
      cns_write_blob(&writer, f->coordinator->members[k].messages[p].bytes,
                     f->coordinator->members[k].messages[p].len);
  for (size_t k = 0; k < f->n; k++)
    if (f->y[k]) cns_write_blob(&writer, (const uint8_t *)f->y[k], words * 4);
  assert_int_equal(cns_writer_finish(&writer), 0);
  struct attack_bytes view = attack_bytes_copy(writer.data, writer.len);
  cns_writer_deinit(&writer);
  return view;
}

static uint32_t *random_words(uint64_t seed, const char *label, size_t words) {
  struct cns_rng_seeded rng;
  uint32_t *out = calloc(words, 4);
  assert_non_null(out);
  cns_rng_seeded_init_label(&rng, seed, label);
  assert_int_equal(cns_rng_fill(cns_rng_seeded(&rng), (uint8_t *)out, words * 4), 0);
  return out;
}

/* The term of the pair mask that member i shares with member j. */
static struct cns_mask_term pair_term(const struct federation *f, size_t i, size_t j) {
  const struct cns_mask_term *terms;
  size_t count;
  assert_int_equal(cns_hospital_masks(f->hospitals[i], &terms, &count), 0);
  assert_int_equal(count, f->n); /* all of U2: itself first, then the others in order */
  return terms[1 + (j < i ? j : j - 1)];
}

/* Plays a round in which the mask of the pair (A, B) is `mask`, as if their
 * seed gave it, and A's and B's inputs are changed by +shift and -shift. */
static struct attack_bytes play_with(uint64_t seed, const uint32_t *mask, const uint32_t *shift,
                                     struct federation *f) {
  federation_init(f, 6, 300, seed);
  federation_begin(f, 1, 1);
  attack_play_until(f, CNS_PHASE_UPLOAD);
  size_t words = cns_descriptor_words(&f->descriptor);
  for (size_t side = 0; side < 2; side++) {
    size_t own = side ? B : A;
    const uint8_t *answer;
    size_t len;
    struct cns_problem problem = {0};
    struct attack_bytes request = attack_request(f, own);
    assert_int_equal(
        cns_hospital_handle(f->hospitals[own], request.data, request.len, &answer, &len, &problem),
        CNS_HOSPITAL_UPLOAD);
    attack_bytes_free(&request);
    struct cns_mask_term term = pair_term(f, own, side ? A : B);
    assert_int_equal(term.sign, side ? -1 : 1);
    term.sign = -term.sign; /* takes out what upload will put in */
    assert_int_equal(cns_mask_apply(f->x[own], words, 0, &term, 1), 0);
    for (size_t w = 0; w < words; w++)
      f->x[own][w] += side ? 0u - mask[w] - shift[w] : mask[w] + shift[w];
  }
  attack_finish(f, 0);
  return view_of(f);
}

/* Exchanging two inputs for two others with the same sum, and their unknown
 * mask for another one, gives the same view, byte for byte. The PRG's output
 * under a seed that the view doesn't have is uniform to whoever holds the view,
 * so both masks, and both pairs of inputs, are equally likely. */
static void two_inputs_exchanged_for_two_of_equal_sum(void **state) {
  for (uint64_t seed = 1; seed <= 3; seed++) {
    struct federation one, other;
    const size_t words = 300 + 7;
    uint32_t *mask = random_words(seed, "mask", words), *shift = random_words(seed, "shift", words);
    uint32_t *zeros = calloc(words, 4), *moved = calloc(words, 4);
    assert_non_null(zeros);
    assert_non_null(moved);
    for (size_t w = 0; w < words; w++)
      moved[w] = mask[w] - shift[w];
    struct attack_bytes view = play_with(seed, mask, zeros, &one);
    struct attack_bytes same = play_with(seed, moved, shift, &other);
    assert_int_equal(view.len, same.len);
    assert_memory_equal(view.data, same.data, view.len);
    /* Another shift without its mask doesn't give it: the comparison sees. */
    struct federation third;
    struct attack_bytes different = play_with(seed, mask, shift, &third);
    assert_true(different.len == view.len && memcmp(different.data, view.data, view.len) != 0);
    attack_bytes_free(&view);
    attack_bytes_free(&same);
    attack_bytes_free(&different);
    federation_deinit(&one);
    federation_deinit(&other);
    federation_deinit(&third);
    free(mask);
    free(shift);
    free(zeros);
    free(moved);
  }
}

/* All hospitals but A and B hand everything over, the coordinator knows b of
 * all: what is left of y_A and y_B is each input behind the one mask of the
 * pair, and only the sum of the two is free of it. */
static void all_but_two_collude(void **state) {
  struct federation f;
  federation_init(&f, 6, 300, 7);
  federation_begin(&f, 1, 1);
  federation_play(&f);
  assert_int_equal(cns_coordinator_end(f.coordinator), CNS_END_COMPLETED);
  size_t words = cns_descriptor_words(&f.descriptor);
  uint32_t *rest[2], *candidate = random_words(7, "candidate", words);
  for (size_t side = 0; side < 2; side++) {
    size_t own = side ? B : A;
    rest[side] = calloc(words, 4);
    assert_non_null(rest[side]);
    memcpy(rest[side], f.y[own], words * 4);
    const struct cns_mask_term *terms;
    size_t count;
    assert_int_equal(cns_hospital_masks(f.hospitals[own], &terms, &count), 0);
    for (size_t t = 0; t < count; t++) {
      struct cns_mask_term term = terms[t];
      size_t unknown = 1 + (side ? A : B - 1);
      term.sign = -term.sign;
      if (t != unknown) assert_int_equal(cns_mask_apply(rest[side], words, 0, &term, 1), 0);
    }
  }
  for (size_t w = 0; w < words; w++) {
    assert_int_equal(rest[0][w] + rest[1][w], f.x[A][w] + f.x[B][w]);
    /* Any input of A has a mask and an input of B that fit. */
    uint32_t mask = rest[0][w] - candidate[w], of_b = rest[1][w] + mask;
    assert_int_equal(candidate[w] + of_b, f.x[A][w] + f.x[B][w]);
  }
  free(rest[0]);
  free(rest[1]);
  free(candidate);
  federation_deinit(&f);
}

/* Pearson's statistic of the bytes against the uniform distribution: 255
 * degrees of freedom, 390 is six standard deviations out. */
static double chi_square(const uint8_t *bytes, size_t len) {
  size_t counts[256] = {0};
  double expected = (double)len / 256, statistic = 0;
  for (size_t k = 0; k < len; k++)
    counts[bytes[k]]++;
  for (size_t k = 0; k < 256; k++)
    statistic += ((double)counts[k] - expected) * ((double)counts[k] - expected) / expected;
  return statistic;
}

static void an_upload_looks_the_same_whatever_is_in_it(void **state) {
  static const uint32_t fillings[] = {0, UINT32_MAX, 1, 0x00ff00ff};
  const uint64_t seed = 20261122;
  for (size_t v = 0; v < sizeof fillings / sizeof fillings[0]; v++) {
    struct federation f;
    federation_init(&f, 4, 65536, seed + v);
    federation_begin(&f, 1, 1);
    size_t words = cns_descriptor_words(&f.descriptor);
    for (size_t k = 0; k < f.n; k++)
      for (size_t w = 0; w < words; w++)
        f.x[k][w] = fillings[v];
    attack_finish(&f, 0);
    for (size_t k = 0; k < f.n; k++) {
      double statistic = chi_square((const uint8_t *)f.y[k], words * 4);
      if (statistic > 390 || statistic < 140)
        fail_msg("seed %llu, filling %08x, hospital %zu: chi-square %g", (unsigned long long)(seed + v),
                 fillings[v], k + 1, statistic);
    }
    federation_deinit(&f);
  }
}

static bool contains(const struct attack_bytes *view, const void *bytes, size_t len) {
  return memmem(view->data, view->len, bytes, len) != NULL;
}

/* Neither s of an included hospital, nor any e, nor a share of either, nor the
 * point or seed of a pair of included ones is anywhere in the view; what had to
 * be released is. */
static void secrets_that_never_travel(void **state) {
  struct federation f;
  const size_t leaver = 3;
  federation_init(&f, 8, 100, 9);
  f.silent_from[leaver] = CNS_PHASE_UPLOAD;
  federation_begin(&f, 1, 1);
  federation_play(&f);
  assert_int_equal(cns_coordinator_end(f.coordinator), CNS_END_COMPLETED);
  struct attack_bytes view = view_of(&f);
  const struct cns_digest *ready = &cns_coordinator_round(f.coordinator)->transcript[CNS_PHASE_READY];
  for (size_t i = 0; i < f.n; i++) {
    const struct cns_hospital_secrets *secrets = f.hospitals[i]->secrets;
    assert_false(contains(&view, secrets->s.bytes, CNS_SCALAR_BYTES));
    assert_false(contains(&view, secrets->e.bytes, CNS_SCALAR_BYTES));
    assert_false(contains(&view, secrets->b.bytes, CNS_SCALAR_BYTES));
    for (size_t d = 0; d < f.n; d++) { /* shares of dealer d that i holds */
      bool asked = i != leaver, left = d == leaver;
      assert_int_equal(contains(&view, secrets->with[d].share.s.bytes, CNS_SCALAR_BYTES), asked && left);
      assert_int_equal(contains(&view, secrets->with[d].share.b.bytes, CNS_SCALAR_BYTES), asked && !left);
      if (d != i) assert_false(contains(&view, secrets->with[d].pair.bytes, CNS_POINT_BYTES));
    }
    for (size_t j = 0; j < f.n; j++) {
      struct cns_point pair;
      struct cns_mask_seed seed;
      if (i == j) continue;
      assert_int_equal(cns_point_mul(&secrets->s, &f.hospitals[j]->keys[j].s, &pair), 0);
      cns_pair_seed(ready, (uint16_t)(i + 1), (uint16_t)(j + 1), &pair, &seed);
      assert_false(contains(&view, pair.bytes, CNS_POINT_BYTES));
      assert_false(contains(&view, seed.bytes, CNS_MASK_SEED_BYTES));
      const struct cns_mask_term *terms;
      size_t count;
      bool rebuilt = false; /* what the coordinator derived in the end */
      assert_int_equal(cns_coordinator_unmasking(f.coordinator, &terms, &count), 0);
      for (size_t t = 0; t < count; t++)
        rebuilt |= memcmp(&terms[t].seed, &seed, sizeof seed) == 0;
      assert_int_equal(rebuilt, i == leaver || j == leaver);
    }
  }
  attack_bytes_free(&view);
  federation_deinit(&f);
}

/* No two masks, within a round or over two rounds, have a seed in common. */
static void no_seed_is_used_twice(void **state) {
  struct federation f;
  struct cns_mask_seed seen[2 * 6 * 6];
  size_t count = 0;
  federation_init(&f, 6, 10, 10);
  for (uint32_t attempt = 1; attempt <= 2; attempt++) {
    federation_begin(&f, 1, attempt);
    attack_finish(&f, 0);
    for (size_t k = 0; k < f.n; k++) {
      const struct cns_mask_term *terms;
      size_t own;
      assert_int_equal(cns_hospital_masks(f.hospitals[k], &terms, &own), 0);
      assert_int_equal(own, 6);
      for (size_t t = 0; t < own; t++)
        seen[count++] = terms[t].seed;
    }
  }
  for (size_t a = 0; a < count; a++) {
    size_t same = 0;
    for (size_t b = 0; b < count; b++)
      same += memcmp(&seen[a], &seen[b], sizeof seen[a]) == 0;
    assert_int_equal(same, a % 6 == 0 ? 1 : 2); /* a self mask is one's own, a pair's is at two */
  }
  federation_deinit(&f);
}

/* Whoever reads the lists has every point, and T_ready: from those no seed in use
 * follows. */
static void no_seed_follows_from_what_is_public(void **state) {
  struct federation f;
  struct cns_point points[1 + 3 * 6] = {{{0}}};
  federation_init(&f, 6, 10, 11);
  federation_begin(&f, 1, 1);
  attack_finish(&f, 0);
  const struct cns_digest *ready = &cns_coordinator_round(f.coordinator)->transcript[CNS_PHASE_READY];
  for (size_t k = 0; k < f.n; k++) {
    const struct cns_coordinator_member *member = &f.coordinator->members[k];
    points[1 + 3 * k] = member->keys.s;
    points[2 + 3 * k] = member->keys.e;
    memcpy(&points[3 + 3 * k], member->messages[CNS_PHASE_SHARES].view.body, CNS_POINT_BYTES);
  }
  for (size_t k = 0; k < f.n; k++) {
    const struct cns_mask_term *terms;
    size_t count;
    assert_int_equal(cns_hospital_masks(f.hospitals[k], &terms, &count), 0);
    for (size_t p = 0; p < sizeof points / sizeof points[0]; p++) {
      struct cns_mask_seed guess;
      struct cns_scalar bytes;
      memcpy(bytes.bytes, points[p].bytes, sizeof bytes.bytes);
      cns_self_seed(ready, (uint16_t)(k + 1), &bytes, &guess);
      assert_memory_not_equal(&terms[0].seed, &guess, sizeof guess);
      for (size_t t = 1; t < count; t++) {
        size_t other = t <= k ? t - 1 : t;
        cns_pair_seed(ready, (uint16_t)(k + 1), (uint16_t)(other + 1), &points[p], &guess);
        assert_memory_not_equal(&terms[t].seed, &guess, sizeof guess);
      }
    }
  }
  federation_deinit(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(two_inputs_exchanged_for_two_of_equal_sum),
      cmocka_unit_test(all_but_two_collude),
      cmocka_unit_test(an_upload_looks_the_same_whatever_is_in_it),
      cmocka_unit_test(secrets_that_never_travel),
      cmocka_unit_test(no_seed_is_used_twice),
      cmocka_unit_test(no_seed_follows_from_what_is_public),
  };
  return cmocka_run_group_tests_name("protocol transcript", tests, NULL, NULL);
}
