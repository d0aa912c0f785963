/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an audit at level open gives away is the sketches and nothing else: two
 * inputs exchanged for two others with the same sum and the same sketches give
 * the coordinator the same view, byte for byte. The view: every byte of every
 * answer, every uploaded vector, and every z.
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
#define WORDS (FEDERATION_DIM + 7)
/* As many coordinates as the kernel is looked for in. */
#define COLUMNS (FEDERATION_SKETCH + 64)

static struct attack_bytes view_of(const struct federation *f) {
  struct cns_writer writer;
  cns_writer_init(&writer, (size_t)64 << 20);
  for (enum cns_phase p = CNS_PHASE_KEYS; p < CNS_PHASE_COUNT; p = (enum cns_phase)(p + 1))
    for (size_t k = 0; k < f->n; k++)
      cns_write_blob(&writer, f->coordinator->members[k].messages[p].bytes,
                     f->coordinator->members[k].messages[p].len);
  for (size_t k = 0; k < f->n; k++) {
    cns_write_blob(&writer, (const uint8_t *)f->y[k], WORDS * 4);
    cns_write_blob(&writer, (const uint8_t *)cns_coordinator_sketch(f->coordinator, k),
                   FEDERATION_SKETCH * 4);
  }
  assert_int_equal(cns_writer_finish(&writer), 0);
  struct attack_bytes view = attack_bytes_copy(writer.data, writer.len);
  cns_writer_deinit(&writer);
  return view;
}

static uint32_t *random_words(uint64_t seed, const char *label) {
  struct cns_rng_seeded rng;
  uint32_t *out = calloc(WORDS, 4);
  assert_non_null(out);
  cns_rng_seeded_init_label(&rng, seed, label);
  assert_int_equal(cns_rng_fill(cns_rng_seeded(&rng), (uint8_t *)out, WORDS * 4), 0);
  return out;
}

/* ---- the kernel of A over Z_2^32 ---- */

static uint32_t inverse_of(uint32_t odd) {
  uint32_t x = odd;
  for (int step = 0; step < 5; step++)
    x *= 2 - odd * x;
  return x;
}

static unsigned valuation(uint32_t value) {
  return value ? (unsigned)__builtin_ctz(value) : 32;
}

struct elimination {
  uint32_t sketch[COLUMNS][FEDERATION_SKETCH]; /* A times each column */
  uint32_t vector[COLUMNS][COLUMNS];           /* what the column is a combination of */
};

/* Column operations: in each row the entry with the fewest factors of two divides
 * all others. What is left over when all rows are done is in the kernel. */
static void eliminate(struct elimination *e) {
  size_t done = 0;
  for (size_t row = 0; row < FEDERATION_SKETCH; row++) {
    size_t pivot = done;
    for (size_t c = done; c < COLUMNS; c++)
      if (valuation(e->sketch[c][row]) < valuation(e->sketch[pivot][row])) pivot = c;
    if (e->sketch[pivot][row] == 0) continue;
    for (size_t r = 0; r < FEDERATION_SKETCH; r++) {
      uint32_t swapped = e->sketch[pivot][r];
      e->sketch[pivot][r] = e->sketch[done][r];
      e->sketch[done][r] = swapped;
    }
    for (size_t v = 0; v < COLUMNS; v++) {
      uint32_t swapped = e->vector[pivot][v];
      e->vector[pivot][v] = e->vector[done][v];
      e->vector[done][v] = swapped;
    }
    uint32_t value = e->sketch[done][row];
    unsigned shift = valuation(value);
    for (size_t c = done + 1; c < COLUMNS; c++) {
      uint32_t factor = (e->sketch[c][row] >> shift) * inverse_of(value >> shift);
      for (size_t r = 0; r < FEDERATION_SKETCH; r++)
        e->sketch[c][r] -= factor * e->sketch[done][r];
      for (size_t v = 0; v < COLUMNS; v++)
        e->vector[c][v] -= factor * e->vector[done][v];
    }
    done++;
  }
}

/* A vector that A doesn't see, as large as any. */
static void unseen(const struct federation *f, uint32_t *shift) {
  struct elimination *e = calloc(1, sizeof *e);
  uint32_t of_shift[FEDERATION_SKETCH];
  assert_non_null(e);
  for (size_t c = 0; c < COLUMNS; c++) {
    memset(shift, 0, WORDS * 4);
    shift[20 * c] = 1;
    federation_sketch_of(f, shift, e->sketch[c]);
    e->vector[c][c] = 1;
  }
  eliminate(e);
  memset(shift, 0, WORDS * 4);
  for (size_t c = 0; c < COLUMNS; c++)
    shift[20 * c] = e->vector[COLUMNS - 1][c];
  free(e);
  for (size_t w = FEDERATION_DIM; w < WORDS; w++)
    shift[w] = (uint32_t)w * 2654435761u; /* the metrics aren't audited: anything */
  federation_sketch_of(f, shift, of_shift);
  assert_true(cns_sketch_is_zero(of_shift, FEDERATION_SKETCH));
  size_t odd = 0;
  for (size_t c = 0; c < COLUMNS; c++)
    odd += shift[20 * c] != 0;
  assert_true(odd > 10);
}

/* ---- the pair's mask, exchanged ---- */

static const uint32_t *pair_mask; /* in the place of the mask of (A, B) */

static void sketch_it(struct federation *f, size_t k, uint32_t *masks) {
  struct cns_hospital_audit a;
  assert_int_equal(cns_hospital_audit(f->hospitals[k], &a), 0);
  for (size_t m = 1; m < a.count; m++)
    if (a.partners[m] == (k == A ? B : A)) federation_sketch_of(f, pair_mask, masks + m * a.k);
}

/* Plays up to phase agree with that mask, and A's and B's inputs changed by +shift
 * and -shift. */
static void play_with(uint64_t seed, const uint32_t *mask, const uint32_t *shift, struct federation *f) {
  federation_init_audited(f, 6, seed);
  federation_begin(f, 1, 1);
  attack_play_until(f, CNS_PHASE_UPLOAD);
  for (size_t side = 0; side < 2; side++) {
    size_t own = side ? B : A, other = side ? A : B;
    const uint8_t *answer;
    const struct cns_mask_term *terms;
    size_t len, count;
    struct cns_problem problem = {0};
    struct attack_bytes request = attack_request(f, own);
    assert_int_equal(
        cns_hospital_handle(f->hospitals[own], request.data, request.len, &answer, &len, &problem),
        CNS_HOSPITAL_UPLOAD);
    attack_bytes_free(&request);
    assert_int_equal(cns_hospital_masks(f->hospitals[own], &terms, &count), 0);
    struct cns_mask_term term = terms[1 + (other < own ? other : other - 1)];
    term.sign = -term.sign; /* takes out what the upload will put in */
    assert_int_equal(cns_mask_apply(f->x[own], WORDS, 0, &term, 1), 0);
    for (size_t w = 0; w < WORDS; w++)
      f->x[own][w] += side ? 0u - mask[w] - shift[w] : mask[w] + shift[w];
    f->lies[own] = sketch_it;
  }
  pair_mask = mask;
  attack_play_until(f, CNS_PHASE_AGREE);
}

static void inputs_exchanged_for_others_of_equal_sum_and_sketches(void **state) {
  for (uint64_t seed = 1; seed <= 2; seed++) {
    struct federation one, other, third;
    uint32_t *mask = random_words(seed, "mask"), *shift = random_words(seed, "shift");
    uint32_t *seen = random_words(seed, "seen"), *zeros = calloc(WORDS, 4), *moved = calloc(WORDS, 4);
    assert_non_null(zeros);
    assert_non_null(moved);
    play_with(seed, mask, zeros, &one);
    unseen(&one, shift); /* A is the same in all: it follows from the uploads */
    attack_finish(&one, 0);
    struct attack_bytes view = view_of(&one);
    for (size_t w = 0; w < WORDS; w++)
      moved[w] = mask[w] - shift[w];
    play_with(seed, moved, shift, &other);
    attack_finish(&other, 0);
    struct attack_bytes same = view_of(&other);
    assert_int_equal(view.len, same.len);
    assert_memory_equal(view.data, same.data, view.len);
    /* Inputs of equal sum alone, exchanged likewise, show: in the sketches. */
    for (size_t w = 0; w < WORDS; w++)
      moved[w] = mask[w] - seen[w];
    play_with(seed, moved, seen, &third);
    attack_finish(&third, 0);
    struct attack_bytes different = view_of(&third);
    assert_true(different.len == view.len && memcmp(different.data, view.data, view.len) != 0);
    attack_bytes_free(&view);
    attack_bytes_free(&same);
    attack_bytes_free(&different);
    federation_deinit(&one);
    federation_deinit(&other);
    federation_deinit(&third);
    free(mask);
    free(shift);
    free(seen);
    free(zeros);
    free(moved);
  }
}

/* z is all that the sketches of the masks are good for: of each q and each p
 * alone, and of all but one, the rest is uniform. */
static void sketches_of_masks_are_masks(void **state) {
  struct federation f;
  size_t ones = 0, bits = 0;
  federation_init_audited(&f, 6, 3);
  federation_begin(&f, 1, 1);
  attack_finish(&f, 0);
  for (size_t k = 0; k < f.n; k++)
    for (size_t j = 0; j < f.n; j++) {
      const uint8_t *words = cns_coordinator_words(f.coordinator, k, j);
      for (size_t b = 0; b < 4 * FEDERATION_SKETCH; b++, bits += 8)
        ones += (size_t)__builtin_popcount(words[b]);
    }
  double deviation = ((double)ones - (double)bits / 2) / (0.5 * (double)bits);
  assert_true(deviation < 0.01 && deviation > -0.01); /* 147,456 bits: over three sigma */
  federation_deinit(&f);
}

/* What never travels, with disputes and forfeits too: s of an honest hospital, and
 * the pairs of two honest ones. */
static void secrets_that_never_travel(void **state) {
  struct federation f;
  const size_t disputed = 2, forfeiting = 3;
  federation_init_audited(&f, 10, 4);
  federation_begin(&f, 1, 1);
  attack_poison(&f, forfeiting);
  f.lies[forfeiting] = attack_lie_self;
  f.lies[disputed] = attack_lie_wildly;
  f.lie_partner[disputed] = 5;
  struct cns_writer seen;
  cns_writer_init(&seen, (size_t)64 << 20);
  while (cns_coordinator_phase(f.coordinator) != CNS_PHASE_RESULT) {
    enum cns_phase phase = cns_coordinator_phase(f.coordinator);
    for (size_t k = 0; k < f.n && phase != CNS_PHASE_KEYS; k++) {
      if (!cns_coordinator_awaits(f.coordinator, k)) continue;
      struct attack_bytes request = attack_request(&f, k);
      cns_write_bytes(&seen, request.data, request.len);
      attack_bytes_free(&request);
    }
    federation_play_phase(&f);
    for (size_t k = 0; k < f.n; k++) {
      const struct cns_coordinator_message *m = &f.coordinator->members[k].messages[phase];
      cns_write_bytes(&seen, m->bytes, m->len);
    }
    attack_close(&f);
  }
  assert_int_equal(cns_coordinator_end(f.coordinator), CNS_END_COMPLETED);
  assert_int_equal(attack_outcome(&f, disputed), CNS_OUT_CONVICTED);
  assert_int_equal(attack_outcome(&f, forfeiting), CNS_OUT_FORFEITED);
  assert_int_equal(cns_writer_finish(&seen), 0);
  for (size_t i = 0; i < f.n; i++) {
    const struct cns_hospital_secrets *secrets = f.hospitals[i]->secrets;
    assert_null(memmem(seen.data, seen.len, secrets->s.bytes, CNS_SCALAR_BYTES));
    assert_null(memmem(seen.data, seen.len, secrets->e.bytes, CNS_SCALAR_BYTES));
    bool told = memmem(seen.data, seen.len, secrets->b.bytes, CNS_SCALAR_BYTES) != NULL;
    assert_int_equal(told, i == forfeiting); /* in its case, to those who judge it */
    for (size_t d = 0; d < f.n; d++) {       /* shares of dealer d that i holds */
      bool of_s = memmem(seen.data, seen.len, secrets->with[d].share.s.bytes, CNS_SCALAR_BYTES) != NULL;
      assert_int_equal(of_s, d == disputed || (d == forfeiting && i != forfeiting));
    }
    for (size_t j = 0; j < f.n; j++) {
      struct cns_point pair;
      if (i == j) continue;
      assert_int_equal(cns_point_mul(&secrets->s, &f.hospitals[j]->keys[j].s, &pair), 0);
      bool opened = memmem(seen.data, seen.len, pair.bytes, CNS_POINT_BYTES) != NULL;
      assert_int_equal(opened, (i == disputed && j == 5) || (j == disputed && i == 5));
    }
  }
  cns_writer_deinit(&seen);
  federation_deinit(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(inputs_exchanged_for_others_of_equal_sum_and_sketches),
      cmocka_unit_test(sketches_of_masks_are_masks),
      cmocka_unit_test(secrets_that_never_travel),
  };
  return cmocka_run_group_tests_name("protocol transcript audit", tests, NULL, NULL);
}
